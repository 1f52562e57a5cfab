"""What is printed of real machines equals what lspci 3.15.0 printed of the same bytes, line for line."""

from pathlib import Path

import pytest

from tests.corpus.recordings import files, paths
from vfiokit.cli import main
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.dump import parse_dump
from vfiokit.pci.image import BytesImage, Origin, SparseImage


@pytest.mark.parametrize("dump", files("pciutils", "*.dump"))
def test_dump_is_printed_as_lspci_prints_it(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--dump", str(dump), "--format", "lspci"]) == 0
    expected = dump.with_suffix(".lspci").read_text(errors="replace")
    assert capsys.readouterr().out.splitlines() == expected.splitlines()


@pytest.mark.parametrize("archive", files("h200", "guest-sysfs.tar.xz"))
def test_tree_is_printed_as_lspci_prints_it(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(archive), "config", "--all", "--format", "lspci"]) == 0
    expected = archive.with_name("guest-sysfs.lspci").read_text()
    assert capsys.readouterr().out.splitlines() == expected.splitlines()


@pytest.mark.parametrize("dump", files("pciutils", "*.dump"))
def test_every_function_decodes_the_same_whole_or_piece_by_piece(dump: Path) -> None:
    for function in parse_dump(dump.read_bytes()):
        data = function.data

        def read(offset: int, size: int, data: bytes = data) -> bytes:
            return data[offset : offset + size]

        whole = ConfigSpace(BytesImage(data, Origin.DUMP))
        pieces = ConfigSpace(SparseImage(read, origin=Origin.DUMP))
        assert [(each.offset, each.values) for each in whole.decode()] == [
            (each.offset, each.values) for each in pieces.decode()
        ]


def test_a_full_decode_reads_little() -> None:
    read = [_bytes_read(data) for data in _extended_spaces()]
    if not read:
        pytest.skip("no recordings: the number of bytes read was NOT held")
    # lspci reads 209 on average of such functions.
    assert sum(read) / len(read) <= 256
    assert max(read) < 1024


def _extended_spaces() -> list[bytes]:
    functions = (
        function for dump in paths("pciutils", "*.dump") for function in parse_dump(dump.read_bytes())
    )
    return [function.data for function in functions if len(function.data) == 4096]


def _bytes_read(data: bytes) -> int:
    image = SparseImage(lambda offset, size: data[offset : offset + size])
    ConfigSpace(image).decode()
    assert all(offset % 4 == 0 for offset, _ in image.log)
    places = [byte for offset, size in image.log for byte in range(offset, offset + size)]
    assert len(places) == len(set(places)), "a byte was read twice"
    return len(places)

"""The walker in C: its constants, its sanitizers, its columns."""

import random
import shutil
import struct
import subprocess
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfiokit.bits import mask
from vfiokit.errors import UsageError
from vfiokit.testing.translation import CAP_5_LEVELS, ECAP_SCALABLE
from vfiokit.translation import batch
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.constants import header
from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.formats import amd_host, first_stage, second_stage
from vfiokit.translation.iommu import Iommu
from vfiokit.translation.memory import ImageMemory
from vfiokit.translation.requests import Access
from vfiokit.translation.walk import Stage

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "vfiokit/_native"
UNIT = VtdCapabilities(cap=CAP_5_LEVELS, ecap=ECAP_SCALABLE)
native = pytest.mark.skipif(
    not batch.have_native(), reason="NATIVE WALKER NOT RUN: the extension is not built"
)


def test_the_header_is_what_the_rows_say() -> None:
    """Run tools/generate-walk-constants after a change of the rows."""
    assert (NATIVE / "walk_constants.h").read_text() == header()


def descriptors() -> Iterator[Descriptor]:
    """Yield every combination of stages."""
    second = Stage(format=second_stage(UNIT, 46, accessed_dirty=True), root=0x1000, levels=4, width=48)
    first = Stage(
        format=first_stage(46, gigabyte_pages=True, no_execute=True), root=0x2000, levels=5, width=57
    )
    host = Stage(format=amd_host(), root=0x1000, levels=6, width=64)
    yield Descriptor(second=second)
    yield Descriptor(first=first)
    yield Descriptor(first=first, second=second)
    yield Descriptor(second=host)
    yield Descriptor(first=first, second=host, privileged=True)
    yield Descriptor(width=48)


def soup(chooser: random.Random) -> bytes:
    """Make a memory of words that tend to point back into it, of any length, also of none."""
    frames = chooser.randrange(6)
    words = [
        chooser.getrandbits(64) & ~(mask(40) << 12) | chooser.randrange(max(1, frames)) << 12
        for _ in range(40)
    ]
    words = [chooser.choice((word, word | 0x67, word & 0xFFFFF000 | 3, 0)) for word in words]
    data = b"".join(chooser.choice(words).to_bytes(8, "little") for _ in range(frames * 512))
    return data[: len(data) - chooser.choice((0, 0, 1, 7, 8, 100))] if data else data


@native
@pytest.mark.skipif(shutil.which("gcc") is None, reason="SANITIZERS NOT RUN: no gcc")
def test_under_sanitizers(tmp_path: Path) -> None:
    program, corpus = tmp_path / "harness", tmp_path / "corpus"
    flags = ("-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    sources = (ROOT / "tests/native/walk_harness.c", NATIVE / "walk.c")
    built = subprocess.run(
        ["gcc", *flags, f"-I{NATIVE}", *sources, "-o", program], capture_output=True, text=True, check=False
    )
    if "cannot find" in built.stderr:
        pytest.skip(f"SANITIZERS NOT RUN: {built.stderr.splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    expected = write_corpus(corpus)
    done = subprocess.run([program, corpus], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == expected


def write_corpus(path: Path) -> list[str]:
    """Write cases, and return the lines that the extension as it is built gives for them."""
    chooser, expected = random.Random(6), []
    with path.open("wb") as file:
        for _ in range(120):
            for descriptor in descriptors():
                data, start = soup(chooser), chooser.choice((0, 0, 8, 0x1000))
                addresses = array(
                    "Q", [chooser.getrandbits(chooser.choice((14, 30, 48, 64))) for _ in range(70)]
                )
                access = chooser.randrange(8)
                walker = batch.Walker(ImageMemory(data, start), descriptor)
                file.write(struct.pack("=QQQQ", start, len(data), len(addresses), access))
                file.write(addresses.tobytes() + data + bytes(walker.parameters))
                expected.append(line(walker, addresses, Access(access), descriptor))
    return expected


def line(walker: batch.Walker, addresses: "array[int]", access: Access, descriptor: Descriptor) -> str:
    columns = batch.Columns.of_length(len(addresses))
    walker.walk(memoryview(addresses), None, access, columns, 0)
    outcomes = reads = 0
    for index, address in enumerate(addresses):
        tables = (columns.reasons, columns.permissions, columns.shifts, columns.levels)
        for value in (columns.addresses[index], *(table[index] for table in tables)):
            outcomes = (outcomes ^ value) * 0x100000001B3 & mask(64)
        for place in walker.trace(address, access)[1]:
            reads = (reads ^ place) * 0x100000001B3 & mask(64)
    one_stage = (descriptor.first is None) != (descriptor.second is None)
    runs = len(walker.dump(5000).mappings) if one_stage else 0
    return f"{outcomes} {outcomes} {reads} {runs}"


@native
class TestColumns:
    unit = Iommu(ImageMemory(bytes(0x1000)), 0, UNIT.cap, UNIT.ecap)

    @pytest.mark.parametrize("bad", [b"123", array("I", [1, 2]), memoryview(bytes(64)).cast("B", (8, 8))])
    def test_what_is_no_buffer_of_words(self, bad: bytes) -> None:
        with pytest.raises(UsageError, match="64-bit"):
            batch.translate_many(self.unit, 0, bad)

    def test_lengths_must_agree(self) -> None:
        with pytest.raises(UsageError, match="lengths"):
            batch.translate_many(self.unit, 0, array("Q", [1, 2]), [1])
        with pytest.raises(UsageError, match="lengths"):
            batch.translate_many(self.unit, [1, 2, 3], array("Q", [1, 2]))

    def test_columns_can_be_filled_again(self) -> None:
        out = batch.Columns.of_length(2)
        assert batch.translate_many(self.unit, 0, array("Q", [1, 2]), out=out) is out

    def test_nothing_asked_is_nothing_answered(self) -> None:
        assert len(batch.translate_many(self.unit, 0, b"")) == 0


def test_the_python_walker_serves_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    from vfiokit import _native

    monkeypatch.setattr(_native, "available", lambda: False)
    unit = Iommu(ImageMemory(bytes(0x1000)), 0, UNIT.cap, UNIT.ecap)
    found = batch.translate_many(unit, [1, 1, 2], array("Q", [0, 0xFEE00000, 5]))
    assert list(found.reasons) == [9, 4, 9]

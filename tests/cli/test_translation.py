"""``translate``, ``mappings`` and ``overlaps``: on images, with every way in which an image can be bad."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.machine import Command
from vfiokit.address import AddressRange
from vfiokit.translation.attach import AmdTables, VtdTables
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.frames import Frames
from vfiokit.translation.memory import ImageMemory
from vfiokit.translation.requests import Access

UNIT = VtdCapabilities(cap=0x00D2008C222F0606, ecap=0x0000000000F00F4A)
SIZE = 0x80000


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Write an image with three domains: two share a page that one may write, one is read by itself."""
    data = bytearray(SIZE)
    tables = VtdTables(ImageMemory(data), Frames([AddressRange(0x1000, SIZE)]), UNIT)
    for number, sources in enumerate(([0x28], [0x30, 0x31], [0x100]), 1):
        domain = tables.new_domain(number)
        domain.map(0x10000, 0x30000000 * number, 0x3000)
        if number < 3:
            domain.map(0x200000, 0x80000000, 0x1000, Access.READ if number == 2 else Access(3))
        tables.attach(sources, domain)
    path = tmp_path / "memory"
    path.write_bytes(data)
    return path


def options(image: Path, *more: str) -> tuple[str, ...]:
    return ("--image", str(image), "--rtaddr", "0x1000", *more)


class TestTranslate:
    def test_an_address_goes_where_it_was_mapped(self, vfiokit: Command, image: Path) -> None:
        run = vfiokit("translate", *options(image), "--source", "00:05.0", "0x11234")
        assert (run.status, run.out.splitlines()) == (
            0,
            ["00:05.0 r-- 0x11234  0x30001234  rwx  page of 0x1000"],
        )

    def test_a_fault_is_a_negative_answer(self, vfiokit: Command, image: Path) -> None:
        run = vfiokit("translate", *options(image), "--source", "00:06.0", "--write", "0x200000", "0x10000")
        assert run.status == 1
        assert "does not allow writes [fault reason 0x05]" in run.out.splitlines()[0]
        assert "0x60000000" in run.out.splitlines()[1]

    def test_json(self, vfiokit: Command, image: Path) -> None:
        found = vfiokit("translate", *options(image), "--source", "00:05.0", "--json", "0x10000", "0x0").json
        assert found["schema"] == "vfiokit.translate/1"
        good, bad = found["requests"]
        assert (good["address"], good["page_size"], good["domain_id"]) == (0x30000000, 0x1000, 1)
        assert (bad["address"], bad["reason"], bad["code"]) == (None, "second_not_present", 6)

    def test_explain_shows_every_entry(self, vfiokit: Command, image: Path) -> None:
        run = vfiokit("translate", *options(image), "--source", "00:05.0", "--explain", "0x10000")
        assert [line.split(" at ")[0].strip() for line in run.out.splitlines() if " at 0x" in line] == [
            "root entry",
            "context entry",
            *(f"second-stage entry of level {level}" for level in (4, 3, 2, 1)),
        ]

    def test_amd(self, vfiokit: Command, tmp_path: Path) -> None:
        data = bytearray(SIZE)
        tables = AmdTables(ImageMemory(data), Frames([AddressRange(0x1000, SIZE)]), size=4)
        domain = tables.new_domain(5)
        domain.map(0x10000, 0x70000000, 0x1000)
        tables.attach([0x28], domain)
        path = tmp_path / "memory"
        path.write_bytes(data)
        arguments = ("--image", str(path), "--device-table", hex(tables.device_table))
        run = vfiokit("translate", *arguments, "--source", "00:05.0", "0x10008")
        assert (run.status, "0x70000008" in run.out.splitlines()[0]) == (0, True)

    def test_memory_above_four_gib(self, vfiokit: Command, image: Path) -> None:
        run = vfiokit(
            "translate", *options(image, "--low-memory", "0x40000"), "--source", "00:05.0", "0x10000"
        )
        assert run.status == 0


class TestAudit:
    def test_mappings(self, vfiokit: Command, image: Path) -> None:
        run = vfiokit("mappings", *options(image))
        assert run.status == 0
        assert "00:06.0, 00:06.1" in run.out
        assert "  0x10000-0x12fff -> 0x30000000-0x30002fff  rwx" in run.out.splitlines()

    def test_mappings_of_one(self, vfiokit: Command, image: Path) -> None:
        found = vfiokit("mappings", *options(image), "--source", "01:00.0", "--json").json
        assert [domain["sources"] for domain in found["domains"]] == [["01:00.0"]]
        assert found["domains"][0]["mappings"][0]["size"] == 0x3000

    def test_who_reaches_a_byte(self, vfiokit: Command, image: Path) -> None:
        run = vfiokit("mappings", *options(image), "--to", "0x80000123")
        assert run.status == 0
        assert [line.split()[-2:] for line in run.out.splitlines()] == [
            ["0x200123", "rwx"],
            ["0x200123", "r-x"],
        ]
        assert vfiokit("mappings", *options(image), "--to", "0x1").status == 1

    def test_overlaps(self, vfiokit: Command, image: Path) -> None:
        run = vfiokit("overlaps", *options(image))
        assert run.status == 1
        assert any("0x80000000-0x80000fff  writable: 00:05.0 (rwx)" in line for line in run.out.splitlines())
        assert vfiokit("overlaps", *options(image), "--source", "00:05.0", "--source", "01:00.0").status == 0

    def test_overlaps_json(self, vfiokit: Command, image: Path) -> None:
        found = vfiokit("overlaps", *options(image), "--json", "--writable").json
        assert {tuple(map(tuple, each["sources"])) for each in found["overlaps"]} == {
            (("00:05.0",), ("00:06.0", "00:06.1"))
        }


class TestDebugfs:
    TEXT = (
        "Device 0000:00:04.0 @0x3041000\nIOVA_PFN\n"
        "0x0000000000001 |\t0x0000000000000000\t0x0000000003042003\t0x0000000003043003\t0x0000000003044003"
        "\t0x0000000003046001\n"
        "0x0000004000000 |\t0x0000000000000000\t0x0000000003042003\t0x0000000003049003\t0x0000000004000083\n"
    )

    def test_mappings(self, vfiokit: Command, tmp_path: Path) -> None:
        (tmp_path / "text").write_text(self.TEXT)
        run = vfiokit("mappings", "--debugfs", str(tmp_path / "text"))
        assert run.status == 0
        assert run.out.splitlines()[1:] == [
            "  0x1000-0x1fff -> 0x3046000-0x3046fff  r--",
            "  0x4000000000-0x40001fffff -> 0x4000000-0x41fffff  rw-",
        ]

    def test_overlaps(self, vfiokit: Command, tmp_path: Path) -> None:
        (tmp_path / "one").write_text(self.TEXT)
        (tmp_path / "two").write_text(self.TEXT.replace("00:04.0 @0x3041000", "00:05.0 @0x3051000"))
        run = vfiokit("overlaps", "--debugfs", str(tmp_path / "one"), "--debugfs", str(tmp_path / "two"))
        assert (run.status, len(run.out.splitlines())) == (1, 2)

    @pytest.mark.parametrize("text", ["what", "0x1 |", "\0"])
    def test_what_is_no_dump(self, vfiokit: Command, tmp_path: Path, text: str) -> None:
        (tmp_path / "text").write_text(text)
        run = vfiokit("mappings", "--debugfs", str(tmp_path / "text"))
        assert (run.status != 0, "line 1" in run.error) == (True, True)

    def test_either_or(self, vfiokit: Command, image: Path) -> None:
        assert vfiokit("mappings", *options(image), "--debugfs", str(image)).status == 2
        assert vfiokit("mappings").status == 2


class TestBadInput:
    def wrong(self, vfiokit: Command, *arguments: str) -> tuple[int, str]:
        run = vfiokit("translate", *arguments, "--source", "00:05.0", "0x1000")
        assert "Traceback" not in run.err
        return run.status, run.err

    def test_no_such_file(self, vfiokit: Command, tmp_path: Path) -> None:
        status, said = self.wrong(vfiokit, *options(tmp_path / "none"))
        assert (status, "No such file" in said) == (3, True)

    def test_an_empty_file(self, vfiokit: Command, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        status, said = self.wrong(vfiokit, *options(tmp_path / "empty"))
        assert (status, "empty" in said) == (3, True)

    def test_a_directory(self, vfiokit: Command, tmp_path: Path) -> None:
        assert self.wrong(vfiokit, *options(tmp_path))[0] == 3

    def test_a_root_outside(self, vfiokit: Command, image: Path) -> None:
        status, said = self.wrong(vfiokit, "--image", str(image), "--rtaddr", "0x7fffff000")
        assert (status, "0x7fffff000 is not in the image" in said) == (3, True)

    def test_neither_or_both_units(self, vfiokit: Command, image: Path) -> None:
        assert self.wrong(vfiokit, "--image", str(image))[0] == 2
        assert self.wrong(vfiokit, *options(image), "--device-table", "0x1000")[0] == 2

    @pytest.mark.parametrize("bad", ["x", "-1", "0x1ffffffffffffffff", "1T", ""])
    def test_what_is_no_address(self, vfiokit: Command, image: Path, bad: str) -> None:
        assert vfiokit("translate", *options(image), "--source", "00:05.0", "--", bad).status == 2

    def test_what_is_no_function(self, vfiokit: Command, image: Path) -> None:
        assert vfiokit("translate", *options(image), "--source", "5", "0x0").status == 2

    def test_a_truncated_image_faults(self, vfiokit: Command, image: Path) -> None:
        image.write_bytes(image.read_bytes()[:0x1804])
        run = vfiokit("translate", *options(image), "--source", "00:05.0", "0x10000")
        assert (run.status, "lies outside memory" in run.out) == (1, True)

    def test_tables_that_point_to_themselves_end(self, vfiokit: Command, tmp_path: Path) -> None:
        data = bytearray(0x4000)
        memory: Any = ImageMemory(data)
        for place, word in ((0x1000, 0x2001), (0x2280, 0x3001), (0x2288, 0x102)):
            memory.write64(place, word)
        memory.write64(0x3008, 0x3003)
        path = tmp_path / "loop"
        path.write_bytes(data)
        run = vfiokit("mappings", *options(path))
        assert run.status == 0
        address = str(1 << 39 | 1 << 30 | 1 << 21 | 1 << 12)
        assert vfiokit("translate", *options(path), "--source", "00:05.0", address).status == 0

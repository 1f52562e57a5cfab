"""``vfiokit config``: every format, every source, every way to choose, every exit status."""

import io
import sys
from pathlib import Path

import pytest

from tests.cli.bridged import NIC, PORT, bridged, nic_space, path
from tests.cli.machine import Command
from vfiokit.address import PciAddress
from vfiokit.pci.dump import Dumped, format_dump
from vfiokit.sysfs.memory import File, Link, MemorySource

FIELD_KEYS = ["name", "title", "offset", "bits", "access", "vfio", "value", "meaning", "unit"]
REGISTER_KEYS = ["name", "title", "offset", "size", "value", "vfio", "fields"]
STRUCTURE_KEYS = ["id", "name", "title", "offset", "version", "section", "vfio", "registers"]
FUNCTION_KEYS = ["address", "size", "header", "capabilities", "extended", "diagnostics"]


@pytest.fixture
def root() -> MemorySource:
    return bridged()


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Write a dump of three functions, the one in the middle broken."""
    good = Dumped(PciAddress(0, 2, 0, 0), nic_space())
    looped = bytearray(nic_space())
    looped[0x81] = 0x40
    broken = Dumped(PciAddress(0, 2, 0, 1), bytes(looped))
    other = Dumped(PciAddress(0, 3, 0, 0), nic_space(max_read=5))
    file = tmp_path / "host.dump"
    file.write_text(format_dump([good, broken, other]))
    return file


class TestText:
    def test_has_every_register_on_a_line(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("config", NIC, root=root)
        assert answer.status == 0
        assert answer.out.startswith(f"{NIC} 8086:1533\n")
        assert "  [40] PCIe: " in answer.out
        (line,) = (line for line in answer.out.splitlines() if " DevCtl " in line)
        assert line.split()[:3] == ["048", "DevCtl", "2810"]
        assert "MaxReadReq=512B" in answer.out
        assert "[100] DSN" in answer.out

    def test_bytes_of_an_unknown_capability(self, vfiokit: Command) -> None:
        space = bytearray(nic_space())
        space[0x80] = 0x7E
        answer = vfiokit("config", "--from", space.hex())
        assert "not known: 7e 00 23 c8" in answer.out


class TestFormats:
    def test_lspci_text(self, vfiokit: Command, dump: Path) -> None:
        answer = vfiokit("config", "--dump", str(dump), "--format", "lspci")
        assert answer.out.startswith("02:00.0 0200: 8086:1533 (rev 03)\n")
        assert answer.out.count("\tCapabilities: [40] Express") == 3
        assert answer.out.endswith("\n\n")

    def test_lspci_text_of_a_host_takes_sizes_from_the_kernel(
        self, vfiokit: Command, root: MemorySource
    ) -> None:
        answer = vfiokit("config", NIC, "--format", "lspci", root=root)
        assert "\tRegion 0: Memory at f7200000 (32-bit, non-prefetchable) [size=1M]\n" in answer.out

    def test_a_dump_of_a_host_is_read_back(
        self, vfiokit: Command, root: MemorySource, tmp_path: Path
    ) -> None:
        file = tmp_path / "again.dump"
        file.write_text(vfiokit("config", NIC, PORT, "--format", "dump", root=root).out)
        again = vfiokit("config", "--dump", str(file), NIC).out
        assert again == vfiokit("config", NIC, root=root).out

    def test_a_dump_from_standard_input(
        self, vfiokit: Command, dump: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = io.TextIOWrapper(io.BytesIO(dump.read_bytes()))
        monkeypatch.setattr(sys, "stdin", stream)
        answer = vfiokit("config", "--dump", "-", "03:00.0", "--only", "PCIe.DevCtl.MaxReadReq")
        assert answer.out == "PCIe.DevCtl.MaxReadReq 4096\n"


class TestJson:
    def test_has_stable_keys_and_every_field(self, vfiokit: Command, root: MemorySource) -> None:
        document = vfiokit("config", NIC, "--json", root=root).json
        assert document["schema"] == "vfiokit.config/1"
        (function,) = document["functions"]
        assert list(function) == FUNCTION_KEYS
        structures = [function["header"], *function["capabilities"], *function["extended"]]
        assert [each["name"] for each in structures] == ["Header", "PCIe", "PM", "DSN"]
        for structure in structures:
            assert list(structure) == STRUCTURE_KEYS
            for register in structure["registers"]:
                assert list(register) == REGISTER_KEYS
                for field in register["fields"]:
                    assert list(field) == FIELD_KEYS
        control = next(each for each in structures[1]["registers"] if each["name"] == "DevCtl")
        read = next(each for each in control["fields"] if each["name"] == "MaxReadReq")
        assert (read["offset"], read["bits"], read["access"]) == (0x48, [14, 12], "RW")
        assert (read["value"], read["meaning"], read["unit"]) == (2, 512, "bytes")

    def test_bytes_of_an_unknown_capability(self, vfiokit: Command) -> None:
        space = bytearray(nic_space())
        space[0x80] = 0x7E
        document = vfiokit("config", "--from", space.hex(), "--json").json
        unknown = document["functions"][0]["capabilities"][1]
        assert list(unknown) == [*STRUCTURE_KEYS[:-1], "raw"]
        assert unknown["raw"].startswith("7e0023c8")

    def test_of_a_choice(self, vfiokit: Command, root: MemorySource) -> None:
        document = vfiokit("config", NIC, "--only", "PCIe.DevCtl", "--json", root=root).json
        assert document["schema"] == "vfiokit.config.only/1"
        (found,) = document["found"]
        assert found["register"]["value"] == 0x2810


class TestOnly:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("PCIe.DevCtl.MaxReadReq", "PCIe.DevCtl.MaxReadReq 512\n"),
            ("0x10.DevCtl.MaxReadReq", "PCIe.DevCtl.MaxReadReq 512\n"),
            ("ext:3.Lower", None),
            ("header.Command.BusMaster", "Header.Command.BusMaster 1\n"),
        ],
    )
    def test_a_value_to_use_in_a_script(
        self, vfiokit: Command, root: MemorySource, path: str, expected: str | None
    ) -> None:
        answer = vfiokit("config", NIC, "--only", path, root=root)
        if expected is not None:
            assert answer.out == expected

    def test_what_is_not_there(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("config", NIC, "--only", "MSIX", root=root)
        assert answer.status == 2
        assert "MSIX" in answer.error

    def test_of_several_functions_names_each(self, vfiokit: Command, dump: Path) -> None:
        answer = vfiokit("config", "--dump", str(dump), "--only", "PCIe.DevCtl.MaxReadReq")
        assert answer.out.splitlines()[0] == "0000:02:00.0 PCIe.DevCtl.MaxReadReq 512"
        assert len(answer.out.splitlines()) == 3


class TestDifferences:
    def test_of_a_host_against_a_dump(self, vfiokit: Command, root: MemorySource, tmp_path: Path) -> None:
        file = tmp_path / "before.dump"
        file.write_text(format_dump([Dumped(PciAddress(0, 2, 0, 0), nic_space(max_read=5))]))
        answer = vfiokit("config", NIC, "--diff", str(file), root=root)
        assert answer.status == 1
        assert "PCIe.DevCtl.MaxReadReq: 512 -> 4096" in answer.out
        assert len(answer.out.splitlines()) == 3

    def test_of_two_functions(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("config", NIC, "--diff", PORT, "--json", root=root)
        assert answer.status == 1
        assert answer.json["schema"] == "vfiokit.config.diff/1"
        assert answer.json["differences"]

    def test_of_the_same_is_silent(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("config", NIC, "--diff", NIC, root=root)
        assert answer.status == 0
        assert answer.out == f"no difference between {NIC} and {NIC}\n"


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            (("config",), 2),
            (("config", "--from", "zz"), 2),
            (("config", "--from", "8680"), 2),
            (("config", "--from", "86803315", NIC), 2),
            (("config", "--from", "86803315", "--all"), 2),
            (("config", NIC, "--json", "--format", "text"), 2),
            (("config", "0000:77:00.0"), 2),
        ],
    )
    def test_is_one_line_and_a_status(
        self, vfiokit: Command, root: MemorySource, arguments: tuple[str, ...], status: int
    ) -> None:
        answer = vfiokit(*arguments, root=root)
        assert answer.status == status
        assert answer.error

    def test_a_file_that_is_no_dump(self, vfiokit: Command, tmp_path: Path) -> None:
        file = tmp_path / "no.dump"
        file.write_bytes(bytes(range(256)))
        answer = vfiokit("config", "--dump", str(file))
        assert (answer.status, "no function in it" in answer.error) == (2, True)

    def test_a_function_that_the_dump_has_not(self, vfiokit: Command, dump: Path) -> None:
        answer = vfiokit("config", "--dump", str(dump), "04:00.0")
        assert answer.status == 2
        assert "0000:04:00.0" in answer.error

    def test_one_broken_function_does_not_hide_the_others(self, vfiokit: Command, dump: Path) -> None:
        answer = vfiokit("config", "--dump", str(dump))
        assert answer.status == 0
        assert [line for line in answer.out.splitlines() if line.startswith("0000:")] == [
            "0000:02:00.0 8086:1533",
            "0000:02:00.1 8086:1533",
            "0000:03:00.0 8086:1533",
        ]
        assert answer.err == "0000:02:00.1: warning: the list comes back to 0x40 [list-loop]\n"

    def test_the_view_of_the_unprivileged_is_named(self, vfiokit: Command, root: MemorySource) -> None:
        root.add(f"{path(root, NIC)}/config", File(nic_space()[:64], 0o644))
        answer = vfiokit("config", NIC, root=root)
        assert "[unprivileged]" in answer.err
        assert "Header" in answer.out

    def test_all_of_a_host_passes_over_what_cannot_be_read(
        self, vfiokit: Command, root: MemorySource
    ) -> None:
        answer = vfiokit("config", "--all", "--json", root=root)
        assert answer.status == 0
        assert NIC in [each["address"] for each in answer.json["functions"]]


class TestVfio:
    """What vfio-pci makes of a function, by the rows."""

    def test_registers_that_are_not_as_in_the_device(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("config", NIC, "--format", "vfio", root=root)
        assert answer.status == 0
        lines = answer.out.splitlines()
        assert lines[0] == f"{NIC} through vfio-pci"
        assert "      010 BAR0               virtual" in lines
        assert "      004 Command            DisINTx trapped" in lines
        assert "  [100] DSN: Device Serial Number: as in the device" in lines
        assert not any(" DevCap " in line for line in lines)

    def test_a_hidden_capability(self, vfiokit: Command) -> None:
        space = bytearray(nic_space())
        space[0x80] = 0x0D
        answer = vfiokit("config", "--from", space.hex(), "--format", "vfio")
        (line,) = (line for line in answer.out.splitlines() if line.startswith("  [80]"))
        assert line.endswith("hidden from the list, its bytes pass both ways")

    def test_what_differs(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("config", NIC, "--diff", "vfio", root=root)
        assert answer.status == 1
        assert answer.out.splitlines() == [
            f"- {NIC}",
            "+ vfio-pci",
            "  PM.PMC.PMED0: True -> False",
            "  PM.PMC.PMED3hot: True -> False",
            "  PM.PMC.PMED3cold: True -> False",
        ]
        document = vfiokit("config", NIC, "--diff", "vfio", "--json", root=root).json
        assert document["other"] == "vfio-pci"
        assert {each["name"] for each in document["differences"]} == {
            "PM.PMC.PMED0",
            "PM.PMC.PMED3hot",
            "PM.PMC.PMED3cold",
        }

    def test_a_virtual_function_has_the_kernels_identifiers(
        self, vfiokit: Command, root: MemorySource
    ) -> None:
        space = b"\xff" * 4 + nic_space()[4:]
        root.add(f"{path(root, NIC)}/config", File(space, 0o644))
        root.add(f"{path(root, NIC)}/physfn", Link(f"../../{PORT}"))
        answer = vfiokit("config", NIC, "--diff", "vfio", root=root)
        assert "  Header.VendorID.VendorID: 0xffff -> 0x8086" in answer.out

    def test_a_bridge_is_refused(self, vfiokit: Command, root: MemorySource) -> None:
        for given in (("--format", "vfio"), ("--diff", "vfio")):
            answer = vfiokit("config", PORT, *given, root=root)
            assert answer.status == 2
            assert "its header is of type 1 (vfio-pci takes functions with a header of type 0)" in answer.err
        answer = vfiokit("config", "--all", "--format", "vfio", root=root)
        assert answer.status == 0
        assert f"{NIC} through vfio-pci" in answer.out
        assert f"{PORT}: its header" in answer.err

    def test_opening_is_for_this_host_and_for_a_difference(
        self, vfiokit: Command, root: MemorySource, dump: Path
    ) -> None:
        for given, said in (
            (("config", NIC, "--open"), "only with --diff vfio"),
            (("config", NIC, "--diff", "vfio", "--open"), "it opens a device of this host alone"),
            (
                ("config", "--dump", str(dump), "02:00.0", "--diff", "vfio", "--open"),
                "it opens a device of this host alone",
            ),
        ):
            answer = vfiokit(*given, root=root)
            assert (answer.status, said in answer.err) == (2, True), answer.err

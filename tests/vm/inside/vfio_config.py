"""Check in a guest what vfio-pci does with each field of config space, against what the rows say of it.

The judge of a write is the hardware: what sysfs reads of it before and after, and for what passes through,
what the same write does without VFIO.
"""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import vfio_lab
from vfio_lab import NEWEST, address, bind, example, virtual_function

from vfiokit.cli import main
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.differences import differences
from vfiokit.pci.registers.rows import View
from vfiokit.pci.structure import FieldValue, RegisterValue, Structure
from vfiokit.sysfs.function import FunctionFiles
from vfiokit.sysfs.live import LiveSource
from vfiokit.vfio import Device

edu = example("edu")
NAMES = ("edu", "disk", "network", "memory", "shared")
DEVICES = Path("/sys/bus/pci/devices")
ACTED_ON = {View.TRAPPED, View.HIDDEN}
"""Views with checks of their own."""
LEFT_ALONE = {"VSEC", "CXLDevice", "CXLFlexBus", "DVSEC"}
"""Structures whose registers lock themselves, or do what the lab does not know."""
MOVED = {
    ("disk", "Header.Command.BusMaster"),
    ("disk", "Header.Command.Mem"),
    ("edu", "Header.CacheLine.Size"),
    ("disk", "PCIe.DevCtl.CorrErr"),
    ("network", "AER.UEMsk.TLP"),
    ("network", "PM.PMCSR.DataSelect"),
    ("network", "MSI.Mask64.Mask"),
    ("memory", "AER.CEMsk.BadTLP"),
    ("edu", "MSI.ExtData64.Data"),
}
"""Fields that pass through, and of which the hardware is known to keep what is written."""
KEPT = {
    "edu": (("Header", "InterruptLine", "Line"),),
    "disk": (("Header", "BAR0", "Address"), ("MSIX", "Flags", "Masked")),
    "network": (("MSIX", "Flags", "Enable"), ("SRIOV", "NumVFs", "VFs")),
}
"""Fields that the hardware would let change, so that vfio-pci alone keeps them."""


class Hardware:
    """The function's own registers, read and written through sysfs."""

    def __init__(self, name: str) -> None:
        self._path = DEVICES / name / "config"

    def read(self, register: RegisterValue) -> int:
        with self._path.open("rb", buffering=0) as file:
            file.seek(register.offset)
            return int.from_bytes(file.read(register.row.size), "little")

    def write(self, register: RegisterValue, value: int) -> None:
        with self._path.open("r+b", buffering=0) as file:
            file.seek(register.offset)
            file.write(value.to_bytes(register.row.size, "little"))


class Shown:
    """The same registers through VFIO."""

    def __init__(self, device: Device) -> None:
        self._config = device.config

    def read(self, register: RegisterValue) -> int:
        return int.from_bytes(self._config.read(register.offset, register.row.size), "little")

    def write(self, register: RegisterValue, value: int) -> None:
        self._config.write(register.offset, value.to_bytes(register.row.size, "little"))


def mask_of(field: FieldValue) -> int:
    return (1 << field.high + 1) - (1 << field.low)


def what_is_shown_is_foretold(backend: str) -> None:
    """Compare every byte with what the rows make of the bytes in sysfs."""
    for name in NAMES:
        with Device.open(address(name), backend=backend) as device:
            compare(device)


def compare(device: Device) -> set[str]:
    """Return the names of the fields that are not as in sysfs."""
    shown = device.config.read(0, device.config.size)
    files = FunctionFiles(LiveSource(), device.address)
    foretold = files.through_vfio(files.config())
    theirs = foretold.read(0, device.config.size)
    assert shown == theirs, [hex(at) for at in range(len(shown)) if shown[at] != theirs[at]]
    hardware = ConfigSpace((DEVICES / str(device.address) / "config").read_bytes(), first=foretold.first)
    return {each.name for each in differences(hardware, foretold)}


def a_hidden_capability_is_out_of_the_list_and_within_reach(backend: str) -> None:
    """Find no data object exchange in the list, alone or after others, and its control still written."""
    for name in ("disk", "shared"):
        real = ConfigSpace((DEVICES / address(name) / "config").read_bytes())
        mailbox = real.find("DOE")
        assert mailbox is not None
        with Device.open(address(name), backend=backend) as device:
            shown = [each.name for each in device.config.space.extended]
            assert [each.name for each in real.extended if each.name != "DOE"] == shown
            assert "DOE" in compare(device)
            hardware, through = Hardware(address(name)), Shown(device)
            control = mailbox.register("DOECtl")
            before = hardware.read(control)
            enable = next(mask_of(each) for each in control.fields() if each.name == "IntEn")
            through.write(control, before ^ enable)
            assert hardware.read(control) == before ^ enable == through.read(control)
            through.write(control, before)


def one_behind_two_of_a_kind_is_not_hidden(backend: str) -> None:
    """Find two capabilities without a gap taken for one, so that the second's pointer is the device's."""
    with Device.open(address("memory"), backend=backend) as device:
        places = [(each.name, each.offset, each.offset + each.size) for each in device.config.space.extended]
        assert ("CXLFlexBus", 0x170) in [place[:2] for place in places]
        assert "DOE" in [place[0] for place in places], places
        assert compare(device) == set()


def a_virtual_function_gets_what_it_lacks(backend: str) -> None:
    with virtual_function(backend) as (virtual, token):
        # Of those in the lab, only the newest kernel asks at the device's own node.
        given = token if backend == "container" or NEWEST else None
        with Device.open(virtual, backend=backend, token=given) as device:
            changed = compare(device)
        expected = {"VendorID.VendorID", "DeviceID.DeviceID", "BAR0.Type", "BAR3.Type"}
        assert {f"Header.{name}" for name in expected} <= changed, changed


def writes_go_where_the_rows_say(backend: str) -> None:
    """Write ones and zeros to every register that is safe to write, and look at the hardware each time."""
    moved = set()
    # It is one piece of the kernel behind both; what is slow is done once.
    names = NAMES if backend == "container" else ("edu", "network")
    for name in names:
        with Device.open(address(name), backend=backend) as device:
            hardware, shown = Hardware(address(name)), Shown(device)
            for structure in device.config.space.structures:
                for register in () if structure.name in LEFT_ALONE else structure.registers:
                    with said_of(f"{name} {structure.name}.{register.name}"):
                        changed = write_both_ways(hardware, shown, register)
                    moved |= {(name, f"{structure.name}.{register.name}.{field}") for field in changed}
    expected = {each for each in MOVED if each[0] in names}
    assert moved >= expected, sorted(expected - moved)


@contextlib.contextmanager
def said_of(what: str) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error


def write_both_ways(hardware: Hardware, shown: Shown, register: RegisterValue) -> set[str]:
    """Write all fields but those that are acted on; return those that the hardware let change."""
    fields = [each for each in register.fields() if each.view not in ACTED_ON]
    passing = sum(mask_of(each) for each in fields if each.view is View.WRITABLE)
    written = sum(mask_of(each) for each in fields)
    real, first = hardware.read(register), shown.read(register)
    found = []
    for ones in (written, 0):
        without = write_without(hardware, register, real, passing, ones)
        shown.write(register, rest(register, first, written) | ones)
        found.append(hardware.read(register))
        seen = shown.read(register)
        for field in fields:
            expected = without if field.view is View.WRITABLE else real
            check_field(register, field, expected, found[-1], (first, ones, seen))
        shown.write(register, rest(register, first, 0))
    return {each.name for each in fields if (found[0] ^ found[1]) & mask_of(each)}


def rest(register: RegisterValue, value: int, mask: int) -> int:
    """Return a register's content without a mask, and without what a one would clear."""
    return value & ~mask & ~sum(mask_of(each) for each in register.fields() if each.access.clears)


def write_without(hardware: Hardware, register: RegisterValue, real: int, passing: int, ones: int) -> int:
    """Return what the hardware makes of the same bits when they come past VFIO."""
    if not passing:
        return real
    hardware.write(register, rest(register, real, passing) | ones & passing)
    found = hardware.read(register)
    hardware.write(register, rest(register, real, 0))
    return found


def check_field(
    register: RegisterValue, field: FieldValue, expected: int, found: int, views: tuple[int, int, int]
) -> None:
    """Compare the hardware with what is expected of it, and what is shown with what its view says."""
    mask = mask_of(field)
    first, ones, seen = (view & mask for view in views)
    said = f"{field.name}, {field.view}: {found & mask:#x} in the hardware, {seen:#x} is shown"
    assert (found ^ expected) & mask == 0, said
    if field.view is View.WRITABLE:
        assert seen == found & mask, said
    elif field.view is not View.VIRTUAL:
        assert seen == first, said
    # What a BAR keeps of its address is its size, and a check of its own.
    elif not register.name.startswith(("BAR", "ROM")):
        assert seen == ones, said


def what_is_kept_could_have_changed(backend: str) -> None:
    """Show that the hardware lets some of the guarded fields change, so that it is VFIO that guards them."""
    for name, paths in KEPT.items():
        with Device.open(address(name), backend=backend) as device:
            hardware, shown = Hardware(address(name)), Shown(device)
            for structure, register, field in [device_field(device, path) for path in paths]:
                before = hardware.read(register)
                value = before ^ mask_of(field) & -mask_of(field) << (12 if "BAR" in register.name else 0)
                hardware.write(register, value)
                without = hardware.read(register)
                hardware.write(register, before)
                assert without != before, f"{name}: the hardware keeps {structure.name}.{register.name}"
                shown.write(register, value)
                assert hardware.read(register) == before, f"{name}: {structure.name}.{register.name}"
                shown.write(register, before)


def device_field(device: Device, path: tuple[str, str, str]) -> tuple[Structure, RegisterValue, FieldValue]:
    space = device.config.space
    structure = space.header if path[0] == "Header" else space.find(path[0])
    assert structure is not None, path
    register = structure.register(path[1])
    return structure, register, next(each for each in register.fields() if each.name == path[2])


def interrupts_are_disabled(backend: str) -> None:
    """Find the pin masked by the copy of the bit."""
    with Device.open(address("edu"), backend=backend) as device, device.regions[0].map() as bar:
        event = device.irqs.intx[0].eventfd()
        _, command, field = device_field(device, ("Header", "Command", "DisINTx"))
        shown = Shown(device)
        first = shown.read(command)
        shown.write(command, first | mask_of(field))
        assert shown.read(command) & mask_of(field)
        bar.write32(0x60, 1)
        assert event.wait(0.2) == 0
        shown.write(command, first & ~mask_of(field))
        assert event.wait(5) == 1
        bar.write32(0x64, 1)


def a_function_is_reset(backend: str) -> None:
    vlan_type = 0x38
    with Device.open(address("network"), backend=backend) as device:
        bar = device.regions[0].syscalls()
        before = bar.read32(vlan_type)
        bar.write32(vlan_type, before ^ 0xFFFF)
        assert bar.read32(vlan_type) == before ^ 0xFFFF
        _, control, field = device_field(device, ("PCIe", "DevCtl", "FLReset"))
        shown = Shown(device)
        shown.write(control, shown.read(control) | mask_of(field))
        assert not shown.read(control) & mask_of(field)
        assert bar.read32(vlan_type) == before


def power_is_switched(backend: str) -> None:
    with Device.open(address("network"), backend=backend) as device:
        _, status, field = device_field(device, ("PM", "PMCSR", "State"))
        hardware, shown = Hardware(address("network")), Shown(device)
        first = shown.read(status)
        shown.write(status, first | 3)
        assert hardware.read(status) & mask_of(field) == 3
        shown.write(status, first)
        assert hardware.read(status) & mask_of(field) == 0


def messages_are_configured(backend: str) -> None:
    """Find the number of messages in the hardware, within its limit, and the switch nowhere."""
    with Device.open(address("edu"), backend=backend) as device:
        _, flags, _ = device_field(device, ("MSI", "Flags", "Enable"))
        hardware, shown = Hardware(address("edu")), Shown(device)
        before = hardware.read(flags)
        limit = before >> 1 & 7
        shown.write(flags, before | 0x71)
        assert not hardware.read(flags) & 1
        assert hardware.read(flags) >> 4 & 7 == limit
        shown.write(flags, before)


def reads_are_requested(backend: str) -> None:
    with Device.open(address("disk"), backend=backend) as device:
        _, control, field = device_field(device, ("PCIe", "DevCtl", "MaxReadReq"))
        shown = Shown(device)
        first = shown.read(control)
        shown.write(control, first & ~mask_of(field) | 5 << field.low)
        assert shown.read(control) & mask_of(field) == 5 << field.low
        shown.write(control, first)


def the_command_says_the_same_of_an_open_device(backend: str) -> None:
    """Compare what is foretold with what it reads of the device, which it opens when asked to."""
    said = []
    for more in ((), ("--open",)):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            status = main(["config", address("disk"), "--diff", "vfio", *more])
        said.append(output.getvalue().splitlines()[2:])
        assert status == 1, (status, said)
    assert said[0] == said[1], said
    assert "  DOE: at 0x100 -> absent" in said[0], said


CHECKS = [
    what_is_shown_is_foretold,
    a_hidden_capability_is_out_of_the_list_and_within_reach,
    one_behind_two_of_a_kind_is_not_hidden,
    a_virtual_function_gets_what_it_lacks,
    writes_go_where_the_rows_say,
    what_is_kept_could_have_changed,
    interrupts_are_disabled,
    a_function_is_reset,
    power_is_switched,
    messages_are_configured,
    reads_are_requested,
    the_command_says_the_same_of_an_open_device,
]

if __name__ == "__main__":
    only = sys.argv[1:]
    bind(*NAMES)
    vfio_lab.run(CHECKS, *only)

"""One small machine, by hand: a host to run every command on, and how to run them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from vfiokit.address import AddressRange, PciAddress
from vfiokit.cli import main
from vfiokit.model.device import AcsRegisters, ConfigFacts, HeaderType, PciDevice, PortType
from vfiokit.model.group import IommuGroup, ReservedRegion
from vfiokit.model.host import Driver, Host, Name, Platform
from vfiokit.model.iommu import IommuKind, IommuUnit
from vfiokit.sysfs.capture import pack
from vfiokit.sysfs.memory import MemorySource
from vfiokit.testing import layout

__all__ = ["MACHINE", "Answer", "Command", "at", "changed", "machine"]

_FULL_ACS = AcsRegisters(capability=0x5F, control=0x1D)
_MSI = ReservedRegion(range=AddressRange(0xFEE00000, 0xFEF00000), type="msi")
_DIRECT = ReservedRegion(range=AddressRange(0x7B800000, 0x7BA00000), type="direct")


def at(text: str) -> PciAddress:
    """Return an address from its text."""
    return PciAddress.parse(text)


def _port(text: str, secondary: int, acs: AcsRegisters | None) -> PciDevice:
    facts = ConfigFacts(
        header_type=HeaderType.BRIDGE,
        secondary=secondary,
        subordinate=secondary,
        port_type=PortType.ROOT_PORT,
        acs=acs,
    )
    return PciDevice(
        address=at(text),
        vendor=0x1B36,
        device=0x000C,
        subsystem_vendor=0,
        subsystem_device=0,
        class_code=0x060400,
        revision=0,
        driver="pcieport",
        is_bridge=True,
        iommu="dmar0",
        config=facts,
    )


def _function(text: str, ids: str, class_code: int, driver: str | None, below: str | None) -> PciDevice:
    vendor, device = (int(part, 16) for part in ids.split(":"))
    address = at(text)
    port_type = PortType.ENDPOINT if below else PortType.RC_INTEGRATED_ENDPOINT
    return PciDevice(
        address=address,
        vendor=vendor,
        device=device,
        subsystem_vendor=vendor,
        subsystem_device=1,
        class_code=class_code,
        revision=0xA1,
        driver=driver,
        numa_node=0,
        parent=at(below) if below else None,
        iommu="dmar0",
        config=ConfigFacts(multifunction=address.bus == 1, port_type=port_type),
    )


def _devices() -> tuple[PciDevice, ...]:
    gpu = _function("01:00.0", "10de:1b81", 0x030000, "nouveau", "00:01.0")
    ssd = _function("03:00.0", "144d:a808", 0x010802, "vfio-pci", "00:1d.0")
    return (
        _function("00:00.0", "8086:3e1f", 0x060000, None, None),
        _port("00:01.0", 1, None),
        _port("00:1c.0", 2, _FULL_ACS),
        _port("00:1d.0", 3, _FULL_ACS),
        _port("00:1e.0", 4, _FULL_ACS),
        replace(gpu, boot_vga=True),
        _function("01:00.1", "10de:10f0", 0x040300, "snd_hda_intel", "00:01.0"),
        _function("02:00.0", "8086:1533", 0x020000, "igb", "00:1c.0"),
        replace(ssd, driver_override="vfio-pci", vfio_device="vfio0"),
        _function("04:00.0", "144d:a808", 0x010802, None, "00:1e.0"),
        _function("10000:00:02.0", "8086:1533", 0x020000, "igb", None),
    )


_GROUPS: dict[int, tuple[str, ...]] = {
    0: ("00:00.0",),
    1: ("00:01.0", "01:00.0", "01:00.1"),
    2: ("00:1c.0",),
    3: ("02:00.0",),
    4: ("00:1d.0",),
    5: ("00:1e.0",),
    14: ("03:00.0",),
    200: ("04:00.0",),
    4000: ("10000:00:02.0",),
}


def machine() -> Host:
    """Build a machine with nine groups: viable, in use, with reserved memory, in a domain of 32 bits."""
    group_of = {at(text): number for number, members in _GROUPS.items() for text in members}
    devices = tuple(replace(device, group=group_of[device.address]) for device in _devices())
    groups = tuple(
        IommuGroup(
            id=number,
            type="DMA-FQ",
            devices=tuple(map(at, members)),
            reserved_regions=(_DIRECT, _MSI) if number == 200 else (_MSI,),
        )
        for number, members in _GROUPS.items()
    )
    unit = IommuUnit(
        name="dmar0",
        kind=IommuKind.INTEL,
        registers=(
            ("version", 0x10),
            ("address", 0xFED91000),
            ("cap", 0xD2008C40660462),
            ("ecap", 0xF050DA),
        ),
        devices=tuple(device.address for device in devices),
    )
    return Host(
        devices=devices,
        groups=groups,
        units=(unit,),
        drivers=(
            Driver(name="igb", module="igb"),
            Driver(name="nouveau", module="nouveau"),
            Driver(name="pcieport"),
            Driver(name="snd_hda_intel", module="snd_hda_intel"),
            Driver(name="vfio-pci", module="vfio_pci", uses_vfio_core=True),
        ),
        names=(
            Name(kind="block", name="nvme0n1", address=at("04:00.0")),
            Name(kind="net", name="enp2s0", address=at("02:00.0")),
        ),
        platform=Platform(
            kernel_release="6.12.0",
            command_line="quiet",
            hypervisor=False,
            architecture="x86",
            acpi_tables=("DMAR",),
            has_iommu_class=True,
            interrupt_remapping=True,
            unsafe_interrupts=(),
            noiommu_mode=None,
        ),
        tables=(("DMAR", b"no table"),),
    )


MACHINE = machine()


def changed(address: str, **facts: Any) -> Host:
    """Return the machine with facts of one function changed."""
    devices = tuple(
        replace(each, **facts) if each.address == at(address) else each for each in MACHINE.devices
    )
    return replace(MACHINE, devices=devices)


@dataclass(frozen=True)
class Answer:
    """What a command said: its exit status and both streams."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one document that it is."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error; there must be no other, and nothing on standard output."""
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith(("vfiokit: ", "Error: "))
        return self.err.rstrip("\n")


@dataclass(frozen=True)
class Command:
    """Runs commands in this process on a host, a tree, or any root.

    :ivar capsys: where their streams are caught.
    :ivar directory: where captures of hosts are put.
    """

    capsys: pytest.CaptureFixture[str]
    directory: Path

    def __call__(self, *arguments: str, root: Host | MemorySource | str | Path = MACHINE) -> Answer:
        if isinstance(root, Host):
            root = layout(root)
        if isinstance(root, MemorySource):
            file = self.directory / "host.tar.xz"
            file.write_bytes(pack(root, kernel="6.12.0", tool="test"))
            root = file
        self.capsys.readouterr()
        status = main(["--root", str(root), *arguments])
        caught = self.capsys.readouterr()
        return Answer(status, caught.out, caught.err)


Tree = Callable[[Host], Path]

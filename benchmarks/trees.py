"""Trees of sysfs on disk, as large as asked, with what a kernel shows of a function: for lspci as for us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vfiokit.address import AddressRange, PciAddress
from vfiokit.model.device import AcsRegisters, ConfigFacts, HeaderType, PciDevice, PortType
from vfiokit.model.group import IommuGroup, ReservedRegion
from vfiokit.model.host import Driver, Host, Platform
from vfiokit.testing.layout import device_directories, layout, write_tree

ACS = AcsRegisters(capability=0x1F, control=0x1D)
MSI = ReservedRegion(range=AddressRange(0xFEE00000, 0xFEF00000), type="msi")
SLOTS_A_BUS = 32
FUNCTIONS_A_LINK = 4

# What a kernel shows beside the attributes that vfiokit reads: a large directory costs more to look into.
ATTRIBUTES: dict[str, Callable[[Any], str]] = {
    "vendor": lambda device: f"0x{device.vendor:04x}\n",
    "device": lambda device: f"0x{device.device:04x}\n",
    "subsystem_vendor": lambda device: f"0x{device.subsystem_vendor:04x}\n",
    "subsystem_device": lambda device: f"0x{device.subsystem_device:04x}\n",
    "class": lambda device: f"0x{device.class_code:06x}\n",
    "irq": lambda device: f"{device.address.devfn}\n",
    "resource": lambda _: "0x0000000000000000 0x0000000000000000 0x0000000000000000\n" * 13,
    "modalias": lambda device: f"pci:v{device.vendor:08X}d{device.device:08X}sv*sd*bc*sc*i*\n",
    "local_cpulist": lambda _: "0-63\n",
}
OTHERS = (
    *("aer_dev_correctable", "aer_dev_fatal", "aer_dev_nonfatal", "ari_enabled", "broken_parity_status"),
    *("consistent_dma_mask_bits", "current_link_speed", "current_link_width", "d3cold_allowed"),
    *("dma_mask_bits", "enable", "local_cpus", "max_link_speed", "max_link_width", "msi_bus", "power_state"),
    *("remove", "rescan", "reset", "reset_method", "resource0"),
)
DIRECTORIES = ("link", "msi_irqs", "power")


def host(functions: int) -> Host:
    """Return a host of that many functions: root ports, each with an endpoint of four functions below it."""
    devices = sorted(_devices(functions), key=lambda device: device.address)
    members: dict[int, list[PciAddress]] = {}
    for device in devices:
        assert isinstance(device.group, int)
        members.setdefault(device.group, []).append(device.address)
    groups = tuple(
        IommuGroup(id=number, type="DMA-FQ", devices=tuple(found), reserved_regions=(MSI,))
        for number, found in sorted(members.items())
    )
    drivers = (Driver(name="nvme", module="nvme"), Driver(name="pcieport"))
    platform = Platform(
        kernel_release="6.12.0",
        command_line="quiet",
        hypervisor=False,
        architecture="x86",
        acpi_tables=None,
        has_iommu_class=True,
        interrupt_remapping=True,
        unsafe_interrupts=(),
        noiommu_mode=None,
    )
    return Host(devices=tuple(devices), groups=groups, drivers=drivers, platform=platform)


def write(functions: int, directory: Path) -> None:
    """Write such a host below *directory*, with what lspci wants to see of it."""
    made = host(functions)
    write_tree(layout(made), directory)
    places = device_directories(made)
    for device in made.devices:
        _complete(directory / places[device.address], device)


def _devices(functions: int) -> Iterator[PciDevice]:
    left, domain, bus, group = functions, 0, 0, 0
    while left > 0:
        root_bus, link = bus, bus + 1
        for slot in range(SLOTS_A_BUS):
            if left <= 0 or link > 0xFF:
                break
            port = PciAddress(domain, root_bus, slot, 0)
            yield _port(port, link, group)
            count = min(FUNCTIONS_A_LINK, left - 1)
            yield from (_endpoint(PciAddress(domain, link, 0, n), port, group + 1) for n in range(count))
            left -= 1 + count
            group += 2
            link += 1
        domain, bus = (domain + 1, 0) if link + SLOTS_A_BUS > 0xFF else (domain, link)


def _port(address: PciAddress, secondary: int, group: int) -> PciDevice:
    return PciDevice(
        address=address,
        vendor=0x8086,
        device=0x347A,
        subsystem_vendor=0x8086,
        subsystem_device=0,
        class_code=0x060400,
        revision=4,
        driver="pcieport",
        numa_node=address.domain & 1,
        is_bridge=True,
        group=group,
        iommu=None,
        config=ConfigFacts(
            header_type=HeaderType.BRIDGE,
            secondary=secondary,
            subordinate=secondary,
            port_type=PortType.ROOT_PORT,
            acs=ACS,
        ),
    )


def _endpoint(address: PciAddress, port: PciAddress, group: int) -> PciDevice:
    return PciDevice(
        address=address,
        vendor=0x144D,
        device=0xA808,
        subsystem_vendor=0x144D,
        subsystem_device=0xA801,
        class_code=0x010802,
        revision=0,
        driver="nvme",
        numa_node=address.domain & 1,
        parent=port,
        group=group,
        iommu=None,
        config=ConfigFacts(multifunction=True, port_type=PortType.ENDPOINT),
    )


def _complete(path: Path, device: PciDevice) -> None:
    for name, show in ATTRIBUTES.items():
        (path / name).write_text(show(device))
    for name in OTHERS:
        (path / name).write_text("1\n")
    for name in DIRECTORIES:
        (path / name).mkdir()

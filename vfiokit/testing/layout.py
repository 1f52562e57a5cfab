"""A host laid out as the tree that Linux would show of it: the inverse of a scan."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vfiokit.address import PciAddress
from vfiokit.model.device import ConfigFacts, PciDevice
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Host
from vfiokit.model.iommu import IommuKind, IommuUnit
from vfiokit.model.unknown import Unknown, known
from vfiokit.sysfs.memory import Directory, Failure, File, Link, MemorySource
from vfiokit.testing.config_bytes import config_bytes

__all__ = ["device_directories", "layout", "write_tree"]

_PCI = "sys/bus/pci"
_GROUPS = "sys/kernel/iommu_groups"
_TABLES = "sys/firmware/acpi/tables"
_UNSAFE_MODULES = ("iommufd", "vfio_iommu_type1")
_CPUINFO = {
    "x86": "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme{}\n",
    "arm": "CPU implementer\t: 0x41\n",
    "riscv": "hart\t\t: 0\n",
}


def layout(host: Host) -> MemorySource:
    """Lay a host out in memory so that a scan gives it back.

    An unknown value becomes a file that fails with the error its reason names; ``NOT_READ`` and other
    unknowns become an absent file.
    """
    tree = MemorySource("drawn")
    tree.add(f"{_PCI}/devices", Directory())
    tree.add(_GROUPS, Directory())
    places = device_directories(host)
    for device in host.devices:
        _put_device(tree, device, places)
    for group in host.groups:
        _put_group(tree, group, places)
    for unit in host.units:
        _put_unit(tree, unit)
    for entry in host.names:
        tree.add(
            f"sys/class/{entry.kind}/{entry.name}",
            Link(f"../../../{places[entry.address]}/{entry.kind}/{entry.name}"),
        )
    _put_drivers(tree, host)
    _put_platform(tree, host)
    return tree


def write_tree(tree: MemorySource, directory: Path | str) -> None:
    """Write a tree to disk below *directory*; a node that fails becomes a file nobody may read."""
    for path, node in tree.nodes():
        target = Path(directory, path)
        if isinstance(node, Directory):
            target.mkdir(parents=True, exist_ok=True)
        elif isinstance(node, Link):
            target.symlink_to(node.target)
        else:
            target.write_bytes(node.data if isinstance(node, File) else b"")
            target.chmod(node.mode or 0o000)


def device_directories(host: Host) -> dict[PciAddress, str]:
    """Return where each function's directory stands, from the root."""
    places: dict[PciAddress, str] = {}

    def place(device: PciDevice) -> str:
        if device.address not in places:
            if device.parent is not None:
                above = place(host.by_address[device.parent])
            else:
                base = (
                    "sys/devices" if device.dma_device is None else place(host.by_address[device.dma_device])
                )
                above = f"{base}/pci{device.address.domain:04x}:{device.address.bus:02x}"
            places[device.address] = f"{above}/{device.address}"
        return places[device.address]

    for device in host.devices:
        place(device)
    return places


def _put_device(tree: MemorySource, device: PciDevice, places: dict[PciAddress, str]) -> None:
    path = places[device.address]
    up = "../" * path.count("/")
    tree.add(path, Directory())
    tree.add(f"{_PCI}/devices/{device.address}", Link(f"../../../{path.removeprefix('sys/')}"))
    tree.add(f"{path}/uevent", File("".join(_uevent_lines(device)).encode(), 0o644))
    for name, value, show in _attributes(device):
        _put(tree, f"{path}/{name}", value, show)
    for name, target in _links(device, up, places):
        _put_link(tree, f"{path}/{name}", target)
    if device.is_bridge:
        tree.add(f"{path}/pci_bus", Directory())
    if isinstance(device.vfio_device, str):
        tree.add(f"{path}/vfio-dev/{device.vfio_device}", Directory())
    if isinstance(device.config, ConfigFacts):
        tree.add(f"{path}/config", File(config_bytes(device), 0o644))


def _uevent_lines(device: PciDevice) -> Iterator[str]:
    if device.driver is not None:
        yield f"DRIVER={device.driver if isinstance(device.driver, str) else 'hidden'}\n"
    if isinstance(device.class_code, int):
        yield f"PCI_CLASS={device.class_code:04X}\n"
    if isinstance(device.vendor, int) and isinstance(device.device, int):
        yield f"PCI_ID={device.vendor:04X}:{device.device:04X}\n"
    if isinstance(device.subsystem_vendor, int) and isinstance(device.subsystem_device, int):
        yield f"PCI_SUBSYS_ID={device.subsystem_vendor:04X}:{device.subsystem_device:04X}\n"
    yield f"PCI_SLOT_NAME={device.address}\n"


_Row = tuple[str, object, Callable[[object], str]]


def _attributes(device: PciDevice) -> tuple[_Row, ...]:
    node = -1 if device.numa_node is None else device.numa_node
    override = "(null)" if device.driver_override is None else device.driver_override
    return (
        ("revision", device.revision, lambda value: f"0x{value:02x}"),
        ("numa_node", node, str),
        ("driver_override", override, str),
        ("boot_vga", device.boot_vga, _bit),
    )


def _links(
    device: PciDevice, up: str, places: dict[PciAddress, str]
) -> tuple[tuple[str, str | Unknown | None], ...]:
    physfn = device.physfn
    return (
        ("driver", _joined(f"{up}bus/pci/drivers", device.driver)),
        ("iommu_group", _joined(f"{up}kernel/iommu_groups", device.group)),
        ("iommu", _joined(f"{up}devices/virtual/iommu", device.iommu)),
        ("physfn", f"../{physfn}" if isinstance(physfn, PciAddress) else physfn),
    )


def _joined(directory: str, name: object) -> str | Unknown | None:
    return name if name is None or isinstance(name, Unknown) else f"{directory}/{name}"


def _put(tree: MemorySource, path: str, value: object, show: Callable[[object], str]) -> None:
    if isinstance(value, Unknown):
        _put_failure(tree, path, value)
    elif value is not None:
        tree.add(path, File(f"{show(value)}\n".encode()))


def _put_link(tree: MemorySource, path: str, target: str | Unknown | None) -> None:
    if isinstance(target, Unknown):
        _put_failure(tree, path, target)
    elif target is not None:
        tree.add(path, Link(target))


def _put_failure(tree: MemorySource, path: str, value: Unknown) -> None:
    number = next((number for number in errno.errorcode if os.strerror(number) == value.reason), None)
    if number is not None:
        tree.add(path, Failure(number))


def _put_group(tree: MemorySource, group: IommuGroup, places: dict[PciAddress, str]) -> None:
    path = f"{_GROUPS}/{group.id}"
    tree.add(path, Directory())
    if isinstance(group.devices, Unknown):
        _put_failure(tree, f"{path}/devices", group.devices)
    else:
        tree.add(f"{path}/devices", Directory())
        for address in group.devices:
            tree.add(
                f"{path}/devices/{address}", Link(f"../../../../{places[address].removeprefix('sys/')}")
            )
    for name in group.others:
        tree.add(f"{path}/devices/{name}", Link(f"../../../../devices/platform/{name}"))
    _put(tree, f"{path}/type", group.type, str)
    _put(tree, f"{path}/name", group.name, str)
    regions = group.reserved_regions
    if isinstance(regions, Unknown):
        _put_failure(tree, f"{path}/reserved_regions", regions)
    elif regions is not None:
        rows = (f"0x{each.range.start:016x} 0x{each.range.end - 1:016x} {each.type}\n" for each in regions)
        tree.add(f"{path}/reserved_regions", File("".join(rows).encode()))


def _put_unit(tree: MemorySource, unit: IommuUnit) -> None:
    path = f"sys/devices/virtual/iommu/{unit.name}"
    tree.add(f"sys/class/iommu/{unit.name}", Link(f"../../devices/virtual/iommu/{unit.name}"))
    tree.add(f"{path}/devices", Directory())
    for address in known(unit.devices, ()):
        tree.add(f"{path}/devices/{address}", Link(f"../../../../{address}"))
    values = dict(unit.registers)
    for attribute, names, show in _UNIT_ATTRIBUTES.get(unit.kind, ()):
        shown = [values[name] for name in names if name in values]
        unknown = next((value for value in shown if isinstance(value, Unknown)), None)
        _put(tree, f"{path}/{attribute}", unknown or (tuple(shown) if shown else None), show)


def _put_drivers(tree: MemorySource, host: Host) -> None:
    for driver in host.drivers:
        tree.add(f"{_PCI}/drivers/{driver.name}", Directory())
        if isinstance(driver.module, str):
            tree.add(f"{_PCI}/drivers/{driver.name}/module", Link(f"../../../../module/{driver.module}"))
            if driver.uses_vfio_core:
                holder = f"sys/module/vfio_pci_core/holders/{driver.module}"
                tree.add(holder, Link(f"../../{driver.module}"))


def _put_platform(tree: MemorySource, host: Host) -> None:
    platform = host.platform
    _put(tree, "proc/sys/kernel/osrelease", platform.kernel_release, str)
    _put(tree, "proc/cmdline", platform.command_line, str)
    if isinstance(platform.architecture, str):
        text = _CPUINFO.get(platform.architecture, "processor\t: 0\n")
        tree.add("proc/cpuinfo", File(text.format(" hypervisor" if platform.hypervisor else "").encode()))
    chip = "IR-PCI-MSI" if platform.interrupt_remapping else "PCI-MSI"
    _put(
        tree,
        "proc/interrupts",
        platform.interrupt_remapping,
        lambda _: f"  24:  0  {chip}-0000:00:1f.2  0-edge  ahci",
    )
    if isinstance(platform.acpi_tables, tuple):
        tree.add(_TABLES, Directory())
        tree.add(f"{_TABLES}/FACP", File(b"never read"))
    for name, table in host.tables:
        if isinstance(table, Unknown):
            _put_failure(tree, f"{_TABLES}/{name}", table)
        else:
            tree.add(f"{_TABLES}/{name}", File(table, 0o400))
    for name in _UNSAFE_MODULES:
        modules = known(platform.unsafe_interrupts, ())
        tree.add(
            f"sys/module/{name}/parameters/allow_unsafe_interrupts",
            File(b"Y\n" if name in modules else b"N\n"),
        )
    _put(tree, "sys/module/vfio/parameters/enable_unsafe_noiommu_mode", platform.noiommu_mode, _letter)


def _bit(value: object) -> str:
    return "1" if value else "0"


def _letter(value: object) -> str:
    return "Y" if value else "N"


def _hex(values: Any) -> str:
    return ":".join(f"{value:x}" for value in values)


def _version(values: Any) -> str:
    return f"{values[0] >> 4}:{values[0] & 0xF}"


_UNIT_ATTRIBUTES: dict[IommuKind, tuple[tuple[str, tuple[str, ...], Callable[[object], str]], ...]] = {
    IommuKind.INTEL: (
        ("intel-iommu/version", ("version",), _version),
        ("intel-iommu/address", ("address",), _hex),
        ("intel-iommu/cap", ("cap",), _hex),
        ("intel-iommu/ecap", ("ecap",), _hex),
    ),
    IommuKind.AMD: (
        ("amd-iommu/cap", ("cap",), _hex),
        ("amd-iommu/features", ("features", "features2"), _hex),
    ),
}

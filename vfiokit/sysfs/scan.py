"""The one reader of a host: :func:`scan` turns a source into a :class:`~vfiokit.model.host.Host`.

It reads what it is asked for and nothing else, and it follows links itself, so that a capture of
what it read is exactly what another scan needs.
"""

import errno
import re
from collections.abc import Callable
from enum import Flag, auto
from typing import TypeVar

from vfiokit.address import PciAddress
from vfiokit.errors import BadRoot
from vfiokit.model.device import ConfigFacts, HeaderType, PciDevice
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Driver, Host
from vfiokit.model.iommu import IommuUnit
from vfiokit.model.unknown import NOT_READ, Unknown, known
from vfiokit.sysfs import attributes
from vfiokit.sysfs.config import config_facts
from vfiokit.sysfs.platform import parse_address, read_names, read_platform, read_tables
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import Source, follow, reason

__all__ = ["Part", "scan"]

_DEVICES = "sys/bus/pci/devices"
_DRIVERS = "sys/bus/pci/drivers"
_GROUPS = "sys/kernel/iommu_groups"
_VFIO_CORE_HOLDERS = "sys/module/vfio_pci_core/holders"
_BRIDGE_CLASSES = (0x0604, 0x0607)
_DISPLAY_CLASSES = (0x00, 0x03)
"""Base classes with a VGA subclass: of old devices without a class of their own, and of displays."""
_ID_PAIR = re.compile("([0-9A-Fa-f]{1,4}):([0-9A-Fa-f]{1,4})")
_HEX = re.compile("[0-9A-Fa-f]{1,6}")
_NUMBER = re.compile("0|[1-9][0-9]{0,9}")
_ROOT_BUS = re.compile("pci[0-9a-f]{4,8}:[0-9a-f]{2}")

_T = TypeVar("_T")


class Part(Flag):
    """What a scan reads beyond the listing of functions and groups."""

    REVISION = auto()
    """The revision of each function."""
    CONFIG = auto()
    """Header and topology facts from config space."""
    UNITS = auto()
    """IOMMU units and the functions behind them."""
    TABLES = auto()
    """The ACPI tables that describe IOMMUs."""
    NAMES = auto()
    """Network interfaces and block devices, and the functions they belong to."""
    LISTING = 0
    """Nothing beyond the listing."""
    ALL = REVISION | CONFIG | UNITS | TABLES | NAMES


def scan(source: Source, parts: Part = Part.ALL) -> Host:
    """Read a host.

    What cannot be read is :class:`~vfiokit.model.unknown.Unknown` in the result and listed in its
    ``problems``; what was not asked for is ``NOT_READ``.

    :param source: where from.
    :param parts: what to read beyond functions and groups.
    :raises BadRoot: if the source has no ``sys`` directory.
    """
    reader = Reader(source)
    if not reader.names("sys"):
        raise BadRoot(
            "no host: it has no readable sys directory",
            operation="open",
            subject=source.name,
            hint="a directory that looks like /, a capture, or example",
        )
    groups = _groups(reader)
    devices = _devices(reader, parts, _membership(groups))
    return Host(
        devices=devices,
        groups=groups,
        drivers=_drivers(reader, devices),
        units=_units(reader) if Part.UNITS in parts else (),
        names=read_names(reader) if Part.NAMES in parts else (),
        platform=read_platform(reader),
        tables=read_tables(reader) if Part.TABLES in parts else (),
        # A directory lists its names in any order; what is read must not depend on it.
        problems=tuple(sorted(reader.problems, key=lambda problem: (problem.path, problem.reason))),
    )


def _units(reader: Reader) -> tuple[IommuUnit, ...]:
    # Imported here: a listing needs no register's decoder.
    from vfiokit.sysfs.units import read_units

    return read_units(reader)


def _groups(reader: Reader) -> tuple[IommuGroup, ...]:
    names = reader.names(_GROUPS)
    if names is None or isinstance(names, Unknown):
        return ()
    groups = [_group(reader, int(name)) for name in names if _NUMBER.fullmatch(name)]
    return tuple(sorted((group for group in groups if group), key=lambda group: group.id))


def _group(reader: Reader, number: int) -> IommuGroup | None:
    path = f"{_GROUPS}/{number}"
    members = reader.names(f"{path}/devices")
    if members is None:
        reader.note(path, "it vanished while it was read")
        return None
    devices: list[PciAddress] = []
    others: list[str] = []
    for name in known(members, []):
        address = parse_address(name)
        if address is None:
            others.append(name)
        else:
            devices.append(address)
    return IommuGroup(
        id=number,
        type=reader.value(f"{path}/type", attributes.line),
        name=reader.value(f"{path}/name", attributes.line),
        devices=members if isinstance(members, Unknown) else tuple(sorted(devices)),
        others=tuple(sorted(others)),
        reserved_regions=reader.value(f"{path}/reserved_regions", attributes.reserved_regions),
    )


def _membership(groups: tuple[IommuGroup, ...]) -> dict[PciAddress, int]:
    return {address: group.id for group in groups for address in known(group.devices, ())}


def _devices(reader: Reader, parts: Part, membership: dict[PciAddress, int]) -> tuple[PciDevice, ...]:
    names = reader.names(_DEVICES)
    if names is None or isinstance(names, Unknown):
        return ()
    devices = (_device(reader, parts, name, membership) for name in names)
    return tuple(sorted((device for device in devices if device), key=lambda device: device.address))


def _device(reader: Reader, parts: Part, name: str, membership: dict[PciAddress, int]) -> PciDevice | None:
    address = parse_address(name)
    if address is None:
        reader.note(f"{_DEVICES}/{name}", "not named like a PCI function")
        return None
    path = _device_path(reader, name)
    entry = _Entry(reader, path)
    if entry.vanished:
        reader.note(path, "it vanished while it was read")
        return None
    vendor, device = entry.pair("PCI_ID", "vendor", "device")
    subsystem_vendor, subsystem_device = entry.pair("PCI_SUBSYS_ID", "subsystem_vendor", "subsystem_device")
    class_code = entry.class_code()
    driver = entry.driver()
    config = _config(reader, path) if Part.CONFIG in parts else NOT_READ
    parent, dma_device = _place(path)
    return PciDevice(
        address=address,
        vendor=vendor,
        device=device,
        subsystem_vendor=subsystem_vendor,
        subsystem_device=subsystem_device,
        class_code=class_code,
        revision=entry.required("revision") if Part.REVISION in parts else NOT_READ,
        driver=driver,
        driver_override=entry.value("driver_override", attributes.override),
        numa_node=entry.value("numa_node", attributes.node),
        is_bridge=_is_bridge(entry, class_code, config),
        parent=parent,
        dma_device=dma_device,
        physfn=entry.link("physfn", PciAddress.parse),
        # The kernel shows the attribute for VGA alone.
        boot_vga=entry.value("boot_vga", attributes.boolean) if _may_be_display(class_code) else None,
        vfio_device=None if driver is None else entry.first_in("vfio-dev"),
        group=membership[address] if address in membership else entry.link("iommu_group", int),
        iommu=entry.unit() if Part.UNITS in parts else NOT_READ,
        config=config,
    )


class _Entry:
    """One function's directory; ``uevent`` holds in one read what several attributes hold."""

    def __init__(self, reader: Reader, path: str) -> None:
        self._reader = reader
        self._path = path
        uevent = reader.value(f"{path}/uevent", attributes.uevent)
        self._has_uevent = isinstance(uevent, dict)
        self._uevent = uevent if isinstance(uevent, dict) else {}
        self.vanished = uevent is None and reader.names(path) is None

    def has_directory(self, name: str) -> bool:
        return self._reader.is_directory(f"{self._path}/{name}")

    def value(self, name: str, parse: Callable[[bytes], _T | None]) -> _T | Unknown | None:
        return self._reader.value(f"{self._path}/{name}", parse)

    def link(self, name: str, parse: Callable[[str], _T]) -> _T | Unknown | None:
        target = self._reader.target(f"{self._path}/{name}")
        if target is None or isinstance(target, Unknown):
            return target
        try:
            return parse(target)
        except ValueError as error:
            return self._reader.note(f"{self._path}/{name}", str(error))

    def first_in(self, name: str) -> str | Unknown | None:
        names = self._reader.names(f"{self._path}/{name}")
        return names if names is None or isinstance(names, Unknown) else min(names, default=None)

    def driver(self) -> str | Unknown | None:
        # uevent names a driver that is still probing too; the link appears when it is bound.
        if self._has_uevent and "DRIVER" not in self._uevent:
            return None
        return self.link("driver", str)

    def unit(self) -> str | Unknown | None:
        # An AMD unit is a PCI function itself: there, a directory of this name holds the unit.
        return None if self.has_directory("iommu") else self.link("iommu", str)

    def class_code(self) -> int | Unknown:
        found = _HEX.fullmatch(self._uevent.get("PCI_CLASS", ""))
        return int(found[0], 16) if found else self.required("class")

    def pair(self, key: str, first: str, second: str) -> tuple[int | Unknown, int | Unknown]:
        """Read two 16-bit identifiers from uevent, else from an attribute each."""
        found = _ID_PAIR.fullmatch(self._uevent.get(key, ""))
        if found:
            return int(found[1], 16), int(found[2], 16)
        return self.required(first), self.required(second)

    def required(self, name: str) -> int | Unknown:
        value = self.value(name, attributes.hexadecimal)
        return Unknown(f"no {name} attribute") if value is None else value


def _device_path(reader: Reader, name: str) -> str:
    """Return where the function's directory really is: its place among the bridges above it."""
    path = f"{_DEVICES}/{name}"
    try:
        return follow(path, reader.source.readlink(path))
    except OSError as error:
        # A copied tree may hold the directory itself where the kernel has a link.
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            reader.note(path, reason(error))
        return path


def _config(reader: Reader, path: str) -> ConfigFacts | Unknown:
    return config_facts(lambda offset, size: reader.part(f"{path}/config", offset, size))


def _place(path: str) -> tuple[PciAddress | None, PciAddress | None]:
    """Return the bridge above a function and the function whose driver made its root bus."""
    names = path.split("/")
    parent = parse_address(names[-2])
    if path.count("/pci") < 2:
        return parent, None
    roots = [index for index, name in enumerate(names) if _ROOT_BUS.fullmatch(name)]
    return parent, parse_address(names[roots[-1] - 1]) if roots else None


def _is_bridge(entry: _Entry, class_code: int | Unknown, config: ConfigFacts | Unknown) -> bool:
    if isinstance(config, ConfigFacts):
        return config.header_type in (HeaderType.BRIDGE, HeaderType.CARDBUS)
    return known(class_code, 0) >> 8 in _BRIDGE_CLASSES or entry.has_directory("pci_bus")


def _may_be_display(class_code: int | Unknown) -> bool:
    return isinstance(class_code, Unknown) or class_code >> 16 in _DISPLAY_CLASSES


def _drivers(reader: Reader, devices: tuple[PciDevice, ...]) -> tuple[Driver, ...]:
    names = sorted({device.driver for device in devices if isinstance(device.driver, str)})
    holders = frozenset(known(reader.names(_VFIO_CORE_HOLDERS), []) or ()) if names else frozenset()
    drivers = []
    for name in names:
        module = reader.target(f"{_DRIVERS}/{name}/module")
        drivers.append(Driver(name=name, module=module, uses_vfio_core=module in holders))
    return tuple(drivers)

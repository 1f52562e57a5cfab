"""Facts about the machine as a whole: kernel, firmware, names of what sits on functions."""

import re
from functools import lru_cache
from typing import TypeVar

from vfiokit.address import PciAddress
from vfiokit.model.host import Name, Platform
from vfiokit.model.unknown import Unknown, known
from vfiokit.sysfs import attributes
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import FILE_LIMIT

__all__ = ["IOMMU_TABLES", "NO_FLAGS", "parse_address", "read_names", "read_platform", "read_tables"]

NO_FLAGS = Unknown("proc/cpuinfo has no flags that tell")
"""The value of what only an x86 processor says of itself: elsewhere the absence of a flag says nothing."""

IOMMU_TABLES = ("DMAR", "IVRS", "IORT", "VIOT", "RIMT")
"""The ACPI tables that describe IOMMUs: Intel, AMD, Arm, virtio, RISC-V."""

_UNITS = "sys/class/iommu"
_TABLES = "sys/firmware/acpi/tables"
_UNSAFE = "sys/module/{}/parameters/allow_unsafe_interrupts"
_UNSAFE_MODULES = ("iommufd", "vfio_iommu_type1")
_NOIOMMU = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
_CLASSES = ("net", "block")
_PCI_NAME = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")

_T = TypeVar("_T")


# A function is named in its own link, in its group and by what is below it.
@lru_cache(maxsize=1 << 16)
def parse_address(name: str) -> PciAddress | None:
    """Return the address that a directory is named for, ``None`` for another name."""
    return PciAddress.parse(name) if _PCI_NAME.fullmatch(name) else None


def read_platform(reader: Reader) -> Platform:
    """Read what explains the groups, or why there are none."""
    cpu = _absent_is_unknown(reader.value("proc/cpuinfo", _text, FILE_LIMIT), "no proc/cpuinfo")
    units = reader.names(_UNITS)
    return Platform(
        kernel_release=_absent_is_unknown(
            reader.value("proc/sys/kernel/osrelease", attributes.line), "no proc/sys/kernel/osrelease"
        ),
        command_line=_absent_is_unknown(reader.value("proc/cmdline", attributes.line), "no proc/cmdline"),
        hypervisor=cpu if isinstance(cpu, Unknown) else _hypervisor(cpu),
        architecture=cpu if isinstance(cpu, Unknown) else _architecture(cpu),
        acpi_tables=_acpi_tables(reader),
        has_iommu_class=units if isinstance(units, Unknown) else bool(units),
        interrupt_remapping=_absent_is_unknown(
            reader.value("proc/interrupts", attributes.interrupt_remapping, FILE_LIMIT), "no proc/interrupts"
        ),
        unsafe_interrupts=_unsafe_interrupts(reader),
        noiommu_mode=reader.value(_NOIOMMU, attributes.boolean),
    )


def read_tables(reader: Reader) -> tuple[tuple[str, bytes | Unknown], ...]:
    """Read the firmware's IOMMU tables as bytes."""
    found = []
    for name in known(_acpi_tables(reader), ()) or ():
        data = reader.value(f"{_TABLES}/{name}", bytes, FILE_LIMIT)
        if data is not None:
            found.append((name, data))
    return tuple(found)


def read_names(reader: Reader) -> tuple[Name, ...]:
    """Read which network interfaces and block devices sit on which functions."""
    found = []
    for kind in _CLASSES:
        for name in known(reader.names(f"sys/class/{kind}"), []) or []:
            path = reader.link(f"sys/class/{kind}/{name}")
            addresses = _PCI_NAME.findall(path) if isinstance(path, str) else []
            if addresses:
                found.append(Name(kind=kind, name=name, address=PciAddress.parse(addresses[-1])))
    return tuple(sorted(found, key=lambda entry: (entry.kind, entry.name)))


def _acpi_tables(reader: Reader) -> tuple[str, ...] | Unknown | None:
    names = reader.names(_TABLES)
    return (
        names
        if names is None or isinstance(names, Unknown)
        else tuple(name for name in IOMMU_TABLES if name in names)
    )


def _unsafe_interrupts(reader: Reader) -> tuple[str, ...] | Unknown:
    values = {name: reader.value(_UNSAFE.format(name), attributes.boolean) for name in _UNSAFE_MODULES}
    unread = [value for value in values.values() if isinstance(value, Unknown)]
    return unread[0] if unread else tuple(name for name, value in values.items() if value)


_ARCHITECTURES = (("vendor_id", "x86"), ("CPU implementer", "arm"), ("hart", "riscv"))


def _architecture(cpuinfo: str) -> str:
    return next((name for key, name in _ARCHITECTURES if re.search(rf"^{key}\s*:", cpuinfo, re.M)), "")


def _hypervisor(cpuinfo: str) -> bool | Unknown:
    flags = re.search(r"^flags\s*:(.*)", cpuinfo, re.M)
    return "hypervisor" in flags[1].split() if flags else NO_FLAGS


def _absent_is_unknown(value: _T | Unknown | None, why: str) -> _T | Unknown:
    return Unknown(why) if value is None else value


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")

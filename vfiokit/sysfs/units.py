"""The IOMMU units that drivers registered under ``/sys/class/iommu``, with their capability registers."""

import re
from collections.abc import Callable
from typing import NamedTuple

from vfiokit.address import PciAddress
from vfiokit.model.iommu import IommuKind, IommuUnit
from vfiokit.model.unknown import Unknown, known
from vfiokit.sysfs import attributes
from vfiokit.sysfs.platform import parse_address
from vfiokit.sysfs.reader import Reader
from vfiokit.translation.capabilities import parse_amd_features, parse_register, parse_vtd_version

__all__ = ["read_units"]

_UNITS = "sys/class/iommu"
_KINDS = (
    ("dmar", IommuKind.INTEL),
    ("ivhd", IommuKind.AMD),
    ("smmu", IommuKind.ARM),
    ("arm-smmu", IommuKind.ARM),
    ("virtio", IommuKind.VIRTIO),
)


class _Attribute(NamedTuple):
    """A file below a unit's directory, the registers that it shows, and how."""

    path: str
    registers: tuple[str, ...]
    parse: Callable[[bytes], tuple[int, ...]]


def _one(parse: Callable[[str], int]) -> Callable[[bytes], tuple[int, ...]]:
    return lambda data: (parse(attributes.line(data)),)


_ATTRIBUTES = (
    _Attribute("intel-iommu/version", ("version",), _one(parse_vtd_version)),
    _Attribute("intel-iommu/address", ("address",), _one(parse_register)),
    _Attribute("intel-iommu/cap", ("cap",), _one(parse_register)),
    _Attribute("intel-iommu/ecap", ("ecap",), _one(parse_register)),
    _Attribute("amd-iommu/cap", ("cap",), _one(parse_register)),
    _Attribute(
        "amd-iommu/features",
        ("features", "features2"),
        lambda data: parse_amd_features(attributes.line(data)),
    ),
)


def read_units(reader: Reader) -> tuple[IommuUnit, ...]:
    """Read the IOMMU units, by name and number, and the functions behind each."""
    names = known(reader.names(_UNITS), []) or []
    return tuple(_unit(reader, name) for name in sorted(names, key=_numeric))


def _unit(reader: Reader, name: str) -> IommuUnit:
    path = reader.link(f"{_UNITS}/{name}")
    path = path if isinstance(path, str) else f"{_UNITS}/{name}"
    members = reader.names(f"{path}/devices")
    return IommuUnit(
        name=name,
        kind=next((kind for prefix, kind in _KINDS if name.startswith(prefix)), IommuKind.OTHER),
        registers=_registers(reader, path),
        devices=members if isinstance(members, Unknown) else _addresses(members or []),
    )


def _registers(reader: Reader, path: str) -> tuple[tuple[str, int | Unknown], ...]:
    found: list[tuple[str, int | Unknown]] = []
    for attribute in _ATTRIBUTES:
        values = reader.value(f"{path}/{attribute.path}", attribute.parse)
        if isinstance(values, Unknown):
            found += [(name, values) for name in attribute.registers]
        elif values is not None:
            found += zip(attribute.registers, values, strict=True)
    return tuple(found)


def _addresses(names: list[str]) -> tuple[PciAddress, ...]:
    return tuple(sorted(address for address in map(parse_address, names) if address))


def _numeric(name: str) -> tuple[str, int]:
    digits = re.search(r"[0-9]+$", name)
    return (name[: digits.start()], int(digits[0])) if digits else (name, 0)

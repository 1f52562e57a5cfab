"""The remapping structures of a DMAR table: each a type, some fields, and what fills the rest (VT-d 8.2)."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vfiokit.acpi.scope import DeviceScope, build_scopes, parse_scopes
from vfiokit.acpi.table import Framing, Reading, pack
from vfiokit.address import AddressRange, PageSize
from vfiokit.bits import is_aligned

__all__ = [
    "ALL_PORTS",
    "ATC_REQUIRED",
    "INCLUDE_PCI_ALL",
    "Andd",
    "Atsr",
    "Drhd",
    "Rhsa",
    "Rmrr",
    "Satc",
    "Sidp",
    "Structure",
    "UnknownStructure",
    "build_structures",
    "parse_structures",
]

INCLUDE_PCI_ALL = 1 << 0
"""Bit of :attr:`Drhd.flags`: the unit takes every function of its segment that no other unit names."""

ALL_PORTS = 1 << 0
"""Bit of :attr:`Atsr.flags`: every root port of the segment supports ATS."""

ATC_REQUIRED = 1 << 0
"""Bit of :attr:`Satc.flags`: the devices named need address translation caching to work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """One remapping structure; :attr:`segment` is the PCI domain of the functions that it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drhd(Structure):
    """A DMA remapping hardware unit (VT-d 8.3).

    :ivar base: physical address of its registers.
    :ivar size: bits 3:0, the register set is 2 to this power pages of 4 KiB.
    """

    base: int
    flags: int = 0
    size: int = 0
    segment: int = 0
    scopes: tuple[DeviceScope, ...] = ()

    @property
    def include_pci_all(self) -> bool:
        """Whether it covers what no other unit of its segment names."""
        return bool(self.flags & INCLUDE_PCI_ALL)

    @property
    def registers(self) -> AddressRange:
        """Where its registers are."""
        return AddressRange(self.base, self.base + (PageSize.SIZE_4K << (self.size & 0xF)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rmrr(Structure):
    """Reserved memory that its devices used before the operating system, and may use still (VT-d 8.4).

    :ivar limit: the last byte, not the first beyond.
    """

    base: int
    limit: int
    segment: int = 0
    scopes: tuple[DeviceScope, ...] = ()

    @property
    def memory(self) -> AddressRange:
        """The range, half open; empty where the limit lies below the base."""
        return AddressRange(self.base, max(self.base, self.limit + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Atsr(Structure):
    """The root ports below which ATS works (VT-d 8.5)."""

    flags: int = 0
    segment: int = 0
    scopes: tuple[DeviceScope, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhsa(Structure):
    """The proximity domain that a unit, named by its register base, is close to (VT-d 8.6)."""

    base: int
    proximity_domain: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Andd(Structure):
    """The ACPI name of a device that does DMA but is not on PCI (VT-d 8.7)."""

    device_number: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Satc(Structure):
    """Integrated devices with an address translation cache (VT-d 8.8)."""

    flags: int = 0
    segment: int = 0
    scopes: tuple[DeviceScope, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidp(Structure):
    """Properties of integrated devices, in the flags of its scopes (VT-d 8.9)."""

    segment: int = 0
    scopes: tuple[DeviceScope, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownStructure(Structure):
    """A structure of a type that this module has no name for, kept as it came.

    :ivar data: the bytes after type and length.
    """

    type: int
    data: bytes


def parse_structures(reading: Reading, offset: int, end: int) -> tuple[Structure, ...]:
    """Read the structures that fill *offset* to *end*, and note what is odd about each.

    :raises BadTable: if their lengths do not tile it, or one is too short for its type.
    """
    structures = []
    for start, stop in reading.pieces(_FRAMING, offset, end):
        structure = _parse_structure(reading, start, stop)
        for kind, doubtful, reason in _DOUBTS:
            if isinstance(structure, kind) and doubtful(structure):
                reading.note(start, reason)
        structures.append(structure)
    return tuple(structures)


def build_structures(structures: tuple[Structure, ...]) -> bytes:
    """Write *structures* one after another; the inverse of :func:`parse_structures`.

    :raises UsageError: if a number does not fit its field.
    """
    return b"".join(map(_build_structure, structures))


_HEAD = struct.Struct("<HH")
_FRAMING = Framing(what="remapping structure", head=_HEAD.size, at=2, width=2)


@dataclass(frozen=True, slots=True)
class _Layout:
    """A structure's type, the fields after its head, and what fills the rest: scopes, a name or nothing."""

    type: int
    make: Callable[..., Structure]
    fixed: struct.Struct
    fields: tuple[str, ...]
    rest: str = ""


_LAYOUTS = (
    _Layout(0, Drhd, struct.Struct("<BBHQ"), ("flags", "size", "segment", "base"), "scopes"),
    _Layout(1, Rmrr, struct.Struct("<2xHQQ"), ("segment", "base", "limit"), "scopes"),
    _Layout(2, Atsr, struct.Struct("<BxH"), ("flags", "segment"), "scopes"),
    _Layout(3, Rhsa, struct.Struct("<4xQI"), ("base", "proximity_domain")),
    _Layout(4, Andd, struct.Struct("<3xB"), ("device_number",), "name"),
    _Layout(5, Satc, struct.Struct("<BxH"), ("flags", "segment"), "scopes"),
    # Linux 6.12 knows no type 6; its layout rests on EDK2's header.
    _Layout(6, Sidp, struct.Struct("<2xH"), ("segment",), "scopes"),
)
_BY_TYPE = {layout.type: layout for layout in _LAYOUTS}
_BY_CLASS = {layout.make: layout for layout in _LAYOUTS}


def _parse_structure(reading: Reading, offset: int, end: int) -> Structure:
    structure_type, _ = reading.unpack(_HEAD, offset, end, "remapping structure")
    body = offset + _HEAD.size
    layout = _BY_TYPE.get(structure_type)
    if layout is None:
        return UnknownStructure(type=structure_type, data=reading.data[body:end])
    what = f"structure of type {structure_type}"
    values: dict[str, Any] = dict(
        zip(layout.fields, reading.unpack(layout.fixed, body, end, what), strict=True)
    )
    body += layout.fixed.size
    if layout.rest:
        values[layout.rest] = _RESTS[layout.rest].parse(reading, body, end)
    elif body < end:
        reading.note(body, f"{what} is {end - body} bytes longer than it should be")
    return layout.make(**values)


def _parse_name(reading: Reading, offset: int, end: int) -> str:
    name, terminator, _ = reading.data[offset:end].partition(b"\0")
    if not terminator:
        reading.note(end, "device name is not terminated")
    return name.decode("latin-1")


def _build_structure(structure: Structure) -> bytes:
    if isinstance(structure, UnknownStructure):
        return pack(_HEAD, "structure", structure.type, _HEAD.size + len(structure.data)) + structure.data
    layout = _BY_CLASS[type(structure)]
    values = (getattr(structure, name) for name in layout.fields)
    body = pack(layout.fixed, type(structure).__name__, *values)
    if layout.rest:
        body += _RESTS[layout.rest].build(getattr(structure, layout.rest))
    return pack(_HEAD, type(structure).__name__, layout.type, _HEAD.size + len(body)) + body


def _build_name(name: str) -> bytes:
    return name.encode("latin-1") + b"\0"


@dataclass(frozen=True, slots=True)
class _Rest:
    parse: Callable[[Reading, int, int], Any]
    build: Callable[[Any], bytes]


_RESTS = {"scopes": _Rest(parse_scopes, build_scopes), "name": _Rest(_parse_name, _build_name)}

_DOUBTS: tuple[tuple[type[Structure], Callable[[Any], bool], str], ...] = (
    (Drhd, lambda unit: unit.base in (0, 2**64 - 1), "unit has no register base"),
    (Drhd, lambda unit: not is_aligned(unit.base, PageSize.SIZE_4K), "register base is not page aligned"),
    (Rmrr, lambda region: region.limit < region.base, "reserved memory ends before it begins"),
    (
        Rmrr,
        lambda region: bool((region.base | region.limit + 1) & (PageSize.SIZE_4K - 1)),
        "reserved memory is not in whole pages",
    ),
    (Rmrr, lambda region: not region.scopes, "reserved memory names no device"),
)

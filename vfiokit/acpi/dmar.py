"""Intel's DMA remapping table (VT-d 8.1): remapping units, reserved memory, and whom they cover.

>>> unit = Drhd(base=0xFED90000, flags=INCLUDE_PCI_ALL)
>>> parse(Dmar(structures=(unit,)).to_bytes()).units == (unit,)
True
"""

import struct
from dataclasses import dataclass, field, replace

from vfiokit.acpi.dmar_structures import (
    INCLUDE_PCI_ALL,
    Andd,
    Atsr,
    Drhd,
    Rhsa,
    Rmrr,
    Satc,
    Sidp,
    Structure,
    UnknownStructure,
    build_structures,
    parse_structures,
)
from vfiokit.acpi.scope import Topology, names
from vfiokit.acpi.table import HEADER_SIZE, Diagnostic, Header, Reading, pack, seal
from vfiokit.address import PciAddress
from vfiokit.bits import Field

__all__ = [
    "DMAR_FLAGS",
    "INCLUDE_PCI_ALL",
    "Andd",
    "Atsr",
    "Dmar",
    "Drhd",
    "Rhsa",
    "Rmrr",
    "Satc",
    "Sidp",
    "UnknownStructure",
    "covering_unit",
    "parse",
    "reserved_memory",
]

DMAR_FLAGS = (
    Field("INTR_REMAP", 0, meaning="the platform supports interrupt remapping"),
    Field("X2APIC_OPT_OUT", 1, meaning="firmware asks software not to enable x2APIC mode"),
    Field("DMA_CTRL_PLATFORM_OPT_IN_FLAG", 2, meaning="firmware contained DMA before the hand-over"),
)
"""Bits of :attr:`Dmar.flags` (VT-d 8.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dmar:
    """A DMAR table.

    :ivar host_address_width: bits of a physical address that DMA can reach, 1 to 256.
    :ivar flags: see :data:`DMAR_FLAGS`.
    :ivar structures: in the order of the table.
    :ivar diagnostics: what was odd in the bytes; no part of the table's identity.
    """

    host_address_width: int = 48
    flags: int = 0
    structures: tuple[Structure, ...] = ()
    header: Header = field(default_factory=Header)
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False)

    @property
    def units(self) -> tuple[Drhd, ...]:
        """The remapping units, in the order of the table."""
        return tuple(structure for structure in self.structures if isinstance(structure, Drhd))

    @property
    def reserved(self) -> tuple[Rmrr, ...]:
        """The reserved memory regions, in the order of the table."""
        return tuple(structure for structure in self.structures if isinstance(structure, Rmrr))

    @property
    def interrupt_remapping(self) -> bool:
        """Whether the platform supports interrupt remapping."""
        return bool(DMAR_FLAGS[0].get(self.flags))

    def to_bytes(self) -> bytes:
        """Write the table with its length and checksum: :func:`parse` gives it back.

        :raises UsageError: if a number does not fit its field.
        """
        fixed = pack(_FIXED, "DMAR", self.host_address_width - 1, self.flags)
        return seal("DMAR", self.header, fixed + build_structures(self.structures))


def covering_unit(dmar: Dmar, function: PciAddress, topology: Topology) -> Drhd | None:
    """Return the remapping unit in front of *function*, ``None`` if the table has none for it.

    A unit that names the function or a bridge above it comes before one with INCLUDE_PCI_ALL; only units of
    the function's segment count.

    >>> nic = PciAddress.parse("01:00.0")
    >>> covering_unit(Dmar(structures=(Drhd(base=0xFED90000, flags=INCLUDE_PCI_ALL),)), nic, Topology()).base
    4275634176
    """
    route = topology.lookup_route(function)
    units = [unit for unit in dmar.units if unit.segment == route[-1].domain]
    # Linux puts each unit with scopes at the front of its list: of two that claim a function the last wins.
    for unit in reversed(units):
        if not unit.include_pci_all and any(names(scope, route) for scope in unit.scopes):
            return unit
    return next((unit for unit in units if unit.include_pci_all), None)


def reserved_memory(dmar: Dmar, function: PciAddress, topology: Topology) -> tuple[Rmrr, ...]:
    """Return the reserved regions that name *function* or a bridge above it, in the order of the table.

    A virtual function does not inherit those of its physical function: firmware never used it.
    """
    route = topology.route(function)
    return tuple(
        region
        for region in dmar.reserved
        if region.segment == function.domain and any(names(scope, route) for scope in region.scopes)
    )


def parse(data: bytes) -> Dmar:
    """Read a DMAR table.

    A wrong checksum and other oddities become :attr:`Dmar.diagnostics`, since kernels use such tables too.

    :raises BadTable: if the bytes do not hold together; its text says at which offset and why.
    """
    reading = Reading(bytes(data), "DMAR", HEADER_SIZE + _FIXED.size)
    width, flags = reading.unpack(_FIXED, HEADER_SIZE, len(reading.data), "DMAR")
    dmar = Dmar(
        host_address_width=width + 1,
        flags=flags,
        structures=parse_structures(reading, HEADER_SIZE + _FIXED.size, len(reading.data)),
        header=reading.header,
    )
    _doubt(reading, dmar)
    return replace(dmar, diagnostics=reading.diagnostics)


_FIXED = struct.Struct("<BB10x")


def _doubt(reading: Reading, dmar: Dmar) -> None:
    if dmar.host_address_width < 12:
        # Linux gives up on the table: a width below one page cannot be meant.
        reading.note(HEADER_SIZE, f"host address width is {dmar.host_address_width} bits")
    if not dmar.units:
        reading.note(len(reading.data), "no remapping unit")
    closed: set[int] = set()
    for unit in dmar.units:
        if unit.segment in closed:
            reading.note(HEADER_SIZE, f"unit {unit.base:#x} follows the INCLUDE_PCI_ALL unit of its segment")
        if unit.include_pci_all:
            closed.add(unit.segment)

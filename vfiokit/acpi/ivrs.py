"""AMD's I/O virtualization reporting structure (AMD-Vi 5.2): units, their devices, and unity-mapped memory.

>>> unit = Ivhd(type=0x11, device_id=0x2, base=0xFD000000, entries=(DeviceEntry(type=EntryType.ALL),))
>>> parse(Ivrs(blocks=(unit,)).to_bytes()).units == (unit,)
True
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from vfiokit.acpi.ivhd import DeviceEntry, EntryType
from vfiokit.acpi.ivrs_blocks import Block, Ivhd, Ivmd, IvmdType, UnknownBlock, build_blocks, parse_blocks
from vfiokit.acpi.table import HEADER_SIZE, Diagnostic, Header, Reading, pack, seal
from vfiokit.address import PciAddress
from vfiokit.bits import Field

__all__ = [
    "IVINFO",
    "DeviceEntry",
    "EntryType",
    "Ivhd",
    "Ivmd",
    "IvmdType",
    "Ivrs",
    "UnknownBlock",
    "alias_of",
    "covering_unit",
    "parse",
    "reserved_memory",
]

IVINFO = (
    Field("EFRSup", 0, meaning="type 0x11 and 0x40 blocks hold the extended features"),
    Field("DmaRemapSup", 1, meaning="firmware asks for DMA remapping before the operating system starts"),
    # ACPICA's and Linux's headers do not have GVASize; it rests on AMD's own firmware sources.
    Field("GVASize", 5, 3, meaning="guest virtual address size, encoded"),
    Field("PASize", 8, 7, meaning="physical address size in bits"),
    Field("VASize", 15, 7, meaning="virtual address size in bits"),
    Field("HtAtsResv", 22, meaning="the ATS address range of HyperTransport is reserved"),
)
"""Bits of :attr:`Ivrs.ivinfo` (AMD-Vi 5.2.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ivrs:
    """An IVRS table.

    :ivar ivinfo: see :data:`IVINFO`.
    :ivar blocks: in the order of the table.
    :ivar diagnostics: what was odd in the bytes; no part of the table's identity.
    """

    ivinfo: int = 0
    blocks: tuple[Block, ...] = ()
    header: Header = field(default_factory=lambda: Header(revision=2))
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False)

    @property
    def units(self) -> tuple[Ivhd, ...]:
        """The blocks to believe: of each unit those of its highest type, in the order of the table.

        Firmware describes a unit once for old and once for new software. The accounts are not to be merged.
        """
        hardware = _hardware(self.blocks)
        highest = {(unit.segment, unit.device_id): 0 for unit in hardware}
        for unit in hardware:
            key = (unit.segment, unit.device_id)
            highest[key] = max(highest[key], unit.type)
        return tuple(unit for unit in hardware if unit.type == highest[unit.segment, unit.device_id])

    @property
    def reserved(self) -> tuple[Ivmd, ...]:
        """The memory blocks that ask for something, in the order of the table."""
        memory = (block for block in self.blocks if isinstance(block, Ivmd))
        return tuple(block for block in memory if block.is_unity or block.is_exclusion)

    @property
    def physical_address_size(self) -> int:
        """Bits of a physical address."""
        return IVINFO[3].get(self.ivinfo)

    @property
    def virtual_address_size(self) -> int:
        """Bits of an address that devices may use."""
        return IVINFO[4].get(self.ivinfo)

    def to_bytes(self) -> bytes:
        """Write the table with its length and checksum: :func:`parse` gives it back.

        :raises UsageError: if a number does not fit its field.
        """
        body = pack(_FIXED, "IVRS", self.ivinfo) + build_blocks(self.blocks)
        return seal("IVRS", self.header, body)


def covering_unit(ivrs: Ivrs, function: PciAddress) -> Ivhd | None:
    """Return the unit in front of *function*, ``None`` if the table has none for it.

    A virtual function is looked up by its own requester identity: AMD's tables name identities, not slots.

    >>> only = DeviceEntry(type=EntryType.SELECT, device_id=0x300)
    >>> unit = Ivhd(type=0x10, device_id=2, base=0, entries=(only,))
    >>> covering_unit(Ivrs(blocks=(unit,)), PciAddress.parse("03:00.0")) == unit
    True
    """
    # Linux fills one table slot per identity while it reads: of two units that claim one the last keeps it.
    for unit in reversed(ivrs.units):
        if unit.segment == function.domain and unit.covers(function.source_id):
            return unit
    return None


def alias_of(ivrs: Ivrs, function: PciAddress) -> PciAddress:
    """Return the identity under which requests of *function* arrive: its own unless an entry says else."""
    alias = function
    for unit in ivrs.units:
        for chosen in unit.selections:
            named = unit.segment == function.domain and function.source_id in chosen.source_ids
            if named and chosen.alias is not None:
                alias = PciAddress.from_source_id(unit.segment, chosen.alias)
    return alias


def reserved_memory(ivrs: Ivrs, function: PciAddress) -> tuple[Ivmd, ...]:
    """Return the unity-mapped and excluded memory that is for *function*, in the order of the table."""
    return tuple(
        block
        for block in ivrs.reserved
        if block.segment == function.domain and function.source_id in block.source_ids
    )


def parse(data: bytes) -> Ivrs:
    """Read an IVRS table.

    A wrong checksum and other oddities become :attr:`Ivrs.diagnostics`.

    :raises BadTable: if the bytes do not hold together; its text says at which offset and why.
    """
    reading = Reading(bytes(data), "IVRS", HEADER_SIZE + _FIXED.size)
    (ivinfo,) = reading.unpack(_FIXED, HEADER_SIZE, len(reading.data), "IVRS")
    blocks = parse_blocks(reading, HEADER_SIZE + _FIXED.size, len(reading.data))
    for reason in _doubts(_hardware(blocks)):
        reading.note(HEADER_SIZE + _FIXED.size, reason)
    return Ivrs(ivinfo=ivinfo, blocks=blocks, header=reading.header, diagnostics=reading.diagnostics)


_FIXED = struct.Struct("<I8x")


def _hardware(blocks: tuple[Block, ...]) -> tuple[Ivhd, ...]:
    return tuple(block for block in blocks if isinstance(block, Ivhd))


def _doubts(hardware: tuple[Ivhd, ...]) -> Iterator[str]:
    if not hardware:
        yield "no unit"
        return
    # Linux settles on one type for the whole table: the last that it finds for the first unit.
    settled = [unit.type for unit in hardware if unit.device_id == hardware[0].device_id][-1]
    described = {(unit.segment, unit.device_id) for unit in hardware if unit.type == settled}
    for key in dict.fromkeys((unit.segment, unit.device_id) for unit in hardware):
        if key not in described:
            yield f"Linux uses type {settled:#04x} alone: not unit {PciAddress.from_source_id(*key)}"

"""The blocks of an IVRS table: units (IVHD) and memory (IVMD) (AMD-Vi 5.2.2, 5.2.3)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from vfiokit.acpi.ivhd import ALL_SOURCE_IDS, Entry, Selection, build_entries, parse_entries, selections
from vfiokit.acpi.table import Framing, Reading, pack
from vfiokit.address import AddressRange, PciAddress
from vfiokit.bits import Field
from vfiokit.errors import UsageError

__all__ = [
    "IVHD_FLAGS",
    "IVHD_TYPES",
    "IVMD_FLAGS",
    "Block",
    "Ivhd",
    "Ivmd",
    "IvmdType",
    "UnknownBlock",
    "build_blocks",
    "parse_blocks",
]

IVHD_FLAGS = (
    Field("HtTunEn", 0, meaning="HyperTransport tunnel translation"),
    Field("PassPW", 1, meaning="posted writes may pass"),
    Field("ResPassPW", 2, meaning="responses may pass posted writes"),
    Field("Isoc", 3, meaning="table walks use the isochronous channel"),
    Field("IotlbSup", 4, meaning="devices may cache translations"),
    # Bits 7:5 rest on the disassembler's names and AMD's firmware sources: ACPICA's header ends at bit 4.
    Field("Coherent", 5, meaning="table walks snoop processor caches"),
    Field("PreFSup", 6, meaning="prefetch command; reserved in type 0x11 and 0x40"),
    Field("PPRSup", 7, meaning="peripheral page requests; reserved in type 0x11 and 0x40"),
)
"""Bits of :attr:`Ivhd.flags`."""

IVMD_FLAGS = (
    Field("Unity", 0, meaning="mapped one to one"),
    Field("IR", 1, meaning="devices may read"),
    Field("IW", 2, meaning="devices may write"),
    Field("ExclusionRange", 3, meaning="not translated at all"),
)
"""Bits of :attr:`Ivmd.flags`."""

IVHD_TYPES = (0x10, 0x11, 0x40)
"""Block types that describe a unit; a later one says more about the same unit."""


class IvmdType(IntEnum):
    """Which devices a memory block is for: all of the segment, one, or a range."""

    ALL = 0x20
    SPECIFIED = 0x21
    RANGE = 0x22


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block after the fixed part."""

    type: int
    flags: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ivhd(Block):
    """A unit and the source ids that it translates (AMD-Vi 5.2.2).

    :ivar type: one of :data:`IVHD_TYPES`.
    :ivar device_id: the unit's own source id.
    :ivar capability_offset: of the unit's capability block in its config space.
    :ivar base: physical address of its registers.
    :ivar info: MSI number 4:0, unit id 12:8.
    :ivar features: feature reporting of type 0x10, attributes in the others.
    :ivar efr: image of the extended feature register; 0 in type 0x10, which has no room for it.
    :raises UsageError: if type 0x10 is given one.
    """

    device_id: int
    base: int
    capability_offset: int = 0x40
    segment: int = 0
    info: int = 0
    features: int = 0
    efr: int = 0
    efr2: int = 0
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        if self.type not in _WITH_EFR and (self.efr or self.efr2):
            raise UsageError("type 0x10 holds no extended features", operation="build", subject="IVHD")

    @property
    def address(self) -> PciAddress:
        """The unit's own PCI function."""
        return PciAddress.from_source_id(self.segment, self.device_id)

    @property
    def selections(self) -> tuple[Selection, ...]:
        """The source ids that it translates, entry by entry."""
        return selections(self.entries)

    def covers(self, source_id: int) -> bool:
        """Whether it translates requests of *source_id*: one that it selects, or the alias of one."""
        # Linux gives the unit the alias too, and with it a function that happens to have that identity.
        return any(
            source_id in chosen.source_ids or (chosen.source_ids and source_id == chosen.alias)
            for chosen in self.selections
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ivmd(Block):
    """Memory that devices reach untranslated or mapped one to one (AMD-Vi 5.2.3).

    :ivar type: one of :class:`IvmdType`.
    :ivar device_id: the source id, or the first of a range; without meaning for all.
    :ivar last_device_id: the last of a range, inclusive; without meaning else.
    """

    start: int
    length: int
    device_id: int = 0
    last_device_id: int = 0
    segment: int = 0

    @property
    def memory(self) -> AddressRange:
        """The range, half open."""
        return AddressRange(self.start, self.start + self.length)

    @property
    def source_ids(self) -> range:
        """The source ids that it is for."""
        if self.type == IvmdType.ALL:
            return ALL_SOURCE_IDS
        last = self.last_device_id if self.type == IvmdType.RANGE else self.device_id
        return range(self.device_id, last + 1)

    @property
    def is_unity(self) -> bool:
        """Whether its addresses are mapped one to one."""
        return bool(IVMD_FLAGS[0].get(self.flags))

    @property
    def is_exclusion(self) -> bool:
        """Whether its addresses bypass translation."""
        return bool(IVMD_FLAGS[3].get(self.flags))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownBlock(Block):
    """A block of a type that this module has no name for; *data* are the bytes after its length."""

    data: bytes


def parse_blocks(reading: Reading, offset: int, end: int) -> tuple[Block, ...]:
    """Read the blocks that fill *offset* to *end*, and note what is odd about each.

    :raises BadTable: if their lengths do not tile it, or one is too short for its type.
    """
    blocks = []
    for start, stop in reading.pieces(_FRAMING, offset, end):
        block = _parse_block(reading, start, stop)
        for reason in _doubts(block):
            reading.note(start, reason)
        blocks.append(block)
    return tuple(blocks)


def build_blocks(blocks: tuple[Block, ...]) -> bytes:
    """Write *blocks* one after another; the inverse of :func:`parse_blocks`.

    :raises UsageError: if a number does not fit its field.
    """
    return b"".join(map(_build_block, blocks))


_HEAD = struct.Struct("<BBH")
_FRAMING = Framing(what="block", head=_HEAD.size, at=2, width=2)
_IVHD = struct.Struct("<HHQHHI")
_EFR = struct.Struct("<QQ")
_WITH_EFR = IVHD_TYPES[1:]
# ACPICA's header holds bytes 8-15 reserved; that the first two are the segment rests on Linux alone.
_IVMD = struct.Struct("<HHH6xQQ")


def _parse_block(reading: Reading, offset: int, end: int) -> Block:
    block_type, flags, _ = reading.unpack(_HEAD, offset, end, "block")
    if block_type in IVHD_TYPES:
        return _parse_ivhd(reading, offset, end, block_type, flags)
    body = offset + _HEAD.size
    if block_type not in tuple(IvmdType):
        return UnknownBlock(type=block_type, flags=flags, data=reading.data[body:end])
    device_id, last, segment, start, length = reading.unpack(_IVMD, body, end, "IVMD")
    if body + _IVMD.size < end:
        reading.note(body + _IVMD.size, "IVMD is longer than it should be")
    return Ivmd(
        type=block_type,
        flags=flags,
        device_id=device_id,
        last_device_id=last,
        segment=segment,
        start=start,
        length=length,
    )


def _parse_ivhd(reading: Reading, offset: int, end: int, block_type: int, flags: int) -> Ivhd:
    body = offset + _HEAD.size
    device_id, capability_offset, base, segment, info, features = reading.unpack(_IVHD, body, end, "IVHD")
    body += _IVHD.size
    efr, efr2 = 0, 0
    if block_type in _WITH_EFR:
        efr, efr2 = reading.unpack(_EFR, body, end, "IVHD")
        body += _EFR.size
    return Ivhd(
        type=block_type,
        flags=flags,
        device_id=device_id,
        capability_offset=capability_offset,
        base=base,
        segment=segment,
        info=info,
        features=features,
        efr=efr,
        efr2=efr2,
        entries=parse_entries(reading, body, end),
    )


def _build_block(block: Block) -> bytes:
    body = _build_body(block)
    return pack(_HEAD, "block", block.type, block.flags, _HEAD.size + len(body)) + body


def _build_body(block: Block) -> bytes:
    if isinstance(block, Ivhd):
        place = (block.device_id, block.capability_offset, block.base, block.segment)
        efr = pack(_EFR, "IVHD", block.efr, block.efr2) if block.type in _WITH_EFR else b""
        return pack(_IVHD, "IVHD", *place, block.info, block.features) + efr + build_entries(block.entries)
    if isinstance(block, Ivmd):
        ids = (block.device_id, block.last_device_id, block.segment)
        return pack(_IVMD, "IVMD", *ids, block.start, block.length)
    assert isinstance(block, UnknownBlock)
    return block.data


def _doubts(block: Block) -> Iterator[str]:
    if isinstance(block, Ivmd) and block.start + block.length > 2**64:
        yield "reserved memory runs past the last address"
    if isinstance(block, Ivmd) and not block.source_ids:
        yield "reserved memory is for an empty range of devices"
    if isinstance(block, Ivhd) and not all(chosen.source_ids for chosen in block.selections):
        yield "a range of devices ends before it starts"

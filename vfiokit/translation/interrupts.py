"""Interrupt remapping of VT-d: from a message to a vector, or a fault (VT-d 5.1).

>>> message = remappable_message(5)
>>> hex(message.address), hex(message.data)
('0xfee000b0', '0x0')
"""

from dataclasses import dataclass
from enum import IntEnum

from vfiokit.address import AddressRange
from vfiokit.bits import Field, mask
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Read
from vfiokit.translation.structures import Entry, Structure, read_entry

__all__ = [
    "IRTA",
    "POSTED_ENTRY",
    "REMAPPED_ENTRY",
    "Interrupt",
    "InterruptFault",
    "InterruptReason",
    "InterruptRemapping",
    "Message",
    "remappable_message",
]

IRTA = (
    Field("S", 0, 4, "the table has 2 ** (S + 1) entries"),
    Field("EIME", 11, 1, "x2APIC ids"),
    Field("IRTA", 12, 52, "interrupt remapping table"),
)
"""IRTA_REG (VT-d 11.4.24)."""

_COMMON = (Field("P", 0, 1, "present"), Field("FPD", 1, 1, "fault processing disabled"))
_SOURCE = (
    Field("SID", 0, 16, "source-id, or first and last bus"),
    Field("SQ", 16, 2, "bits of the function that are not compared"),
    Field("SVT", 18, 2, "what is verified: 0 nothing, 1 the source-id, 2 the bus"),
)

REMAPPED_ENTRY = Structure(
    "remapped interrupt entry",
    (
        (
            *_COMMON,
            Field("DM", 2, 1, "logical destination"),
            Field("RH", 3, 1, "redirection hint"),
            Field("TM", 4, 1, "level triggered"),
            Field("DLM", 5, 3, "delivery mode"),
            Field("AVAIL", 8, 4, "software's"),
            Field("IM", 15, 1, "0"),
            Field("V", 16, 8, "vector"),
            Field("DST", 32, 32, "destination"),
        ),
        _SOURCE,
    ),
)
"""An interrupt remapping table entry, remapped format (VT-d 9.9)."""

POSTED_ENTRY = Structure(
    "posted interrupt entry",
    (
        (
            *_COMMON,
            Field("AVAIL", 8, 4, "software's"),
            Field("URG", 14, 1, "urgent"),
            Field("IM", 15, 1, "1"),
            Field("VV", 16, 8, "virtual vector"),
            Field("PDAL", 38, 26, "posted interrupt descriptor, bits 31:6"),
        ),
        (*_SOURCE, Field("PDAH", 32, 32, "posted interrupt descriptor, bits 63:32")),
    ),
)
"""An interrupt remapping table entry, posted format (VT-d 9.10)."""


class InterruptReason(IntEnum):
    """Why an interrupt is blocked, by the fault record's number (VT-d 7.1.3)."""

    REQUEST_RESERVED = 0x20
    INDEX_BEYOND_TABLE = 0x21
    NOT_PRESENT = 0x22
    UNREADABLE = 0x23
    RESERVED = 0x24
    COMPATIBILITY_BLOCKED = 0x25
    SOURCE_NOT_VERIFIED = 0x26


class _Verify(IntEnum):
    NOTHING = 0
    SOURCE_ID = 1
    BUS = 2


_COMPARED = (mask(16), mask(16) & ~0b100, mask(16) & ~0b110, mask(16) & ~0b111)
"""The bits of the source-id that each SQ leaves to be compared."""


@dataclass(frozen=True, slots=True)
class Message:
    """A write that is an interrupt.

    :ivar address: in 0xFEE00000 to 0xFEEFFFFF.
    :ivar data: 32 bits, of which a remappable message uses 16.
    """

    address: int
    data: int

    @property
    def remappable(self) -> bool:
        """Whether the message names an entry (bit 4), or is one of the compatibility format."""
        return bool(self.address >> 4 & 1)

    @property
    def index(self) -> int:
        """The index of the entry: the handle, and with SHV the subhandle added (VT-d 5.1.2.2)."""
        handle = self.address >> 5 & mask(15) | (self.address >> 2 & 1) << 15
        return handle + (self.data & 0xFFFF if self.address >> 3 & 1 else 0)


def remappable_message(handle: int, *, subhandle: int | None = None) -> Message:
    """Return the message that software programs for an entry; with a *subhandle* for a block of them."""
    address = 0xFEE00000 | (handle & mask(15)) << 5 | 1 << 4 | (handle >> 15) << 2
    return Message(address, 0) if subhandle is None else Message(address | 1 << 3, subhandle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """An interrupt that goes through.

    :ivar vector: of the processor, or of the virtual processor if posted.
    :ivar destination: the APIC id, or set of them; 0 if posted.
    :ivar logical: whether the destination is logical.
    :ivar delivery_mode: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT.
    :ivar level_triggered: whether it is level triggered.
    :ivar posted_descriptor: the address of the posted interrupt descriptor, ``None`` if not posted.
    :ivar urgent: whether the virtual processor is notified at once.
    :ivar remapped: whether an entry made it; else it is the message's own, of compatibility format.
    """

    vector: int
    destination: int = 0
    logical: bool = False
    delivery_mode: int = 0
    level_triggered: bool = False
    posted_descriptor: int | None = None
    urgent: bool = False
    remapped: bool = True
    reads: tuple[Read, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptFault:
    """An interrupt that is blocked.

    :ivar reason: the check that failed.
    :ivar index: of the entry; ``None`` for a message of compatibility format.
    :ivar recorded: whether software hears of it.
    """

    reason: InterruptReason
    index: int | None
    recorded: bool = True
    reads: tuple[Read, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptRemapping:
    """The interrupt side of a unit.

    :ivar memory: what the table lies in.
    :ivar irta: IRTA_REG.
    :ivar capabilities: of the unit.
    :ivar compatibility_allowed: GSTS.CFIS: whether messages that name no entry pass.
    :ivar host_address_width: bits of host physical addresses.
    """

    memory: Memory
    irta: int
    capabilities: VtdCapabilities
    compatibility_allowed: bool = False
    host_address_width: int = 52

    @property
    def table(self) -> AddressRange:
        """Where the table lies."""
        start = IRTA[2].get(self.irta) << 12
        return AddressRange(start, start + self.number_of_entries * REMAPPED_ENTRY.size)

    @property
    def number_of_entries(self) -> int:
        """Entries of the table."""
        return 2 << IRTA[0].get(self.irta)

    @property
    def extended(self) -> bool:
        """Whether destinations have 32 bits."""
        return bool(IRTA[1].get(self.irta) and self.capabilities.fields["EIM"])

    def remap(self, source_id: int, message: Message) -> Interrupt | InterruptFault:
        """Take a message of a requester to its vector."""
        if not message.remappable:
            return self._compatibility(message)
        if message.data >> 16 or (not message.address >> 3 & 1 and message.data):
            return InterruptFault(reason=InterruptReason.REQUEST_RESERVED, index=message.index)
        index = message.index
        if index >= self.number_of_entries:
            return InterruptFault(reason=InterruptReason.INDEX_BEYOND_TABLE, index=index)
        reads: list[Read] = []
        where = self.table.start + index * REMAPPED_ENTRY.size
        entry = read_entry(self.memory, REMAPPED_ENTRY, where, reads)
        if entry is None:
            return InterruptFault(reason=InterruptReason.UNREADABLE, index=index, reads=tuple(reads))
        if entry["IM"] and self.capabilities.posted_interrupts:
            entry = Entry(POSTED_ENTRY, entry.words)
            reads[-1] = Read(POSTED_ENTRY.name, where, entry.words, POSTED_ENTRY.words)
        reason = self._check(entry, source_id)
        if reason is not None:
            return InterruptFault(reason=reason, index=index, recorded=not entry["FPD"], reads=tuple(reads))
        return self._deliver(entry, tuple(reads))

    def _check(self, entry: Entry, source_id: int) -> InterruptReason | None:
        if not entry["P"]:
            return InterruptReason.NOT_PRESENT
        if entry.has_reserved(self.host_address_width) or entry["SVT"] not in list(_Verify):
            return InterruptReason.RESERVED
        if entry.structure is REMAPPED_ENTRY and (
            entry["IM"] or (not self.extended and entry["DST"] & ~0xFF00)
        ):
            return InterruptReason.RESERVED
        return None if _verified(entry, source_id) else InterruptReason.SOURCE_NOT_VERIFIED

    def _compatibility(self, message: Message) -> Interrupt | InterruptFault:
        if self.extended or not self.compatibility_allowed:
            return InterruptFault(reason=InterruptReason.COMPATIBILITY_BLOCKED, index=None)
        return Interrupt(
            vector=message.data & 0xFF,
            destination=message.address >> 12 & 0xFF,
            logical=bool(message.address >> 2 & 1),
            delivery_mode=message.data >> 8 & 7,
            level_triggered=bool(message.data >> 15 & 1),
            remapped=False,
        )

    def _deliver(self, entry: Entry, reads: tuple[Read, ...]) -> Interrupt:
        if entry.structure is POSTED_ENTRY:
            return Interrupt(
                vector=entry["VV"],
                posted_descriptor=entry["PDAH"] << 32 | entry["PDAL"] << 6,
                urgent=bool(entry["URG"]),
                reads=reads,
            )
        return Interrupt(
            vector=entry["V"],
            destination=entry["DST"] if self.extended else entry["DST"] >> 8 & 0xFF,
            logical=bool(entry["DM"]),
            delivery_mode=entry["DLM"],
            level_triggered=bool(entry["TM"]),
            reads=reads,
        )


def _verified(entry: Entry, source_id: int) -> bool:
    """Whether the requester may use the entry (VT-d 9.9, SVT and SQ)."""
    if entry["SVT"] == _Verify.SOURCE_ID:
        compared = _COMPARED[entry["SQ"]]
        return source_id & compared == entry["SID"] & compared
    if entry["SVT"] == _Verify.BUS:
        return entry["SID"] >> 8 <= source_id >> 8 <= entry["SID"] & 0xFF
    return True

"""What devices ask and what they get: requests, translations and faults, as values.

A request is more than an address: the unit tells requests apart by the identity that it sees, by PASID, by
what they want to do and with what privilege.
"""

from dataclasses import dataclass, field
from enum import Enum, IntFlag

from vfiokit.address import AddressRange
from vfiokit.bits import Field
from vfiokit.translation.faults import REASON_TEXTS, Reason

__all__ = [
    "INTERRUPT_RANGE",
    "Access",
    "Fault",
    "Outcome",
    "Read",
    "Request",
    "RequestType",
    "Translation",
    "Update",
]

INTERRUPT_RANGE = AddressRange(0xFEE00000, 0xFEF00000)
"""Where a write is an interrupt on x86, and no memory (VT-d 3.14)."""


class Access(IntFlag):
    """What a request wants to do, or what a page allows."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXECUTE = 4

    @property
    def letters(self) -> str:
        """Three letters or dashes, as ``rw-``."""
        return "".join(letter if self & 1 << bit else "-" for bit, letter in enumerate("rwx"))


class RequestType(Enum):
    """How a request comes to the unit (PCIe 10.2.1, the AT field)."""

    UNTRANSLATED = "untranslated"
    TRANSLATION = "translation"
    TRANSLATED = "translated"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it reaches the unit.

    :ivar source_id: the identity that the unit sees: bus 15:8, device 7:3, function 2:0. A bridge may
        have put its own in (see :func:`vfiokit.analysis.requester.seen_source_id`).
    :ivar address: of the first byte, 64 bits.
    :ivar access: what it wants to do; ``READ | WRITE`` is an atomic operation.
    :ivar pasid: the process address space, 20 bits; ``None`` for a request without PASID.
    :ivar privileged: whether it asks for supervisor privilege.
    """

    source_id: int
    address: int
    access: Access = Access.READ
    pasid: int | None = None
    privileged: bool = False
    type: RequestType = RequestType.UNTRANSLATED


@dataclass(frozen=True, slots=True)
class Read:
    """An entry that was read on the way.

    :ivar structure: the specification's name of the entry.
    :ivar address: where it lies, in host physical memory.
    :ivar words: its words as far as they were read; empty where it lies outside the memory.
    :ivar fields: what the bits of each word are called.
    :ivar level: of a paging entry, 1 for the last; 0 for every other structure.
    """

    structure: str
    address: int
    words: tuple[int, ...]
    fields: tuple[tuple[Field, ...], ...] = field(default=(), repr=False, compare=False)
    level: int = 0

    def decode(self) -> dict[str, int]:
        """Return the content of every named field of every word."""
        rows = zip(self.words, self.fields, strict=False)
        return {row.name: row.get(word) for word, fields in rows for row in fields}


@dataclass(frozen=True, slots=True)
class Update:
    """Accessed and dirty bits that the unit sets in an entry.

    :ivar address: of the entry.
    :ivar bits: to be set.
    """

    address: int
    bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A request that goes through.

    :ivar address: host physical, of the first byte.
    :ivar page_size: bytes around it that are mapped alike, a power of two; with two stages the smaller one.
    :ivar level: of the entry that ended the walk, 1 for the last level; 0 where nothing was walked.
    :ivar permissions: what the path allows, not only what was asked for.
    :ivar domain_id: the domain that the unit tags it with; ``None`` where the requester has none.
    :ivar reads: the entries read, in order.
    :ivar updates: the accessed and dirty bits that hardware sets for it, in order.
    """

    request: Request
    address: int
    page_size: int
    level: int
    permissions: Access
    domain_id: int | None
    reads: tuple[Read, ...] = ()
    updates: tuple[Update, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A request that is blocked.

    :ivar reason: the check that failed.
    :ivar code: the architecture's number for it; ``None`` where it reports nothing.
    :ivar recorded: whether software hears of it: a fault can be blocked and silent (FPD).
    :ivar level: of the entry at which it failed; 0 before the page tables.
    :ivar domain_id: as far as it was known.
    :ivar reads: the entries read, in order; the last is the one that failed.
    :ivar updates: the accessed bits that hardware has set before it failed.
    """

    request: Request
    reason: Reason
    code: int | None
    recorded: bool
    level: int = 0
    domain_id: int | None = None
    reads: tuple[Read, ...] = ()
    updates: tuple[Update, ...] = ()

    @property
    def message(self) -> str:
        """The reason in words."""
        return REASON_TEXTS[self.reason]


Outcome = Translation | Fault
"""Every request has exactly one."""

"""The reference walker: one radix walk over any format, in the order in which hardware checks.

For every entry: can it be read, is it present, does it allow the request, are its reserved bits clear; then
it is a page or the way to the next table. The walker in C does the same with the same numbers, and is held
to this one.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vfiokit.bits import mask
from vfiokit.translation.faults import Check, Reason
from vfiokit.translation.formats import ADDRESS, LeafRule, RadixFormat, level_shift
from vfiokit.translation.requests import Access, Update

__all__ = ["Blocked", "Demand", "Fetch", "Leaf", "Stage", "walk"]

Fetch = Callable[[int, int], int | None]
"""Reads the entry at an address, of a table of a level; ``None`` if it lies outside memory."""

Touch = Callable[[Update], None]
"""Takes the accessed and dirty bits that hardware sets in an entry."""


class Blocked(Exception):
    """A check failed: how a walk ends that does not end in a page. Never seen outside of this package.

    :ivar reason: the check.
    :ivar level: of the entry, 0 before the page tables.
    """

    def __init__(self, reason: Reason, level: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.level = level


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One page table, as a requester's entry names it.

    :ivar format: of its entries.
    :ivar root: address of its top table.
    :ivar levels: its depth.
    :ivar width: bits of the addresses that it translates, at most 64.
    :ivar granted: bits that stand above the table: all ones, or what the device table entry allows.
    :ivar write_protected: whether supervisor writes heed the write permission (WPE).
    """

    format: RadixFormat
    root: int
    levels: int
    width: int
    granted: int = mask(64)
    write_protected: bool = True

    def admits(self, address: int) -> bool:
        """Whether the table can have an entry for *address*."""
        top = address >> (self.width - 1 if self.format.canonical else self.width)
        return top == 0 or (self.format.canonical and top == mask(65 - self.width))


@dataclass(frozen=True, slots=True)
class Demand:
    """What every entry of a path must have, as bits of a format.

    :ivar access: what is asked for.
    :ivar required: bits that must be set, *forbidden* bits that must not.
    """

    access: Access
    required: int
    forbidden: int

    @classmethod
    def of(cls, stage: Stage, access: Access, *, privileged: bool = False) -> "Demand":
        """Return what a request demands of the entries of *stage*."""
        format = stage.format
        required = 0 if privileged else format.user
        if access & Access.READ or (access & Access.EXECUTE and not format.execute):
            required |= format.read
        if access & Access.WRITE and (stage.write_protected or not privileged):
            required |= format.write
        executes = bool(access & Access.EXECUTE)
        return cls(
            access, required | (format.execute if executes else 0), format.no_execute if executes else 0
        )

    def failed(self, format: RadixFormat, entry: int) -> Check:
        """Return the first permission that *entry* lacks, of those that it was found to lack."""
        lacking = self.required & ~entry
        if lacking & format.user:
            return Check.USER
        if lacking & format.write:
            return Check.WRITE
        return Check.READ if lacking & format.read else Check.EXECUTE


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where a walk ended.

    :ivar address: the translated address.
    :ivar shift: of the page: its size is ``1 << shift``.
    :ivar level: of the entry.
    :ivar permissions: what the path allows.
    """

    address: int
    shift: int
    level: int
    permissions: Access


def walk(stage: Stage, address: int, demand: Demand, fetch: Fetch, touch: Touch | None = None) -> Leaf:
    """Walk one table.

    :param fetch: reads entries.
    :param touch: takes accessed and dirty bits, where anybody wants them.
    :raises Blocked: with the first check that failed.
    """
    format, base = stage.format, stage.format.reasons
    if not stage.admits(address):
        raise Blocked(Reason(base + Check.RANGE))
    if demand.required & ~stage.granted:
        raise Blocked(Reason(base + demand.failed(format, stage.granted)))
    table, level = stage.root, stage.levels
    granted, touched = stage.granted, 0
    while True:
        where = table + (address >> level_shift(level) & 0x1FF) * 8
        entry = fetch(where, level)
        if entry is None:
            top = level == stage.levels
            raise Blocked(Reason(base + (Check.TOP_UNREADABLE if top else Check.UNREADABLE)), level)
        below = format.next_level(entry, level)
        failed = _check(format, entry, level, below, address, demand)
        if failed is not None:
            raise Blocked(Reason(base + failed), level)
        granted &= entry
        touched |= entry
        leaf = below in (0, 7)
        if touch is not None and format.accessed:
            bits = format.accessed | (format.dirty if leaf and demand.access & Access.WRITE else 0)
            if bits & ~entry:
                touch(Update(where, bits & ~entry))
        if leaf:
            shift = level_shift(level) if below == 0 else encoded_shift(entry)
            offset = address & mask(shift)
            page = entry & ADDRESS & ~mask(shift)
            return Leaf(page | offset, shift, level, format.permissions(granted, touched))
        table, level = entry & ADDRESS, below


def encoded_shift(entry: int) -> int:
    """Return the size of a page that says its own: ones from bit 12, ended by a zero (AMD-Vi 2.2.3).

    >>> encoded_shift(0x0000), encoded_shift(0x1000)
    (13, 14)
    """
    ones = (entry & ADDRESS) >> 12
    return 13 + (~ones & ones + 1).bit_length() - 1


def _check(
    format: RadixFormat, entry: int, level: int, below: int, address: int, demand: Demand
) -> Check | None:
    """Return the first check that *entry* fails."""
    if not entry & format.present:
        return Check.NOT_PRESENT
    if demand.required & ~entry or demand.forbidden & entry:
        return demand.failed(format, entry)
    reserved = format.reserved_leaf if below in (0, 7) else format.reserved_table
    if entry & reserved[level]:
        return Check.RESERVED
    return _check_next_level(entry, level, below, address) if format.rule is LeafRule.NEXT_LEVEL else None


def _check_next_level(entry: int, level: int, below: int, address: int) -> Check | None:
    """Check what only a format with its levels in the entries can get wrong (AMD-Vi 2.2.3)."""
    if below == 7:
        fits = level_shift(level) < encoded_shift(entry) < level_shift(level + 1)
        return None if fits else Check.SIZE
    if below >= level:
        return Check.LEVEL
    # A skipped level has no index: its address bits must be zero.
    skipped = mask(level_shift(level)) & ~mask(level_shift(below + 1)) if below else 0
    return Check.SKIPPED if address & skipped else None

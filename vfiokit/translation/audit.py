"""What a domain can reach: everything that its tables map, joined.

>>> pages = [Mapping(0x1000 * page, 0x80000000 + 0x1000 * page, 0x1000, Access.READ) for page in range(3)]
>>> [str(run.iova_range) for run in coalesce(pages)]
['0x0-0x2fff']
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vfiokit.address import AddressRange
from vfiokit.bits import mask
from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.formats import ADDRESS, level_shift
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Access
from vfiokit.translation.walk import Stage, encoded_shift

__all__ = ["ENTRY_BUDGET", "Dump", "Mapping", "coalesce", "dump", "mappings"]

ENTRY_BUDGET = 1 << 26
"""Present entries that a dump follows unless told: tables of 256 GiB of 4 KiB pages."""


@dataclass(frozen=True, slots=True, order=True)
class Mapping:
    """A run of addresses that lie one after another on both sides and are allowed alike.

    :ivar iova: the first address of the run in the domain.
    :ivar address: the host physical address of that byte.
    :ivar size: in bytes.
    :ivar access: what the path allows.
    """

    iova: int
    address: int
    size: int
    access: Access

    @property
    def iova_range(self) -> AddressRange:
        """The addresses in the domain."""
        return AddressRange(self.iova, self.iova + self.size)

    @property
    def physical_range(self) -> AddressRange:
        """The host physical addresses."""
        return AddressRange(self.address, self.address + self.size)


@dataclass(frozen=True, slots=True)
class Dump:
    """Everything that a table maps.

    :ivar mappings: in order of address in the domain, joined.
    :ivar stopped_at: the address from which on nothing was looked at, because the budget of entries was
        used up; ``None`` for a whole dump.
    """

    mappings: tuple[Mapping, ...]
    stopped_at: int | None = None


def dump(memory: Memory, descriptor: Descriptor, *, budget: int = ENTRY_BUDGET) -> Dump:
    """Collect what a requester's tables map; nested tables are composed.

    The same checks are made as for single requests: what would fault is not in it. Tables that point back to
    themselves end the dump at the budget, not never.

    :param budget: how many present entries to follow.
    """
    return _Walker(memory, descriptor, budget).run()


def mappings(memory: Memory, descriptor: Descriptor) -> tuple[Mapping, ...]:
    """Return what a requester's tables map, joined, in order of address in the domain."""
    return dump(memory, descriptor).mappings


def coalesce(pages: Iterable[Mapping]) -> Iterator[Mapping]:
    """Join pages, in order of IOVA, that follow one another on both sides and are allowed alike."""
    current: Mapping | None = None
    for page in pages:
        if (
            current is not None
            and page.iova == current.iova + current.size
            and page.address == current.address + current.size
            and page.access == current.access
        ):
            current = Mapping(current.iova, current.address, current.size + page.size, current.access)
            continue
        if current is not None:
            yield current
        current = page
    if current is not None:
        yield current


class _BudgetSpent(Exception):
    def __init__(self, address: int) -> None:
        self.address = address


@dataclass(slots=True)
class _Walker:
    """One walk over whole tables."""

    memory: Memory
    descriptor: Descriptor
    budget: int
    stopped_at: int | None = None

    def run(self) -> Dump:
        found = tuple(coalesce(self._until_spent()))
        return Dump(found, self.stopped_at)

    def _until_spent(self) -> Iterator[Mapping]:
        """Yield pages; what was found before the budget ends is kept."""
        try:
            yield from self._pages()
        except _BudgetSpent as spent:
            self.stopped_at = spent.address

    def _pages(self) -> Iterator[Mapping]:
        first, second = self.descriptor.first, self.descriptor.second
        if first is None and second is None:
            yield Mapping(0, 0, 1 << self.descriptor.width, self.descriptor.permissions)
        elif first is not None and second is not None:
            below = _Below(tuple(coalesce(self._stage(second, None))))
            yield from (piece for page in self._stage(first, below) for piece in below.compose(page))
        else:
            stage = first or second
            assert stage is not None
            yield from self._stage(stage, None)

    def _stage(self, stage: Stage, below: "_Below | None") -> Iterator[Mapping]:
        if not stage.granted & (stage.format.read | stage.format.write) and stage.format.read:
            return
        yield from self._table(stage, below, stage.root, stage.levels, 0, stage.granted, 0)

    def _table(
        self,
        stage: Stage,
        below: "_Below | None",
        table: int,
        level: int,
        base: int,
        granted: int,
        touched: int,
    ) -> Iterator[Mapping]:
        format, shift = stage.format, level_shift(level)
        host = table if below is None else below.find(table)
        if host is None:
            return
        for slot in range(min(512, 1 << max(0, stage.width - shift))):
            entry = self.memory.read64(host + 8 * slot)
            if entry is None or not entry & format.present:
                continue
            iova = _canonical(base + (slot << shift), stage)
            self.budget -= 1
            if self.budget < 0:
                raise _BudgetSpent(iova)
            allowed = format.permissions(granted & entry, touched | entry)
            next_level = format.next_level(entry, level)
            leaf = next_level in (0, 7)
            reserved = format.reserved_leaf if leaf else format.reserved_table
            lacks_user = format.user & ~entry and not self.descriptor.privileged
            if entry & reserved[level] or not allowed or lacks_user:
                continue
            if not leaf:
                if next_level < level:
                    yield from self._table(
                        stage,
                        below,
                        entry & ADDRESS,
                        next_level,
                        base + (slot << shift),
                        granted & entry,
                        touched | entry,
                    )
                continue
            page = shift
            if next_level == 7:
                page = encoded_shift(entry)
                if not shift < page < level_shift(level + 1):
                    continue
            offset = iova & mask(page)
            yield Mapping(iova, (entry & ADDRESS & ~mask(page)) | offset, 1 << shift, allowed)


def _canonical(address: int, stage: Stage) -> int:
    """Extend the sign of an address where the format does."""
    if stage.format.canonical and address >> stage.width - 1:
        return address | mask(64) & ~mask(stage.width)
    return address


class _Below:
    """A second stage's mappings, looked up by guest-physical address.

    :param mappings: in order of IOVA.
    """

    def __init__(self, mappings: tuple[Mapping, ...]) -> None:
        self._mappings = mappings

    def find(self, address: int) -> int | None:
        """Return the host address of a readable guest-physical address."""
        found = self._at(address)
        if found is None or not found.access & Access.READ:
            return None
        return found.address + address - found.iova

    def compose(self, page: Mapping) -> Iterator[Mapping]:
        """Yield the pieces of a first-stage page that the second stage maps."""
        start = page.address
        while start < page.address + page.size:
            found = self._at(start)
            if found is None:
                start = min(self._next(start), page.address + page.size)
                continue
            end = min(found.iova + found.size, page.address + page.size)
            access = page.access & found.access
            if access:
                iova = page.iova + start - page.address
                yield Mapping(iova, found.address + start - found.iova, end - start, access)
            start = end

    def _at(self, address: int) -> Mapping | None:
        index = self._index(address)
        found = self._mappings[index] if index >= 0 else None
        return found if found is not None and address < found.iova + found.size else None

    def _next(self, address: int) -> int:
        index = self._index(address) + 1
        return self._mappings[index].iova if index < len(self._mappings) else 1 << 64

    def _index(self, address: int) -> int:
        return bisect_right(self._mappings, address, key=lambda each: each.iova) - 1

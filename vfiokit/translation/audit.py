"""What domains can reach: mappings joined, the way back from a host address, and what domains share.

>>> one = Mapping(0x1000, 0x80000000, 0x3000, Access.READ | Access.WRITE)
>>> two = Mapping(0x9000, 0x80001000, 0x1000, Access.READ)
>>> [str(found.range) for found in overlaps({"a": [one], "b": [two]})]
['0x80001000-0x80001fff']
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from heapq import heappop, heappush, merge
from typing import Generic, TypeVar

from vfiokit.address import AddressRange
from vfiokit.bits import mask
from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.formats import ADDRESS, level_shift
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Access
from vfiokit.translation.walk import Stage, encoded_shift

__all__ = ["Dump", "Mapping", "Overlap", "ReverseMap", "coalesce", "dump", "mappings", "overlaps"]

NameT = TypeVar("NameT", bound=Hashable)
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


class ReverseMap(Generic[NameT]):
    """From host physical addresses back to domains: every byte of every page is found, not only the first.

    :param domains: the mappings of each domain, by whatever names it.
    """

    def __init__(self, domains: MappingOf[NameT, Iterable[Mapping]]) -> None:
        self._extents = sorted(
            (
                (each.address, each.address + each.size, name, each)
                for name, found in domains.items()
                for each in found
            ),
            key=lambda extent: extent[:2],
        )
        # The furthest end so far tells when nothing before can reach an address.
        self._reach: list[int] = []
        furthest = 0
        for _, end, _, _ in self._extents:
            furthest = max(furthest, end)
            self._reach.append(furthest)

    def find(self, address: int) -> tuple[tuple[NameT, int, Access], ...]:
        """Return domain, IOVA and permission of everything that maps a host physical address."""
        found = []
        index = bisect_right(self._extents, address, key=lambda extent: extent[0]) - 1
        while index >= 0 and self._reach[index] > address:
            start, end, name, mapping = self._extents[index]
            if address < end:
                found.append((name, mapping.iova + address - start, mapping.access))
            index -= 1
        return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Overlap(Generic[NameT]):
    """Host memory that two domains reach.

    :ivar range: host physical addresses.
    :ivar one: a domain, and *other* another; each with what it may do there.
    """

    range: AddressRange
    one: NameT
    one_access: Access
    other: NameT
    other_access: Access

    @property
    def writable(self) -> bool:
        """Whether what one of them writes the other can see."""
        return bool((self.one_access | self.other_access) & Access.WRITE)


def overlaps(domains: MappingOf[NameT, Iterable[Mapping]]) -> list[Overlap[NameT]]:
    """Return the host memory that any two domains share, in order of address.

    A sweep over host memory: the cost is that of sorting, and of what is returned.

    :param domains: the mappings of each domain, by whatever names it.
    """
    names = list(domains)
    found: list[Overlap[NameT]] = []
    active: dict[int, list[Mapping]] = {}
    ends: list[tuple[int, int, Mapping]] = []
    for start, index, mapping in _sorted_extents(domains):
        _retire(active, ends, start)
        for other, running in active.items():
            if other != index:
                found += (_overlap(names, index, mapping, other, each) for each in running)
        active.setdefault(index, []).append(mapping)
        heappush(ends, (start + mapping.size, index, mapping))
    found.sort(key=lambda each: (each.range.start, each.range.end))
    return list(_joined(found))


def _sorted_extents(
    domains: MappingOf[NameT, Iterable[Mapping]],
) -> Iterator[tuple[int, int, Mapping]]:
    runs = [
        [(each.address, index, each) for each in _physical_runs(found)]
        for index, found in enumerate(domains.values())
    ]
    return merge(*runs, key=lambda extent: extent[0])


def _physical_runs(found: Iterable[Mapping]) -> list[Mapping]:
    """Join what a domain reaches by host address, whatever the order in which it maps it; IOVAs are lost."""
    rows = sorted((int(each.access), each.address, each.address + each.size) for each in found)
    runs: list[Mapping] = []
    open_ = (-1, 0, 0)
    for access, start, end in [*rows, (-2, 0, 0)]:
        if access == open_[0] and start <= open_[2]:
            open_ = (access, open_[1], max(end, open_[2]))
            continue
        if open_[0] >= 0:
            runs.append(Mapping(0, open_[1], open_[2] - open_[1], Access(open_[0])))
        open_ = (access, start, end)
    return sorted(runs, key=lambda each: each.address)


def _retire(active: dict[int, list[Mapping]], ends: list[tuple[int, int, Mapping]], start: int) -> None:
    """Drop what ends before *start*."""
    while ends and ends[0][0] <= start:
        _, index, mapping = heappop(ends)
        active[index].remove(mapping)
        if not active[index]:
            del active[index]


def _overlap(
    names: list[NameT], index: int, mapping: Mapping, other: int, running: Mapping
) -> Overlap[NameT]:
    start = max(mapping.address, running.address)
    end = min(mapping.address + mapping.size, running.address + running.size)
    low, high = sorted(((index, mapping), (other, running)), key=lambda each: each[0])
    return Overlap(AddressRange(start, end), names[low[0]], low[1].access, names[high[0]], high[1].access)


def _joined(found: list[Overlap[NameT]]) -> Iterator[Overlap[NameT]]:
    """Join overlaps of the same two domains that follow one another and are allowed alike."""
    open_: dict[tuple[NameT, Access, NameT, Access], AddressRange] = {}
    for each in found:
        key = (each.one, each.one_access, each.other, each.other_access)
        before = open_.get(key)
        if before is not None and before.end >= each.range.start:
            open_[key] = AddressRange(before.start, max(before.end, each.range.end))
            continue
        if before is not None:
            yield Overlap(before, key[0], key[1], key[2], key[3])
        open_[key] = each.range
    for key, shared in open_.items():
        yield Overlap(shared, key[0], key[1], key[2], key[3])

"""From host memory back to domains: who reaches an address, and what two domains share.

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
from vfiokit.translation.audit import Mapping
from vfiokit.translation.requests import Access

__all__ = ["Overlap", "ReverseMap", "overlaps"]

NameT = TypeVar("NameT", bound=Hashable)


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

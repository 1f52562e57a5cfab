"""Hand out addresses of a device's space: what the IOMMU translates, less what is reserved or taken.

Pure: it asks no kernel. The lowest fit is taken, so that the same requests always give the same addresses.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

from vfiokit.address import AddressRange
from vfiokit.bits import align_up
from vfiokit.vfio.errors import AlreadyMapped, IovaReserved, NotMapped

__all__ = ["IovaAllocator", "subtract"]


def subtract(ranges: Iterable[AddressRange], holes: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """Return what is left of *ranges* without *holes*.

    >>> [str(part) for part in subtract([AddressRange(0, 0x5000)], [AddressRange(0x1000, 0x2000)])]
    ['0x0-0xfff', '0x2000-0x4fff']
    """
    left = sorted(ranges)
    for hole in holes:
        left = [part for whole in left for part in _without(whole, hole)]
    return tuple(left)


class IovaAllocator:
    """Which addresses are free.

    :param ranges: what the IOMMU translates.
    :param reserved: what must not be used although it does: the interrupt window, memory the firmware
        claims.
    :param floor: the lowest address handed out; address 0 is a device's idea of no address.
    """

    def __init__(
        self,
        ranges: Iterable[AddressRange],
        reserved: Iterable[AddressRange] = (),
        *,
        floor: int = 0x10000,
    ) -> None:
        self._taken: list[AddressRange] = []
        self._floor = floor
        self.usable: tuple[AddressRange, ...] = ()
        self.update(ranges, reserved)

    def update(self, ranges: Iterable[AddressRange], reserved: Iterable[AddressRange] = ()) -> None:
        """Take new limits, as another device brings them; what is taken stays taken."""
        self.usable = subtract(ranges, reserved)

    @property
    def taken(self) -> tuple[AddressRange, ...]:
        """What is handed out, in order."""
        return tuple(self._taken)

    def allocate(self, size: int, *, alignment: int = 4096, below: int = 1 << 64) -> AddressRange:
        """Take the lowest free range of *size* bytes that is aligned and ends at or under *below*.

        :raises IovaReserved: if there is none.
        """
        for whole in self.usable:
            start = align_up(max(whole.start, self._floor), alignment)
            limit = min(whole.end, below)
            index = max(bisect_left(self._taken, AddressRange(start, start)) - 1, 0)
            for taken in self._taken[index:]:
                if taken.start >= start + size:
                    break
                if taken.end > start:
                    start = align_up(taken.end, alignment)
            if start + size <= limit:
                return self._take(AddressRange(start, start + size))
        raise IovaReserved(
            f"no {size:#x} bytes of address space are free below {below:#x}",
            operation="allocate IOVA",
            hint=f"usable: {', '.join(map(str, self.usable)) or 'nothing'}",
        )

    def reserve(self, wanted: AddressRange) -> AddressRange:
        """Take exactly this range.

        :raises IovaReserved: if the IOMMU does not translate all of it.
        :raises AlreadyMapped: if part of it is taken.
        """
        self.check(wanted)
        return self._take(wanted)

    def check(self, wanted: AddressRange) -> None:
        """Say what is wrong with a range, if something is; errors as :meth:`reserve`."""
        if not any(whole.start <= wanted.start and wanted.end <= whole.end for whole in self.usable):
            raise IovaReserved(
                f"{wanted} is not in what the IOMMU translates",
                operation="map",
                subject=f"IOVA {wanted.start:#x}",
                hint=f"usable: {', '.join(map(str, self.usable)) or 'nothing'}",
            )
        index = bisect_left(self._taken, wanted)
        for taken in self._taken[max(index - 1, 0) : index + 1]:
            if taken.overlaps(wanted):
                raise AlreadyMapped(
                    f"{wanted} overlaps the mapping {taken}",
                    operation="map",
                    subject=f"IOVA {wanted.start:#x}",
                    hint="unmap that first, or let the address be chosen",
                )

    def release(self, taken: AddressRange) -> None:
        """Give a range back.

        :raises NotMapped: if it was not taken as it is.
        """
        index = bisect_left(self._taken, taken)
        if index == len(self._taken) or self._taken[index] != taken:
            raise NotMapped(f"{taken} was not taken", operation="release IOVA")
        del self._taken[index]

    def _take(self, chosen: AddressRange) -> AddressRange:
        insort(self._taken, chosen)
        return chosen


def _without(whole: AddressRange, hole: AddressRange) -> list[AddressRange]:
    if not whole.overlaps(hole):
        return [whole]
    parts = [(whole.start, hole.start), (hole.end, whole.end)]
    return [AddressRange(start, end) for start, end in parts if start < end]

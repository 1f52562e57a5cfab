"""An address space of the fake kernel: its list of mappings, and the tables that devices go through."""

import errno
from bisect import bisect_right
from typing import NamedTuple

from vfiokit.address import AddressRange
from vfiokit.testing.fake_iommu import DmaFault, FakeIommu
from vfiokit.translation.requests import Access

__all__ = ["DmaFault", "FakeSpace", "Mapping"]

INTERRUPT_WINDOW = AddressRange(0xFEE00000, 0xFEF00000)


class Mapping(NamedTuple):
    """A mapping as the kernel keeps it."""

    range: AddressRange
    vaddr: int
    readable: bool
    writable: bool


class FakeSpace:
    """A device address space.

    :param iommu: where its tables are.
    :param width: bits of its addresses.
    :param limit: how many mappings there may be.
    :param pinned_limit: how many bytes may be pinned.
    :ivar mappings: what is mapped, by its start.
    :ivar pinned: bytes of memory that are pinned.
    :ivar domain: the tables that say the same.
    """

    def __init__(
        self, iommu: FakeIommu, width: int = 39, *, limit: int = 65535, pinned_limit: int | None = None
    ) -> None:
        self.mappings: dict[int, Mapping] = {}
        self.limit, self.pinned_limit = limit, pinned_limit
        self.ranges = (
            AddressRange(0, INTERRUPT_WINDOW.start),
            AddressRange(INTERRUPT_WINDOW.end, 1 << width),
        )
        self.pinned = 0
        self.iommu, self.domain = iommu, iommu.new_domain()
        self._starts: list[int] = []

    @property
    def faults(self) -> list[DmaFault]:
        """Every access that was blocked in it."""
        number = self.domain.domain_id
        return [each for each in self.iommu.faults if each.fault.domain_id == number]

    def map(self, wanted: AddressRange, vaddr: int, *, readable: bool, writable: bool) -> int:
        """Map; 0 or -errno, as the kernel answers."""
        if not wanted.size or (wanted.start | wanted.size | vaddr) & 0xFFF or not (readable or writable):
            return -errno.EINVAL
        if self._touched(wanted):
            return -errno.EEXIST
        if not any(part.start <= wanted.start and wanted.end <= part.end for part in self.ranges):
            return -errno.EINVAL
        if len(self.mappings) >= self.limit:
            return -errno.ENOSPC
        if self.pinned_limit is not None and self.pinned + wanted.size > self.pinned_limit:
            return -errno.ENOMEM
        access = Access.READ * readable | Access.WRITE * writable
        self.domain.map(wanted.start, vaddr, wanted.size, Access(access))
        self._starts.insert(bisect_right(self._starts, wanted.start), wanted.start)
        self.mappings[wanted.start] = Mapping(wanted, vaddr, readable, writable)
        self.pinned += wanted.size
        return 0

    def unmap(self, wanted: AddressRange) -> int:
        """Unmap what lies in a range; the bytes, or -errno if it would cut a mapping."""
        touched = self._touched(wanted)
        if any(mapping.range.start < wanted.start or mapping.range.end > wanted.end for mapping in touched):
            return -errno.EINVAL
        for mapping in touched:
            self.domain.unmap(mapping.range.start, mapping.range.size, keep_tables=True)
            del self.mappings[mapping.range.start]
            del self._starts[bisect_right(self._starts, mapping.range.start) - 1]
        done = sum(mapping.range.size for mapping in touched)
        self.pinned -= done
        return done

    def close(self) -> None:
        """Give the tables back; no device goes through them any more."""
        self.domain.release()

    def _touched(self, wanted: AddressRange) -> list[Mapping]:
        """Return the mappings that a range meets, in order."""
        first = max(bisect_right(self._starts, wanted.start) - 1, 0)
        last = bisect_right(self._starts, wanted.end - 1)
        found = [self.mappings[start] for start in self._starts[first:last]]
        return [mapping for mapping in found if mapping.range.overlaps(wanted)]

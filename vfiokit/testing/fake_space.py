"""An address space of the fake kernel: its list of mappings, and the tables that devices go through."""

import ctypes
import errno
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from vfiokit.address import AddressRange
from vfiokit.testing.fake_iommu import DmaFault, FakeIommu
from vfiokit.translation.requests import Access

__all__ = ["DmaFault", "FakeSpace", "Mapping"]

INTERRUPT_WINDOW = AddressRange(0xFEE00000, 0xFEF00000)


class Mapping(NamedTuple):
    """A mapping as the kernel keeps it.

    :ivar memory: what must not go before the mapping does.
    """

    range: AddressRange
    vaddr: int
    readable: bool
    writable: bool
    memory: object = None


class FakeSpace:
    """A device address space.

    :param iommu: where its tables are.
    :param width: bits of its addresses.
    :param limit: how many mappings there may be.
    :param pinned_limit: how many bytes may be pinned.
    :ivar noiommu: whether a device without an IOMMU is in it: that one reads and writes by physical address.
    :ivar mappings: what is mapped, by its start.
    :ivar pinned: bytes of memory that are pinned.
    :ivar domain: the tables that say the same, unless there is no IOMMU.
    """

    def __init__(
        self, iommu: FakeIommu, width: int = 39, *, limit: int = 65535, pinned_limit: int | None = None
    ) -> None:
        self.mappings: dict[int, Mapping] = {}
        self.limit, self.pinned_limit = limit, pinned_limit
        self.ranges: tuple[AddressRange, ...] = (
            AddressRange(0, INTERRUPT_WINDOW.start),
            AddressRange(INTERRUPT_WINDOW.end, 1 << width),
        )
        self.noiommu = False
        self.pinned = 0
        self.iommu, self.domain = iommu, iommu.new_domain()
        self._starts: list[int] = []

    def lose_iommu(self) -> None:
        """Become the space of a device without an IOMMU: every address can be mapped, and none is used."""
        self.noiommu, self.ranges = True, (AddressRange(0, 1 << 64),)

    def physical(self, iova: int, size: int) -> tuple[int, int]:
        """Return where a mapped address lies, and how many bytes run on from there.

        :raises LookupError: where nothing is mapped.
        """
        for mapping in self.mappings.values():
            if iova in mapping.range:
                return self._run(mapping, iova, min(size, mapping.range.end - iova))
        raise LookupError(iova)

    def _run(self, mapping: Mapping, iova: int, most: int) -> tuple[int, int]:
        first = _frame(mapping.vaddr + iova - mapping.range.start)
        length = min(4096 - first % 4096, most)
        while (
            length < most and _frame(mapping.vaddr + iova - mapping.range.start + length) == first + length
        ):
            length = min(length + 4096, most)
        return first, length

    @property
    def faults(self) -> list[DmaFault]:
        """Every access that was blocked in it."""
        number = self.domain.domain_id
        return [each for each in self.iommu.faults if each.fault.domain_id == number]

    def map(
        self, wanted: AddressRange, vaddr: int, *, readable: bool, writable: bool, memory: object = None
    ) -> int:
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
        if not self.noiommu:
            access = Access.READ * readable | Access.WRITE * writable
            self.domain.map(wanted.start, vaddr, wanted.size, Access(access))
        self._starts.insert(bisect_right(self._starts, wanted.start), wanted.start)
        self.mappings[wanted.start] = Mapping(wanted, vaddr, readable, writable, memory)
        self.pinned += wanted.size
        return 0

    def revoke(self, memory: object) -> None:
        """Take from devices what was mapped of a thing; the addresses stay taken."""
        for start, mapping in self.mappings.items():
            if mapping.memory is memory:
                self.mappings[start] = mapping._replace(readable=False, writable=False, memory=None)
                if not self.noiommu:
                    self.domain.unmap(start, mapping.range.size, keep_tables=True)

    def unmap(self, wanted: AddressRange) -> int:
        """Unmap what lies in a range; the bytes, or -errno if it would cut a mapping."""
        touched = self._touched(wanted)
        if any(mapping.range.start < wanted.start or mapping.range.end > wanted.end for mapping in touched):
            return -errno.EINVAL
        for mapping in touched:
            if not self.noiommu:
                self.domain.unmap(mapping.range.start, mapping.range.size, keep_tables=True)
            del self.mappings[mapping.range.start]
            del self._starts[bisect_right(self._starts, mapping.range.start) - 1]
        done = sum(mapping.range.size for mapping in touched)
        self.pinned -= done
        return done

    def close(self) -> None:
        """Give the tables back; no device goes through them any more."""
        self.domain.release()

    def read(self, address: int, size: int) -> bytes:
        """Read memory by physical address, as a device without an IOMMU does; all ones where nothing is."""
        pieces = (
            b"\xff" * length if vaddr is None else ctypes.string_at(vaddr, length)
            for vaddr, length in self._walk(address, size, write=False)
        )
        return b"".join(pieces)

    def write(self, address: int, data: bytes) -> None:
        """Write memory by physical address, as a device without an IOMMU does."""
        done = 0
        for vaddr, length in self._walk(address, len(data), write=True):
            if vaddr is not None:
                ctypes.memmove(vaddr, data[done : done + length], length)
            done += length

    def _walk(self, address: int, size: int, *, write: bool) -> Iterator[tuple[int | None, int]]:
        """Yield the page pieces of a range by their addresses in this process."""
        end = address + size
        while address < end:
            length = min(end - address, 4096 - address % 4096)
            yield self._behind(address, write=write), length
            address += length

    def _behind(self, address: int, *, write: bool) -> int | None:
        """Return what a physical address is in this process; any memory that is mapped may be in reach."""
        vaddr = _frame(address)
        for mapping in self.mappings.values():
            if 0 <= vaddr - mapping.vaddr < mapping.range.size:
                return vaddr if (mapping.writable if write else mapping.readable) else None
        return None

    def _touched(self, wanted: AddressRange) -> list[Mapping]:
        """Return the mappings that a range meets, in order."""
        first = max(bisect_right(self._starts, wanted.start) - 1, 0)
        last = bisect_right(self._starts, wanted.end - 1)
        found = [self.mappings[start] for start in self._starts[first:last]]
        return [mapping for mapping in found if mapping.range.overlaps(wanted)]


def _frame(address: int) -> int:
    """Return the physical address of one in this process, and back: pages lie in runs of four."""
    return address ^ 0x4000

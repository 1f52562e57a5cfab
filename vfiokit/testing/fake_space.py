"""What a fake IOMMU translates: mappings of this process's memory, and a device's way through them."""

import errno
from collections.abc import Iterator
from typing import NamedTuple

from vfiokit._native import ffi
from vfiokit.address import AddressRange

__all__ = ["DmaFault", "FakeSpace", "Mapping"]

INTERRUPT_WINDOW = AddressRange(0xFEE00000, 0xFEF00000)


class DmaFault(Exception):
    """A device's access that the IOMMU blocked.

    :ivar iova: where.
    :ivar write: whether it would have written.
    """

    def __init__(self, iova: int, *, write: bool) -> None:
        super().__init__(f"{'write' if write else 'read'} at {iova:#x}")
        self.iova, self.write = iova, write


class Mapping(NamedTuple):
    """A mapping as the device sees it."""

    range: AddressRange
    vaddr: int
    readable: bool
    writable: bool


class FakeSpace:
    """A device address space.

    :param limit: how many mappings there may be.
    :param pinned_limit: how many bytes may be pinned.
    :ivar faults: every access that was blocked.
    """

    def __init__(self, width: int = 39, *, limit: int = 65535, pinned_limit: int | None = None) -> None:
        self.mappings: dict[int, Mapping] = {}
        self.limit, self.pinned_limit = limit, pinned_limit
        self.ranges = (
            AddressRange(0, INTERRUPT_WINDOW.start),
            AddressRange(INTERRUPT_WINDOW.end, 1 << width),
        )
        self.faults: list[DmaFault] = []

    @property
    def pinned(self) -> int:
        """Bytes of memory that are pinned."""
        return sum(mapping.range.size for mapping in self.mappings.values())

    def map(self, wanted: AddressRange, vaddr: int, *, readable: bool, writable: bool) -> int:
        """Map; 0 or -errno, as the kernel answers."""
        if not wanted.size or (wanted.start | wanted.size | vaddr) & 0xFFF or not (readable or writable):
            return -errno.EINVAL
        if any(mapping.range.overlaps(wanted) for mapping in self.mappings.values()):
            return -errno.EEXIST
        if not any(part.start <= wanted.start and wanted.end <= part.end for part in self.ranges):
            return -errno.EINVAL
        if len(self.mappings) >= self.limit:
            return -errno.ENOSPC
        if self.pinned_limit is not None and self.pinned + wanted.size > self.pinned_limit:
            return -errno.ENOMEM
        self.mappings[wanted.start] = Mapping(wanted, vaddr, readable, writable)
        return 0

    def unmap(self, wanted: AddressRange) -> int:
        """Unmap what lies in a range; the bytes, or -errno if it would cut a mapping."""
        touched = [mapping for mapping in self.mappings.values() if mapping.range.overlaps(wanted)]
        if any(mapping.range.start < wanted.start or mapping.range.end > wanted.end for mapping in touched):
            return -errno.EINVAL
        for mapping in touched:
            del self.mappings[mapping.range.start]
        return sum(mapping.range.size for mapping in touched)

    def read(self, iova: int, size: int) -> bytes:
        """Read as a device does.

        :raises DmaFault: where nothing is mapped for reading.
        """
        return b"".join(
            bytes(ffi.buffer(ffi.cast("char *", vaddr), length))
            for vaddr, length in self._walk(iova, size, write=False)
        )

    def write(self, iova: int, data: bytes) -> None:
        """Write as a device does.

        :raises DmaFault: where nothing is mapped for writing; what lies before is written.
        """
        done = 0
        for vaddr, length in self._walk(iova, len(data), write=True):
            ffi.memmove(ffi.cast("char *", vaddr), data[done : done + length], length)
            done += length

    def _walk(self, iova: int, size: int, *, write: bool) -> Iterator[tuple[int, int]]:
        end = iova + size
        while iova < end:
            mapping = self._find(iova, write)
            length = min(end, mapping.range.end) - iova
            yield mapping.vaddr + iova - mapping.range.start, length
            iova += length

    def _find(self, iova: int, write: bool) -> Mapping:
        for mapping in self.mappings.values():
            if iova in mapping.range and (mapping.writable if write else mapping.readable):
                return mapping
        fault = DmaFault(iova, write=write)
        self.faults.append(fault)
        raise fault

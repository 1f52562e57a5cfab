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
    """A mapping as the device sees it.

    :ivar memory: what must not go before the mapping does.
    """

    range: AddressRange
    vaddr: int
    readable: bool
    writable: bool
    memory: object = None


class FakeSpace:
    """A device address space.

    :param limit: how many mappings there may be.
    :param pinned_limit: how many bytes may be pinned.
    :ivar noiommu: whether a device without an IOMMU is in it: that one reads and writes by physical address.
    :ivar faults: every access that was blocked.
    """

    def __init__(self, width: int = 39, *, limit: int = 65535, pinned_limit: int | None = None) -> None:
        self.mappings: dict[int, Mapping] = {}
        self.limit, self.pinned_limit = limit, pinned_limit
        self.ranges: tuple[AddressRange, ...] = (
            AddressRange(0, INTERRUPT_WINDOW.start),
            AddressRange(INTERRUPT_WINDOW.end, 1 << width),
        )
        self.noiommu = False
        self.faults: list[DmaFault] = []

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
    def pinned(self) -> int:
        """Bytes of memory that are pinned."""
        return sum(mapping.range.size for mapping in self.mappings.values())

    def map(
        self, wanted: AddressRange, vaddr: int, *, readable: bool, writable: bool, memory: object = None
    ) -> int:
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
        self.mappings[wanted.start] = Mapping(wanted, vaddr, readable, writable, memory)
        return 0

    def revoke(self, memory: object) -> None:
        """Take from devices what was mapped of a thing; the addresses stay taken."""
        for start, mapping in self.mappings.items():
            if mapping.memory is memory:
                self.mappings[start] = mapping._replace(readable=False, writable=False, memory=None)

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
            vaddr, most = self._find(iova, write)
            length = min(end - iova, most)
            yield vaddr, length
            iova += length

    def _find(self, iova: int, write: bool) -> tuple[int, int]:
        """Return the address in this process behind one of the device, and how many bytes it holds for."""
        for mapping in self.mappings.values():
            start, size = mapping.range.start, mapping.range.size
            # Without an IOMMU the device says a physical address, and any that is mapped may be in reach.
            offset = (_frame(iova) - mapping.vaddr) if self.noiommu else iova - start
            if 0 <= offset < size and (mapping.writable if write else mapping.readable):
                return mapping.vaddr + offset, (4096 - iova % 4096) if self.noiommu else size - offset
        fault = DmaFault(iova, write=write)
        self.faults.append(fault)
        raise fault


def _frame(address: int) -> int:
    """Return the physical address of one in this process, and back: pages lie in runs of four."""
    return address ^ 0x4000

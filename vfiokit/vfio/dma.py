"""Memory that devices read and write: mapped as long as they can reach it, and no longer than that."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from vfiokit._native import ffi
from vfiokit.address import AddressRange, PageSize
from vfiokit.bits import align_up
from vfiokit.errors import UsageError, VfioError
from vfiokit.vfio.dmabuf import DmaBuf
from vfiokit.vfio.errors import BadReply, CallNotSupported, Closed, Misaligned, NotMapped
from vfiokit.vfio.iova import IovaAllocator
from vfiokit.vfio.mapping import DmaBuffer, DmaMapping

if TYPE_CHECKING:
    from vfiokit.vfio.backend import AddressSpace, Limits

__all__ = ["Dma"]

_MAP_POPULATE, _MAP_HUGETLB, _HUGE_SHIFT, _MADV_WIPEONFORK = 0x8000, 0x40000, 26, 18
_PAGE = mmap.PAGESIZE


class HasFileno(Protocol):
    """An open file."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...


class Dma:
    """What is mapped in an address space.

    Threads must not map and unmap at the same time without a lock of their own.
    """

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._buffers: dict[int, DmaMapping] = {}
        self._allocator = IovaAllocator(())
        self._limits: Limits | None = None

    @property
    def buffers(self) -> tuple[DmaMapping, ...]:
        """What is mapped, buffers and files, lowest address first."""
        return tuple(self._buffers[start] for start in sorted(self._buffers))

    @property
    def limits(self) -> Limits:
        """What may be mapped, asked anew."""
        return self._space.limits()

    @property
    def usable(self) -> tuple[AddressRange, ...]:
        """The addresses that can be had: what the IOMMU translates, less what is reserved."""
        return self._allocator.usable

    def map(
        self,
        what: int | Any,
        *,
        iova: int | None = None,
        readable: bool = True,
        writable: bool = True,
        huge: PageSize | None = None,
        below: int = 1 << 64,
        alignment: int | None = None,
    ) -> DmaBuffer:
        """Map memory for DMA.

        :param what: a number of bytes to allocate, zeroed; or an object with the buffer protocol whose
            memory begins at a page and is whole pages.
        :param iova: the device's address for it, else the lowest that fits.
        :param readable: whether devices may read it.
        :param writable: whether devices may write it.
        :param huge: allocate from the kernel's pool of huge pages (``vm.nr_hugepages``) of this size.
        :param below: the address it must end at or under, for devices with few address bits.
        :param alignment: of the address, a power of two; by default that of the largest page that fits.
        :raises IovaReserved: if the address cannot be translated, or none is free.
        :raises AlreadyMapped: if part of the range is mapped.
        :raises Misaligned: if memory or address are no whole pages.
        :raises MemlockExceeded: if more memory would be pinned than may be.
        :raises TooManyMappings: if the container has no mapping left.
        """
        self._check(readable, writable)
        memory = _allocate(what, huge) if isinstance(what, int) else _pin(what, writable)
        try:
            size = len(memory.view)
            mapped = self._take(memory.address, size, iova, below, alignment or _alignment(size))
            return self._map(memory, mapped, what, readable, writable)
        except BaseException:
            memory.release()
            raise

    def map_file(
        self,
        file: int | HasFileno,
        *,
        offset: int = 0,
        size: int | None = None,
        iova: int | None = None,
        readable: bool = True,
        writable: bool = True,
        below: int = 1 << 64,
        alignment: int | None = None,
    ) -> DmaMapping:
        """Map a file that is memory: a memfd, or the dma-buf of another device's BAR (iommufd, Linux 6.13).

        The pages are the file's own: whoever maps it sees what devices write. The descriptor may be closed
        afterwards. A dma-buf (Linux 6.19) stays mapped until its device is closed or reset, or stops
        decoding; then devices reach nothing there, for good, and the mapping can only be closed.

        :param file: a descriptor, or an object that has one.
        :param offset: of the first byte in the file, whole pages.
        :param size: in bytes, whole pages; else all that follows *offset*.
        :param iova: as for :meth:`map`, and so are the others.
        :raises CallNotSupported: through a container, on an older kernel, or for a file of another kind.
        :raises DeviceGone: if it is the dma-buf of a device that was closed or does not decode memory.
        :raises IovaReserved: if the address cannot be translated, or none is free.
        :raises AlreadyMapped: if part of the range is mapped.
        :raises Misaligned: if offset, size or address are no whole pages.
        :raises MemlockExceeded: if more memory would be pinned than may be.
        """
        self._check(readable, writable)
        fd = file if isinstance(file, int) else file.fileno()
        if size is None:
            size = file.size - offset if isinstance(file, DmaBuf) else _size_of(fd, offset)
        if size <= 0 or offset < 0:
            raise UsageError(f"{size} bytes at {offset}", operation="map", subject=f"descriptor {fd}")
        mapped = self._take(offset, size, iova, below, alignment or _alignment(size))
        try:
            self._space.map_file(fd, offset, size, mapped.start, readable=readable, writable=writable)
        except BaseException:
            self._allocator.release(mapped)
            raise
        mapping = DmaMapping(self, mapped, size, readable=readable, writable=writable)
        self._buffers[mapped.start] = mapping
        return mapping

    def physical(self, mapped: AddressRange) -> tuple[AddressRange, ...]:
        """Return where in memory a mapped range lies, as :meth:`DmaMapping.physical` does."""
        found: list[AddressRange] = []
        iova = mapped.start
        while iova < mapped.end:
            start, length = self._space.physical(iova, mapped.end - iova)
            if not 0 < length <= mapped.end - iova:
                raise BadReply(
                    f"a run of {length:#x} bytes", operation="physical", subject=f"IOVA {iova:#x}"
                )
            iova += length
            if found and found[-1].end == start:
                start, length = found[-1].start, found.pop().size + length
            found.append(AddressRange(start, start + length))
        return tuple(found)

    def unmap(self, buffer: DmaMapping) -> int:
        """Unmap a buffer or a file, and return how many bytes were unmapped.

        :raises NotMapped: if it is not mapped here.
        :raises VfioError: if the kernel unmapped another number of bytes than were mapped.
        """
        if self._buffers.get(buffer.range.start) is not buffer:
            raise NotMapped("it is not mapped here", operation="unmap", subject=repr(buffer))
        done = self._space.unmap(buffer.range.start, buffer.range.size)
        self._forget(buffer)
        if done != buffer.range.size:
            raise VfioError(
                f"{done:#x} of {buffer.range.size:#x} bytes were mapped",
                operation="unmap",
                subject=f"IOVA {buffer.range.start:#x}",
                hint="the space lost its last device, or somebody unmapped behind this handle",
            )
        return done

    def unmap_all(self) -> int:
        """Unmap every buffer at once, and return how many bytes were unmapped."""
        done = self._space.unmap_all() if self._buffers else 0
        for buffer in self.buffers:
            self._forget(buffer)
        return done

    def update(self) -> None:
        """Ask the kernel's limits again, as after a device joined or left."""
        self._limits = self._space.limits()
        self._allocator.update(self._limits.ranges, self._space.reserved)

    def close(self) -> None:
        """Unmap everything before the memory is freed."""
        self.unmap_all()

    def _check(self, readable: bool, writable: bool) -> None:
        if self._space.closed:
            raise Closed("its address space was closed", operation="map")
        if self._limits is None:
            raise UsageError(
                "no device has joined the address space", operation="map", hint="open one in it"
            )
        if not self._limits.ranges:
            raise CallNotSupported("without an IOMMU nothing can be mapped", operation="map")
        if not (readable or writable):
            raise UsageError("neither readable nor writable", operation="map")

    def _take(self, place: int, size: int, iova: int | None, below: int, alignment: int) -> AddressRange:
        """Take IOVAs for *size* bytes that lie at *place*, in memory or in a file."""
        assert self._limits is not None
        step = self._limits.alignment
        if size % step or place % step:
            raise Misaligned(
                f"{size:#x} bytes at {place:#x} are no whole pages of {step:#x}",
                operation="map",
                hint="round to pages; dma.map(SIZE) allocates memory that fits",
            )
        if iova is None:
            return self._allocator.allocate(size, alignment=max(alignment, step), below=below)
        if iova % step:
            raise Misaligned(f"IOVA {iova:#x} is no multiple of {step:#x}", operation="map")
        return self._allocator.reserve(AddressRange(iova, iova + size))

    def _map(
        self, memory: _Memory, mapped: AddressRange, what: Any, readable: bool, writable: bool
    ) -> DmaBuffer:
        try:
            self._space.map(memory.address, mapped.size, mapped.start, readable=readable, writable=writable)
        except BaseException:
            self._allocator.release(mapped)
            raise
        size = what if isinstance(what, int) else mapped.size
        buffer = DmaBuffer(self, memory, mapped, size, readable=readable, writable=writable)
        # Held here, since a device may write to it however long ago the program forgot it.
        self._buffers[mapped.start] = buffer
        return buffer

    def _forget(self, buffer: DmaMapping) -> None:
        del self._buffers[buffer.range.start]
        self._allocator.release(buffer.range)
        buffer._unmapped()


class _Memory:
    """Memory that stays where it is: its address, a view of it, and how to let it go."""

    def __init__(self, owner: Any, *, writable: bool, owned: mmap.mmap | None = None) -> None:
        # The export keeps a bytearray from growing, an array from moving, an mmap from closing.
        self._export = ffi.from_buffer(owner, require_writable=writable)
        self._owned = owned
        self.view = memoryview(owner).cast("B")
        self.address = int(ffi.cast("uintptr_t", self._export))

    def release(self) -> None:
        """Give up the export and our view; allocated memory goes when the last view of it is gone."""
        if self._export is not None:
            self.view.release()
            ffi.release(self._export)
            self._export = self._owned = None


def _allocate(size: int, huge: PageSize | None) -> _Memory:
    if size <= 0:
        raise UsageError(f"{size} bytes", operation="map", hint="a buffer has at least one byte")
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if huge:
        flags |= _MAP_HUGETLB | huge.bit_length() - 1 << _HUGE_SHIFT
    try:
        memory = mmap.mmap(-1, align_up(size, huge or _PAGE), flags=flags | (_MAP_POPULATE if huge else 0))
    except OSError as error:
        hint = f"raise vm.nr_hugepages for pages of {huge.value} bytes" if huge else ""
        raise VfioError.from_os(error, operation="allocate", subject=f"{size} bytes", hint=hint) from error
    if not huge and size >= PageSize.SIZE_2M:
        # Huge pages are pinned and mapped tens of times faster than small ones. A kernel that was built
        # without huge pages of its own choice refuses the word, and does as well.
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    # Huge pages of the pool cannot be wiped, only left out of the child.
    memory.madvise(mmap.MADV_DONTFORK if huge else _MADV_WIPEONFORK)
    return _Memory(memory, writable=True, owned=memory)


def _pin(what: Any, writable: bool) -> _Memory:
    try:
        return _Memory(what, writable=writable)
    except (TypeError, BufferError) as error:
        raise UsageError(
            f"{type(what).__name__} has no memory that can be mapped" + (" for writing" if writable else ""),
            operation="map",
            hint="a size in bytes, or a contiguous buffer; writable=False for one that is read only",
        ) from error


def _size_of(fd: int, offset: int) -> int:
    try:
        return os.fstat(fd).st_size - offset
    except OSError as error:
        raise VfioError.from_os(error, operation="map", subject=f"descriptor {fd}") from error


def _alignment(size: int) -> int:
    """Return the largest page that fits: an IOMMU uses it only where both sides are aligned alike."""
    return max(page.value for page in PageSize if page <= max(size, _PAGE))

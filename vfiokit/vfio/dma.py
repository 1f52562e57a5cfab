"""Memory that devices read and write: mapped as long as they can reach it, and no longer than that."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from vfiokit._native import ffi
from vfiokit.address import AddressRange, PageSize
from vfiokit.bits import align_up
from vfiokit.errors import UsageError, VfioError
from vfiokit.vfio.errors import CallNotSupported, Closed, Misaligned, NotMapped
from vfiokit.vfio.iova import IovaAllocator

if TYPE_CHECKING:
    from vfiokit.vfio.backend import AddressSpace, Limits

__all__ = ["Dma", "DmaBuffer"]

_MAP_POPULATE, _MAP_HUGETLB, _HUGE_SHIFT, _MADV_WIPEONFORK = 0x8000, 0x40000, 26, 18
_PAGE = mmap.PAGESIZE


class DmaBuffer:
    """Memory and the address by which devices reach it, made by :meth:`Dma.map`.

    It stays mapped until :meth:`close`, even when nothing refers to it any more, since a device may still
    write to it. Memory that was allocated here is not copied into forked children: a child finds zeros.

    :ivar iova: the first address for the device.
    :ivar size: bytes that were asked for.
    :ivar range: the whole mapped range, rounded up to pages.
    :ivar view: the memory, :attr:`size` bytes; it stays valid after :meth:`close`, when no device reaches
        it.
    :ivar readable: whether devices may read it.
    :ivar writable: whether devices may write it.
    """

    def __init__(
        self, dma: Dma, memory: _Memory, mapped: AddressRange, size: int, *, readable: bool, writable: bool
    ) -> None:
        self._dma, self._memory = dma, memory
        self.range, self.size = mapped, size
        self.readable, self.writable = readable, writable
        self.view: memoryview = memory.view[:size]
        self._open = True

    @property
    def iova(self) -> int:
        """The first address for the device."""
        return self.range.start

    @property
    def closed(self) -> bool:
        """Whether it was unmapped."""
        return not self._open

    def iova_of(self, offset: int) -> int:
        """Return the device's address of a byte of the buffer.

        :raises UsageError: if it does not lie in the buffer.
        """
        if not 0 <= offset < self.size:
            raise UsageError(f"offset {offset:#x} leaves {self.size:#x} bytes", subject=repr(self))
        return self.range.start + offset

    def close(self) -> int:
        """Unmap, then free what was allocated; return the bytes unmapped, 0 the second time."""
        return self._dma.unmap(self) if self._open else 0

    def _unmapped(self) -> None:
        self._open = False
        self._memory.release()

    def __len__(self) -> int:
        return self.size

    def __enter__(self) -> DmaBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"IOVA {self.range}" if self._open else "closed"
        return f"<DmaBuffer of {self.size:#x} bytes: {state}>"


class Dma:
    """What is mapped in an address space.

    Threads must not map and unmap at the same time without a lock of their own.

    :ivar buffers: what is mapped, by its first address.
    """

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._buffers: dict[int, DmaBuffer] = {}
        self._allocator = IovaAllocator(())
        self._limits: Limits | None = None

    @property
    def buffers(self) -> tuple[DmaBuffer, ...]:
        """What is mapped, lowest address first."""
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
            mapped = self._take(memory, iova, below, alignment or _alignment(len(memory.view)))
            return self._map(memory, mapped, what, readable, writable)
        except BaseException:
            memory.release()
            raise

    def unmap(self, buffer: DmaBuffer) -> int:
        """Unmap a buffer, and return how many bytes were unmapped.

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

    def _take(self, memory: _Memory, iova: int | None, below: int, alignment: int) -> AddressRange:
        assert self._limits is not None
        step, size = self._limits.alignment, len(memory.view)
        if size % step or memory.address % step:
            raise Misaligned(
                f"{size:#x} bytes at {memory.address:#x} are no whole pages of {step:#x}",
                operation="map",
                hint="dma.map(SIZE) allocates memory that fits",
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

    def _forget(self, buffer: DmaBuffer) -> None:
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
        """Give up the export; allocated memory goes when the last view of it is gone."""
        if self._export is not None:
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
        # Huge pages are pinned and mapped tens of times faster than small ones.
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


def _alignment(size: int) -> int:
    """Return the largest page that fits: an IOMMU uses it only where both sides are aligned alike."""
    return max(page.value for page in PageSize if page <= max(size, _PAGE))

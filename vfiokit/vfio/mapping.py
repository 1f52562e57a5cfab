"""A range of IOVAs by which devices reach something: memory of this process, or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from vfiokit.address import AddressRange
from vfiokit.errors import UsageError
from vfiokit.vfio.errors import Closed

if TYPE_CHECKING:
    from vfiokit.vfio.dma import Dma

__all__ = ["DmaBuffer", "DmaMapping"]


class Memory(Protocol):
    """Memory that stays where it is until it is released."""

    view: memoryview
    address: int

    def release(self) -> None:
        """Let it go."""
        ...


class DmaMapping:
    """What devices reach under a range of addresses, made by :meth:`Dma.map_file`.

    It stays mapped until :meth:`close`, even when nothing refers to it any more, since a device may still
    write to it.

    :ivar size: bytes that were asked for.
    :ivar range: the whole mapped range, rounded up to pages.
    :ivar readable: whether devices may read it.
    :ivar writable: whether devices may write it.
    """

    def __init__(self, dma: Dma, mapped: AddressRange, size: int, *, readable: bool, writable: bool) -> None:
        self._dma = dma
        self.range, self.size = mapped, size
        self.readable, self.writable = readable, writable
        self._open = True

    @property
    def iova(self) -> int:
        """The first address for the device; without an IOMMU it takes those of :meth:`physical` instead."""
        return self.range.start

    @property
    def closed(self) -> bool:
        """Whether it was unmapped."""
        return not self._open

    def iova_of(self, offset: int) -> int:
        """Return the device's address of a byte of it.

        :raises UsageError: if it does not lie in it.
        """
        if not 0 <= offset < self.size:
            raise UsageError(f"offset {offset:#x} leaves {self.size:#x} bytes", subject=repr(self))
        return self.range.start + offset

    def physical(self) -> tuple[AddressRange, ...]:
        """Return where in memory it lies: the runs of physical addresses, in the order of the mapping.

        A device that no IOMMU stands before takes these, and not the IOVA; with ``CAP_SYS_RAWIO``, on Linux
        7.3 and later, through the iommufd. They stay true for as long as it is mapped.

        :raises CallNotSupported: with an IOMMU, through a container, or on an older kernel.
        :raises NotPermitted: without the capability.
        """
        if self.closed:
            raise Closed("it was unmapped", operation="physical", subject=repr(self))
        return self._dma.physical(self.range)

    def close(self) -> int:
        """Unmap, then free what was allocated; return the bytes unmapped, 0 the second time."""
        return self._dma.unmap(self) if self._open else 0

    def _unmapped(self) -> None:
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"IOVA {self.range}" if self._open else "closed"
        return f"<{type(self).__name__} of {self.size:#x} bytes: {state}>"


class DmaBuffer(DmaMapping):
    """Memory and the address by which devices reach it, made by :meth:`Dma.map`.

    Memory that was allocated for it is not copied into forked children: a child finds zeros.

    :ivar view: the memory, :attr:`size` bytes; it stays valid after :meth:`close`, when no device reaches
        it.
    """

    def __init__(
        self, dma: Dma, memory: Memory, mapped: AddressRange, size: int, *, readable: bool, writable: bool
    ) -> None:
        super().__init__(dma, mapped, size, readable=readable, writable=writable)
        self._memory = memory
        self.view: memoryview = memory.view[:size]

    def _unmapped(self) -> None:
        super()._unmapped()
        self._memory.release()

    def __len__(self) -> int:
        return self.size

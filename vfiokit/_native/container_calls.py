"""Calls on ``/dev/vfio/vfio``: the container and its type 1 IOMMU."""

from typing import Any

from vfiokit._native import ffi, lib
from vfiokit._native.base_calls import BaseCalls, address_of, sized

__all__ = ["ContainerCalls"]


class ContainerCalls(BaseCalls):
    """The container."""

    def vfio_get_api_version(self, fd: int) -> int:
        """Return the version of the interface; only 0 exists."""
        return self._do("VFIO_GET_API_VERSION", fd)

    def vfio_check_extension(self, fd: int, extension: int) -> int:
        """Return whether an extension is there: 0, or what it says of itself.

        :param extension: ``VFIO_TYPE1v2_IOMMU`` and its like.
        """
        return self._do_value("VFIO_CHECK_EXTENSION", fd, extension)

    def vfio_set_iommu(self, fd: int, model: int) -> None:
        """Choose the model, once, and after the first group."""
        self._do_value("VFIO_SET_IOMMU", fd, model)

    def vfio_iommu_get_info(self, fd: int) -> bytes:
        """Return ``struct vfio_iommu_type1_info`` and its capabilities."""
        return self._reply("VFIO_IOMMU_GET_INFO", fd)

    def vfio_iommu_map_dma(self, fd: int, *, vaddr: int, iova: int, size: int, flags: int) -> None:
        """Map *size* bytes at *vaddr* of this process to *iova* of the device.

        :param flags: of ``VFIO_DMA_MAP_FLAG_*``; with ``VADDR`` the address of a mapping is replaced.
        """
        self._tell("VFIO_IOMMU_MAP_DMA", fd, 32, flags, vaddr, iova, size)

    def vfio_iommu_unmap_dma(self, fd: int, *, iova: int, size: int, flags: int = 0) -> int:
        """Unmap, and return how many bytes were mapped there.

        :param flags: ``VFIO_DMA_UNMAP_FLAG_*`` but the dirty bitmap; with ``ALL``, *iova* and *size* are 0.
        """
        return self._ask("VFIO_IOMMU_UNMAP_DMA", -1, fd, 24, flags, iova, size)

    def vfio_iommu_unmap_dma_dirty(
        self, fd: int, *, iova: int, size: int, page_size: int
    ) -> tuple[int, bytes]:
        """Unmap, and return how many bytes were mapped and the bitmap of pages the device wrote."""
        fixed = ffi.sizeof("struct vfio_iommu_type1_dma_unmap")
        memory, bitmap, pages = _with_bitmap(fixed, size, page_size)
        argument = ffi.cast("struct vfio_iommu_type1_dma_unmap *", memory)
        argument.argsz = len(memory)
        argument.flags = lib.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
        argument.iova, argument.size = iova, size
        self._do("VFIO_IOMMU_UNMAP_DMA", fd, argument)
        assert bitmap is not None
        return int(argument.size), bytes(ffi.buffer(pages))

    def vfio_iommu_enable(self, fd: int) -> None:
        """Switch DMA on; POWER's first model only."""
        self._do("VFIO_IOMMU_ENABLE", fd)

    def vfio_iommu_disable(self, fd: int) -> None:
        """Switch DMA off; POWER's first model only."""
        self._do("VFIO_IOMMU_DISABLE", fd)

    def vfio_iommu_dirty_pages_start(self, fd: int) -> None:
        """Begin to log the pages that devices write."""
        self._dirty_pages(fd, lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_START)

    def vfio_iommu_dirty_pages_stop(self, fd: int) -> None:
        """End the log."""
        self._dirty_pages(fd, lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)

    def vfio_iommu_dirty_pages_get_bitmap(self, fd: int, *, iova: int, size: int, page_size: int) -> bytes:
        """Return a bit per page of the range, set where it may have been written, lowest page first."""
        fixed = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap")
        memory, _, pages = _with_bitmap(fixed + 16, size, page_size)
        argument = ffi.cast("struct vfio_iommu_type1_dirty_bitmap *", memory)
        argument.argsz = len(memory)
        argument.flags = lib.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP
        asked = ffi.cast("struct vfio_iommu_type1_dirty_bitmap_get *", memory + fixed)
        asked.iova, asked.size = iova, size
        self._do("VFIO_IOMMU_DIRTY_PAGES", fd, argument)
        return bytes(ffi.buffer(pages))

    def _dirty_pages(self, fd: int, flags: int) -> None:
        self._do("VFIO_IOMMU_DIRTY_PAGES", fd, sized("vfio_iommu_type1_dirty_bitmap", flags=flags))


def _with_bitmap(fixed: int, size: int, page_size: int) -> tuple[Any, Any, Any]:
    """Make room for a header and a ``vfio_bitmap`` after it, and the bitmap that it points at."""
    memory = ffi.new("char[]", fixed + ffi.sizeof("struct vfio_bitmap"))
    pages = ffi.new("uint64_t[]", -(-size // page_size // 64) or 1)
    bitmap = ffi.cast("struct vfio_bitmap *", memory + fixed)
    bitmap.pgsize = page_size
    bitmap.size = ffi.sizeof(pages)
    bitmap.data = address_of(pages)
    return memory, bitmap, pages

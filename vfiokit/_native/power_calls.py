"""Calls on a container of a POWER machine: DMA windows and error handling."""

from typing import Any, NamedTuple

from vfiokit._native import ffi, lib
from vfiokit._native.base_calls import BaseCalls, sized

__all__ = ["DmaWindows", "PowerCalls"]


class DmaWindows(NamedTuple):
    """What a partitionable endpoint offers.

    :ivar dma32_start: first bus address of the 32-bit window.
    :ivar dma32_size: its bytes.
    :ivar page_sizes: mask of page sizes for further windows, 0 if there can be none.
    :ivar further: how many further windows there can be.
    :ivar levels: levels of a table.
    """

    dma32_start: int
    dma32_size: int
    page_sizes: int
    further: int
    levels: int


class PowerCalls(BaseCalls):
    """``VFIO_SPAPR_TCE_IOMMU`` and its second version."""

    def vfio_iommu_spapr_tce_get_info(self, fd: int) -> DmaWindows:
        """Return the windows."""
        info = sized("vfio_iommu_spapr_tce_info")
        self._do("VFIO_IOMMU_SPAPR_TCE_GET_INFO", fd, info)
        further = info.ddw if info.flags & lib.VFIO_IOMMU_SPAPR_INFO_DDW else _no_windows()
        return DmaWindows(
            info.dma32_window_start,
            info.dma32_window_size,
            further.pgsizes,
            further.max_dynamic_windows_supported,
            further.levels,
        )

    def vfio_iommu_spapr_register_memory(self, fd: int, *, vaddr: int, size: int) -> None:
        """Pin memory that will be mapped."""
        argument = sized("vfio_iommu_spapr_register_memory", vaddr=vaddr, size=size)
        self._do("VFIO_IOMMU_SPAPR_REGISTER_MEMORY", fd, argument)

    def vfio_iommu_spapr_unregister_memory(self, fd: int, *, vaddr: int, size: int) -> None:
        """Unpin it."""
        argument = sized("vfio_iommu_spapr_register_memory", vaddr=vaddr, size=size)
        self._do("VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY", fd, argument)

    def vfio_iommu_spapr_tce_create(self, fd: int, *, page_shift: int, window_size: int, levels: int) -> int:
        """Open a window and return its first bus address."""
        argument = sized(
            "vfio_iommu_spapr_tce_create", page_shift=page_shift, window_size=window_size, levels=levels
        )
        self._do("VFIO_IOMMU_SPAPR_TCE_CREATE", fd, argument)
        return int(argument.start_addr)

    def vfio_iommu_spapr_tce_remove(self, fd: int, *, start: int) -> None:
        """Close the window that begins at *start*."""
        self._do("VFIO_IOMMU_SPAPR_TCE_REMOVE", fd, sized("vfio_iommu_spapr_tce_remove", start_addr=start))

    def vfio_eeh_pe_op(
        self, fd: int, operation: int, *, error: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> int:
        """Do one of ``VFIO_EEH_PE_*``, and return the state for the one that asks for it.

        :param error: type, function, address and mask of an error to inject.
        """
        argument = sized("vfio_eeh_pe_op", op=operation)
        argument.err.type, argument.err.func, argument.err.addr, argument.err.mask = error
        return self._do("VFIO_EEH_PE_OP", fd, argument)


def _no_windows() -> Any:
    return ffi.new("struct vfio_iommu_spapr_tce_ddw_info *")

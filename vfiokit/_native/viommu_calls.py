"""Calls on ``/dev/iommu`` about virtual IOMMUs: the parts of the hardware that a guest is given."""

from vfiokit._native import ffi
from vfiokit._native.base_calls import BaseCalls, address_of, sized

__all__ = ["ViommuCalls"]


class ViommuCalls(BaseCalls):
    """Virtual IOMMUs, their devices, their events and their queues."""

    def iommu_viommu_alloc(
        self, fd: int, *, type: int, device: int, hwpt: int, data: bytes = b""
    ) -> tuple[int, bytes]:
        """Make a virtual IOMMU; return its identity and *data* as the kernel left it."""
        memory = ffi.new("uint8_t[]", data or 1)
        # Kernels before 6.17 know 32 bytes.
        argument = sized("iommu_viommu_alloc", "size", told=40 if data else 32)
        argument.type, argument.dev_id, argument.hwpt_id = type, device, hwpt
        argument.data_len, argument.data_uptr = len(data), address_of(memory) if data else 0
        self._do("IOMMU_VIOMMU_ALLOC", fd, argument)
        return argument.out_viommu_id, bytes(ffi.buffer(memory, len(data)))

    def iommu_vdevice_alloc(self, fd: int, *, viommu: int, device: int, virtual_id: int) -> int:
        """Put a device behind a virtual IOMMU under the identity its guest knows; return the object."""
        return self._ask("IOMMU_VDEVICE_ALLOC", -2, fd, 24, viommu, device, 0, virtual_id)

    def iommu_veventq_alloc(self, fd: int, *, viommu: int, type: int, depth: int) -> tuple[int, int]:
        """Make a queue of a virtual IOMMU's events; return its identity and a descriptor."""
        argument = sized("iommu_veventq_alloc", "size", viommu_id=viommu, type=type, veventq_depth=depth)
        self._do("IOMMU_VEVENTQ_ALLOC", fd, argument)
        return argument.out_veventq_id, argument.out_veventq_fd

    def iommu_hw_queue_alloc(
        self, fd: int, *, viommu: int, type: int, index: int, iova: int, length: int
    ) -> int:
        """Give a guest a queue of the hardware, in memory mapped at *iova* of the nesting parent."""
        asked = (viommu, type, index, 0, iova, length)
        return self._ask("IOMMU_HW_QUEUE_ALLOC", -3, fd, 40, 0, *asked)

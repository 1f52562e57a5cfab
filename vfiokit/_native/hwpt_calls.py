"""Calls on ``/dev/iommu`` about page tables: what the hardware can do, what was written, what is cached."""

from typing import NamedTuple

from vfiokit._native import ffi, lib
from vfiokit._native.base_calls import BaseCalls, address_of, sized
from vfiokit.errors import VfioError

__all__ = ["HardwareInfo", "HwptCalls"]


class HardwareInfo(NamedTuple):
    """What an IOMMU says of itself.

    :ivar type: one of ``IOMMU_HW_INFO_TYPE_*``.
    :ivar data: the structure of that type, raw, as much as the kernel knows.
    :ivar capabilities: of ``IOMMU_HW_CAP_*``.
    :ivar max_pasid_log2: width of a PASID in bits, 0 for none.
    """

    type: int
    data: bytes
    capabilities: int
    max_pasid_log2: int


class HwptCalls(BaseCalls):
    """Hardware page tables (HWPT) and fault queues."""

    def iommu_hwpt_alloc(
        self,
        fd: int,
        *,
        device: int,
        parent: int,
        flags: int = 0,
        data_type: int = 0,
        data: bytes = b"",
        fault_queue: int | None = None,
    ) -> int:
        """Make a page table for a device and return its identity.

        :param parent: the address space it serves, or for a nested one the table below it.
        :param data: the structure of *data_type*, for a nested one.
        :param fault_queue: where its faults go.
        """
        memory = ffi.new("uint8_t[]", data or 1)
        argument = sized(
            *("iommu_hwpt_alloc", "size"),
            # Kernels before 6.11 know 40 bytes, and refuse more only if they are not zero.
            told=40 if fault_queue is None else 48,
            flags=flags,
            dev_id=device,
            pt_id=parent,
            data_type=data_type,
            data_len=len(data),
            data_uptr=address_of(memory) if data else 0,
        )
        if fault_queue is not None:
            argument.flags |= lib.IOMMU_HWPT_FAULT_ID_VALID
            argument.fault_id = fault_queue
        self._do("IOMMU_HWPT_ALLOC", fd, argument)
        return int(argument.out_hwpt_id)

    def iommu_get_hw_info(self, fd: int, device: int, room: int = 256) -> HardwareInfo:
        """Return what the IOMMU of a device can do."""
        memory = ffi.new("uint8_t[]", room)
        argument = sized("iommu_hw_info", "size", dev_id=device, data_len=room, data_uptr=address_of(memory))
        self._do("IOMMU_GET_HW_INFO", fd, argument)
        known = min(room, argument.data_len)
        return HardwareInfo(
            argument.out_data_type,
            bytes(ffi.buffer(memory, known)),
            argument.out_capabilities,
            argument.out_max_pasid_log2,
        )

    def iommu_hwpt_set_dirty_tracking(self, fd: int, hwpt: int, *, on: bool) -> None:
        """Begin or end to log the pages that are written through a page table."""
        flags = lib.IOMMU_HWPT_DIRTY_TRACKING_ENABLE if on else 0
        self._tell("IOMMU_HWPT_SET_DIRTY_TRACKING", fd, 16, flags, hwpt)

    def iommu_hwpt_get_dirty_bitmap(
        self, fd: int, hwpt: int, *, iova: int, length: int, page_size: int, clear: bool = True
    ) -> bytes:
        """Return a bit per page of the range, set where it was written, lowest page first."""
        flags = 0 if clear else lib.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR
        bitmap = ffi.new("uint64_t[]", -(-length // page_size // 64) or 1)
        asked = (iova, length, page_size, address_of(bitmap))
        self._tell("IOMMU_HWPT_GET_DIRTY_BITMAP", fd, 48, hwpt, flags, 0, *asked)
        return bytes(ffi.buffer(bitmap))

    def iommu_hwpt_invalidate(
        self, fd: int, hwpt: int, *, data_type: int, entry_size: int, entries: bytes
    ) -> int:
        """Flush what a nested table's caches hold; return how many requests were handled.

        :param hwpt: the page table, or the virtual IOMMU.
        :param entries: requests of *entry_size* bytes each.
        :raises VfioError: at the first that is wrong; its hint says how many were handled before.
        """
        memory = ffi.new("uint8_t[]", entries or 1)
        total = len(entries) // entry_size
        argument = sized("iommu_hwpt_invalidate", "size", hwpt_id=hwpt, data_uptr=address_of(memory))
        argument.data_type, argument.entry_len, argument.entry_num = data_type, entry_size, total
        try:
            self._do("IOMMU_HWPT_INVALIDATE", fd, argument)
        except VfioError as error:
            # A kernel that refuses the call itself leaves the number as it was.
            if argument.entry_num < total:
                error.hint = f"{argument.entry_num} of {total} requests were handled"
            raise
        return int(argument.entry_num)

    def iommu_fault_queue_alloc(self, fd: int) -> tuple[int, int]:
        """Make a queue of page requests; return its identity and a descriptor to read and answer them on."""
        _, _, identity, queue = self._exchange("IOMMU_FAULT_QUEUE_ALLOC", fd, 16)
        return identity, queue

"""``VFIO_DEVICE_FEATURE`` and what hangs on it: tokens, low power, migration, logging of DMA, dma-bufs."""

import os
from collections.abc import Sequence
from typing import Any

from vfiokit._native import ffi, lib
from vfiokit._native.base_calls import BaseCalls, address_of, sized
from vfiokit._native.table import BY_NAME

__all__ = ["FeatureCalls"]

_HEADER = 8


class FeatureCalls(BaseCalls):
    """Features of a device, and the call on a migration's data descriptor."""

    def vfio_device_feature_probe(self, fd: int, index: int, *, get: bool = False, set: bool = False) -> int:
        """Return 0 if the device knows a feature and the operations asked for, else the errno."""
        flags = index | lib.VFIO_DEVICE_FEATURE_PROBE
        flags |= lib.VFIO_DEVICE_FEATURE_GET if get else 0
        flags |= lib.VFIO_DEVICE_FEATURE_SET if set else 0
        argument = ffi.new("struct vfio_device_feature *", {"data": 0})
        argument.argsz, argument.flags = _HEADER, flags
        return -min(0, self.kernel.ioctl(fd, BY_NAME["VFIO_DEVICE_FEATURE"], argument))

    def vfio_device_feature_get(self, fd: int, index: int, payload: bytes) -> tuple[int, bytes]:
        """Get a feature; return the call's answer and the payload as the kernel left it."""
        return self._feature(fd, index | lib.VFIO_DEVICE_FEATURE_GET, payload)

    def vfio_device_feature_set(self, fd: int, index: int, payload: bytes = b"") -> bytes:
        """Set a feature; return the payload as the kernel left it."""
        return self._feature(fd, index | lib.VFIO_DEVICE_FEATURE_SET, payload)[1]

    def vfio_device_feature_pci_vf_token(self, fd: int, token: bytes) -> None:
        """Set the 16 bytes that a virtual function of this device is opened with."""
        self.vfio_device_feature_set(fd, lib.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, token)

    def vfio_device_feature_low_power_entry(self, fd: int) -> None:
        """Let the device sleep until it is touched."""
        self.vfio_device_feature_set(fd, lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY)

    def vfio_device_feature_low_power_entry_with_wakeup(self, fd: int, eventfd: int) -> None:
        """Let it sleep, once, and signal an eventfd when it wakes."""
        payload = ffi.new("struct vfio_device_low_power_entry_with_wakeup *", (eventfd, 0))
        index = lib.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP
        self.vfio_device_feature_set(fd, index, bytes(ffi.buffer(payload)))

    def vfio_device_feature_low_power_exit(self, fd: int) -> None:
        """Wake it, and let it sleep no more."""
        self.vfio_device_feature_set(fd, lib.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT)

    def vfio_device_feature_migration(self, fd: int) -> int:
        """Return which states migration has: of ``VFIO_MIGRATION_*``."""
        data = self.vfio_device_feature_get(fd, lib.VFIO_DEVICE_FEATURE_MIGRATION, bytes(8))[1]
        return _number(data)

    def vfio_device_feature_mig_device_state(
        self, fd: int, state: int | None = None
    ) -> tuple[int, int | None]:
        """Return the migration state, after setting one that is given, and the data descriptor."""
        index = lib.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
        payload = ffi.new("struct vfio_device_feature_mig_state *", (state or 0, -1))
        data = bytes(ffi.buffer(payload))
        if state is None:
            data = self.vfio_device_feature_get(fd, index, data)[1]
        else:
            data = self.vfio_device_feature_set(fd, index, data)
        ffi.memmove(payload, data, len(data))
        return payload.device_state, None if payload.data_fd < 0 else payload.data_fd

    def vfio_device_feature_mig_data_size(self, fd: int) -> int:
        """Return the estimated bytes of stopping and copying."""
        data = self.vfio_device_feature_get(fd, lib.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, bytes(8))[1]
        return _number(data)

    def vfio_device_feature_mig_precopy_infov2(self, fd: int) -> None:
        """Make the flags of the pre-copy answer valid."""
        self.vfio_device_feature_set(fd, lib.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2)

    def vfio_device_feature_dma_logging_start(
        self, fd: int, page_size: int, ranges: Sequence[tuple[int, int]]
    ) -> int:
        """Log what the device writes in ranges of (iova, length); return the page size it chose."""
        memory = ffi.new("struct vfio_device_feature_dma_logging_range[]", list(ranges))
        control = ffi.new(
            "struct vfio_device_feature_dma_logging_control *",
            (page_size, len(ranges), 0, address_of(memory)),
        )
        index = lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_START
        return _number(self.vfio_device_feature_set(fd, index, bytes(ffi.buffer(control)))[:8])

    def vfio_device_feature_dma_logging_stop(self, fd: int) -> None:
        """End the log."""
        self.vfio_device_feature_set(fd, lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP)

    def vfio_device_feature_dma_logging_report(
        self, fd: int, *, iova: int, length: int, page_size: int
    ) -> bytes:
        """Return a bit per page of the range, set where the device wrote, and clear the log there."""
        bitmap = ffi.new("uint64_t[]", -(-length // page_size // 64) or 1)
        report = ffi.new(
            "struct vfio_device_feature_dma_logging_report *", (iova, length, page_size, address_of(bitmap))
        )
        index = lib.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
        self.vfio_device_feature_get(fd, index, bytes(ffi.buffer(report)))
        return bytes(ffi.buffer(bitmap))

    def vfio_device_feature_bus_master(self, fd: int, *, on: bool) -> None:
        """Switch bus mastering of a CDX device; PCI has it in configuration space."""
        index = lib.VFIO_DEVICE_FEATURE_BUS_MASTER
        self.vfio_device_feature_set(fd, index, bytes(ffi.buffer(ffi.new("uint32_t *", on))))

    def vfio_device_feature_dma_buf(
        self, fd: int, region: int, ranges: Sequence[tuple[int, int]], flags: int = os.O_RDWR | os.O_CLOEXEC
    ) -> int:
        """Return a dma-buf descriptor over (offset, length) ranges of a region."""
        payload = ffi.new("struct vfio_device_feature_dma_buf *", {"dma_ranges": list(ranges)})
        payload.region_index, payload.open_flags, payload.nr_ranges = region, flags, len(ranges)
        data = bytes(ffi.buffer(payload, 16 + 16 * len(ranges)))
        return self.vfio_device_feature_get(fd, lib.VFIO_DEVICE_FEATURE_DMA_BUF, data)[0]

    def vfio_device_feature_zpci_error(self, fd: int, size: int) -> bytes:
        """Return a pending PCI error of an s390 machine; ENOMSG without one."""
        memory = ffi.new("uint8_t[]", size)
        payload = ffi.new("struct vfio_device_feature_zpci_err *", (address_of(memory),))
        self.vfio_device_feature_get(fd, lib.VFIO_DEVICE_FEATURE_ZPCI_ERROR, bytes(ffi.buffer(payload)))
        return bytes(ffi.buffer(memory))

    def vfio_mig_get_precopy_info(self, fd: int) -> tuple[int, int, int]:
        """Return flags, initial bytes and dirty bytes left, of a migration's data descriptor."""
        info = sized("vfio_precopy_info")
        self._do("VFIO_MIG_GET_PRECOPY_INFO", fd, info)
        return info.flags, info.initial_bytes, info.dirty_bytes

    def _feature(self, fd: int, flags: int, payload: bytes) -> tuple[int, bytes]:
        argument: Any = ffi.new("struct vfio_device_feature *", {"data": payload})
        argument.argsz, argument.flags = _HEADER + len(payload), flags
        answer = self._do("VFIO_DEVICE_FEATURE", fd, argument)
        return answer, bytes(ffi.buffer(argument, _HEADER + len(payload)))[_HEADER:]


def _number(data: bytes) -> int:
    return int(ffi.cast("uint64_t *", ffi.from_buffer(data))[0])

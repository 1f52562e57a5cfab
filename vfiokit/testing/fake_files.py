"""Open files of the fake kernel: what answers a call, and what keeps what alive."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from vfiokit._native import ffi, lib
from vfiokit._native.table import Argument, Call
from vfiokit.address import AddressRange
from vfiokit.testing.fake_device import CONFIG, INTX, MSI, MSIX, FakeDevice

if TYPE_CHECKING:
    from vfiokit.testing.fake_vfio import FakeKernel

__all__ = ["DeviceFile", "FakeFile", "fail"]

_SHIFT = 40
_WINDOW = (1 << _SHIFT) - 1
_IRQS = 5


def fail(number: int) -> int:
    """Raise the OSError of an errno."""
    raise OSError(number, os.strerror(number))


class FakeFile:
    """A file: a call is looked up by its kernel name among the methods."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel

    def call(self, call: Call, argument: Any) -> int:
        """Answer a call; ENOTTY for one that this file does not have."""
        method = getattr(self, call.name, None)
        if method is None:
            return fail(errno.ENOTTY)
        if call.argument is Argument.STRUCT:
            argument = ffi.cast(f"struct {call.struct} *", argument)
            if getattr(argument, call.size_field) < call.least:
                fail(errno.EINVAL)
        return int(method(argument) or 0)

    def dropped(self) -> None:
        """Do what the last reference's end does."""

    def describe(self) -> str:
        """Say what it is."""
        return type(self).__name__


class DmaBufFile(FakeFile):
    """Part of a device's BAR as a file; dead once the device is closed."""

    def __init__(
        self, kernel: FakeKernel, device: FakeDevice, bar: int, parts: list[tuple[int, int]]
    ) -> None:
        super().__init__(kernel)
        self.device, self.bar, self.parts, self.dead = device, bar, parts, False

    def piece(self, start: int, length: int) -> tuple[int, object]:
        """Return address and memory of a piece; only one of a single part can be mapped."""
        if self.dead or not self.device.decodes:
            fail(errno.ENODEV)
        if len(self.parts) > 1:
            fail(errno.EOPNOTSUPP)
        offset, size = self.parts[0]
        if start + length > size:
            fail(errno.EINVAL)
        memory = self.device.memory[self.bar]
        return int(ffi.cast("uintptr_t", ffi.from_buffer(memory))) + offset + start, memory

    def describe(self) -> str:
        """Say what it is."""
        return f"dma-buf of {self.device.address}"


class DeviceFile(FakeFile):
    """A device's file, as the group hands it out or the node becomes when it is bound.

    :ivar windows: mappings of it, each of which keeps it alive.
    """

    def __init__(self, kernel: FakeKernel, device: FakeDevice) -> None:
        super().__init__(kernel)
        self.device = device
        self.windows: set[object] = set()
        self.open = True

    def owns(self, device: FakeDevice) -> bool:
        """Whether it is this device's, and usable."""
        return device is self.device

    @property
    def alive(self) -> bool:
        """Whether the kernel still has it: open, or mapped."""
        return self.open or bool(self.windows)

    def dropped(self) -> None:
        """Close: interrupts go, and the rest when nothing is mapped any more."""
        self.open = False
        if self.owns(self.device):
            self.device.unwire()
        self.windows_changed()

    def windows_changed(self) -> None:
        """Let the device go when the last window is closed, and what others have mapped of it."""
        if not self.alive:
            self.kernel.revoke(self.device, dead=True)

    def describe(self) -> str:
        """Say what it is."""
        return f"device {self.device.address}"

    # Regions: the offset says which, in the bits above 40.

    def pread(self, size: int, offset: int) -> bytes:
        """Read from a region."""
        self.device.check()
        index, at = offset >> _SHIFT, offset & _WINDOW
        if index == CONFIG:
            return bytes(self.device.config[at : at + size])
        if not self.device.decodes:
            fail(errno.EIO)
        return self.device.access(index, at, size).to_bytes(size, "little")

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write to a region."""
        self.device.check()
        index, at = offset >> _SHIFT, offset & _WINDOW
        if index == CONFIG:
            self.device.write_config(at, data)
            if not self.device.decodes:
                self.kernel.revoke(self.device)
        elif not self.device.decodes:
            fail(errno.EIO)
        else:
            self.device.access(index, at, len(data), int.from_bytes(data, "little"))
        return len(data)

    def size_of(self, index: int) -> int:
        """Return a region's size."""
        return 256 if index == CONFIG else self.device.bars.get(index, 0)

    # Calls.

    def VFIO_DEVICE_GET_INFO(self, info: Any) -> None:
        """Say how many regions and interrupts there are."""
        self.device.check()
        info.flags = lib.VFIO_DEVICE_FLAGS_PCI | (
            lib.VFIO_DEVICE_FLAGS_RESET if self.device.can_reset else 0
        )
        info.num_regions, info.num_irqs = 9, _IRQS

    def VFIO_DEVICE_GET_REGION_INFO(self, info: Any) -> None:
        """Say what a region is."""
        if info.index >= CONFIG + 1:
            fail(errno.EINVAL)
        info.offset, info.size = info.index << _SHIFT, self.size_of(info.index)
        info.flags = 3 if info.size else 0
        if info.index < CONFIG - 1 and info.size and self.device.mappable:
            info.flags |= lib.VFIO_REGION_INFO_FLAG_MMAP
            if isinstance(self.device.mappable, tuple):
                self._sparse(info, self.device.mappable)

    def VFIO_DEVICE_GET_IRQ_INFO(self, info: Any) -> None:
        """Say how many vectors there are."""
        if info.index >= _IRQS or (info.index == 3 and not self.device.vectors[3]):
            fail(errno.EINVAL)
        info.count = self.device.vectors[info.index]
        info.flags = {INTX: 7, MSI: 9, MSIX: 1}.get(info.index, 9)

    def VFIO_DEVICE_SET_IRQS(self, request: Any) -> None:
        """Wire, mask, unmask or trigger."""
        self.device.check()
        kind, start, count, flags = request.index, request.start, request.count, request.flags
        total = self.device.vectors[kind] if kind < _IRQS else 0
        if not total or start >= total or count > total - start:
            fail(errno.EINVAL)
        if flags & lib.VFIO_IRQ_SET_ACTION_TRIGGER:
            self._trigger(kind, start, count, flags, request)
        else:
            self._mask(kind, start, count, flags)

    def VFIO_DEVICE_RESET(self, _: Any) -> None:
        """Reset."""
        if not self.device.can_reset:
            fail(errno.EINVAL)
        self.device.reset()
        self.kernel.revoke(self.device)

    def VFIO_DEVICE_GET_PCI_HOT_RESET_INFO(self, info: Any) -> None:
        """List what shares the bus; a root bus has no such reset."""
        if not self.device.address.bus:
            fail(errno.ENODEV)
        touched = self._touched()
        room = (info.argsz - 12) // 8
        info.count, info.flags = len(touched), self._owner_flags(touched)
        if room < len(touched):
            fail(errno.ENOSPC)
        rows = ffi.cast("struct vfio_pci_dependent_device *", ffi.cast("char *", info) + 12)
        for row, device in enumerate(touched):
            address = device.address
            rows[row].group_id = self._owner(device) & 0xFFFFFFFF
            rows[row].segment, rows[row].bus = address.domain, address.bus
            rows[row].devfn = address.devfn

    def VFIO_DEVICE_PCI_HOT_RESET(self, request: Any) -> None:
        """Reset the bus, if all of it is owned."""
        fds = ffi.cast("int32_t *", ffi.cast("char *", request) + 12)
        self._check_owned([fds[index] for index in range(request.count)])
        for device in self._touched():
            device.reset()
            self.kernel.revoke(device)

    def VFIO_DEVICE_FEATURE(self, request: Any) -> int:
        """Know low power, dma-bufs and the token of a virtual function, and probe for them."""
        index = request.flags & 0xFFFF
        known = (0, 3, 4, 5, 11) if self.kernel.dma_bufs else (0, 3, 4, 5)
        if index not in known or (index == 0 and not self.device.vectors[MSIX]):
            fail(errno.ENOTTY)
        data = ffi.cast("char *", request) + 8
        if request.flags & lib.VFIO_DEVICE_FEATURE_PROBE:
            return 0
        if index == 0:
            self.device.token = bytes(ffi.buffer(data, 16)).hex()
        return self._dma_buf(ffi.cast("struct vfio_device_feature_dma_buf *", data)) if index == 11 else 0

    def _dma_buf(self, wanted: Any) -> int:
        size = self.device.bars.get(wanted.region_index, 0)
        if not size or wanted.region_index >= CONFIG - 1:
            fail(errno.ENODEV)
        rows = ffi.cast("uint64_t *", ffi.cast("char *", wanted) + 16)
        parts = [(rows[2 * row], rows[2 * row + 1]) for row in range(wanted.nr_ranges)]
        if not parts or any(
            not length or (at | length) & 0xFFF or at + length > size for at, length in parts
        ):
            fail(errno.EINVAL)
        fd = self.kernel.add(DmaBufFile(self.kernel, self.device, wanted.region_index, parts))
        os.ftruncate(fd, sum(length for _, length in parts))
        return fd

    def _sparse(self, info: Any, parts: tuple[AddressRange, ...]) -> None:
        """Chain the parts that can be mapped, if there is room; else say how much it takes."""
        room, info.argsz = info.argsz, 32 + 16 + 16 * len(parts)
        info.flags |= lib.VFIO_REGION_INFO_FLAG_CAPS
        if room < info.argsz:
            return
        info.cap_offset = 32
        chained = ffi.cast("struct vfio_region_info_cap_sparse_mmap *", ffi.cast("char *", info) + 32)
        chained.header.id, chained.header.version = lib.VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1
        chained.nr_areas = len(parts)
        areas = ffi.cast("struct vfio_region_sparse_mmap_area *", ffi.cast("char *", info) + 48)
        for index, part in enumerate(parts):
            areas[index].offset, areas[index].size = part.start, part.size

    def _touched(self) -> list[FakeDevice]:
        bus = self.device.address[:2]
        return [device for device in self.kernel.devices.values() if device.address[:2] == bus]

    def _owner_flags(self, touched: list[FakeDevice]) -> int:
        return 0

    def _owner(self, device: FakeDevice) -> int:
        return device.group

    def _check_owned(self, fds: list[int]) -> None:
        if not fds:
            fail(errno.EINVAL)

    def _trigger(self, kind: int, start: int, count: int, flags: int, request: Any) -> None:
        device = self.device
        wired = {other for other, _ in device.eventfds if other in (INTX, MSI, MSIX)}
        if kind in (INTX, MSI, MSIX) and wired - {kind}:
            fail(errno.EINVAL)
        if flags & lib.VFIO_IRQ_SET_DATA_NONE:
            if not any(other == kind for other, _ in device.eventfds):
                fail(errno.EINVAL)
            if count:
                for vector in range(start, start + count):
                    device.deliver(kind, vector)
            else:
                device.unwire(kind)
            return
        fds = ffi.cast("int32_t *", ffi.cast("char *", request) + 20)
        for position in range(count):
            self._wire(kind, start + position, fds[position])

    def _wire(self, kind: int, vector: int, fd: int) -> None:
        old = self.device.eventfds.pop((kind, vector), None)
        if old is not None:
            os.close(old)
        if fd >= 0:
            self.device.eventfds[kind, vector] = os.dup(fd)

    def _mask(self, kind: int, start: int, count: int, flags: int) -> None:
        if kind in (MSI, MSIX):
            fail(errno.ENOTTY)
        if not any(other == kind for other, _ in self.device.eventfds):
            fail(errno.EINVAL)
        for vector in range(start, start + count):
            if flags & lib.VFIO_IRQ_SET_ACTION_MASK:
                self.device.masked.add((kind, vector))
            else:
                self.device.unmask(kind, vector)

"""Open files of the fake kernel: what answers a call, and what keeps what alive."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from vfiokit._native import ffi, lib
from vfiokit._native.table import Argument, Call
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
        """Let the device go when the last window is closed."""

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

    def VFIO_DEVICE_FEATURE(self, request: Any) -> None:
        """Know low power and the token of a virtual function, and probe for them."""
        index = request.flags & 0xFFFF
        if index not in (0, 3, 4, 5) or (index == 0 and not self.device.vectors[MSIX]):
            fail(errno.ENOTTY)
        if not request.flags & lib.VFIO_DEVICE_FEATURE_PROBE and index == 0:
            data = ffi.cast("char *", request) + 8
            self.device.token = bytes(ffi.buffer(data, 16)).hex()

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

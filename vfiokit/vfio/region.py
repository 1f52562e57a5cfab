"""The regions of a device: BARs, ROM, configuration space, and what else its driver offers."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vfiokit.address import AddressRange
from vfiokit.errors import VfioError
from vfiokit.vfio.errors import NoSuchRegion
from vfiokit.vfio.replies import RegionFlags, RegionInfo, region_info
from vfiokit.vfio.sparse import SparseWindow
from vfiokit.vfio.syscall import SyscallWindow
from vfiokit.vfio.window import Window

if TYPE_CHECKING:
    from vfiokit.vfio.device import Device

__all__ = ["Region", "Regions"]

_NAMES = ("bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "rom", "config", "vga")
CONFIG = 7


class Regions:
    """The regions by the kernel's index, with holes where it has none: the numbers never move."""

    def __init__(self, device: Device, count: int) -> None:
        self._device = device
        self._regions: dict[int, Region] = {}
        for index in range(count):
            info = _info(device, index)
            if info is not None:
                self._regions[index] = Region(device, info)

    def __getitem__(self, index: int | str) -> Region:
        """Return a region by its index or name (``bar0``, ``rom``, ``config``, ``vga``).

        :raises NoSuchRegion: if the device has none there.
        """
        number = _NAMES.index(index) if isinstance(index, str) and index in _NAMES else index
        region = self._regions.get(number) if isinstance(number, int) else None
        if region is None or not region.size:
            present = ", ".join(region.name for region in self)
            raise NoSuchRegion(
                f"no region {index}",
                operation="VFIO_DEVICE_GET_REGION_INFO",
                subject=f"for {self._device.address}",
                hint=f"there are: {present}",
            )
        return region

    def __iter__(self) -> Iterator[Region]:
        return (region for region in self._regions.values() if region.size)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def find(self, type: int, subtype: int) -> Region:
        """Return a device-specific region by its type and subtype.

        :raises NoSuchRegion: if there is none.
        """
        for region in self:
            if region.info.type == (type, subtype):
                return region
        raise NoSuchRegion(f"no region of type {type:#x}, {subtype:#x}", subject=str(self._device.address))


class Region:
    """One region.

    :ivar info: what the kernel says of it.
    """

    def __init__(self, device: Device, info: RegionInfo) -> None:
        self._device, self.info = device, info
        self._windows: set[Window] = set()

    @property
    def index(self) -> int:
        """The kernel's number for it."""
        return self.info.index

    @property
    def name(self) -> str:
        """What it is: ``bar0``, ``rom``, ``config``, or its number."""
        return _NAMES[self.index] if self.index < len(_NAMES) else f"region{self.index}"

    @property
    def size(self) -> int:
        """Bytes."""
        return self.info.size

    @property
    def mapped(self) -> bool:
        """Whether any of it is mapped now."""
        return any(window.mode != "syscall" and not window.closed for window in self._windows)

    def map(self, *, guarded: bool = False, keep_on_fork: bool = False) -> Window:
        """Open a window on the region, by a mapping where that is possible.

        Parts that cannot be mapped, like an MSI-X table or an I/O BAR, are reached by system calls through
        the same window; :attr:`~vfiokit.vfio.window.Window.mode` says which way it goes.

        :param guarded: go by system calls always. Then an access while the device does not decode memory
            is an error; through a mapping it is a SIGBUS, which ends the process.
        :param keep_on_fork: let forked children have the mapping too, and hold the device with it.
        """
        self._device.check_open()
        info = self.info
        if guarded or not info.mappable or info.index == CONFIG:
            return self._keep(self.syscalls())
        if info.mappable == (AddressRange(0, info.size),):
            return self._keep(self._mapped(info.mappable[0], keep_on_fork))
        parts: list[tuple[AddressRange, Window]] = []
        try:
            parts += ((part, self._mapped(part, keep_on_fork)) for part in info.mappable)
        except BaseException:
            for _, window in parts:
                window.close()
            raise
        return self._keep(SparseWindow(tuple(parts), self.syscalls()))

    def syscalls(self) -> SyscallWindow:
        """Open a window that goes by system calls."""
        self._device.check_open()
        return SyscallWindow(
            self._device.system,
            self._device.fd,
            self.info.offset,
            self.size,
            self._subject,
            readable=bool(self.info.flags & RegionFlags.READ),
            writable=bool(self.info.flags & RegionFlags.WRITE),
        )

    def close(self) -> None:
        """Close every window on it."""
        while self._windows:
            self._windows.pop().close()

    def forget(self) -> None:
        """Give up the windows that a forked child has no mapping of."""
        for window in self._windows:
            window.forget()

    @property
    def _subject(self) -> str:
        return f"{self.name} of {self._device.address}"

    def _keep(self, window: Window) -> Window:
        # Held until it is closed: a mapping that nobody can find any more would keep the group busy.
        self._windows = {open_one for open_one in self._windows if not open_one.closed} | {window}
        return window

    def _mapped(self, part: AddressRange, keep_on_fork: bool) -> Window:
        try:
            return self._device.system.map(
                self._device.fd,
                self.info.offset + part.start,
                part.size,
                writable=bool(self.info.flags & RegionFlags.WRITE),
                keep_on_fork=keep_on_fork,
                subject=self._subject,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise VfioError(reason, operation="mmap", subject=self._subject, errno=error.errno) from error

    def __repr__(self) -> str:
        return f"<{self._subject}: {self.size:#x} bytes, {self.info.flags!r}>"


def _info(device: Device, index: int) -> RegionInfo | None:
    try:
        return region_info(device.calls.vfio_device_get_region_info(device.fd, index))
    except VfioError as error:
        # What is not there: VGA on anything but a VGA device.
        if error.errno == errno.EINVAL:
            return None
        raise

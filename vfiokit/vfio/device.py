"""A device that this process owns: open it, use it, and it is handed back as it was."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vfiokit.address import PciAddress
from vfiokit.errors import VfioError
from vfiokit.sysfs.source import Source
from vfiokit.vfio import forks, reset
from vfiokit.vfio.backend import AddressSpace, open_space
from vfiokit.vfio.config import COMMAND_MASTER, ConfigAccess
from vfiokit.vfio.container import Container
from vfiokit.vfio.errors import CallNotSupported, Closed, NoNode
from vfiokit.vfio.features import Features
from vfiokit.vfio.group import check_token
from vfiokit.vfio.irq import EventFd, Interrupts
from vfiokit.vfio.place import Place, find_place, locate
from vfiokit.vfio.region import Region, Regions
from vfiokit.vfio.replies import DeviceInfo, device_info
from vfiokit.vfio.reset import HotReset
from vfiokit.vfio.system import System, default_system

if TYPE_CHECKING:
    from vfiokit.vfio.dma import Dma
    from vfiokit.vfio.group import Group

__all__ = ["Device"]


class Device:
    """An open device, made by :meth:`open` and given back by :meth:`close` or the end of a ``with`` block.

    Opening resets the device where it can be reset; its memory is decoded and bus mastering is off. Threads
    may share a device for everything but closing.

    :ivar address: which function it is.
    :ivar info: what the kernel says of it.
    :ivar regions: its BARs and other regions, by index.
    :ivar config: its configuration space.
    :ivar irqs: its interrupts.
    :ivar features: what else it can do.
    :ivar space: the address space it is in.
    """

    _opened = False

    def __init__(self, space: AddressSpace, place: Place, fd: int, *, owns_space: bool) -> None:
        self.space, self.place, self.fd = space, place, fd
        self.address, self.calls, self.system = place.address, space.calls, space.system
        self._owns_space = owns_space
        self._watcher: threading.Thread | None = None
        self._closing = threading.Lock()
        self.info: DeviceInfo = device_info(self.calls.vfio_device_get_info(fd))
        self.regions = Regions(self, self.info.num_regions)
        self.config = ConfigAccess(self)
        self.irqs = Interrupts(self, self.info.num_irqs)
        self.features = Features(self)
        self._power_before = self.config.power_state
        forks.register(self)

    @classmethod
    def open(
        cls,
        selector: str | PciAddress,
        *,
        backend: str = "auto",
        space: AddressSpace | None = None,
        token: str | None = None,
        noiommu: bool = False,
        close_on_request: bool = False,
        system: System | None = None,
        source: Source | None = None,
    ) -> Device:
        """Open a device that is bound to VFIO.

        :param selector: as every command takes it: address, ``vendor:device``, ``group:N``, interface.
        :param backend: ``iommufd``, ``container``, or ``auto`` for the first that there is for this device;
            a token that its own node does not take, as before Linux 6.17, makes it the container.
        :param space: an open address space to share with other devices, else the device gets its own.
        :param token: the UUID that a virtual function opens with.
        :param noiommu: accept a device that no IOMMU isolates. Its DMA can overwrite all of memory.
        :param close_on_request: close the device when the kernel asks for it back, from a thread. Without,
            the request is seen in :attr:`release_requested`, and whoever unbinds it waits until it is
            closed.
        :param system: what to use for the kernel; a fake one in tests.
        :param source: where sysfs is read from, to go with *system*.
        :raises NotBound: if it has no VFIO driver.
        :raises NotViable: if another function of its group belongs to the host.
        :raises Busy: if somebody has it.
        :raises NoNode: if the kernel lacks the back end.
        :raises NotPermitted: if its node may not be opened.
        :raises NoInterruptRemapping: if the platform does not remap interrupts.
        :raises TokenNeeded: if it is a virtual function that wants a token.
        :raises UnsafeNotAsked: if no IOMMU isolates it.
        """
        from vfiokit.sysfs.live import LiveSource

        check_token(token)
        source = source or (space.source if space else LiveSource())
        place = find_place(source, locate(source, selector))
        with ExitStack() as undo:
            if space is None:
                way = _Way(place, system or default_system(), source, token, noiommu=noiommu)
                found, fd = way.join(backend)
                undo.callback(found.close)
            else:
                found, fd = space, space.join(place, token, noiommu=noiommu)
            undo.callback(found.part, fd)
            device = cls(found, place, fd, owns_space=space is None)
            device._arm_request(close_on_request)
            device._opened = True
            undo.pop_all()
        return device

    @property
    def backend(self) -> str:
        """``container`` or ``iommufd``."""
        return self.space.name

    @property
    def dma(self) -> Dma:
        """What is mapped in its address space."""
        return self.space.dma

    @property
    def groups(self) -> tuple[Group, ...]:
        """The open groups of its address space; none with an iommufd."""
        return self.space.groups if isinstance(self.space, Container) else ()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.fd < 0

    @property
    def mapped_regions(self) -> tuple[Region, ...]:
        """The regions that are mapped now."""
        return tuple(region for region in self.regions if region.mapped)

    @property
    def bus_master(self) -> bool:
        """Whether the device may start DMA; off when it is opened, and off again before it is closed."""
        return bool(self.config.command & COMMAND_MASTER)

    @bus_master.setter
    def bus_master(self, on: bool) -> None:
        command = self.config.command
        self.config.command = command | COMMAND_MASTER if on else command & ~COMMAND_MASTER

    @property
    def release_requested(self) -> bool:
        """Whether the kernel has asked for the device back; asking does not forget it."""
        if self._request is not None and not self._request.closed and self._request.read():
            self._requested = True
        return self._requested

    @property
    def release_request(self) -> EventFd | None:
        """The eventfd of that request, to wait for; ``None`` where the kernel has none."""
        return self._request

    def reset(self) -> None:
        """Reset the function: registers to their defaults, interrupts wired again.

        The kernel puts configuration space back, bus mastering with it. Windows and mappings survive.

        :raises ResetNotSupported: if no way of resetting it alone works.
        """
        self.check_open()
        reset.reset(self)
        self.irqs.rearm()

    def hot_reset_plan(self) -> HotReset:
        """Show what a reset of the bus would touch.

        :raises ResetNotSupported: if there is no such reset.
        """
        self.check_open()
        return reset.hot_reset_plan(self)

    def hot_reset(self, *, touching: tuple[PciAddress, ...]) -> HotReset:
        """Reset the bus or slot, if that touches exactly the functions named.

        :param touching: as :meth:`hot_reset_plan` showed them.
        :raises UsageError: if it would touch others.
        :raises ResetNotSupported: if this process does not own all of them.
        """
        self.check_open()
        done = reset.hot_reset(self, touching)
        self.irqs.rearm()
        return done

    def close(self) -> None:
        """Hand the device back: bus mastering off, interrupts, windows, device, DMA, group, container.

        The order is the kernel's: a surviving mapping of a BAR keeps the group, and memory must not be freed
        while the device reaches it. A second time is nothing.
        """
        with self._closing:
            if self.closed:
                return
            with ExitStack() as steps:
                # The last pushed runs first, and each runs whatever the others raise.
                if self._owns_space:
                    steps.callback(self.space.close)
                steps.callback(self._part)
                steps.callback(self._close_windows)
                steps.callback(self.irqs.close)
                steps.callback(self._quiesce)

    def check_open(self) -> None:
        """Raise :class:`Closed` if it was closed."""
        if self.closed:
            raise Closed("it was closed", operation="use", subject=str(self.address))

    def forget(self) -> None:
        """Close this process's copies after a fork: the device stays with the parent."""
        self.irqs.forget()
        for region in self.regions:
            region.forget()
        self.fd = -1

    def _quiesce(self) -> None:
        """Stop DMA, and put power and bus mastering back as they were when it was opened."""
        try:
            if self._power_before is not None and self.config.power_state != self._power_before:
                self.config.power_state = self._power_before
            if self.bus_master:
                self.bus_master = False
        except VfioError:
            # Unplugged: there is nothing left to stop, and the rest of closing must go on.
            return

    def _close_windows(self) -> None:
        for region in self.regions:
            region.close()

    def _part(self) -> None:
        fd, self.fd = self.fd, -1
        self.space.part(fd)

    def _arm_request(self, close: bool) -> None:
        self._requested = False
        self._request: EventFd | None = None
        if len(self.irqs.req):
            self._request = self.irqs.req.eventfd()
        if close and self._request is not None:
            self._watch(self._request)

    def _watch(self, request: EventFd) -> None:
        """Close the device when it is asked for."""

        def watch() -> None:
            while not self.closed:
                # Short waits, since a close from elsewhere does not wake the poll.
                if not request.closed and self.system.wait(request.fileno(), 0.2):
                    self._requested = True
                    self.close()

        self._watcher = threading.Thread(target=_quietly(watch), name=f"release {self.address}", daemon=True)
        self._watcher.start()

    def __del__(self) -> None:
        if self._opened and not self.closed:
            warnings.warn(f"{self.address} was not closed", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"by {self.backend}"
        return f"<Device {self.address}: {state}>"


@dataclass(frozen=True, slots=True)
class _Way:
    """What is needed to get at a device by a space of its own."""

    place: Place
    system: System
    source: Source
    token: str | None
    noiommu: bool = field(kw_only=True)

    def join(self, backend: str) -> tuple[AddressSpace, int]:
        """Open a space and let the device join; what its node says of a token is not the last word."""
        try:
            return self._join(backend)
        except CallNotSupported:
            if backend != "auto" or self.token is None:
                raise
            try:
                return self._join("container")
            except NoNode:
                pass
            raise

    def _join(self, backend: str) -> tuple[AddressSpace, int]:
        space = open_space(backend, place=self.place, system=self.system, source=self.source)
        try:
            return space, space.join(self.place, self.token, noiommu=self.noiommu)
        except BaseException:
            space.close()
            raise


def _quietly(action: Callable[[], None]) -> Callable[[], None]:
    """Wrap a watch: the device may be closed from elsewhere at any moment of it."""

    def run() -> None:
        try:
            action()
        except (Closed, OSError):
            return

    return run

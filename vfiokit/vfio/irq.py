"""Interrupts as file descriptors: wire a vector to an eventfd, wait for it, mask it, trigger it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

from vfiokit.errors import VfioError
from vfiokit.vfio.errors import CallNotSupported, Closed, InUse, NoSuchInterrupt
from vfiokit.vfio.replies import IrqFlags
from vfiokit.vfio.system import System

if TYPE_CHECKING:
    from vfiokit.vfio.device import Device

__all__ = ["EventFd", "Interrupt", "InterruptKind", "Interrupts"]

_MASK, _UNMASK, _TRIGGER = 8, 16, 32
_NAMES = ("intx", "msi", "msix", "err", "req")
_EXCLUSIVE = frozenset({"intx", "msi", "msix"})


class EventFd:
    """An eventfd: select, poll and asyncio take it, and so does ``async for``.

    One read takes all that has happened since the last: a count of 3 is three interrupts. Threads may
    share it; each interrupt is seen by one of them.
    """

    def __init__(self, system: System, subject: str, on_close: Callable[[], None] | None = None) -> None:
        self._system, self._subject, self._on_close = system, subject, on_close
        self._fd = system.eventfd()

    def fileno(self) -> int:
        """Return the descriptor.

        :raises Closed: if it was closed.
        """
        if self._fd < 0:
            raise Closed("it was closed", operation="wait", subject=self._subject)
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._fd < 0

    def read(self) -> int:
        """Return how often it fired since the last read, 0 for not at all; never wait."""
        return self._system.read(self.fileno())

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it fires and return how often it did; 0 when *timeout* seconds are over."""
        return self._system.wait(self.fileno(), timeout)

    async def next(self) -> int:
        """Wait in an event loop until it fires, and return how often it did."""
        loop = asyncio.get_running_loop()
        while not (count := self.read()):
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self.fileno(), _set, ready)
            try:
                await ready
            finally:
                # Closed while we waited: the loop has dropped it with the descriptor.
                if not self.closed:
                    loop.remove_reader(self._fd)
        return count

    async def __aiter__(self) -> AsyncIterator[int]:
        while not self.closed:
            yield await self.next()

    def close(self) -> None:
        """Unwire the vector and close; a second time is nothing."""
        if self._fd < 0:
            return
        if self._on_close:
            self._on_close()
        self._drop()

    def _drop(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> EventFd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EventFd of {self._subject}: {'closed' if self.closed else self._fd}>"


class Interrupts:
    """The interrupts of a device by kind: ``intx``, ``msi``, ``msix``, ``err`` (errors), ``req`` (release).

    Only one of intx, msi and msix can be wired at a time.
    """

    def __init__(self, device: Device, count: int) -> None:
        self._device = device
        self._kinds = {
            name: InterruptKind(device, self, name, index)
            for index, name in enumerate(_NAMES)
            if index < max(count, len(_NAMES))
        }

    @property
    def intx(self) -> InterruptKind:
        """The pin."""
        return self._kinds["intx"]

    @property
    def msi(self) -> InterruptKind:
        """Message signalled interrupts."""
        return self._kinds["msi"]

    @property
    def msix(self) -> InterruptKind:
        """Message signalled interrupts, extended."""
        return self._kinds["msix"]

    @property
    def err(self) -> InterruptKind:
        """A fatal error of the device (AER)."""
        return self._kinds["err"]

    @property
    def req(self) -> InterruptKind:
        """The kernel asks for the device back."""
        return self._kinds["req"]

    def __iter__(self) -> Iterator[InterruptKind]:
        return iter(self._kinds.values())

    def best(self) -> InterruptKind:
        """Return the best kind that the device has: MSI-X, MSI, the pin.

        :raises NoSuchInterrupt: if it has none.
        """
        for kind in (self.msix, self.msi, self.intx):
            if len(kind):
                return kind
        raise NoSuchInterrupt("it has no interrupt", subject=str(self._device.address))

    def close(self) -> None:
        """Disable every kind."""
        for kind in self:
            kind.disable()

    def forget(self) -> None:
        """Close this process's copies of the eventfds."""
        for kind in self:
            kind.forget()

    def rearm(self) -> None:
        """Wire again what was wired: a reset tears the kernel's side down."""
        for kind in self:
            kind.rearm()

    def check_alone(self, kind: InterruptKind) -> None:
        """Raise :class:`InUse` if another of the exclusive kinds is wired."""
        for other in self:
            if other is not kind and {other.name, kind.name} <= _EXCLUSIVE and other.wired:
                raise InUse(
                    f"{other.name} is wired, and a device has one kind at a time",
                    operation="VFIO_DEVICE_SET_IRQS",
                    subject=f"for {kind.subject}",
                    hint=f"device.irqs.{other.name}.disable()",
                )


class InterruptKind:
    """The vectors of one kind.

    :ivar name: ``intx``, ``msi``, ``msix``, ``err`` or ``req``.
    :ivar flags: what the kernel says of it.
    """

    def __init__(self, device: Device, all_kinds: Interrupts, name: str, index: int) -> None:
        self._device, self._all, self.name, self.index = device, all_kinds, name, index
        self.subject = f"{name} of {device.address}"
        self.flags, self._count = IrqFlags(0), 0
        # The kernel refuses what a device cannot have: errors of a conventional device, before 7.x.
        try:
            flags, self._count = device.calls.vfio_device_get_irq_info(device.fd, index)
            self.flags = IrqFlags(flags)
        except VfioError as error:
            if error.errno != errno.EINVAL:
                raise
        self._wired: dict[int, EventFd] = {}
        self._enabled = 0

    @property
    def wired(self) -> tuple[int, ...]:
        """The vectors that have an eventfd."""
        return tuple(sorted(self._wired))

    @property
    def resizable(self) -> bool:
        """Whether vectors can be added while others are wired."""
        return not self.flags & IrqFlags.NORESIZE

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, vector: int) -> Interrupt:
        if not 0 <= vector < self._count:
            raise NoSuchInterrupt(
                f"vector {vector} of {self._count}", operation="VFIO_DEVICE_SET_IRQS", subject=self.subject
            )
        return Interrupt(self, vector)

    def __iter__(self) -> Iterator[Interrupt]:
        return (Interrupt(self, vector) for vector in range(self._count))

    def eventfd(self, vector: int = 0) -> EventFd:
        """Wire a vector, unless it is, and return its eventfd."""
        return self[vector].eventfd()

    def enable(self, count: int | None = None) -> tuple[EventFd, ...]:
        """Wire the first *count* vectors, or all, in one call."""
        wanted = range(self._count if count is None else count)
        if wanted:
            self[wanted[-1]]
        return self.wire(tuple(wanted))

    def disable(self) -> None:
        """Unwire all vectors and close their eventfds."""
        if self._enabled:
            self._enabled = 0
            # Refused only where a reset has done it already, or the device is gone.
            self._unless_gone(lambda: self._set(_TRIGGER, 0, 0))
        self.forget()

    def wire(self, vectors: tuple[int, ...]) -> tuple[EventFd, ...]:
        """Wire vectors, those that are not, and return their eventfds."""
        self._all.check_alone(self)
        fresh = {vector: self._eventfd(vector) for vector in vectors if vector not in self._wired}
        try:
            if fresh:
                self._send(fresh)
        except VfioError:
            for eventfd in fresh.values():
                eventfd._drop()
            raise
        self._wired |= fresh
        return tuple(self._wired[vector] for vector in vectors)

    def act(self, action: int, start: int, count: int = 1) -> None:
        """Mask, unmask or trigger.

        :raises NoSuchInterrupt: if no vector of the kind is wired.
        """
        if not self._enabled:
            raise NoSuchInterrupt(
                "no vector of it is wired",
                operation="VFIO_DEVICE_SET_IRQS",
                subject=f"for {self.subject}",
                hint=f"device.irqs.{self.name}[{start}].eventfd()",
            )
        device = self._device
        try:
            device.calls.vfio_device_set_irqs(
                device.fd, index=self.index, action=action, start=start, count=count
            )
        except VfioError as error:
            if error.errno == errno.ENOTTY:
                raise CallNotSupported(
                    "the kernel does not mask this kind; mask it in the device",
                    operation=error.operation,
                    subject=f"for {self.subject}",
                    errno=error.errno,
                ) from error
            raise

    def unmask_on(self, eventfd: EventFd | None) -> None:
        """Have the kernel unmask vector 0 whenever an eventfd fires; ``None`` ends it."""
        fd = -1 if eventfd is None else eventfd.fileno()
        self._device.calls.vfio_device_set_irqs_eventfd(
            self._device.fd, index=self.index, action=_UNMASK, start=0, eventfds=[fd]
        )

    def rearm(self) -> None:
        """Wire again what was wired, after a reset."""
        if not self._wired:
            return
        # The release request survives a reset; the others do not, and disabling what is gone is refused.
        self._unless_gone(lambda: self._set(_TRIGGER, 0, 0))
        self._enabled = 0
        self._send({})

    def forget(self) -> None:
        """Close the eventfds; the kernel has references of its own."""
        for eventfd in self._wired.values():
            eventfd._drop()
        self._wired.clear()

    def _eventfd(self, vector: int) -> EventFd:
        subject = f"{self.subject}[{vector}]"
        return EventFd(self._device.system, subject, lambda: self._unwire(vector))

    def _send(self, fresh: dict[int, EventFd]) -> None:
        """Tell the kernel, in the way that it allows: all vectors at once where it cannot add any later."""
        every = self._wired | fresh
        if self._enabled and not self.resizable and max(every) >= self._enabled:
            self._set(_TRIGGER, 0, 0)
            self._enabled = 0
        if not self._enabled:
            first, last = (0, self._count if not self.resizable else max(every) + 1)
        else:
            first, last = min(fresh), max(fresh) + 1
        fds = [every[vector].fileno() if vector in every else -1 for vector in range(first, last)]
        self._device.calls.vfio_device_set_irqs_eventfd(
            self._device.fd, index=self.index, action=_TRIGGER, start=first, eventfds=fds
        )
        self._enabled = max(self._enabled, last)

    def _unwire(self, vector: int) -> None:
        if self._wired.pop(vector, None) is None:
            return
        if not self._wired:
            self._enabled = 0
            self._unless_gone(lambda: self._set(_TRIGGER, 0, 0))
            return
        self._device.calls.vfio_device_set_irqs_eventfd(
            self._device.fd, index=self.index, action=_TRIGGER, start=vector, eventfds=[-1]
        )

    def _set(self, action: int, start: int, count: int) -> None:
        self._device.calls.vfio_device_set_irqs(
            self._device.fd, index=self.index, action=action, start=start, count=count
        )

    def _unless_gone(self, action: Callable[[], None]) -> None:
        try:
            action()
        except VfioError as error:
            if error.errno not in (errno.EINVAL, errno.ENODEV):
                raise

    def __repr__(self) -> str:
        return f"<{self.subject}: {self._count} vectors, {len(self._wired)} wired>"


class Interrupt:
    """One vector."""

    def __init__(self, kind: InterruptKind, vector: int) -> None:
        self.kind, self.vector = kind, vector

    def eventfd(self) -> EventFd:
        """Wire the vector, unless it is, and return its eventfd; closing that unwires it.

        :raises InUse: if another kind of interrupt is wired.
        """
        return self.kind.wire((self.vector,))[0]

    def mask(self) -> None:
        """Hold it back.

        :raises CallNotSupported: for MSI and MSI-X, which vfio-pci does not mask.
        """
        self.kind.act(_MASK, self.vector)

    def unmask(self) -> None:
        """Let it through again; the pin is masked whenever it fires, so acknowledge the device first."""
        self.kind.act(_UNMASK, self.vector)

    def trigger(self) -> None:
        """Fire it from here, as if the device had; nothing happens if others of its kind are wired only."""
        self.kind.act(_TRIGGER, self.vector)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)

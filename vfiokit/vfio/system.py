"""The one way to the operating system: everything that handles do to files goes through a :class:`System`.

There is the live one, one that traces, and in :mod:`vfiokit.testing` a fake kernel, a recorder and a player.
"""

import errno
import os
import select
from typing import Any, Protocol

from vfiokit._native.table import CALLS, Call
from vfiokit.errors import VfioError
from vfiokit.vfio.window import Window

__all__ = ["LiveSystem", "System", "default_system"]


class System(Protocol):
    """Files, calls on them, mappings of them; as the kernel's, with real numbers for descriptors."""

    def open(self, path: str, flags: int) -> int:
        """Open a file, closed on exec; OSError when refused."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def ioctl(self, fd: int, call: Call, argument: Any) -> int:
        """Make a call with a pointer; at least 0, or -errno."""
        ...

    def ioctl_value(self, fd: int, call: Call, value: int) -> int:
        """Make a call with a number as its argument; at least 0, or -errno."""
        ...

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Read from a place; OSError when refused."""
        ...

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write to a place; OSError when refused."""
        ...

    def map(
        self, fd: int, offset: int, size: int, *, writable: bool, keep_on_fork: bool, subject: str
    ) -> Window:
        """Map part of a descriptor; OSError when refused."""
        ...

    def eventfd(self) -> int:
        """Make an eventfd that does not block, closed on exec."""
        ...

    def read(self, eventfd: int) -> int:
        """Read an eventfd and return its count; 0 when nothing has happened."""
        ...

    def wait(self, eventfd: int, timeout: float | None) -> int:
        """Wait for an eventfd, read it and return its count; 0 when the time is over."""
        ...


def read_count(eventfd: int) -> int:
    """Read an eventfd that does not block; 0 when nothing has happened."""
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


class LiveSystem:
    """The kernel that runs.

    :ivar quick: makes calls whose structures are numbers; see :class:`vfiokit._native.base_calls.Direct`.
    """

    def __init__(self) -> None:
        from vfiokit._native import lib, quick
        from vfiokit.vfio.mapped import MappedWindow

        self._lib, self._window = lib, MappedWindow
        self._requests = {call.name: getattr(lib, call.name) for call in CALLS}
        self._ioctl = lib.vfiokit_ioctl
        self.quick = quick

    def open(self, path: str, flags: int) -> int:
        """Open a file, closed on exec."""
        return os.open(path, flags | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def ioctl(self, fd: int, call: Call, argument: Any) -> int:
        """Make a call with a pointer."""
        return self._ioctl(fd, self._requests[call.name], argument)

    def ioctl_value(self, fd: int, call: Call, value: int) -> int:
        """Make a call with a number."""
        return self._lib.vfiokit_ioctl_value(fd, self._requests[call.name], value)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Read from a place."""
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write to a place."""
        return os.pwrite(fd, data, offset)

    def map(
        self, fd: int, offset: int, size: int, *, writable: bool, keep_on_fork: bool, subject: str
    ) -> Window:
        """Map part of a descriptor."""
        window = self._window(subject, keep_on_fork=keep_on_fork)
        error = window.open(fd, offset, size, writable=writable)
        if error:
            raise OSError(-error, os.strerror(-error))
        return window

    def eventfd(self) -> int:
        """Make an eventfd."""
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    read = staticmethod(read_count)

    def wait(self, eventfd: int, timeout: float | None) -> int:
        """Wait for an eventfd and read it."""
        if count := read_count(eventfd):
            return count
        poll = select.poll()
        poll.register(eventfd, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            return 0
        return read_count(eventfd)


def default_system() -> System:
    """Return the live system, traced where ``VFIOKIT_TRACE`` is set."""
    live = LiveSystem()
    if os.environ.get("VFIOKIT_TRACE", "0") in ("", "0"):
        return live
    from vfiokit.vfio.trace import TracingSystem

    return TracingSystem(live)


def close_quietly(system: System, fd: int) -> None:
    """Close what may be closed already."""
    try:
        system.close(fd)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise VfioError.from_os(error, operation="close", subject=f"descriptor {fd}") from error

"""Windows through a mapping of the region: single accesses in C, without a system call.

A module of its own, since it is the one part of the windows that needs the extension.
"""

from __future__ import annotations

from typing import Any, NoReturn

from vfiokit._native import ffi, lib, quick
from vfiokit.vfio.errors import ReadOnly
from vfiokit.vfio.window import Window, check_access, closed, does_not_fit

__all__ = ["MappedWindow"]


class MappedWindow(quick.Accessors, Window):
    """A window through a mapping of the region.

    The accessors are the base's, in C: an access takes about as long as reading an attribute of an object.

    :param subject: what to call it in an error.
    :param keep_on_fork: whether a forked child has the mapping too.
    """

    mode = "mmap"

    def __init__(self, subject: str, *, keep_on_fork: bool = False) -> None:
        self.subject, self._keep_on_fork = subject, keep_on_fork
        self.size = 0
        self._window: Any = ffi.cast("struct vfiokit_window *", self.address)

    def open(self, fd: int, offset: int, size: int, *, writable: bool) -> int:
        """Map part of a descriptor; 0 or -errno."""
        error = lib.vfiokit_window_map(self._window, fd, offset, size, writable, self._keep_on_fork)
        self.size = int(self._window.size)
        return error

    def over(self, memory: Any, size: int) -> None:
        """Be a window on memory that somebody else keeps for as long."""
        lib.vfiokit_window_over(self._window, memory, size)
        self.size = size

    @property
    def closed(self) -> bool:
        """Whether it was given up."""
        return not self._window.size

    def read_block(self, offset: int, length: int, *, width: int) -> bytes:
        """Read *length* bytes by accesses of *width* bytes, upwards."""
        self._check_block(offset, length, width)
        data = bytearray(length)
        memory = ffi.from_buffer(data, require_writable=True)
        lib.vfiokit_copy_out(self._window, offset, memory, length, width)
        ffi.release(memory)
        return bytes(data)

    def read_into(self, offset: int, target: bytearray | memoryview, *, width: int) -> None:
        """Read into memory that is there, by accesses of *width* bytes, upwards: no copy is made."""
        with memoryview(target).cast("B") as view:
            self._check_block(offset, len(view), width)
            memory = ffi.from_buffer(view, require_writable=True)
            lib.vfiokit_copy_out(self._window, offset, memory, len(view), width)
            ffi.release(memory)

    def write_block(self, offset: int, data: bytes | bytearray | memoryview, *, width: int) -> None:
        """Write *data* by accesses of *width* bytes, upwards."""
        self._check_block(offset, len(data), width)
        memory = ffi.from_buffer(data)
        error = lib.vfiokit_copy_in(self._window, offset, memory, len(data), width)
        ffi.release(memory)
        if error:
            self._read_only()

    def close(self) -> None:
        """Unmap; a second time is nothing."""
        lib.vfiokit_window_unmap(self._window)

    def forget(self) -> None:
        """Give it up in a forked child, unless the child was to have it."""
        if not self._keep_on_fork:
            # No unmapping: the place may be somebody else's in the child.
            lib.vfiokit_window_over(self._window, ffi.NULL, 0)

    def _check_block(self, offset: int, length: int, width: int) -> None:
        if self.closed:
            raise closed(self.subject)
        check_access(offset, width, self.size, self.subject, length=length)

    def _refuse(self, offset: int, width: int, value: int | None) -> NoReturn:
        """Say what is wrong with an access that was not made; the accessors call this."""
        if self.closed:
            raise closed(self.subject)
        check_access(offset, width, self.size, self.subject)
        if value is not None and not 0 <= value < 1 << 8 * width:
            raise does_not_fit(value, width, self.subject)
        self._read_only()

    def _read_only(self) -> NoReturn:
        raise ReadOnly("the region cannot be written", operation="write", subject=self.subject)

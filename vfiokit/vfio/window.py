"""Windows on a region: accessors that make exactly the access that their name says.

Python's own ways do not: ``struct.pack_into`` stores 0, 0 and then the value, a slice of an ``mmap``
stores twice, a ``ctypes`` store reads first. Each of these breaks a doorbell, a FIFO or a register that is
cleared by writing one.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from vfiokit.address import AddressRange
from vfiokit.errors import VfioError
from vfiokit.vfio.errors import Closed, DecodeOff, DeviceGone, Misaligned, OutOfBounds, ReadOnly

if TYPE_CHECKING:
    from vfiokit.vfio.system import System

__all__ = ["SparseWindow", "SyscallWindow", "Window", "check_access", "closed", "does_not_fit"]

_WIDTHS = (1, 2, 4, 8)


def check_access(offset: int, width: int, size: int, subject: str, *, length: int | None = None) -> None:
    """Say what is wrong with an access, if something is.

    :param length: bytes of a block made of accesses of *width*, else one access.
    :raises OutOfBounds: if it does not lie in *size* bytes, or the width is none of 1, 2, 4 and 8.
    :raises Misaligned: if offset or length is no multiple of the width.
    """
    span = width if length is None else length
    if width in _WIDTHS and 0 <= offset <= size - span and span >= 0 and not (offset | span) & (width - 1):
        return
    if width not in _WIDTHS:
        raise OutOfBounds(
            f"a width of {width} bytes", operation="access", subject=subject, hint="1, 2, 4, 8"
        )
    what = (
        f"{width}-byte access at offset {offset:#x}" if length is None else f"{length} bytes at {offset:#x}"
    )
    if not 0 <= offset <= size - span or span < 0:
        raise OutOfBounds(f"{what} leaves {size:#x} bytes", operation="access", subject=subject)
    raise Misaligned(
        f"{what} is not aligned to {width}",
        operation="access",
        subject=subject,
        hint="two accesses of half the width, if the device allows them: read64_lo_hi",
    )


class Window(ABC):
    """Accessors on a region; offsets are from the region's start, values as the device means them.

    Registers of PCI devices are little endian, and so they are read on every host. A block copy goes upwards
    in accesses of one width. Threads may use a window together but must not close it under each other.

    :ivar size: bytes.
    :ivar mode: ``mmap``, ``syscall``, or ``mixed`` where part of the region cannot be mapped.
    :ivar subject: what to call it in an error.
    """

    mode: str
    size: int
    subject: str

    @abstractmethod
    def read8(self, offset: int, /) -> int:
        """Read one byte by one 8-bit access."""

    @abstractmethod
    def read16(self, offset: int, /) -> int:
        """Read by one 16-bit access.

        :raises OutOfBounds: if it does not lie in the region.
        :raises Misaligned: if *offset* is odd.
        :raises DecodeOff: if the device does not decode memory, where that can be told without dying.
        """

    @abstractmethod
    def read32(self, offset: int, /) -> int:
        """Read by one 32-bit access; errors as :meth:`read16`."""

    @abstractmethod
    def read64(self, offset: int, /) -> int:
        """Read by one 64-bit access; errors as :meth:`read16`."""

    @abstractmethod
    def write8(self, offset: int, value: int, /) -> None:
        """Write one byte by one 8-bit access."""

    @abstractmethod
    def write16(self, offset: int, value: int, /) -> None:
        """Write by one 16-bit access.

        :raises OutOfBounds: if it does not lie in the region, or *value* does not fit.
        :raises Misaligned: if *offset* is odd.
        :raises ReadOnly: if the region cannot be written.
        """

    @abstractmethod
    def write32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access; errors as :meth:`write16`."""

    @abstractmethod
    def write64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access; errors as :meth:`write16`."""

    @abstractmethod
    def doorbell32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access, once the device can see all that was written to memory."""

    @abstractmethod
    def doorbell64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access, once the device can see all that was written to memory."""

    @abstractmethod
    def read_block(self, offset: int, length: int, *, width: int) -> bytes:
        """Read *length* bytes by accesses of *width* bytes, upwards.

        :raises Misaligned: if *offset* or *length* is no multiple of *width*.
        """

    @abstractmethod
    def write_block(self, offset: int, data: bytes | bytearray | memoryview, *, width: int) -> None:
        """Write *data* by accesses of *width* bytes, upwards; errors as :meth:`read_block`."""

    @abstractmethod
    def close(self) -> None:
        """Give the window up; closing twice is nothing."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it was given up."""

    def forget(self) -> None:
        """Give it up in a forked child, which has no mapping of it."""
        self.close()

    def read64_lo_hi(self, offset: int) -> int:
        """Read 64 bits by two 32-bit accesses, the lower half first."""
        low = self.read32(offset)
        return low | self.read32(offset + 4) << 32

    def read64_hi_lo(self, offset: int) -> int:
        """Read 64 bits by two 32-bit accesses, the upper half first."""
        high = self.read32(offset + 4)
        return high << 32 | self.read32(offset)

    def write64_lo_hi(self, offset: int, value: int) -> None:
        """Write 64 bits by two 32-bit accesses, the lower half first."""
        self.write32(offset, value & 0xFFFFFFFF)
        self.write32(offset + 4, value >> 32)

    def write64_hi_lo(self, offset: int, value: int) -> None:
        """Write 64 bits by two 32-bit accesses, the upper half first."""
        self.write32(offset + 4, value >> 32)
        self.write32(offset, value & 0xFFFFFFFF)

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.size:#x} bytes by {self.mode}"
        return f"<{type(self).__name__} on {self.subject}: {state}>"


class SyscallWindow(Window):
    """A window through pread(2) and pwrite(2) on the device's descriptor.

    It needs neither a mapping nor the extension, and the kernel makes one access of that width. It is how
    regions are reached that cannot be mapped, and the guarded way to those that can: with memory decoding
    off, an access is an error here and the death of the process through a mapping.

    :param base: where the region begins in the descriptor.
    """

    mode = "syscall"

    def __init__(
        self,
        system: System,
        fd: int,
        base: int,
        size: int,
        subject: str,
        *,
        readable: bool = True,
        writable: bool = True,
    ) -> None:
        self._system, self._fd, self._base = system, fd, base
        self._readable, self._writable = readable, writable
        self.size, self.subject = size, subject

    @property
    def closed(self) -> bool:
        """Whether it was given up."""
        return self._fd < 0

    def read8(self, offset: int, /) -> int:
        """Read one byte by one 8-bit access."""
        return self._read(offset, 1)

    def read16(self, offset: int, /) -> int:
        """Read by one 16-bit access."""
        return self._read(offset, 2)

    def read32(self, offset: int, /) -> int:
        """Read by one 32-bit access."""
        return self._read(offset, 4)

    def read64(self, offset: int, /) -> int:
        """Read by one 64-bit access, where the kernel has them; a 32-bit kernel makes two."""
        return self._read(offset, 8)

    def write8(self, offset: int, value: int, /) -> None:
        """Write one byte by one 8-bit access."""
        self._write(offset, value, 1)

    def write16(self, offset: int, value: int, /) -> None:
        """Write by one 16-bit access."""
        self._write(offset, value, 2)

    def write32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access."""
        self._write(offset, value, 4)

    def write64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access."""
        self._write(offset, value, 8)

    # A system call orders what came before it: entering the kernel is more than a release fence.
    doorbell32 = write32
    doorbell64 = write64

    def read_block(self, offset: int, length: int, *, width: int) -> bytes:
        """Read *length* bytes by accesses of *width* bytes, upwards: one call each."""
        self._check(offset, width, length)
        return b"".join(self._pread(at, width) for at in range(offset, offset + length, width))

    def write_block(self, offset: int, data: bytes | bytearray | memoryview, *, width: int) -> None:
        """Write *data* by accesses of *width* bytes, upwards: one call each."""
        self._check(offset, width, len(data))
        for at in range(0, len(data), width):
            self._pwrite(offset + at, bytes(data[at : at + width]))

    def close(self) -> None:
        """Give the window up; the descriptor stays open."""
        self._fd = -1

    def _read(self, offset: int, width: int) -> int:
        self._check(offset, width)
        return int.from_bytes(self._pread(offset, width), "little")

    def _write(self, offset: int, value: int, width: int) -> None:
        self._check(offset, width)
        try:
            data = value.to_bytes(width, "little")
        except OverflowError as error:
            raise does_not_fit(value, width, self.subject) from error
        self._pwrite(offset, data)

    def _check(self, offset: int, width: int, length: int | None = None) -> None:
        if self.closed:
            raise closed(self.subject)
        check_access(offset, width, self.size, self.subject, length=length)

    def _pread(self, offset: int, width: int) -> bytes:
        if not self._readable:
            raise ReadOnly("the region cannot be read", operation="read", subject=self.subject)
        try:
            data = self._system.pread(self._fd, width, self._base + offset)
        except OSError as error:
            raise _failed(error, "read", self.subject) from error
        if len(data) != width:
            raise DeviceGone(f"{len(data)} of {width} bytes", operation="read", subject=self.subject)
        return data

    def _pwrite(self, offset: int, data: bytes) -> None:
        if not self._writable:
            raise ReadOnly("the region cannot be written", operation="write", subject=self.subject)
        try:
            written = self._system.pwrite(self._fd, data, self._base + offset)
        except OSError as error:
            raise _failed(error, "write", self.subject) from error
        if written != len(data):
            raise DeviceGone(f"{written} of {len(data)} bytes", operation="write", subject=self.subject)


class SparseWindow(Window):
    """A window on a region of which parts can be mapped: each access goes the way that its place allows.

    :param parts: the mapped parts, with where each lies in the region.
    :param rest: for all that lies between.
    """

    mode = "mixed"

    def __init__(self, parts: tuple[tuple[AddressRange, Window], ...], rest: Window) -> None:
        self._parts, self._rest = parts, rest
        self.size, self.subject = rest.size, rest.subject

    @property
    def closed(self) -> bool:
        """Whether it was given up."""
        return self._rest.closed

    def read8(self, offset: int, /) -> int:
        """Read one byte by one 8-bit access."""
        window, at = self._at(offset, 1)
        return window.read8(at)

    def read16(self, offset: int, /) -> int:
        """Read by one 16-bit access."""
        window, at = self._at(offset, 2)
        return window.read16(at)

    def read32(self, offset: int, /) -> int:
        """Read by one 32-bit access."""
        window, at = self._at(offset, 4)
        return window.read32(at)

    def read64(self, offset: int, /) -> int:
        """Read by one 64-bit access."""
        window, at = self._at(offset, 8)
        return window.read64(at)

    def write8(self, offset: int, value: int, /) -> None:
        """Write one byte by one 8-bit access."""
        window, at = self._at(offset, 1)
        window.write8(at, value)

    def write16(self, offset: int, value: int, /) -> None:
        """Write by one 16-bit access."""
        window, at = self._at(offset, 2)
        window.write16(at, value)

    def write32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access."""
        window, at = self._at(offset, 4)
        window.write32(at, value)

    def write64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access."""
        window, at = self._at(offset, 8)
        window.write64(at, value)

    def doorbell32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access, after a release fence."""
        window, at = self._at(offset, 4)
        window.doorbell32(at, value)

    def doorbell64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access, after a release fence."""
        window, at = self._at(offset, 8)
        window.doorbell64(at, value)

    def read_block(self, offset: int, length: int, *, width: int) -> bytes:
        """Read *length* bytes by accesses of *width* bytes, upwards, each the way its place allows."""
        check_access(offset, width, self.size, self.subject, length=length)
        return b"".join(
            window.read_block(start, size, width=width)
            for window, start, size in self._pieces(offset, length, width)
        )

    def write_block(self, offset: int, data: bytes | bytearray | memoryview, *, width: int) -> None:
        """Write *data* by accesses of *width* bytes, upwards, each the way its place allows."""
        check_access(offset, width, self.size, self.subject, length=len(data))
        done = 0
        for window, start, size in self._pieces(offset, len(data), width):
            window.write_block(start, data[done : done + size], width=width)
            done += size

    def close(self) -> None:
        """Unmap every part."""
        for _, window in self._parts:
            window.close()
        self._rest.close()

    def forget(self) -> None:
        """Give every part up in a forked child."""
        for _, window in self._parts:
            window.forget()
        self._rest.forget()

    def _at(self, offset: int, width: int) -> tuple[Window, int]:
        for part, window in self._parts:
            if part.start <= offset and offset + width <= part.end and not window.closed:
                return window, offset - part.start
        return self._rest, offset

    def _pieces(self, offset: int, length: int, width: int) -> list[tuple[Window, int, int]]:
        """Cut a block where the way changes."""
        pieces: list[tuple[Window, int, int]] = []
        for at in range(offset, offset + length, width):
            window, start = self._at(at, width)
            if pieces and pieces[-1][0] is window and pieces[-1][1] + pieces[-1][2] == start:
                pieces[-1] = (window, pieces[-1][1], pieces[-1][2] + width)
            else:
                pieces.append((window, start, width))
        return pieces


_FAILURES: dict[int, tuple[type[VfioError], str, str]] = {
    # vfio-pci answers EIO while COMMAND.MEM (or IO) is clear, and for a device that is in low power.
    errno.EIO: (DecodeOff, "the device does not decode it", "set memory or I/O decoding in COMMAND"),
    errno.ENODEV: (DeviceGone, "the device is gone", ""),
    errno.ENXIO: (DeviceGone, "the device is gone", ""),
    errno.EBADF: (Closed, "the device was closed", ""),
}


def _failed(error: OSError, operation: str, subject: str) -> VfioError:
    kind, reason, hint = _FAILURES.get(error.errno or 0, (VfioError, error.strerror or str(error), ""))
    return kind(reason, operation=operation, subject=subject, errno=error.errno, hint=hint)


def closed(subject: str) -> Closed:
    """Make the error of an access through a window that was given up."""
    return Closed("it was closed", operation="access", subject=subject)


def does_not_fit(value: int, width: int, subject: str) -> OutOfBounds:
    """Make the error of a value that is too large for *width* bytes, or negative."""
    return OutOfBounds(f"{value:#x} does not fit in {8 * width} bits", operation="write", subject=subject)

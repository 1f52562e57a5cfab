"""Windows through pread(2) and pwrite(2): slower than a mapping, and safe where a mapping is not."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from vfiokit.errors import VfioError
from vfiokit.vfio.errors import Closed, DecodeOff, DeviceGone, ReadOnly
from vfiokit.vfio.window import Window, check_access, closed, does_not_fit

if TYPE_CHECKING:
    from vfiokit.vfio.system import System

__all__ = ["SyscallWindow"]


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

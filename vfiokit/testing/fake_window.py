"""A mapping of a fake device: each access reaches the device's model, and decoding that is off is deadly."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn

from vfiokit.vfio.syscall import SyscallWindow

if TYPE_CHECKING:
    from vfiokit.testing.fake_files import DeviceFile

__all__ = ["FakeSigbus", "FakeWindow"]


class FakeSigbus(BaseException):
    """What would have killed the process: an access through a mapping to a device that does not answer."""


class FakeWindow(SyscallWindow):
    """A window through a fake mapping."""

    mode = "mmap"

    def __init__(self, file: DeviceFile, offset: int, size: int, subject: str, *, writable: bool) -> None:
        if not size or offset & 0xFFF:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        super().__init__(_Mapped(file), 0, offset, size, subject, writable=writable)  # type: ignore[arg-type]
        self._file = file
        file.windows.add(self)

    def close(self) -> None:
        """Unmap; a second time is nothing, as the device may be somebody else's by then."""
        super().close()
        if self in self._file.windows:
            self._file.windows.remove(self)
            self._file.windows_changed()

    def forget(self) -> None:
        """Be nothing in a child."""
        super().close()


class _Mapped:
    """The part of a system that a window uses, without system calls."""

    def __init__(self, file: DeviceFile) -> None:
        self._file = file

    def pread(self, _fd: int, size: int, offset: int) -> bytes:
        """Load."""
        self._check()
        return self._file.pread(size, offset)

    def pwrite(self, _fd: int, data: bytes, offset: int) -> int:
        """Store."""
        self._check()
        return self._file.pwrite(data, offset)

    def _check(self) -> None:
        if self._file.device.gone or not self._file.device.decodes:
            _die()


def _die() -> NoReturn:
    raise FakeSigbus("an access through a mapping while the device does not decode memory")

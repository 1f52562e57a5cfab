"""The running host: paths below ``/``, read as the kernel gives them."""

import errno
import os
import stat

from vfiokit.sysfs.source import ATTRIBUTE_LIMIT, DeviceNumber, Kind, Stat, os_error

__all__ = ["LiveSource", "kind_of", "number_of", "read_bounded"]

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_CHUNK = 1 << 16


class LiveSource:
    """Reads the host that it runs on."""

    name = "/"

    def read(self, path: str, limit: int = ATTRIBUTE_LIMIT) -> bytes:
        """Return a file's content; EFBIG if it is longer than *limit* bytes."""
        descriptor = os.open("/" + path, _FLAGS)
        try:
            return read_bounded(descriptor, path, limit)
        finally:
            os.close(descriptor)

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset*."""
        descriptor = os.open("/" + path, _FLAGS)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""
        return os.listdir("/" + path)

    def readlink(self, path: str) -> str:
        """Return a link's target as it is written."""
        return os.readlink("/" + path)

    def stat(self, path: str) -> Stat:
        """Return kind and permission bits, without following a final link."""
        return kind_of(os.lstat("/" + path))

    def device(self, path: str) -> DeviceNumber | None:
        """Return the number of the device node that a path leads to."""
        return number_of(os.stat("/" + path))


def read_bounded(descriptor: int, path: str, limit: int) -> bytes:
    """Read an open file to its end; EFBIG past *limit* bytes."""
    data = os.read(descriptor, min(limit + 1, _CHUNK))
    # /proc gives up to a page short of a full read; anything less is the end of a sysfs attribute.
    if len(data) < ATTRIBUTE_LIMIT // 2:
        return data if len(data) <= limit else _too_long(path)
    pieces = [data]
    total = len(data)
    while total <= limit and (piece := os.read(descriptor, _CHUNK)):
        pieces.append(piece)
        total += len(piece)
    return b"".join(pieces) if total <= limit else _too_long(path)


def kind_of(status: os.stat_result) -> Stat:
    """Reduce a stat to what a source tells."""
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}
    return Stat(kinds.get(stat.S_IFMT(status.st_mode), Kind.OTHER), stat.S_IMODE(status.st_mode))


def number_of(status: os.stat_result) -> DeviceNumber | None:
    """Reduce a stat to the number of the device node that it is of."""
    kind = stat.S_IFMT(status.st_mode)
    if kind not in (stat.S_IFBLK, stat.S_IFCHR):
        return None
    return DeviceNumber(kind == stat.S_IFBLK, os.major(status.st_rdev), os.minor(status.st_rdev))


def _too_long(path: str) -> bytes:
    raise os_error(errno.EFBIG, path)

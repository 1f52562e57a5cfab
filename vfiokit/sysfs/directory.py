"""A directory that looks like ``/``: somebody's copied tree, a mounted image, a drawn host.

Nothing outside the directory is ever read: links are followed by hand and one that climbs above
the directory is an error. Absolute targets start at the directory, as they would after a chroot.
"""

import errno
import os
import stat

from vfiokit.sysfs.live import kind_of, number_of, read_bounded
from vfiokit.sysfs.source import ATTRIBUTE_LIMIT, MAX_LINKS, DeviceNumber, Stat, follow, os_error

__all__ = ["DirectorySource"]

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW


class DirectorySource:
    """Reads a host below a directory.

    :param root: the directory that stands for ``/``.
    """

    def __init__(self, root: str) -> None:
        self.name = root
        self._root = os.path.abspath(root)
        self._real: dict[str, str] = {"": ""}

    def read(self, path: str, limit: int = ATTRIBUTE_LIMIT) -> bytes:
        """Return a file's content; EFBIG if it is longer than *limit* bytes, EINVAL for a FIFO."""
        descriptor = self._open(path)
        try:
            return read_bounded(descriptor, path, limit)
        finally:
            os.close(descriptor)

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset*; EINVAL for a FIFO."""
        descriptor = self._open(path)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""
        return os.listdir(f"{self._root}/{self._real.get(path) or self._directory(path, 0)}")

    def readlink(self, path: str) -> str:
        """Return a link's target as it is written."""
        return os.readlink(self._host_path(path))

    def stat(self, path: str) -> Stat:
        """Return kind and permission bits, without following a final link."""
        return kind_of(os.lstat(self._host_path(path)))

    def device(self, path: str) -> DeviceNumber | None:
        """Return the number of the device node that a path leads to."""
        for _ in range(MAX_LINKS):
            parent, _, name = path.rpartition("/")
            real = f"{self._directory(parent, 0)}/{name}"
            status = os.lstat(f"{self._root}/{real}")
            if not stat.S_ISLNK(status.st_mode):
                return number_of(status)
            path = self._target(real)
        raise os_error(errno.ELOOP, path)

    def _host_path(self, path: str) -> str:
        parent, _, name = path.rpartition("/")
        return f"{self._root}/{self._real.get(parent) or self._directory(parent, 0)}/{name}"

    def _open(self, path: str, depth: int = 0) -> int:
        parent, _, name = path.rpartition("/")
        real_parent = self._real.get(parent) or self._directory(parent, depth)
        try:
            descriptor = os.open(f"{self._root}/{real_parent}/{name}", _FLAGS)
        except OSError as error:
            # O_NOFOLLOW: the name itself is a link.
            if error.errno != errno.ELOOP or depth >= MAX_LINKS:
                raise
            return self._open(self._target(f"{real_parent}/{name}"), depth + 1)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise os_error(errno.EINVAL, path)
        return descriptor

    def _directory(self, path: str, depth: int) -> str:
        """Return *path* with every link in it followed."""
        known = self._real.get(path)
        if known is not None:
            return known
        if depth >= MAX_LINKS:
            raise os_error(errno.ELOOP, path)
        parent, _, name = path.rpartition("/")
        real = f"{self._directory(parent, depth)}/{name}".lstrip("/")
        mode = os.lstat(f"{self._root}/{real}").st_mode
        if stat.S_ISLNK(mode):
            real = self._directory(self._target(real), depth + 1)
        elif not stat.S_ISDIR(mode):
            raise os_error(errno.ENOTDIR, path)
        self._real[path] = real
        return real

    def _target(self, path: str) -> str:
        """Return where the link at *path*, whose directory is real, points, from the root."""
        return follow(path, os.readlink(f"{self._root}/{path}"))

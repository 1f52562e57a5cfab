"""What a scan reads from: a root with files, directories and links, wherever it is kept.

Paths are relative to the root, separated by ``/``, without a leading one: ``sys/bus/pci/devices``.
Every method raises :class:`OSError` with the error number that the kernel gives, or gave when a
capture was taken; so a reader is written once for the live host, a capture and a drawn tree.
"""

import errno
import os
from enum import StrEnum
from typing import NamedTuple, Protocol

__all__ = [
    "ATTRIBUTE_LIMIT",
    "CONFIG_SIZE",
    "FILE_LIMIT",
    "MAX_LINKS",
    "DeviceNumber",
    "Kind",
    "Source",
    "Stat",
    "follow",
    "os_error",
    "reason",
]

ATTRIBUTE_LIMIT = 1 << 12
"""Bytes: sysfs shows at most one page of a text attribute."""
CONFIG_SIZE = 1 << 12
"""Bytes of configuration space of a PCI Express function."""
FILE_LIMIT = 1 << 24
"""Bytes: more than any ``/proc/interrupts`` or ACPI table that was ever seen."""
MAX_LINKS = 40
"""Links followed in one path before the kernel says ELOOP."""

_OUR_REASONS = {
    errno.EXDEV: "a link leaves the root",
    errno.EFBIG: "longer than such a file can be",
    errno.EINVAL: "not a regular file",
}


class Kind(StrEnum):
    """What stands at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


class Stat(NamedTuple):
    """Kind and permission bits of what stands at a path; links are not followed."""

    kind: Kind
    mode: int


class DeviceNumber(NamedTuple):
    """What the kernel knows a device node by, whatever path leads to it.

    :ivar block: whether it is a block device; else a character device.
    """

    block: bool
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{'block' if self.block else 'char'} {self.major}:{self.minor}"


class Source(Protocol):
    """A root to read a host from. Synchronization: one reader at a time."""

    name: str
    """What messages call it: ``/``, a path, a capture's name."""

    def read(self, path: str, limit: int = ATTRIBUTE_LIMIT) -> bytes:
        """Return a file's content; EFBIG if it is longer than *limit* bytes."""
        ...

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset*; fewer at the end of what may be read."""
        ...

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""
        ...

    def readlink(self, path: str) -> str:
        """Return a link's target as it is written; EINVAL if it is no link."""
        ...

    def stat(self, path: str) -> Stat:
        """Return kind and permission bits, without following a final link."""
        ...

    def device(self, path: str) -> DeviceNumber | None:
        """Return the number of the device node that a path leads to; ``None`` if it is no device node."""
        ...


def os_error(number: int, path: str) -> OSError:
    """Build the :class:`OSError` that a source raises."""
    return OSError(number, _OUR_REASONS.get(number) or os.strerror(number), path)


def follow(path: str, target: str) -> str:
    """Return the path, from the root, that *target* names in a link at *path*.

    :raises OSError: EXDEV if it climbs above the root.

    >>> follow("sys/bus/pci/devices/0000:00:02.0", "../../../devices/pci0000:00/0000:00:02.0")
    'sys/devices/pci0000:00/0000:00:02.0'
    """
    parts = [] if target.startswith("/") else path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise os_error(errno.EXDEV, path)
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def reason(error: OSError) -> str:
    """Say in a few words why a source could not answer."""
    return error.strerror or str(error)

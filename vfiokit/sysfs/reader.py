"""Reading a source so that whatever goes wrong becomes a value and a problem, never an exception."""

import errno
from collections.abc import Callable
from typing import TypeVar

from vfiokit.model.host import Problem
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.source import ATTRIBUTE_LIMIT, Kind, Source, follow, reason

__all__ = ["Reader"]

_T = TypeVar("_T")
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV})


class Reader:
    """Wraps a source; absent is ``None``, unreadable or odd is :class:`Unknown` and noted.

    Paths must hold no links: :meth:`link` says where a link leads.

    :ivar problems: what was met so far, in order.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []

    def value(
        self, path: str, parse: Callable[[bytes], _T | None], limit: int = ATTRIBUTE_LIMIT
    ) -> _T | Unknown | None:
        """Read an attribute and parse it."""
        try:
            return parse(self.source.read(path, limit))
        except OSError as error:
            return self._failed(path, error)
        except ValueError as error:
            return self.note(path, str(error))

    def part(self, path: str, offset: int, size: int) -> bytes:
        """Read part of a file; empty where it cannot be read, which is noted."""
        try:
            return self.source.read_at(path, offset, size)
        except OSError as error:
            self._failed(path, error)
            return b""

    def names(self, path: str) -> list[str] | Unknown | None:
        """List a directory."""
        try:
            return self.source.listdir(path)
        except OSError as error:
            return self._failed(path, error)

    def is_directory(self, path: str) -> bool:
        """Tell whether a directory stands at a path."""
        try:
            return self.source.stat(path).kind is Kind.DIRECTORY
        except OSError:
            return False

    def link(self, path: str) -> str | Unknown | None:
        """Return the path, from the root, that a link leads to; ``None`` for what is no link."""
        try:
            return follow(path, self.source.readlink(path))
        except OSError as error:
            return None if error.errno == errno.EINVAL else self._failed(path, error)

    def target(self, path: str) -> str | Unknown | None:
        """Return the last name in a link's target, which is all that many links are for."""
        try:
            return self.source.readlink(path).rpartition("/")[2]
        except OSError as error:
            return self._failed(path, error)

    def note(self, path: str, text: str) -> Unknown:
        """Keep a problem and return the unknown that stands for it."""
        self.problems.append(Problem(path=path, reason=text))
        return Unknown(text)

    def _failed(self, path: str, error: OSError) -> Unknown | None:
        return None if error.errno in _ABSENT else self.note(path, reason(error))

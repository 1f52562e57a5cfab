"""The exceptions of vfiokit: each says what was done, to what, why it failed and what to do.

Everything the world can do wrong ends in a :class:`VfiokitError`; the command turns it into one line
and :attr:`VfiokitError.exit_status`.
"""

import os

__all__ = [
    "AmbiguousSelector",
    "BadCapture",
    "BadRoot",
    "BadTable",
    "Busy",
    "CannotTell",
    "NotFound",
    "NotRolledBack",
    "NotSupported",
    "Refused",
    "RolledBack",
    "UsageError",
    "VfioError",
    "VfiokitError",
    "WriteStuck",
    "one_line",
]


def one_line(text: str) -> str:
    r"""Escape what would break a line or drive a terminal: names of files and devices are not to be trusted.

    >>> one_line("a\tb\x1b[31m")
    'a\\tb\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


class VfiokitError(Exception):
    """The root of the tree.

    :ivar operation: what was attempted, in the field's words (``"open capture"``).
    :ivar subject: what it was attempted on (an address, a path, ``"group 14"``).
    :ivar errno: the kernel's error number where there is one, else ``None``.
    :ivar hint: what the reader can do about it, or the empty string.
    """

    exit_status = 1

    def __init__(
        self,
        reason: str,
        *,
        operation: str = "",
        subject: str = "",
        errno: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operation = operation
        self.subject = subject
        self.errno = errno
        self.hint = hint

    @classmethod
    def from_os(cls, error: OSError, *, operation: str, subject: str, hint: str = "") -> "VfiokitError":
        """Wrap an :class:`OSError`, keeping its number and its text."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        return cls(reason, operation=operation, subject=subject, errno=error.errno, hint=hint)

    def __str__(self) -> str:
        parts = [part for part in (self.operation, self.subject) if part]
        text = f"{' '.join(parts)}: {self.reason}" if parts else self.reason
        return one_line(f"{text} ({self.hint})" if self.hint else text)


class UsageError(VfiokitError, ValueError):
    """An argument that can never be right: a malformed address, an unknown format."""

    exit_status = 2


class NotFound(VfiokitError, LookupError):
    """A selector that matches nothing on this host."""

    exit_status = 2


class AmbiguousSelector(VfiokitError, LookupError):
    """A selector that matches more than one function.

    :ivar candidates: what it could have meant, one full selector each.
    """

    exit_status = 2

    def __init__(self, reason: str, *, candidates: tuple[str, ...], subject: str = "") -> None:
        super().__init__(
            reason, operation="select", subject=subject, hint="one of: " + ", ".join(candidates)
        )
        self.candidates = candidates


class CannotTell(VfiokitError):
    """The answer needs data that is missing or may not be read."""

    exit_status = 3


class BadRoot(VfiokitError):
    """A ``--root`` that is no host: not a directory like ``/``, not a capture, not an example."""

    exit_status = 2


class BadCapture(BadRoot):
    """A capture that is truncated, damaged, of a newer format or larger than the limits."""


class BadTable(VfiokitError, ValueError):
    """A firmware table whose bytes do not hold together."""


class Refused(VfiokitError):
    """A safety rule stands against it; nothing was changed."""

    exit_status = 4


class Busy(Refused):
    """Another run holds the lock; it is named."""


class RolledBack(VfiokitError):
    """It failed, and everything is as it was before."""

    exit_status = 5


class NotRolledBack(VfiokitError):
    """It failed, and not everything could be put back; the journal is kept."""

    exit_status = 6


class WriteStuck(VfiokitError):
    """A write did not come back from the kernel within its limit; nothing more is written to its function.

    :ivar stack: the kernel's stack of the task that sits in the write, where it may be read.
    """

    exit_status = 7

    def __init__(
        self, reason: str, *, operation: str = "", subject: str = "", hint: str = "", stack: str = ""
    ) -> None:
        super().__init__(reason, operation=operation, subject=subject, hint=hint)
        self.stack = stack


class NotSupported(VfiokitError):
    """The host has no IOMMU, or its kernel lacks the interface."""

    exit_status = 8


class VfioError(VfiokitError):
    """A call of VFIO or iommufd that failed, or would have.

    The operation is the kernel's name of the call where one was made. Its kinds are in
    :mod:`vfiokit.vfio.errors`.
    """

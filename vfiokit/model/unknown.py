"""The value of what could not be read."""

from dataclasses import dataclass
from typing import TypeVar

__all__ = ["NOT_READ", "Unknown", "known"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Unknown:
    """Stands for a value that exists but could not be read or understood.

    It is false, equals only another unknown of the same reason, and never passes a check.

    :ivar reason: why, in a few words.
    """

    reason: str

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"unknown ({self.reason})"


NOT_READ = Unknown("not read")
"""The value of what the caller did not ask a scan to read."""


def known(value: _T | Unknown, default: _T) -> _T:
    """Return *value*, or *default* where it is unknown."""
    return default if isinstance(value, Unknown) else value

"""What may go wrong with a write to a simulated kernel."""

from dataclasses import dataclass
from enum import Enum

__all__ = ["Crash", "Fault", "Killed"]


class Killed(BaseException):
    """The process died here: what is under test must not be able to handle it."""


class Crash(Enum):
    """When the process dies, seen from a write."""

    NEVER = "never"
    BEFORE = "before the write reaches the kernel"
    AFTER = "after the kernel has done it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, once or from then on.

    :ivar at: the number of the write, counted from 0 over the kernel's life; ``None`` for any.
    :ivar path: the end of the path that is written, empty for any.
    :ivar errno: the error that the kernel answers without doing anything.
    :ivar delay: seconds that the write takes.
    :ivar hang: whether the write never returns; what it was to do is not done.
    :ivar crash: whether the process dies, and when.
    :ivar lasting: whether it goes wrong every time.
    """

    at: int | None = None
    path: str = ""
    errno: int | None = None
    delay: float = 0.0
    hang: bool = False
    crash: Crash = Crash.NEVER
    lasting: bool = False

    def strikes(self, number: int, path: str) -> bool:
        """Whether it strikes a write."""
        return self.at in (None, number) and path.endswith(self.path)

"""Write every call to stderr as it is made: ``VFIOKIT_TRACE=1``."""

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

from vfiokit._native import ffi
from vfiokit._native.table import Argument, Call
from vfiokit.vfio.system import System
from vfiokit.vfio.window import Window

__all__ = ["TracingSystem", "describe"]

_Answer = TypeVar("_Answer")


class TracingSystem:
    """A system that tells what it does, a line for each call: fields going in, answer, fields coming out.

    Accesses to mapped memory are not traced: they are no calls.
    """

    def __init__(self, inner: System, stream: TextIO | None = None) -> None:
        self._inner, self._stream = inner, stream

    def open(self, path: str, flags: int) -> int:
        """Open a file."""
        return self._tell(f'open("{path}")', lambda: self._inner.open(path, flags))

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        self._tell(f"close({fd})", lambda: self._inner.close(fd))

    def ioctl(self, fd: int, call: Call, argument: Any) -> int:
        """Make a call with a pointer."""
        before = describe(call, argument)
        started = time.perf_counter()
        answer = self._inner.ioctl(fd, call, argument)
        after = describe(call, argument)
        changed = f" -> {after}" if after != before else ""
        self._line(f"{call.name}({fd}, {before}) = {answer}{changed}", started)
        return answer

    def ioctl_value(self, fd: int, call: Call, value: int) -> int:
        """Make a call with a number."""
        return self._tell(f"{call.name}({fd}, {value})", lambda: self._inner.ioctl_value(fd, call, value))

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Read from a place."""
        return self._tell(f"pread({fd}, {size}, {offset:#x})", lambda: self._inner.pread(fd, size, offset))

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write to a place."""
        what = f"pwrite({fd}, {data.hex()}, {offset:#x})"
        return self._tell(what, lambda: self._inner.pwrite(fd, data, offset))

    def map(
        self, fd: int, offset: int, size: int, *, writable: bool, keep_on_fork: bool, subject: str
    ) -> Window:
        """Map part of a descriptor."""
        return self._tell(
            f"mmap({fd}, {offset:#x}, {size:#x})",
            lambda: self._inner.map(
                fd, offset, size, writable=writable, keep_on_fork=keep_on_fork, subject=subject
            ),
        )

    def eventfd(self) -> int:
        """Make an eventfd."""
        return self._tell("eventfd()", self._inner.eventfd)

    def read(self, eventfd: int) -> int:
        """Read an eventfd."""
        return self._tell(f"read({eventfd})", lambda: self._inner.read(eventfd))

    def wait(self, eventfd: int, timeout: float | None) -> int:
        """Wait for an eventfd."""
        return self._tell(f"wait({eventfd}, {timeout})", lambda: self._inner.wait(eventfd, timeout))

    def _tell(self, what: str, action: Callable[[], _Answer]) -> _Answer:
        started = time.perf_counter()
        try:
            answer = action()
        except OSError as error:
            self._line(f"{what} = {error.strerror}", started)
            raise
        shown = answer.hex() if isinstance(answer, bytes) else answer
        self._line(f"{what} = {shown}", started)
        return answer

    def _line(self, text: str, started: float) -> None:
        took = (time.perf_counter() - started) * 1e6
        print(f"vfiokit: {text} <{took:.0f} us>", file=self._stream or sys.stderr)


def describe(call: Call, argument: Any) -> str:
    """Write an argument as the table knows it: the members that are not zero."""
    if call.argument is Argument.STRUCT:
        return fields(ffi.cast(f"struct {call.struct} *", argument)[0])
    if call.argument is Argument.FD:
        return str(ffi.cast("int32_t *", argument)[0])
    if call.argument is Argument.STRING:
        text: bytes = ffi.string(ffi.cast("char *", argument))
        return repr(text.decode(errors="replace"))
    return ""


def fields(cdata: Any) -> str:
    """Write a structure's members, without its size, zeros and trailing arrays."""
    shown = []
    for name, field in ffi.typeof(cdata).fields[1:]:
        if field.type.kind == "primitive" and (value := int(getattr(cdata, name))):
            shown.append(f"{name}={value:#x}" if value > 9 else f"{name}={value}")
    return "{" + " ".join(shown) + "}"

"""How every call is made: a structure that knows its size, one place where a refusal becomes an error."""

import os
from functools import cache
from typing import Any, Protocol

from vfiokit._native import ffi
from vfiokit._native.table import BY_NAME, Call
from vfiokit.errors import VfioError

__all__ = ["BaseCalls", "Kernel"]

_NOTHING = ffi.NULL
_REPLY_LIMIT = 1 << 20
"""More than any reply can need: a reply that wants more is no reply."""


class Kernel(Protocol):
    """What answers the calls."""

    def ioctl(self, fd: int, call: Call, argument: Any) -> int:
        """Make a call with a pointer, or ``ffi.NULL``; at least 0, or -errno."""
        ...

    def ioctl_value(self, fd: int, call: Call, value: int) -> int:
        """Make a call with a number as its argument; at least 0, or -errno."""
        ...


class BaseCalls:
    """What the groups of calls share.

    :ivar subjects: what to call a descriptor in an error, by its number.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._ioctl = kernel.ioctl
        self.subjects: dict[int, str] = {}

    def _do(self, name: str, fd: int, argument: Any = None) -> int:
        """Make a call by its kernel name.

        :raises VfioError: with the call's name, the descriptor's subject and the errno.
        """
        answer = self._ioctl(fd, BY_NAME[name], _NOTHING if argument is None else argument)
        return answer if answer >= 0 else self._refused(name, fd, -answer)

    def _do_value(self, name: str, fd: int, value: int) -> int:
        answer = self.kernel.ioctl_value(fd, BY_NAME[name], value)
        return answer if answer >= 0 else self._refused(name, fd, -answer)

    def _refused(self, name: str, fd: int, errno: int) -> int:
        subject = self.subjects.get(fd, f"descriptor {fd}")
        raise VfioError(os.strerror(errno), operation=name, subject=f"for {subject}", errno=errno)

    def _reply(self, name: str, fd: int, **fields: int) -> bytes:
        """Call until the reply fits (the argsz protocol), and return all of it.

        The kernel says in ``argsz`` how much it would have written, and that may grow between two calls.
        """
        struct = f"struct {BY_NAME[name].struct}"
        size = ffi.sizeof(struct)
        while size <= _REPLY_LIMIT:
            memory = ffi.new("char[]", size)
            argument = ffi.cast(f"{struct} *", memory)
            argument.argsz = size
            for field, value in fields.items():
                setattr(argument, field, value)
            self._do(name, fd, argument)
            if argument.argsz <= size:
                return bytes(ffi.buffer(memory, size))
            size = argument.argsz
        raise VfioError(
            f"the kernel asks for {size} bytes of reply",
            operation=name,
            subject=f"for {self.subjects.get(fd, f'descriptor {fd}')}",
        )


def sized(struct: str, field: str = "argsz", told: int | None = None, **fields: object) -> Any:
    """Make a zeroed structure with its size written into it.

    :param field: the member for the size.
    :param told: what to write there, for a shorter form that older kernels know; else all of it.
    """
    pointer, size = _layout(struct)
    argument = ffi.new(pointer)
    setattr(argument, field, size if told is None else told)
    for name, value in fields.items():
        setattr(argument, name, value)
    return argument


@cache
def _layout(struct: str) -> tuple[Any, int]:
    """Look a structure up once: cffi parses its name every time."""
    return ffi.typeof(f"struct {struct} *"), ffi.sizeof(f"struct {struct}")


def filled(struct: str, *members: int) -> Any:
    """Make a structure from its first members, which for the rest is zero: what is called often."""
    return ffi.new(_layout(struct)[0], members)


def address_of(cdata: Any) -> int:
    """Return the address of a C object, for a member that holds a pointer as a number."""
    return int(ffi.cast("uintptr_t", cdata))

"""How every call is made: a structure that knows its size, one place where a refusal becomes an error."""

import os
from collections.abc import Callable
from functools import cache
from types import MethodType
from typing import Any, NoReturn, Protocol, runtime_checkable

from vfiokit._native import ffi, lib
from vfiokit._native.table import BY_NAME, Call
from vfiokit.errors import VfioError

__all__ = ["BaseCalls", "Direct", "Kernel", "Quick"]

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


class Quick(Protocol):
    """Calls whose structures are numbers, with no C object between: the module ``vfiokit._native.quick``.

    :ivar exchange: takes the calls' object, a call's name, a descriptor and the first members; returns all.
    :ivar ask: takes an index before the descriptor, and returns that member.
    :ivar tell: returns nothing.
    """

    exchange: Callable[..., tuple[int, ...]]
    ask: Callable[..., int]
    tell: Callable[..., None]


@runtime_checkable
class Direct(Protocol):
    """A kernel that may be asked past :meth:`Kernel.ioctl`."""

    quick: Quick


class BaseCalls:
    """What the groups of calls share.

    :ivar subjects: what to call a descriptor in an error, by its number.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._ioctl = kernel.ioctl
        self._exchange: Callable[..., tuple[int, ...]] = self._exchange_object
        self._ask: Callable[..., int] = self._ask_object
        self._tell: Callable[..., object] = self._exchange_object
        if isinstance(kernel, Direct):
            # Bound as methods are: they come back to _describe and _refused.
            self._exchange = MethodType(kernel.quick.exchange, self)
            self._ask = MethodType(kernel.quick.ask, self)
            self._tell = MethodType(kernel.quick.tell, self)
        self.subjects: dict[int, str] = {}

    def _do(self, name: str, fd: int, argument: Any = None) -> int:
        """Make a call by its kernel name.

        :raises VfioError: with the call's name, the descriptor's subject and the errno.
        """
        answer = self._ioctl(fd, BY_NAME[name], _NOTHING if argument is None else argument)
        return answer if answer >= 0 else self._refused(name, fd, -answer)

    def _exchange_object(self, name: str, fd: int, *members: int) -> tuple[int, ...]:
        """Make a call with a structure of numbers, given from the first; return them as it left them."""
        argument = ffi.new(_layout(BY_NAME[name].struct)[0], members)
        self._do(name, fd, argument)
        return tuple(int(getattr(argument, member)) for member, _ in _members(name))

    def _ask_object(self, name: str, index: int, fd: int, *members: int) -> int:
        return self._exchange_object(name, fd, *members)[index]

    def _describe(self, name: str) -> tuple[int, bytes]:
        codes = "".join(_CODES[kind] for _, kind in _members(name))
        return getattr(lib, name), codes.encode()

    def _do_value(self, name: str, fd: int, value: int) -> int:
        answer = self.kernel.ioctl_value(fd, BY_NAME[name], value)
        return answer if answer >= 0 else self._refused(name, fd, -answer)

    def _refused(self, name: str, fd: int, errno: int) -> NoReturn:
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


_CODES = {
    "uint8_t": "B",
    "uint16_t": "H",
    "uint32_t": "I",
    "uint64_t": "Q",
    "int32_t": "i",
    "int64_t": "q",
}


@cache
def _members(name: str) -> tuple[tuple[str, str], ...]:
    """Return names and types of a structure's numbers; an array without a length at its end is left out."""
    struct = ffi.typeof(f"struct {BY_NAME[name].struct}")
    members = tuple(
        (member, field.type) for member, field in struct.fields if field.type.kind == "primitive"
    )
    if sum(ffi.sizeof(kind) for _, kind in members) != ffi.sizeof(struct):
        raise ValueError(f"{struct.cname} has more than numbers")
    return tuple((member, kind.cname) for member, kind in members)


def address_of(cdata: Any) -> int:
    """Return the address of a C object, for a member that holds a pointer as a number."""
    return int(ffi.cast("uintptr_t", cdata))

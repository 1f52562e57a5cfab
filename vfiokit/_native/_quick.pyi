"""What the hand-written part offers; a test compares these names with the built module's."""

from typing import NoReturn, Protocol

class Accessors:
    """Accessors on a ``struct vfiokit_window``; a subclass says in ``_refuse()`` what is wrong.

    :ivar address: where the structure is, for cffi.
    """

    @property
    def address(self) -> int: ...
    def read8(self, offset: int, /) -> int: ...
    def read16(self, offset: int, /) -> int: ...
    def read32(self, offset: int, /) -> int: ...
    def read64(self, offset: int, /) -> int: ...
    def write8(self, offset: int, value: int, /) -> None: ...
    def write16(self, offset: int, value: int, /) -> None: ...
    def write32(self, offset: int, value: int, /) -> None: ...
    def write64(self, offset: int, value: int, /) -> None: ...
    def doorbell32(self, offset: int, value: int, /) -> None: ...
    def doorbell64(self, offset: int, value: int, /) -> None: ...

class _Calls(Protocol):
    def _describe(self, name: str) -> tuple[int, bytes]:
        """Return the request and a letter for each member, as the struct module has them: ``BHIQiq``."""
    def _refused(self, name: str, fd: int, errno: int) -> NoReturn: ...

def exchange(calls: _Calls, name: str, fd: int, /, *members: int) -> tuple[int, ...]:
    """Make an ioctl with a structure of numbers, and return its members as the kernel left them.

    :param calls: says what a call looks like, once, and raises what a refusal means.
    :param members: the first of them; the rest is zero.
    """

def ask(calls: _Calls, name: str, index: int, fd: int, /, *members: int) -> int:
    """Make such a call, and return one member as the kernel left it: -1 is the last."""

def tell(calls: _Calls, name: str, fd: int, /, *members: int) -> None:
    """Make such a call whose members nobody needs."""

"""Windows on a region: accessors that make exactly the access that their name says.

Python's own ways do not: ``struct.pack_into`` stores 0, 0 and then the value, a slice of an ``mmap``
stores twice, a ``ctypes`` store reads first. Each of these breaks a doorbell, a FIFO or a register that is
cleared by writing one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from vfiokit.vfio.errors import Closed, Misaligned, OutOfBounds

__all__ = ["Window", "check_access", "closed", "does_not_fit"]

_WIDTHS = (1, 2, 4, 8)


def check_access(offset: int, width: int, size: int, subject: str, *, length: int | None = None) -> None:
    """Say what is wrong with an access, if something is.

    :param length: bytes of a block made of accesses of *width*, else one access.
    :raises OutOfBounds: if it does not lie in *size* bytes, or the width is none of 1, 2, 4 and 8.
    :raises Misaligned: if offset or length is no multiple of the width.
    """
    span = width if length is None else length
    if width in _WIDTHS and 0 <= offset <= size - span and span >= 0 and not (offset | span) & (width - 1):
        return
    if width not in _WIDTHS:
        raise OutOfBounds(
            f"a width of {width} bytes", operation="access", subject=subject, hint="1, 2, 4, 8"
        )
    what = (
        f"{width}-byte access at offset {offset:#x}" if length is None else f"{length} bytes at {offset:#x}"
    )
    if not 0 <= offset <= size - span or span < 0:
        raise OutOfBounds(f"{what} leaves {size:#x} bytes", operation="access", subject=subject)
    raise Misaligned(
        f"{what} is not aligned to {width}",
        operation="access",
        subject=subject,
        hint="two accesses of half the width, if the device allows them: read64_lo_hi",
    )


class Window(ABC):
    """Accessors on a region; offsets are from the region's start, values as the device means them.

    Registers of PCI devices are little endian, and so they are read on every host. A block copy goes upwards
    in accesses of one width. Threads may use a window together but must not close it under each other.

    :ivar size: bytes.
    :ivar mode: ``mmap``, ``syscall``, or ``mixed`` where part of the region cannot be mapped.
    :ivar subject: what to call it in an error.
    """

    mode: str
    size: int
    subject: str

    @abstractmethod
    def read8(self, offset: int, /) -> int:
        """Read one byte by one 8-bit access."""

    @abstractmethod
    def read16(self, offset: int, /) -> int:
        """Read by one 16-bit access.

        :raises OutOfBounds: if it does not lie in the region.
        :raises Misaligned: if *offset* is odd.
        :raises DecodeOff: if the device does not decode memory, where that can be told without dying.
        """

    @abstractmethod
    def read32(self, offset: int, /) -> int:
        """Read by one 32-bit access; errors as :meth:`read16`."""

    @abstractmethod
    def read64(self, offset: int, /) -> int:
        """Read by one 64-bit access; errors as :meth:`read16`."""

    @abstractmethod
    def write8(self, offset: int, value: int, /) -> None:
        """Write one byte by one 8-bit access."""

    @abstractmethod
    def write16(self, offset: int, value: int, /) -> None:
        """Write by one 16-bit access.

        :raises OutOfBounds: if it does not lie in the region, or *value* does not fit.
        :raises Misaligned: if *offset* is odd.
        :raises ReadOnly: if the region cannot be written.
        """

    @abstractmethod
    def write32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access; errors as :meth:`write16`."""

    @abstractmethod
    def write64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access; errors as :meth:`write16`."""

    @abstractmethod
    def doorbell32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access, once the device can see all that was written to memory."""

    @abstractmethod
    def doorbell64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access, once the device can see all that was written to memory."""

    @abstractmethod
    def read_block(self, offset: int, length: int, *, width: int) -> bytes:
        """Read *length* bytes by accesses of *width* bytes, upwards.

        :raises Misaligned: if *offset* or *length* is no multiple of *width*.
        """

    @abstractmethod
    def write_block(self, offset: int, data: bytes | bytearray | memoryview, *, width: int) -> None:
        """Write *data* by accesses of *width* bytes, upwards; errors as :meth:`read_block`."""

    @abstractmethod
    def close(self) -> None:
        """Give the window up; closing twice is nothing."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it was given up."""

    def forget(self) -> None:
        """Give it up in a forked child, which has no mapping of it."""
        self.close()

    def read64_lo_hi(self, offset: int) -> int:
        """Read 64 bits by two 32-bit accesses, the lower half first."""
        low = self.read32(offset)
        return low | self.read32(offset + 4) << 32

    def read64_hi_lo(self, offset: int) -> int:
        """Read 64 bits by two 32-bit accesses, the upper half first."""
        high = self.read32(offset + 4)
        return high << 32 | self.read32(offset)

    def write64_lo_hi(self, offset: int, value: int) -> None:
        """Write 64 bits by two 32-bit accesses, the lower half first."""
        self.write32(offset, value & 0xFFFFFFFF)
        self.write32(offset + 4, value >> 32)

    def write64_hi_lo(self, offset: int, value: int) -> None:
        """Write 64 bits by two 32-bit accesses, the upper half first."""
        self.write32(offset + 4, value >> 32)
        self.write32(offset, value & 0xFFFFFFFF)

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.size:#x} bytes by {self.mode}"
        return f"<{type(self).__name__} on {self.subject}: {state}>"


def closed(subject: str) -> Closed:
    """Make the error of an access through a window that was given up."""
    return Closed("it was closed", operation="access", subject=subject)


def does_not_fit(value: int, width: int, subject: str) -> OutOfBounds:
    """Make the error of a value that is too large for *width* bytes, or negative."""
    return OutOfBounds(f"{value:#x} does not fit in {8 * width} bits", operation="write", subject=subject)

"""What a config space is read from: bytes, or a reader that fetches what is asked for and nothing else."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

__all__ = ["EXTENDED_SIZE", "BytesImage", "Image", "Origin", "SparseImage"]

EXTENDED_SIZE = 4096
"""Bytes of the largest config space (PCIe 6.0, 7.2)."""

_DWORD = 4
_HEADER_SIZE = 64
_ENDS = (64, 128, 256)


class Origin(StrEnum):
    """Where bytes come from, which tells why some are missing."""

    KERNEL = "kernel"
    DUMP = "dump"
    BYTES = "bytes"


class Image(Protocol):
    """Bytes of a config space, from offset 0: those below :attr:`limit` exist, those ensured are there.

    Synchronization: one user at a time.
    """

    data: bytes | bytearray
    """The bytes; zeros where they were not fetched."""
    limit: int
    """The end of what can be read, as far as it is known."""
    origin: Origin
    """Where they come from."""
    is_complete: bool
    """Whether all bytes are there, so that none needs to be fetched."""

    def ensure(self, offset: int, size: int) -> bool:
        """Make *size* bytes at *offset* available; false if some of them cannot be read."""
        ...


class BytesImage:
    """A config space that is in memory; what is beyond its end cannot be read; a short header is zeros."""

    __slots__ = ("data", "limit", "origin")

    is_complete = True

    def __init__(self, data: bytes, origin: Origin = Origin.BYTES) -> None:
        self.limit = min(len(data), EXTENDED_SIZE)
        self.data: bytes | bytearray = (
            data if self.limit >= _HEADER_SIZE else data.ljust(_HEADER_SIZE, b"\0")
        )
        self.origin = origin

    def ensure(self, offset: int, size: int) -> bool:
        """Tell whether the bytes exist."""
        return offset + size <= self.limit


class SparseImage:
    """A config space behind a reader, fetched in aligned dwords and each of them once.

    A config read is a transaction to the device, in a virtual machine a trap, and undefined registers of
    some chips do not answer: so nothing is fetched that is not decoded.

    :ivar log: what was read: offset and size, in order.
    """

    __slots__ = ("_present", "_read", "data", "limit", "log", "origin")

    is_complete = False

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        *,
        size: int = EXTENDED_SIZE,
        origin: Origin = Origin.KERNEL,
    ) -> None:
        self._read = read
        self._present = bytearray(size // _DWORD)
        self.data: bytes | bytearray = bytearray(size)
        self.limit = size
        self.origin = origin
        self.log: list[tuple[int, int]] = []

    def ensure(self, offset: int, size: int) -> bool:
        """Fetch what is missing; a short answer says where the space ends for this reader."""
        end = min(offset + size, self.limit)
        first = missing = offset // _DWORD
        last = (end + _DWORD - 1) // _DWORD
        while missing < last:
            if self._present[missing]:
                missing += 1
                continue
            first = missing
            while missing < last and not self._present[missing]:
                missing += 1
            if not self._fetch(first, missing):
                break
        return offset + size <= self.limit

    def _fetch(self, first: int, last: int) -> bool:
        start, size = first * _DWORD, (last - first) * _DWORD
        got = self._read(start, size)
        self.log.append((start, len(got)))
        assert isinstance(self.data, bytearray)
        self.data[start : start + len(got)] = got
        self._present[first : first + len(got) // _DWORD] = b"\1" * (len(got) // _DWORD)
        if len(got) < size:
            self.limit = min(self.limit, start + len(got) if got else self._end_before(start))
            return False
        return True

    def _end_before(self, offset: int) -> int:
        """Find out where the space ends for this reader, who got nothing at *offset*.

        An unprivileged one sees the header alone; conventional functions have 256 bytes.
        """
        for end in _ENDS:
            if end < offset and not self._present[end // _DWORD] and not self._read(end, _DWORD):
                return end
        return offset

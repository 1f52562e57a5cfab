"""The two capability lists of a config space, walked so that no content can hang or crash the walk."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from struct import Struct
from typing import NamedTuple

__all__ = [
    "CapabilityId",
    "ExtendedId",
    "Found",
    "Hazard",
    "extended",
    "extended_in",
    "plain_extended",
    "plain_standard",
    "standard",
    "standard_in",
]

Read = Callable[[int, int], bytes]
"""Reads at most ``size`` bytes at ``offset``: ``read(offset, size)``; fewer where they are not readable."""

_STATUS = 0x06
_STATUS_CAP_LIST = 0x10
_CAPABILITY_POINTER = 0x34
_CARDBUS_POINTER = 0x14
_HEADER_END = 0x40
_EXTENDED_START = 0x100
_EXTENDED_END = 0x1000
_ONES = 0xFFFFFFFF
_MOST_STANDARD = (0x100 - _HEADER_END) // 4
_MOST_EXTENDED = (_EXTENDED_END - _EXTENDED_START) // 4
_HEAD = Struct("<I")


class CapabilityId:
    """Identifiers of standard capabilities (PCI Code and ID Assignment Specification, 2)."""

    VPD = 0x03
    PCI_X = 0x07
    PCI_EXPRESS = 0x10


class ExtendedId:
    """Identifiers of extended capabilities (PCI Code and ID Assignment Specification, 3)."""

    DEVICE_SERIAL_NUMBER = 0x0003
    ACS = 0x000D


class Hazard(StrEnum):
    """What is wrong with a list; but for misalignment it ends there."""

    LOOP = "loop"
    BROKEN = "broken"
    POINTER = "pointer"
    MISALIGNED = "misaligned"
    UNREADABLE = "unreadable"


Data = bytes | bytearray
Ensure = Callable[[int, int], bool]
"""Makes *size* bytes at *offset* available; false if they cannot all be read."""
Report = Callable[[Hazard, int], None]
"""Takes what is wrong and the offset at which it was met."""


class Found(NamedTuple):
    """One capability: its identifier and where it starts, in bytes."""

    id: int
    offset: int


_new = tuple.__new__
"""Makes a named tuple without a call in Python."""


def _ignore(hazard: Hazard, offset: int) -> None:
    """Take what is wrong, and forget it."""


def standard(
    read: Read, *, cardbus: bool = False, floor: int = _HEADER_END, report: Report = _ignore
) -> Iterator[Found]:
    """Yield the standard capabilities in list order (PCI 3.0, 6.7).

    A pointer into the header, one that was seen before, the identifier 0xff, or bytes that cannot be read
    end the list.

    :param cardbus: whether the header is that of a CardBus bridge, whose pointer stands elsewhere.
    :param floor: the lowest offset that a pointer may have.
    :param report: is told what ended the list, other than its end.
    """
    reader = _Reader(read, _EXTENDED_START)
    return standard_in(reader.data, reader.ensure, cardbus=cardbus, floor=floor, report=report)


def extended(read: Read, *, floor: int = _EXTENDED_START, report: Report = _ignore) -> Iterator[Found]:
    """Yield the extended capabilities in list order (PCIe 6.0, 7.6.3).

    An all-ones or all-zeros header, a pointer below 0x100, one that was seen before, or bytes that
    cannot be read end the list.

    :param floor: the lowest offset that a pointer may have.
    :param report: is told what ended the list, other than its end.
    """
    reader = _Reader(read, _EXTENDED_END)
    return extended_in(reader.data, reader.ensure, floor=floor, report=report)


def standard_in(
    data: Data,
    ensure: Ensure,
    *,
    cardbus: bool = False,
    floor: int = _HEADER_END,
    report: Report = _ignore,
) -> Iterator[Found]:
    """Do what :func:`standard` does, over bytes that *ensure* makes available."""
    if not ensure(_STATUS, 2) or not data[_STATUS] & _STATUS_CAP_LIST:
        return
    seen: set[int] = set()
    pointer = _CARDBUS_POINTER if cardbus else _CAPABILITY_POINTER
    following = data[pointer] if ensure(pointer, 1) else 0
    while following:
        offset = following & ~3
        if offset != following:
            report(Hazard.MISALIGNED, following)
        if offset < floor:
            if offset:
                report(Hazard.POINTER, offset)
            return
        if not ensure(offset, 2):
            report(Hazard.UNREADABLE, offset)
            return
        number = data[offset]
        if offset in seen or number == 0xFF:
            report(Hazard.LOOP if offset in seen else Hazard.BROKEN, offset)
            return
        seen.add(offset)
        yield Found(number, offset)
        following = data[offset + 1]


def extended_in(
    data: Data, ensure: Ensure, *, floor: int = _EXTENDED_START, report: Report = _ignore
) -> Iterator[Found]:
    """Do what :func:`extended` does, over bytes that *ensure* makes available."""
    seen: set[int] = set()
    offset = _EXTENDED_START
    while offset:
        if offset < floor:
            report(Hazard.POINTER, offset)
            return
        readable = ensure(offset, 4)
        head = int.from_bytes(data[offset : offset + 4], "little") if readable else 0
        if head in (0, _ONES):
            # At its very start the list is empty, and nothing is wrong.
            if seen:
                report(Hazard.BROKEN if readable else Hazard.UNREADABLE, offset)
            return
        if offset in seen:
            report(Hazard.LOOP, offset)
            return
        seen.add(offset)
        yield Found(head & 0xFFFF, offset)
        if head >> 20 & 3:
            report(Hazard.MISALIGNED, head >> 20)
        offset = head >> 20 & 0xFFC


def plain_standard(data: Data, limit: int, *, cardbus: bool) -> list[Found] | None:
    """Return a standard list in which nothing is wrong, fast; ``None`` for any other."""
    if limit < _HEADER_END:
        return None
    found: list[Found] = []
    if not data[_STATUS] & _STATUS_CAP_LIST:
        return found
    offset = data[_CARDBUS_POINTER if cardbus else _CAPABILITY_POINTER]
    while offset:
        number = data[offset] if _HEADER_END <= offset < limit - 1 and not offset & 3 else 0xFF
        if number == 0xFF or len(found) >= _MOST_STANDARD:
            return None
        found.append(_new(Found, (number, offset)))
        offset = data[offset + 1]
    return found


def plain_extended(data: Data, limit: int) -> list[Found] | None:
    """Return an extended list in which nothing is wrong, fast; ``None`` for any other."""
    found: list[Found] = []
    offset = _EXTENDED_START
    while offset:
        if not _EXTENDED_START <= offset <= limit - 4 or offset & 3 or len(found) >= _MOST_EXTENDED:
            return None
        (head,) = _HEAD.unpack_from(data, offset)
        if head in (0, _ONES):
            return None if found else found
        found.append(_new(Found, (head & 0xFFFF, offset)))
        offset = head >> 20
    return found


class _Reader:
    """Keeps what was read where it belongs."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self.data = bytearray(size)

    def ensure(self, offset: int, size: int) -> bool:
        got = self._read(offset, size)
        self.data[offset : offset + len(got)] = got
        return len(got) == size

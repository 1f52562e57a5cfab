"""The two capability lists of a config space, walked so that no content can hang or crash the walk."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["CapabilityId", "ExtendedId", "Found", "extended", "standard"]

Read = Callable[[int, int], bytes]
"""Reads at most ``size`` bytes at ``offset``: ``read(offset, size)``; fewer where they are not readable."""

_STATUS = 0x06
_STATUS_CAP_LIST = 0x10
_CAPABILITY_POINTER = 0x34
_CARDBUS_POINTER = 0x14
_HEADER_END = 0x40
_EXTENDED_START = 0x100


class CapabilityId:
    """Identifiers of standard capabilities (PCI Code and ID Assignment Specification, 2)."""

    VPD = 0x03
    PCI_EXPRESS = 0x10


class ExtendedId:
    """Identifiers of extended capabilities (PCI Code and ID Assignment Specification, 3)."""

    DEVICE_SERIAL_NUMBER = 0x0003
    ACS = 0x000D


class Found(NamedTuple):
    """One capability: its identifier and where it starts, in bytes."""

    id: int
    offset: int


def standard(read: Read, *, cardbus: bool = False) -> Iterator[Found]:
    """Yield the standard capabilities in list order (PCI 3.0, 6.7).

    A pointer into the header, one that was seen before, or bytes that cannot be read end the list.
    """
    status = read(_STATUS, 2)
    if len(status) < 2 or not status[0] & _STATUS_CAP_LIST:
        return
    seen: set[int] = set()
    offset = _byte(read(_CARDBUS_POINTER if cardbus else _CAPABILITY_POINTER, 1))
    while (offset := offset & ~3) >= _HEADER_END and offset not in seen:
        seen.add(offset)
        head = read(offset, 2)
        if len(head) < 2 or head[0] == 0xFF:
            return
        yield Found(head[0], offset)
        offset = head[1]


def extended(read: Read) -> Iterator[Found]:
    """Yield the extended capabilities in list order (PCIe 6.0, 7.6.3).

    An all-ones or all-zeros header, a pointer below 0x100, one that was seen before, or bytes that
    cannot be read end the list.
    """
    seen: set[int] = set()
    offset = _EXTENDED_START
    while offset >= _EXTENDED_START and offset not in seen:
        seen.add(offset)
        data = read(offset, 4)
        head = int.from_bytes(data, "little") if len(data) == 4 else 0
        if head in (0, 0xFFFFFFFF):
            return
        yield Found(head & 0xFFFF, offset)
        offset = head >> 20 & 0xFFC


def _byte(data: bytes) -> int:
    return data[0] if data else 0

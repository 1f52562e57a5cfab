"""Read and answer what an iommufd's queues deliver: page requests, and events of virtual IOMMUs.

Pure functions over bytes, as :mod:`vfiokit.vfio.replies` is: what ``os.read`` gave of the descriptors of
``iommu_fault_queue_alloc`` and ``iommu_veventq_alloc``.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from vfiokit.vfio.errors import BadReply

__all__ = [
    "FaultAccess",
    "PageAnswer",
    "PageRequest",
    "VirtualEvent",
    "page_requests",
    "page_responses",
    "virtual_events",
]

_REQUEST = struct.Struct("=6IQ2I")
_RESPONSE = struct.Struct("=2I")
_EVENT = struct.Struct("=2I")
_PASID_VALID, _LAST_PAGE = 1, 2
_LOST = 1


class FaultAccess(IntFlag):
    """What a page is requested for (``IOMMU_PGFAULT_PERM_*``)."""

    READ, WRITE, EXECUTE, PRIVILEGED = (1 << bit for bit in range(4))


class PageAnswer(IntEnum):
    """The answer to a group of requests (``IOMMUFD_PAGE_RESP_*``)."""

    SUCCESS = 0
    INVALID = 1


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page that a device wants (``struct iommu_hwpt_pgfault``).

    :ivar device: the iommufd's object for the device.
    :ivar pasid: the address space within the device, ``None`` for none.
    :ivar group: the requests that are answered together have the same.
    :ivar address: where, in the page table's addresses.
    :ivar length: bytes that the device expects to want from there, 0 if it does not say.
    :ivar cookie: what the answer must name.
    :ivar last: whether it is the last of its group, the one to answer after.
    """

    device: int
    pasid: int | None
    group: int
    access: FaultAccess
    address: int
    length: int
    cookie: int
    last: bool


@dataclass(frozen=True, slots=True)
class VirtualEvent:
    """An event of a virtual IOMMU (``struct iommufd_vevent_header`` and what follows it).

    :ivar sequence: counts events, lost ones too, and begins anew at 2**31.
    :ivar data: the event in its type's own layout; empty where *lost*.
    :ivar lost: the queue was full, and events up to here are lost.
    """

    sequence: int
    data: bytes
    lost: bool = False


def page_requests(data: bytes) -> tuple[PageRequest, ...]:
    """Read what a fault queue gave; reading whole requests is up to the caller: 40 bytes each.

    :raises BadReply: if it is no whole number of requests.
    """
    if len(data) % _REQUEST.size:
        raise BadReply(f"{len(data)} bytes are no whole number of page requests")
    return tuple(_request(*fields) for fields in _REQUEST.iter_unpack(data))


def page_responses(answers: Iterable[tuple[int, PageAnswer]]) -> bytes:
    """Return what to write to a fault queue: for each cookie its answer."""
    return b"".join(_RESPONSE.pack(cookie, answer) for cookie, answer in answers)


def virtual_events(data: bytes, size: int) -> tuple[VirtualEvent, ...]:
    """Read what a queue of a virtual IOMMU's events gave.

    :param size: bytes of an event of the queue's type, after its header.
    :raises BadReply: if an event is cut off.
    """
    found = []
    place = 0
    while place < len(data):
        if place + _EVENT.size > len(data):
            raise BadReply(f"an event at offset {place:#x} of {len(data)} bytes")
        flags, sequence = _EVENT.unpack_from(data, place)
        lost = bool(flags & _LOST)
        place, start = place + _EVENT.size + (0 if lost else size), place + _EVENT.size
        if place > len(data):
            raise BadReply(f"an event of {size} bytes at offset {start:#x} of {len(data)} bytes")
        found.append(VirtualEvent(sequence, data[start:place], lost))
    return tuple(found)


def _request(
    flags: int,
    device: int,
    pasid: int,
    group: int,
    access: int,
    _: int,
    address: int,
    length: int,
    cookie: int,
) -> PageRequest:
    return PageRequest(
        device=device,
        pasid=pasid if flags & _PASID_VALID else None,
        group=group,
        access=FaultAccess(access),
        address=address,
        length=length,
        cookie=cookie,
        last=bool(flags & _LAST_PAGE),
    )

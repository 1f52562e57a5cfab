"""Read the kernel's variable replies: chains of capabilities, lists of functions, ranges of addresses.

Pure functions over bytes. Nothing in a reply is trusted: offsets may leave it, chains may loop, counts may
lie, and each of these is a :class:`~vfiokit.vfio.errors.BadReply`. An unknown capability stays as it is.
"""

import struct
from dataclasses import dataclass
from enum import IntFlag
from itertools import pairwise
from typing import Any

from vfiokit.address import AddressRange, PciAddress
from vfiokit.vfio.errors import BadReply

__all__ = [
    "Capability",
    "DependentDevice",
    "DeviceFlags",
    "DeviceInfo",
    "IrqFlags",
    "RegionFlags",
    "RegionInfo",
    "Type1Info",
    "capability_chain",
    "device_info",
    "hot_reset_info",
    "iova_ranges",
    "region_info",
    "type1_info",
]

_DEVICE = struct.Struct("=5I")
_REGION = struct.Struct("=4IQQ")
_TYPE1 = struct.Struct("=IIQI")
_HEADER = struct.Struct("=HHI")
_PAIR = struct.Struct("=QQ")
_COUNT = struct.Struct("=II")
_DEPENDENT = struct.Struct("=IHBB")
_HOT_RESET = struct.Struct("=3I")

_REGION_SPARSE_MMAP, _REGION_TYPE, _REGION_MSIX_MAPPABLE = 1, 2, 3
_TYPE1_IOVA_RANGE, _TYPE1_MIGRATION, _TYPE1_DMA_AVAIL = 1, 2, 3


class DeviceFlags(IntFlag):
    """``vfio_device_info.flags``."""

    RESET, PCI, PLATFORM, AMBA, CCW, AP, FSL_MC, CAPS, CDX = (1 << bit for bit in range(9))


class RegionFlags(IntFlag):
    """``vfio_region_info.flags``."""

    READ, WRITE, MMAP, CAPS = (1 << bit for bit in range(4))


class IrqFlags(IntFlag):
    """``vfio_irq_info.flags``."""

    EVENTFD, MASKABLE, AUTOMASKED, NORESIZE = (1 << bit for bit in range(4))


@dataclass(frozen=True, slots=True)
class Capability:
    """A piece of a reply that the kernel chained to it.

    :ivar id: what it is, by the reply's own numbering.
    :ivar version: of its layout.
    :ivar data: all that follows its header, to the next capability by place or the reply's end.
    """

    id: int
    version: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What ``VFIO_DEVICE_GET_INFO`` says."""

    flags: DeviceFlags
    num_regions: int
    num_irqs: int
    capabilities: tuple[Capability, ...] = ()


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """What ``VFIO_DEVICE_GET_REGION_INFO`` says.

    :ivar index: the region's number.
    :ivar size: its bytes, 0 for a BAR that is not there.
    :ivar offset: where it begins in the device's descriptor.
    :ivar mappable: the parts that may be mapped, in offsets from the region's start.
    :ivar type: type and subtype of a device-specific region, else ``None``.
    :ivar msix_mappable: whether the MSI-X table's page may be mapped with the rest.
    """

    index: int
    flags: RegionFlags
    size: int
    offset: int
    mappable: tuple[AddressRange, ...] = ()
    type: tuple[int, int] | None = None
    msix_mappable: bool = False
    capabilities: tuple[Capability, ...] = ()


@dataclass(frozen=True, slots=True)
class Type1Info:
    """What ``VFIO_IOMMU_GET_INFO`` says.

    :ivar page_sizes: mask of page sizes.
    :ivar ranges: usable addresses, half open, or ``None`` where the kernel does not say (before 5.4).
    :ivar available: how many more mappings there can be, or ``None`` (before 5.10).
    :ivar dirty_page_sizes: mask of page sizes for dirty tracking, 0 without it.
    :ivar max_dirty_bitmap: bytes of the longest bitmap.
    """

    page_sizes: int
    ranges: tuple[AddressRange, ...] | None = None
    available: int | None = None
    dirty_page_sizes: int = 0
    max_dirty_bitmap: int = 0
    capabilities: tuple[Capability, ...] = ()


@dataclass(frozen=True, slots=True)
class DependentDevice:
    """A function that a hot reset touches.

    :ivar owner: the group's number, or with *by_device* an iommufd object: 0 owned otherwise, -1 not owned.
    """

    address: PciAddress
    owner: int


def capability_chain(data: bytes, first: int) -> tuple[Capability, ...]:
    """Follow a chain of ``vfio_info_cap_header`` from the offset *first*; 0 is the empty chain.

    :raises BadReply: if an offset leaves the reply or comes twice.
    """
    places: list[int] = []
    place = first
    while place:
        if place in places:
            raise BadReply(f"its capabilities loop at offset {place:#x}")
        if place % 4 or place + _HEADER.size > len(data):
            raise BadReply(f"a capability at offset {place:#x} of {len(data)} bytes")
        places.append(place)
        place = _HEADER.unpack_from(data, place)[2]
    ends = sorted([*places, len(data)])
    return tuple(_capability(data, place, ends[ends.index(place) + 1]) for place in places)


def device_info(data: bytes) -> DeviceInfo:
    """Read ``struct vfio_device_info``.

    :raises BadReply: if it does not hold together.
    """
    _, flags, regions, irqs, first = _unpack(_DEVICE, data)
    known = DeviceFlags(flags)
    chain = capability_chain(data, first) if known & DeviceFlags.CAPS else ()
    return DeviceInfo(known, regions, irqs, chain)


def region_info(data: bytes) -> RegionInfo:
    """Read ``struct vfio_region_info``.

    :raises BadReply: if it does not hold together, or a mappable part leaves the region.
    """
    _, flags, index, first, size, offset = _unpack(_REGION, data)
    if offset + size > 1 << 64:
        raise BadReply(f"region {index} of {size:#x} bytes at offset {offset:#x} leaves the descriptor")
    known = RegionFlags(flags)
    chain = capability_chain(data, first) if known & RegionFlags.CAPS else ()
    parts: tuple[AddressRange, ...] = (AddressRange(0, size),) if known & RegionFlags.MMAP and size else ()
    kind = None
    for capability in chain:
        if capability.id == _REGION_SPARSE_MMAP and parts:
            parts = _sparse(capability.data, size)
        elif capability.id == _REGION_TYPE:
            major, minor = _unpack(_COUNT, capability.data)
            kind = (major, minor)
    mappable = any(capability.id == _REGION_MSIX_MAPPABLE for capability in chain)
    return RegionInfo(index, known, size, offset, parts, kind, mappable, chain)


def type1_info(data: bytes) -> Type1Info:
    """Read ``struct vfio_iommu_type1_info``.

    :raises BadReply: if it does not hold together.
    """
    if len(data) < _TYPE1.size:
        raise BadReply(f"{len(data)} bytes where {_TYPE1.size} must be")
    _, flags, page_sizes, first = _TYPE1.unpack_from(data)
    chain = capability_chain(data, first) if flags & 2 else ()
    info: dict[str, Any] = {}
    for capability in chain:
        info |= _type1_capability(capability)
    return Type1Info(page_sizes if flags & 1 else 0, capabilities=chain, **info)


def hot_reset_info(data: bytes) -> tuple[int, tuple[DependentDevice, ...]]:
    """Read ``struct vfio_pci_hot_reset_info``: its flags and the functions.

    :raises BadReply: if it announces more functions than it holds.
    """
    _, flags, count = _unpack(_HOT_RESET, data)
    if count * _DEPENDENT.size > len(data) - _HOT_RESET.size:
        raise BadReply(f"{count} functions in {len(data)} bytes")
    rows = struct.iter_unpack(_DEPENDENT.format, data[_HOT_RESET.size :][: count * _DEPENDENT.size])
    return flags, tuple(
        DependentDevice(
            PciAddress(segment, bus, devfn >> 3, devfn & 7), owner - (1 << 32) * (owner == 0xFFFFFFFF)
        )
        for owner, segment, bus, devfn in rows
    )


def iova_ranges(data: bytes) -> tuple[AddressRange, ...]:
    """Read an array of first and last addresses, and return it half open, in order.

    :raises BadReply: if a range ends before it begins, or two overlap.
    """
    if len(data) % _PAIR.size:
        raise BadReply(f"{len(data)} bytes are no whole number of ranges")
    found = sorted(_PAIR.iter_unpack(data))
    for first, last in found:
        if last < first:
            raise BadReply(f"a range from {first:#x} to {last:#x}")
    ranges = tuple(AddressRange(first, last + 1) for first, last in found)
    for one, two in pairwise(ranges):
        if one.overlaps(two):
            raise BadReply(f"ranges {one} and {two} overlap")
    return ranges


def _capability(data: bytes, place: int, end: int) -> Capability:
    kind, version, _ = _HEADER.unpack_from(data, place)
    return Capability(kind, version, data[place + _HEADER.size : max(end, place + _HEADER.size)])


def _sparse(data: bytes, size: int) -> tuple[AddressRange, ...]:
    """Parts of a region that may be mapped; the rest, like an MSI-X table, goes by system call."""
    count = _unpack(_COUNT, data)[0]
    if count * _PAIR.size > len(data) - _COUNT.size:
        raise BadReply(f"{count} mappable parts in {len(data)} bytes")
    pairs = _PAIR.iter_unpack(data[_COUNT.size :][: count * _PAIR.size])
    parts = sorted(AddressRange(start, start + length) for start, length in pairs if length)
    if parts and parts[-1].end > size:
        raise BadReply(f"a mappable part {parts[-1]} leaves a region of {size:#x} bytes")
    for one, two in pairwise(parts):
        if one.overlaps(two):
            raise BadReply(f"mappable parts {one} and {two} overlap")
    return tuple(parts)


def _type1_capability(capability: Capability) -> dict[str, Any]:
    data = capability.data
    if capability.id == _TYPE1_IOVA_RANGE:
        count = _unpack(_COUNT, data)[0]
        if count * _PAIR.size > len(data) - _COUNT.size:
            raise BadReply(f"{count} ranges in {len(data)} bytes")
        return {"ranges": iova_ranges(data[_COUNT.size :][: count * _PAIR.size])}
    if capability.id == _TYPE1_MIGRATION:
        # The page sizes are aligned to eight bytes after the flags.
        if len(data) < 24:
            raise BadReply(f"{len(data)} bytes about dirty tracking")
        sizes, longest = _PAIR.unpack_from(data, 8)
        return {"dirty_page_sizes": sizes, "max_dirty_bitmap": longest}
    if capability.id == _TYPE1_DMA_AVAIL:
        return {"available": _unpack(struct.Struct("=I"), data)[0]}
    return {}


def _unpack(layout: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) < layout.size:
        raise BadReply(f"{len(data)} bytes where {layout.size} must be")
    return layout.unpack_from(data)

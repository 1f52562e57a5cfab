"""Device scopes: how a DMAR structure names PCI functions, and which function that is on this host.

A scope is a path from a bus, not an address: software numbers the bridges, so every hop but the last stands
for the bus that its bridge leads to (VT-d 8.3.1).
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from vfiokit.acpi.table import Framing, Reading, pack
from vfiokit.address import PciAddress
from vfiokit.bits import Field

__all__ = [
    "SCOPE_FLAGS",
    "DeviceScope",
    "ScopeType",
    "Topology",
    "build_scopes",
    "names",
    "parse_scopes",
    "resolve",
]

SCOPE_FLAGS = (
    # These positions rest on EDK2's DMAR header alone: Linux 6.12 holds the byte reserved.
    Field("REQ_WO_PASID_NESTED_NOTALLOWED", 0, meaning="requests without PASID may not be nested"),
    Field("REQ_WO_PASID_PWSNP_NOTALLOWED", 1, meaning="requests without PASID may not snoop page walks"),
    Field("REQ_WO_PASID_PGSNP_NOTALLOWED", 2, meaning="requests without PASID may not force snooping"),
    Field("ATC_HARDENED", 3, meaning="the device's translation cache is hardened against itself"),
    Field("ATC_REQUIRED", 4, meaning="the device needs its translation cache to work"),
)
"""Bits of :attr:`DeviceScope.flags`, meaningful in SATC and SIDP."""

_FRAMING = Framing(what="device scope", head=6, at=1, width=1)
_HEAD = struct.Struct("<BBBxBB")
_HOP = struct.Struct("BB")


class ScopeType(IntEnum):
    """What a device scope names (VT-d 8.3.1)."""

    PCI_ENDPOINT = 1
    PCI_SUB_HIERARCHY = 2
    IOAPIC = 3
    MSI_CAPABLE_HPET = 4
    ACPI_NAMESPACE_DEVICE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceScope:
    """One device scope entry.

    :ivar type: a :class:`ScopeType`, or the raw number of a later specification.
    :ivar start_bus: the bus that the path begins on: a root bus of the structure's segment.
    :ivar path: (device, function) per hop; all but the last are bridges.
    :ivar enumeration_id: I/O APIC id, HPET number or ACPI device number, by type.
    :ivar flags: see :data:`SCOPE_FLAGS`.
    """

    type: int
    start_bus: int
    path: tuple[tuple[int, int], ...]
    enumeration_id: int = 0
    flags: int = 0

    @property
    def is_pci(self) -> bool:
        """Whether it names a PCI function that can do DMA of its own: an endpoint or a bridge."""
        return self.type in (ScopeType.PCI_ENDPOINT, ScopeType.PCI_SUB_HIERARCHY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """How the PCI functions of a host hang together, as far as firmware tables need it.

    :ivar parents: the bridge just above a function; absent or ``None`` on a root bus.
    :ivar looked_up_as: the function in whose place another is looked up: for a virtual function its
        physical function, for a function below a VMD controller that controller.

    >>> bridge, nic = PciAddress.parse("00:1c.0"), PciAddress.parse("01:00.0")
    >>> [str(hop) for hop in Topology(parents={nic: bridge}).route(nic)]
    ['0000:00:1c.0', '0000:01:00.0']
    """

    parents: Mapping[PciAddress, PciAddress | None] = field(default_factory=dict)
    looked_up_as: Mapping[PciAddress, PciAddress] = field(default_factory=dict)

    def route(self, function: PciAddress) -> tuple[PciAddress, ...]:
        """Return the bridges above *function*, from the root bus down, and *function* itself last."""
        hops = [function]
        while (parent := self.parents.get(hops[-1])) is not None and parent not in hops:
            hops.append(parent)
        return tuple(reversed(hops))

    def lookup_route(self, function: PciAddress) -> tuple[PciAddress, ...]:
        """Return the route of the function in whose place *function* is looked up.

        Firmware lists neither virtual functions nor what a VMD controller hides: both came later.
        """
        seen = [function]
        while (stand_in := self.looked_up_as.get(seen[-1])) is not None and stand_in not in seen:
            seen.append(stand_in)
        return self.route(seen[-1])


def resolve(
    scope: DeviceScope, secondary_bus: Callable[[PciAddress], int | None], *, segment: int = 0
) -> PciAddress | None:
    """Follow *scope* through the bridges of this host to the function that it names.

    :param secondary_bus: the bus below a bridge; ``None`` where there is no such bridge.
    :param segment: the segment of the structure that holds *scope*.
    :returns: ``None`` if the scope names no PCI function, or its path leaves the tree.

    >>> scope = DeviceScope(type=ScopeType.PCI_ENDPOINT, start_bus=0, path=((0x1c, 0), (0, 1)))
    >>> str(resolve(scope, {PciAddress(0, 0, 0x1c, 0): 3}.get))
    '0000:03:00.1'
    """
    if not scope.is_pci:
        return None
    bus: int | None = scope.start_bus
    address = None
    for device, function in scope.path:
        if address is not None:
            bus = secondary_bus(address)
        if bus is None or device > 0x1F or function > 7:
            return None
        address = PciAddress(segment, bus, device, function)
    return address


def names(scope: DeviceScope, route: tuple[PciAddress, ...]) -> bool:
    """Whether *scope* takes in the last function of *route*, as Linux decides it.

    An endpoint scope takes in itself, a sub-hierarchy scope the bridge and all below it. The segment is the
    caller's to compare.

    >>> bridge, nic = PciAddress.parse("00:1c.0"), PciAddress.parse("01:00.0")
    >>> names(DeviceScope(type=ScopeType.PCI_SUB_HIERARCHY, start_bus=0, path=((0x1c, 0),)), (bridge, nic))
    True
    """
    if scope.type == ScopeType.PCI_ENDPOINT:
        return _ends_at(scope, route)
    if scope.type == ScopeType.PCI_SUB_HIERARCHY:
        return any(_ends_at(scope, route[: hops + 1]) for hops in range(len(route)))
    return False


def _ends_at(scope: DeviceScope, route: tuple[PciAddress, ...]) -> bool:
    if route[0].bus == scope.start_bus and scope.path == tuple((hop.device, hop.function) for hop in route):
        return True
    # Firmware that was broken by its bus numbering writes the function's own bus and a single hop: Linux
    # dmar_match_pci_path() accepts that, and no other path that starts below a root bus.
    last = route[-1]
    return scope.start_bus == last.bus and scope.path == ((last.device, last.function),)


def parse_scopes(reading: Reading, offset: int, end: int) -> tuple[DeviceScope, ...]:
    """Read the scopes that fill *offset* to *end*.

    :raises BadTable: if their lengths do not tile it.
    """
    return tuple(_parse_scope(reading, *span) for span in reading.pieces(_FRAMING, offset, end))


def _parse_scope(reading: Reading, offset: int, end: int) -> DeviceScope:
    scope_type, _, flags, enumeration_id, start_bus = reading.unpack(_HEAD, offset, end, "device scope")
    hops = reading.data[offset + _HEAD.size : end]
    path = tuple(zip(hops[::2], hops[1::2], strict=False))
    if not path:
        reading.note(offset, "device scope has an empty path")
    if len(hops) % 2:
        reading.note(end - 1, "device scope ends in half a hop")
    if any(device > 0x1F or function > 7 for device, function in path):
        reading.note(offset, "device scope names a device above 1f or a function above 7")
    return DeviceScope(
        type=scope_type, flags=flags, enumeration_id=enumeration_id, start_bus=start_bus, path=path
    )


def build_scopes(scopes: tuple[DeviceScope, ...]) -> bytes:
    """Write *scopes* one after another; the inverse of :func:`parse_scopes`.

    :raises UsageError: if a number or a path does not fit.
    """
    return b"".join(map(_build_scope, scopes))


def _build_scope(scope: DeviceScope) -> bytes:
    length = _HEAD.size + _HOP.size * len(scope.path)
    values = (scope.type, length, scope.flags, scope.enumeration_id, scope.start_bus)
    hops = (pack(_HOP, "device scope path", *hop) for hop in scope.path)
    return pack(_HEAD, "device scope", *values) + b"".join(hops)

"""A function as vfio-pci shows it: which fields it copies, guards or hides, and what their content becomes.

What is here follows drivers/vfio/pci/vfio_pci_config.c of Linux 6.12. It holds for a device that was just
opened: what is written later to a copy is seen in the copy alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

from vfiokit.errors import CannotTell, UsageError
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.registers.rows import Access, View
from vfiokit.pci.resources import Flag, Resource, ResourceTable
from vfiokit.pci.structure import RegisterValue, Structure

__all__ = ["Deviation", "VirtualFunction", "as_shown", "check_taken", "deviations", "is_hidden", "is_plain"]

_STATUS, _LIST_BIT = 0x06, 0x10
_COMMAND, _MEMORY = 0x04, 0x02
_POINTER, _PIN, _ROM = 0x34, 0x3D, 0x30
_BARS, _BAR_COUNT = 0x10, 6
_SHADOW = 0x20000
"""Bytes of the copy of a boot display's ROM."""
_CONVENTIONAL = _EXTENDED = 0x100
_NEXT_BITS = 0xFFC << 20
_VENDOR_SPECIFIC = (0x09, 0x0B, 0x23)


class VirtualFunction(NamedTuple):
    """What the kernel knows of a virtual function, whose own identifiers read as ones."""

    vendor: int
    device: int


class Deviation(NamedTuple):
    """A register of which something is not as in the device.

    :ivar register: the register.
    :ivar views: what is done with it, and the names of the fields; a register without fields, or one that is
        treated as a whole, has one view and no names.
    """

    register: RegisterValue
    views: tuple[tuple[View, tuple[str, ...]], ...]


def is_plain(access: Access, view: View) -> bool:
    """Whether user space finds what it would find without vfio-pci.

    >>> is_plain(Access.RO, View.READ), is_plain(Access.RW, View.WRITABLE), is_plain(Access.RW, View.READ)
    (True, True, False)
    """
    return view is View.WRITABLE or (view is View.READ and not access.writable)


def is_hidden(structure: Structure) -> bool:
    """Whether a capability is left out of the list; its bytes can be read and written all the same."""
    if structure.layout.row.view is View.HIDDEN:
        return True
    # vfio_cap_len takes the length of what a vendor defines from the device: none is none.
    return structure.id in _VENDOR_SPECIFIC and structure.layout.row.id > 0 and not _length(structure)


def deviations(structure: Structure) -> Iterator[Deviation]:
    """Yield the registers of a structure that user space does not find as they are; the head is left out."""
    for register in structure.registers:
        if register.name == "Header":
            continue
        views: dict[View, list[str]] = {}
        fields = list(register.fields())
        for field in fields:
            if not is_plain(field.access, field.view):
                views.setdefault(field.view, []).append(field.name)
        whole = not fields or set(views) == {register.view}
        if not views and (fields or is_plain(register.row.access, register.view)):
            continue
        if whole and sum(map(len, views.values())) == len(fields):
            yield Deviation(register, ((register.view, ()),))
        else:
            yield Deviation(register, tuple((view, tuple(names)) for view, names in views.items()))


def check_taken(space: ConfigSpace, name: str = "config space") -> None:
    """Refuse a bridge.

    :raises UsageError: for a function that vfio-pci does not take.
    """
    if space.header_type:
        raise UsageError(
            f"its header is of type {space.header_type}",
            operation="show as vfio-pci does",
            subject=name,
            hint="vfio-pci takes functions with a header of type 0",
        )


def as_shown(
    space: ConfigSpace,
    *,
    virtual: VirtualFunction | None = None,
    resources: ResourceTable | None = None,
) -> ConfigSpace:
    """Return the config space that a device shows which was just opened.

    :param virtual: of a virtual function, its identifiers.
    :param resources: what the kernel assigned, by which BARs are shown; without it they are as they are.
    :raises UsageError: for a bridge, which vfio-pci does not take.
    :raises CannotTell: if not even the first 256 bytes can be read.
    """
    check_taken(space)
    if not space.image.ensure(0, _CONVENTIONAL):
        raise CannotTell(
            f"only {space.image.limit} bytes can be read",
            operation="show as vfio-pci does",
            subject="config space",
            hint="it needs root, or a dump by lspci -xxx",
        )
    data = bytearray(space.read(0, space.image.limit))
    _link_standard(data, space)
    _link_extended(data, space)
    _without_events(data, space)
    if virtual is not None:
        data[0:4] = virtual.vendor.to_bytes(2, "little") + virtual.device.to_bytes(2, "little")
        data[_COMMAND] |= _MEMORY
        data[_PIN] = 0
    if resources is not None:
        _show_bars(data, resources)
    return ConfigSpace(bytes(data), first=space.first)


def _link_standard(data: bytearray, space: ConfigSpace) -> None:
    """Let every pointer skip what is hidden."""
    previous, shown = _POINTER, 0
    joined = _joined(space.capabilities)
    for structure in space.capabilities:
        following = data[structure.offset + 1]
        if is_hidden(structure):
            if previous - 1 not in joined:
                data[previous] = following
        else:
            previous, shown = structure.offset + 1, shown + 1
    if not shown:
        data[_STATUS] &= ~_LIST_BIT


def _link_extended(data: bytearray, space: ConfigSpace) -> None:
    """Do the same; a hidden one that comes first stays as an anchor without a name."""
    previous: int | None = None
    shown = 0
    structures = space.extended
    joined = _joined(structures)
    for structure in structures:
        at = structure.offset
        following = _dword(data, at) & _NEXT_BITS
        if not is_hidden(structure):
            previous, shown = at, shown + 1
        elif previous is None:
            _put(data, at, following)
            previous = at
        elif previous not in joined:
            _put(data, previous, (_dword(data, previous) & ~_NEXT_BITS) | following)
    if structures and not shown:
        _put(data, _EXTENDED, 0)


def _joined(structures: tuple[Structure, ...]) -> set[int]:
    """Return where capabilities start that follow one of the same kind without a gap.

    vfio_find_cap_start takes both for one, so that the head of the second is read from the device, and a
    hidden one after it stays in the list.
    """
    ends = {
        (each.id, each.offset + (_length(each) or each.size)) for each in structures if not is_hidden(each)
    }
    return {each.offset for each in structures if (each.id, each.offset) in ends}


def _without_events(data: bytearray, space: ConfigSpace) -> None:
    """Clear what is said of power management events, which the host handles."""
    for structure in space.find_all("PM", extended=False):
        for register in structure.registers:
            for field in register.fields():
                if field.view is View.FIXED and register.name != "Header":
                    mask = ((1 << field.high - field.low + 1) - 1) << field.low
                    word = int.from_bytes(data[field.offset : field.offset + 2], "little") & ~mask
                    data[field.offset : field.offset + 2] = word.to_bytes(2, "little")


def _show_bars(data: bytearray, resources: ResourceTable) -> None:
    """Make BARs what the kernel assigned: unassigned ones are 0, the flags are the kernel's."""
    index = 0
    while index < _BAR_COUNT:
        place, resource = _BARS + 4 * index, resources.bars[index]
        index += 1
        if not resource.start:
            _put(data, place, 0)
            continue
        mask = -resource.size
        _put(data, place, (_dword(data, place) & mask & 0xFFFFFFFF) | _flags(resource))
        if resource.flags & Flag.WIDE and not resource.is_io:
            _put(data, place + 4, _dword(data, place + 4) & (mask >> 32) & 0xFFFFFFFF)
            index += 1
    rom = resources.rom
    size = rom.size if rom.start else _SHADOW if rom.flags & Flag.ROM_SHADOW else 0
    _put(data, _ROM, _dword(data, _ROM) & (-size | 1) & 0xFFFFFFFF if size else 0)


def _flags(resource: Resource) -> int:
    """Return the low bits of a BAR (PCI 3.0, 6.2.5.1)."""
    if resource.is_io:
        return 1
    return 8 * bool(resource.flags & Flag.PREFETCH) | 4 * bool(resource.flags & Flag.WIDE)


def _length(structure: Structure) -> int:
    """Return the length that a vendor's capability gives itself, 0 for others."""
    if structure.id not in _VENDOR_SPECIFIC:
        return 0
    head = structure.raw[:8].ljust(8, b"\0")
    return head[2] if not structure.is_extended else int.from_bytes(head[4:8], "little") >> 20


def _dword(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _put(data: bytearray, at: int, value: int) -> None:
    data[at : at + 4] = value.to_bytes(4, "little")

"""Config space as vfio-pci shows it: lists with holes, copies, BARs; each expectation is bytes by hand."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given

from vfiokit.errors import CannotTell, UsageError
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.registers.rows import View
from vfiokit.pci.resources import Flag, Resource, ResourceTable
from vfiokit.pci.vfio_view import VirtualFunction, as_shown, deviations, is_hidden
from vfiokit.testing.config_spaces import DrawnSpace, broken_spaces, config_spaces

PM, VPD, MSI, VENDOR, PCIE, BRIDGE_SUBSYSTEM, ALLOCATION = 0x01, 0x03, 0x05, 0x09, 0x10, 0x0D, 0x14
AER, DSN, DESIGNATED, PASID, MAILBOX = 0x01, 0x03, 0x23, 0x1B, 0x2E
NONE = Resource()


def space(
    *chain: tuple[int, int], extended: tuple[tuple[int, int], ...] = (), size: int = 4096
) -> bytearray:
    """Build a function with capabilities of these identifiers at these offsets, each list in that order."""
    data = bytearray(size)
    data[0:4] = b"\x34\x12\x78\x56"
    if chain:
        data[0x06], data[0x34] = 0x10, chain[0][1]
    for (number, at), following in zip(chain, [*(at for _, at in chain[1:]), 0], strict=False):
        data[at], data[at + 1] = number, following
    for (number, at), following in zip(extended, [*(at for _, at in extended[1:]), 0], strict=False):
        struct.pack_into("<I", data, at, following << 20 | 1 << 16 | number)
    return data


def shown(data: bytearray, **details: object) -> bytes:
    return as_shown(ConfigSpace(bytes(data)), **details).read(0, len(data))  # type: ignore[arg-type]


def heads(data: bytes, *places: int) -> list[tuple[int, int]]:
    """Return identifier and next pointer of extended capabilities."""
    return [(word & 0xFFFF, word >> 20) for (word,) in (struct.unpack_from("<I", data, at) for at in places)]


def test_a_hidden_standard_capability_is_stepped_over_wherever_it_stands() -> None:
    first = shown(space((BRIDGE_SUBSYSTEM, 0x40), (PM, 0x50), (PCIE, 0x60)))
    assert (first[0x34], first[0x51], first[0x61], first[0x41]) == (0x50, 0x60, 0, 0x50)
    middle = shown(space((PM, 0x40), (ALLOCATION, 0x50), (PCIE, 0x60)))
    assert (middle[0x34], middle[0x41], middle[0x61]) == (0x40, 0x60, 0)
    last = shown(space((PM, 0x40), (PCIE, 0x50), (ALLOCATION, 0x60)))
    assert (last[0x34], last[0x41], last[0x51]) == (0x40, 0x50, 0)


def test_a_list_of_hidden_ones_is_none() -> None:
    found = shown(space((BRIDGE_SUBSYSTEM, 0x40), (ALLOCATION, 0x50)))
    assert (found[0x06], found[0x34]) == (0, 0)
    assert found[0x40:0x42] == bytes([BRIDGE_SUBSYSTEM, 0x50])


def test_hidden_extended_ones_leave_the_list_but_for_the_first() -> None:
    data = space((PCIE, 0x40), extended=((AER, 0x100), (PASID, 0x140), (MAILBOX, 0x150), (DSN, 0x170)))
    assert heads(shown(data), 0x100, 0x140, 0x170) == [(AER, 0x170), (PASID, 0x150), (DSN, 0)]
    data = space((PCIE, 0x40), extended=((PASID, 0x100), (MAILBOX, 0x120), (DSN, 0x140)))
    assert heads(shown(data), 0x100, 0x140) == [(0, 0x140), (DSN, 0)]
    assert heads(shown(space((PCIE, 0x40), extended=((PASID, 0x100),))), 0x100) == [(0, 0)]


def test_one_behind_two_of_a_kind_without_a_gap_stays() -> None:
    for gap, stays in ((0, True), (4, False)):
        second = 0x110 + gap
        data = space((PCIE, 0x40), extended=((DESIGNATED, 0x100), (DESIGNATED, second), (MAILBOX, 0x180)))
        for at in (0x100, second):
            struct.pack_into("<I", data, at + 4, 16 << 20 | 0x1234)
        assert heads(shown(data), second) == [(DESIGNATED, 0x180 if stays else 0)]


def test_what_a_vendor_gives_no_length_is_hidden() -> None:
    data = space((VENDOR, 0x40), (PM, 0x50))
    assert shown(data)[0x34] == 0x50
    data[0x42] = 8
    assert shown(data)[0x34] == 0x40


def test_power_events_are_the_hosts() -> None:
    data = space((PM, 0x40))
    struct.pack_into("<HH", data, 0x42, 0xFFFF, 0xFFFF)
    assert struct.unpack_from("<HH", shown(data), 0x42) == (0x07FF, 0x7EFF)


def test_a_virtual_function_gets_identifiers_and_memory() -> None:
    data = space((PCIE, 0x40))
    data[0:4] = b"\xff" * 4
    data[0x3D] = 1
    resources = ResourceTable(
        bars=(
            Resource(0xFE000000, 0xFE003FFF, Flag.MEMORY | Flag.WIDE | Flag.PREFETCH),
            *([NONE] * 5),
        ),
        rom=NONE,
    )
    found = shown(data, virtual=VirtualFunction(0x8086, 0x10CA), resources=resources)
    assert found[0:4] == b"\x86\x80\xca\x10"
    assert (found[0x04], found[0x3D], found[0x10]) == (2, 0, 0x0C)


def test_bars_are_what_the_kernel_assigned() -> None:
    data = space()
    struct.pack_into("<7I", data, 0x10, 0xFE00000C, 0x12, 0xE001, 0xABCD0000, 0x1000, 0, 0)
    struct.pack_into("<I", data, 0x30, 0xFEB00FFF)
    wide = Resource(0x12FE000000, 0x12FE003FFF, Flag.MEMORY | Flag.WIDE | Flag.PREFETCH)
    ports, small = Resource(0xE000, 0xE01F, Flag.IO), Resource(0x1000, 0x1FFF, Flag.MEMORY)
    rom = Resource(0xFEB00000, 0xFEB0FFFF, Flag.MEMORY)
    found = shown(data, resources=ResourceTable((wide, NONE, ports, NONE, small, NONE), rom))
    assert struct.unpack_from("<6I", found, 0x10) == (0xFE00000C, 0x12, 0xE001, 0, 0x1000, 0)
    assert struct.unpack_from("<I", found, 0x30) == (0xFEB00001,)
    found = shown(data, resources=ResourceTable((NONE,) * 6, NONE))
    assert found[0x10:0x28] == bytes(24)
    assert found[0x30:0x34] == bytes(4)
    shadow = Resource(flags=Flag.ROM_SHADOW)
    found = shown(data, resources=ResourceTable((NONE,) * 6, shadow))
    assert struct.unpack_from("<I", found, 0x30) == (0xFEB00FFF & ~0x1FFFE,)


def test_a_bridge_is_none_of_its_functions() -> None:
    data = space()
    data[0x0E] = 0x81
    with pytest.raises(UsageError, match="header is of type 1"):
        as_shown(ConfigSpace(bytes(data)))


def test_the_registers_that_deviate_are_named_with_their_fields() -> None:
    data = space((PM, 0x40), (PCIE, 0x60), (0x11, 0xB0), extended=((AER, 0x100), (PASID, 0x140)))
    data[0x62] = 2
    found = ConfigSpace(bytes(data))
    views = {
        f"{structure.name}.{each.register.name}": each.views
        for structure in found.structures
        if not is_hidden(structure)
        for each in deviations(structure)
    }
    assert views["Header.BAR0"] == ((View.VIRTUAL, ()),)
    assert views["Header.Command"] == ((View.TRAPPED, ("DisINTx",)),)
    assert views["MSIX.Flags"] == ((View.READ, ("Masked", "Enable")),)
    assert views["PCIe.DevCtl"] == (
        (View.VIRTUAL, ("MaxPayload",)),
        (View.READ, ("PhantFunc",)),
        (View.TRAPPED, ("MaxReadReq", "FLReset")),
    )
    assert "PCIe.DevCap" not in views
    assert "Header.RevisionID" not in views
    assert is_hidden(found.find("PASID"))  # type: ignore[arg-type]


@given(config_spaces())
def test_a_drawn_list_keeps_what_has_a_view_in_its_order(drawn: DrawnSpace) -> None:
    """But for what follows two of a kind without a gap, which the draw may lay out."""
    found = ConfigSpace(drawn.data)
    if found.header_type:
        return
    seen = as_shown(found)
    for laid, listed, structures in (
        (drawn.capabilities, seen.standard_list(), found.capabilities),
        (drawn.extended, seen.extended_list(), found.extended),
    ):
        without_length = {each.offset for each in structures if is_hidden(each)}
        visible = [
            (row.id, at) for row, at in laid if row.view is not View.HIDDEN and at not in without_length
        ]
        alike = [one[0].id for one, other in pairwise(laid) if one[0].id == other[0].id]
        anchor = [(0, 0x100)] if laid and laid[0][1] == 0x100 and visible and visible[0][1] != 0x100 else []
        if not alike:
            assert [tuple(each) for each in listed] == anchor + visible
        else:
            assert set(visible) <= {tuple(each) for each in listed}


@given(broken_spaces())
def test_no_damage_makes_it_raise(drawn: DrawnSpace) -> None:
    found = ConfigSpace(drawn.data)
    if found.header_type:
        return
    if len(drawn.data) < 256:
        with pytest.raises(CannotTell, match="bytes can be read"):
            as_shown(found)
    else:
        assert len(as_shown(found).read(0, len(drawn.data))) == len(drawn.data)

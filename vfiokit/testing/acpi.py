"""Hypothesis strategies for DMAR and IVRS tables, and for the bus trees that their scopes talk about.

Every table drawn is one that its own bytes can hold: ``parse(table.to_bytes()) == table``.
"""

from dataclasses import dataclass

from hypothesis import strategies as st

from vfiokit.acpi.dmar import Andd, Atsr, Dmar, Drhd, Rhsa, Rmrr, Satc, Sidp, UnknownStructure
from vfiokit.acpi.ivhd import (
    AcpiHidEntry,
    AliasEntry,
    DeviceEntry,
    Entry,
    ExtendedEntry,
    SpecialEntry,
    UnknownEntry,
)
from vfiokit.acpi.ivrs import Ivhd, Ivmd, Ivrs, UnknownBlock
from vfiokit.acpi.scope import DeviceScope, ScopeType, Topology
from vfiokit.acpi.table import Header
from vfiokit.address import PciAddress

__all__ = ["BusTree", "bus_trees", "dmars", "entries", "headers", "ivrss", "scopes"]


def unsigned(bits: int) -> st.SearchStrategy[int]:
    """Draw an integer of *bits* bits, the ends included."""
    return st.integers(0, (1 << bits) - 1)


def headers() -> st.SearchStrategy[Header]:
    """Draw table headers."""
    return st.builds(
        Header,
        revision=unsigned(8),
        oem_id=st.binary(min_size=6, max_size=6),
        oem_table_id=st.binary(min_size=8, max_size=8),
        oem_revision=unsigned(32),
        creator_id=st.binary(min_size=4, max_size=4),
        creator_revision=unsigned(32),
    )


def scopes() -> st.SearchStrategy[DeviceScope]:
    """Draw device scopes of known and unknown types, with paths of none to four hops."""
    hop = st.tuples(unsigned(5), unsigned(3))
    return st.builds(
        DeviceScope,
        type=st.sampled_from(ScopeType) | unsigned(8),
        start_bus=unsigned(8),
        path=st.lists(hop, max_size=4).map(tuple),
        enumeration_id=unsigned(8),
        flags=unsigned(8),
    )


def dmars() -> st.SearchStrategy[Dmar]:
    """Draw DMAR tables with every type of structure."""
    segment, some = unsigned(16), st.lists(scopes(), max_size=3).map(tuple)
    structure = st.one_of(
        st.builds(
            Drhd, base=unsigned(64), flags=unsigned(8), size=unsigned(8), segment=segment, scopes=some
        ),
        st.builds(Rmrr, base=unsigned(64), limit=unsigned(64), segment=segment, scopes=some),
        st.builds(Atsr, flags=unsigned(8), segment=segment, scopes=some),
        st.builds(Rhsa, base=unsigned(64), proximity_domain=unsigned(32)),
        st.builds(
            Andd, device_number=unsigned(8), name=st.text(st.characters(min_codepoint=33, max_codepoint=255))
        ),
        st.builds(Satc, flags=unsigned(8), segment=segment, scopes=some),
        st.builds(Sidp, segment=segment, scopes=some),
        st.builds(UnknownStructure, type=st.integers(7, 0xFFFF), data=st.binary(max_size=20)),
    )
    return st.builds(
        Dmar,
        host_address_width=st.integers(1, 256),
        flags=unsigned(8),
        structures=st.lists(structure, max_size=6).map(tuple),
        header=headers(),
    )


def entries() -> st.SearchStrategy[Entry]:
    """Draw IVHD device entries of every known type, and of unknown types whose length is known."""
    source_id, byte = unsigned(16), unsigned(8)
    simple, alias, extended = (
        st.sampled_from(range(5)),
        st.sampled_from((0x42, 0x43)),
        st.sampled_from((0x46, 0x47)),
    )
    return st.one_of(
        st.builds(DeviceEntry, type=simple, device_id=source_id, settings=byte),
        st.builds(AliasEntry, type=alias, device_id=source_id, alias=source_id, settings=byte),
        st.builds(ExtendedEntry, type=extended, device_id=source_id, extended=unsigned(32), settings=byte),
        st.builds(SpecialEntry, handle=byte, device_id=source_id, variety=byte, settings=byte),
        st.builds(
            AcpiHidEntry,
            device_id=source_id,
            hid=st.binary(min_size=8, max_size=8),
            cid=st.binary(min_size=8, max_size=8),
            uid_format=byte,
            uid=st.binary(max_size=12),
            settings=byte,
        ),
        st.builds(UnknownEntry, type=st.integers(5, 0x3F), data=st.binary(min_size=3, max_size=3)),
        st.builds(UnknownEntry, type=st.integers(0x49, 0x7F), data=st.binary(min_size=7, max_size=7)),
    )


def ivrss() -> st.SearchStrategy[Ivrs]:
    """Draw IVRS tables with units of each type, memory of each type, and unknown blocks."""
    some = st.lists(entries(), max_size=5).map(tuple)
    device_id, segment = st.integers(0, 4), st.integers(0, 1)
    place = {"flags": unsigned(8), "device_id": device_id, "segment": segment, "entries": some}
    registers = {"base": unsigned(64), "capability_offset": unsigned(16), "info": unsigned(16)}
    block = st.one_of(
        st.builds(Ivhd, type=st.just(0x10), features=unsigned(32), **place, **registers),
        st.builds(
            Ivhd,
            type=st.sampled_from((0x11, 0x40)),
            efr=unsigned(64),
            efr2=unsigned(64),
            **place,
            **registers,
        ),
        st.builds(
            Ivmd,
            type=st.sampled_from((0x20, 0x21, 0x22)),
            flags=unsigned(8),
            start=unsigned(64),
            length=unsigned(64),
            device_id=unsigned(16),
            last_device_id=unsigned(16),
            segment=segment,
        ),
        st.builds(
            UnknownBlock, type=st.integers(0x41, 0xFF), flags=unsigned(8), data=st.binary(max_size=20)
        ),
    )
    return st.builds(
        Ivrs, ivinfo=unsigned(32), blocks=st.lists(block, max_size=5).map(tuple), header=headers()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BusTree:
    """A segment with its buses numbered.

    :ivar functions: every function, bridges included.
    :ivar secondary: the bus below each bridge.
    :ivar roots: the root buses.
    """

    segment: int
    functions: tuple[PciAddress, ...]
    secondary: dict[PciAddress, int]
    roots: tuple[int, ...]

    @property
    def topology(self) -> Topology:
        """What the tables' resolution is given."""
        above = {bus: bridge for bridge, bus in self.secondary.items()}
        return Topology(parents={function: above.get(function.bus) for function in self.functions})


@st.composite
def bus_trees(draw: st.DrawFn) -> BusTree:
    """Draw a segment of one or two root buses and up to six bridges; slots repeat from bus to bus."""
    segment = draw(st.integers(0, 1))
    roots = (0, 0x80) if draw(st.booleans()) else (0,)
    functions: list[PciAddress] = []
    secondary: dict[PciAddress, int] = {}
    slots = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=4, unique=True)
    pending = list(roots)
    while pending:
        bus = pending.pop()
        for device, function in draw(slots):
            address = PciAddress(segment, bus, device, function)
            functions.append(address)
            if len(secondary) < 6 and draw(st.booleans()):
                secondary[address] = 1 + len(secondary)
                pending.append(secondary[address])
    return BusTree(segment=segment, functions=tuple(functions), secondary=secondary, roots=roots)

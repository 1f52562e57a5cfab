"""Tables of all shapes: round trips, damaged bytes, resolution against models that go the other way."""

import re
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfiokit.acpi import dmar, ivrs
from vfiokit.acpi.dmar import Andd, Atsr, Dmar, Drhd, Rhsa, Rmrr, Satc, Sidp, UnknownStructure
from vfiokit.acpi.ivhd import (
    AcpiHidEntry,
    AliasEntry,
    DeviceEntry,
    Entry,
    EntryType,
    ExtendedEntry,
    SpecialEntry,
    UnknownEntry,
)
from vfiokit.acpi.ivrs import Ivhd, Ivmd, Ivrs, UnknownBlock
from vfiokit.acpi.scope import DeviceScope, ScopeType, resolve
from vfiokit.address import PciAddress
from vfiokit.errors import BadTable
from vfiokit.testing.acpi import BusTree, bus_trees, dmars, ivrss

Table = Dmar | Ivrs

SCOPES = (
    DeviceScope(type=ScopeType.PCI_ENDPOINT, start_bus=0, path=((0x1C, 0), (0, 1))),
    DeviceScope(type=ScopeType.IOAPIC, start_bus=0xFF, path=((0, 0),), enumeration_id=2),
)
ONE_OF_EACH: tuple[Table, ...] = (
    Dmar(
        structures=(
            Drhd(base=0xFED90000, scopes=SCOPES),
            Rmrr(base=0x8D000000, limit=0x8D0FFFFF, scopes=SCOPES[:1]),
            Atsr(scopes=SCOPES[:1]),
            Rhsa(base=0xFED90000, proximity_domain=1),
            Andd(device_number=1, name="\\_SB.PCI0.I2C0"),
            Satc(flags=1, scopes=SCOPES[:1]),
            Sidp(scopes=SCOPES[:1]),
            UnknownStructure(type=9, data=b"later"),
        )
    ),
    Ivrs(
        blocks=(
            Ivhd(type=0x10, device_id=2, base=0xFD000000, entries=(DeviceEntry(type=EntryType.ALL),)),
            Ivhd(
                type=0x40,
                device_id=2,
                base=0xFD000000,
                entries=(
                    DeviceEntry(type=EntryType.START_RANGE, device_id=8),
                    DeviceEntry(type=EntryType.END_RANGE, device_id=0xFFFE),
                    AliasEntry(type=EntryType.ALIAS_SELECT, device_id=0x300, alias=0xA5),
                    ExtendedEntry(type=EntryType.EXTENDED_SELECT, device_id=0x300, extended=1),
                    SpecialEntry(handle=0x21, device_id=0xA0, variety=1),
                    AcpiHidEntry(device_id=0xA5, hid=b"AMDI0020", uid_format=2, uid=b"ID1"),
                    UnknownEntry(type=5, data=b"\1\2\3"),
                ),
            ),
            Ivmd(type=0x22, flags=7, device_id=1, last_device_id=9, start=0x1000, length=0x1000),
            UnknownBlock(type=0x77, data=b"later"),
        )
    ),
)
TABLES = st.one_of(dmars(), ivrss())


def parser(table: Table) -> Callable[[bytes], Table]:
    return dmar.parse if isinstance(table, Dmar) else ivrs.parse


def settles(table: Table, data: bytes) -> Table | BadTable:
    """Parse *data* as the kind that *table* is: a value that comes back, or an error of one line."""
    parse = parser(table)
    try:
        value = parse(data)
    except BadTable as error:
        said = error
    else:
        assert parse(value.to_bytes()) == value
        assert all(0 <= noted.offset <= len(data) and noted.reason for noted in value.diagnostics)
        return value
    assert re.fullmatch(r"parse (DMAR|IVRS): offset 0x[0-9a-f]+: .+", str(said))
    return said


class TestBytes:
    @given(TABLES)
    def test_come_back(self, table: Table) -> None:
        assert parser(table)(table.to_bytes()) == table

    @given(TABLES)
    def test_sum_to_nothing_and_know_their_length(self, table: Table) -> None:
        data = table.to_bytes()
        assert (sum(data) % 256, int.from_bytes(data[4:8], "little")) == (0, len(data))

    @given(TABLES, st.data())
    def test_truncated_and_told_so_still_settle(self, table: Table, data: st.DataObject) -> None:
        whole = table.to_bytes()
        size = data.draw(st.integers(0, len(whole)))
        settles(table, whole[:4] + size.to_bytes(4, "little") + whole[8:size])

    @given(TABLES, st.data())
    def test_with_bytes_overwritten_settle(self, table: Table, data: st.DataObject) -> None:
        damaged = bytearray(table.to_bytes())
        for at, value in data.draw(
            st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)))
        ):
            damaged[at] = value
        settles(table, bytes(damaged))

    @given(st.sampled_from(ONE_OF_EACH), st.binary(max_size=200))
    def test_soup_after_a_good_header_settles(self, table: Table, soup: bytes) -> None:
        whole = table.to_bytes()[:48] + soup
        settles(table, whole[:4] + len(whole).to_bytes(4, "little") + whole[8:])


@pytest.mark.parametrize("table", ONE_OF_EACH, ids=["DMAR", "IVRS"])
class TestEveryByte:
    def test_every_truncation_is_refused(self, table: Table) -> None:
        whole = table.to_bytes()
        assert all(isinstance(settles(table, whole[:size]), BadTable) for size in range(len(whole)))

    def test_every_truncation_that_the_length_agrees_with_settles(self, table: Table) -> None:
        whole = table.to_bytes()
        for size in range(len(whole)):
            settles(table, whole[:4] + size.to_bytes(4, "little") + whole[8:size])

    def test_every_flip_of_a_bit_is_noticed(self, table: Table) -> None:
        whole = table.to_bytes()
        for at in range(len(whole)):
            for bit in range(8):
                found = settles(table, whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
                # One bit always changes the sum: a value without a diagnostic would have missed it.
                assert isinstance(found, BadTable) or found.diagnostics

    @pytest.mark.parametrize("value", [0x00, 0x01, 0x7F, 0x80, 0xFF])
    def test_every_byte_overwritten_settles(self, table: Table, value: int) -> None:
        whole = table.to_bytes()
        for at in range(len(whole)):
            settles(table, whole[:at] + bytes([value]) + whole[at + 1 :])


class TestTime:
    @pytest.mark.parametrize(
        "table",
        [
            Dmar(structures=tuple(UnknownStructure(type=9, data=b"") for _ in range(20_000))),
            Dmar(structures=(Drhd(base=0x1000, scopes=SCOPES * 3_000),)),
            Ivrs(blocks=(Ivhd(type=0x11, device_id=2, base=0, entries=(DeviceEntry(type=3),) * 16_000),)),
            Ivrs(blocks=tuple(Ivhd(type=0x10, device_id=number, base=0) for number in range(2_000))),
        ],
        ids=["structures", "scopes", "entries", "units"],
    )
    def test_grows_with_the_bytes_alone(self, table: Table) -> None:
        data = table.to_bytes()
        begun = time.process_time()
        settles(table, data)
        # Tens of milliseconds; a step that looked at every pair would need minutes.
        assert time.process_time() - begun < 5


def walk(tree: BusTree, scope: DeviceScope) -> PciAddress | None:
    """Follow a scope by looking for each hop among the functions that stand on the bus reached."""
    bus: int | None = scope.start_bus
    reached = None
    for hop in scope.path:
        on_bus = {(f.device, f.function): f for f in tree.functions if f.bus == bus}
        reached = on_bus.get(hop)
        if reached is None:
            return None
        bus = tree.secondary.get(reached)
    return reached


def subtree(tree: BusTree, top: PciAddress) -> Iterator[PciAddress]:
    """Yield *top* and everything below it, going down bus by bus."""
    yield top
    if top in tree.secondary:
        for function in tree.functions:
            if function.bus == tree.secondary[top]:
                yield from subtree(tree, function)


def named(tree: BusTree, scope: DeviceScope) -> set[PciAddress]:
    """Return what a scope takes in: the kernel refuses paths of several hops from below a root bus."""
    top = walk(tree, scope) if len(scope.path) == 1 or scope.start_bus in tree.roots else None
    if top is None:
        return set()
    return set(subtree(tree, top)) if scope.type == ScopeType.PCI_SUB_HIERARCHY else {top}


def scopes_in(tree: BusTree) -> st.SearchStrategy[DeviceScope]:
    """Draw scopes that mostly lead somewhere: small numbers, and start buses that exist."""
    buses = sorted({function.bus for function in tree.functions} | set(tree.secondary.values()))
    return st.builds(
        DeviceScope,
        type=st.sampled_from((ScopeType.PCI_ENDPOINT, ScopeType.PCI_SUB_HIERARCHY)),
        start_bus=st.sampled_from(tree.roots) | st.sampled_from(buses),
        path=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=4).map(tuple),
    )


class TestDmarResolution:
    @given(bus_trees(), st.data())
    def test_resolve_walks_the_tree(self, tree: BusTree, data: st.DataObject) -> None:
        scope = data.draw(scopes_in(tree))
        found = resolve(scope, tree.secondary.get, segment=tree.segment)
        assert (found if found in tree.functions else None) == walk(tree, scope)

    @given(bus_trees(), st.data())
    def test_the_route_of_every_function_resolves_to_it(self, tree: BusTree, data: st.DataObject) -> None:
        function = data.draw(st.sampled_from(tree.functions))
        route = tree.topology.route(function)
        path = tuple((hop.device, hop.function) for hop in route)
        scope = DeviceScope(type=ScopeType.PCI_ENDPOINT, start_bus=route[0].bus, path=path)
        assert resolve(scope, tree.secondary.get, segment=tree.segment) == function

    @given(bus_trees(), st.data())
    def test_covering_unit_is_the_one_that_claims_last(self, tree: BusTree, data: st.DataObject) -> None:
        some = st.lists(scopes_in(tree), max_size=3).map(tuple)
        draw = st.builds(
            Drhd,
            base=st.integers(0, 9),
            flags=st.sampled_from((0, 0, 1)),
            segment=st.integers(0, 1),
            scopes=some,
        )
        units = tuple(data.draw(st.lists(draw, max_size=5)))
        owners: dict[PciAddress, Drhd] = {}
        for unit in reversed([unit for unit in units if unit.flags & 1 and unit.segment == tree.segment]):
            owners |= dict.fromkeys(tree.functions, unit)
        for unit in (unit for unit in units if not unit.flags & 1 and unit.segment == tree.segment):
            for scope in unit.scopes:
                owners |= dict.fromkeys(named(tree, scope), unit)
        for function in tree.functions:
            assert dmar.covering_unit(Dmar(structures=units), function, tree.topology) == owners.get(
                function
            )

    @given(bus_trees(), st.data())
    def test_reserved_memory_is_that_of_every_scope(self, tree: BusTree, data: st.DataObject) -> None:
        some = st.lists(scopes_in(tree), max_size=3).map(tuple)
        draw = st.builds(
            Rmrr, base=st.just(0), limit=st.integers(0, 9), segment=st.integers(0, 1), scopes=some
        )
        regions = tuple(data.draw(st.lists(draw, max_size=4)))
        for function in tree.functions:
            expected = [
                region
                for region in regions
                if region.segment == tree.segment and any(function in named(tree, s) for s in region.scopes)
            ]
            assert dmar.reserved_memory(Dmar(structures=regions), function, tree.topology) == tuple(expected)


IDS = st.integers(0, 15)
SMALL_ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(DeviceEntry, type=st.sampled_from((0, 2, 3, 3, 4, 4)), device_id=IDS),
    st.builds(AliasEntry, type=st.sampled_from((0x42, 0x43)), device_id=IDS, alias=IDS),
    st.builds(ExtendedEntry, type=st.sampled_from((0x46, 0x47)), device_id=IDS),
    st.builds(SpecialEntry, handle=IDS, device_id=IDS, variety=st.just(1)),
)
SMALL_UNITS = st.builds(
    Ivhd,
    type=st.sampled_from((0x10, 0x11, 0x40)),
    device_id=st.integers(0x100, 0x102),
    base=st.just(0),
    segment=st.integers(0, 1),
    entries=st.lists(SMALL_ENTRIES, max_size=8).map(tuple),
)


def fill(units: tuple[Ivhd, ...]) -> tuple[dict[int, Ivhd], dict[int, int]]:
    """Fill one slot per identity, as the kernel does while it reads: its owner, and its alias."""
    owner: dict[int, Ivhd] = {}
    alias: dict[int, int] = {}
    for unit in units:
        begin: Entry | None = None
        for entry in unit.entries:
            number = getattr(entry, "device_id", 0)
            chosen: list[int] = []
            source = entry
            match entry.type:
                case 0x03 | 0x43 | 0x47:
                    begin = entry
                case 0x04:
                    if begin is not None:
                        source = begin
                        chosen = list(range(getattr(begin, "device_id", 0), number + 1))
                    begin = None
                case 0x02 | 0x42 | 0x46 | 0x48:
                    chosen = [number]
            for one in chosen:
                owner[one] = unit
            if isinstance(source, AliasEntry) and chosen:
                owner[source.alias] = unit
                alias |= dict.fromkeys(chosen, source.alias)
    return owner, alias


class TestIvrsResolution:
    @given(st.lists(SMALL_UNITS, max_size=4).map(tuple), st.integers(0, 1))
    def test_slots_are_filled_as_the_kernel_fills_them(self, units: tuple[Ivhd, ...], segment: int) -> None:
        highest = {
            (unit.segment, unit.device_id): max(
                other.type
                for other in units
                if (other.segment, other.device_id) == (unit.segment, unit.device_id)
            )
            for unit in units
        }
        kept = tuple(
            unit
            for unit in units
            if unit.segment == segment and unit.type == highest[unit.segment, unit.device_id]
        )
        owner, alias = fill(kept)
        table = Ivrs(blocks=units)
        for number in range(20):
            function = PciAddress.from_source_id(segment, number)
            assert ivrs.covering_unit(table, function) == owner.get(number)
            assert ivrs.alias_of(table, function).source_id == alias.get(number, number)

    @given(st.lists(st.builds(
        Ivmd, type=st.sampled_from((0x20, 0x21, 0x22)), flags=st.integers(0, 15), start=st.just(0),
        length=st.integers(0, 9), device_id=IDS, last_device_id=IDS, segment=st.integers(0, 1),
    ), max_size=4).map(tuple))  # fmt: skip
    def test_reserved_memory_is_that_of_every_block(self, blocks: tuple[Ivmd, ...]) -> None:
        for number in range(20):
            expected = []
            for block in blocks:
                last = {0x20: 0xFFFF, 0x21: block.device_id, 0x22: block.last_device_id}[block.type]
                first = 0 if block.type == 0x20 else block.device_id
                if block.flags & 9 and block.segment == 0 and first <= number <= last:
                    expected.append(block)
            function = PciAddress.from_source_id(0, number)
            assert ivrs.reserved_memory(Ivrs(blocks=blocks), function) == tuple(expected)

"""DMAR: bytes laid out by hand, what hostile bytes end in, and who is covered by which unit."""

import struct

import pytest

from vfiokit.acpi.dmar import (
    INCLUDE_PCI_ALL,
    Andd,
    Atsr,
    Dmar,
    Drhd,
    Rhsa,
    Rmrr,
    Satc,
    Sidp,
    UnknownStructure,
    covering_unit,
    parse,
    reserved_memory,
)
from vfiokit.acpi.dmar_structures import Structure
from vfiokit.acpi.scope import DeviceScope, ScopeType, Topology, names, resolve
from vfiokit.acpi.table import Header
from vfiokit.address import AddressRange, PciAddress
from vfiokit.errors import BadTable, UsageError


def bdf(text: str) -> PciAddress:
    return PciAddress.parse(text)


def endpoint(bus: int, *path: tuple[int, int]) -> DeviceScope:
    return DeviceScope(type=ScopeType.PCI_ENDPOINT, start_bus=bus, path=path)


def below(bus: int, *path: tuple[int, int]) -> DeviceScope:
    return DeviceScope(type=ScopeType.PCI_SUB_HIERARCHY, start_bus=bus, path=path)


def table(*structures: bytes, width: int = 47, flags: int = 1) -> bytes:
    """Lay a table out by byte offsets alone, with the checksum made right."""
    body = bytes([width, flags]) + bytes(10) + b"".join(structures)
    data = bytearray(
        b"DMAR" + struct.pack("<I", 36 + len(body)) + bytes([1, 0]) + b"OEMID1OEMTABLE" + bytes(12) + body
    )
    data[9] = -sum(data) % 256
    return bytes(data)


def structure(kind: int, body: str) -> bytes:
    raw = bytes.fromhex(body)
    return struct.pack("<HH", kind, 4 + len(raw)) + raw


SCOPE = "01 08 03 00 05 40 1d 02"
SCOPE_VALUE = DeviceScope(type=1, flags=3, enumeration_id=5, start_bus=0x40, path=((0x1D, 2),))
LAYOUTS: tuple[tuple[bytes, Structure], ...] = (
    (
        structure(0, "01 02 34 12 00 00 d9 fe 00 00 00 00" + SCOPE),
        Drhd(flags=1, size=2, segment=0x1234, base=0xFED90000, scopes=(SCOPE_VALUE,)),
    ),
    (
        structure(1, "00 00 34 12 00 00 00 8d 00 00 00 00 ff 5f 03 8d 00 00 00 00" + SCOPE),
        Rmrr(segment=0x1234, base=0x8D000000, limit=0x8D035FFF, scopes=(SCOPE_VALUE,)),
    ),
    (structure(2, "01 00 34 12" + SCOPE), Atsr(flags=1, segment=0x1234, scopes=(SCOPE_VALUE,))),
    (
        structure(3, "00 00 00 00 00 00 d9 fe 00 00 00 00 07 00 00 00"),
        Rhsa(base=0xFED90000, proximity_domain=7),
    ),
    (structure(4, "00 00 00 09 5c 5f 53 42 00"), Andd(device_number=9, name="\\_SB")),
    (structure(5, "01 00 34 12" + SCOPE), Satc(flags=1, segment=0x1234, scopes=(SCOPE_VALUE,))),
    (structure(6, "00 00 34 12" + SCOPE), Sidp(segment=0x1234, scopes=(SCOPE_VALUE,))),
    (structure(77, "de ad"), UnknownStructure(type=77, data=b"\xde\xad")),
)


class TestLayout:
    @pytest.mark.parametrize(("raw", "value"), LAYOUTS, ids=[type(value).__name__ for _, value in LAYOUTS])
    def test_fields_are_at_the_offsets_of_the_specification(self, raw: bytes, value: Structure) -> None:
        assert parse(table(raw)).structures == (value,)

    @pytest.mark.parametrize(("raw", "value"), LAYOUTS, ids=[type(value).__name__ for _, value in LAYOUTS])
    def test_building_gives_the_same_bytes(self, raw: bytes, value: Structure) -> None:
        assert Dmar(structures=(value,)).to_bytes()[48:] == raw

    def test_width_is_one_more_than_the_byte(self) -> None:
        assert parse(table(width=38)).host_address_width == 39

    def test_header_is_kept(self) -> None:
        assert parse(table()).header == Header(
            oem_id=b"OEMID1",
            oem_table_id=b"OEMTABLE",
            oem_revision=0,
            creator_id=bytes(4),
            creator_revision=0,
        )

    def test_length_and_checksum_are_made(self) -> None:
        data = Dmar(structures=tuple(value for _, value in LAYOUTS)).to_bytes()
        assert (struct.unpack_from("<I", data, 4)[0], sum(data) % 256) == (len(data), 0)

    @pytest.mark.parametrize(("size", "pages"), [(0, 1), (3, 8), (0x11, 2)])
    def test_register_set_is_a_power_of_two_pages(self, size: int, pages: int) -> None:
        assert Drhd(base=0x1000, size=size).registers == AddressRange(0x1000, 0x1000 + 0x1000 * pages)

    def test_reserved_memory_is_half_open(self) -> None:
        assert Rmrr(base=0x1000, limit=0x2FFF).memory == AddressRange(0x1000, 0x3000)

    def test_a_number_that_does_not_fit_is_refused(self) -> None:
        with pytest.raises(UsageError, match="Drhd"):
            Dmar(structures=(Drhd(base=1 << 64),)).to_bytes()

    @pytest.mark.parametrize("field", ["oem_id", "oem_table_id", "creator_id"])
    def test_an_identity_of_another_length_is_refused(self, field: str) -> None:
        with pytest.raises(UsageError, match=field):
            Header(**{field: b"x"})  # type: ignore[arg-type]


GOOD = LAYOUTS[0][0]
HOSTILE = {
    "empty": (b"", 0x0),
    "header alone": (table()[:36], 0x24),
    "signature": (b"RAMD" + table()[4:], 0x0),
    "length below the fixed part": (table()[:4] + struct.pack("<I", 47) + table()[8:], 0x4),
    "length beyond the data": (table(GOOD)[:-1], 0x4),
    "structure of length zero": (table(GOOD, struct.pack("<HH", 0, 0)), 0x30 + len(GOOD)),
    "structure shorter than its head": (table(struct.pack("<HH", 9, 3) + b"\0"), 0x30),
    "structure past the table": (table(struct.pack("<HH", 9, 5)), 0x30),
    "half a structure head": (table(GOOD, b"\0\0\0"), 0x30 + len(GOOD)),
    "unit shorter than its fields": (table(structure(0, "00 00 00 00")), 0x34),
    "scope of length zero": (table(structure(2, "00 00 00 00 01 00 00 00 00 00 00 00")), 0x38),
    "scope past its structure": (table(structure(2, "00 00 00 00 01 0a 00 00 00 00 00 00")), 0x38),
    "half a scope": (table(structure(2, "00 00 00 00 01 08 00")), 0x38),
}


class TestHostileBytes:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_error_names_the_offset(self, name: str) -> None:
        data, offset = HOSTILE[name]
        with pytest.raises(BadTable, match=rf"^parse DMAR: offset {offset:#x}: .+$"):
            parse(data)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_error_is_one_line(self, name: str) -> None:
        with pytest.raises(BadTable) as caught:
            parse(HOSTILE[name][0])
        assert "\n" not in str(caught.value)

    def test_length_zero_is_called_that(self) -> None:
        with pytest.raises(BadTable, match=r"has length 0$"):
            parse(HOSTILE["structure of length zero"][0])

    def test_wrong_checksum_is_parsed_and_said(self) -> None:
        data = bytearray(table(GOOD))
        data[9] ^= 1
        parsed = parse(bytes(data))
        assert parsed.structures == (LAYOUTS[0][1],)
        assert [noted.offset for noted in parsed.diagnostics] == [9]

    def test_bytes_after_the_table_are_left_and_said(self) -> None:
        parsed = parse(table(GOOD) + b"junk")
        assert parsed == parse(table(GOOD))
        assert [str(noted) for noted in parsed.diagnostics] == [
            f"offset {48 + len(GOOD):#x}: 4 bytes follow the table"
        ]

    def test_a_clean_table_says_nothing(self) -> None:
        assert parse(table(GOOD)).diagnostics == ()


DOUBTFUL = {
    "names no device": table(GOOD, structure(1, "00000000 0000000000000000 ff0f000000000000")),
    "ends before it begins": table(GOOD, structure(1, "00000000 0020000000000000 ff0f000000000000" + SCOPE)),
    "not in whole pages": table(GOOD, structure(1, "00000000 0000000000000000 fe0f000000000000" + SCOPE)),
    "no remapping unit": table(LAYOUTS[1][0]),
    "no register base": table(structure(0, "00 00 00 00 00 00 00 00 00 00 00 00")),
    "not page aligned": table(structure(0, "00 00 00 00 01 00 00 00 00 00 00 00")),
    "host address width is 11 bits": table(GOOD, width=10),
    "follows the INCLUDE_PCI_ALL unit": table(GOOD, GOOD),
    "empty path": table(GOOD, structure(2, "00 00 00 00 01 06 00 00 00 00")),
    "half a hop": table(GOOD, structure(2, "00 00 00 00 01 07 00 00 00 00 1f")),
    "above 1f": table(GOOD, structure(2, "00 00 00 00 01 08 00 00 00 00 20 00")),
    "not terminated": table(GOOD, structure(4, "00 00 00 01 41")),
    "longer than it should be": table(GOOD, structure(3, "00" * 20)),
}


class TestDiagnostics:
    @pytest.mark.parametrize("reason", DOUBTFUL)
    def test_what_is_odd_is_said_once(self, reason: str) -> None:
        assert sum(reason in noted.reason for noted in parse(DOUBTFUL[reason]).diagnostics) == 1

    def test_order_is_by_offset(self) -> None:
        data = table(structure(2, "00 00 00 00 01 06 00 00 00 00"), width=3) + b"x"
        offsets = [noted.offset for noted in parse(data).diagnostics]
        assert offsets == sorted(offsets)


# 00:1c.0 leads to bus 3, 03:00.0 to bus 4: a root port and a switch with one port; 80 is a second root bus.
PORT, UP, LEAF, FAR = bdf("00:1c.0"), bdf("03:00.0"), bdf("04:00.1"), bdf("80:02.0")
SECONDARY = {PORT: 3, UP: 4}
TOPOLOGY = Topology(parents={LEAF: UP, UP: PORT, PORT: None})


class TestResolve:
    @pytest.mark.parametrize(
        ("scope", "expected"),
        [
            (endpoint(0, (0x1C, 0)), PORT),
            (endpoint(0, (0x1C, 0), (0, 0)), UP),
            (endpoint(0, (0x1C, 0), (0, 0), (0, 1)), LEAF),
            (below(0x80, (2, 0)), FAR),
            (endpoint(0, (0x1D, 0), (0, 0)), None),
            (endpoint(0), None),
            (endpoint(0, (0x20, 0)), None),
            (endpoint(0, (0, 8)), None),
            (DeviceScope(type=ScopeType.IOAPIC, start_bus=0xFF, path=((0, 0),)), None),
        ],
    )
    def test_follows_secondary_buses(self, scope: DeviceScope, expected: PciAddress | None) -> None:
        assert resolve(scope, SECONDARY.get) == expected

    def test_segment_is_the_domain(self) -> None:
        assert resolve(endpoint(0, (2, 0)), SECONDARY.get, segment=9) == bdf("0009:00:02.0")


class TestNames:
    def test_an_endpoint_scope_leaves_out_what_is_below(self) -> None:
        assert not names(endpoint(0, (0x1C, 0)), (PORT, UP))

    @pytest.mark.parametrize("route", [(PORT,), (PORT, UP), (PORT, UP, LEAF)])
    def test_a_sub_hierarchy_scope_takes_in_bridge_and_all_below(
        self, route: tuple[PciAddress, ...]
    ) -> None:
        assert names(below(0, (0x1C, 0)), route)

    def test_one_hop_on_the_function_s_own_bus_is_accepted(self) -> None:
        assert names(endpoint(4, (0, 1)), (PORT, UP, LEAF))

    def test_two_hops_from_below_a_root_bus_are_not(self) -> None:
        assert not names(endpoint(3, (0, 0), (0, 1)), (PORT, UP, LEAF))

    def test_a_scope_of_another_type_names_nothing(self) -> None:
        assert not names(DeviceScope(type=9, start_bus=0, path=((0x1C, 0),)), (PORT,))


class TestTopology:
    def test_a_cycle_of_parents_ends(self) -> None:
        assert Topology(parents={PORT: UP, UP: PORT}).route(PORT) == (UP, PORT)

    def test_a_cycle_of_stand_ins_ends(self) -> None:
        assert Topology(looked_up_as={PORT: UP, UP: PORT}).lookup_route(PORT) == (UP,)


FIRST = Drhd(base=0x1000, scopes=(below(0, (0x1C, 0)),))
SECOND = Drhd(base=0x2000, scopes=(endpoint(0, (2, 0)),))
REST = Drhd(base=0x3000, flags=INCLUDE_PCI_ALL)
OTHER = Drhd(base=0x4000, flags=INCLUDE_PCI_ALL, segment=1)


class TestCoveringUnit:
    @pytest.mark.parametrize(
        ("function", "unit"),
        [
            ("00:1c.0", FIRST),
            ("03:00.0", FIRST),
            ("04:00.1", FIRST),
            ("00:02.0", SECOND),
            ("00:02.1", REST),
            ("80:02.0", REST),
            ("0001:00:02.0", OTHER),
            ("0002:00:02.0", None),
        ],
    )
    def test_of_four_units(self, function: str, unit: Drhd | None) -> None:
        assert covering_unit(Dmar(structures=(FIRST, SECOND, REST, OTHER)), bdf(function), TOPOLOGY) == unit

    def test_the_catch_all_is_last_wherever_it_stands(self) -> None:
        assert covering_unit(Dmar(structures=(REST, SECOND)), bdf("00:02.0"), TOPOLOGY) == SECOND

    def test_scopes_of_the_catch_all_do_not_count(self) -> None:
        greedy = Drhd(base=0x5000, flags=INCLUDE_PCI_ALL, scopes=(endpoint(0, (2, 0)),))
        assert covering_unit(Dmar(structures=(SECOND, greedy)), bdf("00:02.0"), TOPOLOGY) == SECOND

    def test_of_two_claims_linux_takes_the_last(self) -> None:
        again = Drhd(base=0x6000, scopes=(endpoint(0, (0x1C, 0), (0, 0)),))
        assert covering_unit(Dmar(structures=(FIRST, again)), UP, TOPOLOGY) == again

    def test_without_units_nothing_is_covered(self) -> None:
        assert covering_unit(Dmar(), PORT, TOPOLOGY) is None

    def test_a_virtual_function_follows_its_physical_function(self) -> None:
        vf, pf = bdf("05:10.0"), bdf("04:00.1")
        topology = Topology(parents=TOPOLOGY.parents, looked_up_as={vf: pf})
        assert covering_unit(Dmar(structures=(FIRST, REST)), vf, topology) == FIRST

    def test_a_function_behind_vmd_follows_the_controller(self) -> None:
        disk, vmd = bdf("10000:e1:00.0"), bdf("00:02.0")
        topology = Topology(parents={disk: bdf("10000:e0:00.0")}, looked_up_as={disk: vmd})
        assert covering_unit(Dmar(structures=(SECOND,)), disk, topology) == SECOND


class TestReservedMemory:
    REGION = Rmrr(base=0x1000, limit=0x1FFF, scopes=(endpoint(0, (0x14, 0)), below(0, (0x1C, 0))))
    TABLE = Dmar(structures=(REGION, Rmrr(base=0x5000, limit=0x5FFF, scopes=(endpoint(0, (2, 0)),))))

    @pytest.mark.parametrize(
        ("function", "regions"),
        [("00:14.0", 1), ("04:00.1", 1), ("00:15.0", 0), ("0001:00:14.0", 0)],
    )
    def test_is_for_the_functions_that_it_names(self, function: str, regions: int) -> None:
        assert reserved_memory(self.TABLE, bdf(function), TOPOLOGY) == (self.REGION,) * regions

    def test_a_virtual_function_inherits_none(self) -> None:
        topology = Topology(looked_up_as={bdf("05:00.1"): bdf("00:14.0")})
        assert reserved_memory(self.TABLE, bdf("05:00.1"), topology) == ()

"""IVRS: bytes laid out by hand, what hostile bytes end in, and which unit has which requester identity."""

import struct

import pytest

from vfiokit.acpi.ivhd import (
    AcpiHidEntry,
    AliasEntry,
    DeviceEntry,
    Entry,
    EntryType,
    ExtendedEntry,
    SpecialEntry,
    UnknownEntry,
    selections,
)
from vfiokit.acpi.ivrs import (
    Ivhd,
    Ivmd,
    IvmdType,
    Ivrs,
    UnknownBlock,
    alias_of,
    covering_unit,
    parse,
    reserved_memory,
)
from vfiokit.address import AddressRange, PciAddress
from vfiokit.errors import BadTable, UsageError


def bdf(text: str) -> PciAddress:
    return PciAddress.parse(text)


def table(*blocks: bytes, ivinfo: int = 0) -> bytes:
    """Lay a table out by byte offsets alone, with the checksum made right."""
    body = struct.pack("<I", ivinfo) + bytes(8) + b"".join(blocks)
    data = bytearray(
        b"IVRS" + struct.pack("<I", 36 + len(body)) + bytes([2, 0]) + b"OEMID1OEMTABLE" + bytes(12) + body
    )
    data[9] = -sum(data) % 256
    return bytes(data)


def block(kind: int, flags: int, body: str) -> bytes:
    raw = bytes.fromhex(body)
    return struct.pack("<BBH", kind, flags, 4 + len(raw)) + raw


HEAD = "02 00 40 00 00 00 00 fd 00 00 00 00 34 12 01 05 78 56 34 12"
EFR = "de 4a 25 22 ef 73 6d 20 10 00 00 00 00 00 00 00"


def unit(entries: str) -> bytes:
    return block(0x11, 0x30, HEAD + EFR + entries)


ENTRIES: tuple[tuple[str, Entry], ...] = (
    ("00 00 00 00", DeviceEntry(type=EntryType.PAD4)),
    ("01 00 00 d7", DeviceEntry(type=EntryType.ALL, settings=0xD7)),
    ("02 08 01 00", DeviceEntry(type=EntryType.SELECT, device_id=0x108)),
    ("03 10 00 00", DeviceEntry(type=EntryType.START_RANGE, device_id=0x10)),
    ("04 ff ff 00", DeviceEntry(type=EntryType.END_RANGE, device_id=0xFFFF)),
    (
        "42 00 03 01 00 a5 00 00",
        AliasEntry(type=EntryType.ALIAS_SELECT, device_id=0x300, alias=0xA5, settings=1),
    ),
    ("43 00 03 00 00 a4 00 00", AliasEntry(type=EntryType.ALIAS_START_RANGE, device_id=0x300, alias=0xA4)),
    (
        "46 00 03 00 00 00 00 80",
        ExtendedEntry(type=EntryType.EXTENDED_SELECT, device_id=0x300, extended=0x80000000),
    ),
    (
        "47 00 03 00 01 00 00 00",
        ExtendedEntry(type=EntryType.EXTENDED_START_RANGE, device_id=0x300, extended=1),
    ),
    ("48 00 00 d7 21 a0 00 01", SpecialEntry(handle=0x21, device_id=0xA0, variety=1, settings=0xD7)),
    (
        "f0 a5 00 00" + b"AMDI0020".hex() + "00" * 8 + "02 03" + b"ID1".hex(),
        AcpiHidEntry(device_id=0xA5, hid=b"AMDI0020", uid_format=2, uid=b"ID1"),
    ),
    ("05 01 02 03", UnknownEntry(type=5, data=b"\1\2\3")),
    ("7f 01 02 03 04 05 06 07", UnknownEntry(type=0x7F, data=bytes(range(1, 8)))),
)


class TestLayout:
    @pytest.mark.parametrize(("raw", "value"), ENTRIES)
    def test_entry_fields_are_at_the_offsets_of_the_specification(self, raw: str, value: Entry) -> None:
        assert parse(table(unit(raw))).units[0].entries == (value,)

    @pytest.mark.parametrize(("raw", "value"), ENTRIES)
    def test_building_an_entry_gives_the_same_bytes(self, raw: str, value: Entry) -> None:
        built = Ivrs(blocks=(Ivhd(type=0x11, device_id=0, base=0, entries=(value,)),)).to_bytes()
        assert built[48 + 40 :] == bytes.fromhex(raw)

    def test_entries_follow_one_another(self) -> None:
        parsed = parse(table(unit("".join(raw for raw, _ in ENTRIES))))
        assert parsed.units[0].entries == tuple(value for _, value in ENTRIES)

    def test_unit_of_type_10(self) -> None:
        assert parse(table(block(0x10, 0xB0, HEAD))).blocks == (
            Ivhd(
                type=0x10,
                flags=0xB0,
                device_id=2,
                capability_offset=0x40,
                base=0xFD000000,
                segment=0x1234,
                info=0x501,
                features=0x12345678,
            ),
        )

    @pytest.mark.parametrize("kind", [0x11, 0x40])
    def test_later_types_hold_the_features(self, kind: int) -> None:
        (found,) = parse(table(block(kind, 0, HEAD + EFR))).units
        assert (found.efr, found.efr2) == (0x206D73EF22254ADE, 0x10)

    @pytest.mark.parametrize("kind", IvmdType)
    def test_memory(self, kind: IvmdType) -> None:
        raw = block(
            kind, 0x07, "08 01 10 02 01 00" + "00" * 6 + "00 10 00 00 01 00 00 00 00 20 00 00 00 00 00 00"
        )
        assert parse(table(unit(""), raw)).blocks[1] == Ivmd(
            type=kind,
            flags=7,
            device_id=0x108,
            last_device_id=0x210,
            segment=1,
            start=0x1_0000_1000,
            length=0x2000,
        )

    def test_unknown_block_is_kept(self) -> None:
        raw = block(0x77, 5, "01 02")
        parsed = parse(table(unit(""), raw))
        assert parsed.blocks[1] == UnknownBlock(type=0x77, flags=5, data=b"\1\2")
        assert parsed.to_bytes().endswith(raw)

    def test_information_word(self) -> None:
        parsed = parse(table(unit(""), ivinfo=0x00203043))
        assert (parsed.physical_address_size, parsed.virtual_address_size) == (48, 64)

    def test_a_unit_s_own_function(self) -> None:
        assert parse(table(unit(""))).units[0].address == bdf("1234:00:00.2")

    def test_type_10_has_no_room_for_features(self) -> None:
        with pytest.raises(UsageError, match="extended features"):
            Ivhd(type=0x10, device_id=2, base=0, efr=1)

    def test_a_hid_of_another_length_is_refused(self) -> None:
        with pytest.raises(UsageError, match="8 bytes"):
            AcpiHidEntry(device_id=0, hid=b"short")


HOSTILE = {
    "empty": (b"", 0x0),
    "signature": (b"DMAR" + table()[4:], 0x0),
    "truncated": (table(unit("01 00 00 00"))[:-1], 0x4),
    "block of length zero": (table(unit(""), bytes(4)), 0x30 + 40),
    "block past the table": (table(struct.pack("<BBH", 0x10, 0, 24)), 0x30),
    "half a block head": (table(unit(""), b"\x10\0\0"), 0x30 + 40),
    "unit shorter than its fields": (table(block(0x10, 0, HEAD[:-3])), 0x34),
    "unit without its features": (table(block(0x11, 0, HEAD)), 0x48),
    "memory shorter than its fields": (table(block(0x20, 0, "00" * 27)), 0x34),
    "entry past its block": (table(unit("42 00 03 00")), 0x58),
    "half an entry": (table(unit("02 00")), 0x58),
    "name past its block": (table(unit("f0 a5 00 00" + "00" * 17 + "09")), 0x58),
    "half a name entry": (table(unit("f0 a5 00 00 00")), 0x59),
}


class TestHostileBytes:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_error_names_the_offset(self, name: str) -> None:
        data, offset = HOSTILE[name]
        with pytest.raises(BadTable, match=rf"^parse IVRS: offset {offset:#x}: .+$"):
            parse(data)

    def test_length_zero_is_called_that(self) -> None:
        with pytest.raises(BadTable, match=r"has length 0$"):
            parse(HOSTILE["block of length zero"][0])

    def test_wrong_checksum_is_parsed_and_said(self) -> None:
        data = bytearray(table(unit("")))
        data[9] ^= 1
        assert [noted.offset for noted in parse(bytes(data)).diagnostics] == [9]

    @pytest.mark.parametrize("kind", [0x80, 0xC0, 0xEF, 0xF1])
    def test_entry_of_unknown_length_keeps_the_rest_of_the_block(self, kind: int) -> None:
        parsed = parse(table(unit(f"01 00 00 00 {kind:02x} 02 08 01 00"), block(0x11, 0, HEAD + EFR)))
        assert parsed.units[0].entries == (
            DeviceEntry(type=EntryType.ALL),
            UnknownEntry(type=kind, data=bytes.fromhex("02 08 01 00")),
        )
        assert [noted.offset for noted in parsed.diagnostics] == [0x5C]


DOUBTFUL = {
    "no unit": table(),
    "range of devices ends before it starts": table(unit("03 10 00 00 04 0f 00 00")),
    "past the last address": table(
        unit(""), block(0x20, 1, "00" * 12 + "00f0" + "ff" * 6 + "0020" + "00" * 6)
    ),
    "empty range of devices": table(unit(""), block(0x22, 1, "02 00 01 00" + "00" * 24)),
    "longer than it should be": table(unit(""), block(0x20, 1, "00" * 29)),
    "Linux uses type 0x11 alone: not unit 1234:00:00.3": table(unit(""), block(0x10, 0, "03" + HEAD[2:])),
}


class TestDiagnostics:
    @pytest.mark.parametrize("reason", DOUBTFUL)
    def test_what_is_odd_is_said_once(self, reason: str) -> None:
        assert [reason in noted.reason for noted in parse(DOUBTFUL[reason]).diagnostics] == [True]


def select(device_id: int) -> DeviceEntry:
    return DeviceEntry(type=EntryType.SELECT, device_id=device_id)


def start(device_id: int) -> DeviceEntry:
    return DeviceEntry(type=EntryType.START_RANGE, device_id=device_id)


def end(device_id: int) -> DeviceEntry:
    return DeviceEntry(type=EntryType.END_RANGE, device_id=device_id)


class TestSelections:
    @pytest.mark.parametrize(
        ("entries", "expected"),
        [
            ((DeviceEntry(type=EntryType.ALL),), [range(0x10000)]),
            ((select(5),), [range(5, 6)]),
            ((start(8), end(15)), [range(8, 16)]),
            ((start(8), select(100), end(15)), [range(100, 101), range(8, 16)]),
            ((start(8),), []),
            ((end(8),), []),
            ((start(8), end(9), end(20)), [range(8, 10)]),
            ((DeviceEntry(type=EntryType.PAD4),), []),
            ((SpecialEntry(handle=1, device_id=0xA0, variety=1),), [range(0xA0, 0xA1)]),
            ((AcpiHidEntry(device_id=0xA5, hid=bytes(8)),), [range(0xA5, 0xA6)]),
            ((UnknownEntry(type=5, data=bytes(3)),), []),
        ],
    )
    def test_source_ids(self, entries: tuple[Entry, ...], expected: list[range]) -> None:
        assert [chosen.source_ids for chosen in selections(entries)] == expected

    def test_settings_of_a_range_are_those_of_its_start(self) -> None:
        first = ExtendedEntry(
            type=EntryType.EXTENDED_START_RANGE, device_id=1, settings=0x40, extended=0x80000000
        )
        (chosen,) = selections((first, DeviceEntry(type=EntryType.END_RANGE, device_id=9, settings=7)))
        assert (chosen.settings, chosen.extended) == (0x40, 0x80000000)


def hardware(device_id: int, *entries: Entry, kind: int = 0x11, segment: int = 0) -> Ivhd:
    return Ivhd(type=kind, device_id=device_id, base=0xFD000000, segment=segment, entries=entries)


class TestCoveringUnit:
    def test_only_the_highest_type_of_a_unit_counts(self) -> None:
        ivrs = Ivrs(blocks=(hardware(2, select(0x10), kind=0x10), hardware(2, select(0x20), kind=0x40)))
        assert [covering_unit(ivrs, bdf(text)) is not None for text in ("00:02.0", "00:04.0")] == [
            False,
            True,
        ]

    def test_each_unit_has_its_own_highest_type(self) -> None:
        first, second = hardware(2, kind=0x10), hardware(3, kind=0x40)
        assert Ivrs(blocks=(first, second)).units == (first, second)

    def test_the_same_id_in_another_segment_is_another_unit(self) -> None:
        first, second = hardware(2, kind=0x10), hardware(2, kind=0x40, segment=1)
        assert Ivrs(blocks=(first, second)).units == (first, second)

    def test_segment_is_compared(self) -> None:
        ivrs = Ivrs(blocks=(hardware(2, DeviceEntry(type=EntryType.ALL), segment=1),))
        assert covering_unit(ivrs, bdf("00:02.0")) is None

    def test_of_two_claims_linux_keeps_the_last(self) -> None:
        ivrs = Ivrs(blocks=(hardware(2, select(0x10)), hardware(3, select(0x10))))
        found = covering_unit(ivrs, bdf("00:02.0"))
        assert found is not None
        assert found.device_id == 3

    def test_the_alias_is_covered_too(self) -> None:
        entry = AliasEntry(type=EntryType.ALIAS_SELECT, device_id=0x300, alias=0x10)
        assert covering_unit(Ivrs(blocks=(hardware(2, entry),)), bdf("00:02.0")) is not None


class TestAlias:
    RANGE = (AliasEntry(type=EntryType.ALIAS_START_RANGE, device_id=0x300, alias=0xA4), end(0x3FF))
    IVRS = Ivrs(blocks=(hardware(2, *RANGE, DeviceEntry(type=EntryType.ALL)),))

    @pytest.mark.parametrize(
        ("function", "alias"),
        [
            ("03:00.0", "00:14.4"),
            ("03:1f.7", "00:14.4"),
            ("04:00.0", "04:00.0"),
            ("0001:03:00.0", "0001:03:00.0"),
        ],
    )
    def test_range(self, function: str, alias: str) -> None:
        assert alias_of(self.IVRS, bdf(function)) == bdf(alias)


def memory(kind: int, flags: int, first: int = 0x10, last: int = 0x12) -> Ivmd:
    return Ivmd(type=kind, flags=flags, device_id=first, last_device_id=last, start=0x1000, length=0x1000)


class TestReservedMemory:
    @pytest.mark.parametrize(
        ("kind", "covered"),
        [
            (IvmdType.ALL, ["00:01.7", "00:02.0", "00:02.2", "00:02.3"]),
            (IvmdType.SPECIFIED, ["00:02.0"]),
            (IvmdType.RANGE, ["00:02.0", "00:02.2"]),
        ],
    )
    def test_kinds(self, kind: IvmdType, covered: list[str]) -> None:
        ivrs = Ivrs(blocks=(memory(kind, 1),))
        asked = ("00:01.7", "00:02.0", "00:02.2", "00:02.3")
        assert [text for text in asked if reserved_memory(ivrs, bdf(text))] == covered

    @pytest.mark.parametrize(("flags", "asks"), [(0, False), (1, True), (6, False), (8, True), (9, True)])
    def test_only_unity_or_exclusion_asks_for_something(self, flags: int, asks: bool) -> None:
        assert bool(Ivrs(blocks=(memory(0x20, flags),)).reserved) == asks

    def test_range_is_half_open(self) -> None:
        assert memory(0x20, 1).memory == AddressRange(0x1000, 0x2000)

    def test_segment_is_compared(self) -> None:
        assert reserved_memory(Ivrs(blocks=(memory(0x20, 1),)), bdf("0001:00:02.0")) == ()

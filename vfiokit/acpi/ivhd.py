"""The device entries of an IVHD block: which requester identities an AMD-Vi unit translates, and as whom.

Entries select source ids one by one, in ranges, or all. An alias entry adds that requests of one identity
arrive under another (AMD-Vi 5.2.2).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from vfiokit.acpi.table import Reading, pack
from vfiokit.bits import Field
from vfiokit.errors import UsageError

__all__ = [
    "ALL_SOURCE_IDS",
    "ENTRY_SETTINGS",
    "AcpiHidEntry",
    "AliasEntry",
    "DeviceEntry",
    "Entry",
    "EntryType",
    "ExtendedEntry",
    "Selection",
    "SpecialEntry",
    "UnknownEntry",
    "build_entries",
    "parse_entries",
    "selections",
]

ENTRY_SETTINGS = (
    Field("INITPass", 0, meaning="INIT passes untranslated"),
    Field("EIntPass", 1, meaning="external interrupts pass untranslated"),
    Field("NMIPass", 2, meaning="NMI passes untranslated"),
    Field("SysMgt", 4, 2, meaning="how system management messages are treated"),
    Field("Lint0Pass", 6, meaning="legacy PIC interrupts pass untranslated"),
    Field("Lint1Pass", 7, meaning="legacy NMI passes untranslated"),
)
"""Bits of an entry's settings byte."""

ALL_SOURCE_IDS = range(0x10000)
"""Every requester identity of a segment."""


class EntryType(IntEnum):
    """Types of device entry (AMD-Vi 5.2.2); bits 7:6 give the length, 4 << n bytes, up to type 0x7f."""

    PAD4 = 0x00
    ALL = 0x01
    SELECT = 0x02
    START_RANGE = 0x03
    END_RANGE = 0x04
    PAD8 = 0x40
    ALIAS_SELECT = 0x42
    ALIAS_START_RANGE = 0x43
    EXTENDED_SELECT = 0x46
    EXTENDED_START_RANGE = 0x47
    SPECIAL_DEVICE = 0x48
    ACPI_HID_DEVICE = 0xF0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One device entry; settings are bits of :data:`ENTRY_SETTINGS`, ids are 16-bit source ids."""

    type: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry(Entry):
    """All, one, or an end of a range of source ids; padding too."""

    device_id: int = 0
    settings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasEntry(Entry):
    """One source id or the start of a range, whose requests arrive under *alias*."""

    device_id: int
    alias: int
    settings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedEntry(Entry):
    """One source id or the start of a range, with more settings; bit 31 of *extended* disables ATS."""

    device_id: int
    extended: int = 0
    settings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialEntry(Entry):
    """An I/O APIC (variety 1) or HPET (variety 2) by its *handle*, and the id that it requests as."""

    handle: int
    device_id: int
    variety: int
    settings: int = 0
    type: int = EntryType.SPECIAL_DEVICE


@dataclass(frozen=True, slots=True, kw_only=True)
class AcpiHidEntry(Entry):
    """A device known by its ACPI hardware id; in blocks of type 0x40.

    :ivar uid_format: 0 none, 1 an integer, 2 characters.
    """

    device_id: int
    hid: bytes
    cid: bytes = bytes(8)
    uid_format: int = 0
    uid: bytes = b""
    settings: int = 0
    type: int = EntryType.ACPI_HID_DEVICE

    def __post_init__(self) -> None:
        if len(self.hid) != 8 or len(self.cid) != 8:
            raise UsageError("hid and cid have 8 bytes", operation="build", subject="ACPI HID entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEntry(Entry):
    """An entry of a type that this module has no name for; *data* are the bytes after the type."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Source ids that a unit translates.

    :ivar source_ids: half open, ``range(first, last + 1)``.
    :ivar alias: the id under which their requests arrive, ``None`` for their own.
    """

    source_ids: range
    alias: int | None = None
    settings: int = 0
    extended: int = 0


def selections(entries: tuple[Entry, ...]) -> tuple[Selection, ...]:
    """Return what *entries* select, in order; a range whose end is missing selects nothing.

    >>> start = AliasEntry(type=EntryType.ALIAS_START_RANGE, device_id=0x300, alias=0x10)
    >>> end = DeviceEntry(type=EntryType.END_RANGE, device_id=0x3FF)
    >>> selections((start, end))[0].source_ids == range(0x300, 0x400)
    True
    """
    return tuple(_select(entries))


def _select(entries: tuple[Entry, ...]) -> Iterator[Selection]:
    start: Entry | None = None
    for entry in entries:
        if entry.type in _STARTS:
            start = entry
        elif entry.type == EntryType.END_RANGE:
            if start is not None:
                yield _selection(start, range(_id(start), _id(entry) + 1))
            start = None
        elif entry.type == EntryType.ALL:
            yield _selection(entry, ALL_SOURCE_IDS)
        elif entry.type in _SINGLES:
            yield _selection(entry, range(_id(entry), _id(entry) + 1))


_STARTS = (EntryType.START_RANGE, EntryType.ALIAS_START_RANGE, EntryType.EXTENDED_START_RANGE)
_SINGLES = (
    EntryType.SELECT,
    EntryType.ALIAS_SELECT,
    EntryType.EXTENDED_SELECT,
    EntryType.SPECIAL_DEVICE,
    EntryType.ACPI_HID_DEVICE,
)


def _id(entry: Entry) -> int:
    return int(getattr(entry, "device_id", 0))


def _selection(entry: Entry, source_ids: range) -> Selection:
    return Selection(
        source_ids=source_ids,
        alias=entry.alias if isinstance(entry, AliasEntry) else None,
        settings=getattr(entry, "settings", 0),
        extended=entry.extended if isinstance(entry, ExtendedEntry) else 0,
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """The types of one shape of entry, and its fields after the type byte."""

    types: tuple[int, ...]
    make: Callable[..., Entry]
    fixed: struct.Struct
    fields: tuple[str, ...]


_LAYOUTS = (
    _Layout((0x00, 0x01, 0x02, 0x03, 0x04), DeviceEntry, struct.Struct("<HB"), ("device_id", "settings")),
    _Layout((0x42, 0x43), AliasEntry, struct.Struct("<HBxHx"), ("device_id", "settings", "alias")),
    _Layout((0x46, 0x47), ExtendedEntry, struct.Struct("<HBI"), ("device_id", "settings", "extended")),
    _Layout((0x48,), SpecialEntry, struct.Struct("<2xBBHB"), ("settings", "handle", "device_id", "variety")),
)
_BY_TYPE = {entry_type: layout for layout in _LAYOUTS for entry_type in layout.types}
_BY_CLASS = {layout.make: layout for layout in _LAYOUTS}
_HID = struct.Struct("<HB8s8sBB")


def parse_entries(reading: Reading, offset: int, end: int) -> tuple[Entry, ...]:
    """Read the device entries that fill *offset* to *end*.

    :raises BadTable: if an entry runs past *end*.
    """
    entries = []
    while offset < end:
        length = _length(reading, offset, end)
        if offset + length > end:
            raise reading.bad(offset, f"device entry of {length} bytes runs past its block at {end:#x}")
        entries.append(_parse_entry(reading, offset, offset + length))
        offset += length
    return tuple(entries)


def _length(reading: Reading, offset: int, end: int) -> int:
    entry_type = reading.data[offset]
    if entry_type < 0x80:
        return 4 << (entry_type >> 6)
    if entry_type == EntryType.ACPI_HID_DEVICE:
        *_, uid_length = reading.unpack(_HID, offset + 1, end, "ACPI HID entry")
        return 1 + _HID.size + int(uid_length)
    # No length is known from here on, and so no later entry can be found: Linux cannot step over it either.
    reading.note(
        offset, f"device entry type {entry_type:#04x} is unknown; the rest of the block is not read"
    )
    return end - offset


def _parse_entry(reading: Reading, offset: int, end: int) -> Entry:
    entry_type = reading.data[offset]
    if entry_type == EntryType.ACPI_HID_DEVICE:
        device_id, settings, hid, cid, uid_format, _ = reading.unpack(_HID, offset + 1, end, "entry")
        uid = reading.data[offset + 1 + _HID.size : end]
        return AcpiHidEntry(
            device_id=device_id, settings=settings, hid=hid, cid=cid, uid_format=uid_format, uid=uid
        )
    layout = _BY_TYPE.get(entry_type)
    if layout is None:
        return UnknownEntry(type=entry_type, data=reading.data[offset + 1 : end])
    what = f"device entry of type {entry_type:#04x}"
    values: dict[str, Any] = dict(
        zip(layout.fields, reading.unpack(layout.fixed, offset + 1, end, what), strict=True)
    )
    return layout.make(type=entry_type, **values)


def build_entries(entries: tuple[Entry, ...]) -> bytes:
    """Write *entries* one after another; the inverse of :func:`parse_entries`.

    :raises UsageError: if a number does not fit its field.
    """
    return b"".join(map(_build_entry, entries))


def _build_entry(entry: Entry) -> bytes:
    if isinstance(entry, UnknownEntry):
        return bytes([entry.type]) + entry.data
    if isinstance(entry, AcpiHidEntry):
        fixed = (entry.device_id, entry.settings, entry.hid, entry.cid, entry.uid_format, len(entry.uid))
        return bytes([entry.type]) + pack(_HID, "ACPI HID entry", *fixed) + entry.uid
    layout = _BY_CLASS[type(entry)]
    values = (getattr(entry, name) for name in layout.fields)
    return bytes([entry.type]) + pack(layout.fixed, f"entry of type {entry.type:#04x}", *values)

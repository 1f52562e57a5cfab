"""What every ACPI table shares: the header, the checksum, and structures one after another.

Firmware is not trusted. Bytes that do not hold together end in :class:`~vfiokit.errors.BadTable`; bytes that
do but mean something odd become a :class:`Diagnostic` beside the value.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vfiokit.errors import BadTable, UsageError

__all__ = ["HEADER_SIZE", "Diagnostic", "Framing", "Header", "Reading", "pack", "seal"]

_HEADER = struct.Struct("<4sIBB6s8sI4sI")
_CHECKSUM_AT = 9

HEADER_SIZE = _HEADER.size
"""Bytes of the header that every table begins with: 36 (ACPI 5.2.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """Something in a table that parses but is wrong or strange.

    :ivar offset: the byte in the table that it is about.
    :ivar reason: what is wrong, one phrase.

    >>> str(Diagnostic(offset=9, reason="checksum is off by 0x01"))
    'offset 0x9: checksum is off by 0x01'
    """

    offset: int
    reason: str

    def __str__(self) -> str:
        return f"offset {self.offset:#x}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The fields of the ACPI table header that say who wrote it (ACPI 5.2.6).

    Signature, length and checksum belong to the bytes and are made by :func:`seal`.

    :raises UsageError: if an identity has not exactly the number of bytes that the header gives it.
    """

    revision: int = 1
    oem_id: bytes = b"VFIOK\0"
    oem_table_id: bytes = b"VFIOKIT\0"
    oem_revision: int = 1
    creator_id: bytes = b"VFIO"
    creator_revision: int = 1

    def __post_init__(self) -> None:
        for name, size in (("oem_id", 6), ("oem_table_id", 8), ("creator_id", 4)):
            if len(getattr(self, name)) != size:
                raise UsageError(f"{name} has {size} bytes", operation="build", subject="ACPI table header")


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a kind of structure says its own length.

    :ivar what: the kind, for messages.
    :ivar head: bytes before the body; the shortest length allowed.
    :ivar at: offset of the length field in the structure.
    :ivar width: bytes of the length field.
    """

    what: str
    head: int
    at: int
    width: int


class Reading:
    """The bytes of one table while it is read, and what was noticed on the way.

    :ivar data: the table, cut at the length that its header declares.
    :ivar header: who wrote it.

    :raises BadTable: if signature or length do not fit a table with *fixed* bytes before its structures.
    """

    def __init__(self, data: bytes, signature: str, fixed: int) -> None:
        self.signature = signature
        self._noted: list[Diagnostic] = []
        if len(data) < fixed:
            raise self.bad(len(data), f"the fixed part needs {fixed} bytes")
        found, length, revision, _, oem_id, oem_table_id, oem_revision, creator_id, creator_revision = (
            _HEADER.unpack_from(data)
        )
        if found != signature.encode():
            raise self.bad(0, f"signature is {found!r}")
        if not fixed <= length <= len(data):
            raise self.bad(4, f"length is {length}; the fixed part needs {fixed}, the data has {len(data)}")
        self.data = data[:length]
        self.header = Header(
            revision=revision,
            oem_id=oem_id,
            oem_table_id=oem_table_id,
            oem_revision=oem_revision,
            creator_id=creator_id,
            creator_revision=creator_revision,
        )
        if length < len(data):
            self.note(length, f"{len(data) - length} bytes follow the table")
        if excess := sum(self.data) & 0xFF:
            self.note(_CHECKSUM_AT, f"checksum is off by {excess:#04x}")

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What was noticed, in order of offset."""
        return tuple(sorted(self._noted, key=lambda noted: noted.offset))

    def bad(self, offset: int, reason: str) -> BadTable:
        """Return, for the caller to raise, the error that names table, offset and reason in one line."""
        return BadTable(f"offset {offset:#x}: {reason}", operation="parse", subject=self.signature)

    def note(self, offset: int, reason: str) -> None:
        """Keep a diagnostic."""
        self._noted.append(Diagnostic(offset=offset, reason=reason))

    def unpack(self, layout: struct.Struct, offset: int, end: int, what: str) -> tuple[Any, ...]:
        """Read *layout* at *offset*.

        :raises BadTable: if it would run past *end*.
        """
        if offset + layout.size > end:
            raise self.bad(offset, f"{what} needs {layout.size} bytes, has {end - offset}")
        return layout.unpack_from(self.data, offset)

    def pieces(self, framing: Framing, offset: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the half-open span of each structure from *offset* to *end*.

        :raises BadTable: at a structure too short for its own head or running past *end*.
        """
        while offset < end:
            if end - offset < framing.head:
                raise self.bad(offset, f"{framing.what} needs {framing.head} bytes, has {end - offset}")
            at = offset + framing.at
            length = int.from_bytes(self.data[at : at + framing.width], "little")
            if length < framing.head:
                raise self.bad(offset, f"{framing.what} has length {length}")
            if offset + length > end:
                raise self.bad(offset, f"{framing.what} of {length} bytes runs past its parent at {end:#x}")
            yield offset, offset + length
            offset += length


def pack(layout: struct.Struct, what: str, *values: object) -> bytes:
    """Pack *values*.

    :raises UsageError: if one does not fit its field.
    """
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise UsageError(f"{what}: {error}", operation="build", subject="ACPI table") from error


def seal(signature: str, header: Header, body: bytes) -> bytes:
    """Put header, length and checksum in front of *body*, so that all bytes sum to 0 modulo 256.

    >>> sum(seal("DMAR", Header(), bytes(12))) % 256
    0
    """
    length = HEADER_SIZE + len(body)
    oem = (header.oem_id, header.oem_table_id, header.oem_revision)
    creator = (header.creator_id, header.creator_revision)
    head = pack(_HEADER, "header", signature.encode(), length, header.revision, 0, *oem, *creator)
    checksum = -sum(head + body) & 0xFF
    return head[:_CHECKSUM_AT] + bytes([checksum]) + head[_CHECKSUM_AT + 1 :] + body

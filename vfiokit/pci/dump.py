"""Reads dumps of config spaces as ``lspci -x``, ``-xxx`` and ``-xxxx`` print them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from vfiokit.address import PciAddress
from vfiokit.errors import UsageError
from vfiokit.pci.image import EXTENDED_SIZE

__all__ = ["Dumped", "format_dump", "parse_dump"]


class Dumped(NamedTuple):
    """One function of a dump.

    :ivar address: its address; of domain 0 where the dump has none.
    :ivar data: its config space from offset 0.
    """

    address: PciAddress
    data: bytes


# A domain has four digits, and up to eight behind VMD and in virtual roots.
_START = re.compile(rb"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])(?=[ \r\n])")
_FUNCTION = re.compile(rb"\.[0-7](?=[ \r\n])")
_LINE = re.compile(rb"^([0-9a-fA-F]{2,3}):((?: [0-9a-fA-F]{2}){1,16})[ \r]*$", re.MULTILINE)
_BLANK = re.compile(rb"\n[ \t\r]*\n")
_FIRST = b"\n00: "
_ROW = 16
_SHORT, _SHORT_ROWS = 52, 16
"""Bytes of a line whose offset has two digits, and how many there are; those after them have one more."""
_OFFSETS = tuple(f"{offset:02x}".encode() for offset in range(0, EXTENDED_SIZE, _ROW))
_COLUMNS = tuple(
    (
        bytes(text[place] for text in _OFFSETS[:_SHORT_ROWS]),
        bytes(text[place] for text in _OFFSETS[_SHORT_ROWS:]),
    )
    for place in range(2)
)
_THIRD = bytes(text[2] for text in _OFFSETS[_SHORT_ROWS:])


def parse_dump(text: bytes) -> Iterator[Dumped]:
    """Yield the functions of a dump in its order; those without a byte are left out.

    :raises UsageError: if there is no function in it.
    """
    starts = list(_starts(text))
    if not starts:
        raise UsageError(
            "no function in it",
            operation="read",
            subject="dump",
            hint="it must hold lines like 00:02.0 and 00: 86 80, as lspci -xxxx prints them",
        )
    ends = [each.start() for each in starts[1:]] + [len(text)]
    for start, end in zip(starts, ends, strict=True):
        data = _bytes(text[start.start() : end])
        if data:
            yield Dumped(_address(start), data)


def _starts(text: bytes) -> Iterator[re.Match[bytes]]:
    """Yield where functions begin: a line with an address; few lines have what is searched for."""
    for found in _FUNCTION.finditer(text):
        start = _START.match(text, text.rfind(b"\n", 0, found.start()) + 1)
        if start and start.end() == found.end():
            yield start


def format_dump(functions: Iterator[Dumped] | list[Dumped]) -> str:
    """Return the dump of some functions, with domains if one of them needs it."""
    functions = list(functions)
    domains = any(each.address.domain for each in functions)
    return "".join(_formatted(each, domains=domains) for each in functions)


def _formatted(function: Dumped, *, domains: bool) -> str:
    name = str(function.address) if domains else str(function.address).partition(":")[2]
    rows = (function.data[at : at + _ROW] for at in range(0, len(function.data), _ROW))
    lines = (f"{at * _ROW:02x}: {row.hex(' ')}\n" for at, row in enumerate(rows))
    return f"{name} function\n{''.join(lines)}\n"


def _address(start: re.Match[bytes]) -> PciAddress:
    domain = int(start[1], 16) if start[1] else 0
    return PciAddress(domain, int(start[2], 16), int(start[3], 16), int(start[4]))


def _bytes(chunk: bytes) -> bytes:
    """Return the bytes in one function's part of a dump; a blank line ends it."""
    at = chunk.find(_FIRST) + 1
    if not at:
        return _slowly(chunk)
    end = chunk.find(b"\n\n", at)
    rows = chunk[at : end + 1 if end >= 0 else len(chunk)]
    return _evenly(rows) or _slowly(chunk)


def _evenly(rows: bytes) -> bytes:
    """Return the bytes of whole lines from offset 0 on that are as they should be; empty for all others."""
    border = _SHORT * _SHORT_ROWS
    digits = []
    for part, width in ((rows[:border], _SHORT), (rows[border:], _SHORT + 1)):
        count, rest = divmod(len(part), width)
        wide = width - _SHORT
        # Columns of all lines at once: offset, colon, the end of the line; then every digit is one.
        if (
            rest
            or any(part[place::width] != _COLUMNS[place][wide][:count] for place in range(2))
            or (wide and part[2::width] != _THIRD[:count])
            or part[2 + wide :: width] != b":" * count
            or part[width - 1 :: width] != b"\n" * count
            or part.count(b" ") != _ROW * count
        ):
            return b""
        kept = bytearray(2 * _ROW * count)
        for column in range(_ROW):
            kept[2 * column :: 2 * _ROW] = part[4 + wide + 3 * column :: width]
            kept[2 * column + 1 :: 2 * _ROW] = part[5 + wide + 3 * column :: width]
        digits.append(kept)
    try:
        found = bytes.fromhex((digits[0] + digits[1]).decode("ascii"))
    except ValueError:
        return b""
    return found if 2 * len(found) == len(digits[0]) + len(digits[1]) else b""


def _slowly(chunk: bytes) -> bytes:
    blank = _BLANK.search(chunk)
    space, length = bytearray(EXTENDED_SIZE), 0
    for line in _LINE.finditer(chunk, 0, blank.start() + 1 if blank else len(chunk)):
        offset, row = int(line[1], 16), bytes.fromhex(line[2].decode("ascii"))
        row = row[: EXTENDED_SIZE - offset]
        space[offset : offset + len(row)] = row
        length = max(length, offset + len(row))
    return bytes(space[:length])

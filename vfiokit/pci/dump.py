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
_START = re.compile(
    rb"^(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])(?=[ \n\r])", re.MULTILINE
)
_LINE = re.compile(rb"^([0-9a-fA-F]{2,3}):((?: [0-9a-fA-F]{2}){1,16})[ \r]*$", re.MULTILINE)
_BLANK = re.compile(rb"\n[ \t\r]*\n")
_FIRST = b"\n00: "
_ROW = 16
_DIGITS = 47
_TAILS = tuple(b"\n%02x" % offset for offset in range(_ROW, EXTENDED_SIZE, _ROW))


def parse_dump(text: bytes) -> Iterator[Dumped]:
    """Yield the functions of a dump in its order; those without a byte are left out.

    :raises UsageError: if there is no function in it.
    """
    starts = list(_START.finditer(text))
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
    at = chunk.find(_FIRST)
    if at < 0:
        return _slowly(chunk)
    end = chunk.find(b"\n\n", at)
    rows = chunk[at + 1 : end if end >= 0 else len(chunk)].rstrip().split(b": ")
    # Every piece but the first and last is a row of digits and the next row's offset.
    tails = tuple([piece[_DIGITS:] for piece in rows[1:-1]])
    if len(rows[-1]) == _DIGITS and tails == _TAILS[: len(tails)]:
        try:
            return bytes.fromhex(b"".join([piece[:_DIGITS] + b" " for piece in rows[1:]]).decode("ascii"))
        except ValueError:
            pass
    return _slowly(chunk)


def _slowly(chunk: bytes) -> bytes:
    blank = _BLANK.search(chunk)
    space, length = bytearray(EXTENDED_SIZE), 0
    for line in _LINE.finditer(chunk, 0, blank.start() + 1 if blank else len(chunk)):
        offset, row = int(line[1], 16), bytes.fromhex(line[2].decode("ascii"))
        row = row[: EXTENDED_SIZE - offset]
        space[offset : offset + len(row)] = row
        length = max(length, offset + len(row))
    return bytes(space[:length])

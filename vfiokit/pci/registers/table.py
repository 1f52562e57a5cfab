"""Reads registers from a table of text, the form in which a person can check them against a specification.

A line that starts at the margin is a register, the indented ones below it are its fields::

    DevCtl  08/2  RW  Device Control | view trapped
      0    CorrErr     -   Correctable Error Reporting Enable
      7:5  MaxPayload  -   Max_Payload_Size
      15   FLReset     RO  Initiate Function Level Reset

A register has a name, its offset and size in bytes, the access of its fields, a title, and after bars
``when`` with a
condition, ``view`` with what vfio-pci does with it, ``rsvdz`` where reserved bits are written as 0. A
field has its bits, a
name (``Name=label`` where lspci has another), an access or ``-`` for the register's, and a title, which ends
with ``[unit]``, ``[+1]`` for a bias or ``[<<3]`` for a shift where the content is a number of that kind,
and with ``[vfio trapped]`` where vfio-pci does with the field something else than with its register.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vfiokit.pci.registers.rows import Access, Field, Register, View

__all__ = ["Meanings", "registers"]

Meanings = Mapping[Any, int | str]
"""Contents of a field and what they mean; ``None`` for all others."""

_VIEW = "vfio "
_MARK = re.compile(r" *\[([^\]]*)\]$")


def registers(text: str, values: Mapping[str, Meanings] | None = None) -> tuple[Register, ...]:
    """Read a table.

    :param values: meanings of fields, by name or by ``Register.Field``.
    :raises ValueError: if a line is malformed or a meaning belongs to no field.
    """
    meanings = dict(values or {})
    used: set[str] = set()
    found = tuple(_register(head, rows, meanings, used) for head, rows in _blocks(text))
    if missing := meanings.keys() - used:
        raise ValueError(f"meanings for no field: {', '.join(sorted(missing))}")
    return found


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    head, rows = "", list[str]()
    for line in text.splitlines():
        if not line.strip():
            continue
        if line.startswith(" "):
            rows.append(line.strip())
            continue
        if head:
            yield head, rows
        head, rows = line, []
    yield head, rows


def _register(head: str, rows: list[str], meanings: dict[str, Meanings], used: set[str]) -> Register:
    description, *options = (part.strip() for part in head.split("|"))
    name, place, access, *title = description.split()
    offset, size = place.split("/")
    chosen = dict(([*option.split(None, 1), ""])[:2] for option in options)
    return Register(
        name,
        int(offset, 16),
        int(size),
        tuple(sorted((_field(name, row, meanings, used) for row in rows), key=lambda field: field.low)),
        Access(access),
        " ".join(title),
        chosen.get("when", ""),
        View(chosen["view"]) if "view" in chosen else None,
        Access.RSVDZ if "rsvdz" in chosen else Access.RSVDP,
    )


def _field(register: str, row: str, meanings: dict[str, Meanings], used: set[str]) -> Field:
    bits, name, access, *words = row.split()
    name, _, label = name.partition("=")
    title, marks = " ".join(words), list[str]()
    while mark := _MARK.search(title):
        marks.append(mark[1])
        title = title[: mark.start()]
    high, _, low = bits.partition(":")
    key = f"{register}.{name}" if f"{register}.{name}" in meanings else name
    if key in meanings:
        used.add(key)
    views = [mark.removeprefix(_VIEW) for mark in marks if mark.startswith(_VIEW)]
    units = [mark for mark in marks if mark[0].isalpha() and not mark.startswith(_VIEW)]
    return Field(
        name,
        int(low or high),
        int(high) - int(low or high) + 1,
        None if access == "-" else Access(access),
        title,
        label,
        meanings.get(key),
        next(iter(units), ""),
        next((int(mark[2:]) for mark in marks if mark.startswith("<<")), 0),
        next((int(mark) for mark in marks if mark[0] in "+-"), 0),
        View(views[0]) if views else None,
    )

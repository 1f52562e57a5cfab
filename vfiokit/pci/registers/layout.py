"""What one make of a capability consists of, and the function that decodes all of it at once."""

import re
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, NamedTuple

from vfiokit.pci.registers.rows import Capability, Field, Place, Register, View

__all__ = ["EXTENDED_HEADER", "ROOMY", "STANDARD_HEADER", "Layout", "Placed", "number", "raw", "typed"]

STANDARD_HEADER = Register(
    "Header",
    0,
    2,
    (
        Field("CapID", 0, 8, title="Capability ID"),
        Field("Next", 8, 8, title="Next Capability Pointer", view=View.FIXED),
    ),
    view=View.READ,
)
"""The first bytes of a standard capability (PCI 3.0, 6.7)."""
EXTENDED_HEADER = Register(
    "Header",
    0,
    4,
    (
        Field("CapID", 0, 16, title="PCI Express Extended Capability ID"),
        Field("Version", 16, 4, title="Capability Version"),
        Field("Next", 20, 12, title="Next Capability Offset"),
    ),
    view=View.FIXED,
)
"""The first bytes of an extended capability (PCIe 6.0, 7.6.3)."""
ROOMY = 1 << 13
"""More bytes than any space has."""

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_VARIABLE = re.compile(r"\br(\d+)\b")
_TABLE_WIDTH = 8
_MANY = 3
"""Fields from which on a register is looked up as a whole."""
_MOST_CONTENTS = 1 << 10
"""Contents kept of one register."""


class Placed(NamedTuple):
    """A register of one make.

    :ivar name: with the block's name and number before it where it repeats.
    :ivar offset: from the capability's start, in bytes.
    :ivar row: the row it comes from.
    """

    name: str
    offset: int
    row: Register


class Layout:
    """One make of a capability: which registers it has.

    :ivar row: the row it comes from.
    :ivar registers: in order of offset.
    :ivar by_name: the same by name.
    :ivar places: the blocks that repeat.
    :ivar room: bytes that can be read of it, at least.
    :ivar size: bytes to the end of the last register.
    :ivar truncated: whether some registers are missing because they cannot be read.
    :ivar decode: returns every field typed, in the order of :attr:`fields`, of a space and the
        capability's start.
    """

    __slots__ = (
        "_fields",
        "_runs",
        "by_name",
        "decode",
        "places",
        "registers",
        "room",
        "row",
        "size",
        "texts",
        "truncated",
        "variables",
    )

    def __init__(
        self, row: Capability, true: frozenset[str], places: tuple[Place, ...], room: int = ROOMY
    ) -> None:
        self.row = row
        self.places = places
        self.room = room
        placed = sorted(_placed(row, true, places), key=lambda each: each.offset)
        self.size = max((each.offset + each.row.size for each in placed), default=0)
        self.registers = tuple(each for each in placed if each.offset + each.row.size <= room)
        self.truncated = len(self.registers) < len(placed)
        self.by_name = {each.name: each for each in self.registers}
        self.variables = {each.name: f"r{index}" for index, each in enumerate(self.registers)}
        self.decode: Callable[[bytes | bytearray, int], tuple[Any, ...]] = self._first_decode
        self.texts: dict[int, Callable[[bytes | bytearray, int], str]] = {}
        self._fields: tuple[tuple[Placed, Field], ...] | None = None
        self._runs: tuple[tuple[int, int], ...] | None = None

    @property
    def fields(self) -> tuple[tuple[Placed, Field], ...]:
        """Every field with its register."""
        if self._fields is None:
            self._fields = tuple((placed, field) for placed in self.registers for field in placed.row.fields)
        return self._fields

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Offsets and sizes of the bytes that registers are in, without the gaps between them."""
        if self._runs is None:
            runs: list[tuple[int, int]] = []
            for placed in self.registers:
                start, end = placed.offset & ~3, (placed.offset + placed.row.size + 3) & ~3
                if runs and start <= runs[-1][1]:
                    runs[-1] = runs[-1][0], max(end, runs[-1][1])
                else:
                    runs.append((start, end))
            self._runs = tuple((start, end - start) for start, end in runs)
        return self._runs

    def compile(self, result: str, names: dict[str, Any]) -> Callable[[bytes | bytearray, int], Any]:
        """Build a function of a space ``s`` and a start ``b`` that returns *result*, an expression.

        It unpacks the registers whose :attr:`variables` *result* names, and no others.
        """
        used = sorted({int(index) for index in _VARIABLE.findall(result)})
        names["unpack"] = _unpacker(tuple(self.registers[index] for index in used))
        targets = "".join(f"r{index}, " for index in used)
        unpack = f"{targets}= unpack(s, b)" if used else "pass"
        source = f"def compiled(s, b):\n    {unpack}\n    return {result}\n"
        exec(compile(source, f"<{self.row.name}>", "exec"), names)
        function: Callable[[bytes | bytearray, int], Any] = names["compiled"]
        return function

    def _first_decode(self, space: bytes | bytearray, base: int) -> tuple[Any, ...]:
        """Compile the decoder when it is needed for the first time."""
        names: dict[str, Any] = {}
        values = []
        for placed in self.registers:
            variable, fields = self.variables[placed.name], placed.row.fields
            if len(fields) >= _MANY:
                names[f"M{variable}"] = _memo(placed.row)
                values.append(f"*M{variable}[{variable}]")
            else:
                values += [typed(variable, field, names) for field in fields]
        decode = self.compile(f"({', '.join(values)}{',' if values else ''})", names)
        self.decode = decode
        return tuple(decode(space, base))


class _Memo(dict[int, tuple[Any, ...]]):
    """The fields of a register by its content: most registers hold what they held elsewhere."""

    def __init__(self, row: Register) -> None:
        super().__init__()
        self._row = row

    def __missing__(self, value: int) -> tuple[Any, ...]:
        if len(self) >= _MOST_CONTENTS:
            self.clear()
        found = self[value] = tuple([field.value(value) for field in self._row.fields])
        return found


_MEMOS: dict[int, _Memo] = {}


def _memo(row: Register) -> _Memo:
    """Return the register's memo, the same one in every layout that has it."""
    return _MEMOS.setdefault(id(row), _Memo(row))


def raw(variable: str, field: Field) -> str:
    """Return an expression for a field's content."""
    shifted = f"{variable}>>{field.low}" if field.low else variable
    return f"({shifted}&{(1 << field.width) - 1})"


def number(variable: str, field: Field) -> str:
    """Return an expression for a field as a number of its unit."""
    if field.shift and field.shift == field.low:
        content = f"({variable}&{field.mask})"
    else:
        content = f"({raw(variable, field)}<<{field.shift})" if field.shift else raw(variable, field)
    return f"({content}+{field.bias})" if field.bias else content


def typed(variable: str, field: Field, names: dict[str, Any]) -> str:
    """Return an expression for a field typed; what it needs goes into *names*."""
    if field.values is None:
        return f"{variable}&{field.mask}!=0" if field.width == 1 else number(variable, field)
    table = f"T{len(names)}"
    # A table of every content is the fastest there is; wide fields keep the map.
    if field.width <= _TABLE_WIDTH:
        names[table] = _table(field)
        return f"{table}[{raw(variable, field)}]"
    names[table] = field
    return f"{table}.value({variable})"


_TABLES: dict[int, tuple[Field, tuple[Any, ...]]] = {}
"""By identity, which is that of no other field while the field is kept."""


def _table(field: Field) -> tuple[Any, ...]:
    """Return the meaning of every content, the same object in every layout."""
    kept = _TABLES.get(id(field))
    if kept is None:
        meanings = tuple([field.value(content << field.low) for content in range(1 << field.width)])
        kept = _TABLES[id(field)] = field, meanings
    return kept[1]


def _placed(row: Capability, true: frozenset[str], places: tuple[Place, ...]) -> Iterator[Placed]:
    if row.id >= 0:
        header = EXTENDED_HEADER if row.extended else STANDARD_HEADER
        yield Placed(header.name, header.offset, header)
    for register in row.registers:
        if not register.when or register.when in true:
            yield Placed(register.name, register.offset, register)
    for place in places:
        block = row.blocks[place.block]
        for register in block.registers:
            yield Placed(
                f"{block.name}{place.label}{register.name}", place.offset + register.offset, register
            )


def _unpacker(
    registers: tuple[Placed, ...],
) -> Callable[[bytes | bytearray, int], tuple[int, ...]]:
    parts, at = ["<"], 0
    for placed in registers:
        parts += [f"{placed.offset - at}x" if placed.offset > at else "", _CODES[placed.row.size]]
        at = placed.offset + placed.row.size
    return Struct("".join(parts)).unpack_from

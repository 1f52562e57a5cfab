"""From rows to functions: what a capability is made of here, its typed values, its text.

A structure depends on conditions and counts. Those are answered first, by one small function of each row; the
answers, hashed, choose a :class:`Variant`, whose functions are made once and then used for every capability of the same
make.
"""

import re
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, NamedTuple

from vfiokit.pci.registers import wording
from vfiokit.pci.registers.rows import FACTS, Capability, Facts, Field, Need, Place, Register, Text

__all__ = ["EXTENDED_HEADER", "PORT_NAMES", "STANDARD_HEADER", "Maker", "Placed", "Variant"]

STANDARD_HEADER = Register(
    "Header",
    0,
    2,
    (Field("CapID", 0, 8, title="Capability ID"), Field("Next", 8, 8, title="Next Capability Pointer")),
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
)
"""The first bytes of an extended capability (PCIe 6.0, 7.6.3)."""

PORT_NAMES = {
    "ENDPOINT": 0,
    "LEGACY_ENDPOINT": 1,
    "ROOT_PORT": 4,
    "UPSTREAM_PORT": 5,
    "DOWNSTREAM_PORT": 6,
    "PCIE_TO_PCI_BRIDGE": 7,
    "PCI_TO_PCIE_BRIDGE": 8,
    "RC_ENDPOINT": 9,
    "EVENT_COLLECTOR": 10,
}
"""Port types that conditions may name."""

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_REFERENCE = re.compile(r"\b([A-Z]\w*)\.(\w+)\b")
_NAME = re.compile(r"\b[a-z_]+\b")
_HOLE = re.compile(r"\{([^{}]*)\}")
_VARIABLE = re.compile(r"\br(\d+)\b")
_CALL = re.compile(r"(\w+)\((.*)\)")


class Placed(NamedTuple):
    """A register of one variant.

    :ivar name: with the block's name and number before it where it repeats.
    :ivar offset: from the capability's start, in bytes.
    :ivar row: the row it comes from.
    """

    name: str
    offset: int
    row: Register


class Variant:
    """One make of a capability: which registers it has, and functions of a space and the place in it.

    :ivar row: the row it comes from.
    :ivar registers: in order of offset.
    :ivar size: bytes to the end of the last register.
    :ivar truncated: whether some registers are missing because they cannot be read.
    """

    def __init__(
        self, row: Capability, bits: int, conditions: tuple[str, ...], places: tuple[Place, ...], room: int
    ) -> None:
        self.row = row
        self._true = frozenset(text for index, text in enumerate(conditions) if bits >> index & 1)
        self._places = places
        self._room = room
        placed = sorted(self._placed(), key=lambda each: each.offset)
        self.size = max(each.offset + each.row.size for each in placed)
        self.registers = tuple(each for each in placed if each.offset + each.row.size <= room)
        self.truncated = len(self.registers) < len(placed)
        self.by_name = {each.name: each for each in self.registers}
        self._index = {each.name: index for index, each in enumerate(self.registers)}
        self._decode: Callable[[bytes, int], tuple[Any, ...]] | None = None
        self._text: Callable[[bytes, int], str] | None = None

    def _placed(self) -> Iterator[Placed]:
        if self.row.id >= 0:
            header = EXTENDED_HEADER if self.row.extended else STANDARD_HEADER
            yield Placed(header.name, header.offset, header)
        for register in self.row.registers:
            if not register.when or register.when in self._true:
                yield Placed(register.name, register.offset, register)
        for place in self._places:
            for register in self.row.blocks[place.block].registers:
                name = f"{self.row.blocks[place.block].name}{place.label}{register.name}"
                yield Placed(name, place.offset + register.offset, register)

    @property
    def fields(self) -> tuple[tuple[Placed, Field], ...]:
        """Every field with its register, in the order of :meth:`decode`."""
        return tuple((placed, field) for placed in self.registers for field in placed.row.fields)

    def decode(self, space: bytes, base: int) -> tuple[Any, ...]:
        """Return every field typed, in the order of :attr:`fields`."""
        if self._decode is None:
            self._decode = self._make_decode()
        return self._decode(space, base)

    def text(self, space: bytes, base: int) -> str:
        """Return what lspci prints of it, from the name of the capability to the end of its last line."""
        if self._text is None:
            self._text = self._make_text()
        return self._text(space, base)

    def _make_decode(self) -> Callable[[bytes, int], tuple[Any, ...]]:
        names: dict[str, Any] = {}
        variables = {placed.name: f"r{index}" for index, placed in enumerate(self.registers)}
        values = [_typed(variables[placed.name], field, names) for placed, field in self.fields]
        return self._make("d", f"({', '.join(values)},)", names)

    def _make_text(self) -> Callable[[bytes, int], str]:
        names: dict[str, Any] = {"P": "-+", **vars(wording)}
        lines = "".join(self._readable(self._pieces(self.row.text, "", names)))
        return self._make("t", f"f'{lines}'", names)

    def _readable(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield pieces up to the first that needs a register which cannot be read."""
        last = ""
        try:
            for last in pieces:
                yield last
        except KeyError:
            if not self.truncated:
                raise
            if not last.endswith("\\n"):
                yield "\\n"

    def _make(self, name: str, result: str, names: dict[str, Any]) -> Callable[[bytes, int], Any]:
        """Build a function that unpacks the registers and returns *result*."""
        used = sorted({int(index) for index in _VARIABLE.findall(result)})
        names["unpack"] = _unpacker(tuple(self.registers[index] for index in used))
        targets = "".join(f"r{index}, " for index in used)
        unpack = f"{targets}= unpack(s, b)" if used else "pass"
        source = f"def {name}(s, b):\n    {unpack}\n    return {result}\n"
        exec(compile(source, f"<{self.row.name}>", "exec"), names)
        function: Callable[[bytes, int], Any] = names[name]
        return function

    def _pieces(self, text: Text, prefix: str, names: dict[str, Any]) -> Iterator[str]:
        for piece in text:
            if piece is None:
                for place in self._places:
                    block = self.row.blocks[place.block]
                    prefix = f"{block.name}{place.label}"
                    yield from self._pieces(_numbered(block.text, place), prefix, names)
            elif isinstance(piece, Need):
                if piece.offset + piece.size > self._room:
                    yield _literal(piece.otherwise)
                    return
            elif isinstance(piece, str):
                yield self._filled(piece, prefix, names)
            elif piece[0] in self._true:
                yield self._filled(piece[1], prefix, names)

    def _filled(self, piece: str, prefix: str, names: dict[str, Any]) -> str:
        parts = _HOLE.split(piece)
        return "".join(
            _literal(part) if index % 2 == 0 else self._hole(part, prefix, names)
            for index, part in enumerate(parts)
        )

    def _hole(self, text: str, prefix: str, names: dict[str, Any]) -> str:
        register, bar, flags = text.partition("|")
        if bar:
            variable, row = self._variable(register, prefix)
            shown = (row.field(name) for name in flags.split())
            return " ".join(f"{_literal(field.shown)}{{P[{variable}>>{field.low}&1]}}" for field in shown)
        call = _CALL.fullmatch(text)
        if call:
            arguments = (self._content(each.strip(), prefix) for each in call[2].split(","))
            return f"{{{call[1]}({', '.join(arguments)})}}"
        reference, colon, form = text.partition(":")
        if reference.endswith("="):
            return f"{{{self._meaning(reference[:-1], prefix, names)}}}"
        if colon:
            return f"{{{self._number(reference, prefix)}:{form}}}"
        register, _, name = reference.partition(".")
        if name and self._variable(register, prefix)[1].field(name).width == 1:
            return f"{{P[{self._content(reference, prefix)}]}}"
        return f"{{{self._number(reference, prefix)}}}"

    def _variable(self, name: str, prefix: str) -> tuple[str, Register]:
        full = prefix + name if prefix + name in self.by_name else name
        placed = self.by_name[full]
        return f"r{self._index[full]}", placed.row

    def _content(self, reference: str, prefix: str) -> str:
        if reference == "base":
            return "b"
        if reference.isdigit():
            return reference
        name, _, field = reference.partition(".")
        variable, row = self._variable(name, prefix)
        return _raw(variable, row.field(field)) if field else variable

    def _number(self, reference: str, prefix: str) -> str:
        name, _, field = reference.partition(".")
        variable, row = self._variable(name, prefix)
        return _numeric(variable, row.field(field)) if field else variable

    def _meaning(self, reference: str, prefix: str, names: dict[str, Any]) -> str:
        name, _, field = reference.partition(".")
        variable, row = self._variable(name, prefix)
        return _typed(variable, row.field(field), names)


def _numbered(text: Text, place: Place) -> Text:
    """Put the numbers of a repetition into its text: ``<n>`` its own, ``<n+1>``, ``<m>`` that of what it is in."""
    outer, _, own = place.label.rpartition("_")
    own = own or "0"

    def put(piece: str) -> str:
        return (
            piece.replace("<n>", own)
            .replace("<n+1>", str(int(own) + 1))
            .replace("<m>", outer)
            .replace("<at>", str(place.offset))
        )

    def each(piece: str | tuple[str, str] | Need | None) -> str | tuple[str, str] | Need | None:
        if isinstance(piece, str):
            return put(piece)
        if isinstance(piece, Need):
            return Need(piece.offset + place.offset, piece.size, piece.otherwise)
        return piece and (piece[0], put(piece[1]))

    return tuple(map(each, text))


def _unpacker(registers: tuple[Placed, ...]) -> Callable[[bytes, int], tuple[int, ...]]:
    parts, at = ["<"], 0
    for placed in registers:
        parts += [f"{placed.offset - at}x" if placed.offset > at else "", _CODES[placed.row.size]]
        at = placed.offset + placed.row.size
    return Struct("".join(parts)).unpack_from


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("{", "{{").replace("}", "}}")
    return escaped.replace("\n", "\\n").replace("\t", "\\t")


def _raw(variable: str, field: Field) -> str:
    shifted = f"{variable}>>{field.low}" if field.low else variable
    return f"({shifted}&{(1 << field.width) - 1})"


def _numeric(variable: str, field: Field) -> str:
    if field.shift and field.shift == field.low:
        content = f"({variable}&{field.mask})"
    else:
        content = _raw(variable, field) if not field.shift else f"({_raw(variable, field)}<<{field.shift})"
    return f"({content}+{field.bias})" if field.bias else content


def _typed(variable: str, field: Field, names: dict[str, Any]) -> str:
    if field.values is None:
        return f"{variable}&{field.mask}!=0" if field.width == 1 else _numeric(variable, field)
    # A table of every content is the fastest there is; wide fields keep the map.
    table = f"T{len(names)}"
    if field.width <= 8:
        names[table] = tuple(field.value(raw << field.low) for raw in range(1 << field.width))
        return f"{table}[{_raw(variable, field)}]"
    names[table] = field
    return f"{table}.value({variable})"


class Maker:
    """Makes variants of one row, and keeps them.

    :ivar match_needs: bytes that :meth:`matches` looks at.
    :ivar needs: bytes that :meth:`variant` looks at, but for rows with a walk.
    """

    _MOST = 1 << 10

    def __init__(self, row: Capability) -> None:
        self.row = row
        self._registers = {each.name: each for each in row.registers}
        self._conditions = tuple(dict.fromkeys(_conditions(row)))
        self._counted = tuple(index for index, block in enumerate(row.blocks) if block.count)
        counts = tuple(row.blocks[index].count for index in self._counted)
        bits = "|".join(f"bool({text})<<{index}" for index, text in enumerate(self._conditions)) or "0"
        self.needs, self._answer = self._function(
            (*self._conditions, *counts), f"{bits}, ({''.join(f'{text},' for text in counts)})"
        )
        self.match_needs, self._match = self._function((row.when,), f"bool({row.when or True})")
        self._variants: dict[tuple[int, tuple[Any, ...], int | None], Variant] = {}
        self._places: dict[tuple[int, ...], tuple[Place, ...]] = {}

    def matches(self, space: bytes, base: int, limit: int, facts: Facts) -> bool:
        """Whether what starts at *base* is of this row's kind."""
        return base + self.match_needs <= limit and self._match(space, base, facts)

    def variant(self, space: bytes, base: int, limit: int, facts: Facts) -> Variant:
        """Return what the capability at *base* is made of.

        :param space: the space from its start.
        :param limit: the end of what is readable in it.
        """
        bits: int = 0
        counts: tuple[Any, ...] = ()
        if base + self.needs <= limit:
            bits, counts = self._answer(space, base, facts)
        if self.row.walk is not None:
            counts = self.row.walk(space, base, limit)
        variant = self._variants.get((bits, counts, None))
        if variant is None:
            variant = self._make(bits, counts, None)
        if base + variant.size > limit:
            room = limit - base
            variant = self._variants.get((bits, counts, room)) or self._make(bits, counts, room)
        return variant

    def _make(self, bits: int, counts: tuple[Any, ...], room: int | None) -> Variant:
        if len(self._variants) >= self._MOST:
            self._variants.clear()
        places = counts if self.row.walk is not None else self._even(counts)
        variant = Variant(self.row, bits, self._conditions, places, _ROOMY if room is None else room)
        self._variants[bits, counts, room] = variant
        return variant

    def _even(self, counts: tuple[int, ...]) -> tuple[Place, ...]:
        numbers = dict(zip(self._counted, counts, strict=True)) if counts else {}
        return tuple(
            Place(index, str(number), block.offset + number * block.stride)
            for index, block in enumerate(self.row.blocks)
            for number in range(max(numbers.get(index, 0), 0))
        )

    def _function(self, expressions: tuple[str, ...], result: str) -> tuple[int, Callable[..., Any]]:
        """Build a function of space, start and facts; return how many bytes it looks at, too."""
        used = {name for text in expressions for name in _NAME.findall(text) if name in FACTS}
        lines = [f"    {name} = f.{name}" for name in sorted(used - {"version"})]
        if "version" in used:
            lines.append("    version = s[b+2]&15")
        source = "\n".join(["def answer(s, b, f):", *lines, f"    return {self._expression(result)}", ""])
        names: dict[str, Any] = dict(PORT_NAMES)
        exec(compile(source, f"<{self.row.name}>", "exec"), names)
        referred = {match[1] for text in expressions for match in _REFERENCE.finditer(text)}
        return max((self._registers[name].end for name in referred), default=0), names["answer"]

    def _expression(self, text: str) -> str:
        def put(match: re.Match[str]) -> str:
            register = self._registers[match[1]]
            content = "|".join(
                f"s[b+{register.offset + byte}]<<{8 * byte}" if byte else f"s[b+{register.offset}]"
                for byte in range(register.size)
            )
            return f"({content})" if match[2] == "all" else _raw(f"({content})", register.field(match[2]))

        return _REFERENCE.sub(put, text)


_ROOMY = 1 << 13
"""More bytes than any space has."""


def _conditions(row: Capability) -> Iterator[str]:
    yield from (each.when for each in row.registers if each.when)
    yield from (piece[0] for piece in row.text if isinstance(piece, tuple))
    yield from (piece[0] for block in row.blocks for piece in block.text if isinstance(piece, tuple))

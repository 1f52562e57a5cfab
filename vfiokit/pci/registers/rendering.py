"""Compiles lspci's text of a capability: the pieces whose conditions hold become one formatted string."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from vfiokit.pci.registers import wording
from vfiokit.pci.registers.layout import Layout, number, raw, typed
from vfiokit.pci.registers.rows import Need, Place, Register, Text

__all__ = ["compile_text"]

_HOLE = re.compile(r"\{([^{}]*)\}")
_CALL = re.compile(r"(\w+)\((.*)\)")


def compile_text(layout: Layout, true: frozenset[str]) -> Callable[[bytes | bytearray, int], str]:
    """Build a function of a space and a capability's start that returns its text.

    :param true: the conditions that hold.
    """
    writer = _Writer(layout, true)
    text = "".join(writer.readable())
    return layout.compile(f"f'{text}'", writer.names)


class _Writer:
    """Turns pieces of text into pieces of a formatted string."""

    def __init__(self, layout: Layout, true: frozenset[str]) -> None:
        self.layout = layout
        self.true = true
        self.stopped = False
        self.names: dict[str, Any] = {"P": "-+", **vars(wording)}

    def readable(self) -> Iterator[str]:
        """Yield pieces up to the first that needs a register which cannot be read."""
        last = ""
        try:
            for last in self._pieces(self.layout.row.text, ""):
                yield last
        except KeyError:
            if not self.layout.truncated:
                raise
            if not last.endswith("\\n"):
                yield "\\n"

    def _pieces(self, text: Text, prefix: str) -> Iterator[str]:
        for piece in text:
            if self.stopped:
                return
            if piece is None:
                for place in self.layout.places:
                    block = self.layout.row.blocks[place.block]
                    yield from self._pieces(_numbered(block.text, place), f"{block.name}{place.label}")
            elif isinstance(piece, Need):
                missing = (
                    piece.condition not in self.true
                    if isinstance(piece.size, str)
                    else piece.offset + piece.size > self.layout.room
                )
                if missing:
                    yield _literal(piece.otherwise)
                    self.stopped = not piece.goes_on
                    return
            elif isinstance(piece, str):
                yield self._filled(piece, prefix)
            elif piece[0] in self.true:
                yield self._filled(piece[1], prefix)

    def _filled(self, piece: str, prefix: str) -> str:
        parts = _HOLE.split(piece)
        return "".join(
            self._hole(part, prefix) if index % 2 else _literal(part) for index, part in enumerate(parts)
        )

    def _hole(self, text: str, prefix: str) -> str:
        name, bar, flags = text.partition("|")
        if bar:
            variable, register = self._register(name, prefix)
            shown = (register.field(flag) for flag in flags.split())
            return " ".join(f"{_literal(field.shown)}{{P[{variable}>>{field.low}&1]}}" for field in shown)
        call = _CALL.fullmatch(text)
        if call:
            arguments = (self._content(each.strip(), prefix) for each in call[2].split(","))
            return f"{{{call[1]}({', '.join(arguments)})}}"
        reference, colon, form = text.partition(":")
        name, _, field = reference.rstrip("=").partition(".")
        variable, register = self._register(name, prefix)
        if reference.endswith("="):
            return f"{{{typed(variable, register.field(field), self.names)}}}"
        if not field:
            return f"{{{variable}:{form}}}"
        if register.field(field).width == 1 and not colon:
            return f"{{P[{raw(variable, register.field(field))}]}}"
        return f"{{{number(variable, register.field(field))}:{form}}}"

    def _register(self, name: str, prefix: str) -> tuple[str, Register]:
        full = prefix + name if prefix + name in self.layout.by_name else name
        return self.layout.variables[full], self.layout.by_name[full].row

    def _content(self, reference: str, prefix: str) -> str:
        if reference == "base":
            return "b"
        if reference.isdigit():
            return reference
        name, _, field = reference.partition(".")
        variable, register = self._register(name, prefix)
        return raw(variable, register.field(field)) if field else variable


def _numbered(text: Text, place: Place) -> Text:
    """Fill in where a repetition is.

    ``<n>`` is its number, ``<n+1>`` the next, ``<m>`` the number of what it is in, ``<at>`` its offset.
    """
    outer, _, own = place.label.rpartition("_")
    marks = {"<n>": own, "<n+1>": str(int(own) + 1), "<m>": outer, "<at>": str(place.offset)}

    def put(piece: str) -> str:
        for mark, value in marks.items():
            piece = piece.replace(mark, value)
        return piece

    def each(piece: str | tuple[str, str] | Need | None) -> str | tuple[str, str] | Need | None:
        if isinstance(piece, str):
            return put(piece)
        if isinstance(piece, Need):
            return replace(piece, offset=piece.offset + place.offset)
        return piece and (piece[0], put(piece[1]))

    return tuple(map(each, text))


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("{", "{{").replace("}", "}}")
    return escaped.replace("\n", "\\n").replace("\t", "\\t")

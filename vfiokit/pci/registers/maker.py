"""Chooses what a capability is made of here, and keeps what was compiled for it.

Conditions and counts are answered first; the answers choose a layout, whose functions are made once and
then serve every capability of the same make.
"""

from collections.abc import Iterator
from typing import Any

from vfiokit.pci.registers.expressions import answers, key
from vfiokit.pci.registers.layout import ROOMY, Layout
from vfiokit.pci.registers.rendering import compile_text
from vfiokit.pci.registers.rows import Capability, Facts, Need, Place

__all__ = ["Maker"]

_MOST = 1 << 10
"""Layouts kept of one row: hostile bytes must not fill the memory."""

_MOST_TEXTS = 1 << 6
"""Texts kept of one layout, for the same reason."""


class Maker:
    """Makes the layouts of one row.

    :ivar row: the row.
    :ivar match_needs: bytes that :meth:`matches` looks at.
    :ivar needs: bytes that :meth:`layout` looks at, but for rows with a walk.
    :ivar asks: whether there is more than one layout, so that facts are needed.
    """

    def __init__(self, row: Capability) -> None:
        self.row = row
        self.match_needs, self._match = answers(row, (row.when,), f"bool({row.when or True})")
        self._conditions = tuple(dict.fromkeys(each.when for each in row.registers if each.when))
        self._counted = tuple(index for index, block in enumerate(row.blocks) if block.count)
        counts = tuple(row.blocks[index].count for index in self._counted)
        expressions = (*self._conditions, *counts)
        self.needs, self._answer = answers(
            row, expressions, f"({_bits(self._conditions)}, ({''.join(f'{text},' for text in counts)}))"
        )
        self._key = key(row, expressions) or (self._answer if expressions else None)
        self._text_conditions = tuple(dict.fromkeys(_conditions(row)))
        self._text_needs, self._text_answer = answers(
            row, self._text_conditions, _bits(self._text_conditions)
        )
        self.asks = self.row.walk is not None or self._key is not None
        self._quick = None if self.row.walk else self._key
        self._only: Layout | None = None
        self._layouts: dict[Any, Layout] = {}
        self._truncated: dict[tuple[Any, int], Layout] = {}

    def matches(self, space: bytes | bytearray, base: int, limit: int, facts: Facts) -> bool:
        """Whether what starts at *base* is of this row's kind."""
        if not self.row.when:
            return True
        return base + self.match_needs <= limit and bool(self._match(space, base, facts, limit))

    def layout(self, space: bytes | bytearray, base: int, limit: int, facts: Facts) -> Layout:
        """Return what the capability at *base* is made of.

        :param space: the space from its start.
        :param limit: the end of what is readable in it.
        """
        key = self._quick
        if key is None:
            layout = self._only
        elif base + self.needs <= limit:
            layout = self._layouts.get(key(space, base, facts, limit))
        else:
            layout = None
        if layout is not None and base + layout.size <= limit:
            return layout
        return self._choose(space, base, limit, facts)

    def _choose(self, space: bytes | bytearray, base: int, limit: int, facts: Facts) -> Layout:
        """Make a layout, or one that is cut off, or walk."""
        if self.row.walk is not None:
            chosen: Any = self.row.walk(space, base, limit), self._bits_of(space, base, limit, facts)
        elif self._key is None:
            chosen = None
        elif base + self.needs <= limit:
            chosen = self._key(space, base, facts, limit)
        else:
            space, start = _padded(space, base, limit, self.needs), base
            base, limit = 0, limit - start
            chosen = self._key(space, base, facts, limit)
        layout = self._layouts.get(chosen)
        if layout is None:
            layout = self._make(chosen, space, base, facts)
            if not self.asks:
                self._only = layout
        if base + layout.size > limit:
            return self._cut(chosen, layout, space, base, limit, facts)
        return layout

    def text(self, layout: Layout, space: bytes | bytearray, base: int, limit: int, facts: Facts) -> str:
        """Return what lspci prints of it, from the name of the capability to the end of its last line."""
        bits = 0
        if self._text_conditions:
            if base + self._text_needs <= limit:
                bits = self._text_answer(space, base, facts, limit)
            else:
                bits = self._text_answer(
                    _padded(space, base, limit, self._text_needs), 0, facts, limit - base
                )
        text = layout.texts.get(bits)
        if text is None:
            true = frozenset(text for index, text in enumerate(self._text_conditions) if bits >> index & 1)
            if len(layout.texts) >= _MOST_TEXTS:
                layout.texts.clear()
            text = layout.texts[bits] = compile_text(layout, true)
        return text(space, base)

    def _bits_of(self, space: bytes | bytearray, base: int, limit: int, facts: Facts) -> int:
        if not self._conditions:
            return 0
        bits, _ = self._answer(_padded(space, base, limit, self.needs), 0, facts, limit - base)
        return int(bits)

    def _make(
        self, chosen: Any, space: bytes | bytearray, base: int, facts: Facts, room: int = ROOMY
    ) -> Layout:
        if self.row.walk is not None:
            places, bits = chosen
        else:
            bits, counts = self._answer(space, base, facts, ROOMY) if self._key else (0, ())
            places = self._even(counts)
        true = frozenset(text for index, text in enumerate(self._conditions) if bits >> index & 1)
        if len(self._layouts) >= _MOST:
            self._layouts.clear()
        layout = Layout(self.row, true, places, room)
        if room == ROOMY:
            self._layouts[chosen] = layout
        return layout

    def _cut(
        self, chosen: Any, whole: Layout, space: bytes | bytearray, base: int, limit: int, facts: Facts
    ) -> Layout:
        """Return the layout of a capability that goes past the end of what is readable."""
        room = limit - base
        layout = self._truncated.get((chosen, room))
        if layout is None:
            if len(self._truncated) >= _MOST:
                self._truncated.clear()
            layout = self._truncated[chosen, room] = self._make(chosen, space, base, facts, room)
        return layout

    def _even(self, counts: tuple[int, ...]) -> tuple[Place, ...]:
        numbers = dict(zip(self._counted, counts, strict=True)) if counts else {}
        return tuple(
            Place(index, str(block.first + number), block.offset + number * block.stride)
            for index, block in enumerate(self.row.blocks)
            for number in range(max(numbers.get(index, 0), 0))
        )


def _conditions(row: Capability) -> Iterator[str]:
    """Yield the conditions in a row's text."""
    for piece in row.text:
        if isinstance(piece, tuple):
            yield piece[0]
        elif isinstance(piece, Need) and piece.condition:
            yield piece.condition


def _bits(conditions: tuple[str, ...]) -> str:
    return "|".join(f"bool({text})<<{index}" for index, text in enumerate(conditions)) or "0"


def _padded(space: bytes | bytearray, base: int, limit: int, size: int) -> bytes:
    """Return a capability's first bytes alone, zeros where they cannot be read."""
    return bytes(space[base : min(base + size, limit)]).ljust(size, b"\0")

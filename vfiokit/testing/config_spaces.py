"""Config spaces drawn from the register table: valid ones, and ones with one thing broken.

A drawn space has a header and capabilities of every known kind with any content, laid out one after the
other, so that whoever reads it can be told apart from whoever only read the examples.
"""

import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from vfiokit.pci.image import EXTENDED_SIZE
from vfiokit.pci.registers import families
from vfiokit.pci.registers.maker import Maker
from vfiokit.pci.registers.rows import Capability, Facts

__all__ = ["DrawnSpace", "all_rows", "broken_spaces", "config_spaces", "fill"]

Draw = Any

_CONVENTIONAL_SIZE = 0x100
_STATUS_CAP_LIST = 0x10
_EXPRESS = 0x10
_EQUAL = re.compile(r"\b([A-Z]\w*)\.(\w+) == (\w+)")
_AT_LEAST = re.compile(r"\b([A-Z]\w*)\.(\w+) >= (\w+)")
_BETWEEN = re.compile(r"(\w+) <= ([A-Z]\w*)\.(\w+) <= room")
_FACT = re.compile(r"\b(vendor|header) == (\w+)")
_VIRTIO_DEVICE = 0x1041


class DrawnSpace:
    """A config space with what was put into it.

    :ivar data: its 256 or 4096 bytes.
    :ivar capabilities: the standard capabilities in list order: row and offset.
    :ivar extended: the extended capabilities in list order: row and offset.
    :ivar broken: what was broken afterwards, empty for a valid one.
    """

    def __init__(
        self,
        data: bytes,
        capabilities: tuple[tuple[Capability, int], ...],
        extended: tuple[tuple[Capability, int], ...] = (),
        broken: str = "",
    ) -> None:
        self.data = data
        self.capabilities = capabilities
        self.extended = extended
        self.broken = broken

    def __repr__(self) -> str:
        shown = [
            f"{row.name} at {offset:#x}: {self.data[offset : offset + 64].rstrip(bytes(1)).hex()}"
            for row, offset in (*self.capabilities, *self.extended)
        ]
        broken = f", {self.broken} broken" if self.broken else ""
        return f"<header {self.data[:64].hex()}, {'; '.join(shown)}, {len(self.data)} bytes{broken}>"


def all_rows(*, extended: bool) -> tuple[Capability, ...]:
    """Return the rows of one list, in the order of their identifiers."""
    rows = (row for _, rows in families() for row in rows if row.id >= 0 and row.extended == extended)
    return tuple(sorted(rows, key=lambda row: row.id))


_MAKERS: dict[Capability, Maker] = {}


def maker_of(row: Capability) -> Maker:
    """Return the maker of a row, the same one each time."""
    if row not in _MAKERS:
        _MAKERS[row] = Maker(row)
    return _MAKERS[row]


def fill(row: Capability, content: bytes, version: int = 1) -> bytearray:
    """Return the bytes of a capability with *content* behind its header, made to fit its row."""
    head = 4 if row.extended else 2
    data = bytearray(max(64, head + len(content)))
    data[head : head + len(content)] = content
    number = row.id.to_bytes(2, "little") if row.extended else bytes([row.id, 0])
    data[: len(number)] = number
    if row.extended:
        data[2] = version & 0xF
    for pattern in (_AT_LEAST, _EQUAL):
        for register, field, value in pattern.findall(row.when):
            _put(row, data, register, field, int(value, 0), at_least=pattern is _AT_LEAST)
    for value, register, field in _BETWEEN.findall(row.when):
        _put(row, data, register, field, int(value, 0) + content[0] % 16, at_least=False)
    return data


def _put(row: Capability, data: bytearray, register: str, field: str, value: int, *, at_least: bool) -> None:
    place = row.register(register)
    bits = place.field(field)
    now = int.from_bytes(data[place.offset : place.end], "little")
    if at_least and bits.raw(now) >= value:
        return
    now = now & ~bits.mask | value << bits.low
    data[place.offset : place.end] = now.to_bytes(place.size, "little")


@st.composite
def config_spaces(draw: Draw, *, known: frozenset[tuple[bool, int]] | None = None) -> DrawnSpace:
    """Draw a valid config space.

    :param known: whether extended, and identifier, of the capabilities to draw from; ``None`` for all.
    """
    header = draw(st.sampled_from((0, 0, 1)))
    vendor, device = draw(st.sampled_from(((0x8086, 0x1234), (0x1AF4, _VIRTIO_DEVICE), (0x10DE, 0x2335))))
    space = bytearray(EXTENDED_SIZE)
    space[:64] = draw(st.binary(min_size=64, max_size=64))
    space[0:4] = vendor.to_bytes(2, "little") + device.to_bytes(2, "little")
    space[6] |= _STATUS_CAP_LIST
    space[0x0E] = header
    space[0x0A:0x0C] = b"\x04\x06" if header else b"\x00\x02"
    facts = Facts(header=header, vendor=vendor, device=device)
    rows = [row for row in all_rows(extended=False) if _fits(row, facts) and _is_known(row, known)]
    chosen = draw(st.lists(st.sampled_from(rows), max_size=5))
    express = next(row for row in rows if row.id == _EXPRESS)
    wants_extended = draw(st.booleans())
    if wants_extended and express not in chosen:
        chosen.append(express)
    capabilities = _lay(draw, space, chosen, facts, start=0x40, end=_CONVENTIONAL_SIZE)
    _link_standard(space, capabilities)
    if not any(row.id == _EXPRESS for row, _ in capabilities) or not wants_extended:
        return DrawnSpace(bytes(space[:_CONVENTIONAL_SIZE]), capabilities)
    port, lanes = _express_facts(space, capabilities)
    facts = facts._replace(port=port, lanes=lanes)
    others = [row for row in all_rows(extended=True) if _is_known(row, known)]
    chosen = draw(st.lists(st.sampled_from(others), max_size=8))
    extended = _lay(draw, space, chosen, facts, start=_CONVENTIONAL_SIZE, end=EXTENDED_SIZE)
    _link_extended(space, extended)
    return DrawnSpace(bytes(space), capabilities, extended)


@st.composite
def broken_spaces(draw: Draw) -> DrawnSpace:
    """Draw a config space, then break one thing: a pointer, an identifier, a byte, its length."""
    drawn = draw(config_spaces())
    space = bytearray(drawn.data)
    kind = draw(st.sampled_from(("pointer", "identifier", "byte", "ones", "cut", "next")))
    places = [offset for _, offset in (*drawn.capabilities, *drawn.extended)] or [0x40]
    at = draw(st.sampled_from(places))
    value = draw(st.integers(0, 255))
    if kind == "pointer":
        space[0x34] = value
    elif kind == "identifier":
        space[at] = value
    elif kind == "next":
        space[at + (3 if at >= _CONVENTIONAL_SIZE else 1)] = value
    elif kind == "byte":
        space[draw(st.integers(0, len(space) - 1))] = value
    elif kind == "ones":
        start = draw(st.integers(0, len(space)))
        space[start:] = b"\xff" * (len(space) - start)
    else:
        del space[draw(st.integers(4, len(space))) :]
    return DrawnSpace(bytes(space), drawn.capabilities, drawn.extended, kind)


def _fits(row: Capability, facts: Facts) -> bool:
    """Whether a row's condition on the function can hold for this one."""
    wanted = {name: int(value, 0) for name, value in _FACT.findall(row.when)}
    return all(getattr(facts, name) == value for name, value in wanted.items())


def _is_known(row: Capability, known: frozenset[tuple[bool, int]] | None) -> bool:
    return known is None or (row.extended, row.id) in known


def _lay(
    draw: Draw, space: bytearray, rows: list[Capability], facts: Facts, *, start: int, end: int
) -> tuple[tuple[Capability, int], ...]:
    """Put capabilities one after the other; what has no room left is left out."""
    placed = []
    at = start
    for row in rows:
        size = draw(st.sampled_from((12, 44, 60)))
        content = fill(row, draw(st.binary(min_size=size, max_size=size)), draw(st.integers(1, 3)))
        if at + len(content) > end:
            break
        space[at : at + len(content)] = content
        maker = maker_of(row)
        if not maker.matches(space, at, end, facts):
            space[at : at + len(content)] = bytes(len(content))
            continue
        length = maker.layout(space, at, end, facts).size
        placed.append((row, at))
        at += max(-(-length // 4) * 4, len(content))
    return tuple(placed)


def _link_standard(space: bytearray, placed: tuple[tuple[Capability, int], ...]) -> None:
    space[0x34] = placed[0][1] if placed else 0
    for here, following in _pairs(placed):
        space[here + 1] = following


def _link_extended(space: bytearray, placed: tuple[tuple[Capability, int], ...]) -> None:
    for here, following in _pairs(placed):
        space[here + 2] = space[here + 2] & 0x0F | (following & 0xF) << 4
        space[here + 3] = following >> 4


def _pairs(placed: tuple[tuple[Capability, int], ...]) -> Iterator[tuple[int, int]]:
    offsets = [offset for _, offset in placed]
    return zip(offsets, (*offsets[1:], 0), strict=bool(offsets))


def _express_facts(space: bytearray, placed: tuple[tuple[Capability, int], ...]) -> tuple[int, int]:
    at = [offset for row, offset in placed if row.id == _EXPRESS][-1]
    port = space[at + 2] >> 4
    width = int.from_bytes(space[at + 12 : at + 14], "little") >> 4 & 0x3F
    return port, 0 if port in (9, 10) else min(width, 32)

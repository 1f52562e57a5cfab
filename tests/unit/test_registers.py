"""The register table: lints of the rows, and every field of every row exercised bit by bit."""

from itertools import pairwise
from random import Random

import pytest

from vfiokit.pci.registers import FAMILIES, families, makers
from vfiokit.pci.registers.expressions import PORT_NAMES, referenced
from vfiokit.pci.registers.layout import Layout
from vfiokit.pci.registers.maker import Maker
from vfiokit.pci.registers.rows import FACTS, Access, Capability, Facts, Field, Place, Register
from vfiokit.pci.registers.table import registers

ROWS = [row for _, rows in families() for row in rows]
NAMED = [pytest.param(row, id=f"{row.name}-{row.id:#x}") for row in ROWS]
REGISTERS = [
    pytest.param(row, register, id=f"{row.name}.{register.name}")
    for row in ROWS
    for register in (*row.registers, *(each for block in row.blocks for each in block.registers))
]
SIZE = 4096
LSPCI_STANDARD = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D} | {
    *range(0x0E, 0x15)
}
LSPCI_EXTENDED = {*range(0x00, 0x0C), *range(0x0D, 0x14), *range(0x15, 0x2B), 0x2E, 0x2F, 0x30, 0x31} | {
    *(0x32, 0x34, 0x36)
}
BEYOND_LSPCI = {0x0C, 0x2B, 0x2C, 0x33, 0x35, 0x38, 0x39}


def test_there_is_a_row_for_whatever_lspci_names_and_more() -> None:
    standard = {row.id for row in ROWS if row.id >= 0 and not row.extended}
    extended = {row.id for row in ROWS if row.id >= 0 and row.extended}
    assert standard >= LSPCI_STANDARD | {0x15}
    assert extended >= LSPCI_EXTENDED | BEYOND_LSPCI


def test_the_index_of_families_is_what_families_hold() -> None:
    for family, rows in families():
        if family == "header":
            continue
        standard, extended = FAMILIES[family]
        assert {row.id for row in rows if not row.extended} == set(standard), family
        assert {row.id for row in rows if row.extended} == set(extended), family


@pytest.mark.parametrize("row", NAMED)
def test_rows_are_found_and_one_without_condition_comes_last(row: Capability) -> None:
    if row.id < 0:
        return
    rows = [maker.row for maker in makers(row.id, row.extended)]
    assert row in rows
    assert all(each.when for each in rows[:-1])


@pytest.mark.parametrize(("row", "register"), REGISTERS)
def test_fields_fit_and_do_not_overlap(row: Capability, register: Register) -> None:
    assert register.size in (1, 2, 4, 8)
    taken = 0
    for field in register.fields:
        assert field.mask < 1 << 8 * register.size, field.name
        assert not taken & field.mask, f"{field.name} overlaps another"
        taken |= field.mask
    names = [field.name for field in register.fields]
    assert len(names) == len(set(names))
    assert [field.low for field in register.fields] == sorted(field.low for field in register.fields)


@pytest.mark.parametrize(("row", "register"), REGISTERS)
def test_every_field_has_a_class_and_every_meaning_a_content(row: Capability, register: Register) -> None:
    for field in register.fields:
        assert isinstance(register.access_of(field), Access)
        assert field.name.isidentifier(), field.name
        for content in field.values or ():
            assert content is None or 0 <= content < 1 << field.width, field.name
        if field.values and field.width == 1:
            assert set(field.values) - {None} <= {0, 1}


@pytest.mark.parametrize("row", NAMED)
def test_conditions_and_counts_name_what_there_is(row: Capability) -> None:
    texts = [each.when for each in row.registers] + [row.when] + [block.count for block in row.blocks]
    texts += [piece[0] for piece in row.text if isinstance(piece, tuple)]
    words = {"and", "or", "not", "in", "if", "else", "min", *FACTS}
    for text in texts:
        for register, field in referenced(text):
            assert field == "all" or row.register(register).field(field)
        for word in text.replace("(", " ").replace(")", " ").replace(",", " ").split():
            if word.isalpha() and word.islower():
                assert word in words, text
            elif word.replace("_", "").isalpha() and word.isupper():
                assert word in PORT_NAMES, text


@pytest.mark.parametrize("row", NAMED)
def test_every_byte_is_accounted_for(row: Capability) -> None:
    """Registers, those that exclude each other too, and what is declared reserved leave no gap."""
    head = 0 if row.id < 0 else 4 if row.extended else 2
    taken = set(range(head))
    for register in row.registers:
        taken |= set(range(register.offset, register.end))
    for start, size in row.reserved:
        assert not taken & set(range(start, start + size)), "a reserved byte has a register"
        taken |= set(range(start, start + size))
    for block in row.blocks:
        first = min((register.offset for register in block.registers), default=0)
        taken |= set(range(block.offset, block.offset + first + max(r.end for r in block.registers)))
    end = max(taken, default=-1) + 1
    fixed = {*range(end)} - taken
    assert not fixed or row.walk is not None, f"nobody accounts for {sorted(fixed)}"
    for block in row.blocks:
        _check_block(block.registers, block.stride)


def _check_block(rows: tuple[Register, ...], stride: int) -> None:
    ordered = sorted(rows, key=lambda each: each.offset)
    for one, other in pairwise(ordered):
        assert one.end <= other.offset, f"{other.name} overlaps {one.name}"
    if stride:
        assert ordered[-1].end <= stride


@pytest.mark.parametrize("row", NAMED)
def test_registers_that_exist_together_do_not_overlap(row: Capability) -> None:
    for _, layout in _layouts(row):
        taken: set[int] = set()
        for placed in layout.registers:
            here = set(range(placed.offset, placed.offset + placed.row.size))
            assert not taken & here, f"{placed.name} overlaps another"
            taken |= here


def _layouts(row: Capability) -> list[tuple[bytes, Layout]]:
    """Return layouts for spaces that answer conditions in many ways."""
    random = Random(row.id)
    maker = Maker(row)
    base = 0 if row.id < 0 else 0x100 if row.extended else 0x40
    found = []
    for number in range(24):
        data = bytearray(random.randbytes(SIZE) if number > 1 else bytes([0xFF * number]) * SIZE)
        data[0x0E] = random.choice((0, 1))
        facts = Facts(
            header=data[0x0E],
            port=random.choice((-1, 0, 1, 4, 5, 6, 7, 8, 9, 10)),
            vendor=0x8086,
            device=0x1041,
            memory=random.random() < 0.5,
            first=random.random() < 0.5,
            lanes=random.choice((0, 1, 4, 16)),
        )
        found.append((bytes(data), maker.layout(data, base, SIZE, facts)))
        assert "{" not in maker.text(found[-1][1], data, base, SIZE, facts)
    return found


@pytest.mark.parametrize("row", NAMED)
def test_every_field_is_read_from_its_bits_and_no_others(row: Capability) -> None:
    """Sweep each bit of each register: exactly the fields that hold it change, in compiled too."""
    base = 0x100
    for layout in {id(each): each for _, each in _layouts(row)}.values():
        if len(layout.registers) > 40:
            continue
        clear = layout.decode(bytes(SIZE), base)
        assert len(clear) == len(layout.fields)
        for placed in layout.registers:
            for bit in range(8 * placed.row.size):
                data = bytearray(SIZE)
                data[base + placed.offset + bit // 8] = 1 << bit % 8
                values = layout.decode(bytes(data), base)
                _check_bit(layout, placed.name, bit, clear, values)


def _check_bit(
    layout: Layout, register: str, bit: int, clear: tuple[object, ...], values: tuple[object, ...]
) -> None:
    for (placed, field), before, after in zip(layout.fields, clear, values, strict=True):
        holds = placed.name == register and field.mask >> bit & 1
        expected = _meaning(field, 1 << bit - field.low if holds else 0)
        assert after == expected, f"{placed.name}.{field.name} with bit {bit}"
        if not holds:
            assert after == before


def _meaning(field: Field, content: int) -> object:
    """Say what a content means, from the row alone."""
    if field.values is not None:
        return field.values[content] if content in field.values else field.values.get(None, content)
    return bool(content) if field.width == 1 else (content << field.shift) + field.bias


class TestTable:
    def test_reads_all_that_a_line_can_say(self) -> None:
        (register,) = registers(
            """
Ctl  08/2  RW  Some Control | when Cap.On | view trapped | rsvdz
  2:0   Size=Label  RO  the size [bytes] [+1]
  15:12 Base        -   the base [<<12]
"""
        )
        assert (register.name, register.offset, register.size, register.when) == ("Ctl", 8, 2, "Cap.On")
        size, base = register.fields
        assert (size.shown, size.unit, size.bias, size.access) == ("Label", "bytes", 1, Access.RO)
        assert (base.low, base.width, base.shift) == (12, 4, 12)

    def test_refuses_meanings_that_belong_to_nothing(self) -> None:
        with pytest.raises(ValueError, match="Nowhere"):
            registers("Ctl  00/1  RO  Control\n  0  On  -  on", {"Nowhere": {0: "no"}})


def test_a_capability_that_goes_past_the_end_loses_registers_not_the_run() -> None:
    for row in ROWS:
        if row.id < 0:
            continue
        maker = Maker(row)
        for room in range(2, 64, 5):
            data = bytes([0xA5]) * (0x100 + room)
            layout = maker.layout(data, 0x100, len(data), Facts())
            assert all(placed.offset + placed.row.size <= room for placed in layout.registers)
            layout.decode(data, 0x100)
            assert isinstance(maker.text(layout, data, 0x100, len(data), Facts()), str)


def test_places_of_even_blocks_follow_their_stride() -> None:
    (row,) = [row for row in ROWS if row.name == "VC"]
    data = bytearray(SIZE)
    data[0x104] = 3
    layout = Maker(row).layout(data, 0x100, SIZE, Facts())
    assert layout.places == tuple(Place(0, str(number), 0x10 + 12 * number) for number in range(4))

"""``vfiokit-registers``: a family of capabilities, as the rows of :mod:`vfiokit.pci.registers` hold it."""

from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vfiokit.pci.registers import capabilities
from vfiokit.pci.registers.rows import Capability, Field, Register

__all__ = ["setup"]

_COLUMNS = (("Register", 18), ("Bits", 7), ("Field", 18), ("Access", 8), ("Meaning", 49))
_MOST_VALUES = 8

Row = tuple[str, str, str, str, str]


class Registers(SphinxDirective):
    """One family by name: a table of fields for each capability."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [node for row in capabilities(self.arguments[0]) for node in _capability(row)]


def _capability(row: Capability) -> Iterator[nodes.Node]:
    kind = "extended " if row.extended else ""
    identifier = f", {kind}identifier {row.id:#06x}" if row.id >= 0 else ""
    term = nodes.paragraph(
        "", "", nodes.literal(row.name, row.name), nodes.Text(f": {row.title.rstrip()}{identifier}")
    )
    yield nodes.rubric("", "", *term.children)
    said = [f"{row.section}." if row.section else "", f"vfio-pci: {row.view}."]
    said += [f"Only where {row.when}."] if row.when else []
    said += [f"Rests on {row.rests_on}."] if row.rests_on else []
    yield nodes.paragraph(text=" ".join(filter(None, said)))
    rows = list(_rows(row))
    if rows:
        yield _table(rows)


def _rows(row: Capability) -> Iterator[Row]:
    for register in row.registers:
        yield from _register(register, "", f"{register.offset:02x}", register.when)
    for block in row.blocks:
        count = f"repeats: {block.count}" if block.count else "repeats"
        for register in block.registers:
            place = f"{block.offset + register.offset:02x}+n·{block.stride:02x}" if block.stride else "…"
            yield from _register(register, f"{block.name}n", place, count)


def _register(register: Register, prefix: str, place: str, when: str) -> Iterator[Row]:
    head = f"{place} {prefix}{register.name}"
    about = f"{register.title}{f' (where {when})' if when else ''}"
    yield head, f"{8 * register.size} bits", "", str(register.access), about
    for field in register.fields:
        bits = f"{field.low + field.width - 1}:{field.low}" if field.width > 1 else f"{field.low}"
        yield "", bits, field.name, str(register.access_of(field)), _meaning(field)


def _meaning(field: Field) -> str:
    title = field.title if field.title != field.name else ""
    label = f" (lspci: {field.label})" if field.label else ""
    unit = f" [{field.unit}]" if field.unit else ""
    values = ""
    if field.values:
        shown = [f"{raw}: {meaning}" for raw, meaning in field.values.items() if raw is not None]
        more = ", …" if len(shown) > _MOST_VALUES else ""
        values = f" — {', '.join(shown[:_MOST_VALUES])}{more}"
    return f"{title}{unit}{label}{values}".strip(" —") if not title else f"{title}{unit}{label}{values}"


def _table(rows: list[Row]) -> nodes.table:
    group = nodes.tgroup(cols=len(_COLUMNS))
    group.extend(nodes.colspec(colwidth=width) for _, width in _COLUMNS)
    head = nodes.row("", *(nodes.entry("", nodes.paragraph(text=title)) for title, _ in _COLUMNS))
    group += nodes.thead("", head)
    group += nodes.tbody("", *(_line(row) for row in rows))
    return nodes.table("", group)


def _line(row: Row) -> nodes.row:
    register, bits, name, access, meaning = row
    cells = [
        nodes.paragraph("", "", nodes.literal(register, register)) if register else nodes.paragraph(),
        nodes.paragraph(text=bits),
        nodes.paragraph("", "", nodes.literal(name, name)) if name else nodes.paragraph(),
        nodes.paragraph(text=access),
        nodes.paragraph(text=meaning),
    ]
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("vfiokit-registers", Registers)
    return {"parallel_read_safe": True}

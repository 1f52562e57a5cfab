"""``vfiokit-registers``: a family of capabilities, as the rows of :mod:`vfiokit.pci.registers` hold it.

``vfiokit-views``: of all families, what user space does not find behind vfio-pci as it is in the device.
"""

from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vfiokit.pci.registers import capabilities, families
from vfiokit.pci.registers.rows import Capability, Field, Register, View
from vfiokit.pci.vfio_view import is_plain

__all__ = ["setup"]

_COLUMNS = (("Register", 18), ("Bits", 7), ("Field", 18), ("Access", 8), ("Meaning", 49))
_VIEW_COLUMNS = (("Structure", 18), ("Register", 18), ("Fields", 36), ("Access", 10), ("vfio-pci", 18))
_MOST_VALUES = 8

Columns = tuple[tuple[str, int], ...]
Row = tuple[str, str, str, str, str]


class Registers(SphinxDirective):
    """One family by name: a table of fields for each capability."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [node for row in capabilities(self.arguments[0]) for node in _capability(row)]


class Views(SphinxDirective):
    """Every register with a field that is not as in the device; then the capabilities that are hidden."""

    def run(self) -> list[nodes.Node]:
        taken = [row for _, rows in families() for row in rows if _is_taken(row)]
        rows = [line for row in taken if row.view is not View.HIDDEN for line in _views(row)]
        hidden = sorted({f"{row.name} ({row.id:#x})" for row in taken if row.view is View.HIDDEN})
        return [
            _table(list(dict.fromkeys(rows)), _VIEW_COLUMNS),
            nodes.paragraph(text=f"Hidden: {', '.join(hidden)}, and every capability that has no row."),
        ]


def _is_taken(row: Capability) -> bool:
    """Whether a function that vfio-pci takes can have it: one that is no bridge."""
    return "header == 1" not in row.when and (row.id >= 0 or "Type 0" in row.title)


def _views(row: Capability) -> Iterator[Row]:
    for register in (*row.registers, *(each for block in row.blocks for each in block.registers)):
        met: dict[tuple[str, View], list[str]] = {}
        for field in register.fields:
            access, view = register.access_of(field), row.view_of(register, field)
            if not is_plain(access, view):
                met.setdefault((str(access), view), []).append(field.name)
        for (access, view), names in met.items():
            fields = "" if len(names) == len(register.fields) else ", ".join(names)
            yield row.name, f"{register.offset:02x} {register.name}", fields, access, str(view)


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
        yield _table(rows, _COLUMNS)


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


def _table(rows: list[Row], columns: Columns) -> nodes.table:
    group = nodes.tgroup(cols=len(columns))
    group.extend(nodes.colspec(colwidth=width) for _, width in columns)
    head = nodes.row("", *(nodes.entry("", nodes.paragraph(text=title)) for title, _ in columns))
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
    app.add_directive("vfiokit-views", Views)
    return {"parallel_read_safe": True}

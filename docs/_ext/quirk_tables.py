"""``vfiokit-quirks``: the kernel's tables of devices, as the rows of :mod:`vfiokit.pci` hold them."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vfiokit.pci.acs_bits import acs_names
from vfiokit.pci.quirk_alias_rows import BRIDGE_QUIRKS, DMA_ALIAS_QUIRKS
from vfiokit.pci.quirk_model import device_text
from vfiokit.pci.quirk_rows import ACS_ENABLE_QUIRKS, ACS_QUIRKS, IGNORED_ACS

__all__ = ["setup"]

Row = tuple[str, ...]

_TABLES: dict[str, tuple[Row, tuple[Row, ...]]] = {
    "acs": (
        ("Vendor", "Devices", "What they are", "Why the kernel answers for them", "Function"),
        tuple(
            (f"{row.vendor:04x}", device_text(row.devices), row.subject, row.rule.why, row.rule.function)
            for row in ACS_QUIRKS
        ),
    ),
    "enable": (
        ("Vendor", "Devices", "What they are", "What is on afterwards", "Where", "Function"),
        tuple(
            (
                f"{row.vendor:04x}",
                device_text(row.devices),
                row.subject,
                " ".join(acs_names(row.enables)),
                row.where,
                row.function,
            )
            for row in ACS_ENABLE_QUIRKS
        ),
    ),
    "ignored": (
        ("Vendor", "Devices", "What they are", "Ignored", "Why", "Function"),
        tuple(
            (
                f"{row.vendor:04x}",
                device_text(row.devices),
                row.subject,
                " ".join(acs_names(row.ignored)),
                row.why,
                row.function,
            )
            for row in IGNORED_ACS
        ),
    ),
    "alias": (
        ("Vendor", "Devices", "What they are", "Whose identity", "Why", "Function"),
        tuple(
            (
                f"{row.vendor:04x}",
                device_text(row.devices),
                row.subject,
                row.shape.value,
                row.why,
                row.function,
            )
            for row in DMA_ALIAS_QUIRKS
        ),
    ),
    "bridge": (
        ("Vendor", "Devices", "What they are", "What it is", "Why", "Function"),
        tuple(
            (
                f"{row.vendor:04x}",
                device_text(row.devices),
                row.subject,
                row.flag.value,
                row.why,
                row.function,
            )
            for row in BRIDGE_QUIRKS
        ),
    ),
}


class Quirks(SphinxDirective):
    """One of the tables, by name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        header, rows = _TABLES[self.arguments[0]]
        return [_table(header, rows)]


def _table(header: Row, rows: tuple[Row, ...]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in header), cols=len(header))
    group += nodes.thead("", _row(header, literal=False))
    group += nodes.tbody("", *(_row(row, literal=True) for row in rows))
    return nodes.table("", group)


def _row(cells: Row, *, literal: bool) -> nodes.row:
    last = len(cells) - 1
    return nodes.row(
        "", *(nodes.entry("", _cell(text, literal and at in (0, 1, last))) for at, text in enumerate(cells))
    )


def _cell(text: str, literal: bool) -> nodes.paragraph:
    child = nodes.literal(text, text) if literal else nodes.Text(text)
    return nodes.paragraph("", "", child)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("vfiokit-quirks", Quirks)
    return {"parallel_read_safe": True}

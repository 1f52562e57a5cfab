"""``vfiokit-quirks``: the kernel's tables of devices, as the rows of :mod:`vfiokit.pci` hold them."""

from collections.abc import Iterator
from itertools import groupby

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vfiokit.pci.acs_bits import acs_names
from vfiokit.pci.quirk_alias_rows import BRIDGE_QUIRKS, DMA_ALIAS_QUIRKS
from vfiokit.pci.quirk_model import Devices, device_text
from vfiokit.pci.quirk_rows import ACS_ENABLE_QUIRKS, ACS_QUIRKS, IGNORED_ACS

__all__ = ["setup"]

Line = tuple[str, str]
"""What some devices are, and their identifiers."""
Row = tuple[str, str, Line]
"""The kernel's function, what it says, and the devices it says it of."""


def _line(vendor: int, devices: Devices, subject: str) -> Line:
    return subject, f"{vendor:04x}: {device_text(devices)}"


_TABLES: dict[str, tuple[Row, ...]] = {
    "acs": tuple(
        (row.rule.function, row.rule.why, _line(row.vendor, row.devices or row.rule.devices, row.subject))
        for row in ACS_QUIRKS
    ),
    "enable": tuple(
        (
            row.function,
            f"{' '.join(acs_names(row.enables))} afterwards, in {row.where}",
            _line(row.vendor, row.devices, row.subject),
        )
        for row in ACS_ENABLE_QUIRKS
    ),
    "ignored": tuple(
        (
            row.function,
            f"{' '.join(acs_names(row.ignored))}: {row.why}",
            _line(row.vendor, row.devices, row.subject),
        )
        for row in IGNORED_ACS
    ),
    "alias": tuple(
        (row.function, f"{row.shape.value}: {row.why}", _line(row.vendor, row.devices, row.subject))
        for row in DMA_ALIAS_QUIRKS
    ),
    "bridge": tuple(
        (row.function, f"{row.flag.value}: {row.why}", _line(row.vendor, row.devices, row.subject))
        for row in BRIDGE_QUIRKS
    ),
}


class Quirks(SphinxDirective):
    """One of the tables, by name: each of the kernel's functions, and its devices below it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        items = [_item(function, why, lines) for function, why, lines in _merged(_TABLES[self.arguments[0]])]
        return [nodes.definition_list("", *items)]


def _merged(rows: tuple[Row, ...]) -> Iterator[tuple[str, str, list[Line]]]:
    """Put neighbours of one function and one reason together; the order is the kernel's and stays."""
    for (function, why), members in groupby(rows, key=lambda row: row[:2]):
        yield function, why, [line for _, _, line in members]


def _item(function: str, why: str, lines: list[Line]) -> nodes.definition_list_item:
    term = nodes.term("", "", nodes.literal(function, function))
    devices = nodes.bullet_list("", *(nodes.list_item("", _devices(*line)) for line in lines))
    return nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph(text=why), devices))


def _devices(subject: str, identifiers: str) -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.Text(f"{subject} "), nodes.literal(identifiers, identifiers))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("vfiokit-quirks", Quirks)
    return {"parallel_read_safe": True}

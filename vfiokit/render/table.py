"""Tables for people on a terminal; the only importer of rich."""

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vfiokit.model.device import PciDevice
from vfiokit.model.finding import Severity
from vfiokit.model.unknown import Unknown
from vfiokit.render.view import GroupView, Names, device_marks

__all__ = ["print_groups"]

_VERDICTS = {True: "green", False: "red", None: "yellow"}
_SEVERITIES = {Severity.ERROR: "red", Severity.UNKNOWN: "yellow"}
_GAP = 2
_NARROWEST = 24
"""Characters for what a function is, where the terminal has no room for all of it on one line."""

Cells = tuple[Text, ...]
"""Of one function: its address, what it is, its identifiers, its state."""


def print_groups(views: Iterable[GroupView], names: Names) -> None:
    """Print each group with its verdict, and below it a row for each function in aligned columns."""
    console = Console(highlight=False)
    groups = [(view, _rows(view, names)) for view in views]
    widths = _widths([row for _, rows in groups for row in rows], console.width)
    for view, rows in groups:
        console.print(_heading(view))
        console.print(_table(rows, widths))


def _heading(view: GroupView) -> Text:
    return Text.assemble(
        (f"group {view.group.id}", "bold"), f"  {view.type}  ", (view.verdict, _VERDICTS[view.viable])
    )


def _table(rows: list[Cells], widths: tuple[int, ...]) -> Padding:
    table = Table.grid(padding=(0, _GAP, 0, 0))
    for width in widths:
        table.add_column(width=width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return Padding(table, (0, 0, 0, _GAP))


def _rows(view: GroupView, names: Names) -> list[Cells]:
    styles = {finding.subject: _SEVERITIES.get(finding.severity, "") for finding in view.findings}
    rows = [_cells(device, names, styles.get(str(device.address), "")) for device in view.devices]
    others = ((other, "not a PCI function", "", "") for other in view.group.others)
    return rows + [tuple(map(Text, other)) for other in others]


def _cells(device: PciDevice, names: Names, style: str) -> Cells:
    address = Text(str(device.address), style)
    state = Text(", ".join(device_marks(device)), style)
    vendor, identifier, code = device.vendor, device.device, device.class_code
    if isinstance(vendor, Unknown) or isinstance(identifier, Unknown) or isinstance(code, Unknown):
        return address, Text(str(code if isinstance(code, Unknown) else vendor)), Text(), state
    name = names.device(vendor, identifier) or names.vendor(vendor) or "device"
    kind = names.class_name(code >> 8) or f"class {code >> 8:04x}"
    return address, Text(f"{kind}: {name}"), Text(f"{vendor:04x}:{identifier:04x}"), state


def _widths(rows: list[Cells], available: int) -> tuple[int, ...]:
    """Give each column what its widest cell needs, and take what is missing from the second and the last."""
    address, kind, identifiers, state = (
        max((row[at].cell_len for row in rows), default=1) for at in range(4)
    )
    rest = available - address - identifiers - 4 * _GAP
    kind = min(kind, max(rest - state, rest // 2, _NARROWEST))
    return address, kind, identifiers, max(min(state, rest - kind), 1)

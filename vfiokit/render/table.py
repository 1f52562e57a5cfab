"""Tables for people on a terminal; the only importer of rich."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vfiokit.model.device import PciDevice
from vfiokit.model.unknown import Unknown
from vfiokit.render.view import GroupView, Names, device_marks

__all__ = ["print_groups"]

_VERDICTS = {True: "green", False: "red", None: "yellow"}


def print_groups(views: Iterable[GroupView], names: Names) -> None:
    """Print groups as a table: one row a function, the verdict beside the group's first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, highlight=False)
    table.add_column("Group", justify="right", no_wrap=True)
    table.add_column("Type", no_wrap=True)
    table.add_column("Address", no_wrap=True)
    table.add_column("Function", ratio=3, overflow="fold")
    table.add_column("IDs", no_wrap=True)
    table.add_column("State", ratio=2, overflow="fold")
    table.add_column("VFIO", ratio=2, overflow="fold")
    for view in views:
        verdict = Text(view.verdict, style=_VERDICTS[view.viable])
        first = (str(view.group.id), view.type)
        for device in view.devices:
            table.add_row(*first, str(device.address), *_cells(device, names), verdict)
            first, verdict = ("", ""), Text("")
        for other in view.group.others:
            table.add_row(*first, other, "not a PCI function", "", "", verdict)
            first, verdict = ("", ""), Text("")
    Console().print(table)


def _cells(device: PciDevice, names: Names) -> tuple[str, str, str]:
    vendor, identifier, code = device.vendor, device.device, device.class_code
    if isinstance(vendor, Unknown) or isinstance(identifier, Unknown) or isinstance(code, Unknown):
        return str(vendor), "", ", ".join(device_marks(device))
    name = names.device(vendor, identifier) or names.vendor(vendor) or "Device"
    kind = names.class_name(code >> 8) or "Class"
    return (
        f"{kind} \\[{code >> 8:04x}]: {name}",
        f"{vendor:04x}:{identifier:04x}",
        ", ".join(device_marks(device)),
    )

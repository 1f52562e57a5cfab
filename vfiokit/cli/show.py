"""``vfiokit show``: one function, readable."""

import click

from vfiokit.analysis.selection import is_name, select_device
from vfiokit.cli.common import (
    complete_selector,
    echo_document,
    echo_lines,
    find_names,
    open_root,
    warn_problems,
)
from vfiokit.pci.bars import bars
from vfiokit.sysfs.function import FunctionFiles
from vfiokit.sysfs.scan import Part, scan

__all__ = ["command"]


@click.command("show", short_help="Show one function: identity, driver, group, link, BARs, capabilities.")
@click.argument("selector", shell_complete=complete_selector)
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
@click.pass_context
def command(ctx: click.Context, selector: str, as_json: bool) -> int:
    """Show one function: identity, driver, IOMMU group, power, link, BARs with sizes, capabilities.

    A SELECTOR is an address, vendor:device, group:N of a group with one member, a network interface or a
    block device.
    """
    source = open_root(ctx)
    host = scan(source, Part.REVISION | (Part.NAMES if is_name(selector) else Part.LISTING))
    device = host.device(select_device(host, selector))
    files = FunctionFiles(source, device.address)
    space = files.config()
    ranges = bars(space, files.resources(), total_vfs=files.number("sriov_totalvfs"))
    names = find_names(source)
    if as_json:
        from vfiokit.render.json import document, dumps
        from vfiokit.render.show import show_object

        echo_document(dumps(document("show", source.name, **show_object(device, space, ranges, names))))
    else:
        from vfiokit.render.show import show_lines

        echo_lines(show_lines(device, space, ranges, names))
    warn_problems(host)
    return 0

"""``vfiokit bars``: BARs, windows, ROM and BARs of virtual functions: where, how large, who says so."""

import click

from vfiokit.address import PciAddress
from vfiokit.analysis.selection import is_name, select_device
from vfiokit.cli.common import complete_selector, echo_document, echo_lines, open_root
from vfiokit.errors import VfiokitError
from vfiokit.model.host import Host
from vfiokit.pci.bars import Bar, bars, needs, overlaps
from vfiokit.sysfs.function import FunctionFiles
from vfiokit.sysfs.scan import Part, scan
from vfiokit.sysfs.source import Source

__all__ = ["command"]


@click.command("bars", short_help="List BARs, windows and ROMs, with who says how large they are.")
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1, shell_complete=complete_selector)
@click.option("--sum", "total", is_flag=True, help="Print what a virtual machine needs for them together.")
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
@click.pass_context
def command(ctx: click.Context, selectors: tuple[str, ...], total: bool, as_json: bool) -> int:
    """List base address registers, bridge windows, ROMs and BARs of virtual functions.

    Without SELECTOR, those of every function. Sizes are the kernel's, else those of the resizable BAR
    capability or of
    Enhanced Allocation; nothing is ever sized by writing. Exit status: 1 if ranges overlap or sizes
    disagree.
    """
    source = open_root(ctx)
    host = scan(source, Part.NAMES if any(map(is_name, selectors)) else Part.LISTING)
    chosen = [select_device(host, text) for text in selectors]
    addresses = chosen or [device.address for device in host.devices]
    found = {address: _bars(host, source, address, strict=bool(chosen)) for address in addresses}
    clashes = [_clash(*each) for domain in _domains(found) for each in overlaps(domain)]
    summary = needs([bar for ranges in found.values() for bar in ranges])
    if as_json:
        from vfiokit.render.bars import bars_object
        from vfiokit.render.json import document, dumps

        echo_document(dumps(document("bars", source.name, **bars_object(found, summary, clashes))))
    else:
        from vfiokit.render.bars import bar_lines, needs_lines

        echo_lines(needs_lines(summary) if total else bar_lines(found))
        for clash in clashes:
            click.echo(f"conflict: {clash}", err=True)
    disagree = any(bar.disagreements for ranges in found.values() for bar in ranges)
    return 1 if clashes or disagree else 0


def _bars(host: Host, source: Source, address: PciAddress, *, strict: bool) -> tuple[Bar, ...]:
    files = FunctionFiles(source, address)
    try:
        return bars(files.config(), files.resources(), total_vfs=files.number("sriov_totalvfs"))
    except VfiokitError as error:
        if strict:
            raise
        click.echo(f"vfiokit: {error}", err=True)
        return ()


def _domains(found: dict[PciAddress, tuple[Bar, ...]]) -> list[list[tuple[str, Bar]]]:
    domains: dict[int, list[tuple[str, Bar]]] = {}
    for address, ranges in found.items():
        domains.setdefault(address.domain, []).extend((str(address), bar) for bar in ranges)
    return list(domains.values())


def _clash(owner: str, bar: Bar, other: str, following: Bar) -> str:
    first, second = f"{bar.label} of {owner}", f"{following.label} of {other}"
    return f"{first} at {bar.address:#x} overlaps {second} at {following.address:#x}"

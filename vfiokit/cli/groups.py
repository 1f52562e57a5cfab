"""``vfiokit groups``: the groups, what is in them, and whether VFIO can own them."""

import click

from vfiokit.analysis.platform import has_iommu, host_findings
from vfiokit.analysis.selection import is_name, select_group
from vfiokit.cli.common import (
    collector_paused,
    complete_selector,
    echo_document,
    echo_lines,
    find_names,
    is_terminal,
    open_root,
    warn_problems,
)
from vfiokit.errors import CannotTell, NotSupported, one_line
from vfiokit.model.finding import Finding
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Host
from vfiokit.render.view import group_view
from vfiokit.sysfs.scan import Part, scan

__all__ = ["command"]

_FORMATS = ("table", "plain", "forum", "json")
_EXAMPLE = "to try everything at once: vfiokit --root example groups"


@click.command("groups", short_help="List IOMMU groups and whether VFIO can own them.")
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1, shell_complete=complete_selector)
@click.option(
    "--format", "style", type=click.Choice(_FORMATS), help="Table on a terminal, plain lines in a pipe."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_context
def command(ctx: click.Context, selectors: tuple[str, ...], style: str | None, as_json: bool) -> int:
    """List IOMMU groups, what is in them, and whether VFIO can own them now.

    SELECTOR is a group (14 or group:14) or a function: an address, vendor:device, a network interface
    or a block device.
    """
    style = "json" if as_json else style or ("table" if is_terminal() else "plain")
    source = open_root(ctx)
    with collector_paused():
        host = scan(source, _parts(selectors, style))
    findings = host_findings(host)
    views = [group_view(host, group) for group in _chosen(host, selectors)] if host.groups else []
    names = find_names(source)
    if style == "json":
        from vfiokit.render.json import dumps, groups_document

        echo_document(dumps(groups_document(source.name, host, views, findings, names)))
    elif style == "table":
        from vfiokit.render.table import print_groups

        print_groups(views, names)
    else:
        from vfiokit.render.plain import forum_lines, group_lines

        echo_lines((forum_lines if style == "forum" else group_lines)(views, names))
    warn_problems(host)
    return _conclude(host, findings, quiet=style == "json")


def _parts(selectors: tuple[str, ...], style: str) -> Part:
    parts = Part.REVISION if style == "forum" else Part.LISTING
    return parts | Part.NAMES if any(map(is_name, selectors)) else parts


def _chosen(host: Host, selectors: tuple[str, ...]) -> tuple[IommuGroup, ...]:
    if not selectors:
        return host.groups
    chosen = {select_group(host, text).id for text in selectors}
    return tuple(group for group in host.groups if group.id in chosen)


def _conclude(host: Host, findings: tuple[Finding, ...], *, quiet: bool) -> int:
    from vfiokit.render.plain import finding_lines

    present = has_iommu(host)
    if present:
        if not quiet:
            click.echo("\n".join(map(one_line, finding_lines(findings))), err=True, nl=bool(findings))
        return 0
    click.echo("\n".join(map(one_line, finding_lines(findings))), err=True)
    if present is None:
        return CannotTell.exit_status
    click.echo(_EXAMPLE, err=True)
    return NotSupported.exit_status

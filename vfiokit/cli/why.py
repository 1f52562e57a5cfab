"""``vfiokit why``: why a group is what it is, or what joins two functions."""

import click

from vfiokit.analysis.isolation import Agreement, explain, relate
from vfiokit.analysis.platform import has_iommu
from vfiokit.analysis.selection import is_name, select_device
from vfiokit.cli.common import (
    complete_selector,
    echo_document,
    echo_lines,
    find_names,
    open_root,
    warn_problems,
)
from vfiokit.errors import CannotTell, NotSupported
from vfiokit.render.explain import explanation_lines, explanation_object, relation_lines, relation_object
from vfiokit.render.json import document, dumps
from vfiokit.sysfs.scan import Part, scan

__all__ = ["command"]


@click.command("why", short_help="Explain why a group is what it is.")
@click.argument("selector", shell_complete=complete_selector)
@click.argument("other", required=False, shell_complete=complete_selector)
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
@click.pass_context
def command(ctx: click.Context, selector: str, other: str | None, as_json: bool) -> int:
    """Explain why the IOMMU group of a function is what it is, hop by hop to the root.

    With two functions: the first hop that joins them, or what keeps them apart. A SELECTOR is an
    address, vendor:device, group:N of a group with one member, a network interface or a block device.
    """
    source = open_root(ctx)
    texts = [text for text in (selector, other) if text is not None]
    host = scan(source, Part.CONFIG | (Part.NAMES if any(map(is_name, texts)) else Part.LISTING))
    names = find_names(source)
    chosen = [select_device(host, text) for text in texts]
    explanation = explain(host, chosen[0])
    agreements = [explanation.agreement]
    if len(chosen) == 1:
        body, lines = explanation_object(explanation), explanation_lines(host, explanation, names)
    else:
        relation = relate(host, *chosen)
        agreements.append(relation.other.agreement)
        body, lines = relation_object(relation), relation_lines(host, relation, names)
    if as_json:
        echo_document(dumps(document("why", source.name, **body)))
    else:
        echo_lines(lines)
    warn_problems(host)
    present = has_iommu(host)
    if present is None or Agreement.UNCERTAIN in agreements:
        return CannotTell.exit_status
    return 0 if present else NotSupported.exit_status

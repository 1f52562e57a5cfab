"""``vfiokit overlaps``: host memory that two domains both reach."""

from typing import Any

import click

from vfiokit.cli.common import echo_document, echo_lines
from vfiokit.cli.image import SOURCE, TableOptions, audit_options
from vfiokit.render.json import document, dumps
from vfiokit.render.translation import overlap_line, overlap_object
from vfiokit.translation.overlap import overlaps

__all__ = ["command"]


@click.command("overlaps", short_help="Find memory that two domains of an image both reach.")
@audit_options
@click.option(
    "--source", "sources", type=SOURCE, multiple=True, help="Only this requester; may be repeated."
)
@click.option("--writable", is_flag=True, help="Only where at least one of them may write.")
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
def command(sources: tuple[int, ...], writable: bool, as_json: bool, **options: Any) -> int:
    """Find host memory that two domains both reach, with the requesters behind them.

    Requesters that share a domain share all of it, and are not reported against each other. Exit status 1 if
    anything is found.
    """
    chosen = TableOptions(**options)
    known = chosen.reach(sources)
    reach = {index: domain.dump.mappings for index, domain in enumerate(known)}
    found = [each for each in overlaps(reach) if each.writable or not writable]
    if as_json:
        body = [overlap_object(each, known) for each in found]
        echo_document(dumps(document("overlaps", chosen.subject, overlaps=body)))
    else:
        echo_lines(overlap_line(each, known) for each in found)
    return 1 if found else 0

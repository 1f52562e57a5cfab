"""``vfiokit translate``: where a requester's addresses lead, through the tables in an image of memory."""

from typing import Any

import click

from vfiokit.cli.common import echo_document, echo_lines
from vfiokit.cli.image import ADDRESS, SOURCE, TableOptions, table_options
from vfiokit.render.json import document, dumps
from vfiokit.render.translation import outcome_line, outcome_object
from vfiokit.translation.explain import explain_outcome
from vfiokit.translation.requests import Access, Fault, Request

__all__ = ["command"]


@click.command("translate", short_help="Walk remapping tables in an image of memory for one requester.")
@click.argument("addresses", type=ADDRESS, nargs=-1, required=True, metavar="ADDRESS...")
@table_options
@click.option("--source", type=SOURCE, required=True, help="The requester, as the unit sees it.")
@click.option("--pasid", type=click.IntRange(0, (1 << 20) - 1), help="For requests with PASID.")
@click.option("--write", is_flag=True, help="Ask to write rather than to read.")
@click.option("--explain", is_flag=True, help="Show every entry on the way, field by field.")
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
def command(
    addresses: tuple[int, ...],
    source: int,
    pasid: int | None,
    write: bool,
    explain: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Translate addresses of one requester by the tables in an image of memory.

    Exit status 1 if any of them is blocked.
    """
    chosen = TableOptions(**options)
    unit = chosen.unit()
    access = Access.WRITE if write else Access.READ
    outcomes = [unit.translate(Request(source, address, access, pasid)) for address in addresses]
    if as_json:
        body = [outcome_object(outcome) for outcome in outcomes]
        echo_document(dumps(document("translate", chosen.subject, requests=body)))
    else:
        say = explain_outcome if explain else outcome_line
        echo_lines(line for outcome in outcomes for line in say(outcome).splitlines())
    return 1 if any(isinstance(outcome, Fault) for outcome in outcomes) else 0

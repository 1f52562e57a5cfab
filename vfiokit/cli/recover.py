"""``vfiokit recover``: undo or finish what a crash left half done."""

import click

from vfiokit.binding.journal import Outcome
from vfiokit.cli.common import echo_document, echo_lines
from vfiokit.cli.moving import live_desk
from vfiokit.errors import NotRolledBack, WriteStuck
from vfiokit.render.json import document, dumps

__all__ = ["command"]


@click.command("recover", short_help="Undo or finish what a crash left.")
@click.option("--finish", is_flag=True, help="Go on where it stopped; what cannot be finished is undone.")
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=20.0, show_default=True, metavar="SECONDS"
)
@click.option(
    "--lock-wait", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS"
)
@click.pass_context
def command(ctx: click.Context, finish: bool, as_json: bool, timeout: float, lock_wait: float) -> int:
    """Undo, or with --finish carry to its end, every transaction that was left half done.

    It goes by what the kernel shows now, not by how far the journal got. Status 6 where something is still
    not as it was, 7 where a write is still stuck.
    """
    with live_desk(ctx, timeout=timeout, lock_wait=lock_wait) as desk:
        recovered = desk.recover(finish=finish)
    if as_json:
        rows = [
            {"journal": each.entry.name, "outcome": each.outcome.value, "note": each.text}
            for each in recovered
        ]
        echo_document(dumps(document("recover", "/", transactions=rows)))
    else:
        echo_lines([f"{each.entry.name}: {each.outcome.value}: {each.text}" for each in recovered])
        if not recovered:
            echo_lines(["nothing was left half done"])
    outcomes = {each.outcome for each in recovered}
    if Outcome.STUCK in outcomes:
        return WriteStuck.exit_status
    return NotRolledBack.exit_status if Outcome.PART_UNDONE in outcomes else 0

"""``vfiokit plan``: every write in order, what stands against it, what is undone by what."""

from typing import Any

import click

from vfiokit.binding.case import Action
from vfiokit.cli.moving import Wishes, goal_options, show_plan

__all__ = ["command"]


@click.command("plan", short_help="Show what bind, unbind or restore would do.")
@click.argument("action", type=click.Choice(["bind", "unbind", "restore"]))
@goal_options
@click.option("--json", "as_json", is_flag=True, help="Print a document, which vfiokit apply takes.")
@click.pass_context
def command(ctx: click.Context, /, action: str, as_json: bool, **wishes: Any) -> int:
    """Show what bind, unbind or restore would do, and change nothing.

    Every step in order with what undoes it, the functions that stay, and every rule that stands against it
    with its evidence. Status 4 where it would be refused. What only the running kernel can be asked is
    unknown for another root, and unknown refuses.
    """
    return show_plan(ctx, Action(action), Wishes(**wishes), as_json=as_json)

"""``vfiokit restore``: exactly the driver and the override that were recorded."""

import click

from vfiokit.binding.case import Action
from vfiokit.cli.common import complete_selector
from vfiokit.cli.moving import Wishes, carry_out, live_desk, run_options
from vfiokit.errors import UsageError

__all__ = ["command"]


@click.command("restore", short_help="Give functions back exactly what they had.")
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1, shell_complete=complete_selector)
@click.option("--all", "everything", is_flag=True, help="Everything that vfiokit has moved.")
@click.option("--allow", multiple=True, metavar="RULE=ADDRESS", help="A rule that may be broken.")
@click.option(
    "--wait", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Wait for holders."
)
@run_options
@click.pass_context
def command(
    ctx: click.Context,
    selectors: tuple[str, ...],
    everything: bool,
    allow: tuple[str, ...],
    wait: float,
    as_json: bool,
    verbose: bool,
    timeout: float,
    lock_wait: float,
) -> int:
    """Give functions back the driver and the override that they had when vfiokit moved them first.

    It also works after a reboot. A function that is not the one that was moved is refused.
    """
    if everything == bool(selectors):
        raise UsageError("name functions, or give --all", operation="restore")
    if everything:
        with live_desk(ctx) as desk:
            selectors = tuple(map(str, sorted(desk.records.all())))
    return carry_out(
        ctx,
        Action.RESTORE,
        Wishes(selectors=selectors, allow=allow, wait=wait),
        as_json=as_json,
        verbose=verbose,
        timeout=timeout,
        lock_wait=lock_wait,
    )

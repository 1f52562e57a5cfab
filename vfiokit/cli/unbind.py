"""``vfiokit unbind``: leave functions without a driver."""

from typing import Any

import click

from vfiokit.binding.case import Action
from vfiokit.cli.moving import Wishes, carry_out, goal_options, run_options

__all__ = ["command"]


@click.command("unbind", short_help="Leave functions without a driver.")
@goal_options
@run_options
@click.pass_context
def command(
    ctx: click.Context, /, as_json: bool, verbose: bool, timeout: float, lock_wait: float, **wishes: Any
) -> int:
    """Leave functions without a driver, and keep every driver away from them.

    The override that keeps drivers away, and the driver that was there, are given back by restore.
    """
    return carry_out(
        ctx,
        Action.UNBIND,
        Wishes(**wishes),
        as_json=as_json,
        verbose=verbose,
        timeout=timeout,
        lock_wait=lock_wait,
    )

"""``vfiokit bind``: give functions to VFIO, as a transaction that holds or is undone."""

from typing import Any

import click

from vfiokit.binding.case import Action
from vfiokit.cli.moving import Wishes, carry_out, goal_options, run_options

__all__ = ["command"]


@click.command("bind", short_help="Give functions to VFIO drivers.")
@goal_options
@run_options
@click.pass_context
def command(
    ctx: click.Context, /, as_json: bool, verbose: bool, timeout: float, lock_wait: float, **wishes: Any
) -> int:
    """Give functions to VFIO drivers, as a transaction that either holds or is undone.

    A SELECTOR is an address, vendor:device, group:N, a network interface or a block device. Functions of
    the same group move too only if they are allowed. Nothing to do is status 0 and no write. Refused by a
    rule: 4; failed and undone: 5; not wholly undone: 6; a write is stuck: 7.
    """
    return carry_out(
        ctx,
        Action.BIND,
        Wishes(**wishes),
        as_json=as_json,
        verbose=verbose,
        timeout=timeout,
        lock_wait=lock_wait,
    )

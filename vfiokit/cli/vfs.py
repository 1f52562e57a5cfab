"""``vfiokit vfs``: create or remove virtual functions, and leave them without drivers."""

import click

from vfiokit.binding.case import Action
from vfiokit.binding.goal import Goal
from vfiokit.cli.common import complete_selector
from vfiokit.cli.moving import Wishes, live_desk, only_running, run_options, run_plan
from vfiokit.sysfs.scan import Part, scan

__all__ = ["command"]


@click.command("vfs", short_help="Create or remove virtual functions.")
@click.argument("selector", shell_complete=complete_selector)
@click.argument("count", type=click.IntRange(min=0, max=65535))
@click.option("--allow", multiple=True, metavar="RULE=ADDRESS", help="A rule that may be broken.")
@run_options
@click.pass_context
def command(
    ctx: click.Context,
    selector: str,
    count: int,
    allow: tuple[str, ...],
    as_json: bool,
    verbose: bool,
    timeout: float,
    lock_wait: float,
) -> int:
    """Have COUNT virtual functions of a physical function, or none for 0.

    Drivers are kept away while the functions appear; bind gives them to VFIO. They are waited for, and what
    fails is undone. Those that are in use are not removed.
    """
    with live_desk(ctx, timeout=timeout, lock_wait=lock_wait) as desk:
        only_running(desk)
        host = scan(desk.writer.source, Part.NAMES)
        wished = Wishes(selectors=(selector,), allow=allow).goal(Action.VFS, host)
        plan = desk.plan(Goal(action=Action.VFS, targets=wished.targets, allowed=wished.allowed, vfs=count))
        return run_plan(desk, plan, as_json=as_json, verbose=verbose)

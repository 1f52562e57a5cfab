"""What the commands that move drivers share: their options, the way from words to a goal, the desk."""

import contextlib
import grp
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from vfiokit.address import PciAddress
from vfiokit.analysis.selection import select_device
from vfiokit.binding.case import Action
from vfiokit.binding.execute import Limits
from vfiokit.binding.goal import Goal, Owner, Plan, Step
from vfiokit.binding.offline import OfflineWriter
from vfiokit.binding.places import Places
from vfiokit.binding.safety import RULES, Allowance, parse_allowance
from vfiokit.binding.transaction import Desk
from vfiokit.binding.writer import Writer
from vfiokit.cli.common import complete_selector, echo_document, echo_lines, open_root
from vfiokit.errors import Refused, UsageError, WriteStuck
from vfiokit.model.host import Host
from vfiokit.model.unknown import known
from vfiokit.render.json import document, dumps
from vfiokit.render.plan import moved_lines, moved_object, plan_lines, plan_object
from vfiokit.sysfs.scan import Part, scan
from vfiokit.sysfs.source import Source

__all__ = [
    "Wishes",
    "carry_out",
    "goal_options",
    "live_desk",
    "only_running",
    "open_writer",
    "run_options",
    "run_plan",
    "show_plan",
]

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of a command that moves drivers, as they were given."""

    selectors: tuple[str, ...] = ()
    driver: str | None = None
    with_group: bool = False
    allow: tuple[str, ...] = ()
    keep_power: bool = False
    owner: str | None = None
    mode: str | None = None
    wait: float = 0.0

    def goal(self, action: Action, host: Host) -> Goal:
        """Return the goal on a host that was scanned with names.

        :raises VfiokitError: for a selector, a rule or a user that does not exist.
        """
        targets = [address for text in self.selectors for address in _targets(host, text)]
        rules = [text for text in self.allow if "=" in text or text in _RULE_NAMES]
        return Goal(
            action=action,
            targets=tuple(sorted(set(targets))),
            driver=self.driver,
            with_group=self.with_group,
            mates=frozenset(select_device(host, text) for text in self.allow if text not in rules),
            allowed=frozenset(_allowance(host, text) for text in rules),
            keep_power=self.keep_power,
            owner=_owner(self.owner, self.mode),
            wait=self.wait,
        )


_RULE_NAMES = frozenset(rule.id for rule in RULES)


def goal_options(command: _F) -> _F:
    """Add the options that say what is wanted."""
    options = (
        click.argument(
            "selectors", metavar="SELECTOR...", nargs=-1, required=True, shell_complete=complete_selector
        ),
        click.option(
            "--driver", metavar="NAME", help="The driver or module; the best VFIO driver if not given."
        ),
        click.option("--with-group", is_flag=True, help="Move the functions of the same group too."),
        click.option(
            "--allow",
            multiple=True,
            metavar="WHAT",
            help="A mate that may move too (its address), or RULE=ADDRESS: a rule that may be broken.",
        ),
        click.option("--keep-power", is_flag=True, help="Keep them from losing power while they idle."),
        click.option("--owner", metavar="USER[:GROUP]", help="Who gets the VFIO nodes."),
        click.option("--mode", metavar="OCTAL", help="Permission bits of the VFIO nodes."),
        click.option(
            "--wait",
            type=click.FloatRange(min=0),
            default=0.0,
            metavar="SECONDS",
            help="Wait so long until nobody holds them.",
        ),
    )
    return _decorated(command, options)


def run_options(command: _F) -> _F:
    """Add the options that say how to run."""
    options = (
        click.option("--json", "as_json", is_flag=True, help="Print a document for programs."),
        click.option("-v", "--verbose", is_flag=True, help="Say every step on standard error."),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0.1),
            default=20.0,
            show_default=True,
            metavar="SECONDS",
            help="How long one write to the kernel may take.",
        ),
        click.option(
            "--lock-wait",
            type=click.FloatRange(min=0),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for another run.",
        ),
    )
    return _decorated(command, options)


@contextlib.contextmanager
def live_desk(ctx: click.Context, *, timeout: float = 20.0, lock_wait: float = 10.0) -> Iterator[Desk]:
    """Open the desk on the host that ``--root`` names; only the running one can be changed."""
    source = open_root(ctx)
    # What was moved here says nothing about another host.
    places = Places.from_environment() if source.name == "/" else _no_places()
    with contextlib.closing(open_writer(source)) as writer:
        yield Desk(writer, places, limits=Limits(write=timeout), lock_wait=lock_wait)


def carry_out(
    ctx: click.Context,
    action: Action,
    wishes: Wishes,
    *,
    as_json: bool,
    verbose: bool,
    timeout: float,
    lock_wait: float,
) -> int:
    """Plan and carry out, and say what was moved."""
    with live_desk(ctx, timeout=timeout, lock_wait=lock_wait) as desk:
        only_running(desk)
        plan = desk.plan(wishes.goal(action, _named(desk)))
        return run_plan(desk, plan, as_json=as_json, verbose=verbose)


def run_plan(desk: Desk, plan: Plan, *, as_json: bool, verbose: bool) -> int:
    """Carry out a plan and say what was moved; a refusal names every rule."""
    if plan.refusals:
        _refuse(plan)
    try:
        applied = desk.run(plan, _say if verbose else None)
    except WriteStuck as error:
        for line in error.stack.splitlines():
            click.echo(f"  in the kernel: {line}", err=True)
        raise
    if as_json:
        body = moved_object(plan.goal.action.value, applied.moves, plan)
        echo_document(dumps(document(plan.goal.action.value, "/", **body)))
    else:
        echo_lines(moved_lines(applied.moves, plan))
    return 0


def show_plan(ctx: click.Context, action: Action, wishes: Wishes, *, as_json: bool) -> int:
    """Plan and print; status 4 where a rule stands against it."""
    with live_desk(ctx) as desk:
        plan = desk.plan(wishes.goal(action, _named(desk)))
        source = desk.writer.source.name
    if as_json:
        echo_document(dumps(document("plan", source, **plan_object(plan))))
    else:
        echo_lines(plan_lines(plan))
    return Refused.exit_status if plan.refusals else 0


def _refuse(plan: Plan) -> None:
    click.echo("\n".join(plan_lines(plan, steps=False)), err=True)
    count = len(plan.refusals)
    raise Refused(
        f"{count} rule{'s' if count > 1 else ''} against it; nothing was changed",
        operation=plan.goal.action.value,
        subject=" ".join(map(str, plan.goal.targets)),
    )


def _say(step: Step) -> None:
    click.echo(f"vfiokit: {step.text}", err=True)


def _named(desk: Desk) -> Host:
    return scan(desk.writer.source, Part.NAMES)


def only_running(desk: Desk) -> None:
    """Refuse to change a host that is not running.

    :raises UsageError: if it is not.
    """
    if isinstance(desk.writer, OfflineWriter):
        desk.writer.write("", "", 0)


def open_writer(source: Source) -> Writer:
    """Return what writes to the host that a source reads."""
    if source.name != "/":
        return OfflineWriter(source)
    # The live writer brings sockets and subprocesses, which no plan of a capture needs.
    from vfiokit.binding.live import LiveWriter

    return LiveWriter()


def _no_places() -> Places:
    nowhere = Path("/nonexistent")
    return Places(run=nowhere, state=nowhere, config=nowhere, rules=nowhere, driverctl=nowhere)


def _targets(host: Host, text: str) -> list[PciAddress]:
    """Return what a selector names; ``group:N`` names every function in it that can move."""
    if text.startswith("group:") and text[6:].isdigit():
        members = known(host.group(int(text[6:])).devices, ())
        return [address for address in members if not host.device(address).is_bridge]
    return [select_device(host, text)]


def _allowance(host: Host, text: str) -> Allowance:
    rule, found, where = text.partition("=")
    if not found:
        raise UsageError(
            "a rule is allowed for one function at a time",
            operation="allow",
            subject=text,
            hint=f"{rule}=ADDRESS",
        )
    return parse_allowance(f"{rule}={select_device(host, where)}")


def _owner(owner: str | None, mode: str | None) -> Owner | None:
    if owner is None and mode is None:
        return None
    user, _, group = (owner or "").partition(":")
    return Owner(
        _number(user, lambda name: pwd.getpwnam(name).pw_uid, "user"),
        _number(group, lambda name: grp.getgrnam(name).gr_gid, "group"),
        _mode(mode),
    )


def _number(text: str, look_up: Callable[[str], int], kind: str) -> int | None:
    if not text:
        return None
    try:
        return int(text) if text.isdigit() else look_up(text)
    except KeyError:
        raise UsageError(f"no such {kind}", operation="own", subject=text) from None


def _mode(text: str | None) -> int | None:
    try:
        mode = None if text is None else int(text, 8)
    except ValueError:
        mode = -1
    if mode is not None and not 0 <= mode <= 0o777:
        raise UsageError("no permission bits", operation="own", subject=repr(text), hint="like 0660")
    return mode


def _decorated(command: _F, options: tuple[Callable[[Any], Any], ...]) -> _F:
    for option in reversed(options):
        command = option(command)
    return command

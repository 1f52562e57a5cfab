"""The transaction: a plan either holds or is undone."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from vfiokit.address import PciAddress
from vfiokit.binding.execute import Executor, Limits, read_state
from vfiokit.binding.goal import Move, Plan, Step
from vfiokit.binding.identity import differences, identify
from vfiokit.binding.journal import Journal, Outcome
from vfiokit.binding.undo import put_back
from vfiokit.binding.usage.functions import read_serial
from vfiokit.binding.writer import Writer
from vfiokit.errors import NotRolledBack, Refused, RolledBack, VfiokitError, WriteStuck
from vfiokit.model.host import Host
from vfiokit.model.unknown import known
from vfiokit.sysfs.scan import Part, scan

__all__ = ["Applied", "apply"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Applied:
    """A plan that was carried out.

    :ivar moves: what was moved; empty where everything was as wanted.
    """

    moves: tuple[Move, ...]


def apply(
    plan: Plan,
    writer: Writer,
    journal: Journal,
    *,
    limits: Limits | None = None,
    say: Callable[[Step], None] | None = None,
    committed: Callable[[Plan], None] | None = None,
) -> Applied:
    """Carry out a plan as a transaction.

    The caller holds the locks. A signal that asks to end is heeded between two steps, and undone like a
    failure.

    :param limits: how long to wait for writes, drivers and nodes.
    :param say: is told every step before it is done.
    :param committed: keeps what was moved; it is called before the journal ends.
    :raises Refused: if a rule stands against the plan, or the host is not as it was when it was planned.
    :raises RolledBack: if a step failed and everything is as it was.
    :raises NotRolledBack: if something is not as it was; the journal stays open.
    :raises WriteStuck: if a write does not come back; everything else is as it was.
    """
    _refuse(plan)
    if not plan.moves:
        return Applied(())
    _confirm(plan, writer)
    limits = limits or Limits()
    executor = Executor(plan, writer, journal, limits)
    with _signals() as pending:
        journal.begin(plan, writer.boot_id())
        current: Step | None = None
        try:
            for number, step in enumerate(plan.steps):
                current = step
                _heed(pending)
                journal.step(number, step)
                if say is not None:
                    say(step)
                executor.do(step)
            if committed is not None:
                committed(plan)
        except (Exception, KeyboardInterrupt) as error:
            raise _undo(plan, writer, journal, limits, error, current) from error
        journal.end(Outcome.COMMITTED)
    return Applied(plan.moves)


def _refuse(plan: Plan) -> None:
    against = plan.refusals
    if against:
        first = against[0]
        more = f", and {len(against) - 1} more" if len(against) > 1 else ""
        raise Refused(
            f"{first.message} [{first.rule}]: {', '.join(first.evidence)}{more}",
            operation=plan.goal.action.value,
            subject=str(first.address),
            hint=f"{first.remedy}; --allow {first.rule}={first.address} takes the risk"
            if first.allowable and first.rule != "group-mate"
            else first.remedy,
        )


def _confirm(plan: Plan, writer: Writer) -> None:
    """Hold what was planned against what is there, just before the first write."""
    host = scan(writer.source, Part.REVISION)
    for move in plan.moves:
        changed = _changes(host, move, writer)
        if changed:
            raise Refused(
                f"it is not what it was when the plan was made: {'; '.join(changed)}",
                operation=plan.goal.action.value,
                subject=str(move.address),
                hint="plan again",
            )
    for group, members in plan.members:
        now = known(host.by_group[group].devices, ()) if group in host.by_group else ()
        if now != members:
            raise Refused(
                f"its members were {_texts(members)} and are {_texts(now)}",
                operation=plan.goal.action.value,
                subject=f"group {group}",
                hint="plan again",
            )


def _changes(host: Host, move: Move, writer: Writer) -> tuple[str, ...]:
    device = host.by_address.get(move.address)
    state = read_state(writer.source, move.address)
    if device is None or state is None:
        return ("it is gone",)
    found = identify(host, device, None)
    serial = read_serial(writer.source, move.address) if move.identity.serial else ""
    said = list(differences(move.identity, found))
    if serial and serial != move.identity.serial:
        said.append(f"serial: {move.identity.serial} recorded, {serial} found")
    if (state.driver, state.override) != (move.before.driver, move.before.override):
        said.append(
            f"driver {move.before.driver or 'none'} and override {move.before.override or 'none'} recorded, "
            f"{state.driver or 'none'} and {state.override or 'none'} found"
        )
    return tuple(said)


def _undo(
    plan: Plan,
    writer: Writer,
    journal: Journal,
    limits: Limits,
    error: BaseException,
    step: Step | None,
) -> VfiokitError:
    """Put everything back and return the error that says how it ended."""
    address = step.address if step and isinstance(error, WriteStuck) else None
    undone = put_back(plan.moves, writer, journal, limits, frozenset({address} if address else ()))
    reason = _reason(error, step)
    action, subject = plan.goal.action.value, " ".join(str(target) for target in plan.goal.targets)
    if isinstance(error, WriteStuck) or undone.stuck:
        journal.end(Outcome.STUCK, f"{reason}; {undone.text}")
        stuck = error if isinstance(error, WriteStuck) else None
        return WriteStuck(
            reason if not undone.failures else f"{reason}; not as it was: {undone.text}",
            operation=action,
            subject=subject,
            hint="nothing more was written to it; vfiokit recover, once the kernel lets it go",
            stack=stuck.stack if stuck else "",
        )
    if not undone.complete:
        journal.end(Outcome.PART_UNDONE, f"{reason}; {undone.text}")
        return NotRolledBack(
            f"{reason}; not as it was: {undone.text}",
            operation=action,
            subject=subject,
            hint="the journal is kept: vfiokit recover tries again",
        )
    journal.end(Outcome.UNDONE, reason)
    return RolledBack(f"{reason}; everything is as it was", operation=action, subject=subject)


def _reason(error: BaseException, step: Step | None) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError):
        doing = step.text if step else "a step"
        return f"{doing}: {error.strerror or error}"
    return str(error)


def _texts(addresses: tuple[PciAddress, ...]) -> str:
    return ", ".join(map(str, addresses)) or "none"


def _heed(pending: list[int]) -> None:
    if pending:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that ask to end, for as long as a step may be half done."""
    pending: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return

    def remember(number: int, _: FrameType | None) -> None:
        pending.append(number)

    before = {number: signal.signal(number, remember) for number in _SIGNALS}
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

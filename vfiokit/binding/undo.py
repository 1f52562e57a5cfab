"""Putting functions back: from whatever the kernel shows now to the states that were recorded."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vfiokit.address import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.execute import Executor, Limits, read_state
from vfiokit.binding.goal import Goal, Move, Plan, State, Step, StepKind
from vfiokit.binding.journal import Journal
from vfiokit.binding.steps import DRIVERS, steps_for
from vfiokit.binding.writer import Writer
from vfiokit.errors import VfiokitError, WriteStuck
from vfiokit.sysfs.reader import Reader

__all__ = ["Undone", "put_back"]

# Undoing asks nobody and looks at no rule: what was there before is put back.
_SKIPPED = frozenset(
    {StepKind.FREE, StepKind.CHECK, StepKind.NODE, StepKind.OWN, StepKind.VIABLE, StepKind.COMMIT}
)
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of it.

    :ivar failures: functions that are not as they were, with the reason.
    :ivar gone: functions that are not there any more.
    :ivar stuck: functions that a write is stuck in.
    """

    failures: tuple[tuple[PciAddress, str], ...] = ()
    gone: tuple[PciAddress, ...] = ()
    stuck: tuple[PciAddress, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything that is still there is as it was."""
        return not self.failures and not self.stuck

    @property
    def text(self) -> str:
        """What is not as it was, in a line."""
        parts = [f"{address}: {reason}" for address, reason in self.failures]
        parts += [f"{address}: a write is stuck in it" for address in self.stuck]
        return "; ".join(parts)


def put_back(
    moves: Iterable[Move],
    writer: Writer,
    journal: Journal,
    limits: Limits,
    stuck: frozenset[PciAddress] = frozenset(),
) -> Undone:
    """Put functions back into their states before, the last one first.

    A write that fails is tried once more; then the others are still put back. To a function that a write is
    stuck in nothing is written.
    """
    held = set(stuck)
    gone: list[PciAddress] = []
    moves = tuple(moves)
    back: list[Move] = []
    for move in moves:
        state = read_state(writer.source, move.address)
        if state is None:
            gone.append(move.address)
        elif move.address not in held and not state.satisfies(move.before):
            back.append(_reverse(move, state, writer))
    errors = _carry_out(tuple(back), writer, journal, limits, held)
    failures = _compare(moves, writer, errors, held)
    return Undone(failures, tuple(gone), tuple(sorted(held)))


def _carry_out(
    back: tuple[Move, ...], writer: Writer, journal: Journal, limits: Limits, held: set[PciAddress]
) -> dict[PciAddress, str]:
    targets = tuple(move.address for move in back)
    plan = Plan(goal=Goal(action=Action.RESTORE, targets=targets), moves=back)
    executor = Executor(plan, writer, journal, limits)
    errors: dict[PciAddress, str] = {}
    for number, step in enumerate(steps_for(back)):
        if step.kind in _SKIPPED or step.address in held:
            continue
        journal.step(-1 - number, step)
        try:
            _attempt(executor, step)
        except WriteStuck as error:
            held.update([step.address] if step.address else [])
            errors.update({step.address: str(error)} if step.address else {})
        except (OSError, VfiokitError) as error:
            # What it leaves behind is found by comparing; without an address it was a module.
            errors.update({step.address: str(error)} if step.address else {})
    return errors


def _attempt(executor: Executor, step: Step) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            return executor.do(step)
        except WriteStuck:
            raise
        except (OSError, VfiokitError):
            if attempt + 1 == _ATTEMPTS:
                raise


def _reverse(move: Move, state: State, writer: Writer) -> Move:
    driver = move.before.driver
    loaded = driver is None or Reader(writer.source).names(f"{DRIVERS}/{driver}") is not None
    return replace(
        move, before=state, after=state.possible(move.before), module=None if loaded else move.home
    )


def _compare(
    moves: tuple[Move, ...], writer: Writer, errors: dict[PciAddress, str], held: set[PciAddress]
) -> tuple[tuple[PciAddress, str], ...]:
    failures = []
    for move in moves:
        state = read_state(writer.source, move.address)
        if state is not None and move.address not in held and not state.satisfies(move.before):
            found = f"driver {state.driver or 'none'}, override {state.override or 'none'}"
            wanted = f"driver {move.before.driver or 'none'}, override {move.before.override or 'none'}"
            because = f" ({errors[move.address]})" if move.address in errors else ""
            failures.append((move.address, f"{found} instead of {wanted}{because}"))
    return tuple(failures)

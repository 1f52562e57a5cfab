"""A transaction with all that surrounds it: locks, a journal on disk, records, and what a crash left."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vfiokit.address import PciAddress
from vfiokit.binding.apply import Applied, apply
from vfiokit.binding.case import Action
from vfiokit.binding.execute import Limits, own_processes, read_state
from vfiokit.binding.goal import Goal, Move, Plan, Step
from vfiokit.binding.journal import Entry, FileJournal, Outcome, close_entry, open_entries
from vfiokit.binding.locks import hold
from vfiokit.binding.places import Places
from vfiokit.binding.plan import make_plan
from vfiokit.binding.records import Records
from vfiokit.binding.steps import steps_for
from vfiokit.binding.undo import Undone, put_back
from vfiokit.binding.usage.read import read_evidence
from vfiokit.binding.writer import Writer
from vfiokit.errors import Refused, VfiokitError
from vfiokit.model.host import Host
from vfiokit.sysfs.scan import Part, scan

__all__ = ["Desk", "Recovered"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of a transaction that had been left open.

    :ivar outcome: as its journal ends now.
    """

    entry: Entry
    outcome: Outcome
    text: str


class Desk:
    """Plans and carries out transactions on one host. Synchronization: one caller at a time.

    :param writer: the kernel to work on.
    :param places: where locks, journals and records are.
    :param limits: how long to wait.
    :param lock_wait: seconds to wait for another run.
    """

    def __init__(
        self,
        writer: Writer,
        places: Places | None = None,
        *,
        limits: Limits | None = None,
        lock_wait: float = 10.0,
    ) -> None:
        self.writer = writer
        self.places = places or Places.from_environment()
        self.limits = limits or Limits()
        self.lock_wait = lock_wait
        self.records = Records(self.places.state / "moved")

    def plan(self, goal: Goal) -> Plan:
        """Read the host and plan; nothing is changed."""
        host = scan(self.writer.source, Part.REVISION | Part.NAMES)
        records = self.records.all()
        evidence = read_evidence(
            self.writer.source,
            host,
            _looked_at(host, goal),
            self.writer.prober,
            ours=frozenset(records),
            own=own_processes(self.writer.source),
        )
        return make_plan(host, goal, evidence, records)

    def run(self, plan: Plan, say: Callable[[Step], None] | None = None) -> Applied:
        """Carry out a plan under the locks of its groups; see :func:`vfiokit.binding.apply.apply`.

        :raises Locked: if another run has one of them.
        """
        with self._locked(plan.moves), FileJournal(self.journals) as journal:
            self._no_open_journal(plan)
            return apply(
                plan,
                self.writer,
                journal,
                limits=self.limits,
                say=say,
                committed=self._keep,
            )

    def do(self, goal: Goal, say: Callable[[Step], None] | None = None) -> Applied:
        """Plan and carry out."""
        return self.run(self.plan(goal), say)

    @contextlib.contextmanager
    def bound(self, goal: Goal) -> Iterator[Plan]:
        """Have functions bound for the length of a block, and give back what the block moved.

        What was bound before it stays bound.
        """
        plan = self.plan(replace(goal, action=Action.BIND))
        self.run(plan)
        try:
            yield plan
        finally:
            self.give_back(plan.moves)

    def give_back(self, moves: Iterable[Move]) -> None:
        """Restore functions that were moved."""
        targets = tuple(move.address for move in moves)
        if targets:
            self.do(Goal(action=Action.RESTORE, targets=targets))

    @property
    def journals(self) -> Path:
        """Where the journals are."""
        return self.places.state / "journal"

    def open_entries(self) -> tuple[Entry, ...]:
        """Return the transactions that were left open, oldest first."""
        return tuple(open_entries(self.journals))

    def recover(self, *, finish: bool = False) -> tuple[Recovered, ...]:
        """Undo, or finish, what was left open, the latest first.

        :param finish: go on where it stopped instead of going back; what cannot be finished is undone.
        """
        return tuple(self._recover(entry, finish=finish) for entry in reversed(self.open_entries()))

    def _recover(self, entry: Entry, *, finish: bool) -> Recovered:
        with self._locked(entry.moves):
            if entry.boot_id != self.writer.boot_id():
                # The kernel forgot all of it: overrides and drivers are what this boot made them.
                return self._close(entry, Outcome.REBOOTED, "nothing of it outlived the reboot")
            if finish and self._finish(entry):
                return self._close(entry, Outcome.COMMITTED, "finished")
            undone = put_back(entry.moves, self.writer, FileJournal(self.journals), self.limits)
            self._forget(entry.moves)
            return self._close(entry, *_verdict(undone))

    def _finish(self, entry: Entry) -> bool:
        """Carry out what is left of a transaction; false where it cannot be."""
        moves = []
        for move in entry.moves:
            state = read_state(self.writer.source, move.address)
            if state is None:
                return False
            if not state.satisfies(move.after):
                moves.append(replace(move, before=state))
        goal = Goal(action=Action(entry.action), targets=tuple(move.address for move in entry.moves))
        plan = Plan(goal=goal, moves=tuple(moves), steps=steps_for(tuple(moves)))
        try:
            with FileJournal(self.journals) as journal:
                apply(plan, self.writer, journal, limits=self.limits)
        except (OSError, VfiokitError):
            return False
        self._keep(replace(plan, moves=entry.moves))
        return True

    def _close(self, entry: Entry, outcome: Outcome, text: str) -> Recovered:
        close_entry(entry, outcome, text)
        return Recovered(entry, outcome, text)

    def _keep(self, plan: Plan) -> None:
        """Record where functions came from, or forget those that are back."""
        if plan.goal.action is Action.RESTORE:
            for address in {*plan.goal.targets, *(move.address for move in plan.moves)}:
                self.records.drop(address)
        elif plan.goal.action is not Action.VFS:
            self.records.add(plan.moves)

    def _forget(self, moves: tuple[Move, ...]) -> None:
        """Drop the records of functions that are back where they came from."""
        for address, record in self.records.all().items():
            state = read_state(self.writer.source, address)
            mine = any(move.address == address for move in moves)
            if (
                mine
                and state
                and (state.driver, state.override) == (record.original.driver, record.original.override)
            ):
                self.records.drop(address)

    def _no_open_journal(self, plan: Plan) -> None:
        """Refuse to move what an open transaction was moving: its way back would be lost."""
        moving = {*plan.goal.targets, *(move.address for move in plan.moves)}
        for entry in self.open_entries():
            shared = sorted(moving & {move.address for move in entry.moves})
            if shared and entry.boot_id == self.writer.boot_id():
                raise Refused(
                    f"transaction {entry.name} was left {entry.outcome.value}",
                    operation=plan.goal.action.value,
                    subject=str(shared[0]),
                    hint="vfiokit recover",
                )

    @contextlib.contextmanager
    def _locked(self, moves: tuple[Move, ...]) -> Iterator[None]:
        if not moves:
            yield
            return
        with hold(self.places.run, {move.group for move in moves}, self.lock_wait):
            try:
                yield
            finally:
                # What writes for us has the locks as well: it must go before they do, unless it is stuck.
                self.writer.close()


def _looked_at(host: Host, goal: Goal) -> list[PciAddress]:
    """Return the functions whose use bears on a goal: its targets, and what ends with them."""
    found = [target for target in goal.targets if target in host.by_address]
    if goal.action is Action.VFS:
        found += [device.address for device in host.devices if device.physfn in found]
    return found


def _verdict(undone: Undone) -> tuple[Outcome, str]:
    if undone.stuck:
        return Outcome.STUCK, undone.text
    if not undone.complete:
        return Outcome.PART_UNDONE, undone.text
    gone = f"; gone: {', '.join(map(str, undone.gone))}" if undone.gone else ""
    return Outcome.UNDONE, f"everything is as it was{gone}"

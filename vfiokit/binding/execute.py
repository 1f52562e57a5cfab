"""Carrying out one step: write, read back, and wait, bounded, for what comes later."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from vfiokit.address import PciAddress
from vfiokit.analysis.viability import group_findings
from vfiokit.binding.case import Case
from vfiokit.binding.drivers import NO_DRIVER
from vfiokit.binding.evidence import Evidence
from vfiokit.binding.goal import Owner, Plan, State, Step, StepKind
from vfiokit.binding.journal import Journal
from vfiokit.binding.safety import Verdict, judge
from vfiokit.binding.steps import DEVICES, DRIVERS, steering
from vfiokit.binding.usage.children import listing
from vfiokit.binding.usage.read import read_evidence
from vfiokit.binding.writer import Writer
from vfiokit.errors import VfiokitError
from vfiokit.model.finding import Severity
from vfiokit.model.unknown import Unknown, known
from vfiokit.sysfs import attributes
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.scan import Part, scan
from vfiokit.sysfs.source import DeviceNumber, Source

__all__ = ["Executor", "Limits", "own_processes", "read_state"]

_POLL = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to wait, in seconds.

    :ivar write: for one write to come back from the kernel.
    :ivar driver: for a driver to show after a probe; some probe on a thread of their own.
    :ivar node: for a VFIO node to appear.
    """

    write: float = 20.0
    driver: float = 10.0
    node: float = 5.0


class Executor:
    """Carries out the steps of a plan. Synchronization: one transaction, one thread.

    :param say: is told each step before it is done.
    """

    def __init__(self, plan: Plan, writer: Writer, journal: Journal, limits: Limits) -> None:
        self._plan = plan
        self._writer = writer
        self._journal = journal
        self._limits = limits
        self._reader = Reader(writer.source)
        self._evidence: Evidence | None = None

    def do(self, step: Step) -> None:
        """Carry out a step.

        :raises OSError: if a write fails.
        :raises VfiokitError: if it had no effect, or what it waits for does not come.
        :raises WriteStuck: if the kernel does not answer.
        """
        self._DEEDS[step.kind](self, step)

    def _load(self, step: Step) -> None:
        try:
            self._writer.load(step.path, self._limits.write)
        except OSError as error:
            raise VfiokitError.from_os(
                error,
                operation="load module",
                subject=step.path,
                hint="is it built for this kernel, and not on a blacklist?",
            ) from error

    def _write(self, step: Step) -> None:
        self._writer.write(step.path, step.value, self._limits.write)

    def _override(self, step: Step) -> None:
        self._write(step)
        shown = self._reader.value(step.path, attributes.override)
        if shown != (step.value.strip() or None):
            raise _failed(step, f"it reads back as {shown}")

    def _free(self, step: Step) -> None:
        """Wait until the rules that may pass by themselves have passed."""
        end = self._writer.now() + self._plan.goal.wait
        while True:
            self._evidence = self._look()
            waiting = [verdict for verdict in self._verdicts(self._evidence) if verdict.waits]
            if not waiting:
                return
            if self._writer.now() >= end:
                raise _failed(step, f"after {self._plan.goal.wait:g} s: {_said(waiting)}")
            self._writer.pause(0.25)

    def _check(self, step: Step) -> None:
        evidence = self._evidence or self._look()
        against = [verdict for verdict in self._verdicts(evidence) if verdict.blocks]
        if against:
            raise _failed(step, _said(against))

    def _probe(self, step: Step) -> None:
        self._write(step)

    def _driver(self, step: Step) -> None:
        """Verify by the driver link: that a probe was accepted says nothing about what it did."""
        wanted = None if step.value == NO_DRIVER else step.value
        link = f"{DEVICES}/{step.address}/driver"
        patience = self._limits.driver if wanted else self._limits.node
        if self._until(lambda: self._reader.target(link) == wanted, self._first(step, patience)):
            return
        found = self._reader.target(link)
        if wanted is None or found is not None:
            raise _failed(step, f"it has {found or 'no driver'}")
        self._ask_driver(step, wanted)
        if not self._until(lambda: self._reader.target(link) == wanted, patience):
            raise _failed(step, "it has no driver")

    def _first(self, step: Step, patience: float) -> float:
        """VFIO's drivers probe before the write returns: a short look tells."""
        return min(patience, 0.5) if "vfio" in step.value else patience

    def _ask_driver(self, step: Step, driver: str) -> None:
        """Bind by the driver's own file, which says why it refuses where a probe says nothing."""
        try:
            self._writer.write(f"{DRIVERS}/{driver}/bind", str(step.address), self._limits.write)
        except OSError as error:
            hint = _REASONS.get(error.errno or 0, "see the kernel log")
            raise VfiokitError.from_os(
                error, operation=f"bind to {driver}", subject=str(step.address), hint=hint
            ) from error

    def _functions(self, step: Step) -> None:
        """Wait until the virtual functions are there, each with what a driver needs to be bound to it."""
        directory, count = f"{DEVICES}/{step.address}", int(step.value)

        def present() -> bool:
            links = [name for name in listing(self._reader, directory) if name.startswith("virtfn")]
            targets = [self._reader.target(f"{directory}/{name}") for name in links]
            ready = [self._reader.value(f"{DEVICES}/{name}/driver_override", bytes) for name in targets]
            return len(links) == count and None not in ready

        if not self._until(present, self._limits.driver):
            raise _failed(step, "they did not come")

    def _node(self, step: Step) -> None:
        """Wait until the nodes are there and are of the devices that sysfs says they are."""
        missing = list(self._nodes(step.group))
        if not missing:
            raise _failed(step, "VFIO made no node for it")
        if not self._until(lambda: all(self._stands(*pair) for pair in missing), self._limits.node):
            late = [path for path, node in missing if not self._stands(path, node)]
            raise _failed(step, f"no node, or one with another number: {', '.join(late)}")

    def _own(self, step: Step) -> None:
        owner = self._plan.goal.owner or Owner()
        for path, _ in self._nodes(step.group):
            self._journal.owned(path, self._writer.own(path, owner))

    def _viable(self, step: Step) -> None:
        if self._reader.names(f"sys/class/vfio/{step.group}") is None:
            return  # a kernel without group nodes: bound to iommufd or not at all
        answer = self._writer.viable(step.group if step.group is not None else -1)
        if answer is False:
            host = scan(self._writer.source, Part.LISTING)
            group = host.by_group.get(step.group if step.group is not None else -1)
            reasons = [finding.message for finding in group_findings(host, group)] if group else []
            raise _failed(
                step, f"the kernel says that it is not viable: {'; '.join(reasons) or 'no reason seen'}"
            )

    def _commit(self, step: Step) -> None:
        """Nothing is left to be done to the kernel."""

    def _nodes(self, group: int | None) -> Iterator[tuple[str, DeviceNumber]]:
        """Yield the nodes of a group and of the functions of the plan in it, with their numbers."""
        for title in (str(group), f"noiommu-{group}"):
            value = self._reader.value(f"sys/class/vfio/{title}/dev", _number)
            if isinstance(value, DeviceNumber):
                yield f"dev/vfio/{title}", value
        for move in self._plan.moves:
            if move.group == group:
                directory = f"{DEVICES}/{move.address}/vfio-dev"
                for name in listing(self._reader, directory):
                    value = self._reader.value(f"{directory}/{name}/dev", _number)
                    if isinstance(value, DeviceNumber):
                        yield f"dev/vfio/devices/{name}", value

    def _stands(self, path: str, number: DeviceNumber) -> bool:
        try:
            return self._writer.source.device(path) == number
        except OSError:
            return False

    def _look(self) -> Evidence:
        host = scan(self._writer.source, Part.LISTING)
        self._host = host
        moving = [move.address for move in self._plan.moves if move.address in host.by_address]
        return read_evidence(
            self._writer.source, host, moving, self._writer.prober, own=own_processes(self._writer.source)
        )

    def _verdicts(self, evidence: Evidence) -> Iterator[Verdict]:
        moving = frozenset(move.address for move in self._plan.moves)
        for move in self._plan.moves:
            device = self._host.by_address.get(move.address)
            if device is None:
                raise VfiokitError("it is gone", operation="check", subject=str(move.address))
            case = Case(self._host, evidence, device, moving, self._plan.goal.action, steering(move))
            yield from judge(
                case, self._plan.goal.allowed, in_use_only=True, waiting=self._plan.goal.wait > 0
            )

    def _until(self, holds: Callable[[], bool], patience: float) -> bool:
        end = self._writer.now() + patience
        while not holds():
            if self._writer.now() >= end:
                return False
            self._writer.pause(_POLL)
        return True

    _DEEDS: ClassVar[dict[StepKind, Callable[["Executor", Step], None]]] = {
        StepKind.LOAD: _load,
        StepKind.VFS: _write,
        StepKind.FUNCTIONS: _functions,
        StepKind.POWER: _write,
        StepKind.OVERRIDE: _override,
        StepKind.FREE: _free,
        StepKind.CHECK: _check,
        StepKind.UNBIND: _write,
        StepKind.PROBE: _probe,
        StepKind.DRIVER: _driver,
        StepKind.NODE: _node,
        StepKind.OWN: _own,
        StepKind.VIABLE: _viable,
        StepKind.COMMIT: _commit,
    }


_REASONS = {
    errno.EINVAL: "VFIO refuses a bridge, a function without an IOMMU group, an IOMMU that is not coherent",
    errno.EBUSY: "somebody owns the DMA of its group, or it has a driver",
    errno.ENODEV: "the driver does not take it: its override names another",
    errno.ENOENT: "there is no such driver",
    errno.EPERM: "the kernel is locked down, or this is not root",
    errno.EACCES: "run as root",
}


def read_state(source: Source, address: PciAddress) -> State | None:
    """Read what can be moved about a function; ``None`` where there is no such function."""
    reader = Reader(source)
    path = f"{DEVICES}/{address}"
    try:
        source.readlink(path)
    except OSError:
        return None
    cold = reader.value(f"{path}/d3cold_allowed", attributes.boolean)
    control = reader.value(f"{path}/power/control", attributes.line)
    autoprobe = reader.value(f"{path}/sriov_drivers_autoprobe", attributes.boolean)
    count = reader.value(f"{path}/sriov_numvfs", attributes.integer)
    return State(
        driver=known(reader.target(f"{path}/driver"), None),
        override=known(reader.value(f"{path}/driver_override", attributes.override), None),
        d3cold_allowed=None if isinstance(cold, Unknown) else cold,
        power_control=None if isinstance(control, Unknown) else control,
        vfs=None if isinstance(count, Unknown) else count,
        vfs_autoprobe=None if isinstance(autoprobe, Unknown) else autoprobe,
    )


def own_processes(source: Source) -> tuple[str, ...]:
    """Return this process and those above it, by number."""
    found = [str(os.getpid())]
    while len(found) < 64:
        try:
            status = source.read(f"proc/{found[-1]}/stat").decode("utf-8", "replace")
            parent = status.rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            break
        if parent == "0":
            break
        found.append(parent)
    return tuple(found)


def _number(data: bytes) -> DeviceNumber:
    major, _, minor = data.decode("ascii").strip().partition(":")
    return DeviceNumber(False, int(major), int(minor))


def _failed(step: Step, reason: str) -> VfiokitError:
    return VfiokitError(reason, operation=step.text, subject="")


def _said(verdicts: list[Verdict]) -> str:
    worst = [each for each in verdicts if each.severity is not Severity.WARNING]
    return "; ".join(
        f"{each.address} {each.message} [{each.rule}]: {', '.join(each.evidence)}" for each in worst
    )

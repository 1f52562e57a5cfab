"""Planning: from a host, what it does with its functions, and a goal to every write in order. Pure.

>>> from vfiokit import Host
>>> plan_bind(Host(), Goal(action=Action.BIND, targets=())).steps
()
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from vfiokit.address import PciAddress
from vfiokit.analysis.viability import VFIO_DRIVERS, Occupation, occupation
from vfiokit.binding.case import Action, Case
from vfiokit.binding.drivers import (
    DEFAULT_DRIVER,
    NO_DRIVER,
    best_module,
    driver_of_module,
    find_driver,
    module_of_driver,
)
from vfiokit.binding.evidence import Evidence, FunctionUse
from vfiokit.binding.goal import Goal, Left, Move, Plan, State
from vfiokit.binding.identity import Identity, differences, identify
from vfiokit.binding.safety import Verdict, judge
from vfiokit.binding.steps import release_order, steering, steps_for
from vfiokit.errors import NotFound
from vfiokit.model.device import PciDevice
from vfiokit.model.finding import Severity
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown, known

__all__ = ["Record", "current_state", "make_plan", "plan_bind", "plan_restore", "plan_unbind", "plan_vfs"]

_UNREAD = Evidence(
    unseen=tuple((subject, "it was not read") for subject in ("mounts", "handles", "network"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What vfiokit keeps of a function that it has moved.

    :ivar original: its state before the first move.
    :ivar home: the module of its original driver, ``None`` for built in or none.
    """

    address: PciAddress
    identity: Identity
    original: State
    home: str | None = None


def plan_bind(host: Host, goal: Goal, evidence: Evidence = _UNREAD) -> Plan:
    """Plan to give functions, and those of their group mates that may move, to VFIO drivers.

    :param host: scanned with revisions and config space.
    :param evidence: what the host does with them; without it, every rule that needs it is unknown.
    :raises NotFound: if a target does not exist.
    """
    catalog = evidence.drivers
    wanted = find_driver(catalog, goal.driver) if goal.driver else None
    moves: list[Move] = []
    for address in _ordered(goal.targets):
        device = host.device(address)
        if not _is_there(host, device, wanted):
            moves.append(_bind(host, device, evidence, wanted, goal, mate=False))
    left: list[Left] = []
    unallowed: list[Verdict] = []
    for mate in _mates(host, goal.targets):
        if not occupation(host, mate).in_the_way or mate.is_bridge:
            left.append(Left(mate.address, _why_left(host, mate)))
        elif goal.with_group or mate.address in goal.mates:
            moves.append(_bind(host, mate, evidence, wanted, goal, mate=True))
        elif moves:
            unallowed.append(_consent_needed(mate))
    return _finish(host, goal, evidence, moves, left, tuple(unallowed))


def plan_unbind(host: Host, goal: Goal, evidence: Evidence = _UNREAD) -> Plan:
    """Plan to leave functions without a driver, under an override that keeps every driver away.

    :raises NotFound: if a target does not exist.
    """
    moves = []
    for address in _ordered(goal.targets):
        device = host.device(address)
        if device.driver is not None:
            before = current_state(device, evidence.by_address.get(address))
            after = State(driver=None, override=NO_DRIVER)
            moves.append(_move(host, device, evidence, before, after))
    return _finish(host, goal, evidence, moves, [], ())


def plan_restore(host: Host, goal: Goal, evidence: Evidence, records: Mapping[PciAddress, Record]) -> Plan:
    """Plan to give functions back exactly the driver and the override that were recorded.

    :raises NotFound: if a target does not exist, or vfiokit has not moved it.
    """
    moves: list[Move] = []
    strangers: list[Verdict] = []
    for address in _ordered(goal.targets):
        record = records.get(address)
        if record is None:
            raise NotFound(
                "vfiokit has not moved it",
                operation="restore",
                subject=str(address),
                hint="see vfiokit status",
            )
        device = host.device(address)
        use = evidence.by_address.get(address)
        changed = differences(record.identity, identify(host, device, use))
        if changed:
            strangers.append(_stranger(address, changed))
            continue
        before = current_state(device, use)
        after = before.possible(record.original)
        if not before.satisfies(after):
            module = record.home if after.driver not in dict(evidence.drivers.loaded) else None
            moves.append(replace(_move(host, device, evidence, before, after), module=module))
    return _finish(host, goal, evidence, moves, [], tuple(strangers))


def plan_vfs(host: Host, goal: Goal, evidence: Evidence = _UNREAD) -> Plan:
    """Plan to have a number of virtual functions, which no driver takes as they appear.

    :raises NotFound: if a target does not exist, or it can have no virtual functions.
    """
    moves: list[Move] = []
    verdicts: list[Verdict] = []
    for address in _ordered(goal.targets):
        device = host.device(address)
        use = evidence.by_address.get(address)
        count = use.vfs if use else None
        if not isinstance(count, int):
            raise NotFound("it has no virtual functions", operation="vfs", subject=str(address))
        if count == goal.vfs:
            continue
        if count and goal.vfs:
            verdicts.append(_other_count(address, count))
        before = replace(
            current_state(device, use), vfs=count, vfs_autoprobe=use.vfs_autoprobe if use else None
        )
        after = replace(before, vfs=goal.vfs, d3cold_allowed=None, power_control=None)
        moves.append(_move(host, device, evidence, before, after))
        verdicts += _virtual_users(host, goal, evidence, address)
    return _finish(host, goal, evidence, moves, [], tuple(verdicts))


def make_plan(host: Host, goal: Goal, evidence: Evidence, records: Mapping[PciAddress, Record]) -> Plan:
    """Plan whatever the goal asks for."""
    if goal.action is Action.BIND:
        return plan_bind(host, goal, evidence)
    if goal.action is Action.UNBIND:
        return plan_unbind(host, goal, evidence)
    if goal.action is Action.VFS:
        return plan_vfs(host, goal, evidence)
    return plan_restore(host, goal, evidence, records)


def current_state(device: PciDevice, use: FunctionUse | None) -> State:
    """Return the state of a function as it is; what cannot be read counts as absent."""
    cold = use.d3cold_allowed if use else None
    control = use.power_control if use else None
    return State(
        driver=known(device.driver, None),
        override=known(device.driver_override, None),
        d3cold_allowed=None if isinstance(cold, Unknown) else cold,
        power_control=None if isinstance(control, Unknown) else control,
    )


def _ordered(targets: tuple[PciAddress, ...]) -> tuple[PciAddress, ...]:
    return tuple(sorted(set(targets)))


def _is_there(host: Host, device: PciDevice, wanted: str | None) -> bool:
    """Whether a function has the wanted driver already, or any VFIO driver where none is named."""
    if wanted is not None:
        return device.driver == wanted
    return occupation(host, device) is Occupation.VFIO


def _bind(
    host: Host, device: PciDevice, evidence: Evidence, wanted: str | None, goal: Goal, *, mate: bool
) -> Move:
    use = evidence.by_address.get(device.address)
    module = best_module(evidence.drivers, use.modalias) if use and wanted is None else None
    driver = wanted or (driver_of_module(evidence.drivers, module) if module else DEFAULT_DRIVER)
    before = current_state(device, use)
    after = State(driver=driver, override=driver)
    if goal.keep_power:
        # What is absent stays absent: only PCI functions with power management have these.
        after = before.possible(replace(after, d3cold_allowed=False, power_control="on"))
    load = (
        None
        if driver in dict(evidence.drivers.loaded)
        else module or module_of_driver(evidence.drivers, driver)
    )
    return replace(_move(host, device, evidence, before, after), mate=mate, module=load)


def _move(host: Host, device: PciDevice, evidence: Evidence, before: State, after: State) -> Move:
    use = evidence.by_address.get(device.address)
    facts = host.by_driver.get(before.driver) if before.driver else None
    home = known(facts.module, None) if facts and facts.module is not None else None
    group = device.group if isinstance(device.group, int) else None
    physical = (device.physfn,) if isinstance(device.physfn, PciAddress) else ()
    return Move(
        address=device.address,
        group=group,
        identity=identify(host, device, use),
        before=before,
        after=after,
        home=home,
        suppliers=(*(use.suppliers if use else ()), *physical),
    )


def _finish(
    host: Host,
    goal: Goal,
    evidence: Evidence,
    moves: list[Move],
    left: list[Left],
    verdicts: tuple[Verdict, ...],
) -> Plan:
    moving = frozenset(move.address for move in moves)
    chosen = tuple(
        replace(move, suppliers=tuple(sorted(set(move.suppliers) & moving)))
        for move in sorted(moves, key=lambda move: move.address)
    )
    judged = [
        verdict
        for move in chosen
        for verdict in judge(
            Case(host, evidence, host.by_address[move.address], moving, goal.action, steering(move)),
            goal.allowed,
            waiting=goal.wait > 0,
        )
    ]
    touched = sorted({move.group for move in chosen if move.group is not None})
    return Plan(
        goal=goal,
        moves=release_order(chosen),
        steps=steps_for(chosen, owner=goal.owner, vfio=_vfio_drivers(evidence)),
        verdicts=(*verdicts, *judged),
        left=tuple(left),
        members=tuple((group, tuple(_members(host, group))) for group in touched),
    )


def _vfio_drivers(evidence: Evidence) -> frozenset[str]:
    """Return the drivers that make VFIO nodes: by name, and by what the modules declare."""
    declared = {driver_of_module(evidence.drivers, module) for _, module in evidence.drivers.aliases}
    return VFIO_DRIVERS | declared


def _members(host: Host, group: int) -> Iterator[PciAddress]:
    if group in host.by_group:
        yield from known(host.by_group[group].devices, ())


def _mates(host: Host, targets: tuple[PciAddress, ...]) -> Iterator[PciDevice]:
    groups = {host.device(address).group for address in targets}
    for group in sorted(number for number in groups if isinstance(number, int)):
        for address in _members(host, group):
            if address not in targets and address in host.by_address:
                yield host.by_address[address]


def _why_left(host: Host, mate: PciDevice) -> str:
    held = occupation(host, mate)
    if mate.is_bridge:
        return f"a bridge stays with its driver ({mate.driver or 'none'})"
    return f"it is not in the way: {held.value}"


def _consent_needed(mate: PciDevice) -> Verdict:
    return Verdict(
        rule="group-mate",
        severity=Severity.ERROR,
        address=mate.address,
        message=f"it is in the same group, has driver {mate.driver}, and nobody said that it may move too",
        evidence=(f"group {mate.group}: {mate.address} driver {mate.driver}",),
        remedy=f"--allow {mate.address}, or --with-group",
        allowable=True,
    )


def _stranger(address: PciAddress, changed: tuple[str, ...]) -> Verdict:
    return Verdict(
        rule="identity",
        severity=Severity.ERROR,
        address=address,
        message="another function than the one that was moved is at this address now",
        evidence=changed,
        remedy="addresses move when hardware is added: look for it with vfiokit groups",
        allowable=False,
    )


def _other_count(address: PciAddress, count: int) -> Verdict:
    return Verdict(
        rule="virtual-functions",
        severity=Severity.ERROR,
        address=address,
        message=f"it has {count} already, and the kernel changes the number from or to none only",
        evidence=(f"sriov_numvfs: {count}",),
        remedy="remove them first: vfiokit vfs SELECTOR 0",
        allowable=False,
    )


def _virtual_users(host: Host, goal: Goal, evidence: Evidence, address: PciAddress) -> Iterator[Verdict]:
    """Yield what stands against the end of the virtual functions that a function has."""
    virtual = [device for device in host.devices if device.physfn == address]
    moving = frozenset(device.address for device in virtual)
    for device in virtual:
        if occupation(host, device) is Occupation.VFIO:
            yield Verdict(
                rule="virtual-function-in-use",
                severity=Severity.ERROR,
                address=device.address,
                message=f"it is still on {device.driver}",
                evidence=(f"driver: {device.driver}",),
                remedy="give it back first: vfiokit restore",
                allowable=False,
            )
        case = Case(host, evidence, device, moving, Action.UNBIND)
        yield from judge(case, goal.allowed, in_use_only=True, waiting=goal.wait > 0)

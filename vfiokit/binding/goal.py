"""What somebody wants, what stands and what shall stand: the values that a plan is made of."""

from dataclasses import dataclass, replace
from enum import StrEnum

from vfiokit.address import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.identity import Identity
from vfiokit.binding.safety import Allowance, Verdict

__all__ = ["Goal", "Left", "Move", "Owner", "Persisted", "Plan", "State", "Step", "StepKind"]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who gets the VFIO nodes; ``None`` leaves a part as it is.

    :ivar mode: permission bits.
    """

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is wanted.

    :ivar targets: the functions that were named.
    :ivar driver: the driver to bind, ``None`` for the best VFIO driver of each function.
    :ivar with_group: whether their group mates may be moved too.
    :ivar mates: mates that may be moved too, by address.
    :ivar allowed: rules that may be broken, a function each.
    :ivar keep_power: whether to keep them from losing power while they idle.
    :ivar owner: who gets the VFIO nodes, ``None`` to leave them to root.
    :ivar wait: seconds to wait until nobody holds them.
    :ivar vfs: how many virtual functions there shall be, for that action.
    """

    action: Action
    targets: tuple[PciAddress, ...]
    driver: str | None = None
    with_group: bool = False
    mates: frozenset[PciAddress] = frozenset()
    allowed: frozenset[Allowance] = frozenset()
    keep_power: bool = False
    owner: Owner | None = None
    wait: float = 0.0
    vfs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What can be moved about a function, as the kernel shows it.

    :ivar driver: ``None`` without one.
    :ivar override: the text of ``driver_override``, ``None`` for none.
    :ivar d3cold_allowed: ``None`` where it is absent or not to be changed; so for all that follow.
    :ivar power_control: ``on`` or ``auto``.
    :ivar vfs: enabled virtual functions.
    :ivar vfs_autoprobe: whether drivers take virtual functions as they appear.
    """

    driver: str | None = None
    override: str | None = None
    d3cold_allowed: bool | None = None
    power_control: str | None = None
    vfs: int | None = None
    vfs_autoprobe: bool | None = None

    def satisfies(self, wanted: "State") -> bool:
        """Whether it is the wanted state, as far as that says."""
        optional = ("d3cold_allowed", "power_control", "vfs", "vfs_autoprobe")
        rest = all(getattr(wanted, name) in (None, getattr(self, name)) for name in optional)
        return rest and (self.driver, self.override) == (wanted.driver, wanted.override)

    def possible(self, wanted: "State") -> "State":
        """Return a wanted state without what the function, being in this one, does not show."""
        optional = ("d3cold_allowed", "power_control", "vfs", "vfs_autoprobe")
        return replace(wanted, **{name: None for name in optional if getattr(self, name) is None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One function from one state to another.

    :ivar group: its IOMMU group, ``None`` without one.
    :ivar mate: whether it was not named but shares a group with one that was.
    :ivar module: the module to load for the driver after, ``None`` for none.
    :ivar home: the module of the driver before, for the way back; ``None`` for built in.
    :ivar suppliers: functions of the plan that must outlive it.
    """

    address: PciAddress
    group: int | None
    identity: Identity
    before: State
    after: State
    mate: bool = False
    module: str | None = None
    home: str | None = None
    suppliers: tuple[PciAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Persisted:
    """A function that is to be bound at boot.

    :ivar identity: what it was when that was asked for.
    :ivar members: its IOMMU group then, itself included.
    :ivar module: what brings the driver.
    """

    address: PciAddress
    identity: Identity
    members: tuple[PciAddress, ...]
    driver: str
    module: str


class StepKind(StrEnum):
    """What a step does. Those that write say what and where; the others look."""

    LOAD = "load"
    VFS = "vfs"
    FUNCTIONS = "functions"
    POWER = "power"
    OVERRIDE = "override"
    FREE = "free"
    CHECK = "check"
    UNBIND = "unbind"
    PROBE = "probe"
    DRIVER = "driver"
    NODE = "node"
    OWN = "own"
    VIABLE = "viable"
    COMMIT = "commit"

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self in _WRITES


_WRITES = frozenset(
    {
        StepKind.LOAD,
        StepKind.VFS,
        StepKind.POWER,
        StepKind.OVERRIDE,
        StepKind.UNBIND,
        StepKind.PROBE,
        StepKind.OWN,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a plan.

    :ivar path: the file that is written, from the root; the module for a load.
    :ivar value: what is written, or what is expected; a newline clears an override.
    :ivar undo: what undoes it, in words; empty where nothing has to.
    """

    kind: StepKind
    address: PciAddress | None = None
    group: int | None = None
    path: str = ""
    value: str = ""
    undo: str = ""

    @property
    def text(self) -> str:
        """The step in a line."""
        where = (
            f" {self.address}" if self.address else f" group {self.group}" if self.group is not None else ""
        )
        return _TEXTS[self.kind].format(where=where, path=self.path, value=self.value.strip() or "nothing")


_TEXTS = {
    StepKind.LOAD: "load module {path}",
    StepKind.VFS: "write {value} to {path}",
    StepKind.FUNCTIONS: "wait for {value} virtual functions of{where}",
    StepKind.POWER: "write {value} to {path}",
    StepKind.OVERRIDE: "write {value} to {path}",
    StepKind.FREE: "wait until nobody holds them",
    StepKind.CHECK: "hold the rules about use again",
    StepKind.UNBIND: "write {value} to {path}",
    StepKind.PROBE: "write {value} to {path}",
    StepKind.DRIVER: "verify that{where} has driver {value}",
    StepKind.NODE: "wait for the VFIO node of{where}",
    StepKind.OWN: "give the VFIO nodes of{where} to {value}",
    StepKind.VIABLE: "ask the kernel whether{where} is viable",
    StepKind.COMMIT: "commit",
}


@dataclass(frozen=True, slots=True)
class Left:
    """A function of a touched group that stays as it is, and why."""

    address: PciAddress
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done, in which order, and what stands against it.

    :ivar moves: the functions that move; empty where everything is as wanted.
    :ivar steps: in order.
    :ivar verdicts: rules that stand against it, allowed ones and warnings too.
    :ivar left: functions of the same groups that stay as they are.
    :ivar members: every member of each group that is touched, as it was when the plan was made.
    """

    goal: Goal
    moves: tuple[Move, ...] = ()
    steps: tuple[Step, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    left: tuple[Left, ...] = ()
    members: tuple[tuple[int, tuple[PciAddress, ...]], ...] = ()

    @property
    def refusals(self) -> tuple[Verdict, ...]:
        """What keeps it from being carried out."""
        return tuple(verdict for verdict in self.verdicts if verdict.blocks and not verdict.waits)

"""Stages composed: none, one, or a first stage whose tables and pages lie in the second (VT-d 3.8)."""

from dataclasses import dataclass, field, replace

from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.faults import Check, Reason
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Access, Read, Request, Update
from vfiokit.translation.walk import Blocked, Demand, Fetch, Leaf, Stage, walk

__all__ = ["Path", "translate_stages"]


@dataclass(slots=True)
class Path:
    """What was read and what hardware would set, in order.

    :ivar reads: entries read.
    :ivar updates: accessed and dirty bits.
    """

    reads: list[Read] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)


def translate_stages(memory: Memory, descriptor: Descriptor, request: Request, path: Path) -> Leaf:
    """Take a request through the stages of its descriptor.

    :raises Blocked: with the first check that failed.
    """
    first, second, address = descriptor.first, descriptor.second, request.address
    if first is not None and second is not None:
        return _nested(memory, descriptor, request, path)
    stage = first or second
    if stage is not None:
        demand = Demand.of(stage, request.access, privileged=descriptor.privileged)
        return walk(stage, address, demand, _fetch(memory, stage, path), path.updates.append)
    if not descriptor.admits(address):
        raise Blocked(Reason.BEYOND_UNIT_WIDTH)
    if request.access & ~descriptor.permissions:
        wanted = request.access & ~descriptor.permissions
        raise Blocked(Reason.SECOND_WRITE if wanted & Access.WRITE else Reason.SECOND_READ)
    return Leaf(address, 12, 0, descriptor.permissions)


def _fetch(memory: Memory, stage: Stage, path: Path) -> Fetch:
    """Read entries of a table in host physical memory."""
    name, fields = f"{stage.format.name} entry", (stage.format.fields,)

    def fetch(address: int, level: int) -> int | None:
        entry = memory.read64(address)
        path.reads.append(Read(name, address, () if entry is None else (entry,), fields, level))
        return entry

    return fetch


def _nested(memory: Memory, descriptor: Descriptor, request: Request, path: Path) -> Leaf:
    assert descriptor.first is not None
    assert descriptor.second is not None
    nesting = _Nesting(memory, descriptor.first, descriptor.second, path)
    demand = Demand.of(descriptor.first, request.access, privileged=descriptor.privileged)
    leaf = walk(descriptor.first, request.address, demand, nesting.fetch, nesting.touch)
    access = request.access
    below = walk(
        descriptor.second,
        leaf.address,
        Demand.of(descriptor.second, access),
        _fetch(memory, descriptor.second, path),
        path.updates.append,
    )
    return replace(
        below,
        shift=min(leaf.shift, below.shift),
        level=min(leaf.level, below.level),
        permissions=leaf.permissions & below.permissions,
    )


@dataclass(slots=True)
class _Nesting:
    """Reads first-stage entries where the second stage says that they lie."""

    memory: Memory
    first: Stage
    second: Stage
    path: Path
    host: int = 0
    writable: bool = False

    def fetch(self, address: int, level: int) -> int | None:
        demand = Demand.of(self.second, Access.READ)
        try:
            found = walk(
                self.second,
                address,
                demand,
                _fetch(self.memory, self.second, self.path),
                self.path.updates.append,
            )
        except Blocked as blocked:
            raise Blocked(self._reason(blocked.reason, level), level) from None
        self.host, self.writable = found.address, bool(found.permissions & Access.WRITE)
        return _fetch(self.memory, self.first, self.path)(found.address, level)

    def touch(self, update: Update) -> None:
        """Set bits in the entry read last: for the second stage that is a write."""
        if not self.writable:
            raise Blocked(Reason.NESTED_WRITE)
        self.path.updates.append(Update(self.host, update.bits))

    def _reason(self, reason: Reason, level: int) -> Reason:
        check = reason - self.second.format.reasons
        if check == Check.RANGE:
            return Reason.NESTED_RANGE
        if check in (Check.NOT_PRESENT, Check.READ):
            return Reason.NESTED_READ_TOP if level == self.first.levels else Reason.NESTED_READ
        return reason

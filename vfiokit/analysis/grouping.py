"""The groups that Linux's rules form, from topology and config space alone, and why each function joined.

The rules are those of ``pci_device_group`` (drivers/iommu/iommu.c), the same from Linux 6.1 to 7.3 but
for one kind of bridge. They are followed function by function in the kernel's order, since the answer
for a function rests on the groups that others already have.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from vfiokit.address import PciAddress
from vfiokit.analysis.topology import Topology

__all__ = ["Join", "JoinRule", "Prediction", "predict"]


class JoinRule(Enum):
    """The step of the rules at which a function found the group that it joined."""

    SAME_REQUESTER = "its requests carry the identity of another function"
    BRIDGE = "requests from below a bridge carry the identity of that bridge"
    NOT_ISOLATED = "a port above does not keep what is below it apart"
    ALIAS = "the device is known to use the identity of another function"
    SLOT = "functions of one slot that nothing keeps apart"


@dataclass(frozen=True, slots=True)
class Join:
    """Why one function is in the group of another.

    :ivar address: the function that joined.
    :ivar other: the member it found, which had the group already.
    :ivar rule: the step that found it.
    :ivar via: the function that stands for *address* at that step: itself, or a bridge above it.
    """

    address: PciAddress
    other: PciAddress
    rule: JoinRule
    via: PciAddress


@dataclass(frozen=True)
class Prediction:
    """The groups of the functions that have an IOMMU.

    :ivar groups: members of each group, in order of address.
    :ivar joins: for every function but the first of its group, why it is in there.
    """

    groups: tuple[tuple[PciAddress, ...], ...]
    joins: tuple[Join, ...]

    def members(self, address: PciAddress) -> tuple[PciAddress, ...]:
        """Return the group of a function; empty where it has none."""
        return self._members.get(address, ())

    def join(self, address: PciAddress) -> Join | None:
        """Return why a function joined its group; ``None`` for the first in it."""
        return self._joins.get(address)

    def path(self, one: PciAddress, other: PciAddress) -> tuple[Join, ...]:
        """Return the joins that connect two members of one group, from *one* to *other*."""
        up, down = self._to_first(one), self._to_first(other)
        while up and down and up[-1] == down[-1]:
            up, down = up[:-1], down[:-1]
        return (*up, *reversed(down))

    @cached_property
    def _members(self) -> dict[PciAddress, tuple[PciAddress, ...]]:
        return {address: group for group in self.groups for address in group}

    @cached_property
    def _joins(self) -> dict[PciAddress, Join]:
        return {join.address: join for join in self.joins}

    def _to_first(self, address: PciAddress) -> tuple[Join, ...]:
        path: list[Join] = []
        while (join := self.join(address)) is not None:
            path.append(join)
            address = join.other
        return tuple(path)


def predict(
    topology: Topology,
    covered: frozenset[PciAddress],
    *,
    order: tuple[PciAddress, ...] | None = None,
    unknown_isolates: bool = True,
    no_alias: bool = False,
) -> Prediction:
    """Form the groups as Linux does.

    :param topology: the functions and what is known of them.
    :param covered: the functions that an IOMMU stands in front of; the others get no group.
    :param order: in which order they come into groups; that of the buses where none is given.
    :param unknown_isolates: what to take where a function's ACS could not be read.
    :param no_alias: whether the kernel knows the bridges that pass identities through (Linux 7.3).
    """
    run = _Run(topology, unknown_isolates, no_alias)
    for address in topology.order if order is None else order:
        if address in covered:
            run.place(address)
    groups: dict[int, list[PciAddress]] = {}
    for address, group in run.group_of.items():
        groups.setdefault(group, []).append(address)
    return Prediction(tuple(sorted(tuple(sorted(members)) for members in groups.values())), tuple(run.joins))


@dataclass(slots=True)
class _Run:
    """One pass over the functions; ``group_of`` grows as they are placed."""

    topology: Topology
    unknown_isolates: bool
    no_alias: bool
    group_of: dict[PciAddress, int] = field(default_factory=dict)
    joins: list[Join] = field(default_factory=list)

    def place(self, address: PciAddress) -> None:
        join = self._find(address)
        if join is None:
            self.group_of[address] = len(self.group_of) - len(self.joins)
        else:
            self.group_of[address] = self.group_of[join.other]
            self.joins.append(join)

    def _find(self, address: PciAddress) -> Join | None:
        top = address
        for top in self._alias_walk(address):
            if top in self.group_of:
                hidden = top in self.topology.chain(self.topology.real(address))
                return Join(address, top, JoinRule.BRIDGE if hidden else JoinRule.SAME_REQUESTER, top)
        for bridge in self.topology.chain(top):
            if self._path_isolated(bridge):
                break
            top = bridge
            if top in self.group_of:
                return Join(address, top, JoinRule.NOT_ISOLATED, top)
        seen: set[int] = set()
        found = self._aliases(top, seen)
        if found is not None:
            return Join(address, found, JoinRule.ALIAS, top)
        found = self._slot(top, seen)
        return None if found is None else Join(address, found, JoinRule.SLOT, top)

    def _alias_walk(self, address: PciAddress) -> Iterator[PciAddress]:
        """Yield the functions whose identity the IOMMU may see (``pci_for_each_dma_alias``)."""
        real = self.topology.real(address)
        yield real
        for bridge in self.topology.chain(real):
            if self.topology.ends_aliases(bridge):
                return
            if self.topology.hides_requester(bridge, no_alias=self.no_alias):
                yield bridge

    def _isolated(self, address: PciAddress) -> bool:
        isolated = self.topology.acs(address).isolated
        return self.unknown_isolates if isolated is None else isolated

    def _path_isolated(self, address: PciAddress) -> bool:
        return all(self._isolated(each) for each in (address, *self.topology.chain(address)))

    def _aliases(self, address: PciAddress, seen: set[int]) -> PciAddress | None:
        """Find a member among the functions on the bus that share an identity (``get_pci_alias_group``)."""
        if address.devfn in seen:
            return None
        seen.add(address.devfn)
        if address in self.group_of:
            return address
        for other in self.topology.same_bus(address):
            if other != address and self._share_identity(address, other):
                found = self._aliases(other, seen)
                if found is None:
                    found = self._slot(other, seen)
                if found is not None:
                    return found
        return None

    def _slot(self, address: PciAddress, seen: set[int]) -> PciAddress | None:
        """Find a member among the functions of the slot (``get_pci_function_alias_group``)."""
        if not self.topology.multifunction(address) or self._isolated(address):
            return None
        for other in self.topology.same_bus(address):
            if other != address and other.slot == address.slot and not self._isolated(other):
                found = self._aliases(other, seen)
                if found is not None:
                    return found
        return None

    def _share_identity(self, one: PciAddress, other: PciAddress) -> bool:
        topology = self.topology
        return (
            other.devfn in topology.alias_devfns(one)
            or one.devfn in topology.alias_devfns(other)
            or topology.real(one) == other
            or topology.real(other) == one
        )

"""What a rule looks at, and what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from vfiokit.address import PciAddress
from vfiokit.binding.evidence import Evidence, FunctionUse, Handle, Interface
from vfiokit.model.device import PciDevice
from vfiokit.model.host import Host
from vfiokit.model.unknown import known

__all__ = ["Action", "Case", "Check", "Hit"]


class Action(StrEnum):
    """What is to be done with the functions."""

    BIND = "bind"
    """Give them to a VFIO driver."""
    UNBIND = "unbind"
    """Leave them without a driver."""
    RESTORE = "restore"
    """Give them back to what they had before vfiokit moved them."""
    VFS = "vfs"
    """Create or remove their virtual functions."""


@dataclass(frozen=True)
class Case:
    """One function that is to move.

    :ivar device: the function.
    :ivar moving: all that move with it.
    :ivar override: what its override will be, ``None`` for none.
    """

    host: Host
    evidence: Evidence
    device: PciDevice
    moving: frozenset[PciAddress]
    action: Action
    override: str | None = None

    @cached_property
    def use(self) -> FunctionUse:
        """The use of the function; empty where it was not read."""
        address = self.device.address
        return self.evidence.by_address.get(address) or FunctionUse(address=address, path="")

    @property
    def is_network(self) -> bool:
        """Whether it is of the network class."""
        return known(self.device.class_code, 0) >> 16 == 0x02

    @cached_property
    def interfaces(self) -> tuple[Interface, ...]:
        """The network interfaces on it, in whatever namespace they are."""
        own = {child.name for child in self.use.of("net")}
        return tuple(
            each
            for each in self.evidence.interfaces
            if each.parent == self.device.address or (not each.namespace and each.name in own)
        )

    @cached_property
    def stacked(self) -> tuple[Interface, ...]:
        """The interfaces on it with all that stands on them, without end."""
        found = list(self.interfaces)
        for interface in found:
            for other in self.evidence.interfaces:
                if other.namespace == interface.namespace and other.name in interface.stacked:
                    found += [other] if other not in found else []
        return tuple(found)

    def unseen(self, subject: str) -> tuple[str, ...]:
        """Return what could not be looked into."""
        return tuple(text for about, text in self.evidence.unseen if about == subject)

    def handles(self, *, block: bool | None = None) -> Iterator[tuple[Handle, str]]:
        """Yield who has a node below the function open, with the node's name."""
        names = {child.number: child.name for child in known(self.use.children, ()) if child.number}
        names |= {block.number: block.name for block in self.use.blocks if block.number}
        for handle in self.evidence.handles:
            if handle.number in names and block in (None, handle.number.block):
                yield handle, names[handle.number]


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that stands against a case.

    :ivar evidence: what it rests on, a line each.
    :ivar unknown: whether it could not be told, rather than that it is so.
    """

    evidence: tuple[str, ...]
    unknown: bool = False


Check = Callable[[Case], Iterator[Hit]]

"""Questions that only the running kernel answers, behind one protocol: the edge of the evidence."""

from dataclasses import dataclass
from typing import Protocol

from vfiokit.binding.evidence import Interface, Route
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.source import DeviceNumber

__all__ = ["NetworkView", "NoProber", "Prober"]

_OFFLINE = Unknown("only the running kernel can be asked")


@dataclass(frozen=True, slots=True)
class NetworkView:
    """Interfaces and routes of every network namespace that could be entered.

    :ivar missed: namespaces that could not be, with the reason.
    """

    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    missed: tuple[str, ...] = ()


class Prober(Protocol):
    """Asks the kernel. Synchronization: one caller at a time."""

    def network(self) -> NetworkView | Unknown:
        """Return interfaces, addresses and routes of all namespaces and all tables."""
        ...

    def claimed(self, name: str, number: DeviceNumber | None) -> bool | Unknown:
        """Whether the kernel refuses to open a block device exclusively."""
        ...

    def signature(self, name: str, number: DeviceNumber | None) -> str | Unknown:
        """Return what the first bytes of a block device are, empty for nothing that is known."""
        ...


class NoProber:
    """The prober of a capture: it cannot be asked."""

    def network(self) -> NetworkView | Unknown:
        """Return that it is unknown."""
        return _OFFLINE

    def claimed(self, name: str, number: DeviceNumber | None) -> bool | Unknown:
        """Return that it is unknown."""
        return _OFFLINE

    def signature(self, name: str, number: DeviceNumber | None) -> str | Unknown:
        """Return that it is unknown."""
        return _OFFLINE

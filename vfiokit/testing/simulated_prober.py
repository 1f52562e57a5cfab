"""Answers to what only a running kernel can be asked, set by a test."""

from vfiokit.binding.prober import NetworkView
from vfiokit.binding.usage.network import read_network
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.memory import MemorySource
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import DeviceNumber

__all__ = ["SimulatedProber"]


class SimulatedProber:
    """Answers from the tree, unless it was told otherwise.

    :ivar view: what is said of the network; ``None`` to read the tree's files.
    :ivar held: names of block devices that something holds exclusively.
    :ivar signatures: what the first bytes of a block device are, by name.
    """

    def __init__(self, tree: MemorySource) -> None:
        self._tree = tree
        self.view: NetworkView | Unknown | None = None
        self.held: set[str] = set()
        self.signatures: dict[str, str] = {}

    def network(self) -> NetworkView | Unknown:
        """Return interfaces and routes."""
        return read_network(Reader(self._tree)) if self.view is None else self.view

    def claimed(self, name: str, number: DeviceNumber | None) -> bool | Unknown:
        """Whether a block device is held."""
        return name in self.held

    def signature(self, name: str, number: DeviceNumber | None) -> str | Unknown:
        """Return what is on a block device."""
        return self.signatures.get(name, "")

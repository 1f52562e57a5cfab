"""The nodes that VFIO makes: for a group while any function of it is on a VFIO driver, for each function."""

import itertools
from collections.abc import Callable

from vfiokit.address import PciAddress
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.memory import DeviceNode, Directory, File, Link, MemorySource
from vfiokit.sysfs.source import DeviceNumber

__all__ = ["VfioNodes"]

_GROUP_MAJOR = 243
_DEVICE_MAJOR = 511
_GROUPS = "sys/devices/virtual/vfio"


class VfioNodes:
    """Puts VFIO's nodes into a tree and takes them out.

    :param later: calls back after some seconds.
    :param delay: seconds until a node stands in ``/dev``; sysfs has its number at once.
    """

    def __init__(
        self, tree: MemorySource, later: Callable[[float, Callable[[], None]], None], delay: float
    ) -> None:
        self._tree = tree
        self._later = later
        self._delay = delay
        self._minors = itertools.count()
        self._devices: dict[PciAddress, str] = {}
        self._groups: set[int] = set()

    def add(self, address: PciAddress, place: str, group: int | Unknown | None) -> None:
        """Show the nodes of a function that a VFIO driver has taken."""
        minor = next(self._minors)
        name = f"vfio{minor}"
        self._devices[address] = name
        node = DeviceNumber(False, _DEVICE_MAJOR, minor)
        self._tree.add(f"{place}/vfio-dev/{name}/dev", File(f"{_DEVICE_MAJOR}:{minor}\n".encode()))
        self._tree.add(f"sys/class/vfio-dev/{name}", Link(f"../../../{place}/vfio-dev/{name}"))
        self._tree.add(f"dev/vfio/devices/{name}", DeviceNode(node))
        if isinstance(group, int) and group not in self._groups:
            self._add_group(group)

    def remove(self, address: PciAddress, place: str, group: int | Unknown | None, others: bool) -> None:
        """Take the nodes of a function away, and that of its group with the last of them."""
        name = self._devices.pop(address, "")
        self._tree.remove(f"{place}/vfio-dev")
        self._tree.remove(f"sys/class/vfio-dev/{name}")
        self._tree.remove(f"dev/vfio/devices/{name}")
        if isinstance(group, int) and not others:
            self._groups.discard(group)
            for path in (f"sys/class/vfio/{group}", f"{_GROUPS}/{group}", f"dev/vfio/{group}"):
                self._tree.remove(path)

    def _add_group(self, group: int) -> None:
        self._groups.add(group)
        node = DeviceNumber(False, _GROUP_MAJOR, group)
        self._tree.add(f"{_GROUPS}/{group}", Directory())
        self._tree.add(f"{_GROUPS}/{group}/dev", File(f"{_GROUP_MAJOR}:{group}\n".encode()))
        self._tree.add(f"sys/class/vfio/{group}", Link(f"../../devices/virtual/vfio/{group}"))
        self._later(self._delay, lambda: self._show(group, node))

    def _show(self, group: int, node: DeviceNumber) -> None:
        if group in self._groups:
            self._tree.add(f"dev/vfio/{group}", DeviceNode(node))

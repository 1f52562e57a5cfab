"""What the file system says about a device and about who has it: groups, nodes, drivers, holders."""

from dataclasses import dataclass

from vfiokit.address import AddressRange, PciAddress
from vfiokit.analysis.selection import is_name, select_device
from vfiokit.analysis.viability import VFIO_DRIVERS
from vfiokit.errors import NotFound, UsageError
from vfiokit.sysfs.scan import Part, scan
from vfiokit.sysfs.source import Source
from vfiokit.vfio.errors import NotBound

__all__ = [
    "Place",
    "find_place",
    "group_nodes",
    "holders",
    "is_under_vfio",
    "locate",
    "members",
    "reserved_ranges",
]

_DEVICES = "sys/bus/pci/devices"
_GROUPS = "sys/kernel/iommu_groups"
_STUBS = frozenset({"pci-stub", "pcieport"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device is to be opened.

    :ivar driver: the driver that has it, ``None`` for none.
    :ivar group: the number of its IOMMU group, ``None`` for none.
    :ivar noiommu: whether VFIO made the group up, without an IOMMU.
    :ivar node: name of its own node below ``/dev/vfio/devices``, ``None`` where the kernel has none.
    """

    address: PciAddress
    driver: str | None
    group: int | None
    noiommu: bool = False
    node: str | None = None

    @property
    def has_node(self) -> bool:
        """Whether it can be opened by itself; without an IOMMU from Linux 7.3 on, under another name."""
        return self.node is not None and (not self.noiommu or "noiommu" in self.node)

    @property
    def group_path(self) -> str:
        """The group's node."""
        return f"/dev/vfio/{'noiommu-' if self.noiommu else ''}{self.group}"

    @property
    def device_path(self) -> str:
        """The device's own node."""
        return f"/dev/vfio/devices/{self.node}"


def locate(source: Source, selector: str | PciAddress) -> PciAddress:
    """Return the one function that *selector* names, by the selectors of every command.

    :raises NotFound: if there is none.
    :raises AmbiguousSelector: if there are several.
    """
    try:
        address = selector if isinstance(selector, PciAddress) else PciAddress.parse(selector)
        # A full address needs no look at the other devices of the host.
        if isinstance(selector, PciAddress) or selector.count(":") == 2:
            if not _exists(source, f"{_DEVICES}/{address}"):
                raise NotFound("no such PCI function", operation="open", subject=str(address))
            return address
    except UsageError:
        pass
    parts = Part.NAMES if is_name(str(selector)) else Part.LISTING
    return select_device(scan(source, parts), str(selector))


def find_place(source: Source, address: PciAddress) -> Place:
    """Read where a device is to be opened.

    :raises NotBound: if no VFIO driver has it.
    """
    path = f"{_DEVICES}/{address}"
    driver = _link(source, f"{path}/driver")
    group = _link(source, f"{path}/iommu_group")
    nodes = [name for name in _listing(source, f"{path}/vfio-dev") if "vfio" in name]
    if not nodes and not _is_vfio(driver):
        raise NotBound(
            f"it is bound to {driver}" if driver else "no driver has it",
            operation="open",
            subject=str(address),
            hint="bind it to vfio-pci first",
        )
    node = nodes[0] if nodes else None
    # A kernel without CONFIG_VFIO_GROUP makes no group up: then only the node's name tells.
    noiommu = (bool(group) and _text(source, f"{_GROUPS}/{group}/name") == "vfio-noiommu") or (
        node is not None and node.startswith("noiommu-")
    )
    return Place(address, driver, int(group) if group else None, noiommu, node)


def is_under_vfio(source: Source, address: PciAddress | str) -> bool:
    """Whether a VFIO driver has a function."""
    path = f"{_DEVICES}/{address}"
    return bool(_listing(source, f"{path}/vfio-dev")) or _is_vfio(_link(source, f"{path}/driver"))


def members(source: Source, group: int) -> tuple[tuple[str, str], ...]:
    """Return address and driver of the group's functions that keep it from being viable."""
    found = []
    for name in sorted(_listing(source, f"{_GROUPS}/{group}/devices")):
        driver = _link(source, f"{_DEVICES}/{name}/driver")
        if driver and driver not in _STUBS and not is_under_vfio(source, name):
            found.append((name, driver))
    return tuple(found)


def group_nodes(source: Source, place: Place) -> tuple[str, ...]:
    """Return the nodes of the other functions of a device's group."""
    names = _listing(source, f"{_GROUPS}/{place.group}/devices")
    others = (name for name in sorted(names) if name != str(place.address))
    found = (node for name in others for node in _listing(source, f"{_DEVICES}/{name}/vfio-dev"))
    return tuple(f"/dev/vfio/devices/{node}" for node in found)


def reserved_ranges(source: Source, group: int) -> tuple[AddressRange, ...]:
    """Return what the IOMMU's driver reserves for a group: the interrupt window, firmware's memory."""
    text = _text(source, f"{_GROUPS}/{group}/reserved_regions") or ""
    rows = [line.split() for line in text.splitlines()]
    return tuple(AddressRange(int(row[0], 16), int(row[1], 16) + 1) for row in rows if len(row) >= 3)


def holders(source: Source, path: str) -> tuple[tuple[int, str], ...]:
    """Return process id and name of whoever has a node open, as far as this user may see."""
    found = []
    for name in _listing(source, "proc"):
        if not name.isdigit():
            continue
        links = (_target(source, f"proc/{name}/fd/{fd}") for fd in _listing(source, f"proc/{name}/fd"))
        if path in links:
            found.append((int(name), _text(source, f"proc/{name}/comm") or "?"))
    return tuple(sorted(found))


def _is_vfio(driver: str | None) -> bool:
    return driver in VFIO_DRIVERS


def _listing(source: Source, path: str) -> list[str]:
    try:
        return source.listdir(path)
    except OSError:
        return []


def _exists(source: Source, path: str) -> bool:
    try:
        source.stat(path)
    except OSError:
        return False
    return True


def _text(source: Source, path: str) -> str | None:
    try:
        return source.read(path).decode(errors="replace").strip()
    except OSError:
        return None


def _target(source: Source, path: str) -> str | None:
    try:
        return source.readlink(path)
    except OSError:
        return None


def _link(source: Source, path: str) -> str | None:
    target = _target(source, path)
    return target.rsplit("/", 1)[-1] if target else None

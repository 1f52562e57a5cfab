"""Whether the host talks to the world through a function."""

import ipaddress
from collections.abc import Iterator

from vfiokit.binding.case import Case, Hit
from vfiokit.binding.evidence import Interface, Route
from vfiokit.binding.rules.storage import root_mounts

__all__ = [
    "addresses",
    "bifurcated",
    "default_route",
    "network_root",
    "other_namespace",
    "program",
    "rdma",
    "ssh",
    "stacked",
    "unseen",
    "up",
]

_NETWORK_ROOTS = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs"})
_BIFURCATED = frozenset({"mlx4_core", "mlx5_core", "mana"})
_QUIET_DRIVERS = frozenset({"pci-stub", "uio_pci_generic", "igb_uio"})


def default_route(case: Case) -> Iterator[Hit]:
    """Find whether a default route of either family, in whatever table, goes through it."""
    for route in _routes(case):
        if route.default:
            yield Hit((_route_line(route),))


def ssh(case: Case) -> Iterator[Hit]:
    """Find whether an ssh connection ends at one of its addresses."""
    used = set(case.evidence.ssh)
    for interface in case.stacked:
        for address in interface.addresses:
            if address in used:
                yield Hit((f"an ssh connection to {address} on {_title(interface)}",))


def stacked(case: Case) -> Iterator[Hit]:
    """Find whether a bond, bridge, VLAN, macvlan or the like stands on it."""
    for interface in case.interfaces:
        if interface.stacked:
            yield Hit((f"{', '.join(interface.stacked)} on {_title(interface)}",))


def addresses(case: Case) -> Iterator[Hit]:
    """Find whether it is up and has addresses or routes of more than the link."""
    for interface in case.stacked:
        wide = [text for text in interface.addresses if not ipaddress.ip_address(text).is_link_local]
        if interface.up and wide:
            yield Hit((f"{_title(interface)}: {', '.join(wide)}",))
    routes = [route for route in _routes(case) if not route.default and not _of_the_link(route)]
    if routes:
        yield Hit(tuple(_route_line(route) for route in routes))


def up(case: Case) -> Iterator[Hit]:
    """Find whether it is up."""
    for interface in case.interfaces:
        if interface.up:
            yield Hit((f"{_title(interface)} is up{', with carrier' if interface.carrier else ''}",))


def other_namespace(case: Case) -> Iterator[Hit]:
    """Find whether its interface lives in another network namespace."""
    for interface in case.interfaces:
        if interface.namespace:
            yield Hit((f"{interface.name} in the network namespace {interface.namespace}",))


def unseen(case: Case) -> Iterator[Hit]:
    """Find whether its interface may be in a namespace that could not be looked into."""
    driver = case.device.driver
    quiet = driver in _QUIET_DRIVERS or isinstance(case.device.vfio_device, str)
    if case.is_network and driver and not quiet and not case.interfaces:
        for text in case.unseen("network"):
            yield Hit((f"no interface of {driver} here", text), unknown=True)
    elif case.interfaces:
        for text in case.unseen("network"):
            yield Hit((text,), unknown=True)


def rdma(case: Case) -> Iterator[Hit]:
    """Find whether a process uses it for RDMA."""
    verbs = {child.number: child.name for child in case.use.of("infiniband_verbs") if child.number}
    for handle in case.evidence.handles:
        if handle.number in verbs:
            yield Hit((f"{handle} has {verbs[handle.number]} open",))


def network_root(case: Case) -> Iterator[Hit]:
    """Find whether the root file system, or a disk, is over the network, and this is a way there."""
    over = [
        f"{mount.type} {mount.source} on /" for mount in root_mounts(case) if mount.type in _NETWORK_ROOTS
    ]
    over += ["iSCSI sessions are open"] if case.evidence.iscsi else []
    if over and any(interface.up and interface.addresses for interface in case.stacked):
        yield Hit((*over, *(_title(interface) for interface in case.interfaces)))


def program(case: Case) -> Iterator[Hit]:
    """Find whether an XDP program runs on it."""
    for interface in case.interfaces:
        if interface.program:
            yield Hit((f"an XDP program on {_title(interface)}",))


def bifurcated(case: Case) -> Iterator[Hit]:
    """Find a driver that shares the function with user space, where a rebind is mostly not wanted."""
    if case.device.driver in _BIFURCATED:
        yield Hit((f"driver: {case.device.driver}",))


def _routes(case: Case) -> Iterator[Route]:
    through = {(interface.namespace, interface.name) for interface in case.stacked}
    for route in case.evidence.routes:
        if (route.namespace, route.interface) in through:
            yield route


def _of_the_link(route: Route) -> bool:
    network = ipaddress.ip_network(route.destination, strict=False)
    return network.is_link_local or network.is_multicast


def _route_line(route: Route) -> str:
    table = f" table {route.table}" if route.table is not None else ""
    inside = f" in {route.namespace}" if route.namespace else ""
    return f"route {route.destination} through {route.interface}{table}{inside}"


def _title(interface: Interface) -> str:
    return f"{interface.name}{f' in {interface.namespace}' if interface.namespace else ''}"

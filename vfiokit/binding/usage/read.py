"""All the evidence at once: :func:`read_evidence`."""

from collections.abc import Iterable

from vfiokit.address import PciAddress
from vfiokit.binding.evidence import Evidence, FunctionUse
from vfiokit.binding.prober import NetworkView, NoProber, Prober
from vfiokit.binding.usage.children import listing, number
from vfiokit.binding.usage.drivers import read_catalog
from vfiokit.binding.usage.environment import read_environment, read_inputs
from vfiokit.binding.usage.functions import nvidia_node, read_function, read_overriders
from vfiokit.binding.usage.handles import process_ids, read_handles
from vfiokit.binding.usage.network import read_iscsi, read_network, read_ssh
from vfiokit.binding.usage.storage import read_entries, read_mounts, read_swaps
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown, known
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import DeviceNumber, Source

__all__ = ["read_evidence", "with_mates"]

_GROUP_NODES = "sys/class/vfio"
_CDEV_NODES = "sys/class/vfio-dev"


def with_mates(host: Host, addresses: Iterable[PciAddress]) -> tuple[PciAddress, ...]:
    """Return the functions and all that are in a group with one of them, in order."""
    found = set(addresses)
    for address in tuple(found):
        group = host.device(address).group
        if isinstance(group, int) and group in host.by_group:
            found.update(known(host.by_group[group].devices, ()))
    return tuple(sorted(found))


def read_evidence(
    source: Source,
    host: Host,
    addresses: Iterable[PciAddress],
    prober: Prober | None = None,
    *,
    ours: frozenset[PciAddress] = frozenset(),
    own: tuple[str, ...] = (),
) -> Evidence:
    """Read what the host does with functions and their group mates.

    :param prober: asks the running kernel; without one, what only it knows is unknown.
    :param ours: functions whose override vfiokit set itself.
    :param own: this process and those above it, by number.
    """
    prober = prober or NoProber()
    reader = Reader(source)
    chosen = [address for address in with_mates(host, addresses) if address in host.by_address]
    overriders = read_overriders(reader)
    uses = tuple(read_function(reader, host.by_address[address], prober, overriders) for address in chosen)
    pids = process_ids(reader)
    vfio = _vfio_nodes(reader)
    mounts, no_mounts = read_mounts(reader, pids)
    swaps = read_swaps(reader)
    handles, no_handles = read_handles(reader, pids, _wanted(reader, uses, vfio), own[0] if own else "")
    view, no_network = _network(reader, prober)
    unseen = [("mounts", text) for text in no_mounts]
    unseen += [("handles", text) for text in no_handles]
    unseen += [("network", text) for text in no_network]
    if not pids:
        # A capture: what stands on the function was not recorded either.
        unseen.append(("handles", "no process is to be seen"))
    if isinstance(swaps, Unknown):
        unseen.append(("swap", f"the swap areas: {swaps.reason}"))
    return Evidence(
        functions=uses,
        mounts=mounts,
        swaps=known(swaps, ()),
        entries=read_entries(reader),
        interfaces=view.interfaces,
        routes=view.routes,
        ssh=read_ssh(reader, own),
        iscsi=read_iscsi(reader),
        handles=handles,
        inputs=read_inputs(reader),
        drivers=read_catalog(reader),
        vfio=vfio,
        environment=read_environment(reader),
        ours=ours,
        unseen=tuple(unseen),
    )


def _network(reader: Reader, prober: Prober) -> tuple[NetworkView, tuple[str, ...]]:
    """Join what files show of our namespace with what the kernel was asked; the kernel has the word."""
    asked = prober.network()
    if isinstance(asked, Unknown):
        return read_network(reader), (f"other network namespaces and routing tables: {asked.reason}",)
    return asked, asked.missed


def _wanted(
    reader: Reader, uses: tuple[FunctionUse, ...], vfio: tuple[tuple[DeviceNumber, str], ...]
) -> frozenset[DeviceNumber]:
    numbers = {node for node, _ in vfio}
    for use in uses:
        numbers.update(child.number for child in known(use.children, ()) if child.number)
        numbers.update(block.number for block in use.blocks if block.number)
        node = nvidia_node(reader, use.address)
        numbers.update([node] if node else [])
    return frozenset(numbers)


def _vfio_nodes(reader: Reader) -> tuple[tuple[DeviceNumber, str], ...]:
    found = []
    for directory, title in ((_GROUP_NODES, "group {}"), (_CDEV_NODES, "{}")):
        for name in listing(reader, directory):
            node = number(reader, f"{directory}/{name}/dev", block=False)
            if node is not None and name != "vfio":
                found.append((node, title.format(name.removeprefix("noiommu-"))))
    return tuple(found)

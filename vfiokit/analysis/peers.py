"""Where a request from one function to another turns around, and whether it meets the IOMMU on its way.

Groups are the kernel's judgement; this is the hardware's. A switch whose downstream ports do not redirect
forwards a request from one port to another by itself, though Linux gives each port a group of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from vfiokit.address import PciAddress
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import PortType
from vfiokit.pci.quirk_model import Verdict

__all__ = ["Passage", "Reach", "reach", "reachable_peers"]


class Passage(Enum):
    """What becomes of a request from one function to another's memory."""

    REDIRECTED = "it is sent up to the IOMMU first"
    DIRECT = "it is forwarded without passing the IOMMU"
    ROOT_COMPLEX = "the root complex may forward it without passing the IOMMU"
    SAME = "one lies above the other"
    UNKNOWN = "config space that tells could not be read"


@dataclass(frozen=True, slots=True)
class Reach:
    """The answer for one direction.

    :ivar source: the function that sends.
    :ivar target: the function that is to be reached.
    :ivar turn: the function where the way turns from up to down: a port, or the source itself.
    :ivar passage: what becomes of the request.
    """

    source: PciAddress
    target: PciAddress
    turn: PciAddress
    passage: Passage


def reach(topology: Topology, source: PciAddress, target: PciAddress) -> Reach:
    """Tell what becomes of a request from *source* to the memory of *target*."""
    up = (source, *topology.chain(source))
    down = (target, *topology.chain(target))
    if source in down or target in up:
        return Reach(source, target, source, Passage.SAME)
    common = next((index for index, address in enumerate(up) if address in down), len(up))
    turn = up[common - 1]
    if common < len(up) and _shares_bus_below(topology, up[common]):
        # A conventional bus is one set of wires: what is on it hears every request.
        return Reach(source, target, turn, Passage.DIRECT)
    return Reach(source, target, turn, _passage(topology, turn, at_root=common == len(up)))


def _shares_bus_below(topology: Topology, bridge: PciAddress) -> bool:
    return topology.port_type(bridge) in (None, PortType.PCIE_TO_PCI_BRIDGE)


def _passage(topology: Topology, turn: PciAddress, *, at_root: bool) -> Passage:
    state = topology.redirects(turn)
    if state.verdict is Verdict.UNKNOWN:
        return Passage.UNKNOWN
    if state.verdict is Verdict.ENABLED:
        return Passage.REDIRECTED
    if at_root and (topology.port_type(turn) in (PortType.ROOT_PORT, None)):
        return Passage.ROOT_COMPLEX
    return Passage.DIRECT


def reachable_peers(topology: Topology, source: PciAddress) -> Iterator[Reach]:
    """Yield the endpoints of other groups that *source* reaches without passing the IOMMU."""
    host = topology.host
    group = host.by_address[source].group
    for device in host.devices:
        if device.address == source or device.is_bridge or device.group == group:
            continue
        found = reach(topology, source, device.address)
        if found.passage is Passage.DIRECT:
            yield found

"""The identity under which a function's requests reach the remapping unit.

A bridge from PCI Express to conventional PCI answers for what is behind it with its secondary bus and
function 0; any other bridge that hides its bus, with its own identity (``pci_for_each_dma_alias``). The
rules are those by which groups are formed; QEMU's fault records show the same.
"""

from vfiokit.address import PciAddress
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import PortType

__all__ = ["seen_source_id"]


def seen_source_id(topology: Topology, address: PciAddress) -> int:
    """Return the source-id that the unit sees in the requests of a function.

    A device that is known to use several identities may use any of them; this is the one of its bridges.
    """
    real = topology.real(address)
    seen, bus = real.source_id, real.bus
    for bridge in topology.chain(real):
        if topology.ends_aliases(bridge):
            break
        if topology.hides_requester(bridge):
            express = topology.port_type(bridge) == PortType.PCIE_TO_PCI_BRIDGE
            seen = bus << 8 if express else bridge.source_id
        bus = bridge.bus
    return seen

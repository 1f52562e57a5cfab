"""Requests between functions: where they turn around, and whether the IOMMU sees them."""

import pytest

from vfiokit.address import PciAddress
from vfiokit.analysis.peers import Passage, Reach, reach
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import AcsRegisters, ConfigFacts, HeaderType, PciDevice, PortType
from vfiokit.model.host import Host

REDIRECTING = AcsRegisters(capability=0x1D, control=0x1D)


def function(
    address: str,
    port_type: PortType | None,
    parent: str | None = None,
    acs: AcsRegisters | None = None,
) -> PciDevice:
    ports = (
        PortType.ROOT_PORT,
        PortType.UPSTREAM_PORT,
        PortType.DOWNSTREAM_PORT,
        PortType.PCIE_TO_PCI_BRIDGE,
    )
    bridge = port_type in ports
    header = HeaderType.BRIDGE if bridge else HeaderType.NORMAL
    return PciDevice(
        address=PciAddress.parse(address),
        vendor=0xFFFE,
        device=1,
        class_code=0x060400 if bridge else 0x020000,
        is_bridge=bridge,
        parent=PciAddress.parse(parent) if parent else None,
        config=ConfigFacts(header_type=header, port_type=port_type, acs=acs),
    )


HOST = Host(
    devices=(
        function("00:01.0", PortType.ROOT_PORT, acs=REDIRECTING),
        function("00:02.0", PortType.ROOT_PORT),
        function("00:03.0", PortType.ROOT_PORT, acs=REDIRECTING),
        function("01:00.0", PortType.PCIE_TO_PCI_BRIDGE, "00:01.0"),
        function("02:01.0", None, "01:00.0"),
        function("02:02.0", PortType.ENDPOINT, "01:00.0"),
        function("03:00.0", PortType.ENDPOINT, "00:02.0"),
        function("04:00.0", PortType.UPSTREAM_PORT, "00:03.0"),
        function("05:00.0", PortType.DOWNSTREAM_PORT, "04:00.0"),
        function("05:01.0", PortType.DOWNSTREAM_PORT, "04:00.0", REDIRECTING),
        function("06:00.0", PortType.ENDPOINT, "05:00.0"),
        function("07:00.0", PortType.ENDPOINT, "05:01.0"),
    )
)


@pytest.mark.parametrize(
    ("source", "target", "turn", "passage"),
    [
        # A bus of wires, whatever its functions say of themselves.
        ("02:01.0", "02:02.0", "02:01.0", Passage.DIRECT),
        ("02:02.0", "02:01.0", "02:02.0", Passage.DIRECT),
        # A switch: the port on the way up decides.
        ("06:00.0", "07:00.0", "05:00.0", Passage.DIRECT),
        ("07:00.0", "06:00.0", "05:01.0", Passage.REDIRECTED),
        # Two root ports: so does the one on the way up.
        ("06:00.0", "03:00.0", "00:03.0", Passage.REDIRECTED),
        ("03:00.0", "06:00.0", "00:02.0", Passage.ROOT_COMPLEX),
        ("02:02.0", "03:00.0", "00:01.0", Passage.REDIRECTED),
        # A port and what is below it.
        ("06:00.0", "05:00.0", "06:00.0", Passage.SAME),
    ],
)
def test_reach(source: str, target: str, turn: str, passage: Passage) -> None:
    one, other, at = map(PciAddress.parse, (source, target, turn))
    assert reach(Topology(HOST), one, other) == Reach(one, other, at, passage)

"""The identity that a unit sees, on the bridges that QEMU was asked about."""

import pytest

from vfiokit.address import PciAddress
from vfiokit.analysis.requester import seen_source_id
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import ConfigFacts, HeaderType, PciDevice, PortType
from vfiokit.model.host import Host, Platform


def at(text: str) -> PciAddress:
    return PciAddress.parse(text)


def device(text: str, parent: str | None, kind: PortType | None, bus: int | None) -> PciDevice:
    header = HeaderType.NORMAL if bus is None else HeaderType.BRIDGE
    return PciDevice(
        address=at(text),
        vendor=0x1B36,
        device=1,
        class_code=0x060400 if bus is not None else 0x00FF00,
        is_bridge=bus is not None,
        parent=at(parent) if parent else None,
        config=ConfigFacts(header_type=header, secondary=bus, subordinate=bus, port_type=kind, acs=None),
    )


ROOT_PORT, TO_PCI = PortType.ROOT_PORT, PortType.PCIE_TO_PCI_BRIDGE


@pytest.mark.parametrize(
    ("bridges", "function", "seen"),
    [
        ((), ("00:05.0", None), "00:05.0"),
        ((("00:08.0", None, ROOT_PORT, 1),), ("01:00.0", "00:08.0"), "01:00.0"),
        ((("00:08.0", None, TO_PCI, 1),), ("01:03.0", "00:08.0"), "01:00.0"),
        ((("00:08.0", None, None, 1),), ("01:04.0", "00:08.0"), "00:08.0"),
        (
            (("00:08.0", None, ROOT_PORT, 1), ("01:00.0", "00:08.0", TO_PCI, 2)),
            ("02:02.0", "01:00.0"),
            "02:00.0",
        ),
        (
            (("00:08.0", None, TO_PCI, 1), ("01:01.0", "00:08.0", None, 2)),
            ("02:02.0", "01:01.0"),
            "01:00.0",
        ),
    ],
)
def test_seen_source_id(
    bridges: tuple[tuple[str, str | None, PortType | None, int], ...],
    function: tuple[str, str | None],
    seen: str,
) -> None:
    """The places are those of tests/oracle/test_translation.py, where QEMU's fault records show the same."""
    devices = [*(device(*bridge) for bridge in bridges), device(*function, PortType.ENDPOINT, None)]
    topology = Topology(Host(devices=tuple(devices), platform=Platform()))
    assert seen_source_id(topology, at(function[0])) == at(seen).source_id

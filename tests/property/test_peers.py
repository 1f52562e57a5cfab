"""Laws of requests between functions."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from vfiokit.address import PciAddress
from vfiokit.analysis.peers import Passage, reach, reachable_peers
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import AcsRegisters, ConfigFacts, PortType
from vfiokit.model.host import Host
from vfiokit.testing import topologies

NOBODY = 0xFFFE
FULL = AcsRegisters(capability=0x5F, control=0x1D)
PORTS = (PortType.ROOT_PORT, PortType.DOWNSTREAM_PORT)
CONVENTIONAL = (None, PortType.PCIE_TO_PCI_BRIDGE)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Host, PciAddress, PciAddress]:
    """Draw a host of devices that nobody knows, and two of its functions."""
    host = draw(topologies(max_devices=16))
    host = Host(devices=tuple(replace(each, vendor=NOBODY) for each in host.devices))
    chosen = st.sampled_from([each.address for each in host.devices])
    return host, draw(chosen), draw(chosen)


def way(host: Host, address: PciAddress) -> list[PciAddress]:
    return [address, *(each.address for each in host.upstream(host.by_address[address]))]


class TestReach:
    @given(pairs())
    def test_is_same_exactly_where_one_lies_above_the_other(
        self, pair: tuple[Host, PciAddress, PciAddress]
    ) -> None:
        host, one, other = pair
        found = reach(Topology(host), one, other)
        above = one in way(host, other) or other in way(host, one)
        assert (found.passage is Passage.SAME) == above

    @given(pairs())
    def test_turns_at_the_last_function_of_the_way_up_that_the_other_does_not_share(
        self, pair: tuple[Host, PciAddress, PciAddress]
    ) -> None:
        host, one, other = pair
        found = reach(Topology(host), one, other)
        if found.passage is not Passage.SAME:
            own = [address for address in way(host, one) if address not in way(host, other)]
            assert found.turn == own[-1]

    @given(pairs())
    def test_is_never_unknown_where_all_was_read(self, pair: tuple[Host, PciAddress, PciAddress]) -> None:
        host, one, other = pair
        assert reach(Topology(host), one, other).passage is not Passage.UNKNOWN

    @given(pairs())
    def test_redirection_at_the_turning_port_is_enough(
        self, pair: tuple[Host, PciAddress, PciAddress]
    ) -> None:
        host, one, other = pair
        turn = host.by_address[reach(Topology(host), one, other).turn]
        config = turn.config
        assert isinstance(config, ConfigFacts)
        if config.port_type not in PORTS or turn.address in (one, other):
            return
        better = replace(turn, config=replace(config, acs=FULL))
        devices = tuple(better if each is turn else each for each in host.devices)
        found = reach(Topology(replace(host, devices=devices)), one, other)
        assert found.passage in (Passage.REDIRECTED, Passage.SAME)

    @given(pairs())
    def test_neighbours_on_a_conventional_bus_always_hear_each_other(
        self, pair: tuple[Host, PciAddress, PciAddress]
    ) -> None:
        host, one, other = pair
        first, second = host.by_address[one], host.by_address[other]
        if one == other or first.parent is None or first.parent != second.parent:
            return
        config = host.by_address[first.parent].config
        assert isinstance(config, ConfigFacts)
        if config.port_type in CONVENTIONAL:
            assert reach(Topology(host), one, other).passage is Passage.DIRECT

    @given(pairs())
    def test_the_list_of_peers_is_what_each_answer_says(
        self, pair: tuple[Host, PciAddress, PciAddress]
    ) -> None:
        host, one, _ = pair
        numbered = tuple(replace(each, group=number) for number, each in enumerate(host.devices))
        topology = Topology(replace(host, devices=numbered))
        listed = {found.target for found in reachable_peers(topology, one)}
        expected = {
            each.address
            for each in numbered
            if not each.is_bridge
            and each.address != one
            and reach(topology, one, each.address).passage is Passage.DIRECT
        }
        assert listed == expected

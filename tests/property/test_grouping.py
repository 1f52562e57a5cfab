"""Groups by the rules: laws of the partition, and the rules as a graph whose components are the groups."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from vfiokit.address import PciAddress
from vfiokit.analysis.grouping import Prediction, predict
from vfiokit.analysis.isolation import Agreement, explain, relate
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import AcsRegisters, ConfigFacts, PciDevice, PortType
from vfiokit.model.host import Host
from vfiokit.testing import hosts, topologies

Edge = tuple[PciAddress, PciAddress]
NOBODY = 0xFFFE
"""A vendor that no row of the kernel's tables of devices names."""
FULL = AcsRegisters(capability=0x5F, control=0x1D)
REQUIRED = 0x1D
PORTS = (PortType.ROOT_PORT, PortType.DOWNSTREAM_PORT)
HIDING = (None, PortType.PCIE_TO_PCI_BRIDGE, PortType.PCI_TO_PCIE_BRIDGE)


def plain(host: Host) -> Host:
    """Return the host with devices that nobody knows."""
    return Host(devices=tuple(replace(each, vendor=NOBODY, class_code=0x020000) for each in host.devices))


plain_topologies = topologies(max_devices=18).map(plain)


def everything(host: Host, **options: bool) -> Prediction:
    return predict(Topology(host), frozenset(host.by_address), **options)


def components(nodes: Iterable[PciAddress], edges: Iterable[Edge]) -> set[tuple[PciAddress, ...]]:
    """Return the connected components of a graph."""
    component = {node: {node} for node in nodes}
    for one, other in edges:
        if component[one] is not component[other]:
            component[one] |= component[other]
            for node in component[other]:
                component[node] = component[one]
    return {tuple(sorted(each)) for each in component.values()}


def facts(device: PciDevice) -> ConfigFacts:
    assert isinstance(device.config, ConfigFacts)
    return device.config


def is_isolated(device: PciDevice) -> bool:
    """Whether a device that nobody knows counts as isolated: pci_acs_enabled() with the four bits."""
    config = facts(device)
    multifunction = device.physfn is None and (config.multifunction or device.address.function > 0)
    if config.port_type in HIDING:
        return False
    if config.port_type not in PORTS and not multifunction:
        return True
    acs = config.acs
    return isinstance(acs, AcsRegisters) and REQUIRED & acs.capability & ~acs.control == 0


def edges(host: Host) -> Iterator[Edge]:
    """Yield whom the rules put together, from every function's own view."""
    slots: dict[tuple[object, ...], list[PciAddress]] = defaultdict(list)
    for device in host.devices:
        above = host.upstream(device)
        hiding = [bridge.address for bridge in above if facts(bridge).port_type in HIDING]
        if hiding:
            yield device.address, hiding[0]
        elif not all(map(is_isolated, above)):
            yield device.address, above[0].address
        elif not is_isolated(device) and (facts(device).multifunction or device.address.function):
            slots[device.address.slot].append(device.address)
    for members in slots.values():
        yield from ((members[0], other) for other in members[1:])


def refines(finer: Prediction, coarser: Prediction) -> bool:
    """Whether every group of one lies within a group of the other."""
    return all(set(group) <= set(coarser.members(group[0])) for group in finer.groups)


class TestPartition:
    @given(topologies(), st.data())
    def test_covers_exactly_what_is_covered(self, host: Host, data: st.DataObject) -> None:
        covered = data.draw(st.frozensets(st.sampled_from([each.address for each in host.devices])))
        prediction = predict(Topology(host), covered)
        members = [address for group in prediction.groups for address in group]
        assert sorted(members) == sorted(covered)
        assert all(prediction.members(each) == group for group in prediction.groups for each in group)

    @given(topologies())
    def test_joins_make_each_group_a_tree(self, host: Host) -> None:
        prediction = everything(host)
        assert len(prediction.joins) == len(host.devices) - len(prediction.groups)
        links = [(join.address, join.other) for join in prediction.joins]
        assert components(host.by_address, links) == set(prediction.groups)
        for group in prediction.groups:
            assert sum(prediction.join(address) is None for address in group) == 1

    @given(topologies(), st.data())
    def test_a_path_leads_from_one_member_to_the_other(self, host: Host, data: st.DataObject) -> None:
        prediction = everything(host)
        group = data.draw(st.sampled_from(prediction.groups))
        one, other = data.draw(st.sampled_from(group)), data.draw(st.sampled_from(group))
        at = {one}
        for join in prediction.path(one, other):
            ends = {join.address, join.other}
            assert ends & at
            at |= ends
        assert other in at


class TestRules:
    @given(plain_topologies)
    @settings(max_examples=300)
    def test_groups_are_the_components_of_the_rules_as_a_graph(self, host: Host) -> None:
        assert set(everything(host).groups) == components(host.by_address, edges(host))

    @given(topologies())
    def test_what_is_below_a_conventional_bridge_is_in_its_group(self, host: Host) -> None:
        prediction = everything(host)
        for device in host.devices:
            for bridge in host.upstream(device):
                if facts(bridge).port_type in HIDING:
                    assert bridge.address in prediction.members(device.address)
                    break

    @given(plain_topologies, st.data())
    def test_more_acs_never_joins_what_was_apart(self, host: Host, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from([each.address for each in host.devices])))
        better = tuple(
            replace(each, config=replace(facts(each), acs=FULL))
            if each.address in chosen and facts(each).port_type is not None
            else each
            for each in host.devices
        )
        assert refines(everything(replace(host, devices=better)), everything(host))

    @given(plain_topologies)
    def test_acs_everywhere_leaves_only_conventional_bridges_to_join(self, host: Host) -> None:
        better = tuple(replace(each, config=replace(facts(each), acs=FULL)) for each in host.devices)
        for join in everything(replace(host, devices=better)).joins:
            device = host.by_address[join.address]
            way = (device, *host.upstream(device))
            assert any(facts(each).port_type in HIDING for each in way)

    @given(hosts(max_devices=16))
    def test_what_is_unknown_joins_no_less_than_what_isolates(self, host: Host) -> None:
        known = [each.address for each in host.devices]
        strict = predict(Topology(host), frozenset(known), unknown_isolates=False)
        assert refines(predict(Topology(host), frozenset(known), unknown_isolates=True), strict)


class TestExplanation:
    @given(hosts(by_the_rules=True, readable=True))
    @settings(max_examples=40)
    def test_groups_by_the_rules_are_as_predicted(self, host: Host) -> None:
        groups = tuple(replace(group, name=None) for group in host.groups)
        host = replace(host, groups=groups)
        for device in host.devices:
            explanation = explain(host, device.address)
            assert explanation.agreement is Agreement.AS_PREDICTED
            assert explanation.members == explanation.predicted
            assert [hop.address for hop in explanation.hops] == [
                device.address,
                *(bridge.address for bridge in host.upstream(device)),
            ]

    @given(hosts(max_devices=12))
    @settings(max_examples=40)
    def test_any_host_is_explained(self, host: Host) -> None:
        for device in host.devices:
            explanation = explain(host, device.address)
            group = device.group if isinstance(device.group, int) else None
            assert explanation.group == group
            formed = group is not None and not host.group(group).is_noiommu
            assert (explanation.agreement is not Agreement.NO_GROUP) == formed
            assert device.address in explanation.predicted or not formed

    @given(hosts(max_devices=10, by_the_rules=True, readable=True), st.data())
    @settings(max_examples=40)
    def test_two_functions_are_joined_or_kept_apart_the_same_both_ways(
        self, host: Host, data: st.DataObject
    ) -> None:
        drawn = st.sampled_from([each.address for each in host.devices])
        one, other = data.draw(drawn), data.draw(drawn)
        there, back = relate(host, one, other), relate(host, other, one)
        assert there.same_group == back.same_group
        assert bool(there.joins) == bool(back.joins)
        assert (there.there, there.back) == (back.back, back.there)

"""``vfiokit why``: one function, two functions, each rule, each agreement, each exit status."""

from dataclasses import replace
from typing import Any

import pytest

from tests.cli.machine import MACHINE, Command, at, changed
from vfiokit.model.device import AcsRegisters, ConfigFacts, HeaderType, PciDevice, PortType
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Host
from vfiokit.sysfs.config import NEEDS_PRIVILEGE
from vfiokit.sysfs.memory import Failure
from vfiokit.testing import layout

FULL = AcsRegisters(capability=0x5F, control=0x1D)
OFF = AcsRegisters(capability=0x5F, control=0)


def bridge(
    text: str, kind: PortType | None, bus: int, below: str | None, acs: AcsRegisters | None
) -> PciDevice:
    facts = ConfigFacts(header_type=HeaderType.BRIDGE, secondary=bus, subordinate=9, port_type=kind, acs=acs)
    parent = at(below) if below else None
    return PciDevice(
        address=at(text),
        vendor=0x1B36,
        device=1,
        class_code=0x060400,
        is_bridge=True,
        parent=parent,
        config=facts,
    )


def endpoint(
    text: str,
    below: str | None,
    kind: PortType | None = PortType.ENDPOINT,
    vendor: int = 0x1B36,
    device: int = 2,
    **facts: Any,
) -> PciDevice:
    return PciDevice(
        address=at(text),
        vendor=vendor,
        device=device,
        class_code=0x020000,
        parent=at(below) if below else None,
        config=ConfigFacts(port_type=kind, **facts),
    )


def host(devices: list[PciDevice], *groups: tuple[str, ...]) -> Host:
    """Return a host of these functions with these groups, numbered from 0."""
    group_of = {at(text): number for number, members in enumerate(groups) for text in members}
    placed = tuple(
        sorted(
            (replace(each, group=group_of.get(each.address)) for each in devices),
            key=lambda each: each.address,
        )
    )
    formed = tuple(
        IommuGroup(id=number, type="DMA", devices=tuple(sorted(map(at, members))))
        for number, members in enumerate(groups)
    )
    return Host(devices=placed, groups=formed, platform=MACHINE.platform)


ROOT = "00:01.0"
SWITCH = [
    bridge(ROOT, PortType.ROOT_PORT, 1, None, FULL),
    bridge("01:00.0", PortType.UPSTREAM_PORT, 2, ROOT, None),
    bridge("02:00.0", PortType.DOWNSTREAM_PORT, 3, "01:00.0", None),
    bridge("02:01.0", PortType.DOWNSTREAM_PORT, 4, "01:00.0", None),
    endpoint("03:00.0", "02:00.0"),
    endpoint("04:00.0", "02:01.0"),
]
CONVENTIONAL = [
    bridge(ROOT, PortType.ROOT_PORT, 1, None, FULL),
    bridge("01:00.0", PortType.PCIE_TO_PCI_BRIDGE, 2, ROOT, None),
    endpoint("02:01.0", "01:00.0", None),
    endpoint("02:02.0", "01:00.0", None),
]
SLOT = [
    bridge(ROOT, PortType.ROOT_PORT, 1, None, FULL),
    endpoint("01:00.0", ROOT, multifunction=True),
    endpoint("01:00.1", ROOT, multifunction=True),
]
MARVELL = [
    bridge(ROOT, PortType.ROOT_PORT, 1, None, FULL),
    endpoint("01:00.0", ROOT, vendor=0x1B4B, device=0x9230, multifunction=True, acs=FULL),
    endpoint("01:00.1", ROOT, multifunction=True, acs=FULL),
]
VMD = [
    endpoint("00:0e.0", None, PortType.RC_INTEGRATED_ENDPOINT),
    replace(endpoint("10000:00:02.0", None, PortType.RC_INTEGRATED_ENDPOINT), dma_device=at("00:0e.0")),
]


class TestRules:
    @pytest.mark.parametrize(
        ("devices", "members", "rule", "code"),
        [
            pytest.param(
                [bridge(ROOT, PortType.ROOT_PORT, 1, None, OFF), endpoint("01:00.0", ROOT)],
                (ROOT, "01:00.0"),
                "not_isolated",
                "port-not-isolated",
                id="port",
            ),
            pytest.param(
                CONVENTIONAL, ("01:00.0", "02:02.0"), "bridge", "bridge-hides-requester", id="bridge"
            ),
            pytest.param(SLOT, ("01:00.0", "01:00.1"), "slot", "slot-not-isolated", id="slot"),
            pytest.param(MARVELL, ("01:00.0", "01:00.1"), "alias", "identity-shared", id="alias"),
            pytest.param(
                VMD, ("00:0e.0", "10000:00:02.0"), "same_requester", "bus-owned-by-driver", id="requester"
            ),
        ],
    )
    def test_each_step_is_named_with_its_remedies(
        self, vfiokit: Command, devices: list[PciDevice], members: tuple[str, str], rule: str, code: str
    ) -> None:
        formed = {at(text) for text in members}
        if devices is CONVENTIONAL:
            formed.add(at("02:01.0"))
        others = [(str(each.address),) for each in devices if each.address not in formed]
        here = host(devices, tuple(map(str, formed)), *others)
        answer = vfiokit("why", members[1], "--json", root=here)
        assert answer.status == 0
        document = answer.json
        assert document["agreement"] == "as-predicted"
        assert document["members"] == document["predicted"] == sorted(map(str, formed), key=at)
        assert document["joins"][-1]["rule"] == rule
        (finding,) = (each for each in document["findings"] if each["code"] == code)
        assert finding["remedies"]
        text = vfiokit("why", members[1], root=here).out
        assert document["joins"][-1]["text"] in text
        assert f"[{code}]" in text


class TestOne:
    def test_has_stable_keys(self, vfiokit: Command) -> None:
        document = vfiokit("why", "01:00.1", "--json").json
        assert list(document) == [
            "schema",
            "source",
            "address",
            "group",
            "members",
            "predicted",
            "agreement",
            "hops",
            "joins",
            "findings",
        ]
        assert (document["schema"], document["address"], document["group"]) == (
            "vfiokit.why/1",
            "0000:01:00.1",
            1,
        )
        assert [(hop["address"], hop["role"], hop["effect"]) for hop in document["hops"]] == [
            ("0000:01:00.1", "endpoint", "leaks"),
            ("0000:00:01.0", "root port", "leaks"),
        ]
        assert document["hops"][1]["acs"] == {
            "isolated": False,
            "missing": ["SV", "RR", "CR", "UF"],
            "basis": "no_capability",
            "text": "it has no ACS capability",
        }

    def test_says_which_bits_are_missing(self, vfiokit: Command) -> None:
        port = replace(
            MACHINE.by_address[at("00:1d.0")].config,  # type: ignore[type-var]
            acs=AcsRegisters(capability=0x5F, control=0x11),
        )
        host = changed("00:1d.0", config=port)
        out = vfiokit("why", "03:00.0", root=host).out
        assert "its ACS Control register lacks RR CR" in out

    def test_a_group_of_its_own_is_said(self, vfiokit: Command) -> None:
        out = vfiokit("why", "group:14").out
        assert "group 14, alone in it; as the kernel's rules form it" in out
        assert "nothing joins it to any other function" in out

    @pytest.mark.parametrize("selector", ["03:00.0", "0000:03:00.0", "group:14", "pci_0000_03_00_0"])
    def test_takes_every_selector(self, vfiokit: Command, selector: str) -> None:
        assert vfiokit("why", selector, "--json").json["address"] == "0000:03:00.0"

    @pytest.mark.parametrize(
        ("selector", "address"), [("enp2s0", "0000:02:00.0"), ("nvme0n1", "0000:04:00.0")]
    )
    def test_takes_names(self, vfiokit: Command, selector: str, address: str) -> None:
        assert vfiokit("why", selector, "--json").json["address"] == address

    @pytest.mark.parametrize("selector", ["group:1", "144d:a808"])
    def test_an_ambiguous_selector_lists_the_candidates(self, vfiokit: Command, selector: str) -> None:
        answer = vfiokit("why", selector)
        assert answer.status == 2
        assert "one of: 0000:" in answer.error

    @pytest.mark.parametrize("selector", ["05:00.0", "group:77", "14", "enp2"])
    def test_a_selector_of_nothing_is_one_line(self, vfiokit: Command, selector: str) -> None:
        answer = vfiokit("why", selector)
        assert (answer.status, answer.error.startswith("vfiokit: select ")) == (2, True)

    def test_the_kernels_table_of_devices_is_named(self, vfiokit: Command) -> None:
        devices = [
            bridge(ROOT, PortType.ROOT_PORT, 1, None, FULL),
            endpoint("01:00.0", ROOT, vendor=0x8086, device=0x10FB, multifunction=True),
            endpoint("01:00.1", ROOT, vendor=0x8086, device=0x10FB, multifunction=True),
        ]
        here = host(devices, (ROOT,), ("01:00.0",), ("01:00.1",))
        answer = vfiokit("why", "01:00.1", "--json", root=here)
        assert answer.json["agreement"] == "as-predicted"
        assert "acs-quirk" in [each["code"] for each in answer.json["findings"]]
        assert answer.json["hops"][0]["acs"]["basis"] == "quirk"


class TestAgreement:
    def test_a_group_smaller_than_predicted_is_the_mark_of_an_override(self, vfiokit: Command) -> None:
        answer = vfiokit("why", "01:00.1", "--json", root=host(SLOT, (ROOT,), ("01:00.0",), ("01:00.1",)))
        assert answer.json["agreement"] == "smaller"
        (finding,) = (
            each for each in answer.json["findings"] if each["code"] == "group-smaller-than-predicted"
        )
        assert finding["severity"] == "warning"
        assert finding["evidence"] == [
            "the kernel's group: 0000:01:00.1",
            "by the rules: 0000:01:00.0 0000:01:00.1",
        ]

    def test_a_group_larger_than_predicted_is_reported(self, vfiokit: Command) -> None:
        devices = [bridge(ROOT, PortType.ROOT_PORT, 1, None, FULL), endpoint("01:00.0", ROOT)]
        answer = vfiokit("why", "01:00.0", "--json", root=host(devices, (ROOT, "01:00.0")))
        assert answer.json["agreement"] == "larger"

    def test_a_group_that_is_neither_is_reported(self, vfiokit: Command) -> None:
        devices = [*SLOT, endpoint("00:03.0", None, PortType.RC_INTEGRATED_ENDPOINT)]
        here = host(devices, (ROOT,), ("01:00.0",), ("01:00.1", "00:03.0"))
        assert vfiokit("why", "01:00.1", "--json", root=here).json["agreement"] == "different"

    def test_hidden_config_space_is_status_3(self, vfiokit: Command) -> None:
        hidden = ConfigFacts(header_type=HeaderType.BRIDGE, secondary=1, subordinate=9)
        port = replace(hidden, port_type=NEEDS_PRIVILEGE, acs=NEEDS_PRIVILEGE)
        devices = [
            replace(SLOT[0], config=port),
            *(replace(each, config=replace(each.config, port_type=NEEDS_PRIVILEGE)) for each in SLOT[1:]),  # type: ignore[type-var]
        ]
        answer = vfiokit("why", "01:00.1", root=host(devices, (ROOT, "01:00.0"), ("01:00.1",)))
        assert answer.status == 3
        assert "[prediction-uncertain]" in answer.out
        assert "run as root" in answer.out

    def test_without_an_iommu_the_rules_are_shown_with_status_8(self, vfiokit: Command) -> None:
        devices = [replace(each, group=None) for each in SLOT]
        answer = vfiokit("why", "01:00.1", root=host(devices))
        assert answer.status == 8
        assert "no IOMMU group; by the kernel's rules it would be with 1 other in one" in answer.out
        document = vfiokit("why", "01:00.1", "--json", root=host(devices)).json
        assert (document["group"], document["agreement"]) == (None, "no-group")

    def test_groups_that_cannot_be_listed_are_status_3(self, vfiokit: Command) -> None:
        tree = layout(host([replace(each, group=None) for each in SLOT]))
        tree.add("sys/kernel/iommu_groups", Failure(13))
        assert vfiokit("why", "01:00.1", root=tree).status == 3


class TestTwo:
    def test_what_joins_them_is_the_first_hop(self, vfiokit: Command) -> None:
        answer = vfiokit("why", "01:00.0", "01:00.1", "--json")
        document = answer.json
        assert list(document) == [
            "schema",
            "source",
            "same_group",
            "joins",
            "requests",
            "findings",
            "functions",
        ]
        assert document["same_group"] is True
        assert {join["rule"] for join in document["joins"]} == {"not_isolated"}
        assert [each["address"] for each in document["functions"]] == ["0000:01:00.0", "0000:01:00.1"]

    def test_what_keeps_them_apart_is_named(self, vfiokit: Command) -> None:
        answer = vfiokit("why", "02:00.0", "03:00.0")
        assert answer.status == 0
        assert "0000:00:1c.0  root port: isolates" in answer.out
        assert "0000:00:1d.0  root port: isolates" in answer.out
        assert answer.out.count("it is sent up to the IOMMU first") == 2

    def test_a_switch_without_redirection_joins_what_hangs_below_it(self, vfiokit: Command) -> None:
        below = ("01:00.0", "02:00.0", "02:01.0", "03:00.0", "04:00.0")
        document = vfiokit("why", "03:00.0", "04:00.0", "--json", root=host(SWITCH, (ROOT,), below)).json
        assert document["same_group"] is True
        assert [(each["passage"], each["turn"]) for each in document["requests"]] == [
            ("direct", "0000:02:00.0"),
            ("direct", "0000:02:01.0"),
        ]

    def test_one_above_the_other_needs_no_way(self, vfiokit: Command) -> None:
        assert "one lies above the other" in vfiokit("why", "00:1d.0", "03:00.0").out

    def test_functions_without_groups_compare_to_null(self, vfiokit: Command) -> None:
        here = host([replace(each, group=None) for each in SLOT])
        answer = vfiokit("why", "01:00.0", "01:00.1", "--json", root=here)
        assert (answer.status, answer.json["same_group"]) == (8, None)

    def test_an_override_does_not_hide_that_they_can_talk(self, vfiokit: Command) -> None:
        groups = [(str(each.address),) for each in SWITCH]
        answer = vfiokit("why", "03:00.0", "--json", root=host(SWITCH, *groups))
        (finding,) = (each for each in answer.json["findings"] if each["code"] == "peer-reachable")
        assert "0000:04:00.0 (group 5)" in finding["evidence"][1]

    def test_three_selectors_are_wrong_usage(self, vfiokit: Command) -> None:
        assert vfiokit("why", "01:00.0", "01:00.1", "02:00.0").status == 2

    def test_none_is_wrong_usage(self, vfiokit: Command) -> None:
        assert vfiokit("why").status == 2

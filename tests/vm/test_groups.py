"""The kernel is the judge: our rules must form its groups, and our reading must be what /sys says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from vfiokit import PciAddress, describe_units
from vfiokit.analysis.grouping import predict
from vfiokit.analysis.isolation import Agreement, explain, relate
from vfiokit.analysis.peers import Passage
from vfiokit.analysis.topology import Topology as Rules
from vfiokit.analysis.topology import has_late_unit, order_by_number
from vfiokit.model.unknown import known

from .asked import STEPS
from .drawn import topologies
from .guests import Report, boot, without_groups
from .kernel import Kernel
from .named import NAMED
from .topology import Topology

EXAMPLES = int(os.environ.get("VFIOKIT_LAB_EXAMPLES", "8"))


def by_the_rules(report: Report) -> set[frozenset[str]]:
    """Return the groups that our rules form, given nothing that the kernel concluded."""
    rules = Rules(without_groups(report.host))
    # A virtio unit learns of a function when its driver probes: in which order is all that we are told.
    order = order_by_number(report.host) if has_late_unit(report.host) else None
    groups = predict(rules, report.grouped, order=order).groups
    return {frozenset(map(str, members)) for members in groups}


def check(report: Report) -> None:
    """Hold everything that vfiokit said of a guest against what the plain observer read there."""
    assert by_the_rules(report) == report.groups
    check_listing(report)
    check_why(report)
    check_units(report)
    check_viability(report)


def check_listing(report: Report) -> None:
    """Hold `groups --json`, live in the guest, and its capture against what /sys had."""
    listing = report.json("listing.json")
    assert [group["id"] for group in listing["groups"]] == sorted(map(int, report.kernel["groups"]))
    for group in listing["groups"]:
        seen = report.kernel["groups"][str(group["id"])]
        assert [device["address"] for device in group["devices"]] == sorted(seen["devices"])
        assert group["type"] == seen["type"]
        for device in group["devices"]:
            facts = report.kernel["devices"][device["address"]]
            assert device["driver"] == facts["driver"]
            assert device["physfn"] == facts["physfn"]
            assert (device["vendor"], device["device"], device["class"]) == tuple(
                int(facts[name], 16) for name in ("vendor", "device", "class")
            )
    assert {str(device.address) for device in report.host.devices} == set(report.kernel["devices"])
    assert report.host.problems == ()


def check_why(report: Report) -> None:
    """Hold the members that `why` names against /sys; it must find every group as predicted."""
    host = report.host
    for device in host.devices:
        explanation = explain(host, device.address)
        number = report.kernel["devices"][str(device.address)]["group"]
        seen = report.kernel["groups"][number]["devices"] if number else []
        assert list(map(str, explanation.members)) == sorted(seen)
        assert explanation.agreement is (Agreement.AS_PREDICTED if number else Agreement.NO_GROUP)


def check_units(report: Report) -> None:
    """Hold whom firmware's tables put behind each unit against whom the kernel linked to it."""
    units = describe_units(report.host)
    assert {finding.code for finding in units.findings} <= {"table-not-decoded"}
    for view in units.views:
        linked = {device.address for device in report.host.devices if device.iommu == view.unit.name}
        assert {*known(view.unit.devices, ())} == linked
        if view.firmware is not None:
            # An AMD unit is a function itself; firmware's range may hold it, and it is behind nobody.
            covered = set(view.firmware.covers)
            assert covered >= linked
            assert {report.host.device(address).iommu for address in covered - linked} <= {None}


def check_viability(report: Report) -> None:
    """Hold our verdict against VFIO_GROUP_FLAGS_VIABLE wherever the kernel can be asked."""
    states, verdicts = report.json("viability.json"), report.json("verdicts.json")
    assert len(states) == len(verdicts)
    for state, verdict in zip(states, verdicts, strict=True):
        for number, status in state["groups"].items():
            assert verdict[number] == status["viable"], (state["step"], number, status)


@pytest.mark.parametrize("name", NAMED)
def test_named_topology_forms_the_groups_of_our_rules(name: str, named: Callable[[str], Report]) -> None:
    report = named(name)
    check(report)
    states = report.json("viability.json")
    steps = STEPS.get(name, ())
    assert [state["step"] for state in states] == ["", *steps]
    answers = [state["groups"] for state in states]
    assert any(answers) or not steps, "no step gave a group that the kernel could be asked about"
    # Intel's unit stands in front of everything, as its DMAR table says.
    assert len(report.grouped) == len(report.host.devices)


def test_drawn_topologies_form_the_groups_of_our_rules(small: Kernel) -> None:
    booted = 0

    @seed(int(os.environ.get("VFIOKIT_LAB_SEED", "1")))
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(topologies())
    def draw(topology: Topology) -> None:
        nonlocal booted
        with tempfile.TemporaryDirectory(prefix="vfiokit-drawn-") as out:
            check(boot(small, topology, Path(out)))
        booted += 1

    draw()
    assert booted >= EXAMPLES


@pytest.mark.parametrize("name", ["root-ports", "big"])
def test_stock_kernel_forms_the_same_groups(name: str, stock: Kernel, tmp_path: Path) -> None:
    check(boot(stock, NAMED[name], tmp_path))


@pytest.mark.parametrize(
    ("iommu", "name"),
    [
        ("virtio", "switch-below-second-root"),
        # NVMe does not survive the emulated AMD unit.
        ("amd", "nested-bridges"),
        ("amd", "conventional"),
        ("intel-noremap", "switch-below-second-root"),
        ("intel-scalable", "multifunction"),
    ],
)
def test_other_units_form_the_groups_of_our_rules(
    iommu: str, name: str, small: Kernel, tmp_path: Path
) -> None:
    report = boot(small, NAMED[name], tmp_path, iommu=iommu)
    check(report)
    assert report.groups
    assert report.json("listing.json")["host"]["interrupt_remapping"] is (iommu == "intel-scalable")


@pytest.mark.parametrize(
    ("iommu", "code"), [("none", "iommu-not-in-vm"), ("intel-off", "iommu-switched-off")]
)
def test_no_iommu_is_told_with_its_reason(iommu: str, code: str, small: Kernel, tmp_path: Path) -> None:
    report = boot(small, NAMED["root-ports"], tmp_path, iommu=iommu)
    assert report.kernel["groups"] == {}
    assert report.json("status.json")["listing.json"] == 8
    findings = report.json("listing.json")["host"]["findings"]
    assert code in {finding["code"] for finding in findings}


def test_a_group_without_iommu_is_never_called_isolated(small: Kernel, tmp_path: Path) -> None:
    report = boot(
        small,
        NAMED["root-ports"],
        tmp_path,
        "edu=vfio-pci",
        iommu="none",
        append="vfio.enable_unsafe_noiommu_mode=1",
    )
    assert report.kernel["groups"] == {}
    assert report.json("verdicts.json")[1], "the kernel made no group up"
    codes = {finding["code"] for finding in report.json("listing.json")["host"]["findings"]}
    assert "noiommu-mode" in codes


@pytest.mark.parametrize("name", ["switch"])
def test_functions_apart_below_a_switch_without_acs_still_reach_each_other(
    name: str, named: Callable[[str], Report]
) -> None:
    report = named(name)
    disk, edu = (PciAddress.parse(report.places[name]) for name in ("disk", "edu"))
    relation = relate(report.host, disk, edu)
    assert relation.same_group is False
    assert relation.there.passage is Passage.DIRECT
    assert "peer-reachable" in {finding.code for finding in explain(report.host, disk).findings}
    # The port above the disk has no ACS, so the disk joined it: that is the hop to name.
    port = PciAddress.parse(report.places["f02.0-00.0-00.0"])
    joined = relate(report.host, disk, port)
    assert joined.same_group is True
    assert [(join.address, join.other) for join in joined.joins] == [(disk, port)]

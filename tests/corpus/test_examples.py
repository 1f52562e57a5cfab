"""The captures that ship: recorded in the guest lab, read here as anybody's would be."""

from __future__ import annotations

import pytest

from vfiokit import Host, describe_units, open_source, scan
from vfiokit.analysis.isolation import Agreement, explain
from vfiokit.analysis.platform import has_iommu
from vfiokit.analysis.viability import viable
from vfiokit.model.unknown import known
from vfiokit.sysfs.roots import DEFAULT_EXAMPLE, example_names

GROUPS = {"amd": 5, "no-iommu": 0, "server": 15, "workstation": 15}
"""What `ls /sys/kernel/iommu_groups | wc -l` would have said."""

SHARED = {
    "server": {8: ["0000:40:00.0", "0000:41:00.0", "0000:41:10.0", "0000:41:10.2"]},
    "workstation": {4: ["0000:00:05.0", "0000:03:00.0", "0000:03:00.1"]},
}
VIABLE_WITH_VFIO = {"server": 10, "workstation": 10}


def read(name: str) -> Host:
    return scan(open_source(f"example:{name}"))


def test_the_default_example_is_one_of_those_that_ship() -> None:
    assert sorted(GROUPS) == list(example_names())
    assert DEFAULT_EXAMPLE in GROUPS


@pytest.mark.parametrize("name", GROUPS)
def test_an_example_reads_without_a_problem(name: str) -> None:
    host = read(name)
    assert host.problems == ()
    assert len(host.groups) == GROUPS[name]
    assert has_iommu(host) is bool(GROUPS[name])
    assert len(host.devices) > 5


@pytest.mark.parametrize("name", [name for name, count in GROUPS.items() if count])
def test_an_example_is_grouped_by_the_rules(name: str) -> None:
    host = read(name)
    for device in host.devices:
        # The AMD unit is a function of its own, and in no group.
        expected = Agreement.NO_GROUP if device.group is None else Agreement.AS_PREDICTED
        assert explain(host, device.address).agreement is expected


@pytest.mark.parametrize(("name", "unit"), [("server", "dmar0"), ("workstation", "dmar0"), ("amd", "ivhd0")])
def test_firmware_puts_behind_a_unit_whom_the_kernel_linked_to_it(name: str, unit: str) -> None:
    host = read(name)
    [view] = describe_units(host).views
    assert view.unit.name == unit
    assert view.firmware is not None
    linked = {device.address for device in host.devices if device.iommu == unit}
    # An AMD unit is a function itself, within the range of its own table.
    assert {*view.firmware.covers} - linked == {
        device.address for device in host.devices if device.iommu is None and device.class_code == 0x080600
    }
    assert linked == {*known(view.unit.devices, ())} != set()


@pytest.mark.parametrize("name", SHARED)
def test_an_example_shows_a_group_that_is_shared_and_one_that_is_ready(name: str) -> None:
    host = read(name)
    for number, members in SHARED[name].items():
        assert [str(address) for address in host.group(number).devices] == members
        assert viable(host, host.group(number)) is False
    assert viable(host, host.group(VIABLE_WITH_VFIO[name])) is True

"""Laws of viability: who is in the way, recomputed by hand, and what a change may and may not do."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from vfiokit.analysis.viability import group_findings, viable
from vfiokit.model.device import PciDevice
from vfiokit.model.finding import Severity
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Driver, Host
from vfiokit.model.unknown import Unknown
from vfiokit.testing import hosts

HARMLESS = (None, "pci-stub", "pcieport", "vfio-pci", "mlx5_vfio_pci", "vendor-vfio")


@st.composite
def grouped(draw: st.DrawFn, *, readable: bool = False) -> tuple[Host, IommuGroup]:
    """Draw a host and a group with at least one member."""
    host = draw(hosts(max_devices=10, readable=readable).filter(lambda drawn: bool(drawn.groups)))
    return host, draw(st.sampled_from(host.groups))


def members(host: Host, group: IommuGroup) -> list[PciDevice]:
    assert isinstance(group.devices, tuple)
    return [host.by_address[address] for address in group.devices]


def with_device(host: Host, device: PciDevice) -> Host:
    devices = tuple(device if each.address == device.address else each for each in host.devices)
    return replace(host, devices=devices)


class TestRule:
    @given(grouped(readable=True))
    def test_is_what_the_kernel_demands(self, case: tuple[Host, IommuGroup]) -> None:
        host, group = case
        taken = any(device.driver not in HARMLESS for device in members(host, group))
        regions = group.reserved_regions if isinstance(group.reserved_regions, tuple) else ()
        if taken or any(region.type == "direct" for region in regions):
            assert viable(host, group) is False
        else:
            assert viable(host, group) is (None if group.others else True)

    @given(grouped())
    def test_one_host_driver_is_enough_to_refuse(self, case: tuple[Host, IommuGroup]) -> None:
        host, group = case
        for device in members(host, group):
            taken = with_device(host, replace(device, driver="e1000e", vfio_device=None))
            assert viable(taken, group) is False
            blamed = [
                each.subject for each in group_findings(taken, group) if each.severity is Severity.ERROR
            ]
            assert str(device.address) in blamed

    @given(grouped())
    @settings(max_examples=40)
    def test_letting_go_of_a_function_never_hurts(self, case: tuple[Host, IommuGroup]) -> None:
        host, group = case
        before = viable(host, group)
        for device in members(host, group):
            after = viable(with_device(host, replace(device, driver=None)), group)
            assert after is True or after is before or (before is False and after is None)

    @given(grouped())
    def test_what_is_unknown_is_never_viable(self, case: tuple[Host, IommuGroup]) -> None:
        host, group = case
        for device in members(host, group):
            hidden = with_device(host, replace(device, driver=Unknown("Permission denied")))
            assert viable(hidden, group) is not True
        assert viable(host, replace(group, devices=Unknown("Permission denied"))) is not True
        assert viable(host, replace(group, reserved_regions=Unknown("Input/output error"))) is not True

    @given(grouped())
    @settings(max_examples=40)
    def test_every_finding_names_its_subject(self, case: tuple[Host, IommuGroup]) -> None:
        host, group = case
        names = {str(device.address) for device in members(host, group)} | {
            f"group {group.id}",
            *group.others,
        }
        assert {finding.subject for finding in group_findings(host, group)} <= names


class TestMarks:
    @given(grouped(readable=True), st.sampled_from(["directory", "module"]))
    @settings(max_examples=40)
    def test_a_driver_without_a_known_name_is_known_by_its_marks(
        self, case: tuple[Host, IommuGroup], mark: str
    ) -> None:
        host, group = case
        for device in members(host, group):
            facts = Driver(name="newvfio", module="newvfio", uses_vfio_core=mark == "module")
            host = with_device(
                host,
                replace(device, driver="newvfio", vfio_device="vfio7" if mark == "directory" else None),
            )
            host = replace(host, drivers=(*(each for each in host.drivers if each.name != "newvfio"), facts))
        group = replace(group, others=(), reserved_regions=())
        assert viable(host, group) is True

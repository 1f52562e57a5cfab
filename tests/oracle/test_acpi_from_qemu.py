"""DMAR, IVRS and capability registers as QEMU makes them, against what its command line makes of them."""

from dataclasses import dataclass
from functools import cache

import pytest

from tests.oracle.qtest import needs_qemu, qtest
from vfiokit.acpi import dmar, ivrs
from vfiokit.acpi.dmar import Atsr, Dmar
from vfiokit.acpi.ivhd import SpecialEntry
from vfiokit.acpi.ivrs import Ivrs
from vfiokit.acpi.scope import DeviceScope, ScopeType, Topology, resolve
from vfiokit.address import PciAddress
from vfiokit.translation.capabilities import AmdCapabilities, VtdCapabilities

pytestmark = [pytest.mark.oracle, needs_qemu]

VTD_BASE, AMD_BASE = 0xFED90000, 0xFED80000
Q35_SLOTS = ((0x00, 0), (0x1F, 0), (0x1F, 2), (0x1F, 3))
"""The host bridge and the south bridge's functions, which every q35 has."""


def bdf(text: str) -> PciAddress:
    return PciAddress.parse(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A QEMU command line and what it amounts to.

    :ivar options: after the machine and the IOMMU.
    :ivar devices: root-bus functions that *options* add, and whether each is a bridge.
    :ivar buses: bridge, secondary and subordinate bus, as firmware is to number them.
    :ivar below: functions that *options* plug behind bridges.
    :ivar hidden: root buses that bypass the IOMMU.
    """

    name: str
    options: tuple[str, ...] = ()
    suffix: str = ""
    devices: tuple[tuple[str, bool], ...] = ()
    buses: tuple[tuple[str, int, int], ...] = ()
    below: tuple[str, ...] = ()
    hidden: tuple[int, ...] = ()

    @property
    def root_functions(self) -> tuple[tuple[PciAddress, bool], ...]:
        """Every function on a root bus that is not hidden, in order, and whether it is a bridge."""
        own = tuple((PciAddress(0, 0, *slot), False) for slot in Q35_SLOTS)
        added = tuple((bdf(text), bridge) for text, bridge in self.devices)
        return tuple(sorted(entry for entry in own + added if entry[0].bus not in self.hidden))

    @property
    def topology(self) -> Topology:
        """The functions behind bridges, each below the bridge whose secondary bus it is on."""
        bridges = {secondary: bdf(bridge) for bridge, secondary, _ in self.buses}
        return Topology(parents={bdf(text): bridges[bdf(text).bus] for text in self.below})


def device(*drivers: str) -> tuple[str, ...]:
    """Return the options that add *drivers*."""
    return tuple(word for driver in drivers for word in ("-device", driver))


PORT = "pcie-root-port,id=rp,chassis=1,addr=4"
PXB, FAR = "pxb-pcie,id=pxb,bus_nr=0x40,addr=5", "pcie-root-port,id=far,bus=pxb,chassis=2,addr=2"
MACHINES = (
    Machine(name="plain"),
    Machine(
        name="endpoints",
        options=device("edu,addr=3", "edu,addr=7.1,multifunction=on", "edu,addr=7.0,multifunction=on"),
        devices=(("00:03.0", False), ("00:07.0", False), ("00:07.1", False)),
    ),
    Machine(
        name="root port",
        options=device(PORT, "edu,bus=rp"),
        devices=(("00:04.0", True),),
        buses=(("00:04.0", 3, 3),),
        below=("03:00.0",),
    ),
    Machine(
        name="switch",
        options=device(
            PORT, "x3130-upstream,id=up,bus=rp", "xio3130-downstream,id=dn,bus=up,chassis=9", "edu,bus=dn"
        ),
        devices=(("00:04.0", True),),
        buses=(("00:04.0", 3, 5), ("03:00.0", 4, 5), ("04:00.0", 5, 5)),
        below=("03:00.0", "04:00.0", "05:00.0"),
    ),
    Machine(
        name="conventional bridge",
        options=device("pci-bridge,id=old,chassis_nr=3,addr=6", "edu,bus=old,addr=2"),
        devices=(("00:06.0", True),),
        buses=(("00:06.0", 7, 7),),
        below=("07:02.0",),
    ),
    Machine(
        name="second root",
        options=device(PXB, FAR, "edu,bus=far"),
        devices=(("00:05.0", False), ("40:02.0", True)),
        buses=(("40:02.0", 0x41, 0x42),),
        below=("41:00.0",),
    ),
    Machine(
        name="second root bypasses",
        options=device(PXB + ",bypass_iommu=on", FAR),
        devices=(("00:05.0", False), ("40:02.0", True)),
        buses=(("40:02.0", 0x41, 0x41),),
        hidden=(0x40,),
    ),
    Machine(
        name="first root bypasses",
        suffix=",default-bus-bypass-iommu=on",
        options=device(PXB, FAR),
        devices=(("00:05.0", False), ("40:02.0", True)),
        buses=(("40:02.0", 0x41, 0x41),),
        hidden=(0,),
    ),
)


@cache
def intel(machine: Machine, iommu: str = "") -> Dmar:
    """Return the DMAR of *machine*, with *iommu* after ``intel-iommu``."""
    q35 = f"q35,kernel-irqchip=split{machine.suffix}"
    with qtest("-machine", q35, "-device", f"intel-iommu{iommu}", *machine.options) as guest:
        for bridge, secondary, subordinate in machine.buses:
            guest.number_bus(bdf(bridge), secondary, subordinate)
        return dmar.parse(guest.table("DMAR"))


@cache
def amd(machine: Machine, iommu: str = "") -> Ivrs:
    """Return the IVRS of *machine*, with *iommu* after ``amd-iommu``."""
    q35 = f"q35,kernel-irqchip=split{machine.suffix}"
    with qtest("-machine", q35, "-device", f"amd-iommu{iommu}", *machine.options) as guest:
        for bridge, secondary, subordinate in machine.buses:
            guest.number_bus(bdf(bridge), secondary, subordinate)
        return ivrs.parse(guest.table("IVRS"))


@pytest.fixture(params=MACHINES, ids=lambda machine: machine.name.replace(" ", "-"))
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each topology in turn."""
    found = request.param
    assert isinstance(found, Machine)
    return found


def scope_of(address: PciAddress, bridge: bool) -> DeviceScope:
    kind = ScopeType.PCI_SUB_HIERARCHY if bridge else ScopeType.PCI_ENDPOINT
    return DeviceScope(type=kind, start_bus=address.bus, path=((address.device, address.function),))


class TestDmar:
    def test_one_unit_where_the_chipset_has_it(self, machine: Machine) -> None:
        assert [unit.base for unit in intel(machine).units] == [VTD_BASE]

    def test_the_unit_names_what_it_covers(self, machine: Machine) -> None:
        assert not intel(machine).units[0].include_pci_all

    def test_scopes_are_the_functions_on_root_buses(self, machine: Machine) -> None:
        scopes = [scope for scope in intel(machine).units[0].scopes if scope.is_pci]
        assert sorted(scopes, key=lambda scope: (scope.start_bus, scope.path)) == [
            scope_of(address, bridge) for address, bridge in machine.root_functions
        ]

    def test_the_io_apic_requests_from_a_bus_of_its_own(self, machine: Machine) -> None:
        (apic,) = (scope for scope in intel(machine).units[0].scopes if scope.type == ScopeType.IOAPIC)
        assert (apic.start_bus, apic.path) == (0xFF, ((0, 0),))

    def test_scopes_resolve_to_the_functions_that_were_plugged(self, machine: Machine) -> None:
        found = {resolve(scope, lambda bridge: None) for scope in intel(machine).units[0].scopes} - {None}
        assert found == {address for address, _ in machine.root_functions}

    def test_only_the_missing_checksum_is_odd(self, machine: Machine) -> None:
        assert [noted.offset for noted in intel(machine).diagnostics] == [9]

    def test_bytes_come_back(self, machine: Machine) -> None:
        table = intel(machine)
        assert dmar.parse(table.to_bytes()) == table

    def test_a_hidden_root_bus_has_no_unit(self, machine: Machine) -> None:
        for text, _ in machine.devices:
            covered = dmar.covering_unit(intel(machine), bdf(text), Topology()) is not None
            assert covered == (bdf(text).bus not in machine.hidden)

    def test_what_is_below_a_bridge_has_its_unit(self, machine: Machine) -> None:
        units = {dmar.covering_unit(intel(machine), bdf(text), machine.topology) for text in machine.below}
        assert units <= {intel(machine).units[0]}

    def test_what_hangs_in_no_tree_has_none(self, machine: Machine) -> None:
        assert dmar.covering_unit(intel(machine), bdf("77:00.0"), machine.topology) is None

    @pytest.mark.parametrize(("iommu", "width"), [("", 48), (",aw-bits=39", 39), (",aw-bits=48", 48)])
    def test_host_address_width(self, iommu: str, width: int) -> None:
        assert intel(MACHINES[0], iommu).host_address_width == width

    @pytest.mark.parametrize("wanted", ["on", "off"])
    def test_interrupt_remapping_flag(self, wanted: str) -> None:
        assert intel(MACHINES[0], f",intremap={wanted}").interrupt_remapping == (wanted == "on")

    @pytest.mark.parametrize("wanted", ["on", "off"])
    def test_device_iotlb_makes_an_atsr_for_all_ports(self, wanted: str) -> None:
        table = intel(MACHINES[2], f",device-iotlb={wanted}")
        found = [structure for structure in table.structures if isinstance(structure, Atsr)]
        assert found == ([Atsr(flags=1)] if wanted == "on" else [])


class TestIvrs:
    def test_both_block_types_describe_one_unit(self, machine: Machine) -> None:
        assert [(block.type, block.flags >> 4 & 1) for block in amd(machine).blocks] == [
            (0x10, 1),
            (0x11, 1),
        ]

    def test_the_later_type_is_believed(self, machine: Machine) -> None:
        assert [(unit.type, unit.base) for unit in amd(machine).units] == [(0x11, AMD_BASE)]

    def test_both_types_hold_the_same_entries(self, machine: Machine) -> None:
        old, new = amd(machine).blocks
        assert isinstance(old, ivrs.Ivhd)
        assert isinstance(new, ivrs.Ivhd)
        assert old.entries == new.entries

    def test_root_functions_are_covered_unless_hidden(self, machine: Machine) -> None:
        table = amd(machine)
        own = {address for address, _ in machine.root_functions} - {bdf("00:00.0")}
        every = {bdf(text) for text, _ in machine.devices} | {
            PciAddress(0, 0, *slot) for slot in Q35_SLOTS[1:]
        }
        assert {address for address in every if ivrs.covering_unit(table, address)} == own

    def test_what_is_below_a_bridge_has_its_unit(self, machine: Machine) -> None:
        units = {ivrs.covering_unit(amd(machine), bdf(text)) for text in machine.below}
        assert units <= set(amd(machine).units)

    def test_no_bus_that_nobody_numbered_is_covered(self, machine: Machine) -> None:
        assert ivrs.covering_unit(amd(machine), bdf("77:00.0")) is None

    def test_only_a_conventional_bridge_takes_over_identities(self, machine: Machine) -> None:
        taken = bdf("00:06.0") if machine.name == "conventional bridge" else None
        for function in map(bdf, machine.below):
            assert ivrs.alias_of(amd(machine), function) == (taken or function)

    def test_only_the_missing_checksum_is_odd(self, machine: Machine) -> None:
        assert [noted.offset for noted in amd(machine).diagnostics] == [9]

    def test_bytes_come_back(self, machine: Machine) -> None:
        table = amd(machine)
        assert ivrs.parse(table.to_bytes()) == table

    @pytest.mark.parametrize("wanted", ["on", "off"])
    def test_interrupt_remapping_names_the_io_apic(self, wanted: str) -> None:
        (unit,) = amd(MACHINES[0], f",intremap={wanted}").units
        special = [
            (entry.variety, entry.device_id) for entry in unit.entries if isinstance(entry, SpecialEntry)
        ]
        assert special == ([(1, 0xA0)] if wanted == "on" else [])

    def test_sizes_of_addresses(self) -> None:
        table = amd(MACHINES[0])
        assert (table.physical_address_size, table.virtual_address_size) == (40, 0)

    @pytest.mark.parametrize("wanted", ["on", "off"])
    def test_x2apic_is_in_the_features(self, wanted: str) -> None:
        (unit,) = amd(MACHINES[0], f",xtsup={wanted}").units
        assert AmdCapabilities(cap=0, efr=unit.efr).x2apic == (wanted == "on")


VTD_OPTIONS: tuple[tuple[str, dict[str, object]], ...] = (
    ("", {}),
    (",aw-bits=39", {"guest_address_width": 39, "page_table_levels": (3,)}),
    (",aw-bits=48", {"guest_address_width": 48, "page_table_levels": (3, 4)}),
    (",pt=off", {"pass_through": False}),
    (",snoop-control=on", {"snoop_control": True}),
    (",device-iotlb=on", {"device_iotlb": True}),
    (",caching-mode=on", {"caching_mode": True}),
    (",intremap=off", {"interrupt_remapping": False}),
    (",x-scalable-mode=on", {"scalable_mode": True, "first_stage": False, "second_stage": True}),
    (",x-scalable-mode=on,x-flts=on", {"scalable_mode": True, "first_stage": True, "second_stage": False}),
)
VTD_DEFAULTS = {
    "guest_address_width": 48,
    "page_table_levels": (3, 4),
    "pass_through": True,
    "snoop_control": False,
    "device_iotlb": False,
    "caching_mode": False,
    "interrupt_remapping": True,
    "queued_invalidation": True,
    "scalable_mode": False,
    "first_stage": False,
    "second_stage": True,
    "number_of_domains": 1 << 16,
}


class TestCapabilityRegisters:
    @pytest.mark.parametrize(
        ("iommu", "changed"), VTD_OPTIONS, ids=[option or "default" for option, _ in VTD_OPTIONS]
    )
    def test_vtd_options_change_what_they_name_and_nothing_else(
        self, iommu: str, changed: dict[str, object]
    ) -> None:
        with qtest("-machine", "q35,kernel-irqchip=split", "-device", f"intel-iommu{iommu}") as guest:
            unit = VtdCapabilities(cap=guest.read64(VTD_BASE + 8), ecap=guest.read64(VTD_BASE + 16))
        assert {name: getattr(unit, name) for name in VTD_DEFAULTS} == VTD_DEFAULTS | changed

    @pytest.mark.parametrize("options", ["", ",xtsup=on"])
    def test_amd_features_are_those_of_the_table(self, options: str) -> None:
        with qtest("-machine", "q35,kernel-irqchip=split", "-device", f"amd-iommu{options}") as guest:
            (unit,) = ivrs.parse(guest.table("IVRS")).units
            assert guest.read64(AMD_BASE + 0x30) == unit.efr

    def test_amd_capability_header_is_where_the_table_says(self) -> None:
        with qtest("-machine", "q35,kernel-irqchip=split", "-device", "amd-iommu") as guest:
            (unit,) = ivrs.parse(guest.table("IVRS")).units
            header = guest.config_read(unit.address, unit.capability_offset)
        fields = AmdCapabilities(cap=header).fields
        assert (fields["CapId"], fields["CapType"], fields["EFRSup"]) == (0xF, 3, 1)

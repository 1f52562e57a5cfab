"""Units and tables of drawn hosts: coverage by ancestry and by identity, recomputed without the resolver."""

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from vfiokit.acpi.dmar import INCLUDE_PCI_ALL, Dmar, Drhd, Rmrr
from vfiokit.acpi.ivhd import DeviceEntry, EntryType
from vfiokit.acpi.ivrs import Ivhd, Ivmd, IvmdType, Ivrs
from vfiokit.acpi.scope import DeviceScope, ScopeType
from vfiokit.address import PciAddress
from vfiokit.analysis.units import describe_units
from vfiokit.model.finding import Severity
from vfiokit.model.host import Host
from vfiokit.model.iommu import IommuKind, IommuUnit
from vfiokit.model.unknown import Unknown
from vfiokit.testing import hosts, topologies
from vfiokit.testing.acpi import dmars, ivrss


def top(host: Host, address: PciAddress) -> PciAddress:
    """Return the function on the root bus above a function, or itself; of a VF that of its parent."""
    device = host.by_address[address]
    if isinstance(device.physfn, PciAddress):
        device = host.by_address[device.physfn]
    while device.parent is not None:
        device = host.by_address[device.parent]
    return device.address


@dataclass(frozen=True)
class Case:
    """A host with the unit, by register base, that each function is to be behind."""

    host: Host
    table: bytes
    expected: dict[PciAddress, int]


@st.composite
def intel_cases(draw: st.DrawFn) -> Case:
    """Draw which unit names each function of a root bus; what none names is for the segment's last."""
    host = draw(topologies(max_devices=16))
    roots = sorted({top(host, device.address) for device in host.devices if device.address.domain < 2**16})
    named = {address: draw(st.sampled_from((None, 0x1000, 0x2000))) for address in roots}
    units = [
        Drhd(base=base + address.domain * 0x10000, segment=address.domain, scopes=(scope(host, address),))
        for address, base in named.items()
        if base is not None
    ]
    segments = sorted({address.domain for address in roots})
    units += [Drhd(base=0x9000 + each * 0x10000, flags=INCLUDE_PCI_ALL, segment=each) for each in segments]
    expected = {
        device.address: (named[root] or 0x9000) + root.domain * 0x10000
        for device in host.devices
        if (root := top(host, device.address)) in named
    }
    return Case(host, Dmar(structures=tuple(units)).to_bytes(), expected)


def scope(host: Host, address: PciAddress) -> DeviceScope:
    bridge = host.by_address[address].is_bridge
    kind = ScopeType.PCI_SUB_HIERARCHY if bridge else ScopeType.PCI_ENDPOINT
    return DeviceScope(type=kind, start_bus=address.bus, path=((address.device, address.function),))


class TestDmar:
    @given(intel_cases())
    def test_a_function_is_behind_the_unit_that_names_its_ancestor(self, case: Case) -> None:
        units = describe_units(replace(case.host, tables=(("DMAR", case.table),)))
        found = {device.address: units.covering(device.address) for device in case.host.devices}
        assert {each: unit.base for each, unit in found.items() if unit is not None} == case.expected

    @given(topologies(max_devices=12), st.data())
    def test_reserved_memory_is_for_what_is_below_the_function_it_names(
        self, host: Host, data: st.DataObject
    ) -> None:
        small = [device for device in host.devices if device.address.domain < 2**16]
        roots = sorted({top(host, device.address) for device in small}) or [PciAddress(0, 0, 31, 7)]
        chosen = data.draw(st.sampled_from(roots))
        if chosen not in host.by_address:
            return
        region = Rmrr(base=0x7000, limit=0x7FFF, segment=chosen.domain, scopes=(scope(host, chosen),))
        units = describe_units(replace(host, tables=(("DMAR", Dmar(structures=(region,)).to_bytes()),)))
        (memory,) = units.reserved
        # Firmware never used a virtual function, and so demands nothing for it by its parent's name.
        expected = tuple(sorted(each.address for each in small if above(host, each.address, chosen)))
        assert (memory.range.start, memory.range.size, memory.functions) == (0x7000, 0x1000, expected)


def above(host: Host, address: PciAddress, chosen: PciAddress) -> bool:
    """Whether *chosen* is a function or a bridge above it."""
    device = host.by_address[address]
    while device.address != chosen and device.parent is not None:
        device = host.by_address[device.parent]
    return device.address == chosen


class TestIvrs:
    @given(topologies(max_devices=16), st.data())
    def test_a_function_is_behind_the_unit_that_names_its_identity(
        self, host: Host, data: st.DataObject
    ) -> None:
        mine = [device.address for device in host.devices if device.address.domain == 0]
        chosen = {address: data.draw(st.sampled_from((None, 0, 1))) for address in mine}
        blocks = [
            Ivhd(
                type=0x11,
                device_id=2 + number,
                base=0x1000 * (number + 1),
                entries=tuple(
                    DeviceEntry(type=EntryType.SELECT, device_id=address.source_id)
                    for address, unit in chosen.items()
                    if unit == number
                ),
            )
            for number in (0, 1)
        ]
        memory = Ivmd(type=IvmdType.ALL, flags=1, start=0x8000, length=0x2000)
        table = Ivrs(blocks=(*blocks, memory)).to_bytes()
        units = describe_units(replace(host, tables=(("IVRS", table),)))
        found = {address: units.covering(address) for address in mine}
        assert {each: unit and unit.base // 0x1000 - 1 for each, unit in found.items()} == chosen
        assert all(units.covering(each.address) is None for each in host.devices if each.address.domain)
        assert units.reserved[0].functions == tuple(sorted(mine))
        assert [units.reserved_for(address)[0].kind for address in mine] == ["unity"] * len(mine)


class TestWhatever:
    @given(hosts(max_devices=8))
    def test_bytes_of_no_table_are_findings(self, host: Host) -> None:
        codes = {finding.code for finding in describe_units(host).findings}
        for name, data in host.tables:
            if name in ("DMAR", "IVRS"):
                assert "table-broken" in codes
            else:
                assert "table-not-decoded" in codes
            assert isinstance(data, bytes)

    @given(topologies(max_devices=8), st.one_of(dmars(), ivrss()), st.data())
    def test_any_table_cut_anywhere_is_an_answer(
        self, host: Host, table: Dmar | Ivrs, data: st.DataObject
    ) -> None:
        whole = table.to_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        name = "DMAR" if isinstance(table, Dmar) else "IVRS"
        units = describe_units(replace(host, tables=((name, whole[:cut]),)))
        if cut < len(whole):
            assert [finding.code for finding in units.findings] == ["table-broken"]
        else:
            assert len(units.firmware) == len(table.units)

    @given(hosts(max_devices=8, readable=True))
    def test_every_unit_of_the_kernel_is_decoded(self, host: Host) -> None:
        units = describe_units(host)
        assert [view.unit for view in units.views] == list(host.units)
        for view in units.views:
            assert view.capabilities is not None
            assert not isinstance(view.capabilities, Unknown)
            registers = dict(view.unit.registers)
            assert view.capabilities.cap == registers["cap"]


class TestFindings:
    def test_a_unit_that_hides_its_registers_is_unknown(self) -> None:
        unit = IommuUnit(
            name="dmar0",
            kind=IommuKind.INTEL,
            registers=(("cap", Unknown("Permission denied")), ("ecap", 0)),
        )
        units = describe_units(Host(units=(unit,)))
        assert units.views[0].capabilities == Unknown("Permission denied")
        assert [(each.code, each.severity) for each in units.findings] == [
            ("registers-unknown", Severity.UNKNOWN)
        ]

    def test_a_unit_of_another_kind_has_no_registers_here(self) -> None:
        units = describe_units(Host(units=(IommuUnit(name="virtio0", kind=IommuKind.VIRTIO),)))
        assert (units.views[0].capabilities, units.views[0].firmware, units.findings) == (None, None, ())

    def test_a_table_that_may_not_be_read_says_so(self) -> None:
        (finding,) = describe_units(Host(tables=(("DMAR", Unknown("Permission denied")),))).findings
        assert (finding.code, finding.severity) == ("table-unreadable", Severity.UNKNOWN)
        assert "Permission denied" in finding.message

    def test_functions_that_firmware_gives_to_another_unit_are_reported(self) -> None:
        stranger = PciAddress(0, 0, 3, 0)
        table = Dmar(structures=(Drhd(base=0x1000),)).to_bytes()
        unit = IommuUnit(
            name="dmar0",
            kind=IommuKind.INTEL,
            registers=(("address", 0x1000), ("cap", 0), ("ecap", 0)),
            devices=(stranger,),
        )
        units = describe_units(Host(units=(unit,), tables=(("DMAR", table),)))
        assert units.views[0].firmware == units.firmware[0]
        assert [each.code for each in units.findings] == ["coverage-differs"]
        assert str(stranger) in units.findings[0].evidence[0]

    def test_amd_units_are_those_of_the_table_by_order(self) -> None:
        blocks = tuple(Ivhd(type=0x11, device_id=each, base=0x1000 * each) for each in (1, 2))
        kernel = tuple(
            IommuUnit(name=f"ivhd{each}", kind=IommuKind.AMD, registers=(("cap", 1),)) for each in range(3)
        )
        views = describe_units(Host(units=kernel, tables=(("IVRS", Ivrs(blocks=blocks).to_bytes()),))).views
        assert [view.firmware and view.firmware.base for view in views] == [0x1000, 0x2000, None]

    def test_an_odd_table_is_used_and_reported(self) -> None:
        data = bytearray(Dmar(structures=(Drhd(base=0x1000),)).to_bytes())
        data[9] ^= 0xFF
        units = describe_units(Host(tables=(("DMAR", bytes(data)),)))
        assert [each.code for each in units.findings] == ["table-odd"]
        assert len(units.firmware) == 1

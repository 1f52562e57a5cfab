"""Capability registers: values from machines and from QEMU, against what kernel and QEMU say they mean."""

import pytest

from vfiokit.address import PageSize
from vfiokit.bits import Field
from vfiokit.errors import UsageError
from vfiokit.translation.capabilities import (
    AMD_CAPABILITY_HEADER,
    AMD_EFR,
    AMD_EFR2,
    VTD_CAP,
    VTD_ECAP,
    VTD_VER,
    AmdCapabilities,
    VtdCapabilities,
    decode,
    parse_amd_features,
    parse_register,
    parse_vtd_version,
)

TABLES = {
    "VER": (VTD_VER, 32),
    "CAP": (VTD_CAP, 64),
    "ECAP": (VTD_ECAP, 64),
    "header": (AMD_CAPABILITY_HEADER, 32),
    "EFR": (AMD_EFR, 64),
    "EFR2": (AMD_EFR2, 64),
}


class TestRows:
    @pytest.mark.parametrize("name", TABLES)
    def test_stand_in_order_and_do_not_overlap(self, name: str) -> None:
        rows, width = TABLES[name]
        ends = [0, *(row.low + row.width for row in rows)]
        assert all(row.low >= end for row, end in zip(rows, ends, strict=False))
        assert ends[-1] <= width

    @pytest.mark.parametrize("name", TABLES)
    def test_every_row_has_a_meaning(self, name: str) -> None:
        assert all(row.meaning for row in TABLES[name][0])

    @pytest.mark.parametrize("tables", [("CAP", "ECAP"), ("header", "EFR", "EFR2")])
    def test_no_name_is_in_two_registers_of_one_unit(self, tables: tuple[str, ...]) -> None:
        found = [row.name for name in tables for row in TABLES[name][0]]
        assert len(found) == len(set(found))


DEFAULT_CAP, DEFAULT_ECAP = 0x00D2008C222F0606, 0x0000000000F00F4A


def changed(rows: tuple[Field, ...], before: int, after: int) -> dict[str, int]:
    """Return what *after* says of the fields in which it differs."""
    old, new = decode(rows, before), decode(rows, after)
    return {name: content for name, content in new.items() if content != old[name]}


class TestVtdRegisters:
    """Registers read from QEMU 10.0.2's intel-iommu, one option changed at a time."""

    @pytest.mark.parametrize("bit", range(64))
    def test_one_field_is_that_of_all(self, bit: int) -> None:
        for unit in (VtdCapabilities(cap=1 << bit, ecap=0), VtdCapabilities(cap=0, ecap=1 << bit)):
            assert {name: unit.field(name) for name in unit.fields} == unit.fields

    def test_no_field_of_another_register(self) -> None:
        with pytest.raises(KeyError, match="NumIntRemapSup"):
            VtdCapabilities(cap=0, ecap=0).field("NumIntRemapSup")

    def test_default_cap(self) -> None:
        assert {name: content for name, content in decode(VTD_CAP, DEFAULT_CAP).items() if content} == {
            "ND": 6,
            "SAGAW": 6,
            "MGAW": 47,
            "FRO": 0x22,
            "SSLPS": 3,
            "PSI": 1,
            "MAMV": 18,
            "DWD": 1,
            "DRD": 1,
        }

    def test_default_ecap(self) -> None:
        assert {name: content for name, content in decode(VTD_ECAP, DEFAULT_ECAP).items() if content} == {
            "QI": 1,
            "IR": 1,
            "PT": 1,
            "IRO": 0xF,
            "MHMV": 0xF,
        }

    @pytest.mark.parametrize(
        ("cap", "fields"),
        [
            (0x00D2008C22260206, {"SAGAW": 2, "MGAW": 38}),
            (0x00D2008C222F0686, {"CM": 1}),
            (0x01D2008C222F0606, {"FS1GP": 1}),
        ],
    )
    def test_options_that_change_cap(self, cap: int, fields: dict[str, int]) -> None:
        assert changed(VTD_CAP, DEFAULT_CAP, cap) == fields

    @pytest.mark.parametrize(
        ("ecap", "fields"),
        [
            (0x0000000000F00F0A, {"PT": 0}),
            (0x0000000000F00FCE, {"SC": 1, "DT": 1}),
            (0x0000480080F00F4A, {"SRS": 1, "SMTS": 1, "SSTS": 1}),
            (0x0000880000F00F4A, {"SMTS": 1, "FSTS": 1}),
            (0x0000490080F00F4A, {"SRS": 1, "SMTS": 1, "SSTS": 1, "PASID": 1}),
        ],
    )
    def test_options_that_change_ecap(self, ecap: int, fields: dict[str, int]) -> None:
        assert changed(VTD_ECAP, DEFAULT_ECAP, ecap) == fields


def vtd(cap: int = DEFAULT_CAP, ecap: int = DEFAULT_ECAP) -> VtdCapabilities:
    return VtdCapabilities(cap=cap, ecap=ecap)


class TestVtdMeaning:
    @pytest.mark.parametrize(
        ("sagaw", "levels"),
        [(0b00010, (3,)), (0b00100, (4,)), (0b00110, (3, 4)), (0b01100, (4, 5)), (0, ())],
    )
    def test_page_table_levels(self, sagaw: int, levels: tuple[int, ...]) -> None:
        assert vtd(cap=sagaw << 8).page_table_levels == levels

    @pytest.mark.parametrize(("mgaw", "bits"), [(38, 39), (47, 48), (56, 57), (63, 64)])
    def test_guest_address_width(self, mgaw: int, bits: int) -> None:
        assert vtd(cap=mgaw << 16).guest_address_width == bits

    @pytest.mark.parametrize(("nd", "domains"), [(0, 16), (2, 256), (6, 65536)])
    def test_number_of_domains(self, nd: int, domains: int) -> None:
        assert vtd(cap=nd).number_of_domains == domains

    @pytest.mark.parametrize(
        ("sslps", "sizes"),
        [
            (0, (PageSize.SIZE_4K,)),
            (1, (PageSize.SIZE_4K, PageSize.SIZE_2M)),
            (3, (PageSize.SIZE_4K, PageSize.SIZE_2M, PageSize.SIZE_1G)),
        ],
    )
    def test_page_sizes(self, sslps: int, sizes: tuple[PageSize, ...]) -> None:
        assert vtd(cap=sslps << 34).second_stage_page_sizes == sizes

    def test_register_offsets_are_in_sixteen_bytes(self) -> None:
        assert (vtd().fault_recording_offset, vtd().iotlb_offset) == (0x220, 0xF0)

    def test_there_is_one_fault_record_more_than_said(self) -> None:
        assert vtd(cap=7 << 40).number_of_fault_records == 8

    @pytest.mark.parametrize(("ecap", "bits"), [(0, 0), (19 << 35, 0), (19 << 35 | 1 << 40, 20)])
    def test_pasid_bits(self, ecap: int, bits: int) -> None:
        assert vtd(ecap=ecap).pasid_bits == bits

    @pytest.mark.parametrize(
        ("bits", "first", "second", "nested"),
        [
            ((), False, True, False),
            ((47,), False, True, False),
            ((26,), False, True, False),
            ((43,), False, False, False),
            ((43, 46), False, True, False),
            ((43, 47), True, False, False),
            ((43, 46, 47, 26), True, True, True),
        ],
    )
    def test_stages(self, bits: tuple[int, ...], first: bool, second: bool, nested: bool) -> None:
        unit = vtd(ecap=sum(1 << bit for bit in bits))
        assert (unit.first_stage, unit.second_stage, unit.nested) == (first, second, nested)

    @pytest.mark.parametrize(
        ("name", "bit"),
        [
            ("coherent_walks", 0),
            ("queued_invalidation", 1),
            ("device_iotlb", 2),
            ("interrupt_remapping", 3),
            ("pass_through", 6),
            ("snoop_control", 7),
            ("scalable_mode", 43),
        ],
    )
    def test_single_bits_of_ecap(self, name: str, bit: int) -> None:
        every = (1 << 64) - 1
        assert [getattr(vtd(ecap=value), name) for value in (1 << bit, every ^ 1 << bit)] == [True, False]

    @pytest.mark.parametrize(("name", "bit"), [("caching_mode", 7), ("posted_interrupts", 59)])
    def test_single_bits_of_cap(self, name: str, bit: int) -> None:
        every = (1 << 64) - 1
        assert [getattr(vtd(cap=value), name) for value in (1 << bit, every ^ 1 << bit)] == [True, False]

    def test_a_real_client_s_unit(self) -> None:
        # As a kernel log printed it, below "Host address width 39".
        unit = vtd(cap=0xD2008C40660462, ecap=0xF050DA)
        assert (unit.guest_address_width, unit.page_table_levels, unit.coherent_walks) == (39, (4,), False)


LINUX_FEATURE_NAMES = {
    "PPR": "PPRSup",
    "X2APIC": "XTSup",
    "NX": "NXSup",
    "GT": "GTSup",
    "IA": "IASup",
    "GA": "GASup",
    "HE": "HESup",
    "PC": "PCSup",
    "GA_vAPIC": "GAMSup",
}


class TestAmd:
    @pytest.mark.parametrize(
        ("efr", "said"),
        [
            (0x206D73EF22254ADE, "PPR X2APIC NX GT IA GA PC GA_vAPIC"),
            (0x4F77EF22294ADA, "PPR NX GT IA GA PC GA_vAPIC"),
        ],
    )
    def test_features_as_kernel_logs_name_them(self, efr: int, said: str) -> None:
        fields = decode(AMD_EFR, efr)
        assert [word for word, name in LINUX_FEATURE_NAMES.items() if fields[name]] == said.split()

    @pytest.mark.parametrize(("hats", "levels"), [(0, 4), (1, 5), (2, 6), (3, None)])
    def test_host_levels(self, hats: int, levels: int | None) -> None:
        assert AmdCapabilities(cap=0, efr=hats << 10).host_translation_levels == levels

    @pytest.mark.parametrize(
        ("efr", "levels"), [(1 << 4, 4), (1 << 4 | 1 << 12, 5), (1 << 4 | 3 << 12, None), (1 << 12, None)]
    )
    def test_guest_levels(self, efr: int, levels: int | None) -> None:
        assert AmdCapabilities(cap=0, efr=efr).guest_translation_levels == levels

    @pytest.mark.parametrize(("efr", "bits"), [(15 << 32, 0), (15 << 32 | 1 << 4, 16)])
    def test_pasid_bits(self, efr: int, bits: int) -> None:
        assert AmdCapabilities(cap=0, efr=efr).pasid_bits == bits

    @pytest.mark.parametrize(
        ("name", "bit"),
        [
            ("page_requests", 1),
            ("x2apic", 2),
            ("guest_translation", 4),
            ("guest_virtual_apic", 7),
            ("host_access_tracking", 49),
            ("host_dirty_tracking", 52),
            ("secure_nested_paging", 63),
        ],
    )
    def test_single_bits_of_efr(self, name: str, bit: int) -> None:
        every = (1 << 64) - 1
        units = [AmdCapabilities(cap=0, efr=value) for value in (1 << bit, every ^ 1 << bit)]
        assert [getattr(unit, name) for unit in units] == [True, False]

    @pytest.mark.parametrize(("cap", "there"), [(1 << 24, True), (0xFFFFFFFF ^ 1 << 24, False)])
    def test_device_iotlb(self, cap: int, there: bool) -> None:
        assert AmdCapabilities(cap=cap).device_iotlb == there

    @pytest.mark.parametrize(("name", "efr2"), [("SNPAVICSup", 1 << 5), ("NumIntRemapSup", 1 << 8)])
    def test_second_features(self, name: str, efr2: int) -> None:
        assert AmdCapabilities(cap=0, efr2=efr2).fields[name] == 1

    def test_domains(self) -> None:
        assert AmdCapabilities(cap=0).number_of_domains == 65536


class TestSysfsText:
    @pytest.mark.parametrize(
        ("text", "value"), [("d2008c222f0606\n", 0xD2008C222F0606), ("0", 0), (" fF \n", 255)]
    )
    def test_register(self, text: str, value: int) -> None:
        assert parse_register(text) == value

    @pytest.mark.parametrize("text", ["", "0x10", "-1", "1_0", "g", "1 2", "\u0661"])
    def test_no_register(self, text: str) -> None:
        with pytest.raises(UsageError, match="register"):
            parse_register(text)

    @pytest.mark.parametrize(("text", "value"), [("1:0\n", 0x10), ("4:2", 0x42), ("15:15", 0xFF)])
    def test_version(self, text: str, value: int) -> None:
        assert parse_vtd_version(text) == value

    @pytest.mark.parametrize("text", ["", "1", "1:", ":0", "16:0", "1:0:0", "a:0", "1:\u00b2"])
    def test_no_version(self, text: str) -> None:
        with pytest.raises(UsageError, match="version"):
            parse_vtd_version(text)

    @pytest.mark.parametrize(
        ("text", "registers"),
        [
            ("4f77ef22294ada\n", (0x4F77EF22294ADA, 0)),
            ("0:4f77ef22294ada\n", (0x4F77EF22294ADA, 0)),
            ("246577efa2254afa:10\n", (0x246577EFA2254AFA, 0x10)),
            ("10:246577efa2254afa\n", (0x246577EFA2254AFA, 0x10)),
            ("29d3:0\n", (0x29D3, 0)),
        ],
    )
    def test_features_in_either_order(self, text: str, registers: tuple[int, int]) -> None:
        assert parse_amd_features(text) == registers

    @pytest.mark.parametrize("text", ["", "1:2:3", "1:", "x:1"])
    def test_no_features(self, text: str) -> None:
        with pytest.raises(UsageError, match="register"):
            parse_amd_features(text)

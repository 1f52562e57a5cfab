"""Each family of quirk rows, and each way in which a row can refuse to speak."""

import pytest

from vfiokit.model.device import PortType
from vfiokit.pci.acs_bits import NO_BITS, REQUIRED_FOR_GROUPING, AcsBit, acs_names
from vfiokit.pci.quirk_alias_rows import ATTRIBUTE_RULES, BRIDGE_QUIRKS, DMA_ALIAS_QUIRKS
from vfiokit.pci.quirk_model import AcsFacts, AcsIdentity, AliasShape, BridgeFlag, Verdict, device_text, span
from vfiokit.pci.quirk_rows import ACS_ENABLE_QUIRKS, ACS_QUIRKS, ACS_RULES, IGNORED_ACS
from vfiokit.pci.quirks import (
    acs_enable_quirk,
    acs_quirk,
    acs_quirks,
    bridge_alias,
    bridge_flags,
    dma_alias_devfns,
    dma_alias_quirks,
    ignored_acs,
)

ROOT_PORT = PortType.ROOT_PORT
REQUIRED = int(REQUIRED_FOR_GROUPING)
BRIDGE_OTHER = 0x068000


def verdict(identity: AcsIdentity, wanted: int = REQUIRED, facts: AcsFacts = AcsFacts()) -> Verdict:  # noqa: B008
    """Ask the rows as the kernel does: the first that speaks decides."""
    answers = (quirk.verdict(identity, wanted, facts) for quirk in acs_quirks(identity))
    return next(
        (answer for answer in answers if answer is not Verdict.NOT_APPLICABLE), Verdict.NOT_APPLICABLE
    )


def test_the_four_bits_of_grouping() -> None:
    assert REQUIRED == 0x1D
    assert acs_names(0xFFFF) == (
        "SV", "TB", "RR", "CR", "UF", "EC", "DT", "IORB", "DSP-MT", "USP-MT", "URRC",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("vendor", "device", "port_type"),
    [
        (0x1924, 0x0923, PortType.ENDPOINT),
        (0x8086, 0x10FB, PortType.ENDPOINT),
        (0x8086, 0x1521, PortType.ENDPOINT),
        (0x8086, 0x15B8, None),
        (0x17CB, 0x0120, ROOT_PORT),
        (0x1DBF, 0x0401, ROOT_PORT),
        (0x19A2, 0x0710, PortType.ENDPOINT),
        (0x10DF, 0x0720, PortType.ENDPOINT),
        (0x177D, 0xA7FF, ROOT_PORT),
        (0x177D, 0xB884, ROOT_PORT),
        (0x177D, 0xA059, PortType.ENDPOINT),
        (0x10E8, 0xE004, ROOT_PORT),
        (0x1DEF, 0xE00C, ROOT_PORT),
        (0x14E4, 0x1763, PortType.ENDPOINT),
        (0x14E4, 0xD714, ROOT_PORT),
        (0x0014, 0x7A69, ROOT_PORT),
        (0x0014, 0x3C19, ROOT_PORT),
        (0x1C36, 0x0031, ROOT_PORT),
        (0x1D17, 0x3104, PortType.ENDPOINT),
        (0x1957, 0x8D9B, ROOT_PORT),
        (0x1957, 0x8DB9, ROOT_PORT),
        (0x1D17, 0x0752, PortType.DOWNSTREAM_PORT),
        (0x8088, 0x010F, PortType.ENDPOINT),
        (0x8088, 0x5140, PortType.ENDPOINT),
    ],
)
def test_granted_by_identity(vendor: int, device: int, port_type: int | None) -> None:
    assert verdict(AcsIdentity(vendor, device, port_type)) is Verdict.ENABLED


@pytest.mark.parametrize(
    ("vendor", "device", "port_type"),
    [
        (0x1924, 0x0803, PortType.ENDPOINT),
        (0x8086, 0x1528, PortType.ENDPOINT),
        (0x177D, 0xA000, PortType.ENDPOINT),
        (0x177D, 0xA800, ROOT_PORT),
        (0x1C36, 0x0031, PortType.ENDPOINT),
        (0x1C36, 0x0031, None),
        (0x0014, 0x7A79, ROOT_PORT),
        (0x1957, 0x8DA2, ROOT_PORT),
        (0x1D17, 0x0722, PortType.ENDPOINT),
        (0x1D17, 0x0752, None),
        (0x8086, 0x9D10, PortType.DOWNSTREAM_PORT),
        (0x8086, 0x1D11, ROOT_PORT),
    ],
)
def test_left_to_the_registers(vendor: int, device: int, port_type: int | None) -> None:
    assert verdict(AcsIdentity(vendor, device, port_type)) is Verdict.NOT_APPLICABLE
    assert acs_quirk(AcsIdentity(vendor, device, port_type)) is None


@pytest.mark.parametrize(
    "identity",
    [AcsIdentity(0x1D17, 0x0722, ROOT_PORT), AcsIdentity(0x8088, 0x5000, PortType.ENDPOINT)],
    ids=["Zhaoxin port not in the list", "Wangxun device not in the list"],
)
def test_refused_whatever_the_registers_say(identity: AcsIdentity) -> None:
    assert verdict(identity) is Verdict.NOT_ENABLED
    assert verdict(identity, 0) is Verdict.NOT_ENABLED


def test_a_multifunction_endpoint_does_not_vouch_for_egress_control() -> None:
    quirked = AcsIdentity(0x8086, 0x10FB, PortType.ENDPOINT, multifunction=True)
    assert verdict(quirked, REQUIRED | AcsBit.TB | AcsBit.DT) is Verdict.ENABLED
    assert verdict(quirked, REQUIRED | AcsBit.EC) is Verdict.NOT_ENABLED


def test_every_intel_integrated_endpoint() -> None:
    endpoint = AcsIdentity(0x8086, 0x1234, PortType.RC_INTEGRATED_ENDPOINT, multifunction=True)
    assert verdict(endpoint) is Verdict.ENABLED
    assert verdict(endpoint, REQUIRED | AcsBit.DT) is Verdict.NOT_ENABLED
    assert verdict(endpoint._replace(port_type=PortType.ENDPOINT)) is Verdict.NOT_APPLICABLE
    assert verdict(endpoint._replace(vendor=0x1022)) is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("has_ivrs", "expected"),
    [(True, Verdict.ENABLED), (False, Verdict.NOT_APPLICABLE), (None, Verdict.UNKNOWN)],
)
def test_amd_southbridge_rests_on_ivrs(has_ivrs: bool | None, expected: Verdict) -> None:
    function = AcsIdentity(0x1002, 0x4385, None, multifunction=True, on_root_bus=True)
    assert verdict(function, facts=AcsFacts(has_ivrs=has_ivrs)) is expected


def test_amd_southbridge_only_on_the_root_bus_and_of_several_functions() -> None:
    facts = AcsFacts(has_ivrs=True)
    bridge = AcsIdentity(0x1022, 0x780F, None, multifunction=True, on_root_bus=True)
    assert verdict(bridge, facts=facts) is Verdict.ENABLED
    assert verdict(bridge, REQUIRED | AcsBit.DT, facts) is Verdict.NOT_ENABLED
    assert verdict(bridge, REQUIRED | AcsBit.TB, facts) is Verdict.ENABLED
    assert verdict(bridge._replace(multifunction=False), facts=facts) is Verdict.NOT_APPLICABLE
    assert verdict(bridge._replace(on_root_bus=False), facts=facts) is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("done", "expected"),
    [(True, Verdict.ENABLED), (False, Verdict.NOT_ENABLED), (None, Verdict.UNKNOWN)],
)
@pytest.mark.parametrize("device", [0x3B42, 0x1C1F, 0x8C9E, 0x1D1E, 0x9C9B])
def test_old_intel_chipsets_rest_on_what_the_kernel_did(
    device: int, done: bool | None, expected: Verdict
) -> None:
    port = AcsIdentity(0x8086, device, ROOT_PORT, multifunction=True)
    assert verdict(port, facts=AcsFacts(pch_workaround=done)) is expected
    assert verdict(port, 0, AcsFacts(pch_workaround=done)) is Verdict.ENABLED
    assert verdict(port, AcsBit.TB, AcsFacts(pch_workaround=done)) is Verdict.NOT_ENABLED
    enabling = acs_enable_quirk(port)
    assert enabling is not None
    assert enabling.enables == REQUIRED_FOR_GROUPING


@pytest.mark.parametrize(
    ("capability", "control", "expected"),
    [
        (0x1F, 0x1D, Verdict.ENABLED),
        (0x1F, 0x1C, Verdict.NOT_ENABLED),
        (0x05, 0x05, Verdict.ENABLED),
        (0x00, 0x00, Verdict.ENABLED),
        (0x1F, None, Verdict.UNKNOWN),
        (None, 0x1D, Verdict.UNKNOWN),
    ],
)
def test_sunrise_point_reads_the_wide_control_register(
    capability: int | None, control: int | None, expected: Verdict
) -> None:
    port = AcsIdentity(0x8086, 0xA110, ROOT_PORT)
    assert verdict(port, facts=AcsFacts(True, capability, control)) is expected
    assert verdict(port, AcsBit.EC, AcsFacts(True, 0, 0)) is Verdict.NOT_ENABLED


def test_sunrise_point_without_the_capability() -> None:
    port = AcsIdentity(0x8086, 0xA2EE, ROOT_PORT)
    assert verdict(port, facts=AcsFacts(has_acs=False)) is Verdict.NOT_APPLICABLE
    assert verdict(port) is Verdict.UNKNOWN
    enabling = acs_enable_quirk(port)
    assert enabling is not None
    assert enabling.enables_if_untrusted == AcsBit.TB


def test_a_row_asked_about_another_device_is_silent() -> None:
    quirk = acs_quirk(AcsIdentity(0x8086, 0x10FB))
    assert quirk is not None
    assert quirk.verdict(AcsIdentity(0x8086, 0x1528), REQUIRED) is Verdict.NOT_APPLICABLE
    assert quirk.source == "pci_quirk_mf_endpoint_acs, drivers/pci/quirks.c, Linux 6.1 or earlier"


def test_nothing_is_enabled_for_standard_ports() -> None:
    assert acs_enable_quirk(AcsIdentity(0x8086, 0xA110, PortType.ENDPOINT)) is None
    assert acs_enable_quirk(AcsIdentity(0x1022, 0xA110, ROOT_PORT)) is None


def test_source_validation_of_idt_switches_is_ignored() -> None:
    assert ignored_acs(AcsIdentity(0x111D, 0x80B5, PortType.DOWNSTREAM_PORT)) == AcsBit.SV
    assert ignored_acs(AcsIdentity(0x111D, 0x8090)) == AcsBit.SV
    assert ignored_acs(AcsIdentity(0x111D, 0x808F)) == NO_BITS
    assert ignored_acs(AcsIdentity(0x8086, 0x8090)) == NO_BITS


@pytest.mark.parametrize(
    ("vendor", "device", "devfn", "expected"),
    [
        (0x1180, 0xE832, 0x03, (0x00,)),
        (0x1180, 0xE476, 0x08, ()),
        (0x6766, 0x3D41, 0x09, (0x08,)),
        (0x1B4B, 0x9123, 0x00, (0x01,)),
        (0x1B4B, 0x9123, 0x01, ()),
        (0x1103, 0x0642, 0x10, (0x11,)),
        (0x197B, 0x2392, 0x02, (0x01,)),
        (0x1C28, 0x0122, 0x00, (0x01,)),
        (0x8086, 0x2260, 0x00, (0x80, 0x88, 0x93)),
        (0x10B5, 0x87B1, 0x00, tuple(range(256))),
        (0x10B5, 0x8747, 0x00, ()),
    ],
)
def test_aliases(vendor: int, device: int, devfn: int, expected: tuple[int, ...]) -> None:
    assert dma_alias_devfns(vendor, device, 0x010601, devfn) == expected


def test_the_accelerator_takes_five_functions_of_every_slot() -> None:
    devfns = dma_alias_devfns(0x8086, 0x2958, 0x068000, 0)
    assert devfns == tuple(devfn for devfn in range(256) if devfn & 7 < 5)


@pytest.mark.parametrize(
    ("subsystem", "expected"),
    [((0x9005, 0x02BB), (0x08,)), ((0x9005, 0x02BC), (0x08,)), ((0x9005, 0x02BD), ()), (None, None)],
)
def test_adaptec_rests_on_the_board(
    subsystem: tuple[int, int] | None, expected: tuple[int, ...] | None
) -> None:
    assert dma_alias_devfns(0x9005, 0x0285, 0x010400, 0x70, subsystem=subsystem) == expected


@pytest.mark.parametrize(
    ("vendor", "device"), [(0x11F8, 0x8536), (0x11F8, 0x4528), (0x11F8, 0x5000), (0x1055, 0x1008)]
)
def test_switchtec_proxies_are_unknown_and_only_for_the_ntb_function(vendor: int, device: int) -> None:
    assert dma_alias_devfns(vendor, device, BRIDGE_OTHER, 1) is None
    assert dma_alias_devfns(vendor, device, 0x058000, 0) == ()
    (row,) = dma_alias_quirks(vendor, device, BRIDGE_OTHER)
    assert row.phase == "final"


@pytest.mark.parametrize(
    ("vendor", "device", "flag"),
    [
        (0x1B21, 0x1080, BridgeFlag.PCIE_BRIDGE_ALIAS),
        (0x10E3, 0x8113, BridgeFlag.PCIE_BRIDGE_ALIAS),
        (0x1283, 0x8893, BridgeFlag.PCIE_BRIDGE_ALIAS),
        (0x8086, 0x244E, BridgeFlag.PCIE_BRIDGE_ALIAS),
        (0x14E4, 0x9084, BridgeFlag.BRIDGE_XLATE_ROOT),
        (0x1A03, 0x1150, BridgeFlag.PCI_BRIDGE_NO_ALIAS),
    ],
)
def test_bridges(vendor: int, device: int, flag: BridgeFlag) -> None:
    row = bridge_alias(vendor, device)
    assert row is not None
    assert row.flag is flag
    assert bridge_flags(vendor, device) == {flag}


def test_an_ordinary_bridge() -> None:
    assert bridge_alias(0x8086, 0x2448) is None
    assert bridge_flags(0x8086, 0x2448) == frozenset()


def test_newer_rows_say_since_when() -> None:
    assert [row.since for row in IGNORED_ACS] == ["after 6.12"]
    newer = [row.function for row in BRIDGE_QUIRKS if row.since == "after 6.12"]
    assert newer == ["quirk_aspeed_pci_bridge_no_alias"]


def test_devices_are_written_for_people() -> None:
    assert device_text(()) == "any"
    assert device_text((0x31, span(0x1D10, 0x1D1E, 2), span(0xA000, 0xA7FF))) == (
        "0031, 1d10-1d1e step 2, a000-a7ff"
    )


def test_every_row_reads() -> None:
    assert all(rule.function.startswith("pci_quirk_") and rule.why for rule in ACS_RULES)
    assert all(quirk.subject and quirk.rule in ACS_RULES for quirk in ACS_QUIRKS)
    assert {quirk.rule for quirk in ACS_QUIRKS} == set(ACS_RULES)
    assert all(row.where and row.visible for row in ACS_ENABLE_QUIRKS)
    assert all(row.subject and row.function and row.why for row in DMA_ALIAS_QUIRKS)
    assert all(row.subject and row.function and row.why for row in BRIDGE_QUIRKS)
    assert all(len(rule) == 3 and all(rule) for rule in ATTRIBUTE_RULES)
    assert {row.shape for row in DMA_ALIAS_QUIRKS} == set(AliasShape)
    assert {row.flag for row in BRIDGE_QUIRKS} == set(BridgeFlag)

"""The ACS quirks of Linux as rows, in the order in which the kernel tries them.

Read from drivers/pci/quirks.c of Linux 6.1, 6.12 and 7.3; a row says so where not all three have it.
"""

from vfiokit.model.device import PortType
from vfiokit.pci.acs_bits import REQUIRED_FOR_GROUPING, AcsBit
from vfiokit.pci.quirk_model import (
    AcsCondition,
    AcsEnableQuirk,
    AcsQuirk,
    AcsRule,
    Devices,
    IgnoredAcs,
    Verdict,
    span,
)

__all__ = ["ACS_ENABLE_QUIRKS", "ACS_QUIRKS", "ACS_RULES", "IGNORED_ACS"]

PCI_VENDOR_ID_LOONGSON = 0x0014
PCI_VENDOR_ID_ATI = 0x1002
PCI_VENDOR_ID_AMD = 0x1022
PCI_VENDOR_ID_EMULEX = 0x10DF
PCI_VENDOR_ID_AMCC = 0x10E8
PCI_VENDOR_ID_IDT = 0x111D
PCI_VENDOR_ID_BROADCOM = 0x14E4
PCI_VENDOR_ID_CAVIUM = 0x177D
PCI_VENDOR_ID_QCOM = 0x17CB
PCI_VENDOR_ID_SOLARFLARE = 0x1924
PCI_VENDOR_ID_NXP = 0x1957
PCI_VENDOR_ID_SERVERENGINES = 0x19A2
PCI_VENDOR_ID_AMAZON_ANNAPURNA_LABS = 0x1C36
PCI_VENDOR_ID_ZHAOXIN = 0x1D17
PCI_VENDOR_ID_HXT = 0x1DBF
PCI_VENDOR_ID_AMPERE = 0x1DEF
PCI_VENDOR_ID_INTEL = 0x8086
PCI_VENDOR_ID_WANGXUN = 0x8088

_MULTIFUNCTION_BITS = AcsBit.RR | AcsBit.CR | AcsBit.EC | AcsBit.DT

_ANY: Devices = ()

_INTEL_PCH: Devices = (
    span(0x3B42, 0x3B51),  # Ibex Peak
    span(0x1C10, 0x1C1F),  # Cougar Point
    span(0x1E10, 0x1E1F),  # Panther Point
    span(0x8C10, 0x8C1F),  # Lynx Point-H
    span(0x9C10, 0x9C1B),  # Lynx Point-LP
    span(0x9C90, 0x9C9B),  # Wildcat Point
    span(0x1D10, 0x1D1E, 2),  # Patsburg
    span(0x8D10, 0x8D1E),  # Wellsburg
    span(0x8C90, 0x8C9E, 2),  # Lynx Point, 9 series
)

_INTEL_SPT_PCH: Devices = (
    span(0xA110, 0xA11F),  # Sunrise Point-H
    span(0xA167, 0xA16A),
    span(0xA290, 0xA29F),  # Union Point
    span(0xA2E7, 0xA2EE),
    span(0x9D10, 0x9D1B),  # 7th and 8th generation mobile
)

_AMD_SB = AcsRule(
    function="pci_quirk_amd_sb_acs",
    why="southbridge functions send everything upstream where an AMD IOMMU is present (stated by AMD)",
    granted=AcsBit.RR | AcsBit.CR,
    considered=_MULTIFUNCTION_BITS,
    condition=AcsCondition.IVRS_PRESENT,
)
_MF_ENDPOINT = AcsRule(
    function="pci_quirk_mf_endpoint_acs",
    why="the vendor has confirmed that its functions do no peer-to-peer among themselves",
    granted=AcsBit.SV | AcsBit.TB | AcsBit.RR | AcsBit.CR | AcsBit.UF | AcsBit.DT,
)
_RCIEP = AcsRule(
    function="pci_quirk_rciep_acs",
    why="integrated endpoints may do peer-to-peer on translated addresses alone (VT-d 3.1, 3.16)",
    granted=REQUIRED_FOR_GROUPING,
    port_types=(PortType.RC_INTEGRATED_ENDPOINT,),
)
_QCOM_RP = AcsRule(
    function="pci_quirk_qcom_rp_acs",
    why="each root port is a root complex with its own segment and ends every transaction itself",
    granted=REQUIRED_FOR_GROUPING,
)
_INTEL_PCH_RULE = AcsRule(
    function="pci_quirk_intel_pch_acs",
    why="these root ports have no ACS capability, but chipset registers that keep peers apart",
    granted=REQUIRED_FOR_GROUPING,
    condition=AcsCondition.PCH_WORKAROUND,
    port_types=(PortType.ROOT_PORT,),
    devices=_INTEL_PCH,
)
_INTEL_SPT_PCH_RULE = AcsRule(
    function="pci_quirk_intel_spt_pch_acs",
    why="the ACS registers are 32 bits wide, so Control is at capability + 8 (errata 23 and 22)",
    condition=AcsCondition.DWORD_REGISTERS,
    port_types=(PortType.ROOT_PORT,),
    devices=_INTEL_SPT_PCH,
)
_CAVIUM = AcsRule(
    function="pci_quirk_cavium_acs",
    why="root ports without an ACS capability whose logic works as if these controls were on",
    granted=REQUIRED_FOR_GROUPING,
    port_types=(PortType.ROOT_PORT,),
    devices=(span(0xA000, 0xA7FF), 0xAF84, 0xB884),
)
_XGENE = AcsRule(
    function="pci_quirk_xgene_acs",
    why="the root ports let no peer-to-peer transaction through",
    granted=REQUIRED_FOR_GROUPING,
)
_BRCM = AcsRule(
    function="pci_quirk_brcm_acs",
    why="iProc PAXB root ports have no ACS capability and let nothing through to another root port",
    granted=REQUIRED_FOR_GROUPING,
)
_LOONGSON = AcsRule(
    function="pci_quirk_loongson_acs",
    why="the root ports have no ACS capability and let nothing through to another root port",
    granted=REQUIRED_FOR_GROUPING,
)
_AL = AcsRule(
    function="pci_quirk_al_acs",
    why="each root port has its own segment and cannot send to another",
    granted=REQUIRED_FOR_GROUPING,
    port_types=(PortType.ROOT_PORT,),
)
_NXP_RP = AcsRule(
    function="pci_quirk_nxp_rp_acs",
    why="each root port has its own segment and checks bus numbers, without an ACS capability",
    granted=REQUIRED_FOR_GROUPING,
)
_ZHAOXIN_PORTS = AcsRule(
    function="pci_quirk_zhaoxin_pcie_ports_acs",
    why="ports without an ACS capability that block peer-to-peer; ports not listed count as not isolated",
    granted=REQUIRED_FOR_GROUPING,
    port_types=(PortType.ROOT_PORT, PortType.DOWNSTREAM_PORT),
    devices=(span(0x0710, 0x071E), 0x0721, span(0x0723, 0x0752)),
    otherwise=Verdict.NOT_ENABLED,
)
_WANGXUN = AcsRule(
    function="pci_quirk_wangxun_nic_acs",
    why="traffic between functions goes upstream; devices not listed count as not isolated",
    granted=REQUIRED_FOR_GROUPING,
    devices=(span(0x0100, 0x010F), 0x1001, 0x2001, 0x5010, 0x5025, 0x5040, 0x5110, 0x5125, 0x5140),
    otherwise=Verdict.NOT_ENABLED,
)

ACS_RULES = (
    _AMD_SB,
    _MF_ENDPOINT,
    _RCIEP,
    _QCOM_RP,
    _INTEL_PCH_RULE,
    _INTEL_SPT_PCH_RULE,
    _CAVIUM,
    _XGENE,
    _BRCM,
    _LOONGSON,
    _AL,
    _NXP_RP,
    _ZHAOXIN_PORTS,
    _WANGXUN,
)
"""Each function of the kernel's table once."""


def _rows(vendor: int, rule: AcsRule, *families: tuple[str, Devices]) -> tuple[AcsQuirk, ...]:
    return tuple(AcsQuirk(vendor, devices, subject, rule) for subject, devices in families)


ACS_QUIRKS: tuple[AcsQuirk, ...] = (
    *_rows(
        PCI_VENDOR_ID_ATI,
        _AMD_SB,
        (
            "SBx00 southbridge: SMBus, IDE, HD Audio, LPC, PCI bridge, OHCI",
            (0x4385, 0x439C, 0x4383, 0x439D, 0x4384, 0x4399),
        ),
    ),
    *_rows(PCI_VENDOR_ID_AMD, _AMD_SB, ("FCH: PCI bridge, OHCI", (0x780F, 0x7809))),
    *_rows(PCI_VENDOR_ID_SOLARFLARE, _MF_ENDPOINT, ("SFC9120, SFC9140, SFC9220", (0x0903, 0x0923, 0x0A03))),
    *_rows(
        PCI_VENDOR_ID_INTEL,
        _MF_ENDPOINT,
        ("82598", (0x10C6, 0x10DB, 0x10DD, 0x10E1, 0x10F1)),
        (
            "82599 and X520",
            (span(0x10F7, 0x10FC), 0x1507, 0x1514, 0x151C, 0x1529, 0x152A, 0x154D, 0x154F, 0x1551, 0x1558),
        ),
        ("82580", (0x1509, 0x150E, 0x150F, 0x1510, 0x1511, 0x1516, 0x1527)),
        ("82576", (0x10C9, 0x10E6, 0x10E7, 0x10E8, 0x150A, 0x150D, 0x1518, 0x1526)),
        ("82575", (0x10A7, 0x10A9, 0x10D6)),
        ("I350", (span(0x1521, 0x1524),)),
        # The quad-port boards are left out: the switch on them has no ACS.
        ("82571, dual port", (0x105E, 0x105F, 0x1060, 0x10D9)),
        ("I219", (0x15B7, 0x15B8)),
    ),
    *_rows(PCI_VENDOR_ID_INTEL, _RCIEP, ("every root complex integrated endpoint", _ANY)),
    *_rows(
        PCI_VENDOR_ID_QCOM,
        _QCOM_RP,
        ("QDF2xxx root ports", (0x0400, 0x0401)),
        ("SA8775P root port", (0x0115,)),
        ("Hamoa root port", (0x0111,)),
        ("Glymur root port", (0x0120,)),
    ),
    *_rows(PCI_VENDOR_ID_HXT, _QCOM_RP, ("SD4800 root ports", (0x0401,))),
    *_rows(PCI_VENDOR_ID_INTEL, _INTEL_PCH_RULE, ("chipset root ports, Ibex Peak to 9 series", _ANY)),
    *_rows(PCI_VENDOR_ID_INTEL, _INTEL_SPT_PCH_RULE, ("chipset root ports, 100 and 200 series", _ANY)),
    *_rows(PCI_VENDOR_ID_SERVERENGINES, _MF_ENDPOINT, ("Emulex BE3-R", (0x0710,))),
    *_rows(PCI_VENDOR_ID_EMULEX, _MF_ENDPOINT, ("Emulex Skyhawk-R", (0x0720,))),
    *_rows(PCI_VENDOR_ID_CAVIUM, _CAVIUM, ("ThunderX, ThunderX2, ThunderX3 root ports", _ANY)),
    *_rows(PCI_VENDOR_ID_CAVIUM, _MF_ENDPOINT, ("ThunderX BGX, Octeon CGX, RPM", (0xA026, 0xA059, 0xA060))),
    *_rows(PCI_VENDOR_ID_AMCC, _XGENE, ("X-Gene root port", (0xE004,))),
    *_rows(PCI_VENDOR_ID_AMPERE, _XGENE, ("eMAG root ports", (span(0xE005, 0xE00C),))),
    *_rows(
        PCI_VENDOR_ID_BROADCOM,
        _MF_ENDPOINT,
        ("BCM57414", (0x16D7,)),
        ("BCM5750X", (span(0x1750, 0x1752),)),
        ("BCM5760X", (span(0x1760, 0x1763),)),
    ),
    *_rows(PCI_VENDOR_ID_BROADCOM, _BRCM, ("iProc PAXB root port", (0xD714,))),
    *_rows(
        PCI_VENDOR_ID_LOONGSON,
        _LOONGSON,
        ("root ports", (span(0x3C09, 0x3C29, 0x10), span(0x7A09, 0x7A69, 0x10))),
    ),
    *_rows(PCI_VENDOR_ID_AMAZON_ANNAPURNA_LABS, _AL, ("Annapurna Labs root port", (0x0031,))),
    *_rows(PCI_VENDOR_ID_ZHAOXIN, _MF_ENDPOINT, ("UHCI, EHCI, AHCI", (0x3038, 0x3104, 0x9083))),
    *_rows(
        PCI_VENDOR_ID_NXP,
        _NXP_RP,
        (
            "LX216x and LX208x root ports",
            tuple(span(first, first + 3) for first in (0x8D80, 0x8D88, 0x8D90, 0x8D98)),
        ),
        ("LX212x root ports", tuple(span(first, first + 1) for first in (0x8DA0, 0x8DA8, 0x8DB0, 0x8DB8))),
    ),
    *_rows(PCI_VENDOR_ID_ZHAOXIN, _ZHAOXIN_PORTS, ("root and downstream ports", _ANY)),
    *_rows(PCI_VENDOR_ID_WANGXUN, _WANGXUN, ("1G to 40G network controllers", _ANY)),
)
"""``pci_dev_acs_enabled``, families of rows in the kernel's order; the first that speaks decides."""

ACS_ENABLE_QUIRKS = (
    AcsEnableQuirk(
        vendor=PCI_VENDOR_ID_INTEL,
        devices=_INTEL_PCH,
        port_types=(PortType.ROOT_PORT,),
        subject="chipset root ports, Ibex Peak to 9 series",
        function="pci_quirk_enable_intel_pch_acs",
        enables=REQUIRED_FOR_GROUPING,
        where="UPDCR bits 5:0 cleared unless BSPR bits 9:8 forbid peer cycles (both behind RCBA, in LPC "
        "register f0); then MPC bit 26, Invalid Receive Bus Number Check Enable, set (port register d8)",
        visible="MPC bit 26 of the port; the kernel log. Linux 6.1 writes 16 bits, so it leaves that bit",
    ),
    AcsEnableQuirk(
        vendor=PCI_VENDOR_ID_INTEL,
        devices=_INTEL_SPT_PCH,
        port_types=(PortType.ROOT_PORT,),
        subject="chipset root ports, 100 and 200 series",
        function="pci_quirk_enable_intel_spt_pch_acs",
        enables=REQUIRED_FOR_GROUPING,
        enables_if_untrusted=AcsBit.TB,
        where="the bits that ACS Capability offers, set in the 32-bit ACS Control at capability + 8",
        visible="the 32 bits at the ACS capability + 8; disable_acs_redir= clears RR, CR and EC there",
    ),
)
"""``pci_dev_acs_ops``: tried in order before the standard enabling of SV, RR, CR and UF."""

IGNORED_ACS = (
    IgnoredAcs(
        vendor=PCI_VENDOR_ID_IDT,
        devices=(0x8090, 0x80B5),
        ignored=AcsBit.SV,
        subject="IDT switches",
        function="pci_disable_broken_acs_cap",
        why="the port drops completions from a device that has no bus number yet (erratum 36)",
        since="after 6.12",
    ),
)
"""Controls that Linux treats as not offered, which for grouping counts as hard-wired on."""

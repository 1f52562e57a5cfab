"""The DMA alias quirks of Linux as rows: devices whose requests carry another requester id than their own.

Read from drivers/pci/quirks.c of Linux 6.1, 6.12 and 7.3; a row says so where not all three have it.
"""

from typing import NamedTuple

from vfiokit.pci.quirk_model import AliasShape, BridgeFlag, Devices, device_in, span

__all__ = [
    "ATTRIBUTE_RULES",
    "BRIDGE_QUIRKS",
    "DMA_ALIAS_QUIRKS",
    "BridgeQuirk",
    "DmaAliasQuirk",
]

PCI_VENDOR_ID_EFAR = 0x1055
PCI_VENDOR_ID_PLX = 0x10B5
PCI_VENDOR_ID_TUNDRA = 0x10E3
PCI_VENDOR_ID_TTI = 0x1103
PCI_VENDOR_ID_RICOH = 0x1180
PCI_VENDOR_ID_MICROSEMI = 0x11F8
PCI_VENDOR_ID_ITE = 0x1283
PCI_VENDOR_ID_BROADCOM = 0x14E4
PCI_VENDOR_ID_JMICRON = 0x197B
PCI_VENDOR_ID_ASPEED = 0x1A03
PCI_VENDOR_ID_ASMEDIA = 0x1B21
PCI_VENDOR_ID_MARVELL_EXT = 0x1B4B
PCI_VENDOR_ID_LITE_ON = 0x1C28
PCI_VENDOR_ID_GLENFLY = 0x6766
PCI_VENDOR_ID_INTEL = 0x8086
PCI_VENDOR_ID_ADAPTEC2 = 0x9005

PCI_CLASS_BRIDGE_OTHER = 0x0680


class DmaAliasQuirk(NamedTuple):
    """One family of fixups that call ``pci_add_dma_alias``.

    :ivar vendor: vendor identifier.
    :ivar devices: device identifiers.
    :ivar shape: which requester ids it adds.
    :ivar subject: what the devices are.
    :ivar function: the kernel's function.
    :ivar why: what in the device makes it so.
    :ivar devfns: the numbers, for :attr:`AliasShape.FIXED`.
    :ivar boards: subsystem vendor, subsystem device and devfn of each board, for :attr:`AliasShape.BOARD`.
    :ivar class_code: base class and subclass it is limited to, 16 bits; ``None`` for all.
    :ivar phase: ``header`` before the function joins a group; ``final`` after it, when it is hot-added.
    :ivar since: the first release known to have it.
    """

    vendor: int
    devices: Devices
    shape: AliasShape
    subject: str
    function: str
    why: str
    devfns: tuple[int, ...] = ()
    boards: tuple[tuple[int, int, int], ...] = ()
    class_code: int | None = None
    phase: str = "header"
    since: str = "6.1 or earlier"

    def matches(self, vendor: int, device: int, class_code: int) -> bool:
        """Whether the fixup runs; *class_code* has 24 bits."""
        return (
            vendor == self.vendor
            and device_in(self.devices, device)
            and self.class_code in (None, class_code >> 8)
        )


class BridgeQuirk(NamedTuple):
    """A fixup that sets one of the bridge flags (``PCI_DEV_FLAG…``).

    :ivar vendor: vendor identifier.
    :ivar devices: device identifiers.
    :ivar flag: the flag it sets.
    :ivar subject: what the bridges are.
    :ivar function: the kernel's function.
    :ivar why: what the flag means for groups.
    :ivar condition: what else must hold; empty for nothing.
    :ivar since: the first release known to have it.
    """

    vendor: int
    devices: Devices
    flag: BridgeFlag
    subject: str
    function: str
    why: str
    condition: str = ""
    since: str = "6.1 or earlier"

    def matches(self, vendor: int, device: int) -> bool:
        """Whether the fixup names this bridge."""
        return vendor == self.vendor and device_in(self.devices, device)


def _devfn(device: int, function: int) -> int:
    return device << 3 | function


def _ids(words: str) -> Devices:
    return tuple(int(word, 16) for word in words.split())


def _func0(vendor: int, devices: Devices, subject: str) -> DmaAliasQuirk:
    return DmaAliasQuirk(
        vendor=vendor,
        devices=devices,
        shape=AliasShape.FUNCTION_0,
        subject=subject,
        function="quirk_dma_func0_alias",
        why="every function of the chip issues its requests as function 0",
    )


def _func1(vendor: int, devices: Devices, subject: str) -> DmaAliasQuirk:
    return DmaAliasQuirk(
        vendor=vendor,
        devices=devices,
        shape=AliasShape.FUNCTION_1,
        subject=subject,
        function="quirk_dma_func1_alias",
        why="the controller issues requests as function 1, which on some boards does not exist",
    )


def _switchtec(vendor: int, devices: Devices, subject: str, since: str = "6.1 or earlier") -> DmaAliasQuirk:
    return DmaAliasQuirk(
        vendor=vendor,
        devices=devices,
        shape=AliasShape.REGISTERS,
        class_code=PCI_CLASS_BRIDGE_OTHER,
        subject=subject,
        function="quirk_switchtec_ntb_dma_alias",
        why="requests that cross the fabric carry proxy ids from tables behind BAR 0",
        phase="final",
        since=since,
    )


DMA_ALIAS_QUIRKS: tuple[DmaAliasQuirk, ...] = (
    _func0(PCI_VENDOR_ID_RICOH, (0xE832, 0xE476), "Ricoh R5C832 and its siblings"),
    _func0(PCI_VENDOR_ID_GLENFLY, (0x3D40, 0x3D41), "Glenfly Arise audio"),
    _func1(
        PCI_VENDOR_ID_MARVELL_EXT,
        _ids("9120 9123 9125 9128 9130 9170 9172 917a 9182 9183 91a0 9215 9220 9230 9235"),
        "Marvell 88SE91xx and 88SE92xx SATA",
    ),
    _func1(PCI_VENDOR_ID_TTI, (0x0642, 0x0645), "HighPoint RocketRAID 642L and 644L"),
    _func1(PCI_VENDOR_ID_JMICRON, (0x2392,), "JMicron JMB388"),
    _func1(PCI_VENDOR_ID_LITE_ON, (0x0122,), "Plextor M6e"),
    DmaAliasQuirk(
        vendor=PCI_VENDOR_ID_ADAPTEC2,
        devices=(0x0285,),
        shape=AliasShape.BOARD,
        boards=(
            (PCI_VENDOR_ID_ADAPTEC2, 0x02BB, _devfn(1, 0)),
            (PCI_VENDOR_ID_ADAPTEC2, 0x02BC, _devfn(1, 0)),
        ),
        subject="Adaptec 3405 and 3805",
        function="quirk_fixed_dma_alias",
        why="the DMA engine is a private device of the I/O processor, hidden from config space",
    ),
    DmaAliasQuirk(
        vendor=PCI_VENDOR_ID_INTEL,
        devices=(0x2260, 0x2264),
        shape=AliasShape.FIXED,
        devfns=(_devfn(0x10, 0), _devfn(0x11, 0), _devfn(0x12, 3)),
        subject="Intel MIC x200 non-transparent bridge",
        function="quirk_mic_x200_dma_alias",
        why="the bridge forwards requests under the ids in its EEPROM",
    ),
    DmaAliasQuirk(
        vendor=PCI_VENDOR_ID_INTEL,
        devices=(0x2954, 0x2955, 0x2956, 0x2958, 0x2959, 0x295A),
        shape=AliasShape.FIXED,
        devfns=tuple(_devfn(device, function) for device in range(32) for function in range(5)),
        subject="Intel Visual Compute Accelerator",
        function="quirk_pex_vca_alias",
        why="the slot on the far side of the non-transparent bridge is unknown; it has up to five functions",
    ),
    _switchtec(
        PCI_VENDOR_ID_MICROSEMI,
        tuple(span(first, first + 5) for first in (0x8531, 0x8541, 0x8551, 0x8561, 0x8571)),
        "Switchtec PFX, PSX, PAX, PFXL, PFXI, generation 3",
    ),
    _switchtec(
        PCI_VENDOR_ID_MICROSEMI,
        _ids(
            "4000 4084 4068 4052 4036 4028 4100 4184 4168 4152 4136 4128 4200 4284 4268 4252 4236 4228 "
            "4352 4336 4328 4452 4436 4428 4552 4536 4528"
        ),
        "Switchtec PFX, PSX, PAX and the A variants, generation 4",
    ),
    _switchtec(
        PCI_VENDOR_ID_MICROSEMI,
        _ids(
            "5000 5084 5068 5052 5036 5028 5100 5184 5168 5152 5136 5128 5200 5284 5268 5252 5236 5228 "
            "5300 5384 5368 5352 5336 5328 5400 5484 5468 5452 5436 5428 5500 5584 5568 5552 5536 5528"
        ),
        "Switchtec PFX, PSX, PAX and the A variants, generation 5",
    ),
    _switchtec(PCI_VENDOR_ID_EFAR, (span(0x1001, 0x1006),), "Switchtec PCI1001 to PCI1006, generation 4"),
    _switchtec(PCI_VENDOR_ID_EFAR, (0x1008,), "Switchtec PCI1008, generation 4", since="after 6.1, by 6.12"),
    DmaAliasQuirk(
        vendor=PCI_VENDOR_ID_PLX,
        devices=(0x87B0, 0x87B1),
        shape=AliasShape.EVERY,
        subject="PLX PEX 87xx non-transparent bridge",
        function="quirk_plx_ntb_dma_alias",
        why="responses cross the bridge under proxy ids that may be any of the bus",
    ),
)
"""Every fixup that calls ``pci_add_dma_alias``."""

_NO_PCIE_CAPABILITY = (
    "The bridge is in fact PCIe to PCI, so requests appear as 00.0 of its secondary bus. "
    "Which functions share a group does not change"
)
_FORWARD = (
    "type 1 header, not on a root bus, no PCI Express capability, right below a PCIe bridge "
    "that is not PCIe-to-PCI itself"
)


def _pcie_bridge(vendor: int, devices: Devices, subject: str) -> BridgeQuirk:
    return BridgeQuirk(
        vendor=vendor,
        devices=devices,
        flag=BridgeFlag.PCIE_BRIDGE_ALIAS,
        subject=subject,
        function="quirk_use_pcie_bridge_dma_alias",
        why=_NO_PCIE_CAPABILITY,
        condition=_FORWARD,
    )


BRIDGE_QUIRKS: tuple[BridgeQuirk, ...] = (
    _pcie_bridge(PCI_VENDOR_ID_ASMEDIA, (0x1080,), "ASMedia ASM1083/1085"),
    _pcie_bridge(PCI_VENDOR_ID_TUNDRA, (0x8113,), "Tundra Tsi381"),
    _pcie_bridge(PCI_VENDOR_ID_ITE, (0x8892, 0x8893), "ITE IT8892 and IT8893"),
    _pcie_bridge(PCI_VENDOR_ID_INTEL, (0x244E,), "Intel 82801 PCI bridge"),
    BridgeQuirk(
        vendor=PCI_VENDOR_ID_BROADCOM,
        devices=(0x9000, 0x9084),
        flag=BridgeFlag.BRIDGE_XLATE_ROOT,
        subject="Broadcom Vulcan and Cavium ThunderX2 internal bridges",
        function="quirk_bridge_cavm_thrx2_pcie_root",
        why="The walk for aliases ends here, so no bridge above it can join the functions below",
    ),
    BridgeQuirk(
        vendor=PCI_VENDOR_ID_ASPEED,
        devices=(0x1150,),
        flag=BridgeFlag.PCI_BRIDGE_NO_ALIAS,
        subject="ASPEED AST1150",
        function="quirk_aspeed_pci_bridge_no_alias",
        why="Not a real PCI bus: requester ids pass through. The functions still share the bridge's group, "
        "because a bridge of this type never counts as isolated",
        condition="PCIe-to-PCI bridge",
        since="after 6.12",
    ),
)
"""Every fixup that sets a flag which the walk for aliases looks at."""

ATTRIBUTE_RULES = (
    (
        "multifunction",
        "Header Type bit 7; set for functions above 0 found in a slot; cleared for virtual functions",
        "Functions of one slot join where both lack effective ACS and the later one has this set",
    ),
    (
        "pcie_flags_reg",
        (
            "PCI Express Capabilities register; a downstream port right below a port that faces down is "
            "taken for an upstream port, an upstream port right below an upstream port for a downstream port"
        ),
        "The corrected Device/Port Type picks the ACS rule and says whether a bridge hides requester ids",
    ),
    (
        "is_virtfn",
        "SR-IOV",
        (
            "None directly: a virtual function is an endpoint that is not multifunction, so it never joins "
            "its slot. Quirks see the physical function's vendor and the VF Device ID"
        ),
    ),
    (
        "pci_real_dma_dev",
        "functions below an Intel VMD controller, domains from 10000 up",
        "They have no requester id of their own: all are in the group of the VMD controller",
    ),
    (
        "dma_alias_mask from IVRS",
        "an alias entry of the IVRS table, taken by the AMD driver just before grouping, same bus only",
        "The function joins the group of the function it aliases",
    ),
    (
        "untrusted, external_facing",
        "firmware properties of the port or a port above",
        "None: they add Translation Blocking, forbid ATS and force a translated domain on the whole group",
    ),
    (
        "ats_cap",
        "ATS capability, dropped by quirks for some AMD graphics and early Intel E2000",
        "None",
    ),
)
"""Attributes, beside vendor and device, that grouping looks at or is believed to look at.

Each with the kernel's name for it, where Linux takes it from, and what it does to groups.
"""

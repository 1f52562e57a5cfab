"""Vendor-specific capabilities whose layout is known: virtio's and Intel's."""

from vfiokit.pci.registers.rows import Capability, Need, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_KINDS = {
    1: "CommonCfg",
    2: "Notify",
    3: "ISR",
    4: "DeviceCfg",
    5: "PCICfg",
    8: "SharedMemory",
    9: "Vendor",
}
_SHARED = "Kind.Type == 8 and Length.Length >= 24"
_WINDOW = "Kind.Type == 5 and Length.Length >= 20"
_NOTIFY = "Kind.Type == 2 and Length.Length >= 20"

_VIRTIO = Capability(
    id=0x09,
    name="Virtio",
    title="Vendor Specific Information: VirtIO",
    section="Virtio 1.3, 4.1.4",
    view=View.WRITABLE,
    when="vendor == 0x1af4 and 0x1000 <= device <= 0x107f and 16 <= Length.Length <= room",
    registers=registers(
        f"""
Length   02/1  RO  cap_len
  7:0    Length  -  Length [bytes]
Kind     03/1  RO  cfg_type
  7:0    Type    -  Type of the structure
BAR      04/1  RO  bar
  7:0    BAR     -  BAR
ID       05/1  RO  id
  7:0    ID      -  Tells structures of one type apart
Offset   08/4  RO  offset
  31:0   Offset  -  Offset in the BAR
Size     0c/4  RO  length
  31:0   Size    -  Length of the structure [bytes]
Multiplier 10/4  RO  notify_off_multiplier | when {_NOTIFY}
  31:0   Multiplier  -  Multiplier of the queue's notify offset
Window   10/4  RW  pci_cfg_data | when {_WINDOW}
  31:0   Data    -  Data at the chosen place
OffsetHigh 10/4  RO  offset_hi | when {_SHARED}
  31:0   Offset  -  Offset in the BAR, upper half
SizeHigh 14/4  RO  length_hi | when {_SHARED}
  31:0   Size    -  Length, upper half
""",
        {"Type": _KINDS},
    ),
    reserved=((6, 2),),
    text=(
        "Vendor Specific Information: VirtIO: ",
        ("Kind.Type in (1, 2, 3, 4, 8)", "{Kind.Type=}\n"),
        ("Kind.Type not in (1, 2, 3, 4, 8)", "<unknown>\n"),
        Need(0, 16),
        (
            f"not ({_SHARED})",
            "\t\tBAR={BAR.BAR} offset={Offset:08x} size={Size:08x}",
        ),
        (
            _SHARED,
            "\t\tBAR={BAR.BAR} offset={OffsetHigh:08x}{Offset:08x} size={SizeHigh:08x}{Size:08x} id={ID.ID}",
        ),
        (_NOTIFY, " multiplier={Multiplier:08x}"),
        "\n",
    ),
)

_FIRST = "Kind.Version == 1"
_A, _B, _C = (f"{_FIRST} and Length.Length >= {size}" for size in (8, 12, 16))
_INTEL = Capability(
    id=0x09,
    name="IntelCapabilities",
    title="Vendor Specific Information: Intel Capabilities",
    section="Intel host bridge datasheets, CAPID0",
    view=View.WRITABLE,
    when="vendor == 0x8086 and Kind.Type == 0",
    registers=registers(
        f"""
Length   02/1  RO  Length
  7:0    Length    -  Length [bytes]
Kind     03/1  RO  Version
  3:0    Version   -  Version
  7:4    Type      -  Type
CapA     04/4  RO  CAPID0_A | when {_A}
  0      DDR3LEn   -  DDR3L allowed
  1      DDRWrtVrefEn  -  DDR write Vref allowed
  2      OCEn      -  Overclocking enabled
  3      DDROCCAP  -  DDR overclocking capable
  7:4    CRID      -  Compatibility Revision ID
  9:8    CDID      -  Compatibility Device ID
  11     IGDis     -  Internal graphics disabled
  12     PDCDis    -  Primary display disabled
  13     X2APICEn  -  x2APIC enabled
  14     DDPCDis   -  Two DIMMs per channel disabled
  15     CDDis     -  Camarillo device disabled
  17     NDis=1NDis  -  1N mode disabled
  20:19  DDRMaxSize  -  Largest memory of a channel
  21     PegG2Dis  -  PEG generation 2 disabled
  22     DmiG2Dis  -  DMI generation 2 disabled
  23     VTdDis    -  VT-d disabled
  24     ForceEccEn  -  ECC forced
  25     EccDis    -  ECC disabled
  26     DmiWidth  -  DMI width
  27     PeLWUDis  -  PCIe link width up-configuration disabled
  28     Peg10Dis  -  PEG 1.0 disabled
  29     Peg11Dis  -  PEG 1.1 disabled
  30     Peg12Dis  -  PEG 1.2 disabled
  31     Peg60Dis  -  PEG 6.0 disabled
CapB     08/4  RO  CAPID0_B | when {_B}
  2      LPDDR3En  -  LPDDR3 allowed
  5:4    DDR3MaxFreq  -  Highest DDR3 frequency
  8      GmmDis    -  GMM disabled
  15     DmiG3Dis  -  DMI generation 3 disabled
  16     PegX16Dis  -  PEG x16 disabled
  17     AddGfxCap  -  Additive graphics capable
  18     AddGfxEn  -  Additive graphics enabled
  19     PkgTyp    -  Package type
  20     PegG3Dis  -  PEG generation 3 disabled
  23:21  DDR3MaxFreqWithRef100  -  Highest DDR3 frequency with a reference of 100 MHz
  24     SoftBinCap  -  Soft bin capable
  27:25  CacheSzCap  -  Cache size capability
  28     SMTCap    -  SMT capable
  29     OCbySSKUEn  -  Overclocking by SSKU enabled
  30     OCbySSKUCap  -  Overclocking by SSKU capable
  31     ImguDis   -  IMGU disabled
CapC     0c/4  RO  CAPID0_C | when {_C}
  3:0    Gear1MaxFreq  -  Highest memory frequency in gear 1
  5      Pipe3Dis  -  Display pipe 3 disabled
  6      IddDis    -  IDD disabled
  8:7    BClkOC    -  Base clock overclocking
  9      SgxDis    -  SGX disabled
  14     QClkGvDis  -  QCLK gear change disabled
  16     LPDDR4En  -  LPDDR4 allowed
  20:17  LPDDR4MaxFreq  -  Highest LPDDR4 frequency
  22     LPDDREn   -  LPDDR allowed
  26:23  DDR4MaxFreq  -  Highest DDR4 frequency
  28     PegG4Dis  -  PEG generation 4 disabled
""",
        {
            "DmiWidth": {0: 4, 1: 2},
            "BClkOC": {0: "Disabled", 1: "115MHz", 2: "130MHz", 3: "Unlimited"},
        },
    ),
    text=(
        "Vendor Specific Information: Intel Capabilities v{Kind.Version}\n",
        (
            _A,
            (
                "\t\tCapA: {CapA|Peg60Dis Peg12Dis Peg11Dis Peg10Dis PeLWUDis} DmiWidth=x{CapA.DmiWidth=}\n"
                "\t\t      {CapA|EccDis ForceEccEn VTdDis DmiG2Dis PegG2Dis} "
                "DDRMaxSize={ddr_size(CapA.DDRMaxSize)}\n"
                "\t\t      {CapA|NDis CDDis DDPCDis X2APICEn PDCDis IGDis} "
                "CDID={CapA.CDID} CRID={CapA.CRID}\n"
                "\t\t      {CapA|DDROCCAP OCEn DDRWrtVrefEn DDR3LEn}\n"
            ),
        ),
        (
            _B,
            (
                "\t\tCapB: {CapB|ImguDis OCbySSKUCap OCbySSKUEn SMTCap} CacheSzCap 0x{CapB.CacheSzCap:x}\n"
                "\t\t      {CapB|SoftBinCap} "
                "DDR3MaxFreqWithRef100={ddr3_frequency(CapB.DDR3MaxFreqWithRef100)} {CapB|PegG3Dis}\n"
                "\t\t      {CapB|PkgTyp AddGfxEn AddGfxCap PegX16Dis DmiG3Dis GmmDis}\n"
                "\t\t      DDR3MaxFreq={ddr3_maximum(CapB.DDR3MaxFreq)}MHz {CapB|LPDDR3En}\n"
            ),
        ),
        (
            _C,
            (
                "\t\tCapC: {CapC|PegG4Dis} DDR4MaxFreq={frequency(CapC.DDR4MaxFreq, CapC.Gear1MaxFreq)} "
                "{CapC|LPDDREn} LPDDR4MaxFreq={frequency(CapC.LPDDR4MaxFreq, CapC.Gear1MaxFreq)} "
                "{CapC|LPDDR4En}\n"
                "\t\t      {CapC|QClkGvDis SgxDis} BClkOC={CapC.BClkOC=} {CapC|IddDis Pipe3Dis} "
                "Gear1MaxFreq={frequency(CapC.Gear1MaxFreq, CapC.Gear1MaxFreq)}\n"
            ),
        ),
    ),
)

_HEAD = """
Length   02/1  RO  Length
  7:0    Length    -  Length [bytes]
Kind     03/1  RO  Version
  3:0    Version   -  Version
  7:4    Type      -  Type
"""


def _intel(name: str, title: str, when: str) -> Capability:
    return Capability(
        id=0x09,
        name=name,
        title=f"Vendor Specific Information: {title}",
        section="Intel chipset datasheets",
        view=View.WRITABLE,
        when=when,
        registers=registers(_HEAD),
        text=(f"Vendor Specific Information: {title}\n",),
    )


_OTHER = Capability(
    id=0x09,
    name="Vendor",
    title="Vendor Specific Information",
    section="PCIe 6.0, 7.9.4",
    view=View.WRITABLE,
    registers=registers("Length  02/1  RO  Length\n  7:0  Length  -  Length [bytes]"),
    reserved=((3, 1),),
    text=("Vendor Specific Information: Len={Length.Length:02x} <?>\n",),
)

CAPABILITIES = (
    _VIRTIO,
    _INTEL,
    _intel("IntelFeatures", "Intel Feature Detection", "vendor == 0x8086 and Kind.Type == 1"),
    _intel("IntelUnknown", "Intel <unknown>", "vendor == 0x8086"),
    _OTHER,
)

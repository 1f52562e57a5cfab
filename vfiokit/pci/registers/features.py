"""Device features: serial number, TPH, PTM, Device 3, readiness, enclosures and what has few registers."""

from vfiokit.pci.registers.rows import Block, Capability, Need, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]


def _named(number: int, name: str, title: str, section: str, text: str) -> Capability:
    """Return a capability of which the identifier alone is known."""
    return Capability(
        id=number,
        name=name,
        title=title,
        extended=True,
        section=section,
        rests_on="the list of identifiers: the layout could not be read",
        text=(f"{text}\n",),
    )


_NULL = Capability(
    id=0x00, name="Null", title="Null", extended=True, section="PCIe 6.0, 7.9.28", text=("Null\n",)
)
_NULL_STANDARD = Capability(
    id=0x00, name="Null", title="Null", section="PCIe 6.0, 7.9.27", reserved=((2, 2),), text=("Null\n",)
)

_SERIAL = Capability(
    id=0x03,
    name="DSN",
    title="Device Serial Number",
    extended=True,
    section="PCIe 6.0, 7.9.3",
    view=View.READ,
    registers=registers("Serial  04/8  RO  Serial Number\n  63:0  EUI64  -  an EUI-64"),
    text=(Need(0x04, 8), "Device Serial Number {serial(Serial)}\n"),
)

_VSEC = Capability(
    id=0x0B,
    name="VSEC",
    title="Vendor Specific Information",
    extended=True,
    section="PCIe 6.0, 7.9.5",
    view=View.WRITABLE,
    registers=registers(
        """
Head     04/4  RO  Vendor-Specific Header
  15:0   ID      -  VSEC ID
  19:16  Rev     -  VSEC Rev
  31:20  Length  -  VSEC Length [bytes]
"""
    ),
    text=(
        "Vendor Specific Information: ",
        Need(0x04, 4, "<unreadable>\n"),
        "ID={Head.ID:04x} Rev={Head.Rev} Len={Head.Length:03x} <?>\n",
    ),
)

_LOCATIONS = {0: "none", 1: "TPH capability", 2: "MSI-X table", 3: "reserved"}
_TPH = Capability(
    id=0x17,
    name="TPH",
    title="Transaction Processing Hints",
    extended=True,
    section="PCIe 6.0, 7.9.13",
    view=View.READ,
    registers=registers(
        """
Cap      04/4  RO  TPH Requester Capability
  0      NoSTMode     -  No ST Mode Supported
  1      VectorMode   -  Interrupt Vector Mode Supported
  2      DeviceMode   -  Device Specific Mode Supported
  8      ExtendedTPH  -  Extended TPH Requester Supported
  10:9   Location     -  ST Table Location
  26:16  TableSize    -  ST Table Size [+1]
Ctl      08/4  RW  TPH Requester Control
  2:0    Mode         -  ST Mode Select
  9:8    Enable       -  TPH Requester Enable
""",
        {
            "Location": _LOCATIONS,
            "Mode": {0: "No ST", 1: "Interrupt Vector", 2: "Device Specific"},
            "Enable": {0: "disabled", 1: "TPH", 2: "reserved", 3: "TPH and Extended TPH"},
        },
    ),
    blocks=(
        Block(
            "Steering",
            registers(
                "Tag  00/2  RW  TPH ST Table Entry\n  7:0  Lower  -  ST Lower\n  15:8  Upper  -  ST Upper"
            ),
            0x0C,
            2,
            "min(Cap.TableSize + 1, 64) if Cap.Location == 1 else 0",
        ),
    ),
    text=(
        "Transaction Processing Hints\n",
        Need(0x04, 4),
        ("Cap.VectorMode", "\t\tInterrupt vector mode supported\n"),
        ("Cap.DeviceMode", "\t\tDevice specific mode supported\n"),
        ("Cap.ExtendedTPH", "\t\tExtended requester support\n"),
        ("Cap.Location == 0", "\t\tNo steering table available\n"),
        ("Cap.Location == 1", "\t\tSteering table in TPH capability structure\n"),
        ("Cap.Location == 2", "\t\tSteering table in MSI-X table\n"),
        ("Cap.Location == 3", "\t\tReserved steering table location\n"),
    ),
)

_PTM = Capability(
    id=0x1F,
    name="PTM",
    title="Precision Time Measurement",
    extended=True,
    section="PCIe 6.0, 7.9.15",
    registers=registers(
        """
PTMCap   04/4  RO  PTM Capability
  0      Requester    -       PTM Requester Capable
  1      Responder    -       PTM Responder Capable
  2      Root         -       PTM Root Capable
  3      ePTM         -       ePTM Capable
  4      PropagationDelayAdaptation  -  PTM Propagation Delay Adaptation Capable
  15:8   Granularity  HwInit  Local Clock Granularity [ns]
PTMControl 08/4  RW  PTM Control
  0      Enabled       -  PTM Enable
  1      RootSelected  -  Root Select
  15:8   Granularity   -  Effective Granularity [ns]
"""
    ),
    text=(
        "Precision Time Measurement\n",
        Need(0x04, 8, "\t\t<unreadable>\n"),
        (
            "\t\tPTMCap: {PTMCap|Requester Responder Root}\n"
            "\t\tPTMClockGranularity: {unimplemented(PTMCap.Granularity)}\n"
            "\t\tPTMControl: {PTMControl|Enabled RootSelected}\n"
            "\t\tPTMEffectiveGranularity: {unknown(PTMControl.Granularity)}\n"
        ),
    ),
)

_LN = Capability(
    id=0x1C,
    name="LNR",
    title="LN Requester",
    extended=True,
    section="PCIe 5.0, 7.9.14",
    rests_on="memory of PCIe 5.0; gone from 6.0",
    registers=registers(
        """
Cap      04/2  RO  LNR Capability
  0      LNR64       -  LNR-64 Supported
  1      LNR128      -  LNR-128 Supported
  12:8   Registration  -  LNR Registration MAX
Ctl      06/2  RW  LNR Control
  0      Enable      -  LNR Enable
  1      CLS         -  LNR CLS
  12:8   Registration  -  LNR Registration Limit
"""
    ),
    text=("LN Requester <?>\n",),
)

_FRS = Capability(
    id=0x21,
    name="FRS",
    title="FRS Queueing",
    extended=True,
    section="PCIe 6.0, 7.8.11",
    rests_on="memory of PCIe 5.0, 7.8.9",
    registers=registers(
        """
Cap      04/4  RO  FRS Queueing Capability
  11:0   MaxDepth    HwInit  FRS Queue Max Depth
  20:16  IntMsgNum   -       FRS Interrupt Message Number
Status   08/2  RW1C  FRS Queueing Status | rsvdz
  0      Received    -  FRS Message Received
  1      Overflow    -  FRS Message Overflow
Control  0a/2  RW  FRS Queueing Control
  0      IntEn       -  FRS Interrupt Enable
Queue    0c/4  RO  FRS Message Queue
  15:0   FunctionID  -  FRS Message Queue Function ID
  19:16  Reason      -  FRS Message Queue Reason
  31:28  Depth       -  FRS Message Queue Depth, upper bits
""",
        {
            "Reason": {
                1: "DRS received",
                2: "D3hot to D0 completed",
                3: "FLR completed",
                8: "VF enabled",
                9: "VF disabled",
            }
        },
    ),
    text=("FRS Queueing <?>\n",),
)

_TIME = dict(enumerate(("x1 ns", "x32 ns", "x1024 ns", "x32768 ns", "x1048576 ns", "x33554432 ns")))
_READINESS = Capability(
    id=0x22,
    name="RTR",
    title="Readiness Time Reporting",
    extended=True,
    section="PCIe 6.0, 7.9.16",
    rests_on="memory of PCIe 5.0, 7.9.17",
    registers=registers(
        """
Times1   04/4  HwInit  Readiness Time Reporting 1
  8:0    ResetValue   -  Reset Time, value
  11:9   ResetScale   -  Reset Time, scale
  20:12  DLUpValue    -  DL_Up Time, value
  23:21  DLUpScale    -  DL_Up Time, scale
  31     Valid        -  Valid
Times2   08/4  HwInit  Readiness Time Reporting 2
  8:0    FLRValue     -  FLR Time, value
  11:9   FLRScale     -  FLR Time, scale
  20:12  D3hotValue   -  D3hot to D0 Time, value
  23:21  D3hotScale   -  D3hot to D0 Time, scale
""",
        {"ResetScale": _TIME, "DLUpScale": _TIME, "FLRScale": _TIME, "D3hotScale": _TIME},
    ),
    text=("Readiness Time Reporting <?>\n",),
)

_DATA_LINK = Capability(
    id=0x25,
    name="DLF",
    title="Data Link Feature",
    extended=True,
    section="PCIe 6.0, 7.7.4",
    rests_on="Linux pci_regs.h, memory of PCIe 6.0",
    registers=registers(
        """
Cap      04/4  RO  Data Link Feature Capabilities
  0      ScaledFlowControl   -  Local Scaled Flow Control Supported
  1      ImmediateReadiness  -  Local Immediate Readiness
  4:2    ExtendedVCCount     -  Local Extended VC Count
  7:5    L0pExitLatency      -  Local L0p Exit Latency
  31     Exchange            HwInit  Data Link Feature Exchange Enable
Status   08/4  RO  Data Link Feature Status
  0      ScaledFlowControl   -  Remote Scaled Flow Control Supported
  1      ImmediateReadiness  -  Remote Immediate Readiness
  4:2    ExtendedVCCount     -  Remote Extended VC Count
  7:5    L0pExitLatency      -  Remote L0p Exit Latency
  31     Valid               -  Remote Data Link Feature Supported Valid
"""
    ),
    text=("Data Link Feature <?>\n",),
)

_HIERARCHY = Capability(
    id=0x28,
    name="HierarchyID",
    title="Hierarchy ID",
    extended=True,
    section="PCIe 6.0, 7.9.17",
    rests_on="memory of PCIe 5.0, 7.9.18",
    registers=registers(
        """
Status   04/4  RO  Hierarchy ID Status
  0      HierarchyValid   -  Hierarchy ID Valid
  1      Pending          -  Hierarchy ID Pending
  2      Writeable        -  Hierarchy ID Writeable
  3      VFConfigurable   -  Hierarchy ID VF Configurable
  11:8   MessagesReceived -  Hierarchy ID Messages received, low bits
Data0    08/4  RW  Hierarchy ID Data, first dword
  15:0   SystemGUIDAuthority  -  System GUID Authority ID
  31:16  HierarchyID      -  Hierarchy ID
GUID1    0c/4  RW  System GUID 1
  31:0   GUID  -  System GUID
GUID2    10/4  RW  System GUID 2
  31:0   GUID  -  System GUID
GUID3    14/4  RW  System GUID 3
  31:0   GUID  -  System GUID
GUID4    18/4  RW  System GUID 4
  31:0   GUID  -  System GUID
GUID5    1c/4  RW  System GUID 5
  31:0   GUID  -  System GUID
"""
    ),
    text=("Hierarchy ID <?>\n",),
)

_STATES = """
  2      OK        -  OK
  3      Locate    -  Locate
  4      Fail      -  Fail
  5      Rebuild   -  Rebuild
  6      PFA       -  Predicted Failure Analysis
  7      HotSpare  -  Hot Spare
  8      CriticalArray  -  In A Critical Array
  9      FailedArray    -  In A Failed Array
  10     InvalidDevice  -  Invalid Device Type
  11     Disabled  -  Disabled
  31:24  EnclosureSpecific  -  Enclosure-specific
"""
_NPEM = Capability(
    id=0x29,
    name="NPEM",
    title="Native PCIe Enclosure Management",
    extended=True,
    section="PCIe 6.0, 7.9.19",
    rests_on="Linux pci_regs.h",
    registers=registers(
        f"""
Cap      04/4  HwInit  NPEM Capability
  0      Capable   -  NPEM Capable
  1      Reset     -  NPEM Reset Capable{_STATES}
Ctl      08/4  RW  NPEM Control
  0      Enable    -  NPEM Enable
  1      Reset     -  NPEM Initiate Reset{_STATES}
Status   0c/4  RO  NPEM Status
  0      Completed RW1C  NPEM Command Completed
  31:24  EnclosureSpecific  -  Enclosure-specific Status
"""
    ),
    text=("Native PCIe Enclosure Management <?>\n",),
)

_ALTERNATE = Capability(
    id=0x2B,
    name="AlternateProtocol",
    title="Alternate Protocol",
    extended=True,
    section="PCIe 6.0, 7.9.20",
    rests_on="memory of PCIe 5.0, 7.9.21",
    registers=registers(
        """
Cap      04/4  RO  Alternate Protocol Capabilities
  7:0    Count      HwInit  Alternate Protocol Count
  8      SelectiveEnable  HwInit  Alternate Protocol Selective Enable Supported
Ctl      08/4  RW  Alternate Protocol Control
  7:0    IndexSelect  -  Alternate Protocol Index Select
  8      GlobalEnable -  Alternate Protocol Negotiation Global Enable
Data1    0c/4  RO  Alternate Protocol Data 1
  2:0    UsageInfo  -  Alternate Protocol Usage Information
  15:5   Details    -  Alternate Protocol Details
  31:16  Vendor     -  Alternate Protocol Vendor ID
Data2    10/4  RO  Alternate Protocol Data 2
  23:0   ModifiedTS2  -  Modified TS 2 Information
SelectiveEnable 14/4  RW  Alternate Protocol Selective Enable Mask | when Cap.SelectiveEnable
  31:0   Mask       -  Alternate Protocol Selective Enable Mask
"""
    ),
    text=("Extended Capability ID 0x2b\n",),
)

_SFI = Capability(
    id=0x2C,
    name="SFI",
    title="System Firmware Intermediary",
    extended=True,
    section="PCIe 6.0, 7.9.22",
    rests_on="memory of PCIe 5.0, 7.9.23",
    registers=registers(
        """
Cap      04/2  RO  SFI Capability
  0      OOBPresence     HwInit  SFI OOB PD Supported
Ctl      06/2  RW  SFI Control
  0      PDStateMask     -  SFI PD State Mask
  1      DLLStateMask    -  SFI DLL State Mask
  2      OOBPDStateMask  -  SFI OOB PD Changed Enable
  3      DLLStateChanged -  SFI DLL State Changed Enable
  4      SystemFirmwareInt  -  SFI HPS Suppress
  5      DRSMask         -  SFI DRS Mask
  6      DRSSignaling    -  SFI DRS Signaling Enable
  7      DRSTrigger      -  SFI DRS Trigger
Status   08/2  RO  SFI Status | rsvdz
  0      PDState         -  SFI PD State
  1      DLLState        -  SFI DLL State
  2      OOBPDState      -  SFI OOB PD State
  3      OOBPDChanged    RW1C  SFI OOB PD Changed
  4      DLLStateChanged RW1C  SFI DLL State Changed
  5      DRSReceived     RW1C  SFI DRS Received
CAMAddress 0c/4  RW  SFI CAM Address
  27:0   Address         -  SFI CAM Address
CAMData  10/4  RW  SFI CAM Data
  31:0   Data            -  SFI CAM Data
"""
    ),
    reserved=((0x0A, 2),),
    text=("Extended Capability ID 0x2c\n",),
)

_L0P = {
    0: "Less than 1us",
    1: "1us to less than 2us",
    2: "2us to less than 4us",
    3: "4us to less than 8us",
    4: "8us to less than 16us",
    5: "16us to less than 32us",
    6: "32us-64us",
    7: "More than 64us",
}
_DEVICE3 = Capability(
    id=0x2F,
    name="Device3",
    title="Device 3",
    extended=True,
    section="PCIe 6.0, 7.7.9",
    registers=registers(
        """
DevCap3  04/4  RO  Device Capabilities 3
  0      DMWrRouting   -  DMWr Request Routing Supported
  1      TagComp14     -  14-Bit Tag Completer Supported
  2      TagReq14      HwInit  14-Bit Tag Requester Supported
  3      L0p           HwInit  L0p Supported
  6:4    PortL0pExit   HwInit  Port L0p Exit Latency
  9:7    RetimerL0pExit  HwInit  Retimer L0p Exit Latency
  10     UIOComp       -  UIO Mem RdWr Completer Supported
  11     UIOReq        -  UIO Mem RdWr Requester Supported
DevCtl3  08/4  RW  Device Control 3
  0      DMWrReq       -  DMWr Requester Enable
  1      DMWrBlock     -  DMWr Egress Blocking
  2      TagReq14      -  14-Bit Tag Requester Enable
  3      L0p           -  L0p Enable
  6:4    TargetWidth   -  Target Link Width
  7      UIOReq        -  UIO Mem RdWr Requester Enable
  8      UIO256Dis     -  UIO Request 256B Boundary Disable
DevSta3  0c/4  RO  Device Status 3
  2:0    InitialWidth  -  Initial Link Width
  3      SegmentCaptured  -  Segment Captured
  4      RemoteL0p     -  Remote L0p Supported
""",
        {"PortL0pExit": _L0P, "RetimerL0pExit": _L0P},
    ),
    text=(
        "Device 3\n",
        Need(0x04, 4),
        (
            "\t\tDevCap3: DMWr Request Routing{DevCap3.DMWrRouting}, "
            "14-Bit Tag Completer{DevCap3.TagComp14}, 14-Bit Tag Requester{DevCap3.TagReq14}\n"
            "\t\t\t L0p{DevCap3.L0p}"
        ),
        (
            "DevCap3.L0p",
            (
                ", Port L0p Exit Latency: {DevCap3.PortL0pExit=}, "
                "Retimer L0p Exit Latency: {DevCap3.RetimerL0pExit=}"
            ),
        ),
        "\n\t\t\t UIO Mem RdWr Completer{DevCap3.UIOComp}, UIO Mem RdWr Requester{DevCap3.UIOReq}\n",
        Need(0x08, 2),
        (
            "\t\tDevCtl3: DMWr Requester{DevCtl3.DMWrReq}, DMWr Egress Blocking{DevCtl3.DMWrBlock}, "
            "14-Bit Tag Requester{DevCtl3.TagReq14}\n"
            "\t\t\t L0p{DevCtl3.L0p}, Target Link Width: {width(DevCtl3.TargetWidth)}\n"
            "\t\t\t UIO Mem RdWr Requester{DevCtl3.UIOReq}, "
            "UIO Request 256B Boundary{contrary(DevCtl3.UIO256Dis)}\n"
        ),
        Need(0x0C, 2),
        (
            "\t\tDevSta3: Initial Link Width: {width(DevSta3.InitialWidth)}, "
            "Segment Captured{DevSta3.SegmentCaptured}, Remote L0p{DevSta3.RemoteL0p}\n"
        ),
    ),
)

_LOCATOR = Capability(
    id=0x36,
    name="MRBL",
    title="MMIO Register Block Locator",
    extended=True,
    section="PCIe 6.2, 7.9.29",
    rests_on="memory of PCIe 6.1",
    registers=registers(
        """
Cap      04/4  RO  MRBL Capabilities
  11:0   Length  -  MRBL Structure Length [bytes]
"""
    ),
    blocks=(
        Block(
            "Locator",
            registers(
                """
Low      00/4  RO  MRBL Locator, lower half
  2:0    BIR        HwInit  Register BIR
  15:8   BlockID    HwInit  MMIO Register Block Identifier
  31:16  Offset     HwInit  Register Block Offset [<<16]
High     04/4  RO  MRBL Locator, upper half
  31:0   Offset     HwInit  Register Block Offset
"""
            ),
            0x08,
            8,
            "Cap.Length // 8 - 1",
            (
                Need(0, 8, "\t\t<unreadable>\n"),
                (
                    "\t\tLocator<n>: BIR: BAR{Low.BIR}, ID: {block_id(Low.BlockID)}, "
                    "offset: {High:08x}{Low.Offset:08x}\n"
                ),
            ),
        ),
    ),
    text=(
        "MMIO Register Block Locator\n",
        Need(0x04, 12, "\t\t<unreadable>\n"),
        None,
    ),
)

CAPABILITIES = (
    _NULL_STANDARD,
    _NULL,
    _SERIAL,
    _VSEC,
    _TPH,
    _PTM,
    _LN,
    _FRS,
    _READINESS,
    _DATA_LINK,
    _HIERARCHY,
    _NPEM,
    _ALTERNATE,
    _SFI,
    _DEVICE3,
    _LOCATOR,
    _named(0x1A, "PMUX", "Protocol Multiplexing", "PCIe 5.0, G", "Protocol Multiplexing <?>"),
    _named(0x20, "MPCIe", "PCI Express over M-PHY", "PCIe 4.0, 8", "PCI Express over M_PHY <?>"),
    _named(0x2D, "ShadowFunctions", "Shadow Functions", "PCIe 6.0, 7.9.25", "Extended Capability ID 0x2d"),
    _named(0x3A, "CapturedData", "Captured Data", "PCIe 6.3", "Extended Capability ID 0x3a"),
)

"""Isolation and addressing: Access Control Services, ARI, ATS, PRI, PASID, SR-IOV, MR-IOV, SIOV."""

from vfiokit.pci.registers.rows import Block, Capability, Need, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_ACS_SHOWN = "SrcValid TransBlk ReqRedir CmpltRedir UpstreamFwd EgressCtrl DirectTrans"
_ACS = Capability(
    id=0x0D,
    name="ACS",
    title="Access Control Services",
    extended=True,
    section="PCIe 6.0, 7.7.11",
    view=View.READ,
    registers=registers(
        """
ACSCap   04/2  RO  ACS Capability
  0      SrcValid     -  ACS Source Validation
  1      TransBlk     -  ACS Translation Blocking
  2      ReqRedir     -  ACS P2P Request Redirect
  3      CmpltRedir   -  ACS P2P Completion Redirect
  4      UpstreamFwd  -  ACS Upstream Forwarding
  5      EgressCtrl   -  ACS P2P Egress Control
  6      DirectTrans  -  ACS Direct Translated P2P
  7      Enhanced     -  ACS Enhanced Capability
  15:8   VectorSize   HwInit  Egress Control Vector Size
ACSCtl   06/2  RW  ACS Control
  0      SrcValid     -  ACS Source Validation Enable
  1      TransBlk     -  ACS Translation Blocking Enable
  2      ReqRedir     -  ACS P2P Request Redirect Enable
  3      CmpltRedir   -  ACS P2P Completion Redirect Enable
  4      UpstreamFwd  -  ACS Upstream Forwarding Enable
  5      EgressCtrl   -  ACS P2P Egress Control Enable
  6      DirectTrans  -  ACS Direct Translated P2P Enable
  7      IORequestBlk -  ACS I/O Request Blocking Enable
  9:8    DSPMemory    -  ACS DSP Memory Target Access Control
  11:10  USPMemory    -  ACS USP Memory Target Access Control
  12     UnclaimedRedir  -  ACS Unclaimed Request Redirect Control
""",
        {
            "DSPMemory": {0: "direct", 1: "blocked", 2: "redirected"},
            "USPMemory": {0: "direct", 1: "blocked", 2: "redirected"},
        },
    ),
    blocks=(
        Block(
            "Egress",
            registers(
                "Vector  00/4  RW  Egress Control Vector\n  31:0  Ports  -  one bit a port or function"
            ),
            0x08,
            4,
            "((ACSCap.VectorSize or 256) + 31) // 32 if ACSCap.EgressCtrl else 0",
        ),
    ),
    text=(
        "Access Control Services\n",
        Need(0x04, 4),
        f"\t\tACSCap:\t{{ACSCap|{_ACS_SHOWN}}}\n\t\tACSCtl:\t{{ACSCtl|{_ACS_SHOWN}}}\n",
    ),
)

_ARI = Capability(
    id=0x0E,
    name="ARI",
    title="Alternative Routing-ID Interpretation (ARI)",
    extended=True,
    section="PCIe 6.0, 7.8.8",
    view=View.READ,
    registers=registers(
        """
ARICap   04/2  RO  ARI Capability
  0      MFVC  -  MFVC Function Groups Capability
  1      ACS   -  ACS Function Groups Capability
  15:8   NextFunction  -  Next Function Number
ARICtl   06/2  RW  ARI Control
  0      MFVC  -  MFVC Function Groups Enable
  1      ACS   -  ACS Function Groups Enable
  6:4    FunctionGroup  -  Function Group
"""
    ),
    text=(
        "Alternative Routing-ID Interpretation (ARI)\n",
        Need(0x04, 4),
        (
            "\t\tARICap:\t{ARICap|MFVC ACS}, Next Function: {ARICap.NextFunction}\n"
            "\t\tARICtl:\t{ARICtl|MFVC ACS}, Function Group: {ARICtl.FunctionGroup}\n"
        ),
    ),
)

_ATS = Capability(
    id=0x0F,
    name="ATS",
    title="Address Translation Service (ATS)",
    extended=True,
    section="PCIe 6.0, 10.5.1",
    view=View.READ,
    registers=registers(
        """
ATSCap   04/2  RO  ATS Capability
  4:0    QueueDepth    -  Invalidate Queue Depth
  5      PageAligned   -  Page Aligned Request
  6      GlobalInvalidate  -  Global Invalidate Supported
  7      RelaxedOrdering   -  Relaxed Ordering Supported
  8      MemoryAttributes  -  ATS Memory Attributes Supported
ATSCtl   06/2  RW  ATS Control
  4:0    STU           -  Smallest Translation Unit
  15     Enable        -  Enable
"""
    ),
    text=(
        "Address Translation Service (ATS)\n",
        Need(0x04, 4),
        (
            "\t\tATSCap:\tInvalidate Queue Depth: {ATSCap.QueueDepth:02x}\n"
            "\t\tATSCtl:\t{ATSCtl|Enable}, Smallest Translation Unit: {ATSCtl.STU:02x}\n"
        ),
    ),
)

_PRI = Capability(
    id=0x13,
    name="PRI",
    title="Page Request Interface (PRI)",
    extended=True,
    section="PCIe 6.0, 10.5.2",
    view=View.READ,
    registers=registers(
        """
PRICtl   04/2  RW  Page Request Control
  0      Enable   -  Enable
  1      Reset    -  Reset
PRISta   06/2  RO  Page Request Status | rsvdz
  0      RF       RW1C  Response Failure
  1      UPRGI    RW1C  Unexpected Page Request Group Index
  8      Stopped  -  Stopped
  15     PASID    -  PRG Response PASID Required
Capacity 08/4  RO  Outstanding Page Request Capacity
  31:0   Requests  -  Outstanding Page Request Capacity
Allocation 0c/4  RW  Outstanding Page Request Allocation
  31:0   Requests  -  Outstanding Page Request Allocation
"""
    ),
    text=(
        "Page Request Interface (PRI)\n",
        Need(0x04, 12),
        (
            "\t\tPRICtl: {PRICtl|Enable Reset}\n\t\tPRISta: {PRISta|RF UPRGI Stopped PASID}\n"
            "\t\tPage Request Capacity: {Capacity:08x}, Page Request Allocation: {Allocation:08x}\n"
        ),
    ),
)

_PASID = Capability(
    id=0x1B,
    name="PASID",
    title="Process Address Space ID (PASID)",
    extended=True,
    section="PCIe 6.0, 7.8.9",
    registers=registers(
        """
PASIDCap 04/2  RO  PASID Capability
  1      Exec    -  Execute Permission Supported
  2      Priv    -  Privileged Mode Supported
  12:8   Width   -  Max PASID Width
PASIDCtl 06/2  RW  PASID Control
  0      Enable  -  PASID Enable
  1      Exec    -  Execute Permission Enable
  2      Priv    -  Privileged Mode Enable
"""
    ),
    text=(
        "Process Address Space ID (PASID)\n",
        Need(0x04, 4),
        (
            "\t\tPASIDCap: {PASIDCap|Exec Priv}, Max PASID Width: {PASIDCap.Width:02x}\n"
            "\t\tPASIDCtl: {PASIDCtl|Enable Exec Priv}\n"
        ),
    ),
)

_VF_BAR = """
  0      IO        -  Memory Space Indicator
  2:1    Type      -  Type
  3      Prefetch  -  Prefetchable
  31:4   Address   -  Base Address [<<4]
"""
_BAR_TYPE = {0: "32-bit", 1: "low-1M", 2: "64-bit", 3: "type 3"}
_SRIOV = Capability(
    id=0x10,
    name="SRIOV",
    title="Single Root I/O Virtualization (SR-IOV)",
    extended=True,
    section="PCIe 6.0, 9.3.3",
    view=View.READ,
    registers=registers(
        f"""
IOVCap   04/4  RO  SR-IOV Capabilities
  0      Migration     -  VF Migration Capable
  1      ARIPreserved  HwInit  ARI Capable Hierarchy Preserved
  2      TagReq10=10BitTagReq  HwInit  VF 10-Bit Tag Requester Supported
  3      TagReq14      HwInit  VF 14-Bit Tag Requester Supported
  31:21  IntMsgNum     -  VF Migration Interrupt Message Number
IOVCtl   08/2  RW  SR-IOV Control
  0      Enable        -  VF Enable
  1      Migration     -  VF Migration Enable
  2      Interrupt     -  VF Migration Interrupt Enable
  3      MSE           -  VF MSE
  4      ARIHierarchy  -  ARI Capable Hierarchy
  5      TagReq10=10BitTagReq  -  VF 10-Bit Tag Requester Enable
  6      TagReq14      -  VF 14-Bit Tag Requester Enable
IOVSta   0a/2  RO  SR-IOV Status
  0      Migration     RW1C  VF Migration Status
InitialVFs 0c/2  RO  InitialVFs
  15:0   VFs           -  InitialVFs
TotalVFs 0e/2  RO  TotalVFs
  15:0   VFs           -  TotalVFs
NumVFs   10/2  RW  NumVFs
  15:0   VFs           -  NumVFs
FunctionDependency 12/1  RO  Function Dependency Link
  7:0    Link          -  Function Dependency Link
Offset   14/2  RO  First VF Offset
  15:0   Offset        -  First VF Offset
Stride   16/2  RO  VF Stride
  15:0   Stride        -  VF Stride
DeviceID 1a/2  RO  VF Device ID
  15:0   DeviceID      -  VF Device ID
PageSizes 1c/4  RO  Supported Page Sizes
  31:0   Sizes         -  bit n for 4 KiB << n
PageSize 20/4  RW  System Page Size
  31:0   Size          -  bit n for 4 KiB << n
VFBAR0   24/4  RW  VF BAR0{_VF_BAR}
VFBAR1   28/4  RW  VF BAR1{_VF_BAR}
VFBAR2   2c/4  RW  VF BAR2{_VF_BAR}
VFBAR3   30/4  RW  VF BAR3{_VF_BAR}
VFBAR4   34/4  RW  VF BAR4{_VF_BAR}
VFBAR5   38/4  RW  VF BAR5{_VF_BAR}
MigrationArray 3c/4  RO  VF Migration State Array Offset
  2:0    BIR           -  VF Migration State BIR
  31:3   Offset        -  VF Migration State Offset [<<3]
""",
        {f"VFBAR{number}.Type": _BAR_TYPE for number in range(6)},
    ),
    reserved=((0x13, 1), (0x18, 2)),
    text=(
        "Single Root I/O Virtualization (SR-IOV)\n",
        Need(0x04, 0x3C),
        (
            "\t\tIOVCap:\t{IOVCap|Migration TagReq10} IntMsgNum {IOVCap.IntMsgNum}\n"
            "\t\tIOVCtl:\t{IOVCtl|Enable Migration Interrupt MSE ARIHierarchy TagReq10}\n"
            "\t\tIOVSta:\t{IOVSta|Migration}\n"
            "\t\tInitial VFs: {InitialVFs}, Total VFs: {TotalVFs}, Number of VFs: {NumVFs}, "
            "Function Dependency Link: {FunctionDependency:02x}\n"
            "\t\tVF offset: {Offset}, stride: {Stride}, Device ID: {DeviceID:04x}\n"
            "\t\tSupported Page Size: {PageSizes:08x}, System Page Size: {PageSize:08x}\n"
            "{vf_bars(VFBAR0, VFBAR1, VFBAR2, VFBAR3, VFBAR4, VFBAR5)}"
            "\t\tVF Migration: offset: {MigrationArray.Offset:08x}, BIR: {MigrationArray.BIR:x}\n"
        ),
    ),
)

_MRIOV = Capability(
    id=0x11,
    name="MRIOV",
    title="Multi-Root I/O Virtualization",
    extended=True,
    section="MR-IOV 1.0, 4.2",
    rests_on="the list of identifiers: the layout could not be read",
    text=("Multi-Root I/O Virtualization <?>\n",),
)

_SIOV = Capability(
    id=0x38,
    name="SIOV",
    title="Scalable I/O Virtualization",
    extended=True,
    section="PCIe 6.2, 7.9.31",
    rests_on="the list of identifiers: the layout could not be read",
    text=("Extended Capability ID 0x38\n",),
)

_ENDS, _PORTS = "port in (ENDPOINT, RC_ENDPOINT)", "port in (ROOT_PORT, UPSTREAM_PORT, DOWNSTREAM_PORT)"
_MULTICAST = Capability(
    id=0x12,
    name="Multicast",
    title="Multicast",
    extended=True,
    section="PCIe 6.0, 7.9.11",
    view=View.READ,
    registers=registers(
        """
McastCap 04/2  RO  Multicast Capability
  5:0    MaxGroup     -  MC_Max_Group [+1]
  13:8   WindowSize   -  MC_Window_Size_Requested
  15     ECRCRegen    -  MC_ECRC_Regeneration_Supported
McastCtl 06/2  RW  Multicast Control
  5:0    NumGroup     -  MC_Num_Group [+1]
  15     Enable       -  MC_Enable
BaseLow  08/4  RW  MC_Base_Address, lower half
  5:0    IndexPos     -  MC_Index_Position
  31:12  Base         -  MC_Base_Address [<<12]
BaseHigh 0c/4  RW  MC_Base_Address, upper half
  31:0   Base         -  MC_Base_Address
Receive  10/8  RW  MC_Receive
  63:0   Groups       -  one bit a group
BlockAll 18/8  RW  MC_Block_All
  63:0   Groups       -  one bit a group
BlockUntranslated 20/8  RW  MC_Block_Untranslated
  63:0   Groups       -  one bit a group
OverlayLow 28/4  RW  MC_Overlay_BAR, lower half | when not port in (ENDPOINT, RC_ENDPOINT) | view writable
  5:0    Size         -  MC_Overlay_Size
  31:6   Base         -  MC_Overlay_BAR [<<6]
OverlayHigh 2c/4  RW  MC_Overlay_BAR, upper half | when not port in (ENDPOINT, RC_ENDPOINT) | view writable
  31:0   Base         -  MC_Overlay_BAR
"""
    ),
    text=(
        "Multicast\n",
        Need(0x04, 0x30),
        "\t\tMcastCap: MaxGroups {McastCap.MaxGroup}",
        (_ENDS, ", WindowSz {McastCap.WindowSize} ({window(McastCap.WindowSize)} bytes)"),
        # The end of the line is printed for ports alone.
        (_PORTS, ", {McastCap|ECRCRegen}\n"),
        (
            "\t\tMcastCtl: NumGroups {McastCtl.NumGroup}, {McastCtl|Enable}\n"
            "\t\tMcastBAR: IndexPos {BaseLow.IndexPos}, BaseAddr {BaseHigh:08x}{BaseLow.Base:08x}\n"
            "\t\tMcastReceiveVec:      {Receive:016x}\n"
            "\t\tMcastBlockAllVec:     {BlockAll:016x}\n"
            "\t\tMcastBlockUntransVec: {BlockUntranslated:016x}\n"
        ),
        (
            f"not {_ENDS}",
            (
                "\t\tMcastOverlayBAR: OverlaySize {OverlayLow.Size} {overlay(OverlayLow.Size)}, "
                "BaseAddr {OverlayHigh:08x}{OverlayLow.Base:08x}\n"
            ),
        ),
    ),
)

CAPABILITIES = (_ACS, _ARI, _ATS, _PRI, _PASID, _SRIOV, _MRIOV, _SIOV, _MULTICAST)

"""Conventional PCI: AGP, PCI-X, slots, hot-plug, subsystem, SATA, Advanced Features, FPB, VPD."""

from vfiokit.pci.registers.rows import Capability, Need, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_AGP = Capability(
    id=0x02,
    name="AGP",
    title="AGP",
    section="AGP 3.0, 4.1",
    view=View.READ,
    rests_on="what lspci 3.9.0 shows of each bit",
    registers=registers(
        """
Version  02/1  RO  AGP Version
  3:0    Minor  -  Minor
  7:4    Major  -  Major
Status   04/4  RO  AGP Status
  2:0    Rate   -  RATE
  3      AGP3   -  MODE 3.0
  4      FW     -  Fast Writes
  5      Over4G=64bit  -  Addresses above 4 GB
  6      HTrans  -  Host translation, inverted
  7      GART64  -  64-bit GART
  8      ITACoh=ITACoh  -  Coherent inside the aperture
  9      SBA    -  Side Band Addressing
  12:10  Cal    -  Calibration cycle
  15:13  ArqSz  -  Optimum asynchronous request size
  16     Iso    -  Isochronous support
  31:24  RQ     -  Request queue depth [+1]
Command  08/4  RW  AGP Command
  2:0    Rate   -  DATA_RATE
  4      FW     -  Fast Writes enable
  5      Over4G=64bit  -  Addresses above 4 GB
  7      GART64  -  64-bit GART
  8      AGP    -  AGP enable
  9      SBA    -  Side Band Addressing enable
  12:10  Cal    -  Calibration cycle
  15:13  ArqSz  -  Asynchronous request size
  31:24  RQ     -  Request queue depth [+1]
"""
    ),
    reserved=((0x03, 1),),
    text=(
        "AGP version {Version.Major:x}.{Version.Minor:x}\n",
        Need(0x04, 8),
        (
            "\t\tStatus: RQ={Status.RQ} {Status|Iso} ArqSz={Status.ArqSz} Cal={Status.Cal} "
            "{Status|SBA ITACoh GART64 HTrans Over4G FW AGP3} "
            "Rate={agp_rate(Status.Rate, Version.Major, Status.AGP3)}\n"
            "\t\tCommand: RQ={Command.RQ} ArqSz={Command.ArqSz} Cal={Command.Cal} "
            "{Command|SBA AGP GART64 Over4G FW} Rate={agp_rate(Command.Rate, Version.Major, Status.AGP3)}\n"
        ),
    ),
)

_VPD = Capability(
    id=0x03,
    name="VPD",
    title="Vital Product Data",
    section="PCIe 6.0, 7.9.18",
    view=View.TRAPPED,
    registers=registers(
        """
Address  02/2  RW  VPD Address
  14:0   Address  -  VPD Address
  15     Flag     -  F: set when a read has completed
Data     04/4  RW  VPD Data
  31:0   Data     -  VPD Data
"""
    ),
    # The content is behind a mailbox that only writes open; without it lspci says so.
    text=("Vital Product Data\n\t\tNot readable\n",),
)

_SLOT_ID = Capability(
    id=0x04,
    name="SlotID",
    title="Slot Identification",
    section="PCI-to-PCI Bridge 1.2, 13",
    registers=registers(
        """
Expansion 02/1  RO  Expansion Slot
  4:0    Slots    -  Expansion Slots Provided
  5      First    -  First in Chassis
Chassis  03/1  RW  Chassis Number
  7:0    Number   -  Chassis Number
"""
    ),
    text=("Slot ID: {Expansion.Slots} slots, {Expansion|First}, chassis {Chassis.Number:02x}\n",),
)

_HOT_SWAP = Capability(
    id=0x06,
    name="HotSwap",
    title="CompactPCI Hot Swap",
    section="PICMG 2.1",
    rests_on="Linux pci_regs.h, memory of PICMG 2.1",
    registers=registers(
        """
CSR      02/1  RW  Hot Swap Control and Status
  0      DHA  -     Device Hiding Arm
  1      EIM  -     ENUM# Signal Mask
  2      PIE  RO    Pending INSERT or EXTRACT
  3      LOO  -     LED On/Off
  5:4    PI   RO    Programming Interface
  6      EXT  RW1C  ENUM# status, extraction
  7      INS  RW1C  ENUM# status, insertion
"""
    ),
    text=("CompactPCI hot-swap <?>\n",),
)

_OUTSTANDING = dict(enumerate((1, 2, 3, 4, 8, 12, 16, 32)))
_PCIX = Capability(
    id=0x07,
    name="PCIX",
    title="PCI-X",
    section="PCI-X 2.0a, 7.2",
    view=View.READ,
    when="header == 0",
    registers=registers(
        """
Command  02/2  RW  PCI-X Command | view writable
  0      DPERE  -  Data Parity Error Recovery Enable
  1      ERO    -  Enable Relaxed Ordering
  3:2    RBC    -  Maximum Memory Read Byte Count [bytes]
  6:4    OST    -  Maximum Outstanding Split Transactions
  13:12  Version  RO  PCI-X Capability List Item Version
Status   04/4  RO  PCI-X Status | rsvdz
  2:0    Function  -  Function Number
  7:3    Device    -  Device Number
  15:8   Bus       -  Bus Number
  16     Wide=64bit  -  64-bit Device
  17     MHz133=133MHz  -  133 MHz Capable
  18     SCD    RW1C  Split Completion Discarded
  19     USC    RW1C  Unexpected Split Completion
  20     DC     -  Device Complexity
  22:21  DMMRBC  -  Designed Maximum Memory Read Byte Count [bytes]
  25:23  DMOST  -  Designed Maximum Outstanding Split Transactions
  28:26  DMCRS  -  Designed Maximum Cumulative Read Size
  29     RSCEM  RW1C  Received Split Completion Error Message
  30     MHz266=266MHz  -  PCI-X 266 Capable
  31     MHz533=533MHz  -  PCI-X 533 Capable
""",
        {
            "RBC": {code: 512 << code for code in range(4)},
            "OST": _OUTSTANDING,
            "DC": {0: "simple", 1: "bridge"},
            "DMMRBC": {code: 512 << code for code in range(4)},
            "DMOST": _OUTSTANDING,
            "DMCRS": {code: 8 << code for code in range(8)},
        },
    ),
    text=(
        "PCI-X non-bridge device\n",
        Need(0x04, 4),
        (
            "\t\tCommand: {Command|DPERE ERO} RBC={Command.RBC=} OST={Command.OST=}\n"
            "\t\tStatus: Dev={Status.Bus:02x}:{Status.Device:02x}.{Status.Function} "
            "{Status|Wide MHz133 SCD USC} DC={Status.DC=} DMMRBC={Status.DMMRBC=} DMOST={Status.DMOST=} "
            "DMCRS={Status.DMCRS=} {Status|RSCEM MHz266 MHz533}\n"
        ),
    ),
)

_PCIX_BRIDGE = Capability(
    id=0x07,
    name="PCIX",
    title="PCI-X Bridge",
    section="PCI-X 2.0a, 8.6.2",
    view=View.READ,
    when="header == 1",
    registers=registers(
        """
SecStatus 02/2  RO  PCI-X Secondary Status | rsvdz
  0      Wide=64bit  -  64-bit Device
  1      MHz133=133MHz  -  133 MHz Capable
  2      SCD   RW1C  Split Completion Discarded
  3      USC   RW1C  Unexpected Split Completion
  4      SCO   RW1C  Split Completion Overrun
  5      SRD   RW1C  Split Request Delayed
  8:6    Freq  -  Secondary Clock Frequency
  13:12  Version  -  PCI-X Capability List Item Version
  14     MHz266  -  PCI-X 266 Capable
  15     MHz533  -  PCI-X 533 Capable
Status   04/4  RO  PCI-X Bridge Status | rsvdz
  2:0    Function  -  Function Number
  7:3    Device    -  Device Number
  15:8   Bus       -  Bus Number
  16     Wide=64bit  -  64-bit Device
  17     MHz133=133MHz  -  133 MHz Capable
  18     SCD   RW1C  Split Completion Discarded
  19     USC   RW1C  Unexpected Split Completion
  20     SCO   RW1C  Split Completion Overrun
  21     SRD   RW1C  Split Request Delayed
  29     DIDM  -  Device ID Messaging Capable
  30     MHz266  -  PCI-X 266 Capable
  31     MHz533  -  PCI-X 533 Capable
Upstream 08/4  RW  Upstream Split Transaction Control
  15:0   Capacity  RO  Split Transaction Capacity
  31:16  Limit     -   Split Transaction Commitment Limit
Downstream 0c/4  RW  Downstream Split Transaction Control
  15:0   Capacity  RO  Split Transaction Capacity
  31:16  Limit     -   Split Transaction Commitment Limit
""",
        {"Freq": dict(enumerate(("conv", "66MHz", "100MHz", "133MHz", "?4", "?5", "?6", "?7")))},
    ),
    text=(
        "PCI-X bridge device\n",
        Need(0x04, 12),
        (
            "\t\tSecondary Status: {SecStatus|Wide MHz133 SCD USC SCO SRD} Freq={SecStatus.Freq=}\n"
            "\t\tStatus: Dev={Status.Bus:02x}:{Status.Device:02x}.{Status.Function} "
            "{Status|Wide MHz133 SCD USC SCO SRD}\n"
            "\t\tUpstream: Capacity={Upstream.Capacity} CommitmentLimit={Upstream.Limit}\n"
            "\t\tDownstream: Capacity={Downstream.Capacity} CommitmentLimit={Downstream.Limit}\n"
        ),
    ),
)

# Of a CardBus bridge lspci says nothing, not even the end of the line.
_PCIX_OTHER = Capability(
    id=0x07,
    name="PCIX",
    title="PCI-X",
    section="PCI-X 2.0a, 7.2",
    view=View.READ,
    reserved=((2, 6),),
    text=("",),
)

_DEBUG_PORT = Capability(
    id=0x0A,
    name="DebugPort",
    title="Debug Port",
    section="EHCI 1.0, C",
    registers=registers(
        """
Location 02/2  RO  Debug Port
  12:0   Offset  -  Debug Port Offset
  15:13  BAR     -  BAR Number, from 1
"""
    ),
    text=("Debug port: BAR={Location.BAR} offset={Location.Offset:04x}\n",),
)

_CRC = Capability(
    id=0x0B,
    name="CompactPCI",
    title="CompactPCI Central Resource Control",
    section="PICMG 2.13",
    rests_on="the list of identifiers: the layout could not be read",
    reserved=((2, 2),),
    text=("CompactPCI central resource control <?>\n",),
)

_SHPC = Capability(
    id=0x0C,
    name="SHPC",
    title="PCI Standard Hot-Plug Controller",
    section="SHPC 1.0, 4.1",
    rests_on="Linux drivers/pci/hotplug/shpchp_hpc.c",
    registers=registers(
        """
DWORDSelect 02/1  RW  DWORD Select
  7:0    Select  -  which dword of the register set Data shows
Pending  03/1  RO  Controller Capabilities
  6      CIP     -  Controller Interrupt Pending
  7      CSERRP  -  Controller SERR# Pending
Data     04/4  RW  DWORD Data
  31:0   Data    -  DWORD Data
"""
    ),
    text=("Hot-plug capable\n",),
)

_SUBSYSTEM = Capability(
    id=0x0D,
    name="SSVID",
    title="Bridge Subsystem Vendor ID",
    section="PCIe 6.0, 7.9.24",
    registers=registers(
        """
Vendor   04/2  HwInit  Subsystem Vendor ID
  15:0   SSVID  -  Subsystem Vendor ID
Device   06/2  HwInit  Subsystem ID
  15:0   SSID   -  Subsystem ID
"""
    ),
    reserved=((2, 2),),
    text=(Need(0, 8), "Subsystem: {Vendor:04x}:{Device:04x}\n"),
)

_AGP3 = Capability(
    id=0x0E,
    name="AGP3",
    title="AGP 8x Bridge",
    section="AGP 3.0",
    rests_on="the list of identifiers: the layout could not be read",
    reserved=((2, 2),),
    text=("AGP3 <?>\n",),
)

_SECURE = Capability(
    id=0x0F,
    name="SecureDevice",
    title="Secure Device",
    section="AMD-Vi 3.2",
    rests_on="the IOMMU capability block of AMD-Vi, whose only use this identifier has",
    registers=registers(
        """
Header2  02/2  RO  IOMMU Capability Header, upper half
  2:0    CapType   -  3 for an IOMMU
  7:3    CapRev    -  Capability Revision
  8      IotlbSup  -  IOTLB Support
  9      HtTunnel  -  HyperTransport Tunnel Translation Support
  10     NpCache   -  Not Present Table Entries Cached
  11     EFRSup    -  Extended Feature Register Support
  12     CapExt    -  Second Miscellaneous Register
BaseLow  04/4  RO  IOMMU Base Address Low
  0      Enable    -  Enable
  31:14  BaseLow   -  Base Address [<<14]
BaseHigh 08/4  RO  IOMMU Base Address High
  31:0   BaseHigh  -  Base Address
Range    0c/4  RO  IOMMU Range
  4:0    UnitID    -  HyperTransport Unit ID
  7      RngValid  -  Range Valid
  15:8   Bus       -  Bus Number
  23:16  First     -  First Device and Function
  31:24  Last      -  Last Device and Function
Misc     10/4  RO  IOMMU Miscellaneous Information
  4:0    MsiNum    -  MSI Message Number
  7:5    GVAsize   -  Guest Virtual Address Size
  14:8   PAsize    -  Physical Address Size
  21:15  VAsize    -  Virtual Address Size
  22     HtAtsResv  -  ATS Response Address Range Reserved
  31:27  MsiNumPPR  -  Peripheral Page Request MSI Message Number
"""
    ),
    text=("Secure device <?>\n",),
)

_SATA = Capability(
    id=0x12,
    name="SATA",
    title="SATA HBA",
    section="SATA AHCI 1.3, 2.4",
    view=View.READ,
    registers=registers(
        """
Revision 02/1  RO  SATA Capability Revision
  3:0    Minor  -  Minor Revision
  7:4    Major  -  Major Revision
BARs     04/4  RO  SATA Capability 1
  3:0    BAR    -  BAR Location
  23:4   Offset  -  BAR Offset, in dwords
"""
    ),
    reserved=((3, 1),),
    text=(
        "SATA HBA v{Revision.Major}.{Revision.Minor}",
        Need(0x04, 4, "\n"),
        " {sata_bar(BARs.BAR, BARs.Offset)}\n",
    ),
)

_AF = Capability(
    id=0x13,
    name="AF",
    title="Advanced Features",
    section="PCIe 6.0, 7.9.21",
    view=View.READ,
    registers=registers(
        """
Length   02/1  RO  Length
  7:0    Length  -  Length [bytes]
Cap      03/1  RO  AF Capabilities
  0      TP      -  Transactions Pending
  1      FLR     -  Function Level Reset
Ctrl     04/1  RW  AF Control | view trapped
  0      FLR     -  Initiate FLR
Status   05/1  RO  AF Status
  0      TP      -  Transactions Pending
"""
    ),
    text=(
        "PCI Advanced Features\n",
        Need(0x03, 3),
        "\t\tAFCap: {Cap|TP FLR}\n\t\tAFCtrl: {Ctrl|FLR}\n\t\tAFStatus: {Status|TP}\n",
    ),
)

_FPB = Capability(
    id=0x15,
    name="FPB",
    title="Flattening Portal Bridge",
    section="PCIe 6.0, 7.8.10",
    rests_on="memory of PCIe 6.0: the text could not be read",
    registers=registers(
        """
Reserved 02/2  RsvdP  Reserved
Cap      04/4  HwInit  FPB Capabilities
  0      RIDSup      -  FPB RID Decode Mechanism Supported
  1      MemLowSup   -  FPB MEM Low Decode Mechanism Supported
  2      MemHighSup  -  FPB MEM High Decode Mechanism Supported
  7:3    NumSecDev   -  FPB Num Sec Dev
  10:8   RIDVecSize  -  FPB RID Vector Size Supported
  18:16  MemLowVecSize   -  FPB MEM Low Vector Size Supported
  26:24  MemHighVecSize  -  FPB MEM High Vector Size Supported
RIDCtl1  08/4  RW  FPB RID Vector Control 1
  0      Enable      -  FPB RID Decode Mechanism Enable
  7:4    Granularity -  FPB RID Vector Granularity
  31:19  Start       -  FPB RID Vector Start
RIDCtl2  0c/4  RW  FPB RID Vector Control 2
  15:3   SecondaryStart  -  RID Secondary Start
MemLowCtl 10/4  RW  FPB MEM Low Vector Control
  0      Enable      -  FPB MEM Low Decode Mechanism Enable
  7:4    Granularity -  FPB MEM Low Vector Granularity
  31:20  Start       -  FPB MEM Low Vector Start
MemHighCtl1 14/4  RW  FPB MEM High Vector Control 1
  0      Enable      -  FPB MEM High Decode Mechanism Enable
  7:4    Granularity -  FPB MEM High Vector Granularity
  31:28  StartLow    -  FPB MEM High Vector Start Lower
MemHighCtl2 18/4  RW  FPB MEM High Vector Control 2
  31:0   StartHigh   -  FPB MEM High Vector Start Upper
VectorAccess 1c/4  RW  FPB Vector Access Control
  7:0    Offset      -  FPB Vector Access Offset
  15:14  Select      -  FPB Vector Select
VectorData 20/4  RW  FPB Vector Access Data
  31:0   Data        -  FPB Vector Access Data
""",
        {"Select": {0: "RID", 1: "MEM Low", 2: "MEM High"}},
    ),
    text=("Capability ID 0x15 [{Reserved:04x}]\n",),
)

CAPABILITIES = (
    _AGP,
    _VPD,
    _SLOT_ID,
    _HOT_SWAP,
    _PCIX,
    _PCIX_BRIDGE,
    _PCIX_OTHER,
    _DEBUG_PORT,
    _CRC,
    _SHPC,
    _SUBSYSTEM,
    _AGP3,
    _SECURE,
    _SATA,
    _AF,
    _FPB,
)

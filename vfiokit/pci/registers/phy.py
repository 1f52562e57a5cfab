"""Physical layer: Secondary PCI Express, 16, 32, 64 and 128 GT/s, Lane Margining."""

from vfiokit.pci.registers.rows import Block, Capability, Need
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_EQUALIZED = """
  0      EquComplete    ROS    Equalization Complete
  1      EquPhase1      ROS    Equalization Phase 1 Successful
  2      EquPhase2      ROS    Equalization Phase 2 Successful
  3      EquPhase3      ROS    Equalization Phase 3 Successful
  4      LinkEquRequest RW1CS  Link Equalization Request
"""
_SHOWN = "EquComplete EquPhase1 EquPhase2 EquPhase3 LinkEquRequest"
_LANE_PRESETS = """
  3:0    Downstream  -  Downstream Port Transmitter Preset
  7:4    Upstream    -  Upstream Port Transmitter Preset
"""

_SECONDARY = Capability(
    id=0x19,
    name="SecPCIe",
    title="Secondary PCI Express",
    extended=True,
    section="PCIe 6.0, 7.7.3",
    registers=registers(
        """
LnkCtl3  04/4  RW  Link Control 3
  0      PerformEqu       -  Perform Equalization
  1      EquIntEn=LnkEquIntrruptEn  -  Link Equalization Request Interrupt Enable
  15:9   LowerSKPGen      -  Enable Lower SKP OS Generation Vector
LaneErr  08/4  RW1CS  Lane Error Status | rsvdz
  31:0   Lanes            -  Lane Error Status Bits
"""
    ),
    blocks=(
        Block(
            "Lane",
            registers(
                """
Equ      00/2  HwInit  Lane Equalization Control
  3:0    DownstreamPreset  -  Downstream Port 8.0 GT/s Transmitter Preset
  6:4    DownstreamHint    -  Downstream Port 8.0 GT/s Receiver Preset Hint
  11:8   UpstreamPreset    -  Upstream Port 8.0 GT/s Transmitter Preset
  14:12  UpstreamHint      -  Upstream Port 8.0 GT/s Receiver Preset Hint
"""
            ),
            0x0C,
            2,
            "lanes",
        ),
    ),
    text=(
        "Secondary PCI Express\n",
        Need(0x04, 12),
        "\t\tLnkCtl3: {LnkCtl3|EquIntEn PerformEqu}\n\t\tLaneErrStat: {lanes(LaneErr.Lanes)}\n",
    ),
)

_16GT = Capability(
    id=0x26,
    name="Phy16",
    title="Physical Layer 16.0 GT/s",
    extended=True,
    section="PCIe 6.0, 7.7.5",
    registers=registers(
        f"""
Cap      04/4  RO  16.0 GT/s Capabilities
Ctl      08/4  RW  16.0 GT/s Control
Status   0c/4  RO  16.0 GT/s Status{_EQUALIZED}
LocalParity 10/4  RW1CS  Local Data Parity Mismatch Status
  31:0   Lanes  -  one bit a lane
FirstRetimerParity 14/4  RW1CS  First Retimer Data Parity Mismatch Status
  31:0   Lanes  -  one bit a lane
SecondRetimerParity 18/4  RW1CS  Second Retimer Data Parity Mismatch Status
  31:0   Lanes  -  one bit a lane
"""
    ),
    reserved=((0x1C, 4),),
    blocks=(
        Block(
            "Lane",
            registers(f"Equ  00/1  HwInit  16.0 GT/s Lane Equalization Control{_LANE_PRESETS}"),
            0x20,
            1,
            "lanes",
        ),
    ),
    text=(
        "Physical Layer 16.0 GT/s\n",
        Need(0x04, 0x18, "\t\t<unreadable>\n"),
        f"\t\tPhy16Sta: {{Status|{_SHOWN}}}\n",
    ),
)

_MODES = {
    0: "PCI Express",
    1: "Training Set Messages",
    2: "Alternate Protocol Negotiation",
    **{code: f"??{code}" for code in range(3, 8)},
}
_BEHAVIOR = {
    0: "Full Equalization required",
    1: "Equalization bypass to highest rate support",
    2: "No Equalization Needed",
    3: "Modified TS1/TS2 Ordered Sets supported",
}
_32GT = Capability(
    id=0x2A,
    name="Phy32",
    title="Physical Layer 32.0 GT/s",
    extended=True,
    section="PCIe 6.0, 7.7.6",
    registers=registers(
        f"""
Cap      04/4  HwInit  32.0 GT/s Capabilities
  0      EqualizationBypass    -  Equalization Bypass to Highest Rate Supported
  1      NoEqualizationNeeded  -  No Equalization Needed Supported
  8      ModTsMode0            -  Modified TS Usage Mode 0 Supported
  9      ModTsMode1            -  Modified TS Usage Mode 1 Supported
  10     ModTsMode2            -  Modified TS Usage Mode 2 Supported
  15:11  ModTsReserved         -  Modified TS Reserved Usage Modes
Ctl      08/4  RW  32.0 GT/s Control
  0      EqualizationBypassDis    -  Equalization Bypass to Highest Rate Disable
  1      NoEqualizationNeededDis  -  No Equalization Needed Disable
  10:8   ModTsMode                -  Modified TS Usage Mode Selected
Status   0c/4  RO  32.0 GT/s Status{_EQUALIZED}
  5      ModTsRecv     ROS  Modified TS Received
  7:6    LinkBehavior  ROS  Received Enhanced Link Behavior Control
  8      TxPrecodeOn   ROS  Transmitter Precoding On
  9      TxPrecodeReq  ROS  Transmitter Precode Request
  10     NoEqualizationNeededRecv  ROS  No Equalization Needed Received
RxModTs1 10/4  ROS  Received Modified TS Data 1
  2:0    Usage    -  Received Modified TS Usage Mode
  15:3   Info1    -  Received Modified TS Information 1
  31:16  Vendor   -  Received Modified TS Vendor ID
RxModTs2 14/4  ROS  Received Modified TS Data 2
  23:0   Info2    -  Received Modified TS Information 2
  25:24  Negotiation  -  Alternate Protocol Negotiation Status
TxModTs1 18/4  RO  Transmitted Modified TS Data 1
  2:0    Usage    -  Transmitted Modified TS Usage Mode
  15:3   Info1    -  Transmitted Modified TS Information 1
  31:16  Vendor   -  Transmitted Modified TS Vendor ID
TxModTs2 1c/4  RO  Transmitted Modified TS Data 2
  23:0   Info2    -  Transmitted Modified TS Information 2
  25:24  Negotiation  -  Alternate Protocol Negotiation Status
""",
        {"ModTsMode": _MODES, "LinkBehavior": _BEHAVIOR},
    ),
    blocks=(
        Block(
            "Lane",
            registers(f"Equ  00/1  HwInit  32.0 GT/s Lane Equalization Control{_LANE_PRESETS}"),
            0x20,
            1,
            "lanes",
        ),
    ),
    text=(
        "Physical Layer 32.0 GT/s\n",
        Need(0x04, 0x1C, "\t\t<unreadable>\n"),
        (
            "\t\tPhy32Cap: {Cap|EqualizationBypass NoEqualizationNeeded}\n"
            "\t\t\t  {Cap|ModTsMode0 ModTsMode1 ModTsMode2}\n"
            "\t\tPhy32Ctl: {Ctl|EqualizationBypassDis NoEqualizationNeededDis}\n"
            "\t\t\t  Modified TS Usage Mode: {Ctl.ModTsMode=}\n"
            f"\t\tPhy32Sta: {{Status|{_SHOWN}}}\n"
            "\t\t\t  Received Enhanced Link Behavior Control: {Status.LinkBehavior=}\n"
            "\t\t\t  {Status|ModTsRecv TxPrecodeOn TxPrecodeReq NoEqualizationNeededRecv}\n"
        ),
    ),
)


def _pam4(
    number: int, name: str, rate: str, section: str, rests_on: str, text: tuple[str | Need, ...]
) -> Capability:
    return Capability(
        id=number,
        name=name,
        title=f"Physical Layer {rate} GT/s",
        extended=True,
        section=section,
        rests_on=rests_on,
        registers=registers(
            f"""
Cap      04/4  HwInit  {rate} GT/s Capabilities
Ctl      08/4  RW  {rate} GT/s Control
Status   0c/4  RO  {rate} GT/s Status{_EQUALIZED}
  5      TxPrecodeOn   ROS  Transmitter Precoding On
  6      TxPrecodeReq  ROS  Transmitter Precode Request
  7      NoEqualizationNeededRecv  ROS  No Equalization Needed Received
"""
        ),
        blocks=(
            Block(
                "Lane",
                registers(f"Equ  00/1  HwInit  {rate} GT/s Lane Equalization Control{_LANE_PRESETS}"),
                0x10,
                1,
                "lanes",
            ),
        ),
        text=text,
    )


_64GT = _pam4(
    0x31,
    "Phy64",
    "64.0",
    "PCIe 6.0, 7.7.7",
    "memory of PCIe 6.0, Linux pci_regs.h for the offset of the lanes",
    (
        "Physical Layer 64.0 GT/s\n",
        Need(0x04, 12, "\t\t<unreadable>\n"),
        (
            f"\t\tPhy64Sta: {{Status|{_SHOWN}}}\n"
            "\t\t\t  {Status|TxPrecodeOn TxPrecodeReq NoEqualizationNeededRecv}\n"
        ),
    ),
)
_128GT = _pam4(
    0x39,
    "Phy128",
    "128.0",
    "PCIe 7.0, 7.7",
    "the layout of the 64.0 GT/s capability, which its draft repeats: the text could not be read",
    ("Extended Capability ID 0x39\n",),
)

_MARGINING = Capability(
    id=0x27,
    name="LaneMargining",
    title="Lane Margining at the Receiver",
    extended=True,
    section="PCIe 6.0, 7.7.10",
    registers=registers(
        """
PortCap  04/2  HwInit  Margining Port Capabilities
  0      Driver     -  Margining uses Driver Software
PortSta  06/2  RO  Margining Port Status
  0      MargReady      -  Margining Ready
  1      MargSoftReady  -  Margining Software Ready
"""
    ),
    blocks=(
        Block(
            "Lane",
            registers(
                """
Ctl      00/2  RW  Margining Lane Control
  2:0    Receiver   -  Receiver Number
  5:3    Type       -  Margin Type
  6      Usage      -  Usage Model
  15:8   Payload    -  Margin Payload
Sta      02/2  RO  Margining Lane Status
  2:0    Receiver   -  Receiver Number Status
  5:3    Type       -  Margin Type Status
  6      Usage      -  Usage Model Status
  15:8   Payload    -  Margin Payload Status
"""
            ),
            0x08,
            4,
            "lanes",
        ),
    ),
    text=(
        "Lane Margining at the Receiver\n",
        Need(0, 8),
        "\t\tPortCap: Uses Driver{PortCap.Driver}\n\t\tPortSta: {PortSta|MargReady MargSoftReady}\n",
    ),
)

CAPABILITIES = (_SECONDARY, _16GT, _32GT, _64GT, _128GT, _MARGINING)

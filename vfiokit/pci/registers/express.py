"""PCI Express capability (PCIe 6.0, 7.5.3)."""

from vfiokit.pci.registers.rows import Capability, Need, View
from vfiokit.pci.registers.table import Meanings, registers

__all__ = ["CAPABILITIES"]

_PORT: Meanings = {
    0: "Endpoint",
    1: "Legacy Endpoint",
    4: "Root Port",
    5: "Upstream Port",
    6: "Downstream Port",
    7: "PCI-Express to PCI/PCI-X Bridge",
    8: "PCI/PCI-X to PCI-Express Bridge",
    9: "Root Complex Integrated Endpoint",
    10: "Root Complex Event Collector",
}
_BYTES: Meanings = {code: 128 << code for code in range(6)}
_L0S: Meanings = dict(
    enumerate(("<64ns", "<128ns", "<256ns", "<512ns", "<1us", "<2us", "<4us", "unlimited"))
)
_L1: Meanings = dict(enumerate(("<1us", "<2us", "<4us", "<8us", "<16us", "<32us", "<64us", "unlimited")))
_SPEED: Meanings = {
    1: "2.5GT/s",
    2: "5GT/s",
    3: "8GT/s",
    4: "16GT/s",
    5: "32GT/s",
    6: "64GT/s",
    None: "unknown",
}
_TARGET: Meanings = {**_SPEED, 0: "2.5GT/s", None: "Unknown"}
_ASPM: Meanings = {0: "not supported", 1: "L0s", 2: "L1", 3: "L0s L1"}
_ASPM_ON: Meanings = {0: "Disabled", 1: "L0s Enabled", 2: "L1 Enabled", 3: "L0s L1 Enabled"}
_INDICATOR: Meanings = {0: "Unknown", 1: "On", 2: "Blink", 3: "Off"}
_RANGES: Meanings = {
    0: "Not Supported",
    1: "Range A",
    2: "Range B",
    3: "Range AB",
    6: "Range BC",
    7: "Range ABC",
    14: "Range BCD",
    15: "Range ABCD",
    None: "Unknown",
}
_TIMEOUT: Meanings = {
    0: "50us to 50ms",
    1: "50us to 100us",
    2: "1ms to 10ms",
    5: "16ms to 55ms",
    6: "65ms to 210ms",
    9: "260ms to 900ms",
    10: "1s to 3.5s",
    13: "4s to 13s",
    14: "17s to 64s",
    None: "Unknown",
}
_OBFF: Meanings = {0: "Not Supported", 1: "Via message", 2: "Via WAKE#", 3: "Via message/WAKE#"}
_OBFF_ON: Meanings = {0: "Disabled", 1: "Via message A", 2: "Via message B", 3: "Via WAKE#"}
_POWER_REDUCTION: Meanings = {
    0: "Not Supported",
    1: "Dev Specific",
    2: "Form Factor Dev Specific",
    3: "Reserved",
}
_LINES: Meanings = {0: "Not Supported", 1: "64byte cachelines", 2: "128byte cachelines", 3: "Reserved"}
_TPH: Meanings = {
    0: "TPHComp- ExtTPHComp-",
    1: "TPHComp+ ExtTPHComp-",
    2: "",
    3: "TPHComp+ ExtTPHComp+",
}
_EMPHASIS: Meanings = {0: "-6dB", 1: "-3.5dB"}
_PRESET: Meanings = {
    0: "-6dB de-emphasis, 0dB preshoot",
    1: "-3.5dB de-emphasis, 0dB preshoot",
    2: "-4.4dB de-emphasis, 0dB preshoot",
    3: "-2.5dB de-emphasis, 0dB preshoot",
    4: "0dB de-emphasis, 0dB preshoot",
    5: "0dB de-emphasis, 1.9dB preshoot",
    6: "0dB de-emphasis, 2.5dB preshoot",
    7: "-6.0dB de-emphasis, 3.5dB preshoot",
    8: "-3.5dB de-emphasis, 3.5dB preshoot",
    9: "0dB de-emphasis, 3.5dB preshoot",
    None: "Unknown",
}
_MARGIN: Meanings = {
    0: "Normal Operating Range",
    1: "800-1200mV(full-swing)/400-700mV(half-swing)",
    **dict.fromkeys(range(2, 6), "200-400mV(full-swing)/100-200mV(half-swing)"),
    None: "Unknown",
}
_CROSSLINK: Meanings = {0: "unsupported", 1: "Upstream Port", 2: "Downstream Port", 3: "incomplete"}
_COMPONENT: Meanings = {
    0: "Link Down - Not Determined",
    1: "Link Down - Not Present",
    2: "Link Down - Present",
    4: "Link Up - Present",
    5: "Link Up - Present and DRS Received",
    None: "Reserved",
}

_LINK = "Flags.PortType not in (RC_ENDPOINT, EVENT_COLLECTOR)"
_SLOT = "Flags.Slot and Flags.PortType in (ROOT_PORT, DOWNSTREAM_PORT, PCI_TO_PCIE_BRIDGE)"
_ROOT = "Flags.PortType in (ROOT_PORT, EVENT_COLLECTOR)"
_SECOND = "Flags.Version >= 2"
_END = "Flags.PortType in (ENDPOINT, LEGACY_ENDPOINT)"
_RESETS = "Flags.PortType in (ENDPOINT, LEGACY_ENDPOINT, RC_ENDPOINT)"
_BUTTONS = "Flags.PortType in (ENDPOINT, LEGACY_ENDPOINT, UPSTREAM_PORT, PCIE_TO_PCI_BRIDGE)"
_LIMITED = "Flags.PortType in (ENDPOINT, UPSTREAM_PORT, PCIE_TO_PCI_BRIDGE)"
_TO_PCI = "Flags.PortType == PCIE_TO_PCI_BRIDGE"
_RCB = "Flags.PortType in (ROOT_PORT, ENDPOINT, LEGACY_ENDPOINT, PCIE_TO_PCI_BRIDGE)"
_IS_ROOT = "Flags.PortType == ROOT_PORT"
_DOWN = "Flags.PortType in (ROOT_PORT, DOWNSTREAM_PORT)"
_NOT_DOWN = "Flags.PortType not in (ROOT_PORT, DOWNSTREAM_PORT)"
_SWITCHES = "Flags.PortType in (ROOT_PORT, UPSTREAM_PORT, DOWNSTREAM_PORT)"
_REQUESTS = "Flags.PortType in (ROOT_PORT, ENDPOINT, RC_ENDPOINT, LEGACY_ENDPOINT)"


def _second(condition: str) -> str:
    return f"{_SECOND} and {condition}"


_TARGETED = f"{_SECOND} and {_LINK} and (first or Flags.PortType not in (ENDPOINT, LEGACY_ENDPOINT))"
_REGISTERS = registers(
    f"""
Flags    02/2  RO  PCI Express Capabilities
  3:0    Version       -  Capability Version
  7:4    PortType      -  Device/Port Type
  8      Slot          HwInit  Slot Implemented
  13:9   IntMsgNum     -  Interrupt Message Number
  14     Undefined     -  was TCS Routing Supported
  15     FlitMode      HwInit  Flit Mode Supported
DevCap   04/4  RO  Device Capabilities
  2:0    MaxPayload    -  Max_Payload_Size Supported [bytes]
  4:3    PhantFunc     -  Phantom Functions Supported
  5      ExtTag        -  Extended Tag Field Supported
  8:6    LatencyL0s    -  Endpoint L0s Acceptable Latency
  11:9   LatencyL1     -  Endpoint L1 Acceptable Latency
  12     AttnBtn       -  Attention Button Present, before PCIe 1.1
  13     AttnInd       -  Attention Indicator Present, before PCIe 1.1
  14     PwrInd        -  Power Indicator Present, before PCIe 1.1
  15     RBE           -  Role-Based Error Reporting
  16     ErrCorSubclass  -  ERR_COR Subclass Capable
  17     RxMPSFixed    -  Rx_MPS_Fixed
  25:18  SlotPowerValue  -  Captured Slot Power Limit Value
  27:26  SlotPowerScale  -  Captured Slot Power Limit Scale
  28     FLReset       -  Function Level Reset Capability
  29     MixedMPS      -  Mixed_MPS_Supported
  30     TEEIO=TEE-IO  -  TEE-IO Supported
DevCtl   08/2  RW  Device Control | view writable
  0      CorrErr       -  Correctable Error Reporting Enable
  1      NonFatalErr   -  Non-Fatal Error Reporting Enable
  2      FatalErr      -  Fatal Error Reporting Enable
  3      UnsupReq      -  Unsupported Request Reporting Enable
  4      RlxdOrd       -  Enable Relaxed Ordering
  7:5    MaxPayload    -  Max_Payload_Size [bytes] [vfio virtual]
  8      ExtTag        -  Extended Tag Field Enable
  9      PhantFunc     -  Phantom Functions Enable [vfio read-only]
  10     AuxPwr        RWS  Aux Power PM Enable
  11     NoSnoop       -  Enable No Snoop
  14:12  MaxReadReq    -  Max_Read_Request_Size [bytes] [vfio trapped]
  15     FLReset       -  Initiate Function Level Reset, or Bridge Configuration Retry Enable [vfio trapped]
DevSta   0a/2  RW1C  Device Status | view read-only | rsvdz
  0      CorrErr       -  Correctable Error Detected
  1      NonFatalErr   -  Non-Fatal Error Detected
  2      FatalErr      -  Fatal Error Detected
  3      UnsupReq      -  Unsupported Request Detected
  4      AuxPwr        RO  AUX Power Detected
  5      TransPend     RO  Transactions Pending
  6      EmergencyPowerReduction  -  Emergency Power Reduction Detected
LnkCap   0c/4  RO  Link Capabilities | when {_LINK}
  3:0    Speed         -  Max Link Speed
  9:4    Width         -  Maximum Link Width
  11:10  ASPM          -  Active State Power Management Support
  14:12  ExitL0s       -  L0s Exit Latency
  17:15  ExitL1        -  L1 Exit Latency
  18     ClockPM       -  Clock Power Management
  19     Surprise      -  Surprise Down Error Reporting Capable
  20     LLActRep      -  Data Link Layer Link Active Reporting Capable
  21     BwNot         -  Link Bandwidth Notification Capability
  22     ASPMOptComp   HwInit  ASPM Optionality Compliance
  31:24  Port          HwInit  Port Number
LnkCtl   10/2  RW  Link Control | when {_LINK}
  1:0    ASPM          -  Active State Power Management Control
  2      PTMPropagation  -  PTM Propagation Delay Adaptation Interpretation B
  3      RCB           -  Read Completion Boundary
  4      LnkDisable    -  Link Disable
  5      Retrain       -  Retrain Link
  6      CommClk       -  Common Clock Configuration
  7      ExtSynch      -  Extended Synch
  8      ClockPM       -  Enable Clock Power Management
  9      AutWidDis     -  Hardware Autonomous Width Disable
  10     BWInt         -  Link Bandwidth Management Interrupt Enable
  11     AutBWInt      -  Link Autonomous Bandwidth Interrupt Enable
  12     SRISClocking  -  SRIS Clocking
  13     FltModeDis    -  Flit Mode Disable
  15:14  DRSSignaling  -  DRS Signaling Control
LnkSta   12/2  RO  Link Status | when {_LINK} | rsvdz
  3:0    Speed         -  Current Link Speed
  9:4    Width         -  Negotiated Link Width
  10     TrErr         -  was Training Error
  11     Train         -  Link Training
  12     SlotClk       HwInit  Slot Clock Configuration
  13     DLActive      -  Data Link Layer Link Active
  14     BWMgmt        RW1C  Link Bandwidth Management Status
  15     ABWMgmt       RW1C  Link Autonomous Bandwidth Status
SltCap   14/4  HwInit  Slot Capabilities | when {_SLOT}
  0      AttnBtn       -  Attention Button Present
  1      PwrCtrl       -  Power Controller Present
  2      MRL           -  MRL Sensor Present
  3      AttnInd       -  Attention Indicator Present
  4      PwrInd        -  Power Indicator Present
  5      Surprise      -  Hot-Plug Surprise
  6      HotPlug       -  Hot-Plug Capable
  14:7   PowerLimitValue  -  Slot Power Limit Value
  16:15  PowerLimitScale  -  Slot Power Limit Scale
  17     Interlock     -  Electromechanical Interlock Present
  18     NoCompl       -  No Command Completed Support
  31:19  Slot          -  Physical Slot Number
SltCtl   18/2  RW  Slot Control | when {_SLOT}
  0      AttnBtn       -  Attention Button Pressed Enable
  1      PwrFlt        -  Power Fault Detected Enable
  2      MRL           -  MRL Sensor Changed Enable
  3      PresDet       -  Presence Detect Changed Enable
  4      CmdCplt       -  Command Completed Interrupt Enable
  5      HPIrq         -  Hot-Plug Interrupt Enable
  7:6    AttnInd       -  Attention Indicator Control
  9:8    PwrInd        -  Power Indicator Control
  10     Power         -  Power Controller Control
  11     Interlock     -  Electromechanical Interlock Control
  12     LinkChg       -  Data Link Layer State Changed Enable
  13     AutoPowerLimitDis  -  Auto Slot Power Limit Disable
  14     InBandPDDis   -  In-Band PD Disable
SltSta   1a/2  RW1C  Slot Status | when {_SLOT} | rsvdz
  0      AttnBtn       -  Attention Button Pressed
  1      PowerFlt      -  Power Fault Detected
  2      MRLChanged=MRL  -  MRL Sensor Changed
  3      PresDetChanged=PresDet  -  Presence Detect Changed
  4      CmdCplt       -  Command Completed
  5      MRL           RO  MRL Sensor State
  6      PresDet       RO  Presence Detect State
  7      Interlock     RO  Electromechanical Interlock Status
  8      LinkState     -  Data Link Layer State Changed
RootCtl  1c/2  RW  Root Control | when {_ROOT}
  0      ErrCorrectable  -  System Error on Correctable Error Enable
  1      ErrNonFatal=ErrNon-Fatal  -  System Error on Non-Fatal Error Enable
  2      ErrFatal      -  System Error on Fatal Error Enable
  3      PMEIntEna     -  PME Interrupt Enable
  4      CRSVisible    -  Configuration RRS Software Visibility Enable
  5      NoNFMToEP     -  No NFM Subtree Below This Root Port
RootCap  1e/2  RO  Root Capabilities | when {_ROOT}
  0      CRSVisible    -  Configuration RRS Software Visibility
RootSta  20/4  RO  Root Status | when {_ROOT} | rsvdz
  15:0   PMEReqID      -  PME Requester ID
  16     PMEStatus     RW1C  PME Status
  17     PMEPending    -  PME Pending
DevCap2  24/4  RO  Device Capabilities 2 | when {_SECOND}
  3:0    TimeoutRange  HwInit  Completion Timeout Ranges Supported
  4      TimeoutDis    -  Completion Timeout Disable Supported
  5      ARIFwd        -  ARI Forwarding Supported
  6      Routing       -  AtomicOp Routing Supported
  7      Atomic32=32bit  -  32-bit AtomicOp Completer Supported
  8      Atomic64=64bit  -  64-bit AtomicOp Completer Supported
  9      CAS128=128bitCAS  -  128-bit CAS Completer Supported
  10     NROPrPrP      HwInit  No RO-enabled PR-PR Passing
  11     LTR           -  LTR Mechanism Supported
  13:12  TPHComp       -  TPH Completer Supported
  15:14  LNCLS         HwInit  LN System CLS
  16     TagComp10=10BitTagComp  -  10-Bit Tag Completer Supported
  17     TagReq10=10BitTagReq  -  10-Bit Tag Requester Supported
  19:18  OBFF          HwInit  OBFF Supported
  20     ExtFmt        -  Extended Fmt Field Supported
  21     EETLPPrefix   HwInit  End-End TLP Prefix Supported
  23:22  MaxEETLPPrefixes  HwInit  Max End-End TLP Prefixes
  25:24  EPR           HwInit  Emergency Power Reduction Supported
  26     EPRInit       HwInit  Emergency Power Reduction Initialization Required
  28     DMWrComp      -  DMWr Completer Supported
  30:29  DMWrLen       -  DMWr Lengths Supported
  31     FRS           HwInit  FRS Supported
DevCtl2  28/2  RW  Device Control 2 | when {_SECOND} | view writable
  3:0    Timeout       -  Completion Timeout Value
  4      TimeoutDis    -  Completion Timeout Disable
  5      ARIFwd        -  ARI Forwarding Enable [vfio read-only]
  6      ReqEn         -  AtomicOp Requester Enable
  7      EgressBlck    -  AtomicOp Egress Blocking
  8      IDOReq        -  IDO Request Enable
  9      IDOCompl      -  IDO Completion Enable
  10     LTR           -  LTR Mechanism Enable
  11     EPRReq        -  Emergency Power Reduction Request
  12     TagReq10=10BitTagReq  -  10-Bit Tag Requester Enable
  14:13  OBFF          -  OBFF Enable
  15     EETLPPrefixBlk  -  End-End TLP Prefix Blocking
DevSta2  2a/2  RO  Device Status 2 | when {_SECOND}
LnkCap2  2c/4  HwInit  Link Capabilities 2 | when {_second(_LINK)}
  7:1    Speeds        -  Supported Link Speeds Vector
  8      Crosslink     RO  Crosslink Supported
  15:9   LowerSKPGen   RO  Lower SKP OS Generation Supported Speeds Vector
  22:16  LowerSKPRcv   RO  Lower SKP OS Reception Supported Speeds Vector
  23     Retimer       -  Retimer Presence Detect Supported
  24     TwoRetimers=2Retimers  -  Two Retimers Presence Detect Supported
  31     DRS           -  DRS Supported
LnkCtl2  30/2  RWS  Link Control 2 | when {_second(_LINK)}
  3:0    TargetSpeed   -  Target Link Speed
  4      EnterCompliance  -  Enter Compliance
  5      SpeedDis      -  Hardware Autonomous Speed Disable
  6      Deemphasis    HwInit  Selectable De-emphasis
  9:7    Margin        -  Transmit Margin
  10     EnterModifiedCompliance  -  Enter Modified Compliance
  11     ComplianceSOS  -  Compliance SOS
  15:12  CompliancePreset  -  Compliance Preset/De-emphasis
LnkSta2  32/2  RO  Link Status 2 | when {_second(_LINK)} | rsvdz
  0      Deemphasis    -  Current De-emphasis Level
  1      EqualizationComplete  ROS  Equalization 8.0 GT/s Complete
  2      EqualizationPhase1  ROS  Equalization 8.0 GT/s Phase 1 Successful
  3      EqualizationPhase2  ROS  Equalization 8.0 GT/s Phase 2 Successful
  4      EqualizationPhase3  ROS  Equalization 8.0 GT/s Phase 3 Successful
  5      LinkEqualizationRequest  RW1CS  Link Equalization Request 8.0 GT/s
  6      Retimer       ROS  Retimer Presence Detected
  7      TwoRetimers=2Retimers  ROS  Two Retimers Presence Detected
  9:8    CrosslinkRes  -  Crosslink Resolution
  10     FltMode       -  Flit Mode Status
  14:12  DownstreamComp  -  Downstream Component Presence
  15     DRS           RW1C  DRS Message Received
SltCap2  34/4  RO  Slot Capabilities 2 | when {_second(_SLOT)}
  0      InBandPDDis   -  In-Band PD Disable Supported
SltCtl2  38/2  RW  Slot Control 2 | when {_second(_SLOT)}
SltSta2  3a/2  RW1C  Slot Status 2 | when {_second(_SLOT)} | rsvdz
""",
    {
        "PortType": _PORT,
        "DevCap.MaxPayload": _BYTES,
        "LatencyL0s": _L0S,
        "LatencyL1": _L1,
        "DevCtl.MaxPayload": _BYTES,
        "MaxReadReq": _BYTES,
        "LnkCap.Speed": _SPEED,
        "LnkCap.ASPM": _ASPM,
        "ExitL0s": _L0S,
        "ExitL1": _L1,
        "LnkCtl.ASPM": _ASPM_ON,
        "RCB": {0: 64, 1: 128},
        "LnkSta.Speed": _SPEED,
        "SltCtl.AttnInd": _INDICATOR,
        "SltCtl.PwrInd": _INDICATOR,
        "TimeoutRange": _RANGES,
        "TPHComp": _TPH,
        "LNCLS": _LINES,
        "DevCap2.OBFF": _OBFF,
        "EPR": _POWER_REDUCTION,
        "Timeout": _TIMEOUT,
        "DevCtl2.OBFF": _OBFF_ON,
        "TargetSpeed": _TARGET,
        "LnkCtl2.Deemphasis": _EMPHASIS,
        "Margin": _MARGIN,
        "CompliancePreset": _PRESET,
        "LnkSta2.Deemphasis": _EMPHASIS,
        "CrosslinkRes": _CROSSLINK,
        "DownstreamComp": _COMPONENT,
    },
)

_ATOMIC_CAP = _second(f"({_SWITCHES} or memory)")
_ATOMIC_COMPLETER = _second(f"({_IS_ROOT} or memory)")
_ATOMIC_CTL = _second(f"({_SWITCHES} or {_REQUESTS})")
_DRS = _second("Flags.PortType in (ROOT_PORT, DOWNSTREAM_PORT, PCI_TO_PCIE_BRIDGE) and LnkCap2.DRS")
_NO_DRS = _second(
    f"{_LINK} and not (Flags.PortType in (ROOT_PORT, DOWNSTREAM_PORT, PCI_TO_PCIE_BRIDGE) and LnkCap2.DRS)"
)
_NOT_TYPED = f"Flags.PortType not in ({', '.join(str(code) for code in _PORT)})"

_TEXT = (
    "Express (v{Flags.Version}) ",
    ("Flags.PortType in (4, 6, 8)", "{Flags.PortType=} (Slot{Flags.Slot})"),
    ("Flags.PortType in (0, 1, 5, 7, 9, 10)", "{Flags.PortType=}"),
    (_NOT_TYPED, "Unknown type {Flags.PortType}"),
    ", IntMsgNum {Flags.IntMsgNum}",
    ("Flags.FlitMode", ", FLIT Mode Supported"),
    "\n",
    Need(0x04, 16),
    "\t\tDevCap:\tMaxPayload {payload(DevCap.MaxPayload)} bytes, PhantFunc {phantom(DevCap.PhantFunc)}",
    (_END, ", Latency L0s {DevCap.LatencyL0s=}, L1 {DevCap.LatencyL1=}"),
    "\n\t\t\t{DevCap|ExtTag}",
    (_BUTTONS, " {DevCap|AttnBtn AttnInd PwrInd}"),
    " {DevCap|RBE}",
    (_RESETS, " {DevCap|FLReset}"),
    (_LIMITED, " SlotPowerLimit {power_limit(DevCap.SlotPowerValue, DevCap.SlotPowerScale)}"),
    " {DevCap|TEEIO}\n",
    "\t\tDevCtl:\t{DevCtl|CorrErr NonFatalErr FatalErr UnsupReq}\n",
    "\t\t\t{DevCtl|RlxdOrd ExtTag PhantFunc AuxPwr NoSnoop}",
    (_TO_PCI, " BrConfRtry{DevCtl.FLReset}"),
    (f"{_RESETS} and DevCap.FLReset", " {DevCtl|FLReset}"),
    "\n\t\t\tMaxPayload {payload(DevCtl.MaxPayload)} bytes, ",
    "MaxReadReq {payload(DevCtl.MaxReadReq)} bytes\n",
    "\t\tDevSta:\t{DevSta|CorrErr NonFatalErr FatalErr UnsupReq AuxPwr TransPend}\n",
    (
        _LINK,
        (
            "\t\tLnkCap:\tPort #{LnkCap.Port}, Speed {LnkCap.Speed=}, Width x{LnkCap.Width}, "
            "ASPM {LnkCap.ASPM=}{exit_latency(LnkCap.ASPM, LnkCap.ExitL0s, LnkCap.ExitL1)}\n"
            "\t\t\t{LnkCap|ClockPM Surprise LLActRep BwNot ASPMOptComp}\n"
            "\t\tLnkCtl:\tASPM {LnkCtl.ASPM=};"
        ),
    ),
    (_RCB, " RCB {LnkCtl.RCB=} bytes,"),
    (
        _LINK,
        (
            " {LnkCtl|LnkDisable CommClk}\n"
            "\t\t\t{LnkCtl|ExtSynch ClockPM AutWidDis BWInt AutBWInt FltModeDis}\n"
            "\t\tLnkSta:\tSpeed {LnkSta.Speed=}{downgraded(Flags.PortType, LnkSta.Speed, LnkCap.Speed)}, "
            "Width x{LnkSta.Width}{downgraded(Flags.PortType, LnkSta.Width, LnkCap.Width)}\n"
            "\t\t\t{LnkSta|TrErr Train SlotClk DLActive BWMgmt ABWMgmt}\n"
        ),
    ),
    (
        _SLOT,
        (
            "\t\tSltCap:\t{SltCap|AttnBtn PwrCtrl MRL AttnInd PwrInd HotPlug Surprise}\n"
            "\t\t\tSlot #{SltCap.Slot}, "
            "PowerLimit {power_limit(SltCap.PowerLimitValue, SltCap.PowerLimitScale)}; "
            "{SltCap|Interlock NoCompl}\n"
            "\t\tSltCtl:\tEnable: {SltCtl|AttnBtn PwrFlt MRL PresDet CmdCplt HPIrq LinkChg}\n"
            "\t\t\tControl: AttnInd {SltCtl.AttnInd=}, PwrInd {SltCtl.PwrInd=}, {SltCtl|Power Interlock}\n"
            "\t\tSltSta:\tStatus: {SltSta|AttnBtn PowerFlt MRL CmdCplt PresDet Interlock}\n"
            "\t\t\tChanged: {SltSta|MRLChanged PresDetChanged LinkState}\n"
        ),
    ),
    (
        _ROOT,
        (
            "\t\tRootCap: {RootCap|CRSVisible}\n"
            "\t\tRootCtl: {RootCtl|ErrCorrectable ErrNonFatal ErrFatal PMEIntEna CRSVisible}\n"
            "\t\tRootSta: PME ReqID {RootSta.PMEReqID:04x}, {RootSta|PMEStatus PMEPending}\n"
        ),
    ),
    (
        _SECOND,
        (
            "\t\tDevCap2: Completion Timeout: {DevCap2.TimeoutRange=}, {DevCap2|TimeoutDis NROPrPrP LTR}\n"
            "\t\t\t {DevCap2|TagComp10 TagReq10} OBFF {DevCap2.OBFF=}, {DevCap2|ExtFmt EETLPPrefix}"
            "{prefixes(DevCap2.EETLPPrefix, DevCap2.MaxEETLPPrefixes)}\n"
            "\t\t\t EmergencyPowerReduction {DevCap2.EPR=}, EmergencyPowerReductionInit{DevCap2.EPRInit}\n"
            "\t\t\t {DevCap2|FRS}"
        ),
    ),
    (_second(_IS_ROOT), " LN System CLS {DevCap2.LNCLS=},"),
    (_second("Flags.PortType in (ROOT_PORT, ENDPOINT)"), " {DevCap2.TPHComp=}"),
    (_second(_DOWN), " {DevCap2|ARIFwd}"),
    (_SECOND, "\n"),
    (_ATOMIC_CAP, "\t\t\t AtomicOpsCap:"),
    (_second(_SWITCHES), " {DevCap2|Routing}"),
    (_ATOMIC_COMPLETER, " {DevCap2|Atomic32 Atomic64 CAS128}"),
    (_ATOMIC_CAP, "\n"),
    (_SECOND, "\t\tDevCtl2: Completion Timeout: {DevCtl2.Timeout=}, {DevCtl2|TimeoutDis}"),
    (_second(_DOWN), " {DevCtl2|ARIFwd}"),
    (_SECOND, "\n"),
    (_ATOMIC_CTL, "\t\t\t AtomicOpsCtl:"),
    (_second(_REQUESTS), " {DevCtl2|ReqEn}"),
    (_second(_SWITCHES), " {DevCtl2|EgressBlck}"),
    (_ATOMIC_CTL, "\n"),
    (
        _SECOND,
        (
            "\t\t\t {DevCtl2|IDOReq IDOCompl LTR} EmergencyPowerReductionReq{DevCtl2.EPRReq}\n"
            "\t\t\t {DevCtl2|TagReq10} OBFF {DevCtl2.OBFF=}, {DevCtl2|EETLPPrefixBlk}\n"
        ),
    ),
    (
        f"{_TARGETED} and LnkCap2.all",
        (
            "\t\tLnkCap2: Supported Link Speeds: {speeds(LnkCap2.Speeds)}, "
            "{LnkCap2|Crosslink Retimer TwoRetimers DRS}\n"
        ),
    ),
    (
        _TARGETED,
        "\t\tLnkCtl2: Target Link Speed: {LnkCtl2.TargetSpeed=}, {LnkCtl2|EnterCompliance SpeedDis}",
    ),
    (
        _second("Flags.PortType == DOWNSTREAM_PORT"),
        ", Selectable De-emphasis: {LnkCtl2.Deemphasis=}",
    ),
    (
        _TARGETED,
        (
            "\n\t\t\t Transmit Margin: {LnkCtl2.Margin=}, {LnkCtl2|EnterModifiedCompliance ComplianceSOS}\n"
            "\t\t\t Compliance Preset/De-emphasis: {LnkCtl2.CompliancePreset=}\n"
        ),
    ),
    (
        _second(_LINK),
        (
            "\t\tLnkSta2: Current De-emphasis Level: {LnkSta2.Deemphasis=}, "
            "{LnkSta2|EqualizationComplete EqualizationPhase1}\n"
            "\t\t\t {LnkSta2|EqualizationPhase2 EqualizationPhase3 LinkEqualizationRequest}\n"
            "\t\t\t {LnkSta2|Retimer TwoRetimers} CrosslinkRes: {LnkSta2.CrosslinkRes=}"
        ),
    ),
    (_second(_LINK), ", {LnkSta2|FltMode}"),
    (_DRS, ", {LnkSta2|DRS}\n\t\t\t DownstreamComp: {LnkSta2.DownstreamComp=}\n"),
    (_NO_DRS, "\n"),
)

CAPABILITIES = (
    Capability(
        id=0x10,
        name="PCIe",
        title="PCI Express",
        section="PCIe 6.0, 7.5.3",
        view=View.READ,
        registers=_REGISTERS,
        text=_TEXT,
    ),
)

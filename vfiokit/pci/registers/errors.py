"""Errors: Advanced Error Reporting, Downstream Port Containment, event collectors."""

from vfiokit.pci.registers.rows import Block, Capability, Need, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_UNCORRECTABLE = """
  4      DLP        -  Data Link Protocol Error
  5      SDES       -  Surprise Down Error
  12     TLP        -  Poisoned TLP Received
  13     FCP        -  Flow Control Protocol Error
  14     CmpltTO    -  Completion Timeout
  15     CmpltAbrt  -  Completer Abort
  16     UnxCmplt   -  Unexpected Completion
  17     RxOF       -  Receiver Overflow
  18     MalfTLP    -  Malformed TLP
  19     ECRC       -  ECRC Error
  20     UnsupReq   -  Unsupported Request Error
  21     ACSViol    -  ACS Violation
  22     UncorrIntErr     -  Uncorrectable Internal Error
  23     BlockedTLP       -  MC Blocked TLP
  24     AtomicOpBlocked  -  AtomicOp Egress Blocked
  25     TLPBlockedErr    -  TLP Prefix Blocked Error
  26     PoisonTLPBlocked  -  Poisoned TLP Egress Blocked [vfio read-only]
  27     DMWrReqBlocked   -  DMWr Request Egress Blocked [vfio read-only]
  28     IDECheck         -  IDE Check Failed [vfio read-only]
  29     MisIDETLP        -  Misrouted IDE TLP [vfio read-only]
  30     PCRCCheck=PCRC_CHECK  -  PCRC Check Failed [vfio read-only]
  31     TLPXlatBlocked   -  TLP Translation Egress Blocked [vfio read-only]
"""
_CORRECTABLE = """
  0      RxErr      -  Receiver Error
  6      BadTLP     -  Bad TLP
  7      BadDLLP    -  Bad DLLP
  8      Rollover   -  REPLAY_NUM Rollover
  12     Timeout    -  Replay Timer Timeout
  13     AdvNonFatalErr  -  Advisory Non-Fatal Error
  14     CorrIntErr  -  Corrected Internal Error
  15     HeaderOF   -  Header Log Overflow
"""
_ROOT = "port in (ROOT_PORT, EVENT_COLLECTOR)"


def _errors(name: str, register: str) -> str:
    return (
        f"\t\t{name}:\t{{{register}|DLP SDES TLP FCP CmpltTO CmpltAbrt UnxCmplt RxOF MalfTLP}}\n"
        f"\t\t\t{{{register}|ECRC UnsupReq ACSViol UncorrIntErr BlockedTLP AtomicOpBlocked TLPBlockedErr}}\n"
        f"\t\t\t{{{register}|PoisonTLPBlocked DMWrReqBlocked IDECheck MisIDETLP PCRCCheck TLPXlatBlocked}}\n"
    )


_CORRECTED = "RxErr BadTLP BadDLLP Rollover Timeout AdvNonFatalErr CorrIntErr HeaderOF"
_AER = Capability(
    id=0x01,
    name="AER",
    title="Advanced Error Reporting",
    extended=True,
    section="PCIe 6.0, 7.8.4",
    view=View.READ,
    registers=registers(
        f"""
UESta    04/4  RW1CS  Uncorrectable Error Status | view writable | rsvdz{_UNCORRECTABLE}
UEMsk    08/4  RWS  Uncorrectable Error Mask | view writable{_UNCORRECTABLE}
UESvrt   0c/4  RWS  Uncorrectable Error Severity | view writable{_UNCORRECTABLE}
CESta    10/4  RW1CS  Correctable Error Status | view writable | rsvdz{_CORRECTABLE}
CEMsk    14/4  RWS  Correctable Error Mask | view writable{_CORRECTABLE}
AERCap   18/4  RWS  Advanced Error Capabilities and Control
  4:0    FirstErrorPointer  ROS  First Error Pointer
  5      ECRCGenCap     RO  ECRC Generation Capable
  6      ECRCGenEn      -   ECRC Generation Enable [vfio writable]
  7      ECRCChkCap     RO  ECRC Check Capable
  8      ECRCChkEn      -   ECRC Check Enable [vfio writable]
  9      MultHdrRecCap  RO  Multiple Header Recording Capable
  10     MultHdrRecEn   -   Multiple Header Recording Enable
  11     TLPPfxPres     ROS  TLP Prefix Log Present
  12     HdrLogCap      RO  Completion Timeout Prefix/Header Log Capable
  17:13  HdrLogSize     ROS  Header Log Size
  18     LoggedFlit     ROS  Logged TLP was Flit Mode
HeaderLog0 1c/4  ROS  Header Log, first dword
  31:0   Log  -  Header of the TLP
HeaderLog1 20/4  ROS  Header Log, second dword
  31:0   Log  -  Header of the TLP
HeaderLog2 24/4  ROS  Header Log, third dword
  31:0   Log  -  Header of the TLP
HeaderLog3 28/4  ROS  Header Log, fourth dword
  31:0   Log  -  Header of the TLP
RootCmd  2c/4  RW  Root Error Command | when {_ROOT} | view writable
  0      CERptEn   -  Correctable Error Reporting Enable
  1      NFERptEn  -  Non-Fatal Error Reporting Enable
  2      FERptEn   -  Fatal Error Reporting Enable
RootSta  30/4  RW1CS  Root Error Status | when {_ROOT} | view writable | rsvdz
  0      CERcvd       -  ERR_COR Received
  1      MultCERcvd   -  Multiple ERR_COR Received
  2      UERcvd       -  ERR_FATAL/NONFATAL Received
  3      MultUERcvd   -  Multiple ERR_FATAL/NONFATAL Received
  4      FirstFatal   -  First Uncorrectable Fatal
  5      NonFatalMsg  -  Non-Fatal Error Messages Received
  6      FatalMsg     -  Fatal Error Messages Received
  8:7    Subclass     ROS  ERR_COR Subclass
  31:27  IntMsgNum    RO   Advanced Error Interrupt Message Number
CorrectableSource 34/2  ROS  ERR_COR Source Identification | when {_ROOT} | view writable
  15:0   Source  -  Requester ID
UncorrectableSource 36/2  ROS  ERR_FATAL/NONFATAL Source Identification | when {_ROOT} | view writable
  15:0   Source  -  Requester ID
PrefixLog0 38/4  ROS  TLP Prefix Log, first dword | when AERCap.TLPPfxPres | view writable
  31:0   Log  -  Prefix of the TLP
PrefixLog1 3c/4  ROS  TLP Prefix Log, second dword | when AERCap.TLPPfxPres | view writable
  31:0   Log  -  Prefix of the TLP
PrefixLog2 40/4  ROS  TLP Prefix Log, third dword | when AERCap.TLPPfxPres | view writable
  31:0   Log  -  Prefix of the TLP
PrefixLog3 44/4  ROS  TLP Prefix Log, fourth dword | when AERCap.TLPPfxPres | view writable
  31:0   Log  -  Prefix of the TLP
"""
    ),
    text=(
        "Advanced Error Reporting\n",
        Need(0x04, 40),
        _errors("UESta", "UESta"),
        _errors("UEMsk", "UEMsk"),
        _errors("UESvrt", "UESvrt"),
        f"\t\tCESta:\t{{CESta|{_CORRECTED}}}\n\t\tCEMsk:\t{{CEMsk|{_CORRECTED}}}\n",
        (
            "\t\tAERCap:\tFirst Error Pointer: {AERCap.FirstErrorPointer:02x}, "
            "{AERCap|ECRCGenCap ECRCGenEn ECRCChkCap ECRCChkEn}\n"
            "\t\t\t{AERCap|MultHdrRecCap MultHdrRecEn TLPPfxPres HdrLogCap}\n"
            "\t\tHeaderLog: {HeaderLog0:08x} {HeaderLog1:08x} {HeaderLog2:08x} {HeaderLog3:08x}\n"
        ),
        (
            _ROOT,
            (
                "\t\tRootCmd: {RootCmd|CERptEn NFERptEn FERptEn}\n"
                "\t\tRootSta: {RootSta|CERcvd MultCERcvd UERcvd MultUERcvd}\n"
                "\t\t\t {RootSta|FirstFatal NonFatalMsg FatalMsg} IntMsgNum {RootSta.IntMsgNum}\n"
                "\t\tErrorSrc: ERR_COR: {CorrectableSource:04x} "
                "ERR_FATAL/NONFATAL: {UncorrectableSource:04x}\n"
            ),
        ),
    ),
)

_PIO = """
  0      CfgUR    -  Cfg UR Completion
  1      CfgCA    -  Cfg CA Completion
  2      CfgCTO   -  Cfg Completion Timeout
  8      IOUR     -  I/O UR Completion
  9      IOCA     -  I/O CA Completion
  10     IOCTO    -  I/O Completion Timeout
  16     MemUR    -  Mem UR Completion
  17     MemCA    -  Mem CA Completion
  18     MemCTO   -  Mem Completion Timeout
"""
_DPC = Capability(
    id=0x1D,
    name="DPC",
    title="Downstream Port Containment",
    extended=True,
    section="PCIe 6.0, 7.9.14",
    registers=registers(
        f"""
DpcCap   04/2  RO  DPC Capability
  4:0    IntMsgNum     -  DPC Interrupt Message Number
  5      RPExt         -  RP Extensions for DPC
  6      PoisonedTLP   -  Poisoned TLP Egress Blocking Supported
  7      SwTrigger     -  DPC Software Triggering Supported
  11:8   LogSize       -  RP PIO Log Size
  12     ActiveErr=DL_ActiveErr  -  DL_Active ERR_COR Signaling Supported
  13     LogSize4      -  RP PIO Log Size, bit 4
DpcCtl   06/2  RW  DPC Control
  1:0    Trigger       -  DPC Trigger Enable
  2      Cmpl          -  DPC Completion Control
  3      INT           -  DPC Interrupt Enable
  4      ErrCor        -  DPC ERR_COR Enable
  5      PoisonedTLP   -  Poisoned TLP Egress Blocking Enable
  6      SwTrigger     -  DPC Software Trigger
  7      ActiveErr=DL_ActiveErr  -  DL_Active ERR_COR Enable
  8      SIGSFW        -  DPC SIG_SFW Enable
DpcSta   08/2  RO  DPC Status | rsvdz
  0      Trigger       RW1CS  DPC Trigger Status
  2:1    Reason        ROS    DPC Trigger Reason
  3      INT           RW1CS  DPC Interrupt Status
  4      RPBusy        -      DPC RP Busy
  6:5    TriggerExt    ROS    DPC Trigger Reason Extension
  12:8   ErrPtr        ROS    RP PIO First Error Pointer
  13     SIGSFW        RW1CS  DPC SIG_SFW Status
Source   0a/2  ROS  DPC Error Source ID
  15:0   Source        -  Requester ID
PIOStatus 0c/4  RW1CS  RP PIO Status | when DpcCap.RPExt | rsvdz{_PIO}
PIOMask  10/4  RWS  RP PIO Mask | when DpcCap.RPExt{_PIO}
PIOSeverity 14/4  RWS  RP PIO Severity | when DpcCap.RPExt{_PIO}
PIOSysError 18/4  RWS  RP PIO SysError | when DpcCap.RPExt{_PIO}
PIOException 1c/4  RWS  RP PIO Exception | when DpcCap.RPExt{_PIO}
PIOHeaderLog0 20/4  ROS  RP PIO Header Log, first dword | when DpcCap.RPExt and DpcCap.LogSize >= 4
  31:0   Log  -  Header of the request
PIOHeaderLog1 24/4  ROS  RP PIO Header Log, second dword | when DpcCap.RPExt and DpcCap.LogSize >= 4
  31:0   Log  -  Header of the request
PIOHeaderLog2 28/4  ROS  RP PIO Header Log, third dword | when DpcCap.RPExt and DpcCap.LogSize >= 4
  31:0   Log  -  Header of the request
PIOHeaderLog3 2c/4  ROS  RP PIO Header Log, fourth dword | when DpcCap.RPExt and DpcCap.LogSize >= 4
  31:0   Log  -  Header of the request
PIOImpSpecLog 30/4  ROS  RP PIO ImpSpec Log | when DpcCap.RPExt and DpcCap.LogSize >= 5
  31:0   Log  -  Implementation specific
"""
    ),
    blocks=(
        Block(
            "PIOPrefixLog",
            registers("Log  00/4  ROS  RP PIO TLP Prefix Log\n  31:0  Log  -  Prefix of the request"),
            0x34,
            4,
            "min(DpcCap.LogSize - 5, 4) if DpcCap.RPExt and DpcCap.LogSize > 5 else 0",
        ),
    ),
    text=(
        "Downstream Port Containment\n",
        Need(0x04, 8),
        (
            "\t\tDpcCap:\tIntMsgNum {DpcCap.IntMsgNum}, {DpcCap|RPExt PoisonedTLP SwTrigger} "
            "RP PIO Log {DpcCap.LogSize}, {DpcCap|ActiveErr}\n"
            "\t\tDpcCtl:\tTrigger:{DpcCtl.Trigger:x} "
            "{DpcCtl|Cmpl INT ErrCor PoisonedTLP SwTrigger ActiveErr}\n"
            "\t\tDpcSta:\t{DpcSta|Trigger} Reason:{DpcSta.Reason:02x} {DpcSta|INT RPBusy} "
            "TriggerExt:{DpcSta.TriggerExt:02x} RP PIO ErrPtr:{DpcSta.ErrPtr:02x}\n"
            "\t\tSource:\t{Source:04x}\n"
        ),
    ),
)

_COLLECTOR = Capability(
    id=0x07,
    name="RCEC",
    title="Root Complex Event Collector Endpoint Association",
    extended=True,
    section="PCIe 6.0, 7.9.10",
    registers=registers(
        """
Bitmap   04/4  RO  Association Bitmap for RCiEPs
  31:0   Devices  -  one bit a device of the same bus
Buses    08/4  RO  RCEC Associated Bus Numbers | when version >= 2
  15:8   Next     -  RCEC Next Bus
  23:16  Last     -  RCEC Last Bus
"""
    ),
    text=(
        "Root Complex Event Collector Endpoint Association\n",
        Need(0, 12),
        "\t\tRCiEPBitmap: {associated_devices(Bitmap)}\n",
        ("version >= 2", "\t\tAssociatedBusNumbers: {associated_buses(Buses.Next, Buses.Last)}\n"),
    ),
)

CAPABILITIES = (_AER, _DPC, _COLLECTOR)

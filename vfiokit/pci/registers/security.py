"""Security: Integrity and Data Encryption, Data Object Exchange."""

from vfiokit.pci.registers.rows import Block, Capability, Need, Place
from vfiokit.pci.registers.table import Meanings, registers

__all__ = ["CAPABILITIES"]

_ENCRYPTION = {0: "no", 1: "17:2", 2: "25:2", 3: "33:2", 4: "41:2"}
_STATES = {0: "insecure", 2: "secure", None: "reserved"}
_AGGREGATION = {0: "none", 1: "2", 2: "4", 3: "8"}
_ALGORITHM = {0: "AES-GCM 256, 96-bit MAC", None: "reserved"}
_VALUES: dict[str, Meanings] = {
    "NPR": _AGGREGATION,
    "PR": _AGGREGATION,
    "CPL": _AGGREGATION,
    "HdrEnc": _ENCRYPTION,
    "Alg": _ALGORITHM,
    "State": _STATES,
}
_STREAM = """
  0      Enable   -  IDE Stream Enable
  1      XT       -  XT Enable
  3:2    NPR      -  Tx Aggregation Mode NPR
  5:4    PR       -  Tx Aggregation Mode PR
  7:6    CPL      -  Tx Aggregation Mode CPL
  8      PCRC     -  PCRC Enable
  13:10  HdrEnc   -  Partial Header Encryption Mode
  18:14  Alg      -  Selected Algorithm
  21:19  TC       -  TC
  31:24  ID       -  Stream ID"""
_STATUS = """
  3:0    State    -  Stream State
  31     RecvChkFail  RW1C  Received Integrity Check Fail Message"""

_LINK = registers(
    f"""
Ctl      00/4  RW  Link IDE Stream Control{_STREAM}
Sta      04/4  RO  Link IDE Stream Status{_STATUS}
""",
    _VALUES,
)
_SELECTIVE = registers(
    f"""
Cap      00/4  RO  Selective IDE Stream Capability
  3:0    Associations  -  Number of Address Association Register Blocks
Ctl      04/4  RW  Selective IDE Stream Control{_STREAM}
  9      CFG      -  Selective IDE for Configuration Requests Enable
  22     Default  -  Default Stream
  23     TeeLim   -  TEE-Limited Stream
Sta      08/4  RO  Selective IDE Stream Status{_STATUS}
RID1     0c/4  RW  IDE RID Association 1
  23:8   Limit    -  RID Limit
RID2     10/4  RW  IDE RID Association 2
  0      Valid    -  Valid
  23:8   Base     -  RID Base
  31:24  Segment  -  Segment Base
""",
    _VALUES,
)
_ADDRESS = registers(
    """
Low      00/4  RW  IDE Address Association 1
  0      Valid      -  Valid
  19:8   BaseLow    -  Memory Base Lower
  31:20  LimitLow   -  Memory Limit Lower
LimitHigh 04/4  RW  IDE Address Association 2
  31:0   Limit      -  Memory Limit Upper
BaseHigh 08/4  RW  IDE Address Association 3
  31:0   Base       -  Memory Base Upper
"""
)
_SHARED = "NPR{aggregated(Ctl.NPR)} PR{aggregated(Ctl.PR)} CPL{aggregated(Ctl.CPL)} "


def streams(space: bytes | bytearray, base: int, limit: int) -> tuple[Place, ...]:
    """Find the streams: links first, then selective ones, each with its address associations."""
    if base + 8 > limit:
        return ()
    capability = int.from_bytes(space[base + 4 : base + 8], "little")
    links = (capability >> 13 & 7) + 1 if capability & 1 else 0
    selective = (capability >> 16 & 0xFF) + 1 if capability & 2 else 0
    found = [Place(0, str(number), 12 + 8 * number) for number in range(links)]
    at = 12 + 8 * links
    for number in range(selective):
        if base + at + 4 > limit:
            break
        found.append(Place(1, str(number), at))
        associations = space[base + at] & 15
        at += 20
        found += [Place(2, f"{number}_{each}", at + 12 * each) for each in range(associations)]
        at += 12 * associations
    return tuple(found)


_IDE = Capability(
    id=0x30,
    name="IDE",
    title="Integrity & Data Encryption",
    extended=True,
    section="PCIe 6.0, 7.9.26",
    registers=registers(
        """
IDECap   04/4  RO  IDE Capability
  0      Link       HwInit  Link IDE Stream Supported
  1      Selective  HwInit  Selective IDE Streams Supported
  2      FlowThru   HwInit  Flow-Through IDE Stream Supported
  3      PartHdr    HwInit  Partial Header Encryption Supported
  4      Aggr       HwInit  Aggregation Supported
  5      PCPC       HwInit  PCRC Supported
  6      IDEKM=IDE_KM  HwInit  IDE_KM Protocol Supported
  7      SelCfg     HwInit  Selective IDE for Configuration Requests Supported
  12:8   Alg        HwInit  Supported Algorithms
  15:13  TCs        HwInit  Number of TCs Supported for Link IDE [+1]
  23:16  Streams    HwInit  Number of Selective IDE Streams Supported [+1]
  24     TeeLim     HwInit  TEE-Limited Stream Supported
  25     XT         HwInit  XT Supported
IDECtl   08/4  RW  IDE Control
  2      FTEn       -  Flow-Through IDE Stream Enabled
""",
        {"Alg": _ALGORITHM},
    ),
    blocks=(
        Block(
            "Link",
            _LINK,
            text=(
                Need(0, 8, "\t\t<unreadable>\n"),
                "\t\t{place(base, <at>, 0)}LinkIDE#<n> Ctl: En{Ctl.Enable} XT{Ctl.XT} "
                # lspci shows the enable bit once more where PCRC should be.
                + _SHARED
                + "PCRC{Ctl.Enable} HdrEnc={encryption(Ctl.HdrEnc)} Alg='{algorithm(Ctl.Alg)}' "
                "TC{Ctl.TC} ID{Ctl.ID}\n"
                "\t\t{place(base, <at>, 4)}LinkIDE#<n> Sta: Status={stream_state(Sta.State)} "
                "RecvChkFail{Sta.RecvChkFail}\n",
            ),
        ),
        Block(
            "Selective",
            _SELECTIVE,
            text=(
                Need(0, 20, "\t\t<unreadable>\n"),
                "\t\t{place(base, <at>, 0)}SelectiveIDE#<n> Cap: RID#={Cap.Associations}\n"
                "\t\t{place(base, <at>, 4)}SelectiveIDE#<n> Ctl: En{Ctl.Enable} XT{Ctl.XT} "
                + _SHARED
                + "PCRC{Ctl.PCRC} CFG{Ctl.CFG} HdrEnc={encryption(Ctl.HdrEnc)} Alg='{algorithm(Ctl.Alg)}' "
                "TC{Ctl.TC} TeeLim{Ctl.TeeLim} ID{Ctl.ID}{default_stream(Ctl.Default)}\n"
                "\t\t{place(base, <at>, 8)}SelectiveIDE#<n> Sta: {stream_state(Sta.State)} "
                "RecvChkFail{Sta.RecvChkFail}\n"
                "\t\t{place(base, <at>, 12)}SelectiveIDE#<n> RID: Valid{RID2.Valid} Base={RID2.Base:x} "
                "Limit={RID1.Limit:x} SegBase={RID2.Segment:x}\n",
            ),
        ),
        Block(
            "Address",
            _ADDRESS,
            text=(
                Need(0, 12, "\t\t<unreadable>\n"),
                (
                    "\t\t{place(base, <at>, 0)}SelectiveIDE#<m> RID#<n>: Valid{Low.Valid} "
                    "Base={address_base(Low.BaseLow, BaseHigh)} "
                    "Limit={address_limit(Low.LimitLow, LimitHigh)}\n"
                ),
            ),
        ),
    ),
    walk=streams,
    text=(
        "Integrity & Data Encryption\n",
        Need(0x04, 8, "\t\t<unreadable>\n"),
        (
            "\t\tIDECap: Lnk={streams(IDECap.Link, IDECap.TCs)} "
            "Sel={streams(IDECap.Selective, IDECap.Streams)} "
            "{IDECap|FlowThru PartHdr Aggr PCPC IDEKM SelCfg} Alg='{algorithm(IDECap.Alg)}' "
            "TCs={IDECap.TCs} {IDECap|TeeLim XT}\n"
            "\t\tIDECtl: {IDECtl|FTEn}\n"
        ),
        None,
    ),
)

_DOE = Capability(
    id=0x2E,
    name="DOE",
    title="Data Object Exchange",
    extended=True,
    section="PCIe 6.0, 7.9.24",
    registers=registers(
        """
DOECap   04/4  RO  DOE Capabilities
  0      IntSup       -  DOE Interrupt Support
  11:1   IntMsgNum    -  DOE Interrupt Message Number
  12     Attention    -  DOE Attention Mechanism Support
  13     Async        -  DOE Async Message Support
DOECtl   08/4  RW  DOE Control
  0      Abort        -  DOE Abort
  1      IntEn        -  DOE Interrupt Enable
  2      AttentionNotNeeded  -  DOE Attention Not Needed
  3      AsyncEn      -  DOE Async Message Enable
  31     Go           -  DOE Go
DOESta   0c/4  RO  DOE Status | rsvdz
  0      Busy         -  DOE Busy
  1      IntSta       RW1C  DOE Interrupt Status
  2      Error        -  DOE Error
  3      AsyncStatus  -  DOE Async Message Status
  4      AtAttention  -  DOE At Attention
  31     ObjectReady  -  Data Object Ready
WriteMailbox 10/4  RW  DOE Write Data Mailbox
  31:0   Data  -  DOE Write Data Mailbox
ReadMailbox 14/4  RW  DOE Read Data Mailbox
  31:0   Data  -  DOE Read Data Mailbox
"""
    ),
    text=(
        "Data Object Exchange\n",
        Need(0x04, 0x14, "\t\t<unreadable>\n"),
        "\t\tDOECap: {DOECap|IntSup}\n",
        ("DOECap.IntSup", "\t\t\tIntMsgNum {DOECap.IntMsgNum}\n"),
        "\t\tDOECtl: {DOECtl|IntEn}\n\t\tDOESta: {DOESta|Busy IntSta Error ObjectReady}\n",
    ),
)

CAPABILITIES = (_IDE, _DOE)

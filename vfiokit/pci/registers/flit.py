"""Flit mode: logging, performance measurement, error injection (PCIe 6.0, 7.7.8 on)."""

from vfiokit.pci.registers.rows import Capability, Need
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_MEMORY = (
    "memory of PCIe 6.0 and, for the syndromes, a public FEC decoder's comments: the text could not be read"
)
_WIDTH = {0: "x1", 1: "x2", 2: "x4", 3: "x8", 4: "x16", 7: "Dynamic"}
_COUNTERS = "\n".join(
    f"MeasSts{3 + pair}  {0x1C + 4 * pair:02x}/4  ROS  FBER Measurement Status {3 + pair}\n"
    f"  15:0   Lane{2 * pair}  -  Correctable Flits of the lane\n"
    f"  31:16  Lane{2 * pair + 1}  -  Correctable Flits of the lane"
    for pair in range(8)
)
_LANES = "".join(
    f"\t\tMeasSts{3 + pair}:{' ' if pair == 7 else '  '}"
    f"{f'Lane{2 * pair}:':<8}{{MeasSts{3 + pair}.Lane{2 * pair}:5}}, "
    f"{f'Lane{2 * pair + 1}:':<8}{{MeasSts{3 + pair}.Lane{2 * pair + 1}:5}}\n"
    for pair in range(8)
)

_LOGGING = Capability(
    id=0x32,
    name="FlitLogging",
    title="Flit Logging",
    extended=True,
    section="PCIe 6.0, 7.7.8",
    rests_on=_MEMORY,
    registers=registers(
        f"""
Log1     04/4  ROS  Flit Error Log 1
  0      Valid       RW1CS  Flit Error Log Valid
  3:1    Width       -  Flit Error Link Width
  11:4   Offset      -  Flit Offset
  12     Consecutive -  Consecutive Flit Error after the last Flit Error
  13     More        -  More Flit Error Log Entries
  14     Unrecognized  -  Unrecognized Flit
  15     Uncorrectable  -  FEC Uncorrectable Error in Logged Flit
  23:16  ParityGroup0  -  Syndrome Parity for ECC Group 0
  31:24  CheckGroup0   -  Syndrome Check for ECC Group 0
Log2     08/4  ROS  Flit Error Log 2
  7:0    ParityGroup1  -  Syndrome Parity for ECC Group 1
  15:8   CheckGroup1   -  Syndrome Check for ECC Group 1
  23:16  ParityGroup2  -  Syndrome Parity for ECC Group 2
  31:24  CheckGroup2   -  Syndrome Check for ECC Group 2
CntCtl   0c/2  RWS  Flit Error Counter Control
  0      Enable      -  Flit Error Counter Enable
  1      Interrupt   -  Flit Error Counter Interrupt Enable
  3:2    Events      -  Events to count
  11:4   Trigger     -  Trigger Event on Error Count
CntSts   0e/2  ROS  Flit Error Counter Status
  2:0    Width       -  Link Width when Error Counter Started
  3      Interrupt   RW1CS  Interrupt Generated based on Trigger Event Count
  15:4   Count       -  Flit Error Counter
MeasCtl  10/4  RWS  FBER Measurement Control
  0      Enable      -  FBER Measurement Enable
  1      Clear       -  Clear FBER Measurement Counters
  4:2    Granularity -  Granularity of Per-Lane Error Reported
MeasSts1 14/4  ROS  FBER Measurement Status 1
  31:0   Flits       -  Flit Counter
MeasSts2 18/4  ROS  FBER Measurement Status 2
  15:0   Invalid     -  Invalid Flit Counter
{_COUNTERS}
""",
        {"Width": _WIDTH},
    ),
    text=(
        "Flit Logging\n",
        Need(0x04, 56),
        (
            "\t\tLog1:      Valid{Log1.Valid}, Link Width: {width(Log1.Width)}\n"
            "\t\t\t   More entries{Log1.More} Unrecognized flit{Log1.Unrecognized} "
            "FEC uncorrectable{Log1.Uncorrectable}\n"
            "\t\t\t   SyndParityGrp0: {Log1.ParityGroup0:02x}, SyndCheckGrp0: {Log1.CheckGroup0:02x}\n"
            "\t\tLog2:      SyndParityGrp1: {Log2.ParityGroup1:02x}, SyndCheckGrp1: {Log2.CheckGroup1:02x}\n"
            "\t\t\t   SyndParityGrp2: {Log2.ParityGroup2:02x}, SyndCheckGrp2: {Log2.CheckGroup2:02x}\n"
            "\t\tCntCtl:    Flit Error Counter En{CntCtl.Enable} "
            "Flit Error Counter Interrupt En{CntCtl.Interrupt}\n"
            "\t\t\t   Events to count: {CntCtl.Events}, Trigger Event on Error Count: {CntCtl.Trigger:02x}\n"
            "\t\tCntSts:    Link Width when Error Counter Started {width(CntSts.Width)}\n"
            "\t\t\t   Interrupt Generated based on Trigger Event Count{CntSts.Interrupt}, "
            "FlitErr: {CntSts.Count}\n"
            "\t\tMeasCtl:   En{MeasCtl.Enable} Granularity: {lane_choice(MeasCtl.Granularity)}\n"
            "\t\tMeasSts1:  Flit Counter: {MeasSts1}\n"
            "\t\tMeasSts2:  Invalid Flit Counter: {MeasSts2.Invalid}\n"
        ),
        _LANES,
    ),
)

_PERFORMANCE = Capability(
    id=0x33,
    name="FlitPerformance",
    title="Flit Performance Measurement",
    extended=True,
    section="PCIe 6.0, 7.8.12",
    rests_on="memory of PCIe 6.0: names and places of the three registers, not their fields",
    registers=registers(
        """
Cap      04/4  RO  Flit Performance Measurement Capability
  0      LTSSMTracking  HwInit  LTSSM Tracking Supported
Ctl      08/4  RW  Flit Performance Measurement Control
  0      Enable      -  Performance Measurement Enable
Status   0c/4  RO  Flit Performance Measurement Status
  0      Completed   -  Measurement Completed
""",
    ),
    text=("Extended Capability ID 0x33\n",),
)

_SETS = (
    "TS0",
    "TS1",
    "TS2",
    "SKP",
    "EIEOS",
    "EIOS",
    "SDS",
    "Poll",
    "Conf",
    "L0",
    "NoEq",
    "Eq01",
    "Eq2",
    "Eq3",
)
_INJECTED = {0: "not started", 1: "started", 2: "completed", 3: "error"}
_STATUS = "\n".join(
    f"  {2 * bit + 1}:{2 * bit}  {name}  -  Injection Status" for bit, name in enumerate(_SETS)
)
_ENABLES = "\n".join(f"  {3 + bit}  {name}  -  Inject into {name}" for bit, name in enumerate(_SETS))
_WORDS = (
    ("TS0", "TS1", "TS2"),
    ("SKP", "EIEOS", "EIOS"),
    ("SDS", "Poll", "Conf"),
    ("L0", "NoEq", "Eq01"),
    ("Eq2", "Eq3"),
)
_LONG = {"Poll": "Polling", "Conf": "Configuration", "NoEq": "non-EQ recovery"}


def _status(label: str, register: str) -> str:
    lines = [
        ", ".join(f"{_LONG.get(name, name)}: {{injection({register}.{name})}}" for name in names)
        for names in _WORDS
    ]
    first, *others = lines
    return f"\t\t{label}:   {first}\n" + "".join(f"\t\t\t      {line}\n" for line in others)


_INJECTION = Capability(
    id=0x34,
    name="FlitErrorInjection",
    title="Flit Error Injection",
    extended=True,
    section="PCIe 6.0, 7.8.13",
    rests_on="memory of PCIe 6.0: the text could not be read",
    registers=registers(
        f"""
Cap      04/4  RO  Flit Error Injection Capability
Ctl1     08/4  RW  Flit Error Injection Control 1
  0      En           -  Flit Error Injection Enable
  1      Tx           -  Inject Error on Transmitted Flit
  2      Rx           -  Inject Error on Received Flit
  3      Rate2=2.5GT/s   -  Data Rate: 2.5 GT/s
  4      Rate5=5.0GT/s   -  Data Rate: 5.0 GT/s
  5      Rate8=8.0GT/s   -  Data Rate: 8.0 GT/s
  6      Rate16=16.0GT/s -  Data Rate: 16.0 GT/s
  7      Rate32=32.0GT/s -  Data Rate: 32.0 GT/s
  8      Rate64=64.0GT/s -  Data Rate: 64.0 GT/s
  15:11  Number       -  Number of Errors Injected
  23:16  Spacing      -  Spacing between Injected Errors
  26:24  FlitType     -  Injection on Flit Type
Ctl2     0c/4  RW  Flit Error Injection Control 2
  2:0    Consecutive  -  Consecutive Error Injection
  4:3    Type         -  Error Type being Injected
  12:5   Offset       -  Error Offset within Flit
  20:13  Magnitude    -  Error Magnitude
Status   10/4  RO  Flit Error Injection Status
  1:0    Tx           -  Flit Error Tx Injection Status
  3:2    Rx           -  Flit Error Rx Injection Status
OsCtl1   14/4  RW  Ordered Set Error Injection Control 1
  0      En           -  Ordered Set Error Injection Enable
  1      Tx           -  Inject Error on Transmitted Ordered Set
  2      Rx           -  Inject Error on Received Ordered Set
{_ENABLES}
OsCtl2   18/4  RW  Ordered Set Error Injection Control 2
  15:0   Bytes        -  Error Injection Bytes
  31:16  Lanes        -  Lane Number for Error Injection
OsTx     1c/4  RO  Ordered Set Tx Error Injection Status
{_STATUS}
OsRx     20/4  RO  Ordered Set Rx Error Injection Status
{_STATUS}
""",
        {"Status.Tx": _INJECTED, "Status.Rx": _INJECTED}
        | {f"{register}.{name}": _INJECTED for register in ("OsTx", "OsRx") for name in _SETS},
    ),
    text=(
        "Flit Error Injection\n",
        Need(0x04, 32),
        (
            "\t\tFlitEiCtl1:   {Ctl1|En Tx Rx Rate2 Rate5 Rate8 Rate16 Rate32 Rate64}\n"
            "\t\t\t      Number of errors: {Ctl1.Number}, Spacing between errors: {Ctl1.Spacing}, "
            "Flit Type: {flit_type(Ctl1.FlitType)}\n"
            "\t\tFlitEiCtl2:   Consecutive: {consecutive(Ctl2.Consecutive)}, Type: {error_type(Ctl2.Type)}, "
            "Offset: {Ctl2.Offset}, Magnitude: {Ctl2.Magnitude}\n"
            "\t\tFlitEiSts:    Tx: {injection(Status.Tx)}, Rx: {injection(Status.Rx)}\n"
            "\t\tFlitEiOsCtl1: {OsCtl1|En Tx Rx TS0 TS1 TS2 SKP EIEOS EIOS}\n"
            "\t\t\t      {OsCtl1|SDS Poll Conf L0 NoEq Eq01 Eq2 Eq3}\n"
            "\t\tFlitEiOsCtl2: Bytes: {OsCtl2.Bytes:04x}, Lanes: {OsCtl2.Lanes:04x}\n"
        ),
        _status("FlitEiOsTx", "OsTx"),
        _status("FlitEiOsRx", "OsRx"),
    ),
)

_NOP = Capability(
    id=0x37,
    name="NOPFlit",
    title="NOP Flit",
    extended=True,
    section="PCIe 6.2, 7.9.30",
    rests_on="the list of identifiers: the layout could not be read",
    text=("Extended Capability ID 0x37\n",),
)

CAPABILITIES = (_LOGGING, _PERFORMANCE, _INJECTION, _NOP)

"""HyperTransport capabilities (HyperTransport I/O Link 3.10, 7.5 on)."""

from vfiokit.pci.registers.rows import Capability, Need, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_SECTION = "HyperTransport 3.10, 7"
_WIDTHS = dict(enumerate(("8bit", "16bit", "[2]", "32bit", "2bit", "4bit", "[6]", "N/C")))
_FREQUENCIES = dict(
    enumerate(
        (
            "200MHz",
            "300MHz",
            "400MHz",
            "500MHz",
            "600MHz",
            "800MHz",
            "1.0GHz",
            "1.2GHz",
            "1.4GHz",
            "1.6GHz",
            "[a]",
            "[b]",
            "[c]",
            "[d]",
            "[e]",
            "Vend",
        )
    )
)
_VALUES = {"MLWI": _WIDTHS, "MLWO": _WIDTHS, "LWI": _WIDTHS, "LWO": _WIDTHS, "Freq": _FREQUENCIES}

_CONTROL = """
  1      CFlE     -  CRC Flood Enable
  2      CST      -  CRC Start Test
  3      CFE      -  CRC Force Frame Error
  4      LkFail=<LkFail  RW1C  Link Failure
  5      Init     RO  Initialization Complete
  6      EOC      RO  End of Chain
  7      TXO      -  Transmitter Off
  11:8   CRCErr   RW1C  CRC Error
  12     IsocEn   -  Isochronous Enable
  13     LSEn     -  LDTSTOP# Tristate Enable
  14     ExtCTL   -  Extended CTL Time
  15     Wide=64b  -  64-bit Addressing Enable"""
_CONFIG = """
  2:0    MLWI     RO  Max Link Width In
  3      DwFcIn   RO  Doubleword Flow Control In
  6:4    MLWO     RO  Max Link Width Out
  7      DwFcOut  RO  Doubleword Flow Control Out
  10:8   LWI      -  Link Width In
  11     DwFcInEn   -  Doubleword Flow Control In Enable
  14:12  LWO      -  Link Width Out
  15     DwFcOutEn  -  Doubleword Flow Control Out Enable"""
_ERROR = """
  3:0    Freq     -  Link Frequency
  4      Prot=<Prot  RW1C  Protocol Error
  5      Ovfl=<Ovfl  RW1C  Overflow Error
  6      EOC=<EOC    RW1C  End of Chain Error
  7      CTLTm    -  CTL Timeout"""
_FREQUENCY = """
  0      F200=200MHz  -  200 MHz
  1      F300=300MHz  -  300 MHz
  2      F400=400MHz  -  400 MHz
  3      F500=500MHz  -  500 MHz
  4      F600=600MHz  -  600 MHz
  5      F800=800MHz  -  800 MHz
  6      F1000=1.0GHz  -  1000 MHz
  7      F1200=1.2GHz  -  1200 MHz
  8      F1400=1.4GHz  -  1400 MHz
  9      F1600=1.6GHz  -  1600 MHz
  15     Vend     -  Vendor-Specific"""
_FEATURE = """
  0      IsocFC   -  Isochronous Flow Control Mode
  1      LDTSTOP  -  LDTSTOP#
  2      CRCTM    -  CRC Test Mode
  3      ECTLT    -  Extended CTL Time Required
  4      Wide=64bA  -  64-bit Addressing
  5      UIDRD    -  UnitID Reorder Disable"""
_HANDLING = """
  0      PFlE     -  Protocol Error Flood Enable
  1      OFlE     -  Overflow Error Flood Enable
  2      PFE      -  Protocol Error Fatal Enable
  3      OFE      -  Overflow Error Fatal Enable
  4      EOCFE    -  End of Chain Error Fatal Enable
  5      RFE      -  Response Error Fatal Enable
  6      CRCFE    -  CRC Error Fatal Enable
  7      SERRFE   -  System Error Fatal Enable
  8      CF       RO  Chain Fail
  9      RE       RW1C  Response Error
  10     PNFE     -  Protocol Error Nonfatal Enable
  11     ONFE     -  Overflow Error Nonfatal Enable
  12     EOCNFE   -  End of Chain Error Nonfatal Enable
  13     RNFE     -  Response Error Nonfatal Enable
  14     CRCNFE   -  CRC Error Nonfatal Enable
  15     SERRNFE  -  System Error Nonfatal Enable"""
_REVISION = """
  4:0    Minor  -  Minor Revision
  7:5    Major  -  Major Revision"""
_HANDLED = "PFlE OFlE PFE OFE EOCFE RFE CRCFE SERRFE CF RE PNFE ONFE EOCNFE RNFE CRCNFE SERRNFE"
# lspci keeps one byte of the frequencies, so the flags above 1.2 GHz are always off.
_CAPABLE = "{%s|F200 F300 F400 F500 F600 F800 F1000 F1200} 1.4GHz- 1.6GHz- Vend-\n"
_LINKS = "{%s|CFlE CST CFE LkFail Init EOC TXO} <CRCErr={%s.CRCErr:x}"
_OLD = "MLWI={%s.MLWI=} MLWO={%s.MLWO=} LWI={%s.LWI=} LWO={%s.LWO=}\n"
_NEW_CONFIG = (
    "MLWI={%s.MLWI=} {%s|DwFcIn} MLWO={%s.MLWO=} {%s|DwFcOut} "
    "LWI={%s.LWI=} {%s|DwFcInEn} LWO={%s.LWO=} {%s|DwFcOutEn}\n"
)
_NEW, _BEFORE = "Revision.all >= 0x22", "Revision.all < 0x22"
_BETWEEN = "0x11 < Revision.all < 0x22"
_UNSURE = "\t\t!!! Possibly incomplete decoding\n"


def _fill(text: str, name: str) -> str:
    return text.replace("%s", name)


def _link(number: str) -> tuple[tuple[str, str] | str, ...]:
    """Return the text of one link's control and configuration."""
    control, config = f"Control{number}", f"Config{number}"
    space = f" {number}" if number else ""
    return (
        f"\t\tLink Control{space}: {_fill(_LINKS, control)}",
        (_NEW, f" {{{control}|IsocEn LSEn ExtCTL Wide}}"),
        "\n",
        (_BEFORE, f"\t\tLink Config{space}: {_fill(_OLD, config)}"),
        (_NEW, f"\t\tLink Config{space}: {_fill(_NEW_CONFIG, config)}"),
    )


def _frequency(number: str) -> str:
    space = f" {number}" if number else ""
    return (
        f"\t\tLink Frequency{space}: {{Error{number}.Freq=}}\n"
        f"\t\tLink Error{space}: {{Error{number}|Prot Ovfl EOC CTLTm}}\n"
        f"\t\tLink Frequency Capability{space}: {_fill(_CAPABLE, f'Freqs{number}')}"
    )


_PRIMARY = Capability(
    id=0x08,
    name="HTPrimary",
    title="HyperTransport: Slave or Primary Interface",
    section=_SECTION,
    view=View.READ,
    when="Command.Type == 0",
    registers=registers(
        f"""
Command  02/2  RW  Command
  4:0    BaseUnitID  -  Base UnitID
  9:5    UnitCnt     RO  Unit Count
  10     MastHost    RO  Master Host
  11     DefDir      -   Default Direction
  12     DUL         -   Drop on Uninitialized Link
  15:13  Type        RO  Capability Type
Control0 04/2  RW  Link Control 0{_CONTROL}
Config0  06/2  RW  Link Config 0{_CONFIG}
Control1 08/2  RW  Link Control 1{_CONTROL}
Config1  0a/2  RW  Link Config 1{_CONFIG}
Revision 0c/1  RO  Revision ID{_REVISION}
Error0   0d/1  RW  Link Frequency and Error 0{_ERROR}
Freqs0   0e/2  RO  Link Frequency Capability 0{_FREQUENCY}
Feature  10/1  RO  Feature{_FEATURE}
Error1   11/1  RW  Link Frequency and Error 1{_ERROR}
Freqs1   12/2  RO  Link Frequency Capability 1{_FREQUENCY}
Scratch  14/2  RW  Enumeration Scratchpad
  15:0   Scratch  -  Enumeration Scratchpad
Handling 16/2  RW  Error Handling{_HANDLING}
MemBase  18/1  RW  Memory Base Upper
  7:0    Base     -  Memory Base Upper
MemLimit 19/1  RW  Memory Limit Upper
  7:0    Limit    -  Memory Limit Upper
Bus      1a/1  RO  Bus Number
  7:0    Bus      -  Bus Number
""",
        _VALUES,
    ),
    reserved=((0x1B, 1),),
    text=(
        "HyperTransport: Slave or Primary Interface\n",
        Need(0x04, 0x18),
        (_BETWEEN, _UNSURE),
        "\t\tCommand: BaseUnitID={Command.BaseUnitID} UnitCnt={Command.UnitCnt} {Command|MastHost DefDir}",
        (_NEW, " {Command|DUL}"),
        "\n",
        *_link("0"),
        *_link("1"),
        "\t\tRevision ID: {revision(Revision)}\n",
        (
            _NEW,
            _frequency("0")
            + "\t\tFeature Capability: {Feature|IsocFC LDTSTOP CRCTM ECTLT Wide UIDRD}\n"
            + _frequency("1")
            + f"\t\tError Handling: {{Handling|{_HANDLED}}}\n"
            "\t\tPrefetchable memory behind bridge Upper: {MemBase:02x}-{MemLimit:02x}\n"
            "\t\tBus Number: {Bus:02x}\n",
        ),
    ),
)

_SECONDARY = Capability(
    id=0x08,
    name="HTSecondary",
    title="HyperTransport: Host or Secondary Interface",
    section=_SECTION,
    view=View.READ,
    when="Command.Type == 1",
    registers=registers(
        f"""
Command  02/2  RW  Command
  0      WarmRst    -   Warm Reset
  1      DblEnd     RO  Double Ended
  6:2    DevNum     -   Device Number
  7      ChainSide  -   Chain Side
  8      HostHide   -   Host Hide
  10     Slave      -   Act as Slave
  11     EOCErr=<EOCErr  RW1C  Host Inbound End of Chain Error
  12     DUL        -   Drop on Uninitialized Link
  15:13  Type       RO  Capability Type
Control  04/2  RW  Link Control{_CONTROL}
Config   06/2  RW  Link Config{_CONFIG}
Revision 08/1  RO  Revision ID{_REVISION}
Error    09/1  RW  Link Frequency and Error{_ERROR}
Freqs    0a/2  RO  Link Frequency Capability{_FREQUENCY}
Feature  0c/2  RO  Feature{_FEATURE}
  8      ExtRS      -   Extended Register Set
  9      UCnfE      -   Upstream Configuration Enable
Scratch  10/2  RW  Enumeration Scratchpad
  15:0   Scratch    -   Enumeration Scratchpad
Handling 12/2  RW  Error Handling{_HANDLING}
MemBase  14/1  RW  Memory Base Upper
  7:0    Base       -   Memory Base Upper
MemLimit 15/1  RW  Memory Limit Upper
  7:0    Limit      -   Memory Limit Upper
""",
        _VALUES,
    ),
    reserved=((0x0E, 2), (0x16, 2)),
    text=(
        "HyperTransport: Host or Secondary Interface\n",
        Need(0x04, 0x14),
        (_BETWEEN, _UNSURE),
        "\t\tCommand: {Command|WarmRst DblEnd}",
        (_NEW, " DevNum={Command.DevNum} {Command|ChainSide HostHide Slave EOCErr DUL}"),
        "\n",
        *_link(""),
        "\t\tRevision ID: {revision(Revision)}\n",
        (
            _NEW,
            _frequency("")
            + "\t\tFeature Capability: {Feature|IsocFC LDTSTOP CRCTM ECTLT Wide UIDRD ExtRS UCnfE}\n",
        ),
        (
            f"{_NEW} and Feature.ExtRS",
            (
                f"\t\tError Handling: {{Handling|{_HANDLED}}}\n"
                "\t\tPrefetchable memory behind bridge Upper: {MemBase:02x}-{MemLimit:02x}\n"
            ),
        ),
    ),
)

_MAPPING = Capability(
    id=0x08,
    name="HTMSIMapping",
    title="HyperTransport: MSI Mapping",
    section=_SECTION,
    view=View.READ,
    when="Command.Type == 21",
    registers=registers(
        """
Command  02/2  RW  Command
  0      Enable   -   MSI Mapping Enable
  1      Fixed    RO  Fixed Address
  15:11  Type     RO  Capability Type
AddressLow 04/4  RW  Mapping Address Low | when not Command.Fixed
  31:20  Address  -   Mapping Address [<<20]
AddressHigh 08/4  RW  Mapping Address High | when not Command.Fixed
  31:0   Address  -   Mapping Address High
"""
    ),
    text=(
        "HyperTransport: MSI Mapping {Command|Enable Fixed}\n",
        Need(0, 4),
        ("not Command.Fixed", "\t\tMapping Address Base: {mapping_base(AddressLow, AddressHigh)}\n"),
    ),
)

_REVISION_ID = Capability(
    id=0x08,
    name="HTRevision",
    title="HyperTransport: Revision ID",
    section=_SECTION,
    view=View.READ,
    when="Command.Type == 17",
    registers=registers(
        """
Command  02/2  RO  Command
  4:0    Minor  -  Minor Revision
  7:5    Major  -  Major Revision
  15:11  Type   -  Capability Type
"""
    ),
    text=("HyperTransport: Revision ID: {Command.Major}.{Command.Minor:02}\n",),
)

_NAMED = {
    8: ("HTSwitch", "Switch"),
    16: ("HTInterrupts", "Interrupt Discovery and Configuration"),
    18: ("HTClumping", "UnitID Clumping"),
    19: ("HTConfig", "Extended Configuration Space Access"),
    20: ("HTAddressMapping", "Address Mapping"),
    22: ("HTDirectRoute", "DirectRoute"),
    23: ("HTVCSet", "VCSet"),
    24: ("HTRetry", "Retry Mode"),
    25: ("HTX86", "X86 (reserved)"),
}


def _other(name: str, title: str, when: str, text: str) -> Capability:
    return Capability(
        id=0x08,
        name=name,
        title=f"HyperTransport: {title}",
        section=_SECTION,
        view=View.READ,
        when=when,
        rests_on="the list of capability types",
        registers=registers("Command  02/2  RO  Command\n  15:11  Type  -  Capability Type"),
        text=(f"HyperTransport: {text}\n",),
    )


CAPABILITIES = (
    _PRIMARY,
    _SECONDARY,
    _MAPPING,
    _REVISION_ID,
    *(_other(name, title, f"Command.Type == {code}", title) for code, (name, title) in _NAMED.items()),
    _other("HyperTransport", "unknown", "", "#{Command.Type:02x}"),
)

"""Virtual channels: VC, MFVC, Streamlined VC."""

from vfiokit.pci.registers.rows import Block, Capability, Need, View
from vfiokit.pci.registers.table import Meanings, registers
from vfiokit.pci.registers.wording import PORT_SCHEMES, VC_SCHEMES

__all__ = ["CAPABILITIES"]

_PORT = dict(enumerate(PORT_SCHEMES))
_RESOURCE = dict(enumerate(VC_SCHEMES))
_CLOCK = {0: "100ns", **{code: f"??{code}" for code in range(1, 4)}}
_BITS = {code: 1 << code for code in range(4)}

_PORT_REGISTERS = """
PortCap1 04/4  RO  Port VC Capability 1
  2:0    ExtVCCount     -  Extended VC Count
  6:4    LPEVC          -  Low Priority Extended VC Count
  9:8    RefClk         -  Reference Clock
  11:10  PATEntryBits   -  Port Arbitration Table Entry Size
PortCap2 08/4  RO  Port VC Capability 2
  7:0    Schemes        -  VC Arbitration Capability
  31:24  TableOffset    -  VC Arbitration Table Offset, in 16 bytes
PortCtrl 0c/2  RW  Port VC Control
  0      LoadTable      -  Load VC Arbitration Table
  3:1    ArbSelect      -  VC Arbitration Select
PortStatus 0e/2  RO  Port VC Status
  0      InProgress     -  VC Arbitration Table Status
"""
_RESOURCE_REGISTERS = """
Cap      00/4  RO  VC Resource Capability
  7:0    Schemes        -  Port Arbitration Capability
  15     RejSnoopTrans  HwInit  Reject Snoop Transactions
  22:16  MaxTimeSlots   HwInit  Maximum Time Slots [+1]
  31:24  TableOffset    -  Port Arbitration Table Offset, in 16 bytes
Ctrl     04/4  RW  VC Resource Control
  7:0    TCVC           -  TC/VC Map
  16     LoadTable      -  Load Port Arbitration Table
  19:17  ArbSelect      -  Port Arbitration Select
  26:24  ID             -  VC ID
  31     Enable         -  VC Enable
Status   0a/2  RO  VC Resource Status
  0      InProgress     -  Port Arbitration Table Status
  1      NegoPending    -  VC Negotiation Pending
"""
_VALUES: dict[str, Meanings] = {"RefClk": _CLOCK, "PATEntryBits": _BITS, "ArbSelect": _PORT}


def _channels(number: int, view: View) -> Capability:
    return Capability(
        id=number,
        name="VC" if number == 2 else "VC9",
        title="Virtual Channel",
        extended=True,
        section="PCIe 6.0, 7.9.1",
        view=view,
        registers=registers(_PORT_REGISTERS, _VALUES),
        blocks=(
            Block(
                "VC",
                registers(_RESOURCE_REGISTERS, {"ArbSelect": _RESOURCE}),
                0x10,
                12,
                "PortCap1.ExtVCCount + 1",
                (
                    "\t\tVC<n>:\t",
                    Need(0, 12, "<unreadable>\n", goes_on=True),
                    (
                        "Caps:\tPATOffset={Cap.TableOffset:02x} MaxTimeSlots={Cap.MaxTimeSlots} "
                        "{Cap|RejSnoopTrans}\n"
                        "\t\t\tArb:\t{vc_arbitration(Cap.Schemes)}\n"
                        "\t\t\tCtrl:\t{Ctrl|Enable} ID={Ctrl.ID} ArbSelect={Ctrl.ArbSelect=} "
                        "TC/VC={Ctrl.TCVC:02x}\n"
                        "\t\t\tStatus:\t{Status|NegoPending InProgress}\n"
                        "{arbitration_table(Cap.TableOffset)}"
                    ),
                ),
            ),
        ),
        text=(
            "Virtual Channel\n",
            Need(0x04, 0x18),
            (
                "\t\tCaps:\tLPEVC={PortCap1.LPEVC} RefClk={PortCap1.RefClk=} "
                "PATEntryBits={PortCap1.PATEntryBits=}\n"
                "\t\tArb:\t{port_arbitration(PortCap2.Schemes)}\n"
                "\t\tCtrl:\tArbSelect={PortCtrl.ArbSelect=}\n"
                "\t\tStatus:\t{PortStatus|InProgress}\n"
            ),
            ("PortCap2.TableOffset", "\t\tPort Arbitration Table [{at(PortCap2.TableOffset, base)}] <?>\n"),
            None,
        ),
    )


_MFVC = Capability(
    id=0x08,
    name="MFVC",
    title="Multi-Function Virtual Channel",
    extended=True,
    section="PCIe 6.0, 7.9.2",
    view=View.READ,
    rests_on="Linux pci_regs.h and vfio_pci_config.c: the layout of the Virtual Channel capability",
    registers=registers(_PORT_REGISTERS, _VALUES),
    blocks=(
        Block(
            "VC",
            registers(_RESOURCE_REGISTERS, {"ArbSelect": _RESOURCE}),
            0x10,
            12,
            "PortCap1.ExtVCCount + 1",
        ),
    ),
    text=("Multi-Function Virtual Channel <?>\n",),
)

_STREAMLINED = Capability(
    id=0x35,
    name="SVC",
    title="Streamlined Virtual Channel",
    extended=True,
    section="PCIe 6.0, 7.9.28",
    rests_on="memory of PCIe 6.1: the text could not be read",
    registers=registers(
        """
PortCap1 04/4  RO  SVC Port Capability 1
  2:0    ExtSVCCount  -  SVC Extended VC Count
PortCap2 08/4  RO  SVC Port Capability 2
PortCtrl 0c/2  RW  SVC Port Control
PortStatus 0e/2  RO  SVC Port Status
  0      UseVCMFVC    -  SVC Use VC/MFVC
"""
    ),
    blocks=(
        Block(
            "SVC",
            registers(
                """
Cap      00/4  RO  SVC Resource Capability
Ctrl     04/4  RW  SVC Resource Control
  7:0    TCVC     -  SVC TC/VC Map
  26:24  ID       -  SVC VC ID
  31     Enable   -  SVC VC Enable
Status   08/4  RO  SVC Resource Status
  1      NegoPending  -  SVC VC Negotiation Pending
"""
            ),
            0x10,
            12,
            "PortCap1.ExtSVCCount + 1",
        ),
    ),
    text=("Extended Capability ID 0x35\n",),
)

CAPABILITIES = (
    _channels(0x02, View.READ),
    _channels(0x09, View.READ),
    _MFVC,
    _STREAMLINED,
)

"""Root complex structures: link declaration, internal link control, register block, access correlation."""

from vfiokit.pci.registers.rows import Block, Capability, Need
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_LINKS = Capability(
    id=0x05,
    name="RCLink",
    title="Root Complex Link",
    extended=True,
    section="PCIe 6.0, 7.9.8",
    registers=registers(
        """
Desc     04/4  RO  Element Self Description
  3:0    EltType      -  Element Type
  15:8   Links        HwInit  Number of Link Entries
  23:16  ComponentID  HwInit  Component ID
  31:24  PortNumber   HwInit  Port Number
""",
        {"EltType": {0: "Config", 1: "Egress", 2: "Internal"}},
    ),
    reserved=((0x08, 8),),
    blocks=(
        Block(
            "Link",
            registers(
                """
Desc     00/4  HwInit  Link Description
  0      LinkValid    -  Link Valid
  1      LinkType     -  Link Type
  2      AssocRCRB    -  Associate RCRB Header
  23:16  Component    -  Target Component ID
  31:24  Port         -  Target Port Number
AddressLow 08/4  HwInit  Link Address, lower half
  31:0   Address      -  Link Address
AddressHigh 0c/4  HwInit  Link Address, upper half
  31:0   Address      -  Link Address
""",
                {"LinkType": {0: "MemMapped", 1: "Config"}},
            ),
            0x10,
            16,
            "Desc.Links",
            (
                "\t\tLink<n>:\t",
                Need(0, 16, "<unreadable>\n"),
                (
                    "Desc:\tTargetPort={Desc.Port:02x} TargetComponent={Desc.Component:02x} "
                    "{Desc|AssocRCRB} "
                    "LinkType={Desc.LinkType=} {Desc|LinkValid}\n"
                    "\t\t\tAddr:\t{link_target(Desc.LinkType, AddressLow, AddressHigh)}\n"
                ),
            ),
        ),
    ),
    text=(
        "Root Complex Link\n",
        Need(0x04, 12),
        (
            "\t\tDesc:\tPortNumber={Desc.PortNumber:02x} ComponentID={Desc.ComponentID:02x} "
            "EltType={element(Desc)}\n"
        ),
        None,
    ),
)

_INTERNAL = Capability(
    id=0x06,
    name="RCInternalLink",
    title="Root Complex Internal Link Control",
    extended=True,
    section="PCIe 6.0, 7.9.9",
    rests_on="memory of PCIe 5.0, 7.9.9, whose fields are those of Link Capabilities, Control and Status",
    registers=registers(
        """
LinkCap  04/4  RO  Root Complex Link Capabilities
  3:0    Speed     -  Max Link Speed
  9:4    Width     -  Maximum Link Width
  11:10  ASPM      -  Active State Power Management Support
  14:12  ExitL0s   -  L0s Exit Latency
  17:15  ExitL1    -  L1 Exit Latency
  24:18  Speeds    -  Supported Link Speeds Vector
LinkCtl  08/2  RW  Root Complex Link Control
  1:0    ASPM      -  Active State Power Management Control
  7      ExtSynch  -  Extended Synch
LinkSta  0a/2  RO  Root Complex Link Status
  3:0    Speed     -  Current Link Speed
  9:4    Width     -  Negotiated Link Width
""",
        {
            "Speed": {1: "2.5GT/s", 2: "5GT/s", 3: "8GT/s", 4: "16GT/s", 5: "32GT/s", 6: "64GT/s"},
            "LinkCap.ASPM": {0: "not supported", 1: "L0s", 2: "L1", 3: "L0s L1"},
            "LinkCtl.ASPM": {0: "Disabled", 1: "L0s", 2: "L1", 3: "L0s L1"},
        },
    ),
    text=("Root Complex Internal Link <?>\n",),
)

_BLOCK = Capability(
    id=0x0A,
    name="RCRB",
    title="Root Complex Register Block Header",
    extended=True,
    section="PCIe 6.0, 7.9.7",
    rests_on="memory of PCIe 5.0, 7.9.7",
    registers=registers(
        """
ID       04/4  RO  RCRB Vendor ID and Device ID
  15:0   Vendor   -  Vendor ID
  31:16  Device   -  Device ID
Cap      08/4  RO  RCRB Capabilities
  0      RRSVisible  -  Configuration RRS Software Visibility
Ctl      0c/4  RW  RCRB Control
  0      RRSVisible  -  Configuration RRS Software Visibility Enable
"""
    ),
    reserved=((0x10, 4),),
    text=("Root Complex Register Block <?>\n",),
)

_CORRELATION = Capability(
    id=0x0C,
    name="CAC",
    title="Configuration Access Correlation",
    extended=True,
    section="Trusted Configuration Space, PCI-SIG ECN",
    rests_on="Linux pci_regs.h, which has the identifier alone: the layout could not be read",
    registers=registers("Device  04/4  RO  Device Correlation\n  31:0  Correlation  -  Device Correlation"),
    text=("Extended Capability ID 0xc\n",),
)

CAPABILITIES = (_LINKS, _INTERNAL, _BLOCK, _CORRELATION)

"""The headers: type 0 of functions, type 1 of bridges, type 2 of CardBus bridges (PCIe 6.0, 7.5.1)."""

from vfiokit.pci.registers.rows import Capability, View
from vfiokit.pci.registers.table import Meanings, registers

__all__ = ["CAPABILITIES", "CARDBUS", "NORMAL", "TO_PCI", "UNKNOWN"]

_DEVSEL = {0: "fast", 1: "medium", 2: "slow", 3: "??"}
_PINS = {0: "none", 1: "A", 2: "B", 3: "C", 4: "D", None: "reserved"}
_TYPES = {0: "32-bit", 1: "low-1M", 2: "64-bit", 3: "type 3"}

_COMMON = """
VendorID 00/2  HwInit  Vendor ID | view fixed
  15:0   VendorID   -  Vendor ID
DeviceID 02/2  HwInit  Device ID | view fixed
  15:0   DeviceID   -  Device ID
Command  04/2  RW  Command | view writable
  0      IO=I/O     -   I/O Space Enable
  1      Mem        -   Memory Space Enable
  2      BusMaster  -   Bus Master Enable
  3      SpecCycle  -   Special Cycle Enable
  4      MemWINV    -   Memory Write and Invalidate
  5      VGASnoop   -   VGA Palette Snoop
  6      ParErr     -   Parity Error Response
  7      Stepping   -   IDSEL Stepping/Wait Cycle Control
  8      SERR       -   SERR# Enable
  9      FastB2B    -   Fast Back-to-Back Transactions Enable
  10     DisINTx    -   Interrupt Disable [vfio trapped]
Status   06/2  RO  Status | rsvdz
  0      ImmediateReadiness  -  Immediate Readiness
  3      INTx       -   Interrupt Status
  4      Cap        -   Capabilities List [vfio fixed]
  5      MHz66=66MHz  -  66 MHz Capable
  6      UDF        -   User Definable Features
  7      FastB2B    -   Fast Back-to-Back Transactions Capable
  8      ParErr     RW1C  Master Data Parity Error
  10:9   DEVSEL     -   DEVSEL Timing
  11     SigTAbort=>TAbort  RW1C  Signaled Target Abort
  12     RcvTAbort=<TAbort  RW1C  Received Target Abort
  13     RcvMAbort=<MAbort  RW1C  Received Master Abort
  14     SigSERR=>SERR      RW1C  Signaled System Error
  15     DetPERR=<PERR      RW1C  Detected Parity Error
RevisionID 08/1  HwInit  Revision ID
  7:0    RevisionID -   Revision ID
Interface 09/1  RO  Class Code: programming interface
  7:0    Interface  -   Programming Interface
Class    0a/2  RO  Class Code: base class and subclass
  7:0    Subclass   -   Sub-Class Code
  15:8   BaseClass  -   Base Class Code
CacheLine 0c/1  RW  Cache Line Size | view writable
  7:0    Size       -   Cache Line Size, in dwords
Latency  0d/1  RO  Latency Timer | view writable
  7:0    Latency    -   Latency Timer
HeaderType 0e/1  RO  Header Type
  6:0    Layout     -   Header Layout
  7      Multifunction  -  Multi-Function Device
BIST     0f/1  RO  BIST | view writable
  3:0    Completion -   Completion Code
  6      Start      RW  Start BIST
  7      Capable    -   BIST Capable
"""
_BAR = """
  0      IO         RO  I/O Space Indicator
  2:1    Type       RO  Type, of memory
  3      Prefetch   RO  Prefetchable, of memory
  31:4   Address    -   Base Address [<<4]
"""
_ROM = """
  0      Enable     -   Expansion ROM Enable
  3:1    Validation -   Expansion ROM Validation Status
  7:4    Details    -   Expansion ROM Validation Details
  31:11  Address    -   Expansion ROM Base Address [<<11]
"""
_TAIL = """
InterruptLine 3c/1  RW  Interrupt Line | view virtual
  7:0    Line       -   Interrupt Line
InterruptPin 3d/1  RO  Interrupt Pin | view fixed
  7:0    Pin        -   Interrupt Pin
"""
_SECONDARY = """
  5      MHz66=66MHz  -  66 MHz Capable
  7      FastB2B    -   Fast Back-to-Back Transactions Capable
  8      ParErr     RW1C  Master Data Parity Error
  10:9   DEVSEL     -   DEVSEL Timing
  11     SigTAbort=>TAbort  RW1C  Signaled Target Abort
  12     RcvTAbort=<TAbort  RW1C  Received Target Abort
  13     RcvMAbort=<MAbort  RW1C  Received Master Abort
  14     RcvSERR=<SERR      RW1C  Received System Error
  15     DetPERR=<PERR      RW1C  Detected Parity Error
"""
_VALUES: dict[str, Meanings] = {"Status.DEVSEL": _DEVSEL, "Pin": _PINS}


def _types(count: int) -> dict[str, Meanings]:
    return {f"BAR{number}.Type": _TYPES for number in range(count)}


def _bars(count: int) -> str:
    return "".join(
        f"\nBAR{number}  {0x10 + 4 * number:02x}/4  RW  Base Address Register {number} | view virtual{_BAR}"
        for number in range(count)
    )


_CONTROL = (
    "\tControl: {Command|IO Mem BusMaster SpecCycle MemWINV VGASnoop ParErr Stepping SERR FastB2B DisINTx}\n"
    "\tStatus: {Status|Cap MHz66 UDF FastB2B ParErr} DEVSEL={Status.DEVSEL=} "
    "{Status|SigTAbort RcvTAbort RcvMAbort SigSERR DetPERR INTx}\n"
)

NORMAL = Capability(
    id=-1,
    name="Header",
    title="Type 0 Configuration Space Header",
    section="PCIe 6.0, 7.5.1.2",
    view=View.READ,
    registers=registers(
        f"""
{_COMMON}{_bars(6)}
CardBusCIS 28/4  RO  Cardbus CIS Pointer
  31:0   Pointer    -   Cardbus CIS Pointer
SubsystemVendorID 2c/2  HwInit  Subsystem Vendor ID
  15:0   VendorID   -   Subsystem Vendor ID
SubsystemID 2e/2  HwInit  Subsystem ID
  15:0   DeviceID   -   Subsystem ID
ROM      30/4  RW  Expansion ROM Base Address | view virtual{_ROM}
CapabilityPointer 34/1  RO  Capabilities Pointer | view fixed
  7:0    Pointer    -   Capabilities Pointer
{_TAIL}
MinGrant 3e/1  RO  Min_Gnt
  7:0    MinGrant   -   Min_Gnt, in 250 ns
MaxLatency 3f/1  RO  Max_Lat
  7:0    MaxLatency -   Max_Lat, in 250 ns
""",
        _VALUES | _types(6),
    ),
    reserved=((0x35, 7),),
    text=(_CONTROL,),
)
"""Of a function that is no bridge, 64 bytes."""

TO_PCI = Capability(
    id=-1,
    name="Header",
    title="Type 1 Configuration Space Header",
    section="PCIe 6.0, 7.5.1.3",
    view=View.READ,
    registers=registers(
        f"""
{_COMMON}{_bars(2)}
PrimaryBus 18/1  RW  Primary Bus Number
  7:0    Bus        -   Primary Bus Number
SecondaryBus 19/1  RW  Secondary Bus Number
  7:0    Bus        -   Secondary Bus Number
SubordinateBus 1a/1  RW  Subordinate Bus Number
  7:0    Bus        -   Subordinate Bus Number
SecondaryLatency 1b/1  RO  Secondary Latency Timer
  7:0    Latency    -   Secondary Latency Timer
IOBase   1c/1  RW  I/O Base
  3:0    Type       RO  I/O Addressing Capability
  7:4    Base       -   I/O Base [<<12]
IOLimit  1d/1  RW  I/O Limit
  3:0    Type       RO  I/O Addressing Capability
  7:4    Limit      -   I/O Limit [<<12]
SecondaryStatus 1e/2  RO  Secondary Status | rsvdz{_SECONDARY}
MemoryBase 20/2  RW  Memory Base
  15:4   Base       -   Memory Base [<<20]
MemoryLimit 22/2  RW  Memory Limit
  15:4   Limit      -   Memory Limit [<<20]
PrefetchBase 24/2  RW  Prefetchable Memory Base
  3:0    Type       RO  Addressing Capability
  15:4   Base       -   Prefetchable Memory Base [<<20]
PrefetchLimit 26/2  RW  Prefetchable Memory Limit
  3:0    Type       RO  Addressing Capability
  15:4   Limit      -   Prefetchable Memory Limit [<<20]
PrefetchBaseUpper 28/4  RW  Prefetchable Base Upper 32 Bits
  31:0   Base       -   Prefetchable Base Upper 32 Bits
PrefetchLimitUpper 2c/4  RW  Prefetchable Limit Upper 32 Bits
  31:0   Limit      -   Prefetchable Limit Upper 32 Bits
IOBaseUpper 30/2  RW  I/O Base Upper 16 Bits
  15:0   Base       -   I/O Base Upper 16 Bits
IOLimitUpper 32/2  RW  I/O Limit Upper 16 Bits
  15:0   Limit      -   I/O Limit Upper 16 Bits
CapabilityPointer 34/1  RO  Capabilities Pointer
  7:0    Pointer    -   Capabilities Pointer
ROM      38/4  RW  Expansion ROM Base Address{_ROM}
{_TAIL}
BridgeCtl 3e/2  RW  Bridge Control
  0      Parity     -   Parity Error Response Enable
  1      SERR       -   SERR# Enable
  2      NoISA      -   ISA Enable
  3      VGA        -   VGA Enable
  4      VGA16      -   VGA 16-bit Decode
  5      MAbort     -   Master Abort Mode
  6      Reset=>Reset  -  Secondary Bus Reset
  7      FastB2B    -   Fast Back-to-Back Transactions Enable
  8      PriDiscTmr -   Primary Discard Timer
  9      SecDiscTmr -   Secondary Discard Timer
  10     DiscTmrStat  RW1C  Discard Timer Status
  11     DiscTmrSERREn  -  Discard Timer SERR# Enable
""",
        {**_VALUES, "SecondaryStatus.DEVSEL": _DEVSEL, **_types(2)},
    ),
    reserved=((0x35, 3),),
    text=(_CONTROL,),
)
"""Of a bridge to PCI, 64 bytes."""

CARDBUS = Capability(
    id=-1,
    name="Header",
    title="Type 2 Configuration Space Header",
    section="PC Card 8, 4.5.3",
    view=View.HIDDEN,
    registers=registers(
        f"""
{_COMMON}
BAR0     10/4  RW  CardBus Socket/ExCA Base Address{_BAR}
CapabilityPointer 14/1  RO  Capabilities Pointer
  7:0    Pointer    -   Capabilities Pointer
SecondaryStatus 16/2  RO  Secondary Status | rsvdz{_SECONDARY}
PrimaryBus 18/1  RW  PCI Bus Number
  7:0    Bus        -   PCI Bus Number
SecondaryBus 19/1  RW  CardBus Bus Number
  7:0    Bus        -   CardBus Bus Number
SubordinateBus 1a/1  RW  Subordinate Bus Number
  7:0    Bus        -   Subordinate Bus Number
SecondaryLatency 1b/1  RW  CardBus Latency Timer
  7:0    Latency    -   CardBus Latency Timer
MemoryBase0 1c/4  RW  Memory Base 0
  31:12  Base       -   Memory Base 0 [<<12]
MemoryLimit0 20/4  RW  Memory Limit 0
  31:12  Limit      -   Memory Limit 0 [<<12]
MemoryBase1 24/4  RW  Memory Base 1
  31:12  Base       -   Memory Base 1 [<<12]
MemoryLimit1 28/4  RW  Memory Limit 1
  31:12  Limit      -   Memory Limit 1 [<<12]
IOBase0  2c/4  RW  I/O Base 0
  0      Wide       RO  32-bit Addressing
  31:2   Base       -   I/O Base 0 [<<2]
IOLimit0 30/4  RW  I/O Limit 0
  31:2   Limit      -   I/O Limit 0 [<<2]
IOBase1  34/4  RW  I/O Base 1
  0      Wide       RO  32-bit Addressing
  31:2   Base       -   I/O Base 1 [<<2]
IOLimit1 38/4  RW  I/O Limit 1
  31:2   Limit      -   I/O Limit 1 [<<2]
{_TAIL}
BridgeCtl 3e/2  RW  Bridge Control
  0      Parity     -   Parity Error Response Enable
  1      SERR       -   SERR# Enable
  2      ISA        -   ISA Enable
  3      VGA        -   VGA Enable
  5      MAbort     -   Master Abort Mode
  6      Reset=>Reset  -  CardBus Reset
  7      Int16=16bInt  -  IREQ-INT Enable
  8      Prefetch0  -   Memory 0 Prefetch Enable
  9      Prefetch1  -   Memory 1 Prefetch Enable
  10     PostWrite  -   Write Posting Enable
SubsystemVendorID 40/2  RW  Subsystem Vendor ID
  15:0   VendorID   -   Subsystem Vendor ID
SubsystemID 42/2  RW  Subsystem Device ID
  15:0   DeviceID   -   Subsystem Device ID
LegacyBase 44/4  RW  PC Card 16-bit IF Legacy Mode Base Address
  31:1   Base       -   Legacy Mode Base Address [<<1]
""",
        {**_VALUES, "SecondaryStatus.DEVSEL": _DEVSEL, **_types(1)},
    ),
    reserved=((0x15, 1),),
    text=(_CONTROL,),
)
"""Of a CardBus bridge: 72 bytes, more than the unprivileged may read of others."""

UNKNOWN = Capability(
    id=-1,
    name="Header",
    title="Configuration Space Header of unknown layout",
    section="PCIe 6.0, 7.5.1.1",
    view=View.READ,
    registers=registers(f"{_COMMON}", {"Status.DEVSEL": _DEVSEL}),
    reserved=((0x10, 0x30),),
    text=(_CONTROL,),
)
"""What every header has in common, 16 bytes."""

CAPABILITIES = (NORMAL, TO_PCI, CARDBUS, UNKNOWN)

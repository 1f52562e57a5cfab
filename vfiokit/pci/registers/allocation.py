"""What decides addresses besides BARs: Enhanced Allocation, Resizable BAR, VF Resizable BAR."""

from vfiokit.pci.registers.rows import Block, Capability, Need, Place, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES", "EA_PROPERTIES"]

EA_PROPERTIES = {
    0x00: "memory space, non-prefetchable",
    0x01: "memory space, prefetchable",
    0x02: "I/O space",
    0x03: "VF memory space, prefetchable",
    0x04: "VF memory space, non-prefetchable",
    0x05: "allocation behind bridge, non-prefetchable memory",
    0x06: "allocation behind bridge, prefetchable memory",
    0x07: "allocation behind bridge, I/O space",
    0xFD: "memory space resource unavailable for use",
    0xFE: "I/O space resource unavailable for use",
    0xFF: "entry unavailable for use",
}
"""Properties of an Enhanced Allocation entry (PCIe 6.0, 7.8.5.3)."""

_BEI = {
    **{code: f"BAR {code}" for code in range(6)},
    6: "resource behind function",
    7: "not indicated",
    8: "expansion ROM",
    **{code: f"VF-BAR {code - 9}" for code in range(9, 15)},
    15: "reserved",
}
_ENTRY = registers(
    """
Head     00/4  RW  Entry
  2:0    Size       RO  Entry Size, in dwords that follow
  7:4    BEI        RO  BAR Equivalent Indicator
  15:8   Primary    RO  Primary Properties
  23:16  Secondary  RO  Secondary Properties
  30     Writable   RO  Writable
  31     Enable     -   Enable for this entry
""",
    {"BEI": _BEI, "Primary": EA_PROPERTIES, "Secondary": EA_PROPERTIES},
)
_BASE = registers(
    """
Base     04/4  RW  Base
  1      Wide     RO  Base Size: 64 bits
  31:2   Base     -   Base [<<2]
"""
)
_MAXIMUM = registers(
    """
MaxOffset 08/4  RW  MaxOffset
  1      Wide      RO  MaxOffset Size: 64 bits
  31:2   MaxOffset  -  MaxOffset [<<2]
"""
)
_BASE_HIGH = registers("BaseHigh  0c/4  RW  Base, upper half\n  31:0  Base  -  Base")
_OFFSET = "  31:0  MaxOffset  -  MaxOffset"
_HIGH_AT_3 = registers(f"MaxOffsetHigh  0c/4  RW  MaxOffset, upper half\n{_OFFSET}")
_HIGH_AT_4 = registers(f"MaxOffsetHigh  10/4  RW  MaxOffset, upper half\n{_OFFSET}")
_DESCRIBED = (
    "\t\tEntry <n>: {Head|Enable Writable} EntrySize={Head.Size}\n"
    "\t\t\t BAR Equivalent Indicator: {ea_equivalent(Head.BEI)}\n"
    "\t\t\t PrimaryProperties: {ea_property(Head.Primary)}\n"
    "\t\t\t SecondaryProperties: {ea_secondary(Head.Secondary)}\n"
)
_LOW_BASE, _HIGH_BASE = "\t\t\t Base: {low(Base)}\n", "\t\t\t Base: {BaseHigh:x}{low(Base)}\n"
_LOW_MAX, _HIGH_MAX = (
    "\t\t\t MaxOffset: {high(MaxOffset)}\n",
    "\t\t\t MaxOffset: {MaxOffsetHigh:x}{high(MaxOffset)}\n",
)
_BASED, _FULL = (*_ENTRY, *_BASE), (*_ENTRY, *_BASE, *_MAXIMUM)
# By what the entry has room for: its header alone, its base, both halves of either.
_ENTRIES = (
    Block("Entry", _ENTRY, text=(_DESCRIBED,)),
    Block("Entry", _BASED, text=(_DESCRIBED + _LOW_BASE,)),
    Block("Entry", _FULL, text=(_DESCRIBED + _LOW_BASE + _LOW_MAX,)),
    Block("Entry", (*_FULL, *_BASE_HIGH), text=(_DESCRIBED + _HIGH_BASE + _LOW_MAX,)),
    Block("Entry", (*_FULL, *_HIGH_AT_3), text=(_DESCRIBED + _LOW_BASE + _HIGH_MAX,)),
    Block("Entry", (*_FULL, *_BASE_HIGH, *_HIGH_AT_4), text=(_DESCRIBED + _HIGH_BASE + _HIGH_MAX,)),
)


def entries(space: bytes | bytearray, base: int, limit: int) -> tuple[Place, ...]:
    """Find the entries of an Enhanced Allocation capability: each says how long it is.

    What an entry has no room for is left out, whatever its flags say: no entry is read past its end.
    """
    if base + 4 > limit:
        return ()
    at = base + (8 if limit > 0x0E and space[0x0E] & 0x7F == 1 else 4)
    found = []
    for number in range(space[base + 2] & 0x3F):
        if at + 4 > limit:
            break
        dwords = space[at] & 7
        room = min(dwords, (limit - at) // 4 - 1)
        wide_base = room >= 1 and space[at + 4] & 2
        wide_offset = room >= 2 and space[at + 8] & 2
        kind = min(room, 2)
        if room >= 3 and (wide_base or wide_offset):
            kind = 4 if not wide_base else 5 if wide_offset and room >= 4 else 3
        found.append(Place(kind, str(number), at - base))
        at += 4 + 4 * dwords
    return tuple(found)


_EA = Capability(
    id=0x14,
    name="EA",
    title="Enhanced Allocation (EA)",
    section="PCIe 6.0, 7.8.5",
    registers=registers(
        """
Cap      02/2  RO  Enhanced Allocation First DW
  5:0    NumEntries  HwInit  Num Entries
Buses    04/4  RO  Enhanced Allocation Second DW | when header == 1
  7:0    Secondary   HwInit  Fixed Secondary Bus Number
  15:8   Subordinate HwInit  Fixed Subordinate Bus Number
"""
    ),
    blocks=_ENTRIES,
    walk=entries,
    text=(
        "Enhanced Allocation (EA): NumEntries={Cap.NumEntries}",
        ("header == 1", ", secondary={Buses.Secondary}, subordinate={Buses.Subordinate}"),
        "\n",
        None,
    ),
)

_SIZES = {code: 1 << 20 + code for code in range(44)}


_BAR_CAP = """
{name}Cap  {cap:02x}/4  RO  Resizable BAR Capability
  31:4   Sizes     -   Supported sizes, bit 4 for 1 MB
{name}Control  {control:02x}/4  RW  Resizable BAR Control
  2:0    Index     RO  BAR Index
{count}
  13:8   Size      -   BAR Size [bytes]
  31:16  MoreSizes RO  Supported sizes, bit 16 for 256 TB
"""
_COUNT = "  7:5    Count     RO  Number of Resizable BARs"
_BAR_TEXT = (
    "\t\tBAR {Control.Index}: current size:{bar_size(Control.Size)}"
    "{bar_sizes(Cap.Sizes, Control.MoreSizes)}\n"
)
_COUNTED = "0 < Bar0Control.Count <= 6"


def _resizable(number: int, name: str, title: str, section: str, shown: str, view: View) -> Capability:
    return Capability(
        id=number,
        name=name,
        title=title,
        extended=True,
        section=section,
        view=view,
        registers=registers(_BAR_CAP.format(name="Bar0", cap=4, control=8, count=_COUNT), {"Size": _SIZES}),
        blocks=(
            Block(
                "Bar",
                registers(_BAR_CAP.format(name="", cap=0, control=4, count=""), {"Size": _SIZES}),
                0x0C,
                8,
                f"Bar0Control.Count - 1 if {_COUNTED} else 0",
                (Need(0, 8, "\t\t<unreadable>\n"), _BAR_TEXT),
                first=1,
            ),
        ),
        text=(
            f"{shown} Resizable BAR\n",
            Need(0x04, 8, "\t\t<unreadable>\n"),
            (f"not {_COUNTED}", "{bar_count(Bar0Control.Count)}"),
            (_COUNTED, _BAR_TEXT.replace("Control", "Bar0Control").replace("Cap", "Bar0Cap")),
            None,
        ),
    )


CAPABILITIES = (
    _EA,
    _resizable(0x15, "ReBAR", "Resizable BAR", "PCIe 6.0, 7.8.6", "Physical", View.READ),
    _resizable(0x24, "VFReBAR", "VF Resizable BAR", "PCIe 6.0, 7.8.7", "Virtual", View.HIDDEN),
)

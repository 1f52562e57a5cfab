"""MSI and MSI-X (PCIe 6.0, 7.7.1 and 7.7.2)."""

from vfiokit.pci.registers.rows import Capability, Need, View
from vfiokit.pci.registers.table import registers

__all__ = ["CAPABILITIES"]

_COUNTS = {code: 1 << code for code in range(8)}
_32, _64 = "not Flags.Address64", "Flags.Address64"
_MASKED_32, _MASKED_64 = "Flags.Maskable and not Flags.Address64", "Flags.Maskable and Flags.Address64"
_UNMASKED_32 = "not Flags.Maskable and not Flags.Address64"
_UNMASKED_64 = "not Flags.Maskable and Flags.Address64"

_MSI = Capability(
    id=0x05,
    name="MSI",
    title="MSI",
    section="PCIe 6.0, 7.7.1",
    view=View.READ,
    registers=registers(
        f"""
Flags      02/2  RW  Message Control | view trapped
  0      Enable    -   MSI Enable
  3:1    Capable   RO  Multiple Message Capable
  6:4    Enabled   -   Multiple Message Enable
  7      Address64=64bit  RO  64-bit Address Capable
  8      Maskable  RO  Per-Vector Masking Capable [vfio read-only]
  9      ExtDataCap  RO  Extended Message Data Capable [vfio read-only]
  10     ExtDataEn   -   Extended Message Data Enable [vfio read-only]
AddressLow 04/4  RW  Message Address | view virtual
  31:2   Address   -   Message Address [<<2]
AddressHigh 08/4  RW  Message Upper Address | when {_64} | view virtual
  31:0   Address   -   Message Upper Address
Data32     08/2  RW  Message Data | when {_32} | view virtual
  15:0   Data      -   Message Data
ExtData32  0a/2  RW  Extended Message Data | when {_MASKED_32}
  15:0   Data      -   Extended Message Data
ExtData32  0a/2  RW  Extended Message Data | when {_UNMASKED_32} | view writable
  15:0   Data      -   Extended Message Data
Data64     0c/2  RW  Message Data | when {_64} | view virtual
  15:0   Data      -   Message Data
ExtData64  0e/2  RW  Extended Message Data | when {_MASKED_64}
  15:0   Data      -   Extended Message Data
ExtData64  0e/2  RW  Extended Message Data | when {_UNMASKED_64} | view writable
  15:0   Data      -   Extended Message Data
Mask32     0c/4  RW  Mask Bits | when {_MASKED_32} | view writable
  31:0   Mask      -   one bit a vector
Pending32  10/4  RO  Pending Bits | when {_MASKED_32} | view writable
  31:0   Pending   -   one bit a vector
Mask64     10/4  RW  Mask Bits | when {_MASKED_64} | view writable
  31:0   Mask      -   one bit a vector
Pending64  14/4  RO  Pending Bits | when {_MASKED_64} | view writable
  31:0   Pending   -   one bit a vector
""",
        {"Capable": _COUNTS, "Enabled": _COUNTS},
    ),
    text=(
        "MSI: {Flags|Enable} Count={power(Flags.Enabled)}/{power(Flags.Capable)} ",
        "{Flags|Maskable Address64}\n",
        Need(0x04, 6),
        (_32, "\t\tAddress: {AddressLow:08x}  Data: {Data32:04x}\n"),
        (_64, "\t\tAddress: {AddressHigh:08x}{AddressLow:08x}  Data: {Data64:04x}\n"),
        (_MASKED_32, "\t\tMasking: {Mask32:08x}  Pending: {Pending32:08x}\n"),
        (_MASKED_64, "\t\tMasking: {Mask64:08x}  Pending: {Pending64:08x}\n"),
    ),
)

_MSI_X = Capability(
    id=0x11,
    name="MSIX",
    title="MSI-X",
    section="PCIe 6.0, 7.7.2",
    view=View.READ,
    registers=registers(
        """
Flags    02/2  RW  Message Control
  10:0   TableSize  RO  Table Size [+1]
  14     Masked     -   Function Mask
  15     Enable     -   MSI-X Enable
Table    04/4  RO  Table Offset/Table BIR
  2:0    BIR        -   Table BIR
  31:3   Offset     -   Table Offset [<<3]
PBA      08/4  RO  PBA Offset/PBA BIR
  2:0    BIR        -   PBA BIR
  31:3   Offset     -   PBA Offset [<<3]
"""
    ),
    text=(
        "MSI-X: {Flags|Enable} Count={Flags.TableSize} {Flags|Masked}\n",
        Need(0x04, 8),
        "\t\tVector table: BAR={Table.BIR} offset={Table.Offset:08x}\n",
        "\t\tPBA: BAR={PBA.BIR} offset={PBA.Offset:08x}\n",
    ),
)

CAPABILITIES = (_MSI, _MSI_X)

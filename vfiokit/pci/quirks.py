"""What Linux knows about single devices when it forms IOMMU groups: lookups over the quirk rows.

The rows are in :mod:`vfiokit.pci.quirk_rows` (ACS) and :mod:`vfiokit.pci.quirk_alias_rows` (requester ids).
"""

from vfiokit.pci.acs_bits import NO_BITS, AcsBit
from vfiokit.pci.quirk_alias_rows import BRIDGE_QUIRKS, DMA_ALIAS_QUIRKS, BridgeQuirk, DmaAliasQuirk
from vfiokit.pci.quirk_model import AcsEnableQuirk, AcsIdentity, AcsQuirk, AliasShape, BridgeFlag
from vfiokit.pci.quirk_rows import ACS_ENABLE_QUIRKS, ACS_QUIRKS, IGNORED_ACS

__all__ = [
    "acs_enable_quirk",
    "acs_quirk",
    "acs_quirks",
    "bridge_alias",
    "bridge_flags",
    "dma_alias_devfns",
    "dma_alias_quirks",
    "ignored_acs",
]

_DEVFNS_PER_BUS = 256


def acs_quirks(identity: AcsIdentity) -> tuple[AcsQuirk, ...]:
    """Return the rows that may speak about a function's ACS, in the kernel's order.

    The first whose verdict is not ``NOT_APPLICABLE`` decides (``pci_dev_specific_acs_enabled``); where
    none is left, the standard registers do.
    """
    return tuple(row for row in ACS_QUIRKS if row.matches(identity))


def acs_quirk(identity: AcsIdentity) -> AcsQuirk | None:
    """Return the first of :func:`acs_quirks`, or ``None``.

    >>> quirk = acs_quirk(AcsIdentity(0x8086, 0x10FB))
    >>> quirk.subject, quirk.verdict(AcsIdentity(0x8086, 0x10FB), AcsBit.SV | AcsBit.RR)
    ('82599 and X520', <Verdict.ENABLED: 'enabled'>)
    """
    return next(iter(acs_quirks(identity)), None)


def acs_enable_quirk(identity: AcsIdentity) -> AcsEnableQuirk | None:
    """Return what Linux switches on by itself for this port at boot, outside the standard registers."""
    return next((row for row in ACS_ENABLE_QUIRKS if row.matches(identity)), None)


def ignored_acs(identity: AcsIdentity) -> AcsBit:
    """Return the controls that Linux strikes from a function's ACS Capability register.

    Kernels up to 6.12 strike none (see the rows' ``since``); they keep the control switched on instead,
    so for grouping the outcome is the same.
    """
    bits = NO_BITS
    for row in IGNORED_ACS:
        if row.matches(identity):
            bits |= row.ignored
    return bits


def dma_alias_quirks(vendor: int, device: int, class_code: int) -> tuple[DmaAliasQuirk, ...]:
    """Return the rows that add requester ids to a function; *class_code* has 24 bits."""
    return tuple(row for row in DMA_ALIAS_QUIRKS if row.matches(vendor, device, class_code))


def dma_alias_devfns(
    vendor: int,
    device: int,
    class_code: int,
    devfn: int,
    *,
    subsystem: tuple[int, int] | None = None,
) -> tuple[int, ...] | None:
    """Return the devfns on its own bus that a function uses besides *devfn*, ascending.

    As in the kernel's mask, *devfn* itself may be among them. ``None`` is "cannot be told": the numbers
    are in the device's registers, or the board matters and *subsystem*, vendor and device, is missing.

    >>> dma_alias_devfns(0x1B4B, 0x9230, 0x010601, 0x00)
    (1,)
    """
    devfns: set[int] = set()
    for row in dma_alias_quirks(vendor, device, class_code):
        added = _devfns_of(row, devfn, subsystem)
        if added is None:
            return None
        devfns.update(added)
    return tuple(sorted(devfns))


def _devfns_of(row: DmaAliasQuirk, devfn: int, subsystem: tuple[int, int] | None) -> tuple[int, ...] | None:
    match row.shape:
        case AliasShape.FUNCTION_0:
            return _other_function(devfn, 0)
        case AliasShape.FUNCTION_1:
            return _other_function(devfn, 1)
        case AliasShape.EVERY:
            return tuple(range(_DEVFNS_PER_BUS))
        case AliasShape.REGISTERS:
            return None
        case AliasShape.BOARD:
            return None if subsystem is None else _board_devfns(row, subsystem)
        case AliasShape.FIXED:
            return row.devfns


def _other_function(devfn: int, function: int) -> tuple[int, ...]:
    return () if devfn & 7 == function else (devfn & ~7 | function,)


def _board_devfns(row: DmaAliasQuirk, subsystem: tuple[int, int]) -> tuple[int, ...]:
    return tuple(devfn for *board, devfn in row.boards if tuple(board) == subsystem)


def bridge_alias(vendor: int, device: int) -> BridgeQuirk | None:
    """Return the row that changes how requester ids pass this bridge, or ``None``.

    The row's ``condition`` and ``since`` say when it holds.

    >>> bridge_alias(0x1B21, 0x1080).flag.name
    'PCIE_BRIDGE_ALIAS'
    """
    return next((row for row in BRIDGE_QUIRKS if row.matches(vendor, device)), None)


def bridge_flags(vendor: int, device: int) -> frozenset[BridgeFlag]:
    """Return the flags that :func:`bridge_alias` rows set on this bridge, whatever their conditions."""
    return frozenset(row.flag for row in BRIDGE_QUIRKS if row.matches(vendor, device))

"""VT-d's root, context and PASID entries as rows, by the specification's names (VT-d 9.1 to 9.6).

Positions were compared between Linux 6.12's driver (drivers/iommu/intel), QEMU's masks and, for legacy mode,
fault records of a live QEMU.
"""

from enum import IntEnum

from vfiokit.bits import Field, mask
from vfiokit.translation.structures import Structure

__all__ = [
    "CONTEXT_ENTRY",
    "PASID_DIRECTORY_ENTRY",
    "PASID_ENTRY",
    "ROOT_ENTRY",
    "RTADDR",
    "SCALABLE_CONTEXT_ENTRY",
    "SCALABLE_ROOT_ENTRY",
    "PagingMode",
    "TranslationTableMode",
    "TranslationType",
]

RTADDR = (
    Field("TTM", 10, 2, "translation table mode"),
    Field("RTA", 12, 52, "root table address"),
)
"""RTADDR_REG (VT-d 11.4.5)."""


class TranslationTableMode(IntEnum):
    """RTADDR's TTM."""

    LEGACY = 0
    SCALABLE = 1
    RESERVED = 2
    ABORT = 3


class TranslationType(IntEnum):
    """A legacy context entry's TT."""

    UNTRANSLATED_ONLY = 0
    ALL = 1
    PASS_THROUGH = 2
    RESERVED = 3


class PagingMode(IntEnum):
    """A PASID entry's PGTT."""

    FIRST_STAGE = 1
    SECOND_STAGE = 2
    NESTED = 3
    PASS_THROUGH = 4


ROOT_ENTRY = Structure(
    "root entry",
    (
        (Field("P", 0, 1, "present"), Field("CTP", 12, 52, "context table")),
        (),
    ),
)

CONTEXT_ENTRY = Structure(
    "context entry",
    (
        (
            Field("P", 0, 1, "present"),
            Field("FPD", 1, 1, "fault processing disabled"),
            Field("TT", 2, 2, "translation type"),
            Field("SSPTPTR", 12, 52, "second-stage table"),
        ),
        (Field("AW", 0, 3, "address width: 30 + 9 * AW bits"), Field("DID", 8, 16, "domain id")),
    ),
    ignored=(0, mask(4) << 3),
)

SCALABLE_ROOT_ENTRY = Structure(
    "scalable-mode root entry",
    (
        (Field("LP", 0, 1, "lower half present"), Field("LCTP", 12, 52, "context table of devices 0 to 15")),
        (
            Field("UP", 0, 1, "upper half present"),
            Field("UCTP", 12, 52, "context table of devices 16 to 31"),
        ),
    ),
)

SCALABLE_CONTEXT_ENTRY = Structure(
    "scalable-mode context entry",
    (
        (
            Field("P", 0, 1, "present"),
            Field("FPD", 1, 1, "fault processing disabled"),
            Field("DTE", 2, 1, "device TLB enabled"),
            Field("PASIDE", 3, 1, "requests with PASID enabled"),
            Field("PRE", 4, 1, "page requests enabled"),
            Field("PDTS", 9, 3, "PASID directory of 2 ** (PDTS + 7) entries"),
            Field("PASIDDIRPTR", 12, 52, "PASID directory"),
        ),
        (
            Field("RID_PASID", 0, 20, "PASID of requests without one"),
            Field("RID_PRIV", 20, 1, "requests without PASID are privileged"),
        ),
        (),
        (),
    ),
)

PASID_DIRECTORY_ENTRY = Structure(
    "PASID directory entry",
    (
        (
            Field("P", 0, 1, "present"),
            Field("FPD", 1, 1, "fault processing disabled"),
            Field("SMPTBLPTR", 12, 52, "PASID table"),
        ),
    ),
)

PASID_ENTRY = Structure(
    "PASID entry",
    (
        (
            Field("P", 0, 1, "present"),
            Field("FPD", 1, 1, "fault processing disabled"),
            Field("AW", 2, 3, "second-stage address width: 30 + 9 * AW bits"),
            Field("PGTT", 6, 3, "paging mode"),
            Field("SSADE", 9, 1, "second-stage accessed and dirty bits enabled"),
            Field("SSPTPTR", 12, 52, "second-stage table"),
        ),
        (
            Field("DID", 0, 16, "domain id"),
            Field("PWSNP", 23, 1, "page walks snoop"),
            Field("PGSNP", 24, 1, "pages snoop"),
        ),
        (
            Field("SRE", 0, 1, "supervisor requests enabled"),
            Field("ERE", 1, 1, "execute requests enabled"),
            Field("FSPM", 2, 2, "first-stage paging: 0 for 4 levels, 1 for 5"),
            Field("WPE", 4, 1, "write protection of supervisor writes"),
            Field("NXE", 5, 1, "no-execute enabled"),
            Field("SMEP", 6, 1, "supervisor-mode execution prevention"),
            Field("EAFE", 7, 1, "extended accessed flag enabled"),
            Field("FSPTPTR", 12, 52, "first-stage table"),
        ),
        (),
        (),
        (),
        (),
        (),
    ),
    # Memory types above bit 25 of the second word depend on the unit, and no translation depends on them.
    ignored=(0, mask(64) & ~mask(25), 0, 0, 0, 0, 0, 0),
)

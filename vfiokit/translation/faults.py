"""Why a request is blocked: one list of reasons, and each architecture's numbers for them.

The numbers and conditions were compared between Linux's tables (drivers/iommu/intel/dmar.c,
drivers/iommu/amd/amd_iommu_types.h) and, where QEMU has the check, its fault records. A row that rests on
Linux's text alone says so.
"""

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "AMD_FAULTS",
    "REASON_TEXTS",
    "VTD_LEGACY",
    "VTD_SCALABLE",
    "Check",
    "FaultTable",
    "Reason",
]


class Check(IntEnum):
    """The checks of a walk, in the order in which they are made; C uses the same numbers."""

    RANGE = 0
    TOP_UNREADABLE = 1
    UNREADABLE = 2
    NOT_PRESENT = 3
    USER = 4
    WRITE = 5
    READ = 6
    EXECUTE = 7
    RESERVED = 8
    SKIPPED = 9
    LEVEL = 10
    SIZE = 11


FIRST_STAGE, SECOND_STAGE = 32, 48


class Reason(IntEnum):
    """The check that failed. A reason of a walk is its stage's base plus the :class:`Check`."""

    NONE = 0
    ABORTED = 1
    ROOT_TABLE_INVALID = 2
    PASID_WITHOUT_SCALABLE_MODE = 3
    INTERRUPT_REQUEST = 4
    OUTPUT_IN_INTERRUPT_RANGE = 5
    BEYOND_UNIT_WIDTH = 6
    DOMAIN_BLOCKED = 7
    ROOT_UNREADABLE = 8
    ROOT_NOT_PRESENT = 9
    ROOT_RESERVED = 10
    CONTEXT_UNREADABLE = 11
    CONTEXT_NOT_PRESENT = 12
    CONTEXT_RESERVED = 13
    CONTEXT_INVALID = 14
    TRANSLATION_TYPE_BLOCKS = 15
    DEVICE_TLB_DISABLED = 16
    PASID_DISABLED = 17
    PASID_BEYOND_DIRECTORY = 18
    RID_PASID_INVALID = 19
    PASID_DIRECTORY_UNREADABLE = 20
    PASID_DIRECTORY_NOT_PRESENT = 21
    PASID_DIRECTORY_RESERVED = 22
    PASID_UNREADABLE = 23
    PASID_NOT_PRESENT = 24
    PASID_RESERVED = 25
    PASID_INVALID = 26
    EXECUTE_DISABLED = 27
    SUPERVISOR_DISABLED = 28
    DEVICE_BEYOND_TABLE = 29

    FIRST_RANGE = FIRST_STAGE + Check.RANGE
    FIRST_TOP_UNREADABLE = FIRST_STAGE + Check.TOP_UNREADABLE
    FIRST_UNREADABLE = FIRST_STAGE + Check.UNREADABLE
    FIRST_NOT_PRESENT = FIRST_STAGE + Check.NOT_PRESENT
    FIRST_USER = FIRST_STAGE + Check.USER
    FIRST_WRITE = FIRST_STAGE + Check.WRITE
    FIRST_READ = FIRST_STAGE + Check.READ
    FIRST_EXECUTE = FIRST_STAGE + Check.EXECUTE
    FIRST_RESERVED = FIRST_STAGE + Check.RESERVED

    SECOND_RANGE = SECOND_STAGE + Check.RANGE
    SECOND_TOP_UNREADABLE = SECOND_STAGE + Check.TOP_UNREADABLE
    SECOND_UNREADABLE = SECOND_STAGE + Check.UNREADABLE
    SECOND_NOT_PRESENT = SECOND_STAGE + Check.NOT_PRESENT
    SECOND_USER = SECOND_STAGE + Check.USER
    SECOND_WRITE = SECOND_STAGE + Check.WRITE
    SECOND_READ = SECOND_STAGE + Check.READ
    SECOND_EXECUTE = SECOND_STAGE + Check.EXECUTE
    SECOND_RESERVED = SECOND_STAGE + Check.RESERVED
    SECOND_SKIPPED = SECOND_STAGE + Check.SKIPPED
    SECOND_LEVEL = SECOND_STAGE + Check.LEVEL
    SECOND_SIZE = SECOND_STAGE + Check.SIZE

    NESTED_RANGE = 64
    NESTED_READ_TOP = 65
    NESTED_READ = 66
    NESTED_WRITE = 67


REASON_TEXTS = {
    Reason.NONE: "nothing failed",
    Reason.ABORTED: "the unit is set to abort all DMA",
    Reason.ROOT_TABLE_INVALID: "the root table address has a reserved translation table mode",
    Reason.PASID_WITHOUT_SCALABLE_MODE: "a request with PASID, and the unit is in legacy mode",
    Reason.INTERRUPT_REQUEST: "the address is an interrupt's, not memory's: it goes to interrupt remapping",
    Reason.OUTPUT_IN_INTERRUPT_RANGE: "the translated address lies in the interrupt range",
    Reason.BEYOND_UNIT_WIDTH: "the address is wider than the unit takes",
    Reason.DOMAIN_BLOCKED: "the device table entry is valid and its translation is not",
    Reason.ROOT_UNREADABLE: "the root entry lies outside memory",
    Reason.ROOT_NOT_PRESENT: "the root entry is not present",
    Reason.ROOT_RESERVED: "the root entry has reserved bits set",
    Reason.CONTEXT_UNREADABLE: "the context entry lies outside memory",
    Reason.CONTEXT_NOT_PRESENT: "the context entry is not present",
    Reason.CONTEXT_RESERVED: "the context entry has reserved bits set",
    Reason.CONTEXT_INVALID: "the context entry asks for what the unit does not offer",
    Reason.TRANSLATION_TYPE_BLOCKS: "the context entry's translation type blocks requests of this type",
    Reason.DEVICE_TLB_DISABLED: "the context entry does not let the device cache translations",
    Reason.PASID_DISABLED: "the context entry does not allow requests with PASID",
    Reason.PASID_BEYOND_DIRECTORY: "the PASID is beyond the directory",
    Reason.RID_PASID_INVALID: "the PASID for requests without one is beyond the directory",
    Reason.PASID_DIRECTORY_UNREADABLE: "the PASID directory entry lies outside memory",
    Reason.PASID_DIRECTORY_NOT_PRESENT: "the PASID directory entry is not present",
    Reason.PASID_DIRECTORY_RESERVED: "the PASID directory entry has reserved bits set",
    Reason.PASID_UNREADABLE: "the PASID entry lies outside memory",
    Reason.PASID_NOT_PRESENT: "the PASID entry is not present",
    Reason.PASID_RESERVED: "the PASID entry has reserved bits set",
    Reason.PASID_INVALID: "the PASID entry asks for what the unit does not offer",
    Reason.EXECUTE_DISABLED: "the PASID entry does not allow execute requests",
    Reason.SUPERVISOR_DISABLED: "the PASID entry does not allow supervisor requests",
    Reason.DEVICE_BEYOND_TABLE: "the device table has no entry for the requester",
    Reason.FIRST_RANGE: "the address is not canonical for the first-stage tables",
    Reason.FIRST_TOP_UNREADABLE: "the first-stage top table lies outside memory",
    Reason.FIRST_UNREADABLE: "the first-stage entry lies outside memory",
    Reason.FIRST_NOT_PRESENT: "the first-stage entry is not present",
    Reason.FIRST_USER: "the first-stage entry is for supervisor requests only",
    Reason.FIRST_WRITE: "the first-stage entry does not allow writes",
    Reason.FIRST_READ: "the first-stage entry does not allow reads",
    Reason.FIRST_EXECUTE: "the first-stage entry does not allow execution",
    Reason.FIRST_RESERVED: "the first-stage entry has reserved bits set",
    Reason.SECOND_RANGE: "the address is wider than the second-stage tables translate",
    Reason.SECOND_TOP_UNREADABLE: "the second-stage top table lies outside memory",
    Reason.SECOND_UNREADABLE: "the second-stage entry lies outside memory",
    Reason.SECOND_NOT_PRESENT: "the second-stage entry is not present",
    Reason.SECOND_USER: "the second-stage entry is for supervisor requests only",
    Reason.SECOND_WRITE: "the second-stage entry does not allow writes",
    Reason.SECOND_READ: "the second-stage entry does not allow reads",
    Reason.SECOND_EXECUTE: "the second-stage entry does not allow execution",
    Reason.SECOND_RESERVED: "the second-stage entry has reserved bits set",
    Reason.SECOND_SKIPPED: "the address has bits set in a level that the entry skips",
    Reason.SECOND_LEVEL: "the entry points to a level that is not below its own",
    Reason.SECOND_SIZE: "the entry encodes a page size that does not fit its level",
    Reason.NESTED_RANGE: "a first-stage table lies at an address wider than the second stage translates",
    Reason.NESTED_READ_TOP: "the second stage does not let the first-stage top table be read",
    Reason.NESTED_READ: "the second stage does not let a first-stage table be read",
    Reason.NESTED_WRITE: "the second stage does not let accessed and dirty bits be written",
}
"""What each reason says."""


@dataclass(frozen=True, slots=True)
class FaultTable:
    """The numbers of one architecture or mode.

    :ivar codes: number of each reason; what is not in it is not reported.
    :ivar qualified: the reasons that the requester's entry can keep silent about.
    """

    codes: dict[Reason, int]
    qualified: frozenset[Reason]

    def code(self, reason: Reason, *, write: bool) -> int | None:
        """Return the number of *reason* for a request that writes or does not."""
        if reason == Reason.SECOND_NOT_PRESENT and reason not in self.codes:
            # There is no present bit: not present is no permission (VT-d 9.8).
            reason = Reason.SECOND_WRITE if write else Reason.SECOND_READ
        return self.codes.get(reason)

    def recorded(self, reason: Reason, *, disabled: bool) -> bool:
        """Whether software hears of *reason*.

        :param disabled: whether the entry that was used has fault processing disabled.
        """
        known = reason in self.codes or reason == Reason.SECOND_NOT_PRESENT
        return known and not (disabled and reason in self.qualified)


def _qualified(codes: dict[Reason, int], unqualified: set[Reason]) -> FaultTable:
    return FaultTable(codes, frozenset(Reason) - unqualified)


_ALWAYS = {
    Reason.ROOT_TABLE_INVALID,
    Reason.PASID_WITHOUT_SCALABLE_MODE,
    Reason.ROOT_UNREADABLE,
    Reason.ROOT_NOT_PRESENT,
    Reason.ROOT_RESERVED,
    Reason.CONTEXT_UNREADABLE,
    Reason.CONTEXT_RESERVED,
    Reason.PASID_DIRECTORY_UNREADABLE,
    Reason.PASID_UNREADABLE,
}

VTD_LEGACY = _qualified(
    {
        Reason.ROOT_NOT_PRESENT: 0x1,
        Reason.CONTEXT_NOT_PRESENT: 0x2,
        Reason.CONTEXT_INVALID: 0x3,
        Reason.SECOND_TOP_UNREADABLE: 0x3,
        Reason.SECOND_RANGE: 0x4,
        Reason.BEYOND_UNIT_WIDTH: 0x4,
        Reason.SECOND_WRITE: 0x5,
        Reason.SECOND_READ: 0x6,
        Reason.SECOND_EXECUTE: 0x6,
        Reason.SECOND_UNREADABLE: 0x7,
        Reason.ROOT_UNREADABLE: 0x8,
        Reason.CONTEXT_UNREADABLE: 0x9,
        Reason.ROOT_RESERVED: 0xA,
        Reason.CONTEXT_RESERVED: 0xB,
        Reason.SECOND_RESERVED: 0xC,
        Reason.TRANSLATION_TYPE_BLOCKS: 0xD,
        Reason.OUTPUT_IN_INTERRUPT_RANGE: 0xE,
        Reason.ROOT_TABLE_INVALID: 0x30,
        Reason.PASID_WITHOUT_SCALABLE_MODE: 0x31,
    },
    _ALWAYS,
)
"""Legacy mode (VT-d 7.1.3, conditions LRT, LCT and LGN)."""

VTD_SCALABLE = _qualified(
    {
        Reason.ROOT_TABLE_INVALID: 0x30,
        Reason.ROOT_UNREADABLE: 0x38,
        Reason.ROOT_NOT_PRESENT: 0x39,
        Reason.ROOT_RESERVED: 0x3A,
        Reason.CONTEXT_UNREADABLE: 0x40,
        Reason.CONTEXT_NOT_PRESENT: 0x41,
        Reason.CONTEXT_RESERVED: 0x42,
        Reason.CONTEXT_INVALID: 0x43,
        Reason.DEVICE_TLB_DISABLED: 0x44,  # Linux alone
        Reason.PASID_DISABLED: 0x45,  # Linux alone
        Reason.PASID_BEYOND_DIRECTORY: 0x46,  # Linux alone
        Reason.RID_PASID_INVALID: 0x48,  # Linux alone
        Reason.PASID_DIRECTORY_UNREADABLE: 0x50,
        Reason.PASID_DIRECTORY_NOT_PRESENT: 0x51,
        Reason.PASID_DIRECTORY_RESERVED: 0x52,  # Linux alone
        Reason.PASID_UNREADABLE: 0x58,
        Reason.PASID_NOT_PRESENT: 0x59,
        Reason.PASID_RESERVED: 0x5A,  # Linux alone
        Reason.PASID_INVALID: 0x5B,
        Reason.EXECUTE_DISABLED: 0x5C,  # Linux alone
        Reason.SUPERVISOR_DISABLED: 0x5D,  # Linux alone
        Reason.FIRST_UNREADABLE: 0x70,
        Reason.FIRST_NOT_PRESENT: 0x71,
        Reason.FIRST_RESERVED: 0x72,
        Reason.FIRST_TOP_UNREADABLE: 0x73,
        Reason.NESTED_RANGE: 0x74,  # Linux alone, as all of nesting
        Reason.NESTED_READ_TOP: 0x75,
        Reason.NESTED_READ: 0x76,
        Reason.NESTED_WRITE: 0x77,
        Reason.SECOND_UNREADABLE: 0x78,  # Linux alone, as 0x79, 0x7A, 0x7B, 0x84 and 0x86
        Reason.SECOND_NOT_PRESENT: 0x79,
        Reason.SECOND_RESERVED: 0x7A,
        Reason.SECOND_TOP_UNREADABLE: 0x7B,
        Reason.FIRST_RANGE: 0x80,
        Reason.FIRST_USER: 0x81,
        Reason.FIRST_EXECUTE: 0x82,  # Linux alone
        Reason.BEYOND_UNIT_WIDTH: 0x83,  # Linux alone
        Reason.SECOND_RANGE: 0x84,
        Reason.FIRST_WRITE: 0x85,
        Reason.SECOND_WRITE: 0x85,
        Reason.FIRST_READ: 0x86,
        Reason.SECOND_READ: 0x86,
        Reason.SECOND_EXECUTE: 0x82,
        Reason.OUTPUT_IN_INTERRUPT_RANGE: 0x87,
    },
    _ALWAYS,
)
"""Scalable mode (VT-d 7.1.3, conditions RTA, SRT, SCT, SPD, SPT, SFS, SSS and SGN)."""

_ILLEGAL_DEVICE_TABLE_ENTRY = 1
_IO_PAGE_FAULT = 2
_DEVICE_TABLE_HARDWARE_ERROR = 3
_PAGE_TABLE_HARDWARE_ERROR = 4

AMD_FAULTS = _qualified(
    {
        Reason.ROOT_UNREADABLE: _DEVICE_TABLE_HARDWARE_ERROR,
        Reason.DEVICE_BEYOND_TABLE: _ILLEGAL_DEVICE_TABLE_ENTRY,
        Reason.CONTEXT_RESERVED: _ILLEGAL_DEVICE_TABLE_ENTRY,
        Reason.CONTEXT_INVALID: _ILLEGAL_DEVICE_TABLE_ENTRY,
        Reason.DOMAIN_BLOCKED: _IO_PAGE_FAULT,
        Reason.PASID_DISABLED: _IO_PAGE_FAULT,
        Reason.PASID_BEYOND_DIRECTORY: _IO_PAGE_FAULT,
        Reason.PASID_NOT_PRESENT: _IO_PAGE_FAULT,
        Reason.PASID_RESERVED: _IO_PAGE_FAULT,
        Reason.PASID_UNREADABLE: _PAGE_TABLE_HARDWARE_ERROR,
        **{
            reason: _IO_PAGE_FAULT
            for reason in Reason
            if reason >= FIRST_STAGE and reason not in (Reason.SECOND_UNREADABLE, Reason.FIRST_UNREADABLE)
        },
        Reason.FIRST_TOP_UNREADABLE: _PAGE_TABLE_HARDWARE_ERROR,
        Reason.FIRST_UNREADABLE: _PAGE_TABLE_HARDWARE_ERROR,
        Reason.SECOND_TOP_UNREADABLE: _PAGE_TABLE_HARDWARE_ERROR,
        Reason.SECOND_UNREADABLE: _PAGE_TABLE_HARDWARE_ERROR,
    },
    {
        Reason.ROOT_UNREADABLE,
        Reason.DEVICE_BEYOND_TABLE,
        Reason.CONTEXT_RESERVED,
        Reason.CONTEXT_INVALID,
        Reason.FIRST_TOP_UNREADABLE,
        Reason.FIRST_UNREADABLE,
        Reason.SECOND_TOP_UNREADABLE,
        Reason.SECOND_UNREADABLE,
    },
)
"""Event codes (AMD-Vi 2.5); SA and SE of the device table entry silence page faults."""

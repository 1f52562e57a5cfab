"""Page-table formats as data: which bits are what, at every level, for one unit.

One walker in Python, one in C and one builder read these rows, so that no two of them have masks of their
own. Level 1 is the last; an entry of level *n* stands for ``4096 << 9 * (n - 1)`` bytes.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

from vfiokit.address import PageSize
from vfiokit.bits import Field, mask
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.faults import FIRST_STAGE, SECOND_STAGE
from vfiokit.translation.requests import Access

__all__ = [
    "ADDRESS",
    "AMD_ENTRY",
    "FIRST_STAGE_ENTRY",
    "LEVELS",
    "SECOND_STAGE_ENTRY",
    "LeafRule",
    "RadixFormat",
    "amd_host",
    "first_stage",
    "level_shift",
    "second_stage",
]

LEVELS = range(1, 7)
ADDRESS = mask(52) & ~mask(12)
"""Bits 51:12, where every format has the address."""


def level_shift(level: int) -> int:
    """Return the lowest address bit that selects an entry at *level*.

    >>> level_shift(1), level_shift(4)
    (12, 39)
    """
    return 12 + 9 * (level - 1)


class LeafRule(IntEnum):
    """How an entry says that it ends the walk; C uses the same numbers."""

    PAGE_SIZE_BIT = 0
    NEXT_LEVEL = 1


SECOND_STAGE_ENTRY = (
    Field("R", 0, 1, "reads are allowed"),
    Field("W", 1, 1, "writes are allowed"),
    Field("X", 2, 1, "execution is allowed, where the unit checks it"),
    Field("EMT", 3, 3, "memory type"),
    Field("IPAT", 6, 1, "ignore the PAT"),
    Field("PS", 7, 1, "a page, above the last level"),
    Field("A", 8, 1, "accessed"),
    Field("D", 9, 1, "dirty"),
    Field("SNP", 11, 1, "snoop"),
    Field("ADDR", 12, 40, "page or next table"),
    Field("TM", 62, 1, "transient mapping"),
)
"""Second-stage paging entry (VT-d 9.8)."""

FIRST_STAGE_ENTRY = (
    Field("P", 0, 1, "present"),
    Field("R/W", 1, 1, "writes are allowed"),
    Field("U/S", 2, 1, "user requests are allowed"),
    Field("PWT", 3, 1, "write through"),
    Field("PCD", 4, 1, "cache disable"),
    Field("A", 5, 1, "accessed"),
    Field("D", 6, 1, "dirty"),
    Field("PS", 7, 1, "a page, above the last level"),
    Field("G", 8, 1, "global"),
    Field("EA", 10, 1, "extended accessed"),
    Field("ADDR", 12, 40, "page or next table"),
    Field("XD", 63, 1, "execution is not allowed"),
)
"""First-stage paging entry (VT-d 9.7): that of x86-64."""

AMD_ENTRY = (
    Field("PR", 0, 1, "present"),
    Field("A", 5, 1, "accessed"),
    Field("D", 6, 1, "dirty"),
    Field("NextLevel", 9, 3, "level below; 0 a page, 7 a page of encoded size"),
    Field("ADDR", 12, 40, "page or next table"),
    Field("U", 59, 1, "attribute for ATS"),
    Field("FC", 60, 1, "force coherent"),
    Field("IR", 61, 1, "reads are allowed"),
    Field("IW", 62, 1, "writes are allowed"),
)
"""Host page-table entry (AMD-Vi 2.2.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadixFormat:
    """A radix page table of 512 entries a level.

    A permission whose mask is 0 comes with presence.

    :ivar name: what error texts call its entries.
    :ivar reasons: what a failed :class:`~vfiokit.translation.faults.Check` is added to.
    :ivar fields: the bits by name.
    :ivar present: an entry is present if any of these is set.
    :ivar read: mask that must be set wholly for reads; likewise *write*, *execute* and *user*.
    :ivar no_execute: mask of which nothing may be set for execution.
    :ivar always: bits that every present entry has when it is built here.
    :ivar rule: how a leaf is told from a table.
    :ivar leaf_levels: levels above the last at which a leaf may stand, as bits ``1 << level``.
    :ivar reserved_table: bits that must be 0 in a pointer, by level from 0.
    :ivar reserved_leaf: bits that must be 0 in a leaf, by level from 0.
    :ivar accessed: the bit hardware sets in every entry it uses, 0 if it sets none.
    :ivar dirty: the bit hardware sets in the leaf of a write, 0 if it sets none.
    :ivar canonical: whether the top of the input is sign-extended rather than zero.
    """

    name: str
    reasons: int
    fields: tuple[Field, ...]
    present: int
    read: int
    write: int
    execute: int = 0
    no_execute: int = 0
    user: int = 0
    always: int = 0
    rule: LeafRule = LeafRule.PAGE_SIZE_BIT
    leaf_levels: int = 0
    reserved_table: tuple[int, ...] = field(default=(0,) * 7)
    reserved_leaf: tuple[int, ...] = field(default=(0,) * 7)
    accessed: int = 0
    dirty: int = 0
    canonical: bool = False

    def next_level(self, entry: int, level: int) -> int:
        """Return the level that *entry* points to, 0 if it is a leaf; 7 is a leaf of encoded size."""
        if self.rule is LeafRule.NEXT_LEVEL:
            return entry >> 9 & 7
        return 0 if level == 1 or (self.leaf_levels >> level & 1 and entry & PAGE_SIZE_BIT) else level - 1

    def permissions(self, granted: int, touched: int) -> Access:
        """Return what a path allows.

        :param granted: all entries of the path, joined with ``and``.
        :param touched: all entries of the path, joined with ``or``.
        """
        allowed = Access.NONE
        if granted & self.read == self.read:
            allowed |= Access.READ
        if granted & self.write == self.write:
            allowed |= Access.WRITE
        if (
            allowed & Access.READ
            and granted & self.execute == self.execute
            and not touched & self.no_execute
        ):
            allowed |= Access.EXECUTE
        return allowed

    def entry_bits(self, access: Access) -> int:
        """Return the bits of an entry that allows *access*, and nothing else that can be told apart."""
        bits = self.always
        if access & Access.READ:
            bits |= self.read
        if access & Access.WRITE:
            bits |= self.write
        if access & Access.EXECUTE:
            return bits | self.execute
        return bits | self.no_execute


PAGE_SIZE_BIT = 1 << 7
_LARGE_PAGE_LEVELS = {PageSize.SIZE_2M: 2, PageSize.SIZE_1G: 3}


@lru_cache(maxsize=64)
def second_stage(unit: VtdCapabilities, host_address_width: int, *, accessed_dirty: bool) -> RadixFormat:
    """Return the second-stage format of a unit (VT-d 9.8).

    :param host_address_width: bits of host physical addresses: an entry's higher address bits are reserved.
    :param accessed_dirty: whether the requester's entry has accessed and dirty bits enabled (SSADE).
    """
    beyond = ADDRESS & ~mask(host_address_width)
    transient = 0 if unit.device_iotlb else 1 << 62
    # Scalable-mode units take the snoop bit whether they can enforce it or not.
    snoop = 0 if unit.snoop_control or unit.scalable_mode else 1 << 11
    sizes = [_LARGE_PAGE_LEVELS[size] for size in unit.second_stage_page_sizes if size in _LARGE_PAGE_LEVELS]
    # The top of every table but the leaves has no page size bit, nor do levels without that page size.
    table = [beyond | 1 << 62 | 1 << 11 | (PAGE_SIZE_BIT if level > 1 else 0) for level in range(7)]
    leaf = [beyond | transient | snoop | mask(level_shift(max(level, 1))) & ~mask(12) for level in range(7)]
    return RadixFormat(
        name="second-stage",
        reasons=SECOND_STAGE,
        fields=SECOND_STAGE_ENTRY,
        present=0b11,
        read=1 << 0,
        write=1 << 1,
        leaf_levels=sum(1 << level for level in sizes),
        reserved_table=tuple(table),
        reserved_leaf=tuple(leaf),
        accessed=1 << 8 if accessed_dirty else 0,
        dirty=1 << 9 if accessed_dirty else 0,
    )


@lru_cache(maxsize=64)
def first_stage(
    host_address_width: int, *, gigabyte_pages: bool, no_execute: bool, address_width: int = 52
) -> RadixFormat:
    """Return the first-stage format (VT-d 9.7).

    :param gigabyte_pages: whether the unit has 1 GiB pages.
    :param no_execute: whether the requester's entry has XD honoured (NXE).
    :param address_width: of what the entries point to, where that is a guest's memory.
    """
    beyond = ADDRESS & ~mask(min(host_address_width, address_width))
    large = 1 << 2 | (1 << 3 if gigabyte_pages else 0)
    table = [beyond | (PAGE_SIZE_BIT if level > 1 else 0) for level in range(7)]
    # In a large page bit 12 is the page attribute bit.
    leaf = [beyond | mask(level_shift(max(level, 1))) & ~mask(13) for level in range(7)]
    return RadixFormat(
        name="first-stage",
        reasons=FIRST_STAGE,
        fields=FIRST_STAGE_ENTRY,
        present=1 << 0,
        read=0,
        write=1 << 1,
        user=1 << 2,
        always=0b101,
        no_execute=1 << 63 if no_execute else 0,
        leaf_levels=large,
        reserved_table=tuple(table),
        reserved_leaf=tuple(leaf),
        accessed=1 << 5,
        dirty=1 << 6,
        canonical=True,
    )


@lru_cache(maxsize=16)
def amd_host(*, accessed: bool = False, dirty: bool = False) -> RadixFormat:
    """Return the format of AMD-Vi host tables (AMD-Vi 2.2.3).

    :param accessed: whether the device table entry has the unit set accessed bits; *dirty* likewise.
    """
    reserved = mask(59) & ~mask(52)
    return RadixFormat(
        name="host",
        reasons=SECOND_STAGE,
        fields=AMD_ENTRY,
        present=1 << 0,
        read=1 << 61,
        write=1 << 62,
        always=1 << 0,
        rule=LeafRule.NEXT_LEVEL,
        leaf_levels=0b1111110,
        reserved_table=(reserved,) * 7,
        reserved_leaf=(reserved,) * 7,
        accessed=1 << 5 if accessed else 0,
        dirty=1 << 6 if dirty else 0,
    )

"""Domains that write real tables, through the same format rows that the walkers read.

After every single store the tables are whole: what is built is linked last, what is taken apart is unlinked
first, and the translation of every address that is not being changed stays what it was.

>>> from vfiokit.address import AddressRange
>>> from vfiokit.translation.capabilities import VtdCapabilities
>>> from vfiokit.translation.formats import second_stage
>>> from vfiokit.translation.memory import SparseMemory
>>> unit = VtdCapabilities(cap=0x00d2008c222f0606, ecap=0x0000000000f00f4a)
>>> frames = Frames([AddressRange(0x100000, 0x200000)])
>>> domain = Domain(SparseMemory(), frames, second_stage(unit, 48, accessed_dirty=False), levels=4)
>>> domain.map(0x200000, 0x40000000, 0x201000)
>>> [hex(leaf.size) for leaf in domain.leaves()]
['0x200000', '0x1000']
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vfiokit.address import AddressRange
from vfiokit.bits import is_aligned, mask
from vfiokit.errors import UsageError
from vfiokit.translation.formats import ADDRESS, PAGE_SIZE_BIT, LeafRule, RadixFormat, level_shift
from vfiokit.translation.frames import Frames
from vfiokit.translation.memory import FRAME_SIZE, WritableMemory
from vfiokit.translation.requests import Access
from vfiokit.translation.walk import Stage, encoded_shift

__all__ = ["Domain", "MappedPage", "leaf_entry"]

ENTRIES = 512
READ_WRITE = Access.READ | Access.WRITE


@dataclass(frozen=True, slots=True, order=True)
class MappedPage:
    """One page of a table.

    :ivar iova: address of its first byte in the domain.
    :ivar address: host physical address of its first byte.
    :ivar size: in bytes, a power of two.
    :ivar access: what its own entry and those above allow.
    """

    iova: int
    address: int
    size: int
    access: Access


def leaf_entry(format: RadixFormat, address: int, shift: int, level: int, access: Access) -> int:
    """Return the entry at *level* for a page of ``1 << shift`` bytes."""
    bits = format.entry_bits(access)
    if format.rule is LeafRule.PAGE_SIZE_BIT:
        return address | bits | (PAGE_SIZE_BIT if level > 1 else 0)
    if shift == level_shift(level):
        return address | bits
    # The run of ones below the zero at bit shift - 1 says the size.
    return address | (mask(shift - 1) & ~mask(12)) | bits | 7 << 9


class Domain:
    """An address space with its page table in memory.

    :param memory: where the table is written.
    :param frames: where its frames come from.
    :param format: of its entries.
    :param levels: depth of the table.
    :param domain_id: what the unit tags its translations with.
    :param page_sizes: sizes that :meth:`map` may choose from, in bytes; all that the format has by default.
    """

    def __init__(
        self,
        memory: WritableMemory,
        frames: Frames,
        format: RadixFormat,
        *,
        levels: int,
        domain_id: int = 0,
        page_sizes: Sequence[int] | None = None,
    ) -> None:
        self.memory = memory
        self.format = format
        self.levels = levels
        self.domain_id = domain_id
        self._frames = frames
        self._owned: set[int] = set()
        offered = _natural_sizes(format, levels)
        self.page_sizes = tuple(sorted(offered if page_sizes is None else page_sizes, reverse=True))
        for size in self.page_sizes:
            if size not in offered and not _can_encode(format, size, levels):
                raise UsageError("the format has no such page size", subject=hex(size))
        if FRAME_SIZE not in self.page_sizes:
            raise UsageError("4 KiB pages cannot be left out", subject="page sizes")
        self.root = self._new_table()

    @property
    def owned(self) -> frozenset[int]:
        """The frames that the table is made of."""
        return frozenset(self._owned)

    @property
    def width(self) -> int:
        """Bits of its addresses."""
        return min(64, level_shift(self.levels + 1))

    @property
    def stage(self) -> Stage:
        """The table as a walker takes it."""
        return Stage(format=self.format, root=self.root, levels=self.levels, width=self.width)

    def map(
        self,
        iova: int,
        address: int,
        size: int,
        access: Access = READ_WRITE,
        *,
        page_sizes: Sequence[int] | None = None,
    ) -> None:
        """Map *size* bytes from *iova* on to host physical memory from *address* on.

        :param page_sizes: narrows the choice for this mapping, in bytes.
        :raises UsageError: if it is not aligned to 4 KiB, reaches beyond the table, allows nothing or meets
            what is mapped already; nothing has changed then.
        """
        self._check(iova, size)
        if not access & READ_WRITE:
            raise UsageError("a mapping must allow something", operation="map", subject=hex(iova))
        if not is_aligned(address, FRAME_SIZE) or address + size > 1 << 52:
            raise UsageError(
                "not an aligned physical address", operation="map", subject=hex(address), hint="of 4 KiB"
            )
        if next(self._leaves(self.root, self.levels, 0, AddressRange(iova, iova + size)), None):
            raise UsageError("something is mapped there", operation="map", subject=hex(iova))
        sizes = self.page_sizes if page_sizes is None else tuple(sorted(page_sizes, reverse=True))
        while size:
            page = next(each for each in sizes if each <= size and is_aligned(iova | address, each))
            self._set_page(iova, address, page.bit_length() - 1, access)
            iova, address, size = iova + page, address + page, size - page

    def unmap(self, iova: int, size: int, *, keep_tables: bool = False) -> None:
        """Remove what is mapped in *size* bytes from *iova* on; a page that reaches beyond is split first.

        :param keep_tables: leave tables where they are that become empty and that the range does not cover,
            as Linux does: the next mapping finds them.
        :raises UsageError: if the range is not aligned to 4 KiB or reaches beyond the table.
        """
        self._check(iova, size)
        self._clear(self.root, self.levels, 0, AddressRange(iova, iova + size), keep=keep_tables)

    def split(self, iova: int) -> bool:
        """Replace the large page at *iova* by pages of the next smaller size; whether there was one."""
        table, level = self.root, self.levels
        while True:
            where = table + (iova >> level_shift(level) & 0x1FF) * 8
            entry = self._read(where)
            if not entry & self.format.present:
                return False
            below = self.format.next_level(entry, level)
            if below in (0, 7):
                return self._split(table, level, iova >> level_shift(level) & 0x1FF, entry)
            table, level = entry & ADDRESS, below

    def merge(self, iova: int, size: int) -> int:
        """Join tables in a range that are full of what one large page would say; return how many."""
        self._check(iova, size)
        return self._merge(self.root, self.levels, 0, AddressRange(iova, iova + size))

    def leaves(self) -> Iterator[MappedPage]:
        """Yield every page in order of address; encoded sizes once, not once for each entry."""
        previous: MappedPage | None = None
        for page in self._leaves(self.root, self.levels, 0, AddressRange(0, 1 << self.width)):
            if page != previous:
                yield page
            previous = page

    def release(self) -> None:
        """Give every frame back; the domain must not be attached any more."""
        for frame in sorted(self._owned):
            self._frames.give_back(frame)
        self._owned.clear()

    def _check(self, iova: int, size: int) -> None:
        if size <= 0 or not is_aligned(iova | size, FRAME_SIZE):
            raise UsageError("not aligned to 4 KiB", operation="map", subject=f"{iova:#x}, {size:#x} bytes")
        # What a canonical table has above the middle is not built here.
        width = self.width - (1 if self.format.canonical else 0)
        if iova < 0 or iova + size > 1 << width:
            raise UsageError("beyond the table", operation="map", subject=hex(iova), hint=f"{width} bits")

    def _set_page(self, iova: int, address: int, shift: int, access: Access) -> None:
        level = next(each for each in range(self.levels, 0, -1) if level_shift(each) <= shift)
        table = self._table_for(iova, level)
        first = iova >> level_shift(level) & 0x1FF
        entry = leaf_entry(self.format, address, shift, level, access)
        for slot in range(first, first + (1 << shift - level_shift(level))):
            self.memory.write64(table + 8 * slot, entry)

    def _table_for(self, iova: int, wanted: int) -> int:
        """Return the table of level *wanted* for *iova*, building what is missing on the way."""
        table, level = self.root, self.levels
        while level > wanted:
            where = table + (iova >> level_shift(level) & 0x1FF) * 8
            entry = self._read(where)
            if not entry & self.format.present:
                below = self._new_table()
                self.memory.write64(where, self._pointer(below, level - 1))
                table, level = below, level - 1
            else:
                level = self.format.next_level(entry, level)
                table = entry & ADDRESS
        return table

    def _clear(self, table: int, level: int, base: int, wanted: AddressRange, *, keep: bool) -> None:
        for slot, start, entry in self._slots(table, level, base, wanted):
            span = AddressRange(start, start + (1 << level_shift(level)))
            below = self.format.next_level(entry, level)
            inside = wanted.start <= span.start and span.end <= wanted.end
            if below == 7 or (below == 0 and not inside):
                page = encoded_shift(entry) if below == 7 else level_shift(level)
                first = start & ~mask(page)
                if below == 0 or not (wanted.start <= first and first + (1 << page) <= wanted.end):
                    self._split(table, level, slot, entry)
                    self._clear(table, level, base, wanted, keep=keep)
                    return
            if inside or below in (0, 7):
                self.memory.write64(table + 8 * slot, 0)
                if below not in (0, 7):
                    self._free(entry & ADDRESS, below)
                continue
            self._clear(entry & ADDRESS, below, start, wanted, keep=keep)
            if not keep and self._is_empty(entry & ADDRESS):
                self.memory.write64(table + 8 * slot, 0)
                self._free(entry & ADDRESS, below)

    def _split(self, table: int, level: int, slot: int, entry: int) -> bool:
        """Say the same as a leaf with smaller pages; whether there are any."""
        format = self.format
        if format.next_level(entry, level) == 7:
            shift = encoded_shift(entry)
            count = 1 << shift - level_shift(level)
            first, page = slot & ~(count - 1), entry & ADDRESS & ~mask(shift)
            for index in range(count):
                address = page + (index << level_shift(level))
                kept = entry & ~ADDRESS & ~(7 << 9)
                self.memory.write64(table + 8 * (first + index), kept | address)
            return True
        if level == 1:
            return False
        smaller = self._new_table()
        step = 1 << level_shift(level - 1)
        kept = (
            entry
            & ~ADDRESS
            & ~(PAGE_SIZE_BIT if format.rule is LeafRule.PAGE_SIZE_BIT and level == 2 else 0)
        )
        for index in range(ENTRIES):
            self.memory.write64(smaller + 8 * index, (entry & ADDRESS) + index * step | kept)
        self.memory.write64(table + 8 * slot, self._pointer(smaller, level - 1))
        return True

    def _merge(self, table: int, level: int, base: int, wanted: AddressRange) -> int:
        merged = 0
        for slot, start, entry in self._slots(table, level, base, wanted):
            below = self.format.next_level(entry, level)
            if below in (0, 7):
                continue
            merged += self._merge(entry & ADDRESS, below, start, wanted)
            large = self._merged(entry & ADDRESS, level)
            if below == level - 1 and large is not None:
                self.memory.write64(table + 8 * slot, large)
                self._free(entry & ADDRESS, below)
                merged += 1
        return merged

    def _merged(self, table: int, level: int) -> int | None:
        """Return the leaf of *level* that says what *table* says, if there is one."""
        format, step = self.format, 1 << level_shift(level - 1)
        first = self._read(table)
        if 1 << level_shift(level) not in self.page_sizes or not first & format.present:
            return None
        address = first & ADDRESS
        if format.next_level(first, level - 1) != 0 or not is_aligned(address, 1 << level_shift(level)):
            return None
        if any(self._read(table + 8 * index) != first + index * step for index in range(ENTRIES)):
            return None
        return first | (PAGE_SIZE_BIT if format.rule is LeafRule.PAGE_SIZE_BIT else 0)

    def _leaves(self, table: int, level: int, base: int, wanted: AddressRange) -> Iterator[MappedPage]:
        format = self.format
        for _, start, entry in self._slots(table, level, base, wanted):
            below = format.next_level(entry, level)
            if below not in (0, 7):
                yield from self._leaves(entry & ADDRESS, below, start, wanted)
                continue
            shift = encoded_shift(entry) if below == 7 else level_shift(level)
            address = entry & ADDRESS & ~mask(shift)
            yield MappedPage(start & ~mask(shift), address, 1 << shift, format.permissions(entry, entry))

    def _slots(
        self, table: int, level: int, base: int, wanted: AddressRange
    ) -> Iterator[tuple[int, int, int]]:
        """Yield slot, address and entry of what is present in a table and meets a range."""
        shift = level_shift(level)
        first = max(0, (wanted.start - base) >> shift)
        last = min(ENTRIES - 1, (wanted.end - 1 - base) >> shift)
        for slot in range(first, last + 1):
            entry = self._read(table + 8 * slot)
            if entry & self.format.present:
                yield slot, base + (slot << shift), entry

    def _is_empty(self, table: int) -> bool:
        return not any(self._read(table + 8 * slot) & self.format.present for slot in range(ENTRIES))

    def _new_table(self) -> int:
        frame = self._frames.take()
        self._owned.add(frame)
        self.memory.clear_frame(frame)
        return frame

    def _free(self, table: int, level: int) -> None:
        """Give a table and all below it back; nothing points to it any more."""
        if level > 1:
            for slot in range(ENTRIES):
                entry = self._read(table + 8 * slot)
                below = self.format.next_level(entry, level)
                if entry & self.format.present and below not in (0, 7):
                    self._free(entry & ADDRESS, below)
        self._owned.discard(table)
        self._frames.give_back(table)

    def _pointer(self, table: int, level: int) -> int:
        bits = self.format.always | self.format.read | self.format.write
        return table | bits | (level << 9 if self.format.rule is LeafRule.NEXT_LEVEL else 0)

    def _read(self, address: int) -> int:
        entry = self.memory.read64(address)
        if entry is None:
            raise UsageError("the table is not in memory", operation="read", subject=hex(address))
        return entry


def _natural_sizes(format: RadixFormat, levels: int) -> tuple[int, ...]:
    """Return the sizes of one entry; the largest that AMD-Vi documents as safe is 1 GiB."""
    return (
        FRAME_SIZE,
        *(
            1 << level_shift(level)
            for level in (2, 3)
            if level <= levels and format.leaf_levels >> level & 1
        ),
    )


def _can_encode(format: RadixFormat, size: int, levels: int) -> bool:
    """Whether an entry can say *size* itself: any power of two that is no level's own and fits the table."""
    shift = size.bit_length() - 1
    power = size == 1 << shift and 12 < shift < min(39, level_shift(levels + 1))
    return format.rule is LeafRule.NEXT_LEVEL and power and (shift - 12) % 9 != 0

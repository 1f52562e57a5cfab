"""Root, context, PASID and device tables, built: which requester gets which domain.

>>> from vfiokit.address import AddressRange
>>> from vfiokit.translation.capabilities import VtdCapabilities
>>> from vfiokit.translation.memory import SparseMemory
>>> from vfiokit.translation.requests import Request
>>> unit = VtdCapabilities(cap=0x00d2008c222f0606, ecap=0x0000000000f00f4a)
>>> tables = VtdTables(SparseMemory(), Frames([AddressRange(0x100000, 0x200000)]), unit)
>>> domain = tables.new_domain(domain_id=7)
>>> domain.map(0x1000, 0x80000000, 0x1000)
>>> tables.attach([0x0028], domain)
>>> tables.iommu().translate(Request(source_id=0x28, address=0x1234)).address == 0x80000234
True
"""

from collections.abc import Iterable

from vfiokit.address import PciAddress
from vfiokit.errors import UsageError
from vfiokit.translation.amdvi import DEVICE_TABLE_ENTRY
from vfiokit.translation.build import Domain
from vfiokit.translation.capabilities import AmdCapabilities, VtdCapabilities
from vfiokit.translation.formats import ADDRESS, amd_host, first_stage, second_stage
from vfiokit.translation.frames import Frames
from vfiokit.translation.iommu import AmdIommu, Iommu
from vfiokit.translation.memory import FRAME_SIZE, WritableMemory
from vfiokit.translation.requests import Access
from vfiokit.translation.structures import Structure
from vfiokit.translation.vtd_rows import (
    CONTEXT_ENTRY,
    PASID_DIRECTORY_ENTRY,
    PASID_ENTRY,
    ROOT_ENTRY,
    SCALABLE_CONTEXT_ENTRY,
    SCALABLE_ROOT_ENTRY,
    PagingMode,
    TranslationTableMode,
    TranslationType,
)

__all__ = ["AmdTables", "Requester", "VtdTables"]

Requester = PciAddress | int
"""A function by its address, or the source-id that the unit sees."""


class _Tables:
    """What the architectures share: memory, frames, and entries written word by word."""

    def __init__(self, memory: WritableMemory, frames: Frames) -> None:
        self.memory = memory
        self.frames = frames

    def _new_frames(self, count: int = 1) -> int:
        start = self.frames.take(count)
        for address in range(start, start + count * FRAME_SIZE, FRAME_SIZE):
            self.memory.clear_frame(address)
        return start

    def _write(self, structure: Structure, address: int, **fields: int) -> None:
        """Write an entry, the word with its present bit last.

        :raises UsageError: if the entry has no field of that name.
        """
        rest = dict(fields)
        for index in reversed(range(len(structure.words))):
            word = 0
            for field in structure.words[index]:
                word = field.put(word, rest.pop(field.name, 0))
            self.memory.write64(address + 8 * index, word)
        if rest:
            raise UsageError(f"the {structure.name} has no field {', '.join(rest)}")

    def _clear(self, structure: Structure, address: int) -> None:
        """Clear an entry, the word with its present bit first."""
        for index in range(len(structure.words)):
            self.memory.write64(address + 8 * index, 0)


class VtdTables(_Tables):
    """A root table and what hangs from it.

    :param memory: where everything is written.
    :param frames: where it may lie.
    :param capabilities: of the unit; in scalable mode if it has that and *scalable* is true.
    :param host_address_width: bits of host physical addresses; if not given, as :class:`Iommu` takes it.
    """

    def __init__(
        self,
        memory: WritableMemory,
        frames: Frames,
        capabilities: VtdCapabilities,
        *,
        scalable: bool | None = None,
        host_address_width: int | None = None,
    ) -> None:
        super().__init__(memory, frames)
        self.capabilities = capabilities
        self.scalable = capabilities.scalable_mode if scalable is None else scalable
        self.host_address_width = min(52, host_address_width or capabilities.guest_address_width)
        self.root_table = self._new_frames()

    @property
    def rtaddr(self) -> int:
        """What software would write to RTADDR_REG."""
        mode = TranslationTableMode.SCALABLE if self.scalable else TranslationTableMode.LEGACY
        return self.root_table | mode << 10

    def iommu(self) -> Iommu:
        """Return the unit that walks these tables."""
        return Iommu(
            self.memory,
            self.rtaddr,
            self.capabilities.cap,
            self.capabilities.ecap,
            host_address_width=self.host_address_width,
        )

    def new_domain(
        self,
        domain_id: int,
        *,
        first: bool = False,
        levels: int | None = None,
        page_sizes: Iterable[int] | None = None,
    ) -> Domain:
        """Make an empty domain that this unit can use.

        :param first: whether it has first-stage rather than second-stage tables.
        :param levels: depth of the table; the deepest of at most four if not given.
        """
        if first:
            format = first_stage(
                self.host_address_width,
                gigabyte_pages=bool(self.capabilities.field("FS1GP")),
                no_execute=False,
            )
            depth = levels or 4
        else:
            format = second_stage(self.capabilities, self.host_address_width, accessed_dirty=False)
            offered = [each for each in self.capabilities.page_table_levels if each <= 4]
            depth = levels or max(offered or self.capabilities.page_table_levels)
        sizes = None if page_sizes is None else tuple(page_sizes)
        return Domain(self.memory, self.frames, format, levels=depth, domain_id=domain_id, page_sizes=sizes)

    def attach(self, group: Iterable[Requester], domain: Domain, *, pasid: int = 0) -> None:
        """Give every requester of *group* the same domain: what a group must have.

        :param pasid: in scalable mode; 0 is that of requests without PASID.
        """
        first = domain.format.canonical
        if first and not self.scalable:
            raise UsageError("first-stage tables need scalable mode", operation="attach")
        for requester in group:
            if self.scalable:
                root = (
                    {"FSPTPTR": domain.root >> 12, "FSPM": domain.levels - 4}
                    if first
                    else {"SSPTPTR": domain.root >> 12}
                )
                mode = PagingMode.FIRST_STAGE if first else PagingMode.SECOND_STAGE
                # The first stage has a width too as QEMU reads it, and Linux sets that of four levels.
                width = 2 if first else domain.levels - 2
                self.write_pasid(requester, pasid, PGTT=mode, AW=width, DID=domain.domain_id, **root)
            else:
                self.write_context(
                    requester,
                    TT=TranslationType.UNTRANSLATED_ONLY,
                    SSPTPTR=domain.root >> 12,
                    AW=domain.levels - 2,
                    DID=domain.domain_id,
                )

    def attach_nested(
        self, group: Iterable[Requester], first: Domain, second: Domain, *, pasid: int = 0
    ) -> None:
        """Give requesters a first stage whose tables lie in the addresses of the second.

        :param first: built in a memory of guest-physical addresses.
        """
        for requester in group:
            self.write_pasid(
                requester,
                pasid,
                PGTT=PagingMode.NESTED,
                AW=second.levels - 2,
                SSPTPTR=second.root >> 12,
                FSPTPTR=first.root >> 12,
                FSPM=first.levels - 4,
                DID=second.domain_id,
            )

    def pass_through(self, group: Iterable[Requester], domain_id: int = 0) -> None:
        """Let the requests of every requester of *group* pass untranslated."""
        for requester in group:
            if self.scalable:
                self.write_pasid(requester, 0, PGTT=PagingMode.PASS_THROUGH, DID=domain_id, AW=2)
            else:
                width = self.capabilities.page_table_levels[-1] - 2
                self.write_context(requester, TT=TranslationType.PASS_THROUGH, AW=width, DID=domain_id)

    def detach(self, requester: Requester) -> None:
        """Take the context entry away: every request faults, once the caches are flushed."""
        address = self.context_address(requester)
        if address is not None:
            self._clear(SCALABLE_CONTEXT_ENTRY if self.scalable else CONTEXT_ENTRY, address)

    def write_context(self, requester: Requester, **fields: int) -> None:
        """Write a legacy context entry with the named fields, present."""
        self._write(CONTEXT_ENTRY, self._make_context(requester), P=1, **fields)

    def write_pasid(self, requester: Requester, pasid: int, **fields: int) -> None:
        """Write a PASID entry with the named fields, present, and all that leads to it."""
        context = self._make_context(requester)
        word = self.memory.read64(context) or 0
        if not word & 1:
            self._write(
                SCALABLE_CONTEXT_ENTRY,
                context,
                P=1,
                PASIDE=1 if self.capabilities.field("PASID") else 0,
                PASIDDIRPTR=self._new_frames() >> 12,
            )
        where = ((self.memory.read64(context) or 0) & ADDRESS) + (pasid >> 6) * 8
        if pasid >> 13:
            raise UsageError(
                "beyond the directory", operation="attach", subject=f"PASID {pasid:#x}", hint="below 0x2000"
            )
        if not (self.memory.read64(where) or 0) & 1:
            self._write(PASID_DIRECTORY_ENTRY, where, P=1, SMPTBLPTR=self._new_frames() >> 12)
        table = (self.memory.read64(where) or 0) & ADDRESS
        self._write(PASID_ENTRY, table + (pasid & 0x3F) * 64, P=1, **fields)

    def context_address(self, requester: Requester) -> int | None:
        """Return where a requester's context entry lies, ``None`` without a context table for its bus."""
        source_id = _source_id(requester)
        root, index, size = self._root_half(source_id)
        word = self.memory.read64(root) or 0
        return (word & ADDRESS) + index * size if word & 1 else None

    def _make_context(self, requester: Requester) -> int:
        source_id = _source_id(requester)
        root, index, size = self._root_half(source_id)
        if not (self.memory.read64(root) or 0) & 1:
            self.memory.write64(root, self._new_frames() | 1)
        return ((self.memory.read64(root) or 0) & ADDRESS) + index * size

    def _root_half(self, source_id: int) -> tuple[int, int, int]:
        """Return the word of the root table, the index below it and the size of what it indexes."""
        entry = (
            self.root_table + (source_id >> 8) * (SCALABLE_ROOT_ENTRY if self.scalable else ROOT_ENTRY).size
        )
        if not self.scalable:
            return entry, source_id & 0xFF, CONTEXT_ENTRY.size
        return entry + (8 if source_id & 0x80 else 0), source_id & 0x7F, SCALABLE_CONTEXT_ENTRY.size


class AmdTables(_Tables):
    """A device table and what hangs from it.

    :param memory: where everything is written.
    :param frames: where it may lie.
    :param efr: the extended feature register of the unit.
    :param size: of the device table in 4 KiB pages: 128 entries each.
    """

    def __init__(self, memory: WritableMemory, frames: Frames, *, efr: int = 0, size: int = 512) -> None:
        super().__init__(memory, frames)
        self.capabilities = AmdCapabilities(cap=0, efr=efr)
        self.size = size
        self.table = self._new_frames(size)

    @property
    def device_table(self) -> int:
        """What software would write to the device table base register."""
        return self.table | self.size - 1

    def iommu(self) -> AmdIommu:
        """Return the unit that walks these tables."""
        return AmdIommu(self.memory, self.device_table, efr=self.capabilities.efr)

    def new_domain(
        self, domain_id: int, *, levels: int = 4, page_sizes: Iterable[int] | None = None
    ) -> Domain:
        """Make an empty domain of host tables."""
        sizes = None if page_sizes is None else tuple(page_sizes)
        return Domain(
            self.memory, self.frames, amd_host(), levels=levels, domain_id=domain_id, page_sizes=sizes
        )

    def attach(
        self,
        group: Iterable[Requester],
        domain: Domain,
        *,
        access: Access = Access.READ | Access.WRITE,
    ) -> None:
        """Give every requester of *group* the same domain, within *access*."""
        for requester in group:
            self.write_entry(
                requester,
                TV=1,
                Mode=domain.levels,
                RootPtr=domain.root >> 12,
                IR=int(bool(access & Access.READ)),
                IW=int(bool(access & Access.WRITE)),
                DomainID=domain.domain_id,
            )

    def block(self, requester: Requester) -> None:
        """Make every request of a requester fault; an entry that is not valid would let all pass."""
        self.write_entry(requester)

    def write_entry(self, requester: Requester, **fields: int) -> None:
        """Write a device table entry with the named fields, valid."""
        source_id = _source_id(requester)
        self._write(DEVICE_TABLE_ENTRY, self.table + source_id * DEVICE_TABLE_ENTRY.size, V=1, **fields)


def _source_id(requester: Requester) -> int:
    return requester.source_id if isinstance(requester, PciAddress) else requester

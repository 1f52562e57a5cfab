"""VT-d's way from a requester to its tables: root entry, context entry, PASID entry (VT-d 3.4)."""

from dataclasses import dataclass

from vfiokit.bits import mask
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.descriptor import Descriptor, Refusal
from vfiokit.translation.faults import Reason
from vfiokit.translation.formats import first_stage, second_stage
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Access, Request, RequestType
from vfiokit.translation.search import Search
from vfiokit.translation.structures import Entry, Structure, read_entry
from vfiokit.translation.vtd_rows import (
    CONTEXT_ENTRY,
    PASID_DIRECTORY_ENTRY,
    PASID_ENTRY,
    ROOT_ENTRY,
    RTADDR,
    SCALABLE_CONTEXT_ENTRY,
    SCALABLE_ROOT_ENTRY,
    PagingMode,
    TranslationTableMode,
    TranslationType,
)
from vfiokit.translation.walk import Blocked, Stage

__all__ = ["VtdUnit"]

_SUPPORTED_WIDTH = {3: 39, 4: 48, 5: 57}


@dataclass(frozen=True, slots=True, kw_only=True)
class VtdUnit:
    """The registers of a unit, as far as translation depends on them.

    :ivar rtaddr: RTADDR_REG as it was latched.
    :ivar capabilities: CAP and ECAP.
    :ivar host_address_width: bits of host physical addresses, from the DMAR table.
    """

    rtaddr: int
    capabilities: VtdCapabilities
    host_address_width: int

    @property
    def mode(self) -> TranslationTableMode:
        """The translation table mode."""
        return TranslationTableMode(RTADDR[0].get(self.rtaddr))

    @property
    def root_table(self) -> int:
        """The address of the root table."""
        return RTADDR[1].get(self.rtaddr) << 12

    def describe(self, memory: Memory, request: Request) -> Descriptor | Refusal:
        """Find how *request* is translated: all checks before the page tables, in the order of hardware."""
        return _Search(self, memory, request).result()


class _Search(Search[VtdUnit]):
    """One way from the root."""

    def run(self) -> Descriptor:
        mode = self.unit.mode
        if mode is TranslationTableMode.ABORT:
            raise Blocked(Reason.ABORTED)
        if mode is TranslationTableMode.LEGACY:
            return self._legacy()
        if mode is TranslationTableMode.SCALABLE and self.unit.capabilities.scalable_mode:
            return self._scalable()
        raise Blocked(Reason.ROOT_TABLE_INVALID)

    def _legacy(self) -> Descriptor:
        if self.request.pasid is not None:
            raise Blocked(Reason.PASID_WITHOUT_SCALABLE_MODE)
        source_id = self.request.source_id
        root = self._read(ROOT_ENTRY, self.unit.root_table + (source_id >> 8) * 16, Reason.ROOT_UNREADABLE)
        self._present(root["P"], Reason.ROOT_NOT_PRESENT)
        self._reserved(root, Reason.ROOT_RESERVED)
        where = root.address("CTP") + (source_id & 0xFF) * 16
        context = self._read(CONTEXT_ENTRY, where, Reason.CONTEXT_UNREADABLE)
        # FPD is heeded whether the entry is present or not.
        self.silent = bool(context["FPD"])
        self._present(context["P"], Reason.CONTEXT_NOT_PRESENT)
        self.domain_id = context["DID"]
        self._reserved(context, Reason.CONTEXT_RESERVED)
        return self._context(context)

    def _context(self, context: Entry) -> Descriptor:
        """Judge a legacy context entry (VT-d 9.3)."""
        unit, type = self.unit.capabilities, TranslationType(context["TT"])
        levels = context["AW"] + 2
        offered = {
            TranslationType.UNTRANSLATED_ONLY: True,
            TranslationType.ALL: unit.device_iotlb,
            TranslationType.PASS_THROUGH: unit.pass_through,
            TranslationType.RESERVED: False,
        }
        if levels not in unit.page_table_levels or not offered[type]:
            raise Blocked(Reason.CONTEXT_INVALID)
        if self.request.type is not RequestType.UNTRANSLATED:
            if type is not TranslationType.ALL:
                raise Blocked(Reason.TRANSLATION_TYPE_BLOCKS)
            if self.request.type is RequestType.TRANSLATED:
                return self._descriptor()
        if type is TranslationType.PASS_THROUGH:
            return self._descriptor(width=min(unit.guest_address_width, _SUPPORTED_WIDTH[levels]))
        return self._descriptor(second=self._second(context.address("SSPTPTR"), levels, False))

    def _scalable(self) -> Descriptor:
        source_id = self.request.source_id
        where = self.unit.root_table + (source_id >> 8) * 16
        root = self._read(SCALABLE_ROOT_ENTRY, where, Reason.ROOT_UNREADABLE)
        half = "U" if source_id & 0x80 else "L"
        self._present(root[f"{half}P"], Reason.ROOT_NOT_PRESENT)
        self._reserved(root, Reason.ROOT_RESERVED)
        where = root.address(f"{half}CTP") + (source_id & 0x7F) * 32
        context = self._read(SCALABLE_CONTEXT_ENTRY, where, Reason.CONTEXT_UNREADABLE)
        self.silent = bool(context["FPD"])
        self._present(context["P"], Reason.CONTEXT_NOT_PRESENT)
        self._reserved(context, Reason.CONTEXT_RESERVED)
        if self.request.type is not RequestType.UNTRANSLATED and not context["DTE"]:
            raise Blocked(Reason.DEVICE_TLB_DISABLED)
        return self._pasid_entry(context, self._pasid(context))

    def _pasid(self, context: Entry) -> int:
        """Return the PASID that stands for the request (VT-d 3.4.3)."""
        if self.request.pasid is not None and not context["PASIDE"]:
            raise Blocked(Reason.PASID_DISABLED)
        has_rid_pasid = self.unit.capabilities.fields["RPS"]
        pasid = self.request.pasid
        if pasid is None:
            pasid = context["RID_PASID"] if has_rid_pasid else 0
        if pasid >> 6 >= 1 << context["PDTS"] + 7:
            beyond = self.request.pasid is not None
            raise Blocked(Reason.PASID_BEYOND_DIRECTORY if beyond else Reason.RID_PASID_INVALID)
        return pasid

    def _pasid_entry(self, context: Entry, pasid: int) -> Descriptor:
        where = context.address("PASIDDIRPTR") + (pasid >> 6) * 8
        directory = self._read(PASID_DIRECTORY_ENTRY, where, Reason.PASID_DIRECTORY_UNREADABLE)
        self.silent |= bool(directory["FPD"])
        self._present(directory["P"], Reason.PASID_DIRECTORY_NOT_PRESENT)
        self._reserved(directory, Reason.PASID_DIRECTORY_RESERVED)
        where = directory.address("SMPTBLPTR") + (pasid & 0x3F) * 64
        entry = self._read(PASID_ENTRY, where, Reason.PASID_UNREADABLE)
        self.silent |= bool(entry["FPD"])
        self._present(entry["P"], Reason.PASID_NOT_PRESENT)
        self.domain_id = entry["DID"]
        self._reserved(entry, Reason.PASID_RESERVED)
        if self.request.type is RequestType.TRANSLATED:
            return self._descriptor()
        return self._stages(context, entry)

    def _stages(self, context: Entry, entry: Entry) -> Descriptor:
        """Judge a PASID entry (VT-d 9.6)."""
        unit, mode = self.unit.capabilities, entry["PGTT"]
        levels, first_levels = entry["AW"] + 2, entry["FSPM"] + 4
        uses_first = mode in (PagingMode.FIRST_STAGE, PagingMode.NESTED)
        uses_second = mode in (PagingMode.SECOND_STAGE, PagingMode.NESTED)
        offered: dict[int, bool] = {
            PagingMode.FIRST_STAGE: unit.first_stage,
            PagingMode.SECOND_STAGE: unit.second_stage,
            PagingMode.NESTED: unit.nested,
            PagingMode.PASS_THROUGH: unit.pass_through,
        }
        if not offered.get(mode, False):
            raise Blocked(Reason.PASID_INVALID)
        if uses_second and levels not in unit.page_table_levels:
            raise Blocked(Reason.PASID_INVALID)
        if uses_first and first_levels not in ((4, 5) if unit.fields["FS5LP"] else (4,)):
            raise Blocked(Reason.PASID_INVALID)
        privileged = self._privileged(context)
        if uses_first and self.request.access & Access.EXECUTE and not entry["ERE"]:
            raise Blocked(Reason.EXECUTE_DISABLED)
        if uses_first and privileged and not entry["SRE"]:
            raise Blocked(Reason.SUPERVISOR_DISABLED)
        second = (
            self._second(entry.address("SSPTPTR"), levels, bool(entry["SSADE"])) if uses_second else None
        )
        first = self._first(entry, first_levels, second) if uses_first else None
        return self._descriptor(
            first=first, second=second, width=unit.guest_address_width, privileged=privileged
        )

    def _privileged(self, context: Entry) -> bool:
        """Whether the request counts as privileged: by its PASID prefix, or by RID_PRIV without one."""
        if self.request.pasid is not None:
            return self.request.privileged
        return bool(self.unit.capabilities.fields["RPRIVS"] and context["RID_PRIV"])

    def _first(self, entry: Entry, levels: int, second: Stage | None) -> Stage:
        format = first_stage(
            52 if second else self.unit.host_address_width,
            gigabyte_pages=bool(self.unit.capabilities.fields["FS1GP"]),
            no_execute=bool(entry["NXE"]),
        )
        return Stage(
            format=format,
            root=entry.address("FSPTPTR") & mask(52),
            levels=levels,
            width=_SUPPORTED_WIDTH[levels],
            write_protected=bool(entry["WPE"]),
        )

    def _second(self, root: int, levels: int, accessed_dirty: bool) -> Stage:
        unit = self.unit.capabilities
        enabled = accessed_dirty and bool(unit.fields["SSADS"])
        return Stage(
            format=second_stage(unit, self.unit.host_address_width, accessed_dirty=enabled),
            root=root & mask(52),
            levels=levels,
            width=min(unit.guest_address_width, _SUPPORTED_WIDTH[levels]),
        )

    def _descriptor(
        self,
        *,
        first: Stage | None = None,
        second: Stage | None = None,
        width: int = 64,
        privileged: bool = False,
    ) -> Descriptor:
        return Descriptor(
            first=first,
            second=second,
            domain_id=self.domain_id,
            silent=self.silent,
            width=width,
            privileged=privileged,
            reads=tuple(self.reads),
        )

    def _read(self, structure: Structure, address: int, unreadable: Reason) -> Entry:
        entry = read_entry(self.memory, structure, address, self.reads)
        if entry is None:
            raise Blocked(unreadable)
        return entry

    def _present(self, bit: int, reason: Reason) -> None:
        if not bit:
            raise Blocked(reason)

    def _reserved(self, entry: Entry, reason: Reason) -> None:
        if entry.has_reserved(self.unit.host_address_width):
            raise Blocked(reason)

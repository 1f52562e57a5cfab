"""AMD-Vi's way from a requester to its tables: device table entry, and GCR3 by PASID (AMD-Vi 2.2.2, 2.2.6).

Positions are those of Linux 6.12's driver (drivers/iommu/amd); what QEMU 10 does with them was seen live for
host tables.
"""

from dataclasses import dataclass

from vfiokit.bits import Field, mask
from vfiokit.translation.capabilities import AmdCapabilities
from vfiokit.translation.descriptor import Descriptor, Refusal
from vfiokit.translation.faults import Reason
from vfiokit.translation.formats import ADDRESS, amd_host, first_stage, level_shift
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Access, Request, RequestType
from vfiokit.translation.search import Search
from vfiokit.translation.structures import Entry, Structure, read_entry
from vfiokit.translation.walk import Blocked, Stage

__all__ = ["DEVICE_TABLE_BASE", "DEVICE_TABLE_ENTRY", "AmdUnit"]

DEVICE_TABLE_BASE = (
    Field("Size", 0, 9, "4 KiB pages of the table, less one"),
    Field("DevTabBase", 12, 40, "device table"),
)
"""The device table base register, MMIO offset 0 (AMD-Vi 3.4.1)."""

DEVICE_TABLE_ENTRY = Structure(
    "device table entry",
    (
        (
            Field("V", 0, 1, "valid"),
            Field("TV", 1, 1, "translation valid"),
            Field("HAD", 7, 2, "host accessed and dirty bits"),
            Field("Mode", 9, 3, "levels of the host table; 0 for none"),
            Field("RootPtr", 12, 40, "host table"),
            Field("PPR", 52, 1, "page requests"),
            Field("GPRP", 53, 1, "PASID in page request responses"),
            Field("GIoV", 54, 1, "guest protection"),
            Field("GV", 55, 1, "guest translation"),
            Field("GLX", 56, 2, "levels of the GCR3 table, less one"),
            Field("GCR3_14_12", 58, 3, "GCR3 table, bits 14:12"),
            Field("IR", 61, 1, "reads are allowed"),
            Field("IW", 62, 1, "writes are allowed"),
        ),
        (
            Field("DomainID", 0, 16, "domain id"),
            Field("GCR3_30_15", 16, 16, "GCR3 table, bits 30:15"),
            Field("I", 32, 1, "the device may cache translations"),
            Field("SE", 33, 1, "record one page fault only"),
            Field("SA", 34, 1, "record no page fault"),
            Field("IOCtl", 35, 2, "port I/O"),
            Field("Cache", 37, 1, "no caching"),
            Field("SD", 38, 1, "snoop disable"),
            Field("EX", 39, 1, "exclusion range"),
            Field("SysMgt", 40, 2, "system management messages"),
            Field("SATS", 42, 1, "secure ATS"),
            Field("GCR3_51_31", 43, 21, "GCR3 table, bits 51:31"),
        ),
        (
            Field("IV", 0, 1, "interrupt map valid"),
            Field("IntTabLen", 1, 4, "interrupts of the table, as a power of two"),
            Field("IG", 5, 1, "ignore unmapped interrupts"),
            Field("IntTablePtr", 6, 46, "interrupt table, in 64 bytes"),
            Field("GuestPagingMode", 54, 2, "levels of guest tables, less four"),
            Field("InitPass", 56, 1, "INIT passes"),
            Field("EIntPass", 57, 1, "ExtInt passes"),
            Field("NMIPass", 58, 1, "NMI passes"),
            Field("IntCtl", 60, 2, "fixed and arbitrated interrupts"),
            Field("Lint0Pass", 62, 1, "LINT0 passes"),
            Field("Lint1Pass", 63, 1, "LINT1 passes"),
        ),
        (),
    ),
    # Of the first word, what no feature has given a meaning; nothing of words that translation does not use.
    ignored=(mask(64) & ~(mask(5) << 2 | 1 << 63), mask(64), mask(64), mask(64)),
)
"""The device table entry (AMD-Vi 2.2.2.1)."""

_NO_TRANSLATION, _RESERVED_MODE = 0, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdUnit:
    """The registers of a unit, as far as translation depends on them.

    :ivar device_table: the device table base register.
    :ivar capabilities: the extended features.
    """

    device_table: int
    capabilities: AmdCapabilities

    @property
    def table(self) -> int:
        """The address of the device table."""
        return DEVICE_TABLE_BASE[1].get(self.device_table) << 12

    @property
    def number_of_entries(self) -> int:
        """Entries of the device table."""
        return (DEVICE_TABLE_BASE[0].get(self.device_table) + 1) * 0x1000 // DEVICE_TABLE_ENTRY.size

    def describe(self, memory: Memory, request: Request) -> Descriptor | Refusal:
        """Find how *request* is translated: all checks before the page tables."""
        return _Search(self, memory, request).result()


class _Search(Search[AmdUnit]):
    """One way from the device table."""

    def run(self) -> Descriptor:
        source_id = self.request.source_id
        if source_id >= self.unit.number_of_entries:
            raise Blocked(Reason.DEVICE_BEYOND_TABLE)
        where = self.unit.table + source_id * DEVICE_TABLE_ENTRY.size
        entry = read_entry(self.memory, DEVICE_TABLE_ENTRY, where, self.reads)
        if entry is None:
            raise Blocked(Reason.ROOT_UNREADABLE)
        if not entry["V"]:
            return self._descriptor()
        self.silent, self.domain_id = bool(entry["SA"]), entry["DomainID"]
        if entry.has_reserved(64):
            raise Blocked(Reason.CONTEXT_RESERVED)
        if not entry["TV"]:
            raise Blocked(Reason.DOMAIN_BLOCKED)
        if entry["Mode"] == _RESERVED_MODE:
            raise Blocked(Reason.CONTEXT_INVALID)
        if self.request.type is not RequestType.UNTRANSLATED and not entry["I"]:
            raise Blocked(Reason.DEVICE_TLB_DISABLED)
        return self._stages(entry)

    def _stages(self, entry: Entry) -> Descriptor:
        host = self._host(entry) if entry["Mode"] != _NO_TRANSLATION else None
        guest = self._guest(entry, nested=host is not None) if self._uses_guest(entry) else None
        permissions = amd_host().permissions(entry.words[0], 0)
        return self._descriptor(first=guest, second=host, permissions=permissions)

    def _host(self, entry: Entry) -> Stage:
        levels = entry["Mode"]
        accessed = bool(entry["HAD"] and self.unit.capabilities.host_access_tracking)
        dirty = entry["HAD"] == 3 and self.unit.capabilities.host_dirty_tracking
        return Stage(
            format=amd_host(accessed=accessed, dirty=dirty),
            root=entry["RootPtr"] << 12,
            levels=levels,
            width=min(64, level_shift(levels + 1)),
            granted=entry.words[0],
        )

    def _uses_guest(self, entry: Entry) -> bool:
        """Whether guest tables apply: to requests with PASID, and with GIoV to those without, as PASID 0."""
        if not (entry["GV"] and self.unit.capabilities.guest_translation):
            if self.request.pasid is not None:
                raise Blocked(Reason.PASID_DISABLED)
            return False
        return self.request.pasid is not None or bool(entry["GIoV"])

    def _guest(self, entry: Entry, *, nested: bool) -> Stage:
        if nested:
            # GCR3 and guest tables then lie in guest-physical memory: not modelled, and never guessed.
            raise Blocked(Reason.CONTEXT_INVALID)
        levels = entry["GuestPagingMode"] + 4
        if levels > 5 or entry["GLX"] == 3:
            raise Blocked(Reason.CONTEXT_INVALID)
        pasid, level = self.request.pasid or 0, entry["GLX"]
        if pasid >> 9 * (level + 1):
            raise Blocked(Reason.PASID_BEYOND_DIRECTORY)
        table = entry["GCR3_14_12"] << 12 | entry["GCR3_30_15"] << 15 | entry["GCR3_51_31"] << 31
        while True:
            where = table + (pasid >> 9 * level & 0x1FF) * 8
            found = read_entry(self.memory, GCR3_ENTRY, where, self.reads)
            if found is None:
                raise Blocked(Reason.PASID_UNREADABLE)
            if not found["V"]:
                raise Blocked(Reason.PASID_NOT_PRESENT)
            table = found.words[0] & ADDRESS
            if level == 0:
                break
            level -= 1
        format = first_stage(
            52, gigabyte_pages=True, no_execute=bool(self.unit.capabilities.fields["NXSup"])
        )
        return Stage(
            format=format, root=table, levels=levels, width=level_shift(levels + 1), write_protected=True
        )

    def _descriptor(
        self,
        *,
        first: Stage | None = None,
        second: Stage | None = None,
        permissions: Access = Access.READ | Access.WRITE | Access.EXECUTE,
    ) -> Descriptor:
        return Descriptor(
            first=first,
            second=second,
            domain_id=self.domain_id,
            silent=self.silent,
            permissions=permissions,
            reads=tuple(self.reads),
        )


GCR3_ENTRY = Structure(
    "GCR3 table entry",
    ((Field("V", 0, 1, "valid"), Field("GCR3", 12, 52, "guest table, or next GCR3 table")),),
)
"""An entry of a GCR3 table of any level (AMD-Vi 2.2.6.3)."""

"""What software reads of a fault: VT-d's fault recording registers, AMD-Vi's event log.

>>> record = VtdFaultRecord(reason=5, source_id=0x28, page=0x7000, is_read=False)
>>> VtdFaultRecord.parse(*record.registers()) == record
True
"""

from dataclasses import dataclass

from vfiokit.bits import Field
from vfiokit.translation.faults import AMD_FAULTS
from vfiokit.translation.requests import Access, Fault

__all__ = ["AMD_EVENT", "FRCD", "FSTS", "AmdEvent", "VtdFaultRecord"]

FSTS = (
    Field("PFO", 0, 1, "a fault was lost: all records were in use"),
    Field("PPF", 1, 1, "a record is pending"),
    Field("AFO", 2, 1, "advanced fault log overflow"),
    Field("APF", 3, 1, "advanced fault pending"),
    Field("IQE", 4, 1, "invalidation queue error"),
    Field("ICE", 5, 1, "invalidation completion error"),
    Field("ITE", 6, 1, "invalidation time-out"),
    Field("PRO", 7, 1, "page request overflow"),
    Field("FRI", 8, 8, "index of the first pending record"),
)
"""FSTS_REG (VT-d 11.4.7.1)."""

FRCD = (
    (Field("FI", 12, 52, "page of the address"),),
    (
        Field("SID", 0, 16, "source-id"),
        Field("T2", 28, 1, "type, bit 1"),
        Field("PRIV", 29, 1, "supervisor privilege"),
        Field("EXE", 30, 1, "execute"),
        Field("PP", 31, 1, "the PASID is valid"),
        Field("FR", 32, 8, "fault reason"),
        Field("PV", 40, 20, "PASID"),
        Field("AT", 60, 2, "address type"),
        Field("T1", 62, 1, "a read"),
        Field("F", 63, 1, "the record is valid; written 1 to clear"),
    ),
)
"""A fault recording register, low and high half (VT-d 11.4.7.6)."""

AMD_EVENT = (
    (
        Field("DeviceID", 0, 16, "source-id"),
        Field("PASID_19_16", 16, 4, "PASID, bits 19:16"),
        Field("DomainID", 32, 16, "domain, or PASID bits 15:0"),
        Field("GN", 48, 1, "the address is a guest's"),
        Field("NX", 49, 1, "execution was asked for"),
        Field("US", 50, 1, "a user request"),
        Field("I", 51, 1, "an interrupt"),
        Field("PR", 52, 1, "the entry was present"),
        Field("RW", 53, 1, "a write"),
        Field("PE", 54, 1, "permission error"),
        Field("RZ", 55, 1, "reserved bits, or an invalid level"),
        Field("TR", 56, 1, "a translation request"),
        Field("Code", 60, 4, "2"),
    ),
    (Field("Address", 0, 64, "the address"),),
)
"""An IO_PAGE_FAULT event (AMD-Vi 2.5.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VtdFaultRecord:
    """One fault recording register by what it means.

    :ivar reason: the fault reason.
    :ivar page: the address, without its offset in the page.
    :ivar pasid: ``None`` where the record has none; units leave junk in the field then.
    """

    reason: int
    source_id: int
    page: int
    is_read: bool
    pasid: int | None = None
    privileged: bool = False
    executes: bool = False

    @classmethod
    def of(cls, fault: Fault) -> "VtdFaultRecord | None":
        """Return what a unit records of *fault*; ``None`` for what it keeps silent about."""
        if not fault.recorded or fault.code is None:
            return None
        request = fault.request
        return cls(
            reason=fault.code,
            source_id=request.source_id,
            page=request.address & ~0xFFF,
            is_read=not request.access & Access.WRITE,
            pasid=request.pasid,
            privileged=request.privileged,
            executes=bool(request.access & Access.EXECUTE),
        )

    @classmethod
    def parse(cls, low: int, high: int) -> "VtdFaultRecord | None":
        """Read both halves of a register; ``None`` if it holds no record."""
        fields = {row.name: row.get(high) for row in FRCD[1]}
        if not fields["F"]:
            return None
        return cls(
            reason=fields["FR"],
            source_id=fields["SID"],
            page=FRCD[0][0].get(low) << 12,
            is_read=bool(fields["T1"]),
            pasid=fields["PV"] if fields["PP"] else None,
            privileged=bool(fields["PP"] and fields["PRIV"]),
            executes=bool(fields["PP"] and fields["EXE"]),
        )

    def registers(self) -> tuple[int, int]:
        """Return both halves of the register."""
        contents = {
            "SID": self.source_id,
            "FR": self.reason,
            "T1": int(self.is_read),
            "F": 1,
            "PP": int(self.pasid is not None),
            "PV": self.pasid or 0,
            "PRIV": int(self.privileged),
            "EXE": int(self.executes),
        }
        high = 0
        for row in FRCD[1]:
            high = row.put(high, contents.get(row.name, 0))
        return self.page, high


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdEvent:
    """One entry of the event log by what it means.

    :ivar code: 1 for an illegal device table entry, 2 a page fault, 3 and 4 tables that cannot be read.
    """

    code: int
    source_id: int
    domain_id: int
    address: int
    write: bool

    @classmethod
    def of(cls, fault: Fault) -> "AmdEvent | None":
        """Return what a unit logs of *fault*; ``None`` for what it keeps silent about."""
        code = AMD_FAULTS.codes.get(fault.reason)
        if not fault.recorded or code is None:
            return None
        request = fault.request
        return cls(
            code=code,
            source_id=request.source_id,
            domain_id=fault.domain_id or 0,
            address=request.address,
            write=bool(request.access & Access.WRITE),
        )

    @classmethod
    def parse(cls, low: int, high: int) -> "AmdEvent":
        """Read both words of an entry."""
        fields = {row.name: row.get(low) for row in AMD_EVENT[0]}
        return cls(
            code=fields["Code"],
            source_id=fields["DeviceID"],
            domain_id=fields["DomainID"],
            address=high,
            write=bool(fields["RW"]),
        )

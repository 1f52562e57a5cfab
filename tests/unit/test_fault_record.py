"""Fault records against literal registers, and there and back."""

from hypothesis import given
from hypothesis import strategies as st

from vfiokit.translation.fault_record import AmdEvent, VtdFaultRecord
from vfiokit.translation.faults import Reason
from vfiokit.translation.requests import Access, Fault, Request

RECORDS = st.builds(
    VtdFaultRecord,
    reason=st.integers(0, 0xFF),
    source_id=st.integers(0, 0xFFFF),
    page=st.integers(0, (1 << 52) - 1).map(lambda frame: frame << 12),
    is_read=st.booleans(),
    pasid=st.integers(0, (1 << 20) - 1),
    privileged=st.booleans(),
    executes=st.booleans(),
)


def test_a_record_that_qemu_made() -> None:
    # A write of 00:05.0 to 0x6000 that only allowed reads, with junk where no PASID is.
    record = VtdFaultRecord.parse(0x6000, 0x80FFFF0500000028)
    assert record == VtdFaultRecord(reason=5, source_id=0x28, page=0x6000, is_read=False)


def test_no_record() -> None:
    assert VtdFaultRecord.parse(0x6000, 0x00FFFF0500000028) is None


@given(RECORDS)
def test_there_and_back(record: VtdFaultRecord) -> None:
    assert VtdFaultRecord.parse(*record.registers()) == record


def test_a_silent_fault_has_no_record() -> None:
    fault = Fault(request=Request(1, 2), reason=Reason.SECOND_READ, code=6, recorded=False)
    assert VtdFaultRecord.of(fault) is None
    assert AmdEvent.of(fault) is None


def test_records_of_faults() -> None:
    fault = Fault(
        request=Request(0x28, 0x6008, Access.WRITE),
        reason=Reason.SECOND_WRITE,
        code=5,
        recorded=True,
        domain_id=7,
    )
    assert VtdFaultRecord.of(fault) == VtdFaultRecord(reason=5, source_id=0x28, page=0x6000, is_read=False)
    event = AmdEvent.of(fault)
    assert event == AmdEvent(code=2, source_id=0x28, domain_id=7, address=0x6008, write=True)
    assert AmdEvent.parse(2 << 60 | 1 << 53 | 7 << 32 | 0x28, 0x6008) == event

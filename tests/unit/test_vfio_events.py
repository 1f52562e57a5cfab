"""Page requests and events of virtual IOMMUs, built here by the C layouts and read as bytes."""

import pytest

from vfiokit._native import ffi, lib
from vfiokit.vfio.errors import BadReply
from vfiokit.vfio.events import (
    FaultAccess,
    PageAnswer,
    PageRequest,
    VirtualEvent,
    page_requests,
    page_responses,
    virtual_events,
)


def request(**fields: int) -> bytes:
    return bytes(ffi.buffer(ffi.new("struct iommu_hwpt_pgfault *", fields)))


def event(flags: int, sequence: int, data: bytes = b"") -> bytes:
    return bytes(ffi.buffer(ffi.new("struct iommufd_vevent_header *", (flags, sequence)))) + data


class TestPageRequests:
    def test_the_flags_are_the_headers(self) -> None:
        for access in FaultAccess:
            name = {"EXECUTE": "EXEC", "PRIVILEGED": "PRIV"}.get(str(access.name), access.name)
            assert access == getattr(lib, f"IOMMU_PGFAULT_PERM_{name}")
        for answer in PageAnswer:
            assert answer == getattr(lib, f"IOMMUFD_PAGE_RESP_{answer.name}")

    def test_they_are_read(self) -> None:
        last = lib.IOMMU_PGFAULT_FLAGS_LAST_PAGE
        with_pasid = lib.IOMMU_PGFAULT_FLAGS_PASID_VALID
        data = request(flags=with_pasid, dev_id=3, pasid=17, grpid=9, perm=2, addr=1 << 40, cookie=5)
        data += request(flags=last, dev_id=3, pasid=4, grpid=9, perm=5, addr=0x1000, length=64, cookie=5)
        access = FaultAccess.READ | FaultAccess.EXECUTE
        assert page_requests(data) == (
            PageRequest(3, 17, 9, FaultAccess.WRITE, 1 << 40, 0, 5, False),
            PageRequest(3, None, 9, access, 0x1000, 64, 5, True),
        )

    def test_nothing_is_nothing(self) -> None:
        assert page_requests(b"") == ()
        assert page_responses([]) == b""

    @pytest.mark.parametrize("size", [1, 39, 41, 79])
    def test_a_part_of_one_is_an_error(self, size: int) -> None:
        with pytest.raises(BadReply, match="whole number"):
            page_requests(bytes(size))

    def test_answers_are_the_headers(self) -> None:
        rows = [(7, PageAnswer.SUCCESS), (1 << 31, PageAnswer.INVALID)]
        expected = ffi.new("struct iommu_hwpt_page_response[]", [(7, 0), (1 << 31, 1)])
        assert page_responses(rows) == bytes(ffi.buffer(expected))


class TestVirtualEvents:
    def test_they_are_read(self) -> None:
        lost = lib.IOMMU_VEVENTQ_FLAG_LOST_EVENTS
        data = event(0, 4, b"abcdefgh") + event(0, 7, b"ijklmnop") + event(lost, 9)
        assert virtual_events(data, 8) == (
            VirtualEvent(4, b"abcdefgh"),
            VirtualEvent(7, b"ijklmnop"),
            VirtualEvent(9, b"", lost=True),
        )
        assert virtual_events(b"", 8) == ()

    @pytest.mark.parametrize("cut", [1, 4, 7, 8, 12])
    def test_one_that_is_cut_off_is_an_error(self, cut: int) -> None:
        with pytest.raises(BadReply, match="an event"):
            virtual_events((event(0, 1, b"12345678"))[:-cut], 8)

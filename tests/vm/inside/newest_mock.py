"""Check on the kernel's mock IOMMU what no emulated hardware answers: nesting, queues, dirty pages."""

import ctypes
import errno
import mmap
import os
import random
import select
import struct
from collections.abc import Callable
from functools import partial

import mock_iommu
from mock_iommu import APERTURE, Bench, Mock, bench
from vfio_lab import refused

from vfiokit.errors import VfioError
from vfiokit.vfio.events import (
    FaultAccess,
    PageAnswer,
    PageRequest,
    VirtualEvent,
    page_requests,
    page_responses,
    virtual_events,
)

PAGE = mmap.PAGESIZE
READ_WRITE = 6
NEST_PARENT, DIRTY_TRACKING = 1, 2
LOOPBACK = struct.Struct("=IIQQ")


def address_of(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def filled(size: int) -> mmap.mmap:
    """Make memory that is there, page by page."""
    memory = mmap.mmap(-1, size)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory[:] = os.urandom(size)
    return memory


def says(number: int, action: Callable[[], object]) -> VfioError:
    error = refused(VfioError, action)
    assert error.errno == number, error
    return error


def mappings_and_copies_hold_the_same_pages(_: str) -> None:
    """Map memory and a memfd, copy both into a second space: the same pages, pinned once."""
    with bench() as on:
        mock, calls = on.plug(), on.calls
        other = calls.iommu_ioas_alloc(on.fd)
        second = on.plug(table=other)
        memfd = os.memfd_create("memory")
        os.ftruncate(memfd, 8 * PAGE)
        memory, file = filled(8 * PAGE), mmap.mmap(memfd, 8 * PAGE)
        file[:] = os.urandom(8 * PAGE)
        iova = calls.iommu_ioas_map(
            on.fd, on.ioas, vaddr=address_of(memory), length=8 * PAGE, iova=APERTURE, flags=READ_WRITE
        )
        assert iova == APERTURE
        chosen = calls.iommu_ioas_map_file(
            on.fd, on.ioas, file=memfd, start=2 * PAGE, length=4 * PAGE, iova=None, flags=READ_WRITE
        )
        os.close(memfd)
        on.check_map(mock.table, iova, address_of(memory), 8 * PAGE)
        on.check_map(mock.table, chosen, address_of(file) + 2 * PAGE, 4 * PAGE)
        wrong = refused(OSError, on.check_map, mock.table, chosen, address_of(file), 4 * PAGE)
        assert wrong.errno == errno.EINVAL
        on.check_pins(address_of(memory), 8 * PAGE, 1)
        for source, length, place in ((iova + PAGE, 3 * PAGE, memory), (chosen, 4 * PAGE, file)):
            copied = calls.iommu_ioas_copy(
                on.fd,
                source=on.ioas,
                destination=other,
                source_iova=source,
                length=length,
                iova=None,
                flags=READ_WRITE,
            )
            skipped = PAGE if place is memory else 2 * PAGE
            on.check_map(second.table, copied, address_of(place) + skipped, length)
        on.check_pins(address_of(memory), 8 * PAGE, 1)
        assert calls.iommu_ioas_unmap(on.fd, on.ioas, iova=iova, length=8 * PAGE) == 8 * PAGE
        # What was copied stays pinned; what was not is free.
        on.check_pins(address_of(memory) + PAGE, 3 * PAGE, 1)
        on.check_pins(address_of(memory) + 4 * PAGE, 4 * PAGE, 0)


def the_hardware_says_what_it_is(_: str) -> None:
    with bench() as on:
        plain, able = on.plug(mock_iommu.WITHOUT_DIRTY), on.plug(mock_iommu.WITH_PASID)
        for mock, dirty, width in ((plain, 0, 0), (able, 1, 20)):
            info = on.calls.iommu_get_hw_info(on.fd, mock.device)
            assert (info.type, info.data) == (
                mock_iommu.HW_INFO_TYPE,
                struct.pack("=2I", 0, mock_iommu.REGISTER),
            )
            assert (info.capabilities & 1, info.max_pasid_log2) == (dirty, width), info
        assert on.calls.iommu_get_hw_info(on.fd, able.device, room=4).data == bytes(4)
        says(errno.ENOENT, lambda: on.calls.iommu_get_hw_info(on.fd, 4211))


def written_pages_are_marked(_: str) -> None:
    """Let pages of a drawn bitmap be written, and read just these, without and with clearing."""
    draw = random.Random(7)
    count = 192
    with bench() as on:
        mock, calls = on.plug(), on.calls
        table = calls.iommu_hwpt_alloc(on.fd, device=mock.device, parent=on.ioas, flags=DIRTY_TRACKING)
        on.replace(mock, table)
        memory = filled(count * PAGE)
        # A page each, and each beside one that is elsewhere in memory: none shares an entry with another.
        for page in range(count):
            vaddr = address_of(memory) + (count - 1 - page) * PAGE
            iova = APERTURE + page * PAGE
            calls.iommu_ioas_map(on.fd, on.ioas, vaddr=vaddr, length=PAGE, iova=iova, flags=READ_WRITE)

        def read(clear: bool, start: int = 0, pages: int = count) -> bytes:
            return calls.iommu_hwpt_get_dirty_bitmap(
                on.fd,
                table,
                iova=APERTURE + start * PAGE,
                length=pages * PAGE,
                page_size=PAGE,
                clear=clear,
            )

        bitmap = mmap.mmap(-1, PAGE)
        bitmap[: count // 8] = draw.randbytes(count // 8)
        wanted = bitmap[: count // 8]

        def write() -> int:
            return on.write_pages(table, APERTURE, wanted, PAGE, address_of(bitmap))

        assert refused(OSError, write).errno == errno.EINVAL
        calls.iommu_hwpt_set_dirty_tracking(on.fd, table, on=True)
        assert read(clear=True) == bytes(count // 8)
        assert write() == sum(byte.bit_count() for byte in wanted)
        assert read(clear=False) == wanted
        assert read(clear=False, start=64, pages=64) == wanted[8:16]
        # Less than a word of bits: the rest of it is not of the range.
        assert read(clear=False, start=64, pages=8) == wanted[8:9] + bytes(7)
        assert read(clear=True) == wanted
        assert read(clear=True) == bytes(count // 8)
        calls.iommu_hwpt_set_dirty_tracking(on.fd, table, on=False)
        assert refused(OSError, write).errno == errno.EINVAL
        plain = on.plug(mock_iommu.WITHOUT_DIRTY)
        says(
            errno.EOPNOTSUPP,
            lambda: calls.iommu_hwpt_alloc(on.fd, device=plain.device, parent=on.ioas, flags=DIRTY_TRACKING),
        )


def nested(on: Bench, mock: Mock, parent: int, **options: int) -> int:
    """Make a nested table; all of its cache entries have the default value."""
    return on.calls.iommu_hwpt_alloc(
        on.fd,
        device=mock.device,
        parent=parent,
        data_type=mock_iommu.HWPT_DATA,
        data=struct.pack("=2I", mock_iommu.DEFAULT_IOTLB, 0),
        **options,
    )


def nested_tables_are_invalidated(_: str) -> None:
    """Flush one entry, several, all; a wrong request in the middle says how many were handled."""
    with bench() as on:
        mock, calls = on.plug(), on.calls
        parent = calls.iommu_hwpt_alloc(on.fd, device=mock.device, parent=on.ioas, flags=NEST_PARENT)
        says(errno.EINVAL, lambda: nested(on, mock, mock.table))
        table = nested(on, mock, parent)
        on.replace(mock, table)
        says(errno.EBUSY, lambda: calls.iommu_destroy(on.fd, parent))

        def flush(*requests: tuple[int, int], kind: int = mock_iommu.INVALIDATE) -> int:
            entries = b"".join(struct.pack("=2I", *request) for request in requests)
            return calls.iommu_hwpt_invalidate(on.fd, table, data_type=kind, entry_size=8, entries=entries)

        def holds(*values: int) -> None:
            for number, value in enumerate(values):
                on.iotlb(table, number, value)

        full = mock_iommu.DEFAULT_IOTLB
        holds(full, full, full, full)
        assert flush((0, 1)) == 1
        holds(full, 0, full, full)
        error = says(errno.EOPNOTSUPP, lambda: flush((0, 0), (8, 2), (0, 3)))
        assert error.hint == "1 of 3 requests were handled", error
        holds(0, 0, full, full)
        error = says(errno.EINVAL, lambda: flush((0, 9)))
        assert error.hint == "0 of 1 requests were handled", error
        says(errno.EINVAL, lambda: flush((0, 2), kind=mock_iommu.INVALIDATE ^ 1))
        holds(0, 0, full, full)
        assert flush((1, 0)) == 1
        holds(0, 0, 0, 0)
        assert flush() == 0
        on.replace(mock, on.ioas)
        calls.iommu_destroy(on.fd, table)
        calls.iommu_destroy(on.fd, parent)


def virtual_iommu(on: Bench, mock: Mock, data: bytes = b"") -> tuple[int, bytes]:
    parent = on.calls.iommu_hwpt_alloc(on.fd, device=mock.device, parent=on.ioas, flags=NEST_PARENT)
    return on.calls.iommu_viommu_alloc(
        on.fd, type=mock_iommu.VIOMMU, device=mock.device, hwpt=parent, data=data
    )


def virtual_iommus_and_their_devices(_: str) -> None:
    """Make a virtual IOMMU with data that comes back and a page to map; put a device behind it; flush it."""
    with bench() as on:
        mock, calls = on.plug(), on.calls
        plain, none = virtual_iommu(on, mock)
        assert none == b""
        calls.iommu_destroy(on.fd, plain)
        viommu, answer = virtual_iommu(on, mock, LOOPBACK.pack(0x12345678, 0, 0, 0))
        _, loop, offset, length = LOOPBACK.unpack(answer)
        assert (loop, length) == (0x12345678, 2 * PAGE)
        with mmap.mmap(on.fd, length, offset=offset) as shared:
            assert shared[:4] == struct.pack("=I", 0x12345678)
        for kind, number in ((1, errno.EOPNOTSUPP), (mock_iommu.VIOMMU, errno.EINVAL)):
            make = partial(calls.iommu_viommu_alloc, on.fd, type=kind, device=mock.device, hwpt=mock.table)
            says(number, make)
        vdevice = calls.iommu_vdevice_alloc(on.fd, viommu=viommu, device=mock.device, virtual_id=0x99)
        says(
            errno.EEXIST,
            lambda: calls.iommu_vdevice_alloc(on.fd, viommu=viommu, device=mock.device, virtual_id=0x98),
        )

        def flush(*requests: tuple[int, int, int]) -> int:
            entries = b"".join(struct.pack("=3I", *request) for request in requests)
            return calls.iommu_hwpt_invalidate(
                on.fd, viommu, data_type=mock_iommu.INVALIDATE, entry_size=12, entries=entries
            )

        full = mock_iommu.DEFAULT_CACHE
        on.cache(mock.device, 2, full)
        assert flush((0, 0x99, 2)) == 1
        for number, value in enumerate((full, full, 0, full)):
            on.cache(mock.device, number, value)
        error = says(errno.EINVAL, lambda: flush((0, 0x99, 0), (0, 0x98, 1)))
        assert error.hint == "1 of 2 requests were handled", error
        assert flush((1, 0x99, 0)) == 1
        for number in range(4):
            on.cache(mock.device, number, 0)
        says(errno.EBUSY, lambda: calls.iommu_destroy(on.fd, viommu))
        calls.iommu_destroy(on.fd, vdevice)
        calls.iommu_destroy(on.fd, viommu)


def events_are_read(_: str) -> None:
    """Report four events into a queue of two: two come, and word of those that are lost."""
    with bench() as on:
        mock, calls = on.plug(), on.calls
        viommu, _none = virtual_iommu(on, mock)
        queue, descriptor = calls.iommu_veventq_alloc(on.fd, viommu=viommu, type=mock_iommu.VEVENTQ, depth=2)
        says(
            errno.EEXIST,
            lambda: calls.iommu_veventq_alloc(on.fd, viommu=viommu, type=mock_iommu.VEVENTQ, depth=2),
        )
        calls.iommu_vdevice_alloc(on.fd, viommu=viommu, device=mock.device, virtual_id=0x99)
        assert refused(OSError, on.event, mock.device).errno == errno.ENOENT
        on.replace(mock, nested(on, mock, viommu))
        os.set_blocking(descriptor, False)
        assert not select.select([descriptor], [], [], 0)[0]
        for _number in range(2):
            on.event(mock.device)
        assert select.select([descriptor], [], [], 5)[0]
        data = struct.pack("=I", 0x99)
        assert virtual_events(os.read(descriptor, 4096), 4) == (VirtualEvent(0, data), VirtualEvent(1, data))
        for _number in range(4):
            on.event(mock.device)
        events = virtual_events(os.read(descriptor, 4096), 4)
        lost = VirtualEvent(5, b"", lost=True)
        assert events == (VirtualEvent(2, data), VirtualEvent(3, data), lost), events
        on.event(mock.device)
        assert virtual_events(os.read(descriptor, 4096), 4) == (VirtualEvent(6, data),)
        os.close(descriptor)
        on.replace(mock, on.ioas)
        calls.iommu_destroy(on.fd, queue)


def hardware_queues_hold_their_memory(_: str) -> None:
    """Give a guest two queues: one after the other, in memory that stays mapped as long as they are."""
    with bench() as on:
        mock, calls = on.plug(), on.calls
        viommu, _none = virtual_iommu(on, mock)
        memory = filled(2 * PAGE)
        calls.iommu_ioas_map(
            on.fd, on.ioas, vaddr=address_of(memory), length=2 * PAGE, iova=APERTURE, flags=READ_WRITE
        )

        def queue(index: int, iova: int = APERTURE, length: int = PAGE) -> int:
            return calls.iommu_hw_queue_alloc(
                on.fd, viommu=viommu, type=mock_iommu.HW_QUEUE, index=index, iova=iova, length=length
            )

        says(errno.EINVAL, lambda: queue(0, length=0))
        says(errno.EIO, lambda: queue(1))
        says(errno.ENOENT, lambda: queue(0, iova=APERTURE + 4 * PAGE))
        first = queue(0)
        says(errno.EEXIST, lambda: queue(0))
        second = queue(1, iova=APERTURE + PAGE)
        says(errno.EINVAL, lambda: queue(2))
        says(errno.EBUSY, lambda: calls.iommu_destroy(on.fd, first))
        says(
            errno.EBUSY,
            lambda: calls.iommu_ioas_unmap(on.fd, on.ioas, iova=APERTURE, length=2 * PAGE),
        )
        calls.iommu_destroy(on.fd, second)
        calls.iommu_destroy(on.fd, first)
        assert calls.iommu_ioas_unmap(on.fd, on.ioas, iova=APERTURE, length=2 * PAGE) == 2 * PAGE


def page_requests_are_answered(_: str) -> None:
    """Let a device ask for pages, read what it asks, answer it; an answer counts once."""
    with bench() as on:
        mock, calls = on.plug(mock_iommu.WITH_PASID), on.calls
        queue, descriptor = calls.iommu_fault_queue_alloc(on.fd)
        parent = calls.iommu_hwpt_alloc(on.fd, device=mock.device, parent=on.ioas, flags=NEST_PARENT)
        table = nested(on, mock, parent, fault_queue=queue)
        on.replace(mock, table)
        says(errno.EBUSY, lambda: calls.iommu_destroy(on.fd, queue))
        assert not select.select([descriptor], [], [], 0)[0]
        asked = [(1, FaultAccess.READ, 0x1000), (2, FaultAccess.READ | FaultAccess.WRITE, 1 << 40)]
        for group, access, address in asked:
            on.page_request(mock.device, pasid=0, group=group, access=access, address=address)
        assert select.select([descriptor], [], [], 5)[0]
        found = page_requests(os.read(descriptor, 400))
        expected = [
            PageRequest(mock.device, None, group, access, address, 0, cookie, True)
            for (group, access, address), cookie in zip(
                asked, (request.cookie for request in found), strict=True
            )
        ]
        assert list(found) == expected, found
        assert len({request.cookie for request in found}) == 2
        answers = page_responses(
            [(found[0].cookie, PageAnswer.SUCCESS), (found[1].cookie, PageAnswer.INVALID)]
        )
        assert os.write(descriptor, answers) == len(answers)
        assert refused(OSError, os.write, descriptor, answers[:8]).errno == errno.EINVAL
        assert refused(OSError, os.write, descriptor, answers[:4]).errno == errno.ESPIPE
        on.replace(mock, on.ioas)
        calls.iommu_destroy(on.fd, table)
        os.close(descriptor)
        calls.iommu_destroy(on.fd, queue)


CHECKS = [
    mappings_and_copies_hold_the_same_pages,
    the_hardware_says_what_it_is,
    written_pages_are_marked,
    nested_tables_are_invalidated,
    virtual_iommus_and_their_devices,
    events_are_read,
    hardware_queues_hold_their_memory,
    page_requests_are_answered,
]

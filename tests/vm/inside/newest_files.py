"""Check files as memory, BARs of other devices and page tables of one's own, with a device that copies."""

import errno
import fcntl
import mmap
import os
import resource
import struct
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vfio_lab import IPC_LOCK, address, drop, example, in_child, kernel_log, refused

from vfiokit.address import AddressRange
from vfiokit.errors import VfioError
from vfiokit.vfio import Device, DmaMapping, EventFd, Window, open_space
from vfiokit.vfio.errors import (
    AlreadyMapped,
    CallNotSupported,
    DeviceGone,
    IovaReserved,
    MemlockExceeded,
    Misaligned,
    NoSuchRegion,
    NotMapped,
)
from vfiokit.vfio.iommufd import Iommufd

edu = example("edu")
PAGE = mmap.PAGESIZE
LIMIT = 1 << 28
RLIMIT_MODE, BY_PROCESS = 0, 1
UDMABUF_CREATE = 0x40187542


@contextmanager
def memfd(size: int, flags: int = 0) -> Iterator[int]:
    fd = os.memfd_create("memory", os.MFD_CLOEXEC | flags)
    os.ftruncate(fd, size)
    try:
        yield fd
    finally:
        os.close(fd)


class Copier:
    """An edu that is ready to copy, one run of bytes at a time."""

    def __init__(self, device: Device, bar: Window) -> None:
        self.device, self.bar = device, bar
        device.bus_master = True
        self.event: EventFd = device.irqs.msi[0].eventfd()

    def read(self, iova: int, length: int, at: int = 0) -> None:
        """Copy from memory into the device's buffer."""
        self._copy(iova, edu.BUFFER + at, length, 0)

    def write(self, iova: int, length: int, at: int = 0) -> None:
        """Copy from the device's buffer to memory."""
        self._copy(edu.BUFFER + at, iova, length, edu.TO_MEMORY)

    def _copy(self, source: int, target: int, length: int, flags: int) -> None:
        self.bar.write64(edu.DMA_SOURCE, source)
        self.bar.write64(edu.DMA_DESTINATION, target)
        self.bar.write64(edu.DMA_COUNT, length)
        self.bar.doorbell64(edu.DMA_COMMAND, edu.START | edu.DMA_INTERRUPT | flags)
        edu.acknowledge(self.bar, self.event)


@contextmanager
def copier(name: str = "edu", **options: object) -> Iterator[Copier]:
    options = {"backend": "iommufd"} | options
    with Device.open(address(name), **options) as device, device.regions[0].map() as bar:  # type: ignore[arg-type]
        yield Copier(device, bar)


def a_memfd_is_what_the_device_copies(_: str) -> None:
    """Copy through a memfd both ways, at its ends and across pages, also a huge one; all else stays."""
    Path("/proc/sys/vm/nr_hugepages").write_text("1")
    kinds = ((8 * PAGE, 0, PAGE), (1 << 20, 0, 0), (2 << 20, os.MFD_HUGETLB, 0))
    with copier() as edu_:
        for size, flags, offset in kinds:
            with memfd(size, flags) as fd, mmap.mmap(fd, size) as view:
                expected = bytearray(os.urandom(size))
                view[:] = expected
                with edu_.device.dma.map_file(fd, offset=offset, below=LIMIT) as mapping:
                    assert mapping.size == size - offset
                    last = mapping.size - 1000
                    for source, target in ((0, last), (last, 0), (PAGE - 500, last // 2)):
                        edu_.read(mapping.iova_of(source), 1000)
                        edu_.write(mapping.iova_of(target), 1000)
                        at, to = offset + source, offset + target
                        expected[to : to + 1000] = expected[at : at + 1000]
                        assert view[:] == expected
                    iova = mapping.iova
                edu_.write(iova, 1000)
                assert view[:] == expected
    assert f"fault addr {iova:#x}" in kernel_log()


def a_mapping_outlives_descriptor_and_view(_: str) -> None:
    """Close the memfd: the device still has its pages, and reads its content."""
    with copier() as edu_:
        with memfd(PAGE) as fd:
            os.pwrite(fd, content := os.urandom(PAGE), 0)
            mapping = edu_.device.dma.map_file(fd, below=LIMIT, writable=False)
        with edu_.device.dma.map(PAGE, below=LIMIT) as buffer:
            edu_.read(mapping.iova, PAGE)
            edu_.write(buffer.iova, PAGE)
            assert bytes(buffer.view) == content
        # It may be read only.
        edu_.write(mapping.iova, PAGE)
        assert mapping.close() == PAGE


def files_that_cannot_be_mapped(_: str) -> None:
    """Hold every refusal, ours and the kernel's, to its class; nothing stays mapped by any."""
    with copier() as edu_, memfd(4 * PAGE) as fd:
        dma = edu_.device.dma
        refused(Misaligned, dma.map_file, fd, offset=512, size=PAGE)
        refused(Misaligned, dma.map_file, fd, size=PAGE + 1)
        refused(Misaligned, dma.map_file, fd, iova=512)
        refused(IovaReserved, dma.map_file, fd, iova=0xFEE00000)
        with dma.map(PAGE, iova=0x100000):
            refused(AlreadyMapped, dma.map_file, fd, iova=0x100000)
        too_long = refused(VfioError, dma.map_file, fd, size=5 * PAGE)
        assert too_long.errno == errno.EINVAL, too_long
        with tempfile.TemporaryFile(dir="/root") as file:
            file.write(bytes(PAGE))
            file.flush()
            wrong = refused(VfioError, dma.map_file, file)
            assert wrong.errno == errno.EINVAL, wrong
        with tempfile.TemporaryFile(dir="/dev/shm") as file:
            # A file of tmpfs is as good as a memfd.
            file.truncate(PAGE)
            dma.map_file(file).close()
        other = udmabuf(2 * PAGE)
        foreign = refused(CallNotSupported, dma.map_file, other)
        assert foreign.errno == errno.EOPNOTSUPP, foreign
        os.close(other)
        assert dma.buffers == ()


def udmabuf(size: int) -> int:
    """Make a dma-buf that no VFIO device stands behind (linux/udmabuf.h)."""
    with memfd(size, os.MFD_ALLOW_SEALING) as fd, open("/dev/udmabuf", "rb") as node:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        request = bytearray(struct.pack("=IIQQ", fd, 1, 0, size))
        return int(fcntl.ioctl(node, UDMABUF_CREATE, request, True))


def pinned_memory_moves_to_another_process(_: str) -> None:
    """Count pins by process, as for all without CAP_IPC_LOCK; a child takes over those of a memfd."""

    def be_counted() -> None:
        drop(IPC_LOCK)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
        with open_space("iommufd") as space:
            assert isinstance(space, Iommufd)
            space.calls.iommu_destroy(space.fd, space.ioas)
            space.calls.iommu_option_set(space.fd, RLIMIT_MODE, BY_PROCESS)
            space.ioas = space.calls.iommu_ioas_alloc(space.fd)
            with Device.open(address("edu"), space=space) as device, memfd(64 * PAGE) as file:
                hand_over(space, device, file)

    assert in_child(be_counted) == 0


def hand_over(space: Iommufd, device: Device, file: int) -> None:
    """Give the pins to a child and take them back while it lives: Linux cannot take them from the dead."""
    calls, fd, size = space.calls, space.fd, 64 * PAGE // 1024
    # Handles are closed in a child: this descriptor is for it alone.
    inherited, theirs, ours = os.dup(fd), os.eventfd(0), os.eventfd(0)

    def take_over() -> None:
        assert pinned() == 0, pinned()
        calls.iommu_ioas_change_process(inherited)
        assert pinned() == size, pinned()
        os.eventfd_write(theirs, 1)
        os.eventfd_read(ours)
        assert pinned() == 0, pinned()

    with device.dma.map_file(file):
        assert pinned() == size, pinned()
        with ThreadPoolExecutor() as threads:
            child = threads.submit(in_child, take_over)
            os.eventfd_read(theirs)
            assert pinned() == 0, pinned()
            calls.iommu_ioas_change_process(fd)
            assert pinned() == size, pinned()
            os.eventfd_write(ours, 1)
            assert child.result(10) == 0
        with device.dma.map(PAGE):
            # Memory of a process cannot change hands.
            assert refused(VfioError, calls.iommu_ioas_change_process, fd).errno == errno.EINVAL
        error = refused(MemlockExceeded, device.dma.map, 1 << 20)
        assert error.errno == errno.ENOMEM, error
    assert pinned() == 0, pinned()
    for descriptor in (inherited, theirs, ours):
        os.close(descriptor)


def pinned() -> int:
    """Return the pinned memory of this process, in KiB."""
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows["VmPin"].split()[0])


def a_device_reaches_the_bar_of_another(_: str) -> None:
    """Let edu copy into the RAM behind ivshmem's BAR 2, whole and part, and out of NVMe's registers."""
    with (
        copier() as edu_,
        Device.open(address("memory"), backend="iommufd") as memory,
        memory.regions[2].map() as window,
    ):
        dma = edu_.device.dma
        content = os.urandom(PAGE)
        with dma.map(PAGE, below=LIMIT) as buffer:
            buffer.view[:] = content
            edu_.read(buffer.iova, PAGE)
        size = memory.regions[2].info.size
        for parts, shift in (((), 0), ((AddressRange(PAGE, size - PAGE),), PAGE)):
            with memory.features.dma_buf(2, parts) as shared:
                mapping = dma.map_file(shared, below=LIMIT)
            assert mapping.size == size - 2 * shift
            place = mapping.size - PAGE
            edu_.write(mapping.iova_of(place), PAGE)
            assert window.read_block(place + shift, PAGE, width=8) == content
            assert window.read64(place + shift - 8) == 0
            window.write_block(shift, content[::-1], width=8)
            edu_.read(mapping.iova, PAGE)
            with dma.map(PAGE, below=LIMIT) as buffer:
                edu_.write(buffer.iova, PAGE)
                assert bytes(buffer.view) == content[::-1]
                buffer.view[:] = content
                edu_.read(buffer.iova, PAGE)
            window.write_block(0, bytes(size), width=8)
            assert mapping.close() == size - 2 * shift
        with Device.open(address("disk"), backend="iommufd") as disk, disk.regions[0].map() as registers:
            with disk.features.dma_buf(0) as shared, dma.map(PAGE, below=LIMIT) as buffer:
                peer = dma.map_file(shared, below=LIMIT)
                edu_.read(peer.iova, 16)
                edu_.write(buffer.iova, 16)
                # Capabilities and version: not zero, and the same whoever asks.
                expected = registers.read_block(0, 16, width=4)
                assert bytes(buffer.view[:16]) == expected
                assert any(expected[:4])
            peer.close()


def a_bar_is_taken_away(_: str) -> None:
    """Reset, switch decoding off and close the owner: each takes its BAR from edu, for good."""
    with copier() as edu_, edu_.device.dma.map(PAGE, below=LIMIT) as buffer:
        dma = edu_.device.dma
        with Device.open(address("disk"), backend="iommufd") as disk, disk.features.dma_buf(0) as shared:
            expected = disk.regions[0].syscalls().read64(0)

            def seen(mapping: DmaMapping) -> int:
                """Let edu read the controller's capabilities, and say what it got."""
                buffer.view[:8] = b"nothing."
                edu_.read(buffer.iova, 8)
                edu_.read(mapping.iova, 8)
                edu_.write(buffer.iova, 8)
                return int.from_bytes(buffer.view[:8], "little")

            first = dma.map_file(shared, below=LIMIT)
            assert seen(first) == expected
            disk.reset()
            assert seen(first) != expected
            second = dma.map_file(shared, below=LIMIT)
            assert (seen(first) != expected, seen(second)) == (True, expected)
            disk.config.command &= ~2
            assert seen(second) != expected
            refused(DeviceGone, dma.map_file, shared)
            disk.config.command |= 2
            assert seen(second) != expected
            third = dma.map_file(shared, below=LIMIT)
            assert seen(third) == expected
            disk.close()
            assert seen(third) != expected
            refused(DeviceGone, dma.map_file, shared)
        # The kernel may leave out faults that come fast, but not all of them.
        log = kernel_log()
        assert any(f"fault addr {mapping.iova:#x}" in log for mapping in (first, second, third))
        # What was taken away can still be unmapped, and so its addresses come free.
        for mapping in (first, second, third):
            iova = mapping.iova
            assert mapping.close() == mapping.size
            dma.map(PAGE, iova=iova, alignment=PAGE).close()


def bars_that_cannot_be_had(_: str) -> None:
    with Device.open(address("disk"), backend="iommufd") as disk, copier() as edu_:
        size = disk.regions[0].info.size
        assert {"DMA_BUF"} <= {feature.name for feature in disk.features.known()}
        refused(Misaligned, disk.features.dma_buf, 0, [AddressRange(0, 512)])
        refused(Misaligned, disk.features.dma_buf, 0, [AddressRange(512, PAGE + 512)])
        refused(Misaligned, disk.features.dma_buf, 0, [AddressRange(0, size + PAGE)])
        refused(NoSuchRegion, disk.features.dma_buf, 7, [AddressRange(0, PAGE)])
        refused(NoSuchRegion, disk.features.dma_buf, 3, [AddressRange(0, PAGE)])
        parts = [AddressRange(0, PAGE), AddressRange(2 * PAGE, 3 * PAGE)]
        with disk.features.dma_buf(0, parts) as shared:
            assert shared.size == os.fstat(shared.fileno()).st_size == 2 * PAGE
            refused(CallNotSupported, edu_.device.dma.map_file, shared)
        with disk.features.dma_buf(0) as shared:
            refused(VfioError, edu_.device.dma.map_file, shared, size=size + PAGE)


def a_page_table_of_ones_own(_: str) -> None:
    """Attach edu to a page table made by hand: it has the space's mappings, earlier and later ones."""
    with copier() as edu_:
        device = edu_.device
        space = device.space
        assert isinstance(space, Iommufd)
        calls, fd = space.calls, space.fd
        identity = space.object_of(device.fd)
        with device.dma.map(PAGE, below=LIMIT) as early:
            table = calls.iommu_hwpt_alloc(fd, device=identity, parent=space.ioas)
            assert calls.vfio_device_attach_iommufd_pt(device.fd, table) == table
            with device.dma.map(PAGE, below=LIMIT) as late:
                early.view[:] = content = os.urandom(PAGE)
                edu_.read(early.iova, PAGE)
                edu_.write(late.iova, PAGE)
                assert bytes(late.view) == content
            # Which flags the IOMMU can serve is what it says of itself.
            dirty = bool(calls.iommu_get_hw_info(fd, identity).capabilities & 1)
            tracked = hwpt_or_errno(space, identity, flags=2)
            assert isinstance(tracked, int)
            assert dirty == (tracked > 0), tracked
            assert hwpt_or_errno(space, identity, flags=1 << 30) == -errno.EOPNOTSUPP
            assert hwpt_or_errno(space, 4211) == -errno.ENOENT
            queue, descriptor = calls.iommu_fault_queue_alloc(fd)
            os.close(descriptor)
            faulting = hwpt_or_errno(space, identity, fault_queue=queue)
            # Page requests want a device that can make them; edu is conventional PCI.
            error = refused(VfioError, calls.vfio_device_attach_iommufd_pt, device.fd, faulting)
            assert error.errno == errno.ENODEV, error
            calls.vfio_device_attach_iommufd_pt(device.fd, space.ioas)
            for thing in (table, tracked, faulting, queue):
                if thing > 0:
                    calls.iommu_destroy(fd, thing)
            edu_.write(early.iova, PAGE)
            assert bytes(early.view) == content
        refused(NotMapped, space.physical, 0x4000000, PAGE)
        with device.dma.map(PAGE) as buffer:
            refused(CallNotSupported, buffer.physical)


def hwpt_or_errno(space: Iommufd, device: int, **options: Any) -> int:
    try:
        return space.calls.iommu_hwpt_alloc(space.fd, device=device, parent=space.ioas, **options)
    except VfioError as error:
        return -(error.errno or 0)


CHECKS = [
    a_memfd_is_what_the_device_copies,
    a_mapping_outlives_descriptor_and_view,
    files_that_cannot_be_mapped,
    pinned_memory_moves_to_another_process,
    a_device_reaches_the_bar_of_another,
    a_bar_is_taken_away,
    bars_that_cannot_be_had,
    a_page_table_of_ones_own,
]

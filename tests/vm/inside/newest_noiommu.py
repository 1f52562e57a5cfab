"""Check devices without an IOMMU behind the iommufd: names, refusals, physical addresses by three judges."""

import contextlib
import errno
import mmap
import os
import random
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from newest_files import Copier, memfd
from vfio_lab import SYS_RAWIO, address, drop, example, in_child, refused

from vfiokit.address import AddressRange, PageSize
from vfiokit.errors import VfioError
from vfiokit.vfio import Device, DmaBuffer
from vfiokit.vfio.errors import (
    CallNotSupported,
    Closed,
    NotMapped,
    NotPermitted,
    UnsafeNotAsked,
)
from vfiokit.vfio.iommufd import Iommufd

edu = example("edu")
PAGE = mmap.PAGESIZE
DEVICES = Path("/sys/bus/pci/devices")
SIZES = (
    *((PAGE, None), (64 * PAGE, None), (1 << 20, None), (2 << 20, None)),
    *((2 << 20, PageSize.SIZE_2M), (8 << 20, PageSize.SIZE_2M)),
)


@contextlib.contextmanager
def unsafe(name: str = "edu") -> Iterator[Copier]:
    with (
        Device.open(address(name), backend="iommufd", noiommu=True) as device,
        device.regions[0].map() as bar,
    ):
        yield Copier(device, bar)


def frames(vaddr: int, size: int) -> list[int]:
    """Read from the page map the physical address of each page that holds a byte of the range."""
    first, last = vaddr // PAGE, (vaddr + size - 1) // PAGE
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        data = os.pread(file.fileno(), 8 * (last - first + 1), 8 * first)
    entries = [entry for (entry,) in struct.iter_unpack("=Q", data)]
    assert all(entry >> 63 for entry in entries), "a page is not there"
    return [(entry & (1 << 55) - 1) * PAGE for entry in entries]


def vaddr_of(buffer: DmaBuffer) -> int:
    return buffer._memory.address


def run_by_pagemap(places: list[int], offset: int, length: int) -> tuple[int, int]:
    """Return where an offset lies and how far memory runs on from it, by the page map alone."""
    page, within = divmod(offset, PAGE)
    run = PAGE - within
    for one, two in pairwise(places[page:]):
        if two != one + PAGE:
            break
        run += PAGE
    return places[page] + within, min(run, length)


def nodes_have_names_of_their_own(_: str) -> None:
    """Find the node and its directory by the name that Linux 7.3 gives them, and every way in refused."""
    (name,) = os.listdir(DEVICES / address("edu") / "vfio-dev")
    assert name.startswith("noiommu-vfio"), name
    assert Path(f"/dev/vfio/devices/{name}").is_char_device()
    group = os.path.basename(os.readlink(DEVICES / address("edu") / "iommu_group"))
    assert Path(f"/dev/vfio/noiommu-{group}").is_char_device()
    for backend in ("auto", "iommufd", "container"):
        error = refused(UnsafeNotAsked, Device.open, address("edu"), backend=backend)
        assert error.exit_status == 4
    with Device.open(address("edu"), noiommu=True) as device, device.regions[0].map() as bar:
        assert device.backend == "iommufd"
        assert device.dma.usable == (AddressRange(0, 1 << 64),), device.dma.usable
        device.bus_master = True
        assert edu.factorial(bar, device.irqs.msi[0].eventfd(), 10) == 3628800


def the_container_still_maps_nothing(_: str) -> None:
    with Device.open(address("edu"), backend="container", noiommu=True) as device:
        refused(CallNotSupported, device.dma.map, PAGE)
        device.regions[0].syscalls().read32(0)


def physical_addresses_are_those_of_the_page_map(_: str) -> None:
    """Ask for every page, and for drawn offsets and lengths, in memory of small and of huge pages."""
    Path("/proc/sys/vm/nr_hugepages").write_text("8")
    draw = random.Random(3)
    compared = 0
    with unsafe() as edu_:
        space = edu_.device.space
        for size, huge in SIZES:
            with edu_.device.dma.map(size, huge=huge) as buffer:
                places = frames(vaddr_of(buffer), size)
                for page in range(size // PAGE):
                    found = space.physical(buffer.iova + page * PAGE, PAGE)
                    assert found == (places[page], PAGE), (page, found)
                for _number in range(200):
                    offset = draw.randrange(size)
                    length = draw.choice((1, 7, PAGE, draw.randrange(1, 2 * size)))
                    found = space.physical(buffer.iova + offset, length)
                    assert found == run_by_pagemap(places, offset, length), (offset, length, found)
                runs = buffer.physical()
                assert sum(run.size for run in runs) == size
                assert [at for run in runs for at in range(run.start, run.end, PAGE)] == places
                assert all(one.end != two.start for one, two in pairwise(runs))
                if huge:
                    assert all(run.start % huge == 0 and run.size >= huge for run in runs), runs
                compared += size // PAGE + 200
    print(f"compared with the page map: {compared} answers")


def edu_finds_memory_there(_: str) -> None:
    """Let the device itself judge: it copies by physical address, page by page of a scattered buffer."""
    with unsafe() as edu_, edu_.device.dma.map(32 * PAGE) as buffer:
        expected = bytearray(os.urandom(32 * PAGE))
        buffer.view[:] = expected
        space = edu_.device.space
        for source, target in ((0, 31 * PAGE), (31 * PAGE, 7 * PAGE), (5 * PAGE + 100, 100)):
            length = PAGE - max(source, target) % PAGE
            edu_.read(space.physical(buffer.iova + source, length)[0], length)
            edu_.write(space.physical(buffer.iova + target, length)[0], length)
            expected[target : target + length] = expected[source : source + length]
        assert bytes(buffer.view) == expected


def memfds_and_bars_have_them_too(_: str) -> None:
    """Compare those of a memfd with its pages, and those of a BAR with what sysfs says of it."""
    with unsafe() as edu_:
        dma = edu_.device.dma
        with memfd(16 * PAGE) as fd, mmap.mmap(fd, 16 * PAGE) as view:
            view[:] = os.urandom(16 * PAGE)
            with dma.map(view) as own, dma.map_file(fd, offset=4 * PAGE) as mapping:
                places = frames(vaddr_of(own), 16 * PAGE)
                found = [at for run in mapping.physical() for at in range(run.start, run.end, PAGE)]
                assert found == places[4:]
            own.view.release()
        with edu_.device.features.dma_buf(0) as shared, dma.map_file(shared) as bar:
            line = (DEVICES / address("edu") / "resource").read_text().splitlines()[0]
            start, last, _flags = (int(word, 16) for word in line.split())
            assert bar.physical() == (AddressRange(start, last + 1),)


def what_is_refused(_: str) -> None:
    with unsafe() as edu_:
        space = edu_.device.space
        assert isinstance(space, Iommufd)
        buffer = edu_.device.dma.map(4 * PAGE)
        end = buffer.range.end
        assert space.physical(end - 1, 1 << 40)[1] == 1
        assert refused(NotMapped, space.physical, end, 1).errno == errno.ENOENT
        assert refused(NotMapped, space.physical, 1 << 50, PAGE).errno == errno.ENOENT
        for iova, length, ioas, number in (
            (buffer.iova, 0, space.ioas, errno.EINVAL),
            ((1 << 64) - 1, 1, space.ioas, errno.EOVERFLOW),
            (buffer.iova, 1, 4211, errno.ENOENT),
        ):
            error = refused(VfioError, space.calls.iommu_ioas_noiommu_get_pa, space.fd, ioas, iova, length)
            assert error.errno == number, error
        inherited = os.dup(space.fd)

        def without_the_capability() -> None:
            drop(SYS_RAWIO)
            space.fd = inherited
            assert refused(NotPermitted, space.physical, buffer.iova, 1).errno == errno.EPERM

        assert in_child(without_the_capability) == 0
        os.close(inherited)
        buffer.close()
        refused(Closed, buffer.physical)
        refused(NotMapped, space.physical, buffer.iova, 1)


CHECKS = [
    nodes_have_names_of_their_own,
    the_container_still_maps_nothing,
    physical_addresses_are_those_of_the_page_map,
    edu_finds_memory_there,
    memfds_and_bars_have_them_too,
    what_is_refused,
]

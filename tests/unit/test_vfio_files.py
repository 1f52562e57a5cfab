"""Memory that is a file, BARs for other devices, physical addresses: the iommufd's own ways to map."""

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vfiokit.address import AddressRange
from vfiokit.errors import UsageError, VfioError
from vfiokit.testing.fake_device import FakeDevice
from vfiokit.testing.fake_vfio import FakeKernel
from vfiokit.vfio import Device, DmaBuf, DmaMapping, open_space
from vfiokit.vfio.errors import (
    AlreadyMapped,
    BadReply,
    CallNotSupported,
    Closed,
    DeviceGone,
    IovaReserved,
    Misaligned,
    NoSuchRegion,
    NotMapped,
    NotPermitted,
    UnsafeNotAsked,
)

ADDRESS, OTHER = "0000:00:04.0", "0000:00:05.0"
PAGE = 4096


def start(kernel: FakeKernel, backend: str = "iommufd", address: str = ADDRESS, **details: object) -> Device:
    return Device.open(address, backend=backend, system=kernel, source=kernel.source, **details)


@contextmanager
def memfd(size: int) -> Iterator[int]:
    fd = os.memfd_create("memory", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    try:
        yield fd
    finally:
        os.close(fd)


class TestFiles:
    def test_devices_and_processes_see_the_same(self) -> None:
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        with memfd(4 * PAGE) as fd, start(kernel) as device:
            device.bus_master = True
            mapping = device.dma.map_file(fd, offset=PAGE)
            assert (mapping.size, mapping.range.size) == (3 * PAGE, 3 * PAGE)
            os.pwrite(fd, b"to the device", PAGE + 5)
            assert fake.dma_read(mapping.iova_of(5), 13) == b"to the device"
            fake.dma_write(mapping.iova_of(2 * PAGE), b"from it")
            assert os.pread(fd, 7, 3 * PAGE) == b"from it"
            assert device.dma.buffers == (mapping,)
            for outside in (-1, 3 * PAGE):
                with pytest.raises(UsageError, match="leaves"):
                    mapping.iova_of(outside)
            assert mapping.close() == 3 * PAGE
            assert mapping.close() == 0
            fake.dma_write(mapping.iova, b"late")
            assert os.pread(fd, 4, PAGE) == bytes(4)
        assert kernel.left_open == []

    def test_an_open_file_is_as_good_as_its_descriptor(self) -> None:
        kernel = FakeKernel(FakeDevice())
        with memfd(PAGE) as fd, os.fdopen(os.dup(fd), "r+b") as file, start(kernel) as device:
            with device.dma.map_file(file, size=PAGE) as mapping:
                assert isinstance(mapping, DmaMapping)
                assert repr(mapping).startswith("<DmaMapping of 0x1000 bytes: IOVA 0x")
            assert mapping.closed

    def test_it_outlives_its_descriptor_and_its_handle(self) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake)) as device:
            device.bus_master = True
            with memfd(PAGE) as fd, mmap.mmap(fd, PAGE) as view:
                iova = device.dma.map_file(fd).iova
                view[:4] = b"here"
            assert fake.dma_read(iova, 4) == b"here"
            assert device.dma.unmap_all() == PAGE

    def test_what_is_read_only_is_not_written(self) -> None:
        fake = FakeDevice()
        with memfd(PAGE) as fd, start(FakeKernel(fake)) as device:
            device.bus_master = True
            mapping = device.dma.map_file(fd, writable=False)
            assert (mapping.readable, mapping.writable) == (True, False)
            fake.dma_write(mapping.iova, b"no")
            assert os.pread(fd, 2, 0) == bytes(2)

    @pytest.mark.parametrize(
        ("options", "kind", "said"),
        [
            ({"offset": 1, "size": PAGE}, Misaligned, "no whole pages"),
            ({"size": PAGE + 1}, Misaligned, "no whole pages"),
            ({"iova": 7}, Misaligned, "no multiple"),
            ({"iova": 0xFEE00000}, IovaReserved, "usable"),
            ({"below": PAGE, "size": 2 * PAGE}, IovaReserved, "no 0x2000 bytes"),
            ({"size": 0}, UsageError, "0 bytes"),
            ({"offset": 4 * PAGE}, UsageError, "0 bytes"),
            ({"offset": -PAGE, "size": PAGE}, UsageError, "-4096"),
            ({"size": 5 * PAGE}, VfioError, "is it a memfd or a dma-buf, and as long as that"),
            ({"readable": False, "writable": False}, UsageError, "neither readable nor writable"),
        ],
    )
    def test_what_cannot_be(self, options: dict[str, object], kind: type[VfioError], said: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with memfd(4 * PAGE) as fd, start(kernel) as device:
            with pytest.raises(kind, match=said):
                device.dma.map_file(fd, **options)
            assert device.dma.buffers == device.dma._allocator.taken == ()

    def test_what_is_taken_is_taken(self) -> None:
        with memfd(PAGE) as fd, start(FakeKernel(FakeDevice())) as device:
            device.dma.map(PAGE, iova=0x100000)
            with pytest.raises(AlreadyMapped):
                device.dma.map_file(fd, iova=0x100000)

    def test_a_descriptor_that_is_none(self) -> None:
        with start(FakeKernel(FakeDevice())) as device, pytest.raises(VfioError, match="descriptor 987654"):
            device.dma.map_file(987654)

    def test_before_any_device(self) -> None:
        kernel = FakeKernel(FakeDevice())
        with (
            memfd(PAGE) as fd,
            open_space("iommufd", system=kernel, source=kernel.source) as space,
            pytest.raises(UsageError, match="no device has joined"),
        ):
            space.dma.map_file(fd)

    @pytest.mark.parametrize(
        ("number", "kind", "said"),
        [
            (errno.ENOTTY, CallNotSupported, "the kernel maps no files"),
            (errno.EOPNOTSUPP, CallNotSupported, "no memory that the kernel maps"),
            (errno.ENODEV, DeviceGone, "closed, or does not decode memory"),
            (errno.EEXIST, AlreadyMapped, "is mapped"),
            (errno.EFAULT, VfioError, "cannot be pinned"),
            (errno.EIO, VfioError, "Input/output error"),
        ],
    )
    def test_refusals_are_explained(self, number: int, kind: type[VfioError], said: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with memfd(PAGE) as fd, start(kernel) as device:
            kernel.refuse("IOMMU_IOAS_MAP_FILE", number)
            with pytest.raises(kind, match=said) as caught:
                device.dma.map_file(fd)
            assert caught.value.errno == number
            assert device.dma._allocator.taken == ()

    def test_a_container_maps_none_and_says_what_to_do(self) -> None:
        fake = FakeDevice()
        with memfd(PAGE) as fd, start(FakeKernel(fake), "container") as device:
            with pytest.raises(CallNotSupported, match=r"dma.map\(\) the file's mmap.mmap") as caught:
                device.dma.map_file(fd)
            assert caught.value.exit_status == 8
            assert device.dma._allocator.taken == ()
            device.bus_master = True
            with device.dma.map(mmap.mmap(fd, PAGE)) as buffer:
                fake.dma_write(buffer.iova, b"works")
                assert os.pread(fd, 5, 0) == b"works"


class TestDmaBuf:
    def pair(self) -> tuple[FakeKernel, FakeDevice, FakeDevice]:
        owner, other = FakeDevice(bars={0: 4 * PAGE, 2: PAGE}), FakeDevice(OTHER, group=15)
        return FakeKernel(owner, other, dma_bufs=True), owner, other

    def test_one_device_reaches_the_bar_of_another(self) -> None:
        kernel, owner, other = self.pair()
        with start(kernel) as device, start(kernel, address=OTHER) as second:
            second.bus_master = True
            with device.features.dma_buf(0) as shared:
                assert shared.size == os.fstat(shared.fileno()).st_size == 4 * PAGE
                mapping = second.dma.map_file(shared)
            assert shared.closed
            other.dma_write(mapping.iova_of(PAGE + 8), b"peer")
            assert owner.memory[0][PAGE + 8 : PAGE + 12] == b"peer"
            owner.memory[0][:3] = b"ask"
            assert other.dma_read(mapping.iova, 3) == b"ask"
        assert kernel.left_open == []

    def test_a_part_of_it(self) -> None:
        kernel, owner, other = self.pair()
        part = AddressRange(PAGE, 3 * PAGE)
        with start(kernel) as device, start(kernel, address=OTHER) as second:
            second.bus_master = True
            with device.features.dma_buf(0, [part]) as shared:
                other.dma_write(second.dma.map_file(shared, offset=PAGE).iova, b"here")
            assert owner.memory[0][2 * PAGE : 2 * PAGE + 4] == b"here"

    @pytest.mark.parametrize("end", ["close", "reset", "decode"])
    def test_it_is_taken_away(self, end: str) -> None:
        kernel, owner, other = self.pair()
        with start(kernel, address=OTHER) as second, start(kernel) as device:
            second.bus_master = True
            with device.features.dma_buf(0) as shared:
                mapping = second.dma.map_file(shared)
                if end == "close":
                    device.close()
                elif end == "reset":
                    device.reset()
                else:
                    device.config.command &= ~2
                other.dma_write(mapping.iova, b"late")
                assert owner.memory[0][:4] == bytes(4)
                assert second.dma.buffers == (mapping,)
                if end == "reset":
                    other.dma_write(second.dma.map_file(shared).iova, b"anew")
                    assert owner.memory[0][:4] == b"anew"
                else:
                    with pytest.raises(DeviceGone):
                        second.dma.map_file(shared)
            assert mapping.close() == 4 * PAGE

    @pytest.mark.parametrize(
        ("region", "ranges", "kind"),
        [
            (0, [AddressRange(0, 5 * PAGE)], Misaligned),
            (0, [AddressRange(8, PAGE)], Misaligned),
            (7, [AddressRange(0, PAGE)], NoSuchRegion),
            (5, [AddressRange(0, PAGE)], NoSuchRegion),
            (5, [], NoSuchRegion),
        ],
    )
    def test_what_cannot_be(self, region: int, ranges: list[AddressRange], kind: type[VfioError]) -> None:
        kernel, *_ = self.pair()
        with start(kernel) as device, pytest.raises(kind):
            device.features.dma_buf(region, ranges)
        assert kernel.left_open == []

    def test_several_parts_are_no_one_mapping(self) -> None:
        kernel, *_ = self.pair()
        parts = [AddressRange(0, PAGE), AddressRange(2 * PAGE, 3 * PAGE)]
        with start(kernel) as device, device.features.dma_buf(0, parts) as shared:
            assert shared.size == 2 * PAGE
            with pytest.raises(CallNotSupported, match="one range"):
                device.dma.map_file(shared)

    def test_handles_end(self) -> None:
        kernel, *_ = self.pair()
        with start(kernel) as device:
            shared = device.features.dma_buf(2)
            assert isinstance(shared, DmaBuf)
            assert repr(shared).startswith("<DmaBuf of 0x1000 bytes of 0000:00:04.0: descriptor")
            shared.close()
            shared.close()
            with pytest.raises(Closed):
                shared.fileno()
            forgotten = device.features.dma_buf(2)
            forgotten.forget()
            assert forgotten.closed
            device.features.dma_buf(2)
        assert kernel.left_open == []

    def test_a_kernel_without(self) -> None:
        with start(FakeKernel(FakeDevice())) as device, pytest.raises(CallNotSupported, match="dma_buf"):
            device.features.dma_buf(0)

    def test_another_error_stays_what_it_is(self) -> None:
        kernel, *_ = self.pair()
        with start(kernel) as device:
            kernel.refuse("VFIO_DEVICE_FEATURE", errno.ENOMEM)
            with pytest.raises(VfioError, match="Cannot allocate") as caught:
                device.features.dma_buf(0)
            assert caught.value.errno == errno.ENOMEM


class TestWithoutIommu:
    def kernel(self) -> tuple[FakeKernel, FakeDevice]:
        fake = FakeDevice(noiommu=True)
        return FakeKernel(fake, noiommu_nodes=True, remapping=False), fake

    def test_the_device_takes_physical_addresses(self) -> None:
        kernel, fake = self.kernel()
        with start(kernel, "auto", noiommu=True) as device, device.dma.map(16 * PAGE) as buffer:
            assert device.backend == "iommufd"
            device.bus_master = True
            runs = buffer.physical()
            assert sum(run.size for run in runs) == buffer.range.size
            assert len(runs) > 1
            place = 0
            for number, run in enumerate(runs):
                for start_of_page in range(run.start, run.end, PAGE):
                    fake.dma_write(start_of_page, bytes([number + 1]) * PAGE)
                assert bytes(buffer.view[place : place + run.size]) == bytes([number + 1]) * run.size
                place += run.size
        assert kernel.left_open == []

    def test_it_is_refused_without_being_asked_for(self) -> None:
        kernel, _ = self.kernel()
        for backend in ("auto", "iommufd"):
            with pytest.raises(UnsafeNotAsked):
                start(kernel, backend)
        assert kernel.left_open == []

    def test_the_nodes_name_says_it_where_there_is_no_group(self) -> None:
        """As of a kernel without CONFIG_VFIO_GROUP."""
        kernel, _ = self.kernel()
        kernel.source.remove(f"sys/bus/pci/devices/{ADDRESS}/iommu_group")
        with pytest.raises(UnsafeNotAsked):
            start(kernel)
        start(kernel, noiommu=True).close()

    def test_runs_end_at_the_length_and_at_the_mapping(self) -> None:
        kernel, _ = self.kernel()
        with start(kernel, noiommu=True) as device, device.dma.map(8 * PAGE) as buffer:
            space = device.space
            first, _ = space.physical(buffer.iova, 1)
            assert space.physical(buffer.iova, 100) == (first, 100)
            assert space.physical(buffer.iova + 10, 100) == (first + 10, 100)
            last = buffer.range.end - 7
            assert space.physical(last, 1 << 40)[1] == 7

    def test_nothing_there(self) -> None:
        kernel, _ = self.kernel()
        with start(kernel, noiommu=True) as device:
            buffer = device.dma.map(PAGE)
            with pytest.raises(NotMapped, match="nothing is mapped"):
                device.space.physical(buffer.range.end, 1)
            with pytest.raises(UsageError, match="0 bytes"):
                device.space.physical(buffer.iova, 0)
            buffer.close()
            with pytest.raises(Closed, match="unmapped"):
                buffer.physical()

    @pytest.mark.parametrize(
        ("number", "kind", "said"),
        [
            (errno.ENOTTY, CallNotSupported, r"Linux 7\.3"),
            (errno.EOPNOTSUPP, CallNotSupported, "no device without an IOMMU"),
            (errno.EPERM, NotPermitted, "CAP_SYS_RAWIO"),
            (errno.EINVAL, DeviceGone, "stopped decoding"),
            (errno.EIO, VfioError, "Input/output"),
        ],
    )
    def test_refusals_are_explained(self, number: int, kind: type[VfioError], said: str) -> None:
        kernel, _ = self.kernel()
        with start(kernel, noiommu=True) as device, device.dma.map(PAGE) as buffer:
            kernel.refuse("IOMMU_IOAS_NOIOMMU_GET_PA", number)
            with pytest.raises(kind, match=said):
                buffer.physical()

    def test_runs_that_touch_are_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A kernel may say less than it could: the answer is the same."""
        kernel, _ = self.kernel()
        places = [0x9000, 0xA000, 0x4000, 0x5000, 0x6000]
        with start(kernel, noiommu=True) as device, device.dma.map(5 * PAGE) as buffer:
            monkeypatch.setattr(
                device.space, "physical", lambda iova, size: (places[(iova - buffer.iova) // PAGE], PAGE)
            )
            assert buffer.physical() == (AddressRange(0x9000, 0xB000), AddressRange(0x4000, 0x7000))

    @pytest.mark.parametrize("length", [0, 2 * PAGE])
    def test_a_run_that_cannot_be_ends(self, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel, _ = self.kernel()
        with start(kernel, noiommu=True) as device, device.dma.map(PAGE) as buffer:
            monkeypatch.setattr(device.space, "physical", lambda iova, size: (0, length))
            with pytest.raises(BadReply, match="a run of"):
                buffer.physical()

    @pytest.mark.parametrize(
        ("backend", "said"),
        [
            ("iommufd", "behind an IOMMU devices take IOVAs"),
            ("container", "a container tells no physical addresses"),
        ],
    )
    def test_behind_an_iommu_there_is_none(self, backend: str, said: str) -> None:
        kernel = FakeKernel(FakeDevice(), noiommu_nodes=True)
        with (
            start(kernel, backend) as device,
            device.dma.map(PAGE) as buffer,
            pytest.raises(CallNotSupported, match=said),
        ):
            buffer.physical()

"""Handles on the fake kernel, on both back ends: what they do, in which order, and what they leave."""

import asyncio
import errno
import gc
import mmap
import os
import select
import warnings

import pytest

from vfiokit.address import AddressRange, PciAddress
from vfiokit.errors import NotFound, UsageError, VfioError
from vfiokit.testing.fake_device import INTX, MSI, MSIX, REQ, FakeDevice, FakeEdu
from vfiokit.testing.fake_iommu import DmaFault
from vfiokit.testing.fake_vfio import FakeKernel
from vfiokit.testing.fake_window import FakeSigbus
from vfiokit.translation.faults import Reason
from vfiokit.vfio import Device, open_space
from vfiokit.vfio.errors import (
    CallNotSupported,
    Closed,
    DecodeOff,
    InUse,
    NoSuchInterrupt,
    NoSuchRegion,
    NotMapped,
    ResetNotSupported,
)

ADDRESS = "0000:00:04.0"
BACKENDS = ("container", "iommufd")
both = pytest.mark.parametrize("backend", BACKENDS)


def start(kernel: FakeKernel, backend: str, address: str = ADDRESS, **details: object) -> Device:
    return Device.open(
        address,
        backend=backend,
        system=kernel,
        source=kernel.source,
        **details,
    )


@both
class TestOpenAndClose:
    def test_nothing_is_left(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend) as device:
            assert device.backend == backend
            assert device.address == PciAddress.parse(ADDRESS)
            assert kernel.left_open
        assert device.closed
        assert kernel.left_open == []

    def test_the_order_is_the_kernels(self, backend: str) -> None:
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        with start(kernel, backend) as device:
            device.bus_master = True
            device.regions[0].map()
            device.irqs.msix[3].eventfd()
            device.dma.map(4096)
            kernel.log.clear()
        order = {
            "container": ["SET_IRQS", "SET_IRQS", "close", "UNMAP_DMA", "UNSET_CONTAINER", "close", "close"],
            "iommufd": ["SET_IRQS", "SET_IRQS", "DETACH_IOMMUFD_PT", "close", "UNMAP", "DESTROY", "close"],
        }
        assert [name.split("_", 2)[-1] for name in kernel.log] == order[backend]
        assert not fake.is_master
        assert kernel.left_open == []

    def test_a_second_close_is_nothing(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        device = start(kernel, backend)
        device.close()
        device.close()
        for use in (device.reset, device.regions[0].map, device.hot_reset_plan):
            with pytest.raises(Closed):
                use()

    def test_an_exception_closes_too(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())

        def use() -> None:
            with start(kernel, backend) as device, device.dma.map(10):
                device.regions[0].map()
                device.irqs.best().eventfd()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            use()
        assert kernel.left_open == []

    @pytest.mark.parametrize("step", [0, 1, 2, 3])
    def test_an_open_that_fails_on_the_way_leaves_nothing(self, backend: str, step: int) -> None:
        kernel = FakeKernel(FakeDevice())
        calls = {
            "container": ("SET_CONTAINER", "SET_IOMMU", "GET_DEVICE_FD", "GET_INFO"),
            "iommufd": ("IOAS_ALLOC", "BIND_IOMMUFD", "ATTACH_IOMMUFD_PT", "GET_IRQ_INFO"),
        }
        with start(kernel, backend):
            names = [name for name in kernel.log if name.endswith(calls[backend][step])]
        kernel.refuse(names[0], 5)
        with pytest.raises(Exception, match="Input/output error"):
            start(kernel, backend)
        assert kernel.left_open == []

    def test_a_forgotten_device_is_closed_with_a_warning(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        start(kernel, backend).dma.map(4096)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            gc.collect()
        assert {warning.category for warning in seen} == {ResourceWarning}
        assert kernel.left_open == []

    def test_power_and_bus_mastering_are_put_back(self, backend: str) -> None:
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        with start(kernel, backend) as device:
            assert not device.bus_master
            device.bus_master = True
            assert fake.is_master
            device.config.power_state = 3
            assert device.config.power_state == 3
        assert not fake.is_master
        assert fake.config[0x54] & 3 == 0

    def test_a_selector_is_any_that_commands_take(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        for selector in ("00:04.0", "1234:0001", "group:14"):
            with start(kernel, backend, selector) as device:
                assert str(device.address) == ADDRESS
        for selector in ("0000:00:05.0", "1234:9999"):
            with pytest.raises(NotFound):
                start(kernel, backend, selector)


class TestBackend:
    def test_auto_takes_the_iommufd_where_it_is(self) -> None:
        for iommufd, name in ((True, "iommufd"), (False, "container")):
            kernel = FakeKernel(FakeDevice(), iommufd=iommufd)
            with start(kernel, "auto") as device:
                assert device.backend == name

    def test_an_unknown_one_is_a_wrong_use(self) -> None:
        with pytest.raises(UsageError, match="no such back end"):
            start(FakeKernel(FakeDevice()), "uio")

    @both
    def test_devices_share_a_space(self, backend: str) -> None:
        one, two = FakeDevice("0000:00:04.0", group=1), FakeDevice("0000:00:05.0", group=2)
        kernel = FakeKernel(one, two)
        with (
            open_space(backend, system=kernel, source=kernel.source) as space,
            Device.open(one.address, space=space) as first,
            Device.open(two.address, space=space) as second,
            first.dma.map(4096) as buffer,
        ):
            first.bus_master = second.bus_master = True
            one.dma_write(buffer.iova, b"first")
            assert two.dma_read(buffer.iova, 5) == b"first"
        assert kernel.left_open == []

    @both
    def test_a_space_outlives_its_devices_not_the_other_way(self, backend: str) -> None:
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        space = open_space(backend, system=kernel, source=kernel.source)
        device = Device.open(fake.address, space=space)
        with pytest.raises(InUse, match="devices of it are open"):
            space.close()
        device.close()
        assert not space.closed
        with Device.open(fake.address, space=space) as again:
            assert not again.closed
        space.close()
        assert kernel.left_open == []

    @both
    def test_two_functions_of_one_group(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice("0000:00:04.0"), FakeDevice("0000:00:04.1"))
        with (
            open_space(backend, system=kernel, source=kernel.source) as space,
            Device.open("0000:00:04.0", space=space),
            Device.open("0000:00:04.1", space=space) as second,
        ):
            assert second.config.read16(0) == 0x1234
        assert kernel.left_open == []


@both
class TestRegions:
    def test_accessors_reach_the_device(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device, device.regions["bar0"].map() as bar:
            assert (bar.mode, bar.size) == ("mmap", 0x1000)
            for width, write, read in (
                (1, bar.write8, bar.read8),
                (2, bar.write16, bar.read16),
                (4, bar.write32, bar.read32),
                (8, bar.write64, bar.read64),
                (4, bar.doorbell32, bar.read32),
                (8, bar.doorbell64, bar.read64),
            ):
                value = int.from_bytes(os.urandom(width), "little")
                fake.accesses.clear()
                write(0x40, value)
                assert read(0x40) == value
                assert fake.accesses == [(0, 0x40, width, value), (0, 0x40, width, None)]

    def test_halves_go_in_the_order_of_the_name(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device, device.regions[0].map() as bar:
            bar.write64_lo_hi(8, 0x1122334455667788)
            bar.write64_hi_lo(16, 0x1122334455667788)
            assert bar.read64_lo_hi(8) == bar.read64_hi_lo(16) == 0x1122334455667788
        assert [access[1] for access in fake.accesses] == [8, 12, 20, 16, 8, 12, 20, 16]

    def test_blocks_go_upwards_by_the_width(self, backend: str) -> None:
        fake = FakeDevice()
        data = os.urandom(64)
        with start(FakeKernel(fake), backend) as device, device.regions[0].map() as bar:
            for width in (1, 2, 4, 8):
                fake.accesses.clear()
                bar.write_block(0x100, data, width=width)
                assert bar.read_block(0x100, 64, width=width) == data
                offsets = [(offset, size) for _, offset, size, _ in fake.accesses]
                assert offsets == [(at, width) for at in range(0x100, 0x140, width)] * 2

    def test_decoding_that_is_off_is_told_only_when_guarded(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device, device.regions[0].map(guarded=True) as guarded:
            device.config.command = 0
            with pytest.raises(DecodeOff, match="does not decode"):
                guarded.read32(0)
            with pytest.raises(FakeSigbus), device.regions[0].map() as mapped:
                mapped.read32(0)
            device.config.command = 2
            assert guarded.read32(0) == 0

    def test_decoding_cannot_be_taken_from_under_a_mapping(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            with device.regions[0].map():
                for take in (
                    lambda: setattr(device.config, "command", 0),
                    lambda: device.config.write8(4, 0),
                    lambda: device.config.write32(4, 0),
                    lambda: setattr(device.config, "power_state", 3),
                    device.features.low_power_entry,
                ):
                    with pytest.raises(InUse, match="mapp"):
                        take()
            device.config.command = 0

    def test_a_surviving_mapping_would_keep_the_group(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        device = start(kernel, backend)
        window = device.regions[0].map()
        device.close()
        assert window.closed
        assert kernel.left_open == []
        with pytest.raises(Closed):
            window.read32(0)

    def test_what_cannot_be_mapped_goes_by_calls(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice(mappable=False)), backend) as device:
            bar = device.regions[0].map()
            assert bar.mode == "syscall"
            bar.write16(2, 0xABCD)
            assert bar.read16(2) == 0xABCD

    def test_a_region_of_which_parts_can_be_mapped(self, backend: str) -> None:
        """Take each access the way its place allows; a block that crosses is cut, its width kept."""
        parts = (AddressRange(0, 0x1000), AddressRange(0x2000, 0x3000))
        fake = FakeDevice(bars={0: 0x4000}, mappable=parts)
        kernel = FakeKernel(fake)
        with start(kernel, backend) as device, device.regions[0].map() as bar:
            assert bar.mode == "mixed"
            assert device.mapped_regions == (device.regions[0],)
            assert kernel.log.count("mmap") == 2
            data = os.urandom(0x4000)
            bar.write_block(0, data, width=8)
            assert bytes(fake.memory[0]) == data
            assert bar.read_block(0xFF0, 0x2020, width=4) == data[0xFF0:0x3010]
            for offset in (0, 0xFF8, 0x1000, 0x1FF8, 0x2000, 0x3FF8):
                assert bar.read64(offset) == int.from_bytes(data[offset : offset + 8], "little")
                bar.write32(offset, 7)
                bar.doorbell64(offset, 9)
                assert fake.memory[0][offset : offset + 8] == (9).to_bytes(8, "little")
            assert {width for _, _, width, _ in fake.accesses} == {4, 8}
        kernel = FakeKernel(FakeDevice(bars={0: 0x4000}, mappable=parts))
        with start(kernel, backend) as device:
            kernel.log.clear()
            kernel.refuse("mmap", errno.EAGAIN)
            with pytest.raises(VfioError, match="mmap bar0"):
                device.regions[0].map()
            assert not device.mapped_regions
        assert kernel.left_open == []

    def test_a_window_of_an_earlier_handle_does_nothing_to_the_next(self, backend: str) -> None:
        """Of the fake: the second close of a window once took the address space of a device opened since."""
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        with start(kernel, backend) as device:
            window = device.regions[0].map()
        with start(kernel, backend) as device, device.dma.map(4096) as buffer:
            buffer.view[:5] = b"still"
            window.close()
            device.bus_master = True
            assert fake.dma_read(buffer.iova, 5) == b"still"

    def test_indexes_never_move(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice(bars={0: 4096, 4: 8192})), backend) as device:
            assert [region.name for region in device.regions] == ["bar0", "bar4", "config"]
            assert device.regions[4].size == 8192
            for absent in (1, 8, 9, -1, "bar7", "rom"):
                with pytest.raises(NoSuchRegion, match="there are: bar0, bar4, config"):
                    device.regions[absent]


@both
class TestConfig:
    def test_bytes_are_the_devices(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device:
            assert device.config.size == 256
            assert device.config.read(0, 256) == bytes(fake.config)
            assert device.config.read(1, 6) == bytes(fake.config[1:7])
            assert device.config.capability(0x05) == 0x60
            assert device.config.capability(0x10) is None

    def test_registers_have_names(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            space = device.config.space
            assert space.header.VendorID.VendorID == 0x1234
            assert [str(part) for part in space.capabilities] == ["<PM at 0x50>", "<MSI at 0x60>"]
            assert device.config.space is not space

    def test_a_list_that_loops_ends(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device:
            fake.config[0x61] = 0x50
            assert device.config.capability(0x10) is None


@both
class TestInterrupts:
    def test_a_vector_is_an_eventfd(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device:
            device.bus_master = True
            event = device.irqs.msix[3].eventfd()
            assert event is device.irqs.msix[3].eventfd()
            assert event.read() == 0
            assert event.wait(0) == 0
            for _ in range(3):
                fake.interrupt(MSIX, 3)
            assert select.select([event], [], [], 1)[0] == [event]
            assert event.wait() == 3

    def test_vectors_can_be_added_and_given_up(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device:
            device.bus_master = True
            events = [device.irqs.msix.eventfd(vector) for vector in (5, 1)]
            for vector in (1, 5):
                device.irqs.msix[vector].trigger()
            assert [event.read() for event in events] == [1, 1]
            events[0].close()
            assert device.irqs.msix.wired == (1,)
            device.irqs.msix[5].trigger()
            events[1].close()
            assert device.irqs.msix.wired == ()
            with pytest.raises(NoSuchInterrupt, match="no vector of it is wired"):
                device.irqs.msix[1].trigger()
            device.irqs.msi.eventfd()

    def test_one_kind_at_a_time(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            device.irqs.msi[0].eventfd()
            with pytest.raises(InUse, match="msi is wired"):
                device.irqs.msix[0].eventfd()
            device.irqs.msi.disable()
            device.irqs.msix.enable(8)
            assert len(device.irqs.msix.wired) == 8
            device.irqs.msix.disable()
            device.irqs.intx.enable()

    def test_the_pin_is_masked_when_it_fires(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device:
            pin = device.irqs.intx[0]
            event = pin.eventfd()
            fake.interrupt(INTX)
            fake.interrupt(INTX)
            assert event.read() == 1
            pin.unmask()
            assert event.read() == 1
            pin.mask()
            pin.unmask()

    def test_messages_are_not_masked_by_the_kernel(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            device.irqs.msi[0].eventfd()
            with pytest.raises(CallNotSupported, match="does not mask this kind"):
                device.irqs.msi[0].mask()

    def test_asyncio_waits_for_it(self, backend: str) -> None:
        fake = FakeDevice()

        async def listen(device: Device) -> list[int]:
            event = device.irqs.msi[0].eventfd()
            asyncio.get_running_loop().call_later(0.01, fake.interrupt, MSI)
            counts = []
            async for count in event:
                counts.append(count)
                fake.interrupt(MSI)
                fake.interrupt(MSI)
                if len(counts) == 2:
                    return counts
            return counts

        with start(FakeKernel(fake), backend) as device:
            device.bus_master = True
            assert asyncio.run(listen(device)) == [1, 2]

    def test_a_reset_wires_them_again(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device:
            event = device.irqs.msix[2].eventfd()
            device.bus_master = True
            device.reset()
            assert device.bus_master
            device.irqs.msix[2].trigger()
            assert event.read() == 1

    def test_absent_ones_are_named(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice(vectors=(1, 1, 0, 0, 1))), backend) as device:
            for kind, vector in ((device.irqs.msix, 0), (device.irqs.msi, 1), (device.irqs.err, 0)):
                with pytest.raises(NoSuchInterrupt, match=rf"vector {vector} of"):
                    kind[vector]
            assert device.irqs.best() is device.irqs.msi

    def test_fewer_vectors_than_asked_for(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend) as device:
            kernel.refuse("VFIO_DEVICE_SET_IRQS", -4)
            with pytest.raises(Exception, match="only 4 vectors"):
                device.irqs.msix.enable()
            assert device.irqs.msix.wired == ()

    def test_the_release_request_is_armed(self, backend: str) -> None:
        fake = FakeDevice()
        with start(FakeKernel(fake), backend) as device:
            assert not device.release_requested
            fake.interrupt(REQ)
            assert device.release_requested
            assert device.release_requested

    def test_the_release_request_closes_where_asked(self, backend: str) -> None:
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        device = start(kernel, backend, close_on_request=True)
        fake.interrupt(REQ)
        assert device._watcher is not None
        device._watcher.join(10)
        assert device.closed
        assert device.release_requested
        assert kernel.left_open == []


@both
class TestDma:
    def test_memory_goes_both_ways(self, backend: str) -> None:
        fake = FakeEdu()
        with start(FakeKernel(fake), backend) as device, device.dma.map(8192) as buffer:
            buffer.view[:5] = b"hello"
            device.bus_master = True
            assert fake.dma_read(buffer.iova, 5) == b"hello"
            fake.dma_write(buffer.iova_of(4096), b"there")
            assert bytes(buffer.view[4096:4101]) == b"there"

    def test_without_bus_mastering_nothing_moves(self, backend: str) -> None:
        fake = FakeEdu()
        with start(FakeKernel(fake), backend) as device, device.dma.map(4096) as buffer:
            fake.dma_write(buffer.iova, b"no")
            assert bytes(buffer.view[:2]) == bytes(2)

    def test_outside_a_mapping_memory_stays(self, backend: str) -> None:
        fake = FakeEdu()
        kernel = FakeKernel(fake)
        with start(kernel, backend) as device, device.dma.map(4096) as buffer:
            device.bus_master = True
            fake.dma_write(buffer.range.end - 4, b"12345678")
            assert bytes(buffer.view[-4:]) == b"1234"
            assert fake.space is not None
            assert [fault.iova for fault in fake.space.faults] == [buffer.range.end]
            assert kernel.faults == fake.space.faults
            with device.dma.map(4096, writable=False) as read_only:
                fake.dma_write(read_only.iova, b"no")
                assert bytes(read_only.view[:2]) == bytes(2)

    def test_a_device_hears_of_what_was_blocked(self, backend: str) -> None:
        class Careful(FakeDevice):
            def on_fault(self, fault: DmaFault) -> None:
                self.deliver(MSI, 0)

        fake = Careful()
        with start(FakeKernel(fake), backend) as device, device.dma.map(4096) as buffer:
            device.bus_master = True
            event = device.irqs.msi[0].eventfd()
            assert fake.dma_read(buffer.iova, 4) == bytes(4)
            assert event.read() == 0
            assert fake.dma_read(buffer.range.end, 4) == b"\xff" * 4
            assert event.read() == 1

    def test_after_it_is_closed_a_device_reaches_nothing(self, backend: str) -> None:
        """And one that is opened anew has none of the old mappings."""
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        with start(kernel, backend) as device, device.dma.map(4096) as buffer:
            place = buffer.iova
        fake.config[4] |= 4
        fake.dma_write(place, b"late")
        assert [fault.reason for fault in kernel.faults] == [Reason.CONTEXT_NOT_PRESENT]
        with start(kernel, backend) as device:
            device.bus_master = True
            fake.dma_write(place, b"late")
        assert kernel.faults[1].reason is Reason.SECOND_NOT_PRESENT

    def test_a_window_that_is_closed_twice_leaves_the_next_file_alone(self, backend: str) -> None:
        """It took the address space from a device that had been opened again since."""
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        with open_space(backend, system=kernel, source=kernel.source) as space:
            device = Device.open(str(fake.address), space=space)
            window = device.regions[0].map()
            device.close()
            with Device.open(str(fake.address), space=space) as again:
                window.close()
                again.bus_master = True
                with again.dma.map(4096) as buffer:
                    fake.dma_write(buffer.iova, b"here")
                    assert bytes(buffer.view[:4]) == b"here"

    def test_a_buffer_of_the_callers_is_pinned(self, backend: str) -> None:
        import mmap

        fake = FakeEdu()
        with start(FakeKernel(fake), backend) as device:
            memory = mmap.mmap(-1, 8192)
            buffer = device.dma.map(memory)
            with pytest.raises(BufferError):
                memory.close()
            device.bus_master = True
            fake.dma_write(buffer.iova, b"abc")
            assert memory[:3] == b"abc"
            buffer.close()
            with pytest.raises(BufferError):
                memory.close()
            # Unmapped, it is the caller's again with the last view of it.
            buffer.view.release()
            memory.close()

    def test_a_kernel_without_transparent_huge_pages_gives_small_ones(
        self, backend: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 9999)
        with pytest.raises(OSError, match="Invalid argument"):
            mmap.mmap(-1, 4096).madvise(mmap.MADV_HUGEPAGE)
        with start(FakeKernel(FakeEdu(ADDRESS)), backend) as device, device.dma.map(4 << 20) as buffer:
            assert bytes(buffer.view[-4:]) == bytes(4)

    def test_forgetting_a_buffer_does_not_unmap_it(self, backend: str) -> None:
        fake = FakeEdu()
        with start(FakeKernel(fake), backend) as device:
            device.bus_master = True
            iova = device.dma.map(4096).iova
            gc.collect()
            fake.dma_write(iova, b"late")
            assert bytes(device.dma.buffers[0].view[:4]) == b"late"

    def test_closing_says_how_much_was_unmapped(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            buffer = device.dma.map(5000)
            assert (len(buffer), buffer.range.size) == (5000, 8192)
            assert buffer.close() == 8192
            assert buffer.close() == 0
            with pytest.raises(NotMapped):
                device.dma.unmap(buffer)
            for _ in range(3):
                device.dma.map(4096)
            assert device.dma.unmap_all() == 3 * 4096
            assert device.dma.unmap_all() == 0

    def test_addresses_can_be_bounded(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            low = device.dma.map(4096, below=1 << 28)
            chosen = device.dma.map(4096, iova=0x12345000)
            assert low.range.end <= 1 << 28
            assert chosen.iova == 0x12345000
            assert device.dma.map(4096, alignment=1 << 24).iova % (1 << 24) == 0


class TestReset:
    @both
    def test_a_device_without_one_says_so(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice(can_reset=False)), backend) as device:
            with pytest.raises(ResetNotSupported, match="no way of resetting"):
                device.reset()
            with pytest.raises(ResetNotSupported, match="root bus"):
                device.hot_reset_plan()

    @both
    def test_a_lock_that_is_taken_is_waited_for(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend) as device:
            kernel.refuse("VFIO_DEVICE_RESET", 11, 11)
            device.reset()

    @both
    def test_a_hot_reset_shows_what_it_touches(self, backend: str) -> None:
        pair = [FakeDevice(f"0000:02:0{number}.0", group=7) for number in (1, 2)]
        kernel = FakeKernel(*pair)
        with start(kernel, backend, "0000:02:01.0") as device:
            plan = device.hot_reset_plan()
            assert plan.functions == tuple(fake.address for fake in pair)
            assert plan.allowed
            with pytest.raises(UsageError, match=r"it would touch 0000:02:01.0, 0000:02:02.0"):
                device.hot_reset(touching=plan.functions[:1])
            pair[1].memory[0][0] = 1
            device.hot_reset(touching=plan.functions)
            assert pair[1].memory[0][0] == 0

    @both
    def test_a_function_of_another_owner_forbids_it(self, backend: str) -> None:
        pair = [FakeDevice(f"0000:02:0{number}.0", group=number) for number in (1, 2)]
        kernel = FakeKernel(*pair)
        with start(kernel, backend, "0000:02:01.0") as device:
            plan = device.hot_reset_plan()
            assert not plan.allowed
            with pytest.raises(ResetNotSupported, match="does not own"):
                device.hot_reset(touching=plan.functions)


class TestFeatures:
    @both
    def test_probing_finds_them(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            names = [feature.name for feature in device.features.known()]
            assert names == [
                "PCI_VF_TOKEN",
                "LOW_POWER_ENTRY",
                "LOW_POWER_ENTRY_WITH_WAKEUP",
                "LOW_POWER_EXIT",
            ]
            device.features.low_power_entry()
            device.features.low_power_exit()
            with pytest.raises(CallNotSupported, match="do not know it"):
                device.features.migration_states()
            with pytest.raises(UsageError, match="no such feature"):
                device.features.has("TELEPATHY")


class TestFork:
    @both
    def test_a_child_has_nothing(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend) as device, device.regions[0].map() as window:
            child = os.fork()
            if not child:
                os._exit(0 if device.closed and window.closed and not kernel.files else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert window.read32(0) == 0

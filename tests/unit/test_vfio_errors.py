"""Everything the world can do wrong: a typed error in one line, and nothing left mapped or open."""

import errno
import mmap

import pytest

from vfiokit.errors import NotSupported, UsageError, VfioError, VfiokitError
from vfiokit.sysfs.memory import Directory, File, Link
from vfiokit.testing.fake_device import FakeDevice
from vfiokit.testing.fake_vfio import FakeKernel
from vfiokit.vfio import Device, errors, open_space
from vfiokit.vfio.errors import (
    AlreadyMapped,
    Busy,
    CallNotSupported,
    DeviceGone,
    InUse,
    IovaReserved,
    MemlockExceeded,
    Misaligned,
    NoInterruptRemapping,
    NoNode,
    NotBound,
    NotMapped,
    NotPermitted,
    NotViable,
    ReadOnly,
    TokenNeeded,
    TooManyMappings,
    UnsafeNotAsked,
)

ADDRESS = "0000:00:04.0"
TOKEN = "11111111-2222-3333-4444-555555555555"
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


def refused(kernel: FakeKernel, backend: str, kind: type[VfiokitError], **details: object) -> VfiokitError:
    """Fail to open, as due, leaving nothing; return the error."""
    with pytest.raises(kind) as caught:
        start(kernel, backend, **details)
    assert kernel.left_open == []
    assert "\n" not in str(caught.value)
    return caught.value


class TestTree:
    def test_it_is_one(self) -> None:
        kinds = [getattr(errors, name) for name in errors.__all__]
        assert all(issubclass(kind, VfioError) for kind in kinds)
        assert issubclass(VfioError, VfiokitError)

    def test_exit_statuses_are_the_documented_ones(self) -> None:
        statuses = {name: getattr(errors, name).exit_status for name in errors.__all__}
        assert {name for name, status in statuses.items() if status == 8} == {
            *("NoNode", "CallNotSupported", "NoInterruptRemapping"),
        }
        assert statuses["NotPermitted"] == 3
        assert statuses["UnsafeNotAsked"] == 4
        assert all(
            statuses[name] == 2
            for name in statuses
            if issubclass(getattr(errors, name), UsageError)
            and not issubclass(getattr(errors, name), NotSupported)
            and name != "Closed"
        )


class TestOpening:
    @pytest.mark.parametrize(
        ("backend", "options", "said"),
        [
            ("iommufd", {"iommufd": False}, "CONFIG_IOMMUFD"),
            ("container", {"container": False}, "modprobe vfio"),
        ],
    )
    def test_no_node(self, backend: str, options: dict[str, bool], said: str) -> None:
        error = refused(FakeKernel(FakeDevice(), **options), backend, NoNode)
        assert said in error.hint
        assert error.errno == errno.ENOENT
        assert error.exit_status == 8

    def test_no_node_of_its_own(self) -> None:
        kernel = FakeKernel(FakeDevice())
        kernel.source.remove(f"sys/bus/pci/devices/{ADDRESS}/vfio-dev")
        assert "CONFIG_VFIO_DEVICE_CDEV" in refused(kernel, "iommufd", CallNotSupported).hint

    @both
    def test_no_permission(self, backend: str) -> None:
        for path in ("/dev/vfio/vfio", "/dev/iommu", "/dev/vfio/14", "/dev/vfio/devices/vfio0"):
            kernel = FakeKernel(FakeDevice())
            kernel.forbidden.add(path)
            mine = {"container": ("/dev/vfio/vfio", "/dev/vfio/14")}.get(
                backend, ("/dev/iommu", "/dev/vfio/devices/vfio0")
            )
            if path in mine:
                error = refused(kernel, backend, NotPermitted)
                assert (error.subject, error.exit_status) == (path, 3)
                assert "udev" in error.hint
            else:
                start(kernel, backend).close()

    @both
    def test_not_bound(self, backend: str) -> None:
        for driver, said in ((None, "no driver has it"), ("nvme", "it is bound to nvme")):
            error = refused(FakeKernel(FakeDevice(driver=driver)), backend, NotBound)
            assert str(error) == f"open {ADDRESS}: {said} (bind it to vfio-pci first)"

    @both
    def test_not_viable_names_the_offender(self, backend: str) -> None:
        """At the bind to an iommufd too, where EPERM was taken for interrupts without remapping."""
        kernel = FakeKernel(FakeDevice(), FakeDevice("0000:00:05.0", driver="ahci"))
        error = refused(kernel, backend, NotViable)
        assert isinstance(error, NotViable)
        assert error.offenders == (("0000:00:05.0", "ahci"),)
        assert "for group 14: it is not viable: 0000:00:05.0 is bound to ahci" in str(error)

    @both
    def test_held_by_somebody(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        node = {"container": "/dev/vfio/14", "iommufd": "/dev/vfio/devices/vfio0"}[backend]
        kernel.source.add("proc/4211/fd/7", Link(node))
        kernel.source.add("proc/4211/comm", File(b"qemu-system-x86\n"))
        with start(kernel, backend):
            for again in BACKENDS:
                with pytest.raises(Busy, match="held by pid 4211, qemu-system-x86") as caught:
                    start(kernel, again)
                assert caught.value.holders == ((4211, "qemu-system-x86"),)
        assert kernel.left_open == []

    @both
    def test_held_by_nobody_that_can_be_seen(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend):
            kernel.source.remove("proc")
            with pytest.raises(Busy, match="somebody has it open") as caught:
                start(kernel, backend)
            assert caught.value.holders == ()

    def test_a_function_of_its_group_in_another_space(self) -> None:
        """Tell the two reasons of one EPERM apart by who has the group's nodes open."""
        kernel = FakeKernel(FakeDevice("0000:00:04.0"), FakeDevice("0000:00:04.1"))
        with start(kernel, "iommufd"):
            kernel.source.add("proc/77/fd/3", Link("/dev/vfio/devices/vfio0"))
            with pytest.raises(Busy, match="another function of its group") as caught:
                start(kernel, "iommufd", "0000:00:04.1")
            assert caught.value.holders == ((77, "?"),)

    @both
    def test_no_interrupt_remapping(self, backend: str) -> None:
        error = refused(FakeKernel(FakeDevice(), remapping=False), backend, NoInterruptRemapping)
        assert "allow_unsafe_interrupts=1" in error.hint

    @both
    def test_a_token(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice(token=TOKEN))
        for wrong in (None, "00000000-0000-0000-0000-000000000000"):
            refused(kernel, backend, TokenNeeded, token=wrong)
        start(kernel, backend, token=TOKEN).close()
        assert kernel.left_open == []

    def test_a_token_that_is_none(self) -> None:
        refused(FakeKernel(FakeDevice(token=TOKEN)), "iommufd", UsageError, token="secret")

    def test_a_kernel_that_knows_no_token_for_nodes(self) -> None:
        kernel = FakeKernel(FakeDevice())
        kernel.refuse("VFIO_DEVICE_BIND_IOMMUFD", errno.EINVAL)
        refused(kernel, "iommufd", CallNotSupported, token=TOKEN)

    def test_there_a_token_leads_to_the_group(self) -> None:
        """Chosen by itself, the node refused a token that the group would have taken."""
        kernel = FakeKernel(FakeDevice(token=TOKEN))
        kernel.refuse("VFIO_DEVICE_BIND_IOMMUFD", errno.EINVAL)
        with start(kernel, "auto", token=TOKEN) as device:
            assert device.backend == "container"
        kernel.refuse("VFIO_DEVICE_BIND_IOMMUFD", errno.EINVAL)
        refused(kernel, "auto", TokenNeeded, token="00000000-0000-0000-0000-000000000000")
        assert kernel.left_open == []
        without = FakeKernel(FakeDevice(token=TOKEN), container=False)
        without.refuse("VFIO_DEVICE_BIND_IOMMUFD", errno.EINVAL)
        error = refused(without, "auto", CallNotSupported, token=TOKEN)
        assert "takes no token for a device's own node" in str(error)

    def test_without_an_iommu(self) -> None:
        kernel = FakeKernel(FakeDevice(noiommu=True), iommufd=False)
        error = refused(kernel, "auto", UnsafeNotAsked)
        assert error.exit_status == 4
        with start(kernel, "auto", noiommu=True) as device:
            assert device.regions[0].syscalls().read32(0) == 0
            with pytest.raises(CallNotSupported, match="without an IOMMU"):
                device.dma.map(4096)
        assert kernel.left_open == []

    @both
    def test_in_no_group(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        kernel.source.remove(f"sys/bus/pci/devices/{ADDRESS}/iommu_group")
        if backend == "container":
            refused(kernel, backend, CallNotSupported)
        else:
            start(kernel, backend).close()

    @pytest.mark.parametrize("number", [errno.ENODEV, errno.ENXIO])
    @both
    def test_unplugged_while_opening(self, backend: str, number: int) -> None:
        kernel = FakeKernel(FakeDevice())
        kernel.refuse(
            {"container": "VFIO_GROUP_GET_DEVICE_FD", "iommufd": "VFIO_DEVICE_BIND_IOMMUFD"}[backend], number
        )
        refused(kernel, backend, DeviceGone)


@both
class TestUnplugged:
    def test_in_the_middle(self, backend: str) -> None:
        fake = FakeDevice()
        kernel = FakeKernel(fake)
        with start(kernel, backend) as device:
            device.bus_master = True
            window = device.regions[0].map(guarded=True)
            device.regions[0].map()
            device.dma.map(4096)
            device.irqs.msix[0].eventfd()
            fake.unplug()
            with pytest.raises(DeviceGone, match="the device is gone"):
                window.read32(0)
            with pytest.raises(DeviceGone):
                device.config.read(0, 4)
            with pytest.raises(VfioError) as caught:
                device.irqs.msix[1].eventfd()
            assert caught.value.errno == errno.ENODEV
        assert kernel.left_open == []

    def test_a_close_that_meets_errors_goes_on(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        device = start(kernel, backend)
        device.irqs.msix[0].eventfd()
        device.dma.map(4096)
        kernel.refuse("VFIO_DEVICE_SET_IRQS", errno.EIO, errno.EIO)
        with pytest.raises(VfioError, match="Input/output error"):
            device.close()
        assert device.closed
        assert kernel.left_open == []


@both
class TestMapping:
    def test_ranges_that_cannot_be(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend) as device:
            for iova in (0xFEE00000, 1 << 39, (1 << 39) - 4096 + 4096, 1 << 63):
                with pytest.raises(IovaReserved, match="usable: 0x0-0xfedfffff"):
                    device.dma.map(4096, iova=iova)
            with pytest.raises(IovaReserved, match="no 0x8000000000 bytes"):
                device.dma._allocator.allocate(1 << 39)
            device.dma.map(8192, iova=0x100000)
            with pytest.raises(
                AlreadyMapped, match="0x101000-0x101fff overlaps the mapping 0x100000-0x101fff"
            ):
                device.dma.map(4096, iova=0x101000)
            assert len(device.dma.buffers) == 1
            assert device.dma.map(4096, iova=0x102000).closed is False
        assert kernel.left_open == []

    def test_misalignment(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            with pytest.raises(Misaligned, match="IOVA 0x100001"):
                device.dma.map(4096, iova=0x100001)
            memory = mmap.mmap(-1, 8192)
            with memoryview(memory)[:100] as part, pytest.raises(Misaligned, match="no whole pages"):
                device.dma.map(part)
            memory.close()

    @pytest.mark.parametrize("size", [0, -1])
    def test_no_bytes(self, backend: str, size: int) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device, pytest.raises(UsageError, match="bytes"):
            device.dma.map(size)

    def test_memory_that_cannot_be_written(self, backend: str) -> None:
        with start(FakeKernel(FakeDevice()), backend) as device:
            for what in (bytes(4096), "text", 1.5):
                with pytest.raises(UsageError, match="no memory that can be mapped"):
                    device.dma.map(what)
            with pytest.raises(UsageError, match="neither readable nor writable"):
                device.dma.map(4096, readable=False, writable=False)

    def test_the_kernel_says_memory_is_locked_up(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice(), pinned_limit=1 << 16)
        with start(kernel, backend) as device:
            device.dma.map(1 << 15)
            with pytest.raises(MemlockExceeded, match="RLIMIT_MEMLOCK") as caught:
                device.dma.map(1 << 16)
            assert caught.value.needed == 1 << 16
            assert caught.value.errno == errno.ENOMEM
            assert len(device.dma.buffers) == len(device.dma._allocator.taken) == 1

    def test_the_kernel_cannot_pin(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend) as device:
            kernel.refuse("VFIO_IOMMU_MAP_DMA", errno.EFAULT)
            kernel.refuse("IOMMU_IOAS_MAP", errno.EFAULT)
            with pytest.raises(VfioError, match="cannot be pinned"):
                device.dma.map(4096)
            assert device.dma.buffers == ()

    def test_somebody_unmapped_behind_the_handle(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend) as device:
            buffer = device.dma.map(4096)
            device.space.unmap(buffer.iova, 4096)
            with pytest.raises(VfioError, match="bytes"):
                buffer.close()
            device.dma.unmap_all()

    def test_before_any_device(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with (
            open_space(backend, system=kernel, source=kernel.source) as space,
            pytest.raises(UsageError, match="no device has joined"),
        ):
            space.dma.map(4096)


class TestContainerOnly:
    def test_too_many_mappings(self) -> None:
        kernel = FakeKernel(FakeDevice(), entry_limit=3)
        with start(kernel, "container") as device:
            for _ in range(3):
                device.dma.map(4096)
            assert device.dma.limits.available == 0
            with pytest.raises(TooManyMappings, match="dma_entry_limit"):
                device.dma.map(4096)

    def test_our_own_look_at_locked_memory(self) -> None:
        kernel = FakeKernel(FakeDevice())
        status = b"VmLck:\t   64 kB\nCapEff:\t0000000000000000\n"
        kernel.source.add("proc/self/status", File(status))
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 17, hard))
        try:
            with start(kernel, "container") as device:
                device.dma.map(1 << 14)
                with pytest.raises(MemlockExceeded) as caught:
                    device.dma.map(1 << 17)
                error = caught.value
                assert (error.limit, error.used, error.needed) == (1 << 17, 1 << 16, 1 << 17)
                assert error.errno is None
        finally:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))

    def test_cutting_a_mapping(self) -> None:
        with start(FakeKernel(FakeDevice()), "container") as device:
            buffer = device.dma.map(8192)
            with pytest.raises(NotMapped, match="would cut a mapping"):
                device.space.unmap(buffer.iova, 4096)

    def test_a_group_that_something_keeps(self) -> None:
        kernel = FakeKernel(FakeDevice())
        device = start(kernel, "container")
        kernel.refuse("VFIO_GROUP_UNSET_CONTAINER", *[errno.EBUSY] * 50)
        with pytest.raises(InUse, match="descriptor or mapping of one of its devices is left"):
            device.close()


class TestRegions:
    @both
    def test_a_region_that_cannot_be_written(self, backend: str) -> None:
        from dataclasses import replace

        from vfiokit.vfio.replies import RegionFlags

        with start(FakeKernel(FakeDevice(mappable=False)), backend) as device:
            region = device.regions[0]
            region.info = replace(region.info, flags=RegionFlags.READ)
            with pytest.raises(ReadOnly, match="cannot be written"):
                region.map().write32(0, 1)
            region.info = replace(region.info, flags=RegionFlags.WRITE)
            with pytest.raises(ReadOnly, match="cannot be read"):
                region.map().read32(0)

    @both
    def test_a_mapping_the_kernel_refuses(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        with start(kernel, backend) as device:
            kernel.refuse("mmap", errno.EAGAIN)
            with pytest.raises(VfiokitError, match="mmap bar0"):
                device.regions[0].map()

    def test_a_member_without_pci_is_no_offender(self) -> None:
        kernel = FakeKernel(FakeDevice())
        kernel.source.add("sys/kernel/iommu_groups/14/devices/platform.0", Directory())
        start(kernel, "container").close()

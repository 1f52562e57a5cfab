"""Check typed calls that no handle makes, against a real kernel: one back end has what the other has not."""

import errno
import os
import random
import struct
import time
from pathlib import Path

from vfio_lab import NEWEST, address, example, refused, state

from vfiokit.address import PageSize
from vfiokit.errors import VfioError
from vfiokit.vfio import AddressSpace, Device, open_space
from vfiokit.vfio.container import Container
from vfiokit.vfio.errors import Busy, CallNotSupported, InUse
from vfiokit.vfio.iommufd import Iommufd

edu = example("edu")
PAGE = PageSize.SIZE_4K.value
MASK, UNMASK, TRIGGER = 8, 16, 32


def calls_on_the_space(backend: str) -> None:
    with Device.open(address("edu"), backend=backend) as device, device.dma.map(4 * PAGE) as buffer:
        space = device.space
        if isinstance(space, Container):
            on_a_container(space, buffer.iova)
        else:
            assert isinstance(space, Iommufd)
            on_an_iommufd(device, space, buffer.iova)


def on_a_container(space: Container, iova: int) -> None:
    """Track what may have been written: without hardware for it, all that is pinned."""
    calls, fd = space.calls, space.fd
    assert calls.vfio_get_api_version(fd) == 0
    assert [bool(calls.vfio_check_extension(fd, number)) for number in (1, 3, 9, 2)] == [True] * 3 + [False]
    assert space.info().dirty_page_sizes & PAGE
    refused(VfioError, calls.vfio_iommu_dirty_pages_get_bitmap, fd, iova=iova, size=PAGE, page_size=PAGE)
    calls.vfio_iommu_dirty_pages_start(fd)
    bitmap = calls.vfio_iommu_dirty_pages_get_bitmap(fd, iova=iova, size=4 * PAGE, page_size=PAGE)
    assert bitmap == bytes([0b1111, 0, 0, 0, 0, 0, 0, 0]), bitmap
    second = space.dma.map(2 * PAGE)
    done, bitmap = calls.vfio_iommu_unmap_dma_dirty(fd, iova=second.iova, size=2 * PAGE, page_size=PAGE)
    assert (done, bitmap[0]) == (2 * PAGE, 0b11)
    calls.vfio_iommu_dirty_pages_stop(fd)
    refused(VfioError, second.close)
    for power in (calls.vfio_iommu_enable, calls.vfio_iommu_disable):
        assert refused(VfioError, power, fd).errno == errno.ENOTTY


def on_an_iommufd(device: Device, space: Iommufd, iova: int) -> None:
    calls, fd, ioas = space.calls, space.fd, space.ioas
    calls.iommu_ioas_allow_iovas(fd, ioas, [(0x10000, 0xFFFFFFF)])
    calls.iommu_ioas_allow_iovas(fd, ioas, [])
    other = calls.iommu_ioas_alloc(fd)
    for value in (1, 0, 1):
        calls.iommu_option_set(fd, 1, value, other)
        assert calls.iommu_option_get(fd, 1, other) == value
    # The space behind the container emulation: get 0, set 1, clear 2.
    assert refused(VfioError, calls.iommu_vfio_ioas, fd, 0).errno == errno.ENODEV
    calls.iommu_vfio_ioas(fd, 1, other)
    assert calls.iommu_vfio_ioas(fd, 0) == other
    calls.iommu_vfio_ioas(fd, 2)
    assert refused(VfioError, calls.iommu_vfio_ioas, fd, 0).errno == errno.ENODEV
    copied = calls.iommu_ioas_copy(
        fd, source=ioas, destination=other, source_iova=iova, length=4 * PAGE, iova=None, flags=6
    )
    assert calls.iommu_ioas_unmap(fd, other, iova=copied, length=4 * PAGE) == 4 * PAGE
    identity = space.object_of(device.fd)
    info = calls.iommu_get_hw_info(fd, identity)
    # The IOMMU's registers as its driver shows them in sysfs.
    _, _, capability, extended = struct.unpack_from("=IIQQ", info.data)
    unit = Path("/sys/class/iommu/dmar0/intel-iommu")
    assert (info.type, capability) == (1, int((unit / "cap").read_text(), 16))
    assert extended == int((unit / "ecap").read_text(), 16)
    table = calls.iommu_hwpt_alloc(fd, device=identity, parent=ioas)
    assert calls.vfio_device_attach_iommufd_pt(device.fd, table) == table
    assert refused(VfioError, calls.iommu_destroy, fd, table).errno == errno.EBUSY
    calls.vfio_device_detach_iommufd_pt(device.fd)
    calls.iommu_destroy(fd, table)
    calls.vfio_device_attach_iommufd_pt(device.fd, ioas)
    refused(VfioError, calls.iommu_hwpt_set_dirty_tracking, fd, 4211, on=True)
    refused(VfioError, calls.iommu_hwpt_get_dirty_bitmap, fd, 4211, iova=0, length=PAGE, page_size=PAGE)
    refused(VfioError, calls.iommu_hwpt_invalidate, fd, 4211, data_type=0, entry_size=24, entries=bytes(24))
    queue, descriptor = calls.iommu_fault_queue_alloc(fd)
    os.close(descriptor)
    calls.iommu_destroy(fd, queue)
    calls.iommu_destroy(fd, other)
    what_is_newer_than_the_kernel(space, identity, iova)


def what_is_newer_than_the_kernel(space: Iommufd, identity: int, iova: int) -> None:
    """Linux 6.12 has none of these, and each says so by ENOTTY; 7.3 has all, and finds fault with more."""
    calls, fd = space.calls, space.fd
    memory = os.memfd_create("memory")
    os.ftruncate(memory, PAGE)
    newer = (
        lambda: calls.iommu_ioas_map_file(
            fd, space.ioas, file=memory, start=0, length=PAGE, iova=None, flags=6
        ),
        lambda: calls.iommu_viommu_alloc(fd, type=1, device=identity, hwpt=space.ioas),
        lambda: calls.iommu_vdevice_alloc(fd, viommu=1, device=identity, virtual_id=0),
        lambda: calls.iommu_ioas_change_process(fd),
        lambda: calls.iommu_veventq_alloc(fd, viommu=1, type=1, depth=1),
        lambda: calls.iommu_hw_queue_alloc(fd, viommu=1, type=1, index=0, iova=0, length=PAGE),
    )
    for call in newer if not NEWEST else ():
        error = refused(VfioError, call)
        assert error.errno == errno.ENOTTY, error
    if NEWEST:
        # By what it answers: mapped; not with this IOMMU; no such object; other memory than files is mapped.
        assert calls.iommu_ioas_unmap(fd, space.ioas, iova=newer[0](), length=PAGE) == PAGE
        answers = [refused(VfioError, call).errno for call in newer[1:]]
        assert answers == [errno.EOPNOTSUPP, errno.ENOENT, errno.EINVAL, errno.ENOENT, errno.ENOENT], answers
    error = refused(CallNotSupported, space.physical, iova, PAGE)
    assert error.errno == (errno.EOPNOTSUPP if NEWEST else errno.ENOTTY), error
    os.close(memory)


def calls_on_the_device(backend: str) -> None:
    """Let the kernel write a register on an event; mask and trigger by a list of vectors."""
    with Device.open(address("edu"), backend=backend) as device, device.regions[0].map() as bar:
        calls, fd = device.calls, device.fd
        event = os.eventfd(0)
        place = device.regions[0].info.offset + edu.LIVENESS
        calls.vfio_device_ioeventfd(fd, offset=place, width=4, value=0x1234, eventfd=event)
        os.eventfd_write(event, 1)
        end = time.monotonic() + 5
        while bar.read32(edu.LIVENESS) != 0xFFFFEDCB and time.monotonic() < end:
            time.sleep(0.01)
        assert bar.read32(edu.LIVENESS) == 0xFFFFEDCB
        calls.vfio_device_ioeventfd(fd, offset=place, width=4, value=0x1234, eventfd=-1)
        os.close(event)
        pin = device.irqs.intx[0]
        wired = pin.eventfd()
        for action in (MASK, UNMASK):
            calls.vfio_device_set_irqs_bool(fd, index=0, action=action, start=0, chosen=[True])
        calls.vfio_device_set_irqs_bool(fd, index=0, action=TRIGGER, start=0, chosen=[False])
        assert wired.wait(0.1) == 0
        calls.vfio_device_set_irqs_bool(fd, index=0, action=TRIGGER, start=0, chosen=[True])
        assert wired.wait(5) == 1
        for call in (calls.vfio_device_feature_migration, calls.vfio_device_feature_mig_data_size):
            assert refused(VfioError, call, fd).errno == errno.ENOTTY
        assert refused(VfioError, calls.vfio_device_query_gfx_plane, fd, 1).errno in (
            errno.ENOTTY,
            errno.EINVAL,
        )


def lifetimes_at_random(backend: str) -> None:
    """Open, map, wire, forget and close in an order that is drawn, and find nothing left."""
    before = state()
    names = [address(name) for name in ("edu", "first", "second")]
    for seed in range(8):
        draw = random.Random(seed)
        with open_space(backend) as space:
            walk(draw, names, space, backend)
    assert state() == before


def walk(draw: random.Random, names: list[str], space: AddressSpace, backend: str) -> None:
    """Take 50 steps, then close what is open, in a drawn order."""
    opened: list[Device] = []
    parts: list[object] = []
    for _ in range(50):
        step = draw.randrange(6)
        alive = [device for device in opened if not device.closed]
        if step == 0 or not alive:
            try:
                opened.append(
                    Device.open(draw.choice(names), space=space)
                    if draw.random() < 0.6
                    else Device.open(draw.choice(names), backend=backend)
                )
            except (Busy, InUse):
                assert alive
            continue
        device = draw.choice(alive)
        if step == 1:
            parts.append(device.regions[0].map(guarded=draw.random() < 0.5))
        elif step == 2:
            parts.append(device.irqs.msi[0].eventfd())
        elif step == 3:
            parts.append(device.dma.map(PAGE * draw.randint(1, 8)))
        elif step == 4 and parts:
            parts.pop(draw.randrange(len(parts))).close()  # type: ignore[attr-defined]
        elif step == 5 and draw.random() < 0.3:
            device.close()
    draw.shuffle(opened)
    for device in opened:
        device.close()


CHECKS = [calls_on_the_space, calls_on_the_device, lifetimes_at_random]

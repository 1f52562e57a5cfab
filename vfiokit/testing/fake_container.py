"""The fake kernel's containers and groups."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from vfiokit._native import ffi, lib
from vfiokit.address import AddressRange
from vfiokit.testing.fake_device import VIABLE, FakeDevice
from vfiokit.testing.fake_files import DeviceFile, FakeFile, fail
from vfiokit.testing.fake_space import FakeSpace

if TYPE_CHECKING:
    from vfiokit.testing.fake_vfio import FakeKernel

__all__ = ["ContainerFile", "GroupFile"]


class ContainerFile(FakeFile):
    """A container."""

    def __init__(self, kernel: FakeKernel) -> None:
        super().__init__(kernel)
        self.groups: list[GroupFile] = []
        self.model = 0
        self.space: FakeSpace | None = None

    def VFIO_GET_API_VERSION(self, _: Any) -> int:
        """Answer the version."""
        return lib.VFIO_API_VERSION

    def VFIO_CHECK_EXTENSION(self, extension: int) -> int:
        """Know the models."""
        return int(extension in (1, 3, 8, 9))

    def VFIO_SET_IOMMU(self, model: int) -> None:
        """Choose the model: after a group, once, and with interrupt remapping."""
        if not self.groups or self.model:
            fail(errno.EINVAL)
        if model != lib.VFIO_NOIOMMU_IOMMU and not self.kernel.remapping:
            fail(errno.EPERM)
        self.model = model
        if model != lib.VFIO_NOIOMMU_IOMMU:
            self.space = FakeSpace(
                self.kernel.iommu,
                self.kernel.width,
                limit=self.kernel.entry_limit,
                pinned_limit=self.kernel.pinned_limit,
            )

    def VFIO_IOMMU_GET_INFO(self, info: Any) -> None:
        """Answer with ranges and the number of mappings left."""
        space = self._space()
        ranges = space.ranges
        size = 24 + 16 + 16 * len(ranges) + 12
        info.iova_pgsizes, info.flags = 0x40201000, 3
        room, info.argsz = info.argsz, size
        info.cap_offset = 0
        if room < size:
            return
        info.cap_offset = 24
        start = ffi.cast("char *", info)
        known = ffi.cast("struct vfio_iommu_type1_info_cap_iova_range *", start + 24)
        known.header.id, known.header.version, known.header.next = 1, 1, 40 + 16 * len(ranges)
        known.nr_iovas = len(ranges)
        pairs = ffi.cast("uint64_t *", start + 40)
        for index, part in enumerate(ranges):
            pairs[2 * index], pairs[2 * index + 1] = part.start, part.end - 1
        left = ffi.cast("struct vfio_iommu_type1_info_dma_avail *", start + 40 + 16 * len(ranges))
        left.header.id, left.header.version, left.header.next = 3, 1, 0
        left.avail = space.limit - len(space.mappings)

    def VFIO_IOMMU_MAP_DMA(self, request: Any) -> int:
        """Map."""
        return self._space().map(
            AddressRange(request.iova, request.iova + request.size),
            request.vaddr,
            readable=bool(request.flags & 1),
            writable=bool(request.flags & 2),
        )

    def VFIO_IOMMU_UNMAP_DMA(self, request: Any) -> int:
        """Unmap; nothing there is a success of 0 bytes."""
        everything = request.flags & lib.VFIO_DMA_UNMAP_FLAG_ALL
        if (everything and (request.iova or request.size)) or not (everything or request.size):
            return -errno.EINVAL
        end = 1 << 64 if everything else request.iova + request.size
        done = self._space().unmap(AddressRange(request.iova, end))
        request.size = max(done, 0)
        return min(done, 0)

    def _space(self) -> FakeSpace:
        if self.space is None:
            fail(errno.EINVAL)
        assert self.space is not None
        return self.space


class GroupFile(FakeFile):
    """A group node; opened once at a time."""

    def __init__(self, kernel: FakeKernel, number: int) -> None:
        super().__init__(kernel)
        if kernel.file_of_group(number) or any(
            _bound(kernel, device) for device in _members(kernel, number)
        ):
            fail(errno.EBUSY)
        self.number = number
        self.container: ContainerFile | None = None
        self.files: list[GroupDeviceFile] = []

    def VFIO_GROUP_GET_STATUS(self, status: Any) -> None:
        """Say whether it is viable and in a container."""
        viable = all(device.driver in VIABLE for device in _members(self.kernel, self.number))
        status.flags = viable | (2 if self.container else 0)

    def VFIO_GROUP_SET_CONTAINER(self, argument: Any) -> None:
        """Join a container."""
        container = self.kernel.files.get(ffi.cast("int32_t *", argument)[0])
        if self.container or not isinstance(container, ContainerFile):
            fail(errno.EINVAL)
        assert isinstance(container, ContainerFile)
        container.groups.append(self)
        self.container = container

    def VFIO_GROUP_UNSET_CONTAINER(self, _: Any) -> None:
        """Leave it, when no file or mapping of a device is left."""
        if not self.container:
            fail(errno.EINVAL)
        if any(file.alive for file in self.files):
            fail(errno.EBUSY)
        self._leave()

    def VFIO_GROUP_GET_DEVICE_FD(self, argument: Any) -> int:
        """Open a device, which resets it."""
        name, _, token = ffi.string(ffi.cast("char *", argument)).decode().partition(" vf_token=")
        device = self.kernel.devices.get(name)
        if device is None or device.group != self.number or device.gone or device.driver != "vfio-pci":
            fail(errno.ENODEV)
        if not self.container or not self.container.model:
            fail(errno.EINVAL)
        assert device is not None
        if device.token and device.token != token:
            fail(errno.EACCES)
        device.opened()
        file = GroupDeviceFile(self.kernel, device, self)
        self.files.append(file)
        return self.kernel.add(file)

    def dropped(self) -> None:
        """Leave the container when closed."""
        if self.container and not any(file.alive for file in self.files):
            self._leave()

    def describe(self) -> str:
        """Say what it is."""
        return f"group {self.number}"

    def _leave(self) -> None:
        assert self.container is not None
        self.container.groups.remove(self)
        if not self.container.groups:
            # The last group takes the IOMMU's domain with it, and every mapping.
            space, self.container.space = self.container.space, None
            self.container.model = 0
            if space is not None:
                space.close()
        self.container = None


class GroupDeviceFile(DeviceFile):
    """A device opened through its group."""

    def __init__(self, kernel: FakeKernel, device: FakeDevice, group: GroupFile) -> None:
        super().__init__(kernel, device)
        self.group = group
        assert group.container is not None
        device.space = group.container.space

    def windows_changed(self) -> None:
        """Let the device go when nothing keeps it."""
        super().windows_changed()
        if not self.alive:
            self.device.space = None

    def _check_owned(self, fds: list[int]) -> None:
        super()._check_owned(fds)
        files = [self.kernel.files.get(fd) for fd in fds]
        owned = {file.number for file in files if isinstance(file, GroupFile)}
        if any(device.driver not in VIABLE or device.group not in owned for device in self._touched()):
            fail(errno.EINVAL)


def _members(kernel: FakeKernel, number: int) -> list[FakeDevice]:
    return [device for device in kernel.devices.values() if device.group == number]


def _bound(kernel: FakeKernel, device: FakeDevice) -> bool:
    return bool(kernel.device_files(device))

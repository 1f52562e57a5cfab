"""The fake kernel's iommufd, and devices' own nodes."""

from __future__ import annotations

import errno
import itertools
import mmap
import uuid
from typing import TYPE_CHECKING, Any

from vfiokit._native import ffi, lib
from vfiokit._native.table import Call
from vfiokit.address import AddressRange
from vfiokit.testing.fake_device import VIABLE, FakeDevice
from vfiokit.testing.fake_files import DeviceFile, DmaBufFile, FakeFile, fail
from vfiokit.testing.fake_space import FakeSpace

if TYPE_CHECKING:
    from vfiokit.testing.fake_vfio import FakeKernel

__all__ = ["IommufdFile", "NodeFile"]

_EVERYTHING = (1 << 64) - 1


class IommufdFile(FakeFile):
    """An iommufd: objects by number."""

    def __init__(self, kernel: FakeKernel) -> None:
        super().__init__(kernel)
        self.objects: dict[int, object] = {}
        self._numbers = itertools.count(1)

    def add(self, thing: object) -> int:
        """Give an object a number."""
        number = next(self._numbers)
        self.objects[number] = thing
        return number

    def space(self, number: int) -> FakeSpace:
        """Return an address space by its number."""
        found = self.objects.get(number)
        if not isinstance(found, FakeSpace):
            fail(errno.ENOENT)
        assert isinstance(found, FakeSpace)
        return found

    def IOMMU_IOAS_ALLOC(self, request: Any) -> None:
        """Make an address space."""
        request.out_ioas_id = self.add(
            FakeSpace(
                self.kernel.iommu, self.kernel.width, limit=1 << 30, pinned_limit=self.kernel.pinned_limit
            )
        )

    def IOMMU_DESTROY(self, request: Any) -> None:
        """Destroy an object that nothing uses."""
        if request.id not in self.objects:
            fail(errno.ENOENT)
        used = self.objects[request.id]
        if any(isinstance(file, NodeFile) and file.space is used for file in self.kernel.files.values()):
            fail(errno.EBUSY)
        del self.objects[request.id]
        if isinstance(used, FakeSpace):
            used.close()

    def dropped(self) -> None:
        """Destroy what is left; a device that is still bound keeps its space."""
        bound = {file.space for file in self.kernel.files.values() if isinstance(file, NodeFile)}
        for thing in self.objects.values():
            if isinstance(thing, FakeSpace) and thing not in bound:
                thing.close()

    def IOMMU_IOAS_IOVA_RANGES(self, request: Any) -> None:
        """List the ranges."""
        ranges = self.space(request.ioas_id).ranges
        room, request.num_iovas = request.num_iovas, len(ranges)
        request.out_iova_alignment = 4096
        pairs = ffi.cast("uint64_t *", request.allowed_iovas)
        for index, part in enumerate(ranges[:room]):
            pairs[2 * index], pairs[2 * index + 1] = part.start, part.end - 1
        if room < len(ranges):
            fail(errno.EMSGSIZE)

    def IOMMU_IOAS_MAP(self, request: Any) -> int:
        """Map at a fixed place."""
        if not request.flags & lib.IOMMU_IOAS_MAP_FIXED_IOVA:
            return -errno.EOPNOTSUPP
        return self.space(request.ioas_id).map(
            AddressRange(request.iova, request.iova + request.length),
            request.user_va,
            readable=bool(request.flags & lib.IOMMU_IOAS_MAP_READABLE),
            writable=bool(request.flags & lib.IOMMU_IOAS_MAP_WRITEABLE),
        )

    def IOMMU_IOAS_MAP_FILE(self, request: Any) -> int:
        """Map a memfd, or a dma-buf of one part, at a fixed place."""
        if not request.flags & lib.IOMMU_IOAS_MAP_FIXED_IOVA:
            return -errno.EOPNOTSUPP
        file = self.kernel.files.get(request.fd)
        vaddr, memory = (
            file.piece(request.start, request.length)
            if isinstance(file, DmaBufFile)
            else _shared(request.fd, request.start, request.length)
        )
        return self.space(request.ioas_id).map(
            AddressRange(request.iova, request.iova + request.length),
            vaddr,
            readable=bool(request.flags & lib.IOMMU_IOAS_MAP_READABLE),
            writable=bool(request.flags & lib.IOMMU_IOAS_MAP_WRITEABLE),
            memory=memory,
        )

    def IOMMU_IOAS_NOIOMMU_GET_PA(self, request: Any) -> None:
        """Tell where a mapping lies, from Linux 7.3 on."""
        if not self.kernel.noiommu_nodes:
            fail(errno.ENOTTY)
        if not request.length:
            fail(errno.EINVAL)
        space = self.space(request.ioas_id)
        try:
            found = space.physical(request.iova, request.length)
        except LookupError:
            fail(errno.ENOENT)
        if not space.noiommu:
            fail(errno.EOPNOTSUPP)
        request.out_phys, request.length = found

    def IOMMU_IOAS_UNMAP(self, request: Any) -> int:
        """Unmap; nothing there, or part of a mapping, is ENOENT."""
        end = 1 << 64 if request.length == _EVERYTHING else request.iova + request.length
        done = self.space(request.ioas_id).unmap(AddressRange(request.iova, end))
        request.length = max(done, 0)
        return 0 if done > 0 else -errno.ENOENT


class NodeFile(DeviceFile):
    """A device's own node: nothing works before it is bound."""

    def __init__(self, kernel: FakeKernel, device: FakeDevice) -> None:
        super().__init__(kernel, device)
        self.iommufd: IommufdFile | None = None
        self.space: FakeSpace | None = None
        self.number = 0

    def call(self, call: Call, argument: Any) -> int:
        """Refuse all but the bind before the bind."""
        if self.iommufd is None and call.name != "VFIO_DEVICE_BIND_IOMMUFD":
            fail(errno.EINVAL)
        return super().call(call, argument)

    def owns(self, device: FakeDevice) -> bool:
        """Whether it is this device's, and bound."""
        return device is self.device and self.iommufd is not None

    def VFIO_DEVICE_BIND_IOMMUFD(self, request: Any) -> None:
        """Give the device to an iommufd."""
        iommufd = self.kernel.files.get(request.iommufd)
        if not isinstance(iommufd, IommufdFile) or self.kernel.device_files(self.device):
            fail(errno.EINVAL)
        assert isinstance(iommufd, IommufdFile)
        if self.kernel.file_of_group(self.device.group):
            fail(errno.EBUSY)
        unsafe = not self.kernel.remapping and not self.device.noiommu
        if unsafe or self._is_group_elsewhere(iommufd) or not self._is_viable():
            fail(errno.EPERM)
        self._check_token(request)
        self.device.opened()
        self.iommufd, self.number = iommufd, iommufd.add(self.device)
        request.out_devid = self.number

    def VFIO_DEVICE_ATTACH_IOMMUFD_PT(self, request: Any) -> None:
        """Attach to an address space."""
        assert self.iommufd is not None
        self.space = self.device.space = self.iommufd.space(request.pt_id)
        if self.device.noiommu:
            self.space.lose_iommu()
        request.pt_id = self.iommufd.add("page table")

    def VFIO_DEVICE_DETACH_IOMMUFD_PT(self, _: Any) -> None:
        """Detach."""
        self.space = self.device.space = None

    def windows_changed(self) -> None:
        """Unbind when nothing keeps it."""
        super().windows_changed()
        if not self.alive and self.iommufd is not None:
            self.iommufd.objects.pop(self.number, None)
            self.iommufd = self.space = None
            self.device.space = None

    def _is_group_elsewhere(self, iommufd: IommufdFile) -> bool:
        files = [file for file in self.kernel.files.values() if isinstance(file, NodeFile) and file.iommufd]
        return any(file.device.group == self.device.group and file.iommufd is not iommufd for file in files)

    def _is_viable(self) -> bool:
        """Whether no driver of the host's does DMA in the group."""
        members = [each for each in self.kernel.devices.values() if each.group == self.device.group]
        return all(each.driver in VIABLE for each in members)

    def _check_token(self, request: Any) -> None:
        token = self.device.token
        if not token:
            return
        if not request.flags & lib.VFIO_DEVICE_BIND_FLAG_TOKEN:
            fail(errno.EACCES)
        given = bytes(ffi.buffer(ffi.cast("char *", request.token_uuid_ptr), 16))
        if uuid.UUID(token).bytes != given:
            fail(errno.EACCES)

    def _owner_flags(self, touched: list[FakeDevice]) -> int:
        return 1 | (2 if all(self._owner(device) != -1 for device in touched) else 0)

    def _owner(self, device: FakeDevice) -> int:
        files = self.kernel.device_files(device)
        if device.group == self.device.group and not files:
            return 0
        mine = [file for file in files if isinstance(file, NodeFile) and file.iommufd is self.iommufd]
        return mine[0].number if mine else -1

    def _check_owned(self, fds: list[int]) -> None:
        if fds or any(self._owner(device) == -1 for device in self._touched()):
            fail(errno.EINVAL)


def _shared(fd: int, start: int, length: int) -> tuple[int, mmap.mmap]:
    """Return address and memory of part of a file that others may map too."""
    try:
        memory = mmap.mmap(fd, length, offset=start)
    except ValueError:
        # Shorter than that.
        fail(errno.EINVAL)
    return int(ffi.cast("uintptr_t", ffi.from_buffer(memory))), memory

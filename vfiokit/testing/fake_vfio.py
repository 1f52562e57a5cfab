"""A kernel that is not there: ``/dev/vfio`` and ``/dev/iommu`` over fake devices, for tests of drivers.

>>> from vfiokit.testing.fake_device import FakeEdu
>>> from vfiokit.vfio import Device
>>> kernel = FakeKernel(FakeEdu())
>>> with Device.open("0000:00:04.0", system=kernel, source=kernel.source) as device:
...     with device.regions["bar0"].map() as registers:
...         hex(registers.read32(0))
'0x10000ed'
>>> kernel.left_open
[]
"""

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from vfiokit._native.table import Call
from vfiokit.sysfs.memory import Directory, File, Link, MemorySource
from vfiokit.testing.fake_container import ContainerFile, GroupFile
from vfiokit.testing.fake_device import FakeDevice
from vfiokit.testing.fake_files import DeviceFile, DmaBufFile, FakeFile
from vfiokit.testing.fake_iommu import DmaFault, FakeIommu
from vfiokit.testing.fake_iommufd import IommufdFile, NodeFile
from vfiokit.testing.fake_space import FakeSpace
from vfiokit.testing.fake_window import FakeWindow
from vfiokit.vfio.system import LiveSystem, read_count
from vfiokit.vfio.window import Window

__all__ = ["FakeKernel"]


class FakeKernel:
    """A system with fake devices.

    :param devices: what is plugged in.
    :param iommufd: whether the kernel has iommufd and nodes of devices.
    :param container: whether it has containers.
    :param remapping: whether interrupts are remapped.
    :param entry_limit: how many mappings a container may have.
    :param pinned_limit: how many bytes may be pinned, ``None`` for no limit.
    :param width: address bits of the IOMMU.
    :param noiommu_nodes: whether devices without an IOMMU have nodes of their own (Linux 7.3).
    :param dma_bufs: whether BARs can be had as dma-bufs (Linux 6.19).
    :ivar iommu: what all DMA of the devices goes through: real tables, walked for every access.
    :ivar source: the sysfs that goes with it.
    :ivar log: every call by name, in order.
    :ivar refusals: calls to refuse: name to a list of errnos, taken one at a time.
    """

    def __init__(
        self,
        *devices: FakeDevice,
        iommufd: bool = True,
        container: bool = True,
        remapping: bool = True,
        entry_limit: int = 65535,
        pinned_limit: int | None = None,
        width: int = 39,
        noiommu_nodes: bool = False,
        dma_bufs: bool = False,
    ) -> None:
        self.devices = {str(device.address): device for device in devices}
        self.has_iommufd, self.has_container = iommufd, container
        self.remapping, self.entry_limit = remapping, entry_limit
        self.pinned_limit, self.width = pinned_limit, width
        self.noiommu_nodes, self.dma_bufs = noiommu_nodes, dma_bufs
        self.iommu = FakeIommu(width)
        for device in devices:
            device.iommu = None if device.noiommu else self.iommu
        self.files: dict[int, FakeFile] = {}
        self.log: list[str] = []
        self.refusals: dict[str, list[int]] = {}
        self.forbidden: set[str] = set()
        self.source = self._source()

    # The system.

    def open(self, path: str, flags: int) -> int:
        """Open a node."""
        self.log.append(f"open {path}")
        self._refuse("open")
        if path in self.forbidden:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
        fd = self.add(self._opener(path)())
        self.source.add(self._link(fd), Link(path))
        return fd

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        self.log.append("close")
        self._file(fd)
        file = self.files.pop(fd)
        os.close(fd)
        self.source.remove(self._link(fd))
        file.dropped()

    def ioctl(self, fd: int, call: Call, argument: Any) -> int:
        """Make a call."""
        self.log.append(call.name)
        if self.refusals.get(call.name):
            return -self.refusals[call.name].pop(0)
        try:
            return self._file(fd).call(call, argument)
        except OSError as error:
            return -(error.errno or errno.EIO)

    def ioctl_value(self, fd: int, call: Call, value: int) -> int:
        """Make a call with a number."""
        return self.ioctl(fd, call, value)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Read from a device."""
        self._refuse("pread")
        return self._device_file(fd).pread(size, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write to a device."""
        self._refuse("pwrite")
        return self._device_file(fd).pwrite(data, offset)

    def map(
        self, fd: int, offset: int, size: int, *, writable: bool, keep_on_fork: bool, subject: str
    ) -> Window:
        """Map part of a device."""
        self.log.append("mmap")
        self._refuse("mmap")
        return FakeWindow(self._device_file(fd), offset, size, subject, writable=writable)

    def eventfd(self) -> int:
        """Make an eventfd: a real one."""
        return LiveSystem.eventfd(self)  # type: ignore[arg-type]

    def read(self, eventfd: int) -> int:
        """Read an eventfd."""
        return read_count(eventfd)

    def wait(self, eventfd: int, timeout: float | None) -> int:
        """Wait for an eventfd: a real one."""
        return LiveSystem.wait(self, eventfd, timeout)  # type: ignore[arg-type]

    # What a test asks.

    @property
    def left_open(self) -> list[str]:
        """Everything that is not closed: files, windows, interrupts, mappings."""
        left = [file.describe() for file in self.files.values()]
        for device in self.devices.values():
            left += [f"vector {key} of {device.address}" for key in device.eventfds]
        return sorted(left)

    @property
    def faults(self) -> list[DmaFault]:
        """Every access of a device that was blocked: who, where, and why."""
        return self.iommu.faults

    def refuse(self, name: str, *errnos: int) -> None:
        """Answer the next calls of a name with these errnos; open, pread, pwrite, mmap are names too."""
        self.refusals.setdefault(name, []).extend(errnos)

    def add(self, file: FakeFile) -> int:
        """Give a file a descriptor, a real one so that no other can have its number."""
        fd = os.memfd_create("fake", os.MFD_CLOEXEC)
        self.files[fd] = file
        return fd

    def file_of_group(self, number: int) -> "GroupFile | None":
        """Return the open file of a group."""
        return next(
            (file for file in self.files.values() if isinstance(file, GroupFile) and file.number == number),
            None,
        )

    def device_files(self, device: FakeDevice) -> list[DeviceFile]:
        """Return the files of a device that own it."""
        return [file for file in self.files.values() if isinstance(file, DeviceFile) and file.owns(device)]

    def revoke(self, device: FakeDevice, *, dead: bool = False) -> None:
        """Take from every space what was mapped of a device; *dead* for good, as when it is closed."""
        for file in self.files.values():
            if isinstance(file, DmaBufFile) and file.device is device:
                file.dead |= dead
            for thing in file.objects.values() if isinstance(file, IommufdFile) else ():
                if isinstance(thing, FakeSpace):
                    for memory in device.memory.values():
                        thing.revoke(memory)

    # Inside.

    def _link(self, fd: int) -> str:
        return f"proc/{os.getpid()}/fd/{fd}"

    def _refuse(self, name: str) -> None:
        if self.refusals.get(name):
            number = self.refusals[name].pop(0)
            raise OSError(number, os.strerror(number))

    def _file(self, fd: int) -> FakeFile:
        if fd not in self.files:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self.files[fd]

    def _device_file(self, fd: int) -> DeviceFile:
        file = self._file(fd)
        if not isinstance(file, DeviceFile):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return file

    def _opener(self, path: str) -> Callable[[], FakeFile]:
        if path == "/dev/vfio/vfio" and self.has_container:
            return lambda: ContainerFile(self)
        if path == "/dev/iommu" and self.has_iommufd:
            return lambda: IommufdFile(self)
        for index, device in enumerate(self.devices.values()):
            if device.gone or device.driver != "vfio-pci":
                continue
            if path == f"/dev/vfio/devices/{self._node(index, device)}" and self.has_iommufd:
                return partial(NodeFile, self, device)
            if path == f"/dev/vfio/{'noiommu-' if device.noiommu else ''}{device.group}":
                return partial(GroupFile, self, device.group)
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _source(self) -> MemorySource:
        source = MemorySource("fake")
        source.add(f"proc/{os.getpid()}/comm", File(b"this\n"))
        source.add("proc/self/status", File(b"VmLck:\t0 kB\nCapEff:\tffffffffffffffff\n"))
        if self.has_iommufd:
            source.add("dev/iommu", File(b""))
        for index, device in enumerate(self.devices.values()):
            self._place(source, index, device)
        return source

    def _place(self, source: MemorySource, index: int, device: FakeDevice) -> None:
        path, group = f"sys/bus/pci/devices/{device.address}", f"sys/kernel/iommu_groups/{device.group}"
        vendor, identity, kind = device.identity
        for name, value in (("vendor", vendor), ("device", identity), ("class", kind)):
            source.add(f"{path}/{name}", File(f"{value:#06x}\n".encode()))
        source.add(f"{path}/iommu_group", Link(f"../../../../kernel/iommu_groups/{device.group}"))
        source.add(f"{group}/devices/{device.address}", Directory())
        source.add(f"{group}/reserved_regions", File(b"0x00000000fee00000 0x00000000feefffff msi\n"))
        if device.noiommu:
            source.add(f"{group}/name", File(b"vfio-noiommu\n"))
        if device.driver:
            source.add(f"{path}/driver", Link(f"../../../../bus/pci/drivers/{device.driver}"))
        if device.driver == "vfio-pci" and self.has_iommufd:
            source.add(f"{path}/vfio-dev/{self._node(index, device)}", Directory())

    def _node(self, index: int, device: FakeDevice) -> str:
        return f"{'noiommu-' if device.noiommu and self.noiommu_nodes else ''}vfio{index}"

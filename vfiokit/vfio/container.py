"""The container of ``/dev/vfio/vfio``: groups join it, and its type 1 IOMMU maps memory for all of them."""

from __future__ import annotations

import errno
from contextlib import ExitStack

from vfiokit.address import AddressRange
from vfiokit.errors import VfioError
from vfiokit.sysfs.source import Source
from vfiokit.vfio.backend import AddressSpace, Limits
from vfiokit.vfio.dma import Dma
from vfiokit.vfio.errors import (
    Busy,
    CallNotSupported,
    NoInterruptRemapping,
    NotMapped,
    TooManyMappings,
    UnsafeNotAsked,
)
from vfiokit.vfio.group import Group
from vfiokit.vfio.memlock import memlock
from vfiokit.vfio.place import Place, reserved_ranges
from vfiokit.vfio.replies import Type1Info, type1_info
from vfiokit.vfio.system import System, close_quietly

__all__ = ["Container"]

_TYPE1V2, _NOIOMMU = 3, 8
_MAP_READ, _MAP_WRITE, _UNMAP_ALL = 1, 2, 2
_ENTRY_LIMIT = "sys/module/vfio_iommu_type1/parameters/dma_entry_limit"


class Container(AddressSpace):
    """A container. Once a group has joined and chosen the IOMMU, memory can be mapped.

    :ivar noiommu: whether it has no IOMMU, so that nothing can be mapped and everything can be reached.
    """

    name = "container"
    _pin_hint = "is all of the memory there, and writable if the device is to write it?"

    def __init__(self, system: System, source: Source) -> None:
        super().__init__(system, source, "/dev/vfio/vfio")
        self._groups: dict[int, Group] = {}
        self._devices: dict[int, Group] = {}
        self.noiommu: bool | None = None
        self.dma = Dma(self)
        self._check_api()

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups in it."""
        return tuple(self._groups.values())

    def join(self, place: Place, token: str | None, *, noiommu: bool) -> int:
        """Put the device's group in, unless it is, and open the device."""
        self.check_open()
        if place.group is None:
            raise CallNotSupported(
                "it is in no IOMMU group",
                operation="open",
                subject=str(place.address),
                hint="switch the IOMMU on in firmware and kernel, or see no-IOMMU mode",
            )
        _check_noiommu(place, noiommu)
        self._check_once(place)
        fresh = place.group not in self._groups
        group = self._enter(place) if fresh else self._groups[place.group]
        try:
            fd = group.open_device(place, token)
        except VfioError:
            if fresh:
                self._leave(group)
            raise
        self._devices[fd] = group
        self._reserved[fd] = reserved_ranges(self.source, place.group)
        try:
            self.dma.update()
        except VfioError:
            self.part(fd)
            raise
        return fd

    def part(self, fd: int) -> None:
        """Close the device, and let its group go unless it is the last: mappings live only with one."""
        group = self._devices.pop(fd)
        self._reserved.pop(fd, None)
        group.close_device(fd)
        if not group.devices and len(self._groups) > 1:
            self._leave(group)
        if self._devices:
            self.dma.update()
        self._close_orphan()

    def limits(self) -> Limits:
        """Ask the IOMMU what may be mapped."""
        if self.noiommu or not self._groups:
            return Limits((), 0, 4096)
        info = self.info()
        smallest = info.page_sizes & -info.page_sizes or 4096
        ranges = info.ranges if info.ranges is not None else (AddressRange(0, 1 << 64),)
        return Limits(ranges, info.page_sizes, max(smallest, 4096), info.available)

    def info(self) -> Type1Info:
        """Return what the IOMMU says of itself."""
        self.check_open()
        return type1_info(self.calls.vfio_iommu_get_info(self.fd))

    def map(self, vaddr: int, size: int, iova: int, *, readable: bool, writable: bool) -> None:
        """Map memory of this process."""
        if not self._exempt:
            self._check_memlock(size, iova)
        flags = (_MAP_READ if readable else 0) | (_MAP_WRITE if writable else 0)
        try:
            self.calls.vfio_iommu_map_dma(self.fd, vaddr=vaddr, iova=iova, size=size, flags=flags)
        except VfioError as error:
            raise self._explain_map(error, size, iova) from error

    def map_file(
        self, file: int, offset: int, size: int, iova: int, *, readable: bool, writable: bool
    ) -> None:
        """Refuse: a container maps addresses of this process alone.

        :raises CallNotSupported: always.
        """
        raise CallNotSupported(
            "a container maps no files",
            operation="map",
            subject=f"descriptor {file}",
            hint="dma.map() the file's mmap.mmap, or use the iommufd back end",
        )

    def physical(self, iova: int, size: int) -> tuple[int, int]:
        """Refuse: a container tells no physical addresses.

        :raises CallNotSupported: always.
        """
        raise CallNotSupported(
            "a container tells no physical addresses",
            operation="physical",
            subject=f"IOVA {iova:#x}",
            hint="the iommufd back end of Linux 7.3 does, without an IOMMU",
        )

    def unmap(self, iova: int, size: int) -> int:
        """Unmap; type 1 answers 0 where nothing was mapped."""
        try:
            return self.calls.vfio_iommu_unmap_dma(self.fd, iova=iova, size=size)
        except VfioError as error:
            if error.errno == errno.EINVAL:
                raise NotMapped(
                    f"{size:#x} bytes from {iova:#x} would cut a mapping",
                    operation=error.operation,
                    subject=f"IOVA {iova:#x}",
                    errno=error.errno,
                ) from error
            raise

    def unmap_all(self) -> int:
        """Unmap everything."""
        return self.calls.vfio_iommu_unmap_dma(self.fd, iova=0, size=0, flags=_UNMAP_ALL)

    def forget(self) -> None:
        """Close every descriptor of this copy after a fork."""
        for fd in (*self._devices, *(group.fd for group in self.groups)):
            close_quietly(self.system, fd)
        self._devices.clear()
        self._groups.clear()
        super().forget()

    def _check_memlock(self, size: int, iova: int) -> None:
        """Ask where there may be a limit: it costs more than the call, so once where there is none."""
        limit = memlock(self.source)
        self._exempt = limit.limit is None
        if limit.refuses(size):
            raise limit.error(size, f"IOVA {iova:#x}")

    def _check_api(self) -> None:
        try:
            version = self.calls.vfio_get_api_version(self.fd)
            if version or not self.calls.vfio_check_extension(self.fd, _TYPE1V2):
                raise CallNotSupported(
                    f"interface {version} without the type 1 v2 IOMMU",
                    operation="open",
                    subject="/dev/vfio/vfio",
                )
        except VfioError:
            self._close_fd()
            raise

    def _check_once(self, place: Place) -> None:
        """Refuse a second handle: through a group the kernel would allow it, and let the two fight."""
        if str(place.address) in (self.calls.subjects[fd] for fd in self._devices):
            raise Busy(
                "it is open in this address space",
                operation="open",
                subject=str(place.address),
                errno=errno.EBUSY,
            )

    def _enter(self, place: Place) -> Group:
        group = Group(self.system, self.source, self.calls, place)
        try:
            group.enter(self.fd)
            if not self._groups:
                self._set_iommu(place)
        except VfioError:
            group.close()
            raise
        self._groups[group.id] = group
        return group

    def _set_iommu(self, place: Place) -> None:
        try:
            self.calls.vfio_set_iommu(self.fd, _NOIOMMU if place.noiommu else _TYPE1V2)
        except VfioError as error:
            if error.errno == errno.EPERM:
                raise NoInterruptRemapping(
                    "the platform does not remap interrupts, so a device could forge them",
                    operation=error.operation,
                    subject=f"for group {place.group}",
                    errno=error.errno,
                    hint="switch interrupt remapping on, or if you trust it "
                    "vfio_iommu_type1.allow_unsafe_interrupts=1",
                ) from error
            raise
        self.noiommu = place.noiommu

    def _leave(self, group: Group) -> None:
        del self._groups[group.id]
        try:
            group.leave()
        finally:
            group.close()

    def _release(self) -> None:
        with ExitStack() as steps:
            for group in self.groups:
                steps.callback(self._leave, group)
            steps.callback(self.dma.close)

    def _explain_map(self, error: VfioError, size: int, iova: int) -> VfioError:
        if error.errno == errno.ENOSPC:
            return TooManyMappings(
                f"the container has all of its {_parameter(self.source)} mappings",
                operation=error.operation,
                subject=f"for IOVA {iova:#x}",
                errno=error.errno,
                hint="map larger pieces, or raise dma_entry_limit of vfio_iommu_type1",
            )
        return super()._explain_map(error, size, iova)


def _check_noiommu(place: Place, asked: bool) -> None:
    if place.noiommu and not asked:
        raise UnsafeNotAsked(
            "no IOMMU isolates it: its DMA reaches all of memory",
            operation="open",
            subject=str(place.address),
            hint="Device.open(..., noiommu=True), if you accept that",
        )


def _parameter(source: Source) -> str:
    try:
        return source.read(_ENTRY_LIMIT).decode().strip()
    except OSError:
        return "65535"

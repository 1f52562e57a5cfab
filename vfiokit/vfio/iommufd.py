"""``/dev/iommu``: an address space (IOAS) that devices attach to through nodes of their own."""

from __future__ import annotations

import errno
import os
import uuid

from vfiokit.errors import UsageError, VfioError
from vfiokit.sysfs.source import Source
from vfiokit.vfio.backend import AddressSpace, Limits, busy, open_node
from vfiokit.vfio.container import _check_noiommu
from vfiokit.vfio.dma import Dma
from vfiokit.vfio.errors import (
    CallNotSupported,
    DeviceGone,
    NoInterruptRemapping,
    NotMapped,
    NotPermitted,
)
from vfiokit.vfio.group import not_viable, token_needed
from vfiokit.vfio.place import Place, group_nodes, holders, members, reserved_ranges
from vfiokit.vfio.replies import iova_ranges
from vfiokit.vfio.system import System, close_quietly

__all__ = ["Iommufd"]

_WRITEABLE, _READABLE = 2, 4
_EVERYTHING = (1 << 64) - 1


class Iommufd(AddressSpace):
    """An iommufd with one address space.

    :ivar ioas: the kernel's identity of the space.
    """

    name = "iommufd"
    _pin_hint = "is all of it there, and writable if it must be? a BAR needs a dma-buf here"

    def __init__(self, system: System, source: Source) -> None:
        super().__init__(system, source, "/dev/iommu")
        self._devices: dict[int, int] = {}
        self.page_tables: dict[int, int] = {}
        self.dma = Dma(self)
        try:
            self.ioas = self.calls.iommu_ioas_alloc(self.fd)
        except VfioError:
            self._close_fd()
            raise

    def join(self, place: Place, token: str | None, *, noiommu: bool) -> int:
        """Open the device's node, bind it to the iommufd and attach it to the space."""
        self.check_open()
        _check_noiommu(place, noiommu)
        if not place.has_node:
            raise CallNotSupported(
                "it has no node of its own",
                operation="open",
                subject=str(place.address),
                hint="the kernel was built without CONFIG_VFIO_DEVICE_CDEV; use the container back end",
            )
        fd = open_node(self.system, self.source, place.device_path, os.O_RDWR)
        self.calls.subjects[fd] = str(place.address)
        try:
            identity = self._bind(fd, place, token)
            self.page_tables[fd] = self._attach(fd, place)
        except BaseException:
            self._close(fd)
            raise
        self._devices[fd] = identity
        if place.group is not None:
            self._reserved[fd] = reserved_ranges(self.source, place.group)
        try:
            self.dma.update()
        except VfioError:
            self.part(fd)
            raise
        return fd

    def part(self, fd: int) -> None:
        """Detach the device and close its descriptor, which unbinds it."""
        del self._devices[fd]
        self._reserved.pop(fd, None)
        self.page_tables.pop(fd, None)
        try:
            self.calls.vfio_device_detach_iommufd_pt(fd)
        finally:
            self._close(fd)
        if self._devices:
            self.dma.update()
        self._close_orphan()

    def object_of(self, fd: int) -> int:
        """Return the object that stands for a device."""
        return self._devices[fd]

    def limits(self) -> Limits:
        """Ask what may be mapped: the ranges that every attached device can use."""
        self.check_open()
        data, alignment = self.calls.iommu_ioas_iova_ranges(self.fd, self.ioas)
        return Limits(iova_ranges(data), 0, max(alignment, 4096))

    def map(self, vaddr: int, size: int, iova: int, *, readable: bool, writable: bool) -> None:
        """Map memory of this process."""
        flags = (_READABLE if readable else 0) | (_WRITEABLE if writable else 0)
        try:
            self.calls.iommu_ioas_map(self.fd, self.ioas, vaddr=vaddr, length=size, iova=iova, flags=flags)
        except VfioError as error:
            raise self._explain_map(error, size, iova) from error

    def unmap(self, iova: int, size: int) -> int:
        """Unmap; the kernel refuses a range with nothing in it, or one that cuts a mapping."""
        try:
            return self.calls.iommu_ioas_unmap(self.fd, self.ioas, iova=iova, length=size)
        except VfioError as error:
            if error.errno == errno.ENOENT:
                raise NotMapped(
                    f"{size:#x} bytes from {iova:#x} hold no whole mapping",
                    operation=error.operation,
                    subject=f"IOVA {iova:#x}",
                    errno=error.errno,
                ) from error
            raise

    def unmap_all(self) -> int:
        """Unmap everything."""
        try:
            return self.calls.iommu_ioas_unmap(self.fd, self.ioas, iova=0, length=_EVERYTHING)
        except VfioError as error:
            if error.errno == errno.ENOENT:
                return 0
            raise

    def map_file(
        self, file: int, offset: int, size: int, iova: int, *, readable: bool, writable: bool
    ) -> None:
        """Map part of a memfd or of a dma-buf (Linux 6.13, 6.19)."""
        flags = (_READABLE if readable else 0) | (_WRITEABLE if writable else 0)
        try:
            self.calls.iommu_ioas_map_file(
                self.fd, self.ioas, file=file, start=offset, length=size, iova=iova, flags=flags
            )
        except VfioError as error:
            raise self._explain_map_file(error, file, size, iova) from error

    def physical(self, iova: int, size: int) -> tuple[int, int]:
        """Return the physical address behind a mapping, and how many bytes run on from it.

        Only in a space without an IOMMU, with ``CAP_SYS_RAWIO``, on Linux 7.3 and later.

        :raises CallNotSupported: on a kernel without the call, or in a space with an IOMMU.
        :raises NotMapped: if nothing is mapped at the address.
        :raises NotPermitted: without the capability.
        :raises DeviceGone: if it is the dma-buf of a device that was closed, reset, or stopped decoding.
        """
        if size <= 0:
            raise UsageError(f"{size} bytes", operation="physical", subject=f"IOVA {iova:#x}")
        try:
            return self.calls.iommu_ioas_noiommu_get_pa(self.fd, self.ioas, iova, size)
        except VfioError as error:
            raise _explain_physical(error, iova) from error

    def forget(self) -> None:
        """Close every descriptor of this copy after a fork."""
        for fd in self._devices:
            close_quietly(self.system, fd)
        self._devices.clear()
        super().forget()

    def _bind(self, fd: int, place: Place, token: str | None) -> int:
        try:
            return self.calls.vfio_device_bind_iommufd(fd, self.fd, _token(token))
        except VfioError as error:
            # Before it is asked who has the node: we had.
            self._close(fd)
            raise self._explain_bind(error, place, token) from error

    def _attach(self, fd: int, place: Place) -> int:
        try:
            return self.calls.vfio_device_attach_iommufd_pt(fd, self.ioas)
        except VfioError as error:
            if error.errno == errno.EINVAL:
                error.hint = "its IOMMU cannot serve what is mapped already, or its firmware claims memory"
            raise

    def _explain_bind(self, error: VfioError, place: Place, token: str | None) -> VfioError:
        details = {"operation": error.operation, "subject": f"for {place.address}", "errno": error.errno}
        if error.errno == errno.EACCES or (error.errno == errno.EOPNOTSUPP and token):
            return token_needed(token, **details)  # type: ignore[arg-type]
        siblings = group_nodes(self.source, place)
        if error.errno == errno.EPERM and any(holders(self.source, path) for path in siblings):
            reason = "another function of its group is open in another address space"
            return busy(self.source, *siblings, operation=error.operation, errno=error.errno, reason=reason)
        offenders = members(self.source, place.group) if place.group is not None else ()
        if error.errno == errno.EPERM and offenders:
            return not_viable(place.group, offenders, operation=error.operation, errno=error.errno)
        if error.errno == errno.EPERM:
            return NoInterruptRemapping(
                "the platform does not remap interrupts, so a device could forge them",
                hint="switch interrupt remapping on, or iommufd.allow_unsafe_interrupts=1 if you trust it",
                **details,  # type: ignore[arg-type]
            )
        if token and error.errno == errno.EINVAL and not holders(self.source, place.device_path):
            return _lacks(error, "the kernel takes no token for a device's own node (Linux 6.17 does)")
        # The kernel answers EINVAL to a second bind, EBUSY when the group's node is open.
        if error.errno in (errno.EBUSY, errno.EINVAL):
            paths = (place.device_path, place.group_path)
            return busy(self.source, *paths, operation=error.operation, errno=error.errno)
        if error.errno in (errno.ENODEV, errno.ENXIO):
            return DeviceGone("the device is gone", **details)  # type: ignore[arg-type]
        if error.errno == errno.ENOTTY:
            return _lacks(error, "the kernel has no iommufd for devices")
        return error

    def _explain_map_file(self, error: VfioError, file: int, size: int, iova: int) -> VfioError:
        subject = f"descriptor {file}"
        details = {"operation": error.operation, "subject": subject, "errno": error.errno}
        if error.errno == errno.ENOTTY:
            hint = "dma.map() the file's mmap.mmap instead"
            return _lacks(error, "the kernel maps no files (Linux 6.13 does)", hint)
        if error.errno == errno.EOPNOTSUPP:
            hint = "of dma-bufs, those of one range of a VFIO device's BAR (Linux 6.19)"
            return _lacks(error, f"{subject} is no memory that the kernel maps", hint)
        if error.errno == errno.ENODEV:
            reason = "its device was closed, or does not decode memory"
            return DeviceGone(reason, **details)  # type: ignore[arg-type]
        if error.errno == errno.EINVAL:
            hint = "is it a memfd or a dma-buf, and as long as that?"
            return VfioError("the file cannot be mapped", hint=hint, **details)  # type: ignore[arg-type]
        return self._explain_map(error, size, iova)

    def _release(self) -> None:
        self.dma.close()
        self.calls.iommu_destroy(self.fd, self.ioas)

    def _close(self, fd: int) -> None:
        if self.calls.subjects.pop(fd, None) is not None:
            close_quietly(self.system, fd)


def _token(token: str | None) -> bytes | None:
    return None if token is None else uuid.UUID(token).bytes


def _explain_physical(error: VfioError, iova: int) -> VfioError:
    subject = f"IOVA {iova:#x}"
    details = {"operation": error.operation, "subject": subject, "errno": error.errno}
    if error.errno == errno.ENOTTY:
        return _lacks(error, "the kernel gives no physical addresses (Linux 7.3 does)")
    if error.errno == errno.EOPNOTSUPP:
        reason = "no device without an IOMMU is in the space"
        return _lacks(error, reason, "behind an IOMMU devices take IOVAs")
    if error.errno == errno.ENOENT:
        return NotMapped("nothing is mapped there", **details)  # type: ignore[arg-type]
    if error.errno == errno.EPERM:
        reason = "physical addresses are not for everybody"
        return NotPermitted(reason, hint="CAP_SYS_RAWIO", **details)  # type: ignore[arg-type]
    if error.errno == errno.EINVAL:
        reason = "what was mapped is gone: its device was closed or reset, or stopped decoding memory"
        return DeviceGone(reason, **details)  # type: ignore[arg-type]
    return error


def _lacks(error: VfioError, reason: str, hint: str = "") -> CallNotSupported:
    return CallNotSupported(
        reason, operation=error.operation, subject=error.subject, errno=error.errno, hint=hint
    )

"""What a container and an iommufd have in common: a space that devices join and memory is mapped in."""

from __future__ import annotations

import errno
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vfiokit._native.calls import Calls
from vfiokit.address import AddressRange
from vfiokit.errors import UsageError, VfioError
from vfiokit.sysfs.source import Source
from vfiokit.vfio import forks
from vfiokit.vfio.errors import AlreadyMapped, Busy, Closed, InUse, NoNode, NotPermitted
from vfiokit.vfio.memlock import memlock
from vfiokit.vfio.place import Place, holders
from vfiokit.vfio.system import System, close_quietly, default_system

if TYPE_CHECKING:
    from vfiokit.vfio.dma import Dma

__all__ = ["AddressSpace", "Limits", "choose", "open_space"]


class Limits:
    """What may be mapped now; it changes when a device joins or leaves.

    :ivar ranges: addresses that the IOMMU translates for every device of the space, half open.
    :ivar page_sizes: mask of the IOMMU's page sizes.
    :ivar alignment: what addresses and sizes must be multiples of, in bytes.
    :ivar available: how many more mappings there can be, ``None`` for no limit or not known.
    """

    __slots__ = ("alignment", "available", "page_sizes", "ranges")

    def __init__(
        self,
        ranges: tuple[AddressRange, ...],
        page_sizes: int,
        alignment: int,
        available: int | None = None,
    ) -> None:
        self.ranges, self.page_sizes = ranges, page_sizes
        self.alignment, self.available = alignment, available


class AddressSpace(ABC):
    """What devices see when they read and write memory; several devices may share one.

    Made by :func:`open_space`, or by :meth:`vfiokit.vfio.Device.open` for a device that has it alone.
    Threads may share it, but must not let devices in or out, or map, at the same time.

    :ivar dma: what is mapped in it.
    """

    name: str
    """``container`` or ``iommufd``."""

    _pin_hint: str
    """What to look at where the kernel cannot pin the memory."""

    _devices: Mapping[int, object]

    dma: Dma

    def __init__(self, system: System, source: Source, path: str) -> None:
        self.system, self.source = system, source
        self.calls = Calls(system)
        self._reserved: dict[int, tuple[AddressRange, ...]] = {}
        self._orphan = False
        self._exempt: bool | None = None
        self.fd = open_node(system, source, path, os.O_RDWR)
        self.calls.subjects[self.fd] = self.name
        forks.register(self)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.fd < 0

    @property
    def reserved(self) -> tuple[AddressRange, ...]:
        """What the IOMMU's driver reserves for any device of the space."""
        return tuple(sorted({part for parts in self._reserved.values() for part in parts}))

    @abstractmethod
    def join(self, place: Place, token: str | None, *, noiommu: bool) -> int:
        """Let a device in, and return its descriptor."""

    @abstractmethod
    def part(self, fd: int) -> None:
        """Close a device's descriptor and let the device go."""

    @abstractmethod
    def limits(self) -> Limits:
        """Ask what may be mapped."""

    @abstractmethod
    def map(self, vaddr: int, size: int, iova: int, *, readable: bool, writable: bool) -> None:
        """Map; the kernel's refusals come explained."""

    @abstractmethod
    def map_file(
        self, file: int, offset: int, size: int, iova: int, *, readable: bool, writable: bool
    ) -> None:
        """Map part of a memfd or of a dma-buf; the kernel's refusals come explained."""

    @abstractmethod
    def physical(self, iova: int, size: int) -> tuple[int, int]:
        """Return the physical address behind a mapping, and how many bytes run on from it."""

    @abstractmethod
    def unmap(self, iova: int, size: int) -> int:
        """Unmap, and return how many bytes were mapped there."""

    @abstractmethod
    def unmap_all(self) -> int:
        """Unmap everything, and return how many bytes were mapped."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of whatever is left but the space's own descriptor."""

    def _explain_map(self, error: VfioError, size: int, iova: int) -> VfioError:
        """Say why a mapping was refused, for the reasons that both back ends have."""
        if error.errno == errno.ENOMEM:
            return memlock(self.source).error(size, f"IOVA {iova:#x}", error.errno)
        reasons: dict[int | None, tuple[type[VfioError], str, str]] = {
            errno.EEXIST: (AlreadyMapped, "part of the range is mapped", ""),
            errno.EFAULT: (VfioError, "the memory cannot be pinned", self._pin_hint),
        }
        if error.errno not in reasons:
            return error
        kind, reason, hint = reasons[error.errno]
        subject = f"for IOVA {iova:#x}"
        return kind(reason, operation=error.operation, subject=subject, errno=error.errno, hint=hint)

    def close(self) -> None:
        """Unmap all memory and close; a second time is nothing.

        :raises InUse: if devices of it are still open.
        """
        if self.closed:
            return
        if self._devices:
            names = ", ".join(self.calls.subjects.get(fd, "?") for fd in self._devices)
            raise InUse("devices of it are open", operation="close", subject=self.name, hint=names)
        try:
            self._release()
        finally:
            self._close_fd()

    def _close_fd(self) -> None:
        self.calls.subjects.pop(self.fd, None)
        fd, self.fd = self.fd, -1
        close_quietly(self.system, fd)

    def forget(self) -> None:
        """Close the descriptors of this copy after a fork, and nothing else: the parent has the device."""
        if not self.closed:
            fd, self.fd = self.fd, -1
            close_quietly(self.system, fd)

    def check_open(self) -> None:
        """Raise :class:`Closed` if it was closed."""
        if self.closed:
            raise Closed("it was closed", operation="use", subject=self.name)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) < 0:
            return
        warnings.warn(f"{self.name} was not closed", ResourceWarning, stacklevel=2, source=self)
        # The collector finalises in any order: a device that goes after its space closes it.
        self._orphan = True
        self._close_orphan()

    def _close_orphan(self) -> None:
        if self._orphan and not self._devices and not self.closed:
            self.close()

    def __enter__(self) -> AddressSpace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_space(
    backend: str = "auto",
    *,
    place: Place | None = None,
    system: System | None = None,
    source: Source | None = None,
) -> AddressSpace:
    """Open an address space for devices to join.

    :param backend: ``iommufd``, ``container``, or ``auto`` for the first of them that there is.
    :param place: a device that will join: ``auto`` looks whether it has a node of its own.
    :raises NoNode: if the kernel has no such thing.
    """
    from vfiokit.sysfs.live import LiveSource
    from vfiokit.vfio.container import Container
    from vfiokit.vfio.iommufd import Iommufd

    system, source = system or default_system(), source or LiveSource()
    name = choose(source, backend, place)
    return Iommufd(system, source) if name == "iommufd" else Container(system, source)


def choose(source: Source, backend: str, place: Place | None) -> str:
    """Return the back end to use: ``auto`` takes the iommufd where it and the device's own node exist."""
    if backend not in ("auto", "container", "iommufd"):
        raise UsageError("no such back end", subject=backend, hint="auto, container, iommufd")
    if backend != "auto":
        return backend
    own = place is None or place.has_node
    return "iommufd" if own and _there(source, "dev/iommu") else "container"


def open_node(system: System, source: Source, path: str, flags: int, *others: str) -> int:
    """Open a node, with the reason in words when it cannot be; *others* are nodes that keep it busy too."""
    try:
        return system.open(path, flags)
    except OSError as error:
        raise explain_open(error, path, source, *others) from error


def explain_open(error: OSError, path: str, source: Source, *others: str) -> VfioError:
    """Say why a node did not open."""
    details = {"operation": "open", "subject": path, "errno": error.errno}
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return NoNode("there is no such node", hint=_absent(path), **details)  # type: ignore[arg-type]
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "run as root, or let a udev rule give the node to your group"
        return NotPermitted("you may not open it", hint=hint, **details)  # type: ignore[arg-type]
    if error.errno == errno.EBUSY:
        return busy(source, path, *others, operation="open", errno=error.errno)
    return VfioError.from_os(error, operation="open", subject=path)  # type: ignore[return-value]


def busy(source: Source, *paths: str, operation: str, errno: int | None, reason: str = "") -> Busy:
    """Say that somebody has a node, and who, where that can be seen."""
    found = tuple(sorted({holder for path in paths for holder in holders(source, path)}))
    others = tuple(holder for holder in found if holder[0] != os.getpid())
    who = ", ".join(f"pid {pid}, {name}" for pid, name in others or found)
    return Busy(
        reason or (f"held by {who}" if who else "somebody has it open"),
        holders=others or found,
        operation=operation,
        subject=paths[0],
        errno=errno,
        hint="" if who else "as root, vfiokit can say who",
    )


def _absent(path: str) -> str:
    if path == "/dev/iommu":
        return "the kernel was built without CONFIG_IOMMUFD; the container back end does not need it"
    if path == "/dev/vfio/vfio":
        return "modprobe vfio; a kernel without CONFIG_VFIO_CONTAINER has only the iommufd back end"
    if path.startswith("/dev/vfio/devices/"):
        return (
            "the kernel was built without CONFIG_VFIO_DEVICE_CDEV; the container back end does not need it"
        )
    return "is the device bound to a VFIO driver?"


def _there(source: Source, path: str) -> bool:
    try:
        source.stat(path)
    except OSError:
        return False
    return True

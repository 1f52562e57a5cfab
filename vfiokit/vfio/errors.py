"""What can go wrong with a device, a group or a mapping: a class for each thing a caller may tell apart."""

from vfiokit.errors import CannotTell, NotSupported, UsageError, VfioError

__all__ = [
    "AlreadyMapped",
    "BadReply",
    "Busy",
    "CallNotSupported",
    "Closed",
    "DecodeOff",
    "DeviceGone",
    "InUse",
    "IovaReserved",
    "MemlockExceeded",
    "Misaligned",
    "NoInterruptRemapping",
    "NoNode",
    "NoSuchInterrupt",
    "NoSuchRegion",
    "NotBound",
    "NotMapped",
    "NotPermitted",
    "NotViable",
    "OutOfBounds",
    "ReadOnly",
    "ResetNotSupported",
    "TokenNeeded",
    "TooManyMappings",
    "UnsafeNotAsked",
]


class NoNode(VfioError, NotSupported):
    """``/dev/vfio`` or ``/dev/iommu`` lacks the file: no driver, no module, no kernel option."""

    exit_status = 8


class NotPermitted(VfioError, CannotTell):
    """The file is there and may not be opened."""

    exit_status = 3


class NotBound(VfioError):
    """The device has no VFIO driver."""


class NotViable(VfioError):
    """Another function of the group belongs to a host driver.

    :ivar offenders: address and driver of each.
    """

    def __init__(
        self, reason: str, *, offenders: tuple[tuple[str, str], ...] = (), **details: object
    ) -> None:
        super().__init__(reason, **details)  # type: ignore[arg-type]
        self.offenders = offenders


class Busy(VfioError):
    """Somebody else has the group or the device.

    :ivar holders: process id and name of each that could be found.
    """

    def __init__(self, reason: str, *, holders: tuple[tuple[int, str], ...] = (), **details: object) -> None:
        super().__init__(reason, **details)  # type: ignore[arg-type]
        self.holders = holders


class DeviceGone(VfioError):
    """The device was unplugged, or does not answer."""


class CallNotSupported(VfioError, NotSupported):
    """The kernel, or the device's driver, lacks the call."""

    exit_status = 8


class NoInterruptRemapping(VfioError, NotSupported):
    """The platform does not remap interrupts, so the kernel does not trust the device with them."""

    exit_status = 8


class UnsafeNotAsked(VfioError):
    """Without an IOMMU the device's DMA reaches all of memory: it must be asked for by name."""

    exit_status = 4


class TokenNeeded(VfioError):
    """A virtual function of a physical function under VFIO opens only with its token."""


class MemlockExceeded(VfioError):
    """More memory would be pinned than may be.

    :ivar limit: bytes that may be locked.
    :ivar used: bytes locked now, ``None`` if not known.
    :ivar needed: bytes the mapping wants.
    """

    def __init__(self, reason: str, *, limit: int, used: int | None, needed: int, **details: object) -> None:
        super().__init__(reason, **details)  # type: ignore[arg-type]
        self.limit, self.used, self.needed = limit, used, needed


class TooManyMappings(VfioError):
    """The container has as many mappings as ``dma_entry_limit`` allows."""


class IovaReserved(VfioError, UsageError):
    """The IOMMU cannot translate the range: beyond its width, the interrupt window, reserved by firmware."""

    exit_status = 2


class AlreadyMapped(VfioError, UsageError):
    """Part of the range is mapped."""

    exit_status = 2


class NotMapped(VfioError, UsageError):
    """Nothing is mapped at the range, or it would cut a mapping in two."""

    exit_status = 2


class Misaligned(VfioError, UsageError):
    """An offset, address or length that is no multiple of what it must be."""

    exit_status = 2


class OutOfBounds(VfioError, UsageError):
    """An access that does not lie in the region, or a value that does not fit its width."""

    exit_status = 2


class NoSuchRegion(VfioError, UsageError):
    """A region that the device does not have."""

    exit_status = 2


class NoSuchInterrupt(VfioError, UsageError):
    """An interrupt or vector that the device does not have."""

    exit_status = 2


class ReadOnly(VfioError, UsageError):
    """A write to a region that cannot be written, or a read of one that cannot be read."""

    exit_status = 2


class InUse(VfioError):
    """Something of the same device is still in use and forbids it: a mapping, another kind of interrupt."""


class DecodeOff(VfioError):
    """The device does not decode memory: through a mapping, the access would kill the process (SIGBUS)."""


class ResetNotSupported(VfioError):
    """There is no way of resetting this function, or not now."""


class BadReply(VfioError):
    """The kernel's reply does not hold together."""


class Closed(VfioError, ValueError):
    """The handle was closed, or belongs to the process that forked this one."""

"""Features of a device: what it knows is found by asking it, never by the kernel's version."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

from vfiokit._native.table import FEATURES, Feature
from vfiokit.address import AddressRange
from vfiokit.errors import UsageError, VfioError
from vfiokit.vfio.dmabuf import DmaBuf
from vfiokit.vfio.errors import CallNotSupported, InUse, Misaligned, NoSuchRegion

if TYPE_CHECKING:
    from vfiokit.vfio.device import Device
    from vfiokit.vfio.irq import EventFd

__all__ = ["Features", "MigrationState"]

_Answer = TypeVar("_Answer")


class MigrationState(IntEnum):
    """States of a device that can be migrated (``vfio_device_mig_state``)."""

    ERROR = 0
    STOP = 1
    RUNNING = 2
    STOP_COPY = 3
    RESUMING = 4
    RUNNING_P2P = 5
    PRE_COPY = 6
    PRE_COPY_P2P = 7


class Features:
    """What a device can do beyond regions and interrupts.

    Every method raises :class:`CallNotSupported` where kernel or device do not know the feature.
    """

    def __init__(self, device: Device) -> None:
        self._device, self._calls = device, device.calls

    def known(self) -> tuple[Feature, ...]:
        """Probe every feature of the table, and return those that the device has; nothing changes by it."""
        return tuple(feature for feature in FEATURES if self.has(feature.name))

    def has(self, name: str) -> bool:
        """Probe one feature by its kernel name, ``LOW_POWER_ENTRY``."""
        feature = next((feature for feature in FEATURES if feature.name == name), None)
        if feature is None:
            raise UsageError("no such feature", subject=name, hint=", ".join(row.name for row in FEATURES))
        operations = dict.fromkeys(feature.operations, True)
        return not self._calls.vfio_device_feature_probe(self._device.fd, feature.index, **operations)

    def set_vf_token(self, token: uuid.UUID | str) -> None:
        """Set the token that virtual functions of this physical function open with."""
        try:
            data = (token if isinstance(token, uuid.UUID) else uuid.UUID(token)).bytes
        except ValueError as error:
            raise UsageError("not a UUID", subject=repr(token)) from error
        self._ask(self._calls.vfio_device_feature_pci_vf_token, data)

    def low_power_entry(self, wakeup: EventFd | None = None) -> None:
        """Let the device sleep when nothing uses it, and with *wakeup* once, told when it wakes.

        :raises InUse: while a region is mapped: a sleeping device takes its mappings away.
        """
        if self._device.mapped_regions:
            raise InUse("a region is mapped", operation="LOW_POWER_ENTRY", subject=str(self._device.address))
        if wakeup is None:
            self._ask(self._calls.vfio_device_feature_low_power_entry)
        else:
            self._ask(self._calls.vfio_device_feature_low_power_entry_with_wakeup, wakeup.fileno())

    def low_power_exit(self) -> None:
        """Wake the device, and let it sleep no more."""
        self._ask(self._calls.vfio_device_feature_low_power_exit)

    def migration_states(self) -> frozenset[MigrationState]:
        """Return the states that the device can take."""
        flags = self._ask(self._calls.vfio_device_feature_migration)
        states = {MigrationState.STOP, MigrationState.RUNNING}
        rows = (
            (1, (MigrationState.STOP_COPY, MigrationState.RESUMING)),
            (2, (MigrationState.RUNNING_P2P,)),
            (4, (MigrationState.PRE_COPY,)),
            (6, (MigrationState.PRE_COPY_P2P,)),
        )
        for needed, some in rows:
            states |= set(some) if flags & needed == needed else set()
        return frozenset(states)

    @property
    def migration_state(self) -> MigrationState:
        """The state it is in."""
        return MigrationState(self._ask(self._calls.vfio_device_feature_mig_device_state)[0])

    def set_migration_state(self, state: MigrationState) -> int | None:
        """Change the state; return the descriptor of the data stream where the change opens one."""
        return self._ask(self._calls.vfio_device_feature_mig_device_state, state)[1]

    def migration_data_size(self) -> int:
        """Return how many bytes stopping and copying would take, as an estimate."""
        return self._ask(self._calls.vfio_device_feature_mig_data_size)

    def dma_logging_start(self, ranges: Iterable[AddressRange], page_size: int = 4096) -> int:
        """Have the device log what it writes; return the page size that it chose."""
        pairs = [(part.start, part.size) for part in ranges]
        return self._ask(self._calls.vfio_device_feature_dma_logging_start, page_size, pairs)

    def dma_logging_report(self, part: AddressRange, page_size: int = 4096) -> frozenset[int]:
        """Return the first address of each page it wrote in a range, and clear the log there."""
        bitmap = self._ask(
            lambda fd: self._calls.vfio_device_feature_dma_logging_report(
                fd, iova=part.start, length=part.size, page_size=page_size
            )
        )
        return pages_of(bitmap, part.start, page_size)

    def dma_logging_stop(self) -> None:
        """End the log."""
        self._ask(self._calls.vfio_device_feature_dma_logging_stop)

    def dma_buf(self, region: int, ranges: Iterable[AddressRange] = ()) -> DmaBuf:
        """Return parts of a BAR as a dma-buf, for another device's address space (Linux 6.19).

        :param region: the BAR, 0 to 5.
        :param ranges: the parts, whole pages; by default all of it, as :meth:`Dma.map_file` needs one part.
        :raises NoSuchRegion: if there is no such BAR.
        :raises Misaligned: if the parts are no whole pages, or leave the BAR.
        """
        parts = tuple(ranges) or (AddressRange(0, self._device.regions[region].info.size),)
        pairs = [(part.start, part.size) for part in parts]
        try:
            call = self._calls.vfio_device_feature_dma_buf
            fd = self._ask(call, region, pairs, os.O_RDWR | os.O_CLOEXEC)
        except VfioError as error:
            raise self._explain_dma_buf(error, region) from error
        size = sum(part.size for part in parts)
        return DmaBuf(self._device.system, fd, size, self._device.address)

    def _explain_dma_buf(self, error: VfioError, region: int) -> VfioError:
        details = {"operation": "dma_buf", "subject": f"region {region} of {self._device.address}"}
        if error.errno == errno.ENODEV:
            return NoSuchRegion("it is no memory BAR", errno=error.errno, **details)
        if error.errno in (errno.EINVAL, errno.EOVERFLOW):
            reason = "the parts are no whole pages of it"
            return Misaligned(reason, errno=error.errno, **details)
        return error

    def _ask(self, call: Callable[..., _Answer], *arguments: object) -> _Answer:
        self._device.check_open()
        try:
            return call(self._device.fd, *arguments)
        except VfioError as error:
            if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
                raise
            raise CallNotSupported(
                "kernel and device do not know it",
                operation=call.__name__.removeprefix("vfio_device_feature_"),
                subject=str(self._device.address),
                errno=error.errno,
            ) from error


def pages_of(bitmap: bytes, start: int, page_size: int) -> frozenset[int]:
    """Return the addresses that a bitmap marks, lowest bit first.

    >>> sorted(pages_of(bytes([0b101]), 0x1000, 4096))
    [4096, 12288]
    """
    return frozenset(
        start + (8 * index + bit) * page_size
        for index, byte in enumerate(bitmap)
        if byte
        for bit in range(8)
        if byte >> bit & 1
    )

"""Resets: of the function alone, or of all that sits on its bus, shown before it happens."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfiokit.address import PciAddress
from vfiokit.errors import UsageError, VfioError
from vfiokit.vfio.errors import ResetNotSupported
from vfiokit.vfio.place import is_under_vfio
from vfiokit.vfio.replies import DeviceFlags, hot_reset_info

if TYPE_CHECKING:
    from vfiokit.vfio.device import Device

__all__ = ["HotReset", "hot_reset", "hot_reset_plan", "reset"]

_BY_DEVICE, _OWNED = 1, 2
_ATTEMPTS, _PAUSE = 20, 0.01


@dataclass(frozen=True, slots=True)
class HotReset:
    """What a hot reset would touch.

    :ivar functions: every function that loses its state, in order.
    :ivar missing: those of them that this process does not own, so that the kernel would refuse.
    :ivar groups: the groups they are in; empty for a device that was opened through its own node.
    """

    functions: tuple[PciAddress, ...]
    missing: tuple[PciAddress, ...]
    groups: tuple[int, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the kernel will do it, as far as can be told."""
        return not self.missing


def reset(device: Device) -> None:
    """Reset the function, waiting while its lock is taken."""
    if not device.info.flags & DeviceFlags.RESET:
        raise ResetNotSupported(
            "no way of resetting this function alone works",
            operation="VFIO_DEVICE_RESET",
            subject=f"for {device.address}",
            hint="reset_method in sysfs; hot_reset_plan() shows what a bus reset would touch",
        )
    for attempt in range(_ATTEMPTS):
        try:
            device.calls.vfio_device_reset(device.fd)
            return
        except VfioError as error:
            # The kernel only tries to take the device's lock.
            if error.errno != errno.EAGAIN or attempt == _ATTEMPTS - 1:
                raise
        time.sleep(_PAUSE)


def hot_reset_plan(device: Device) -> HotReset:
    """Ask what a hot reset would touch.

    :raises ResetNotSupported: if there is none: the device sits on a root bus, or its slot cannot.
    """
    try:
        data = device.calls.vfio_device_get_pci_hot_reset_info(device.fd)
    except VfioError as error:
        if error.errno not in (errno.ENODEV, errno.ENOTTY, errno.EINVAL):
            raise
        raise ResetNotSupported(
            "its bus or slot cannot be reset",
            operation=error.operation,
            subject=error.subject,
            errno=error.errno,
            hint="a device on a root bus has no bus reset",
        ) from error
    flags, rows = hot_reset_info(data)
    functions = tuple(sorted(row.address for row in rows))
    if flags & _BY_DEVICE:
        # 0: ours, or in one group with ours; -1: somebody else's, and then the whole set is not owned.
        lost = tuple(sorted(row.address for row in rows if row.owner == -1))
        return HotReset(functions, lost or (() if flags & _OWNED else functions))
    held = {group.id for group in device.groups}
    missing = tuple(
        sorted(
            row.address
            for row in rows
            if row.owner not in held or not is_under_vfio(device.space.source, row.address)
        )
    )
    return HotReset(functions, missing, tuple(sorted({row.owner for row in rows})))


def hot_reset(device: Device, touching: tuple[PciAddress, ...]) -> HotReset:
    """Reset the bus, if it touches exactly *touching*."""
    plan = hot_reset_plan(device)
    if set(plan.functions) != set(touching):
        raise UsageError(
            f"it would touch {', '.join(map(str, plan.functions))}",
            operation="hot reset",
            subject=str(device.address),
            hint="pass touching=device.hot_reset_plan().functions when that is what you want",
        )
    if not plan.allowed:
        raise ResetNotSupported(
            f"it would touch {', '.join(map(str, plan.missing))}, which this process does not own",
            operation="VFIO_DEVICE_PCI_HOT_RESET",
            subject=f"for {device.address}",
            hint="bind them to VFIO and open them in the same address space",
        )
    fds = [group.fd for group in device.groups if group.id in plan.groups]
    try:
        device.calls.vfio_device_pci_hot_reset(device.fd, fds)
    except VfioError as error:
        if error.errno == errno.EINVAL:
            error.hint = "every function it touches must be bound to VFIO and owned by the caller"
        if error.errno == errno.ENOTTY:
            # The plan showed that there is a reset: what failed is the wait for the link after it.
            error.hint = "they may have been reset all the same: the kernel saw no active link afterwards"
        raise
    return plan

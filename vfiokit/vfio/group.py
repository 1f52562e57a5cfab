"""An open group node: what must be owned as a whole before any device of it is."""

from __future__ import annotations

import errno
import os
import time
import uuid

from vfiokit._native.calls import Calls
from vfiokit.errors import UsageError, VfioError
from vfiokit.sysfs.source import Source
from vfiokit.vfio.backend import busy, open_node
from vfiokit.vfio.errors import DeviceGone, InUse, NotPermitted, NotViable, TokenNeeded
from vfiokit.vfio.place import Place, members
from vfiokit.vfio.system import System, close_quietly

__all__ = ["Group", "not_viable", "token_needed"]

_VIABLE = 1
_CONTAINER_SET = 2
_ATTEMPTS, _PAUSE = 50, 0.01


class Group:
    """A group node; only one process at a time can have it.

    :ivar id: the group's number.
    :ivar devices: how many of its devices are open through it.
    """

    def __init__(self, system: System, source: Source, calls: Calls, place: Place) -> None:
        assert place.group is not None
        self.system, self.source, self.calls = system, source, calls
        self.id, self.path = place.group, place.group_path
        self.devices = 0
        self.fd = open_node(system, source, self.path, os.O_RDWR, place.device_path)
        calls.subjects[self.fd] = f"group {self.id}"
        try:
            self._check_viable()
        except VfioError:
            self.close()
            raise

    def enter(self, container: int) -> None:
        """Join a container."""
        try:
            self.calls.vfio_group_set_container(self.fd, container)
        except VfioError as error:
            if error.errno == errno.EPERM:
                raise NotPermitted(
                    "a group without an IOMMU needs CAP_SYS_RAWIO",
                    operation=error.operation,
                    subject=error.subject,
                    errno=error.errno,
                ) from error
            raise

    def leave(self) -> None:
        """Leave the container, when no device of the group is open any more."""
        for attempt in range(_ATTEMPTS):
            try:
                self.calls.vfio_group_unset_container(self.fd)
                return
            except VfioError as error:
                # Its last device was unbound under us, and the kernel took the group out itself.
                if error.errno == errno.EINVAL:
                    return
                # A child that was forked this moment has not closed its copies yet.
                if error.errno == errno.EBUSY and attempt < _ATTEMPTS - 1:
                    time.sleep(_PAUSE)
                    continue
                self._explain_busy(error)
                raise

    def _explain_busy(self, error: VfioError) -> None:
        if error.errno == errno.EBUSY:
            raise InUse(
                "a descriptor or mapping of one of its devices is left",
                operation=error.operation,
                subject=error.subject,
                errno=error.errno,
                hint="a forked child may have it",
            ) from error

    def open_device(self, place: Place, token: str | None) -> int:
        """Open one of its devices and return the descriptor."""
        name = str(place.address)
        try:
            fd = self.calls.vfio_group_get_device_fd(self.fd, f"{name} vf_token={token}" if token else name)
        except VfioError as error:
            raise self._explain(error, place, token) from error
        self.calls.subjects[fd] = name
        self.devices += 1
        return fd

    def close_device(self, fd: int) -> None:
        """Close a device's descriptor."""
        self.calls.subjects.pop(fd, None)
        self.devices -= 1
        close_quietly(self.system, fd)

    def close(self) -> None:
        """Close the node."""
        if self.fd >= 0:
            self.calls.subjects.pop(self.fd, None)
            fd, self.fd = self.fd, -1
            close_quietly(self.system, fd)

    def _check_viable(self) -> None:
        flags = self.calls.vfio_group_get_status(self.fd)
        if not flags & _VIABLE:
            offenders = members(self.source, self.id)
            raise not_viable(self.id, offenders, operation="VFIO_GROUP_GET_STATUS")
        if flags & _CONTAINER_SET:
            raise busy(self.source, self.path, operation="open", errno=errno.EBUSY)

    def _explain(self, error: VfioError, place: Place, token: str | None) -> VfioError:
        details = {"operation": error.operation, "subject": f"for {place.address}", "errno": error.errno}
        if error.errno == errno.EACCES or (error.errno == errno.EINVAL and token):
            return token_needed(token, **details)  # type: ignore[arg-type]
        if error.errno in (errno.ENODEV, errno.ENXIO):
            hint = "bound to another driver in the meantime, unplugged, or its firmware claims memory"
            return DeviceGone("the group does not give it", hint=hint, **details)  # type: ignore[arg-type]
        if error.errno == errno.EBUSY:
            return busy(self.source, self.path, operation=error.operation, errno=error.errno)
        return error


def check_token(token: str | None) -> None:
    """Refuse a token that is no UUID: the kernel would say only EINVAL."""
    try:
        uuid.UUID(token or str(uuid.UUID(int=0)))
    except ValueError as error:
        raise UsageError("not a UUID", operation="open", subject=repr(token)) from error


def not_viable(
    group: int | None, offenders: tuple[tuple[str, str], ...], *, operation: str, errno: int | None = None
) -> NotViable:
    """Return the error for a group of which the host has a part.

    :param offenders: address and driver of each.
    """
    who = "; ".join(f"{address} is bound to {driver}" for address, driver in offenders)
    return NotViable(
        "it is not viable" + (f": {who}" if who else ""),
        operation=operation,
        subject=f"for group {group}",
        errno=errno,
        offenders=offenders,
        hint="bind every function of the group to a VFIO driver, or leave it without one",
    )


def token_needed(token: str | None, *, operation: str, subject: str, errno: int | None) -> TokenNeeded:
    """Say what is wrong with a token."""
    return TokenNeeded(
        "its physical function is under VFIO, and the token is wrong"
        if token
        else "it opens only with a token",
        operation=operation,
        subject=subject,
        errno=errno,
        hint="the UUID that the physical function's user set: Device.open(..., token=UUID)",
    )

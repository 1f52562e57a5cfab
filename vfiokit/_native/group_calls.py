"""Calls on ``/dev/vfio/N``: a group."""

from vfiokit._native import ffi
from vfiokit._native.base_calls import BaseCalls

__all__ = ["GroupCalls"]


class GroupCalls(BaseCalls):
    """The group."""

    def vfio_group_get_status(self, fd: int) -> int:
        """Return the flags: ``VFIO_GROUP_FLAGS_VIABLE``, ``VFIO_GROUP_FLAGS_CONTAINER_SET``."""
        _, flags = self._exchange("VFIO_GROUP_GET_STATUS", fd, 8)
        return flags

    def vfio_group_set_container(self, fd: int, container: int) -> None:
        """Put the group into a container, given by its descriptor; an iommufd's serves too."""
        self._do("VFIO_GROUP_SET_CONTAINER", fd, ffi.new("int32_t *", container))

    def vfio_group_unset_container(self, fd: int) -> None:
        """Take it out; EBUSY while a file or a mapping of any of its devices lives."""
        self._do("VFIO_GROUP_UNSET_CONTAINER", fd)

    def vfio_group_get_device_fd(self, fd: int, device: str) -> int:
        """Open a device and return its descriptor, which is closed on exec.

        :param device: its name, with `` vf_token=UUID`` after it for a virtual function with a token.
        """
        return self._do("VFIO_GROUP_GET_DEVICE_FD", fd, ffi.new("char[]", device.encode()))

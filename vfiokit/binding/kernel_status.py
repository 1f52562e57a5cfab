"""What VFIO's group node tells without owning anything: whether the group is viable."""

import fcntl
import os
import struct

from vfiokit.model.unknown import Unknown

__all__ = ["group_viable"]

# linux/vfio.h: _IO(VFIO_TYPE, VFIO_BASE + 3), struct vfio_group_status {argsz, flags}
_VFIO_GROUP_GET_STATUS = (0x3B << 8) | (100 + 3)
_VFIO_GROUP_FLAGS_VIABLE = 1 << 0
_STATUS = struct.Struct("=II")


def group_viable(group: int) -> bool | Unknown:
    """Ask the kernel; unknown where somebody has the group open or there is no such node."""
    try:
        descriptor = os.open(f"/dev/vfio/{group}", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return Unknown(f"/dev/vfio/{group}: {error.strerror}")
    try:
        answer = fcntl.ioctl(descriptor, _VFIO_GROUP_GET_STATUS, _STATUS.pack(_STATUS.size, 0))
    except OSError as error:
        return Unknown(f"VFIO_GROUP_GET_STATUS for group {group}: {error.strerror}")
    finally:
        os.close(descriptor)
    return bool(_STATUS.unpack(answer)[1] & _VFIO_GROUP_FLAGS_VIABLE)

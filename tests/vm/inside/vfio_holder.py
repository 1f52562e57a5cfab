"""Hold a VFIO device open as a virtual machine does, with plain ioctls (linux/vfio.h)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
from collections.abc import Iterator

_BASE = (0x3B << 8) | 100
_SET_IOMMU, _GET_DEVICE_FD, _SET_CONTAINER = _BASE + 2, _BASE + 6, _BASE + 4
_TYPE1V2 = 3


@contextlib.contextmanager
def hold_device(address: str, group: str) -> Iterator[int]:
    """Let a process of its own have the device open for the length of a block; gives its number."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        container = os.open("/dev/vfio/vfio", os.O_RDWR)
        node = os.open(f"/dev/vfio/{group}", os.O_RDWR)
        fcntl.ioctl(node, _SET_CONTAINER, struct.pack("=i", container))
        fcntl.ioctl(container, _SET_IOMMU, _TYPE1V2)
        fcntl.ioctl(node, _GET_DEVICE_FD, bytearray(address.encode() + b"\0"))
        os.write(tell, b"x")
        signal.pause()
    os.close(tell)
    try:
        assert os.read(ready, 1) == b"x", "the device could not be opened"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

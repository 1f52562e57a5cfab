"""What a typed call adds to a call that costs the kernel about a microsecond, beside C; no device is needed.

    python benchmarks/exchange.py [--number N]

The calls of VFIO want a device, and in a guest without hardware help Python is slowed more than the kernel.
So a call of another kind goes the way of a typed call here, from its method to the ioctl and back: one that
counts the extents of a file, with a structure of six numbers.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import struct
import tempfile
from collections.abc import Callable
from functools import partial

import peer

from vfiokit._native.base_calls import BaseCalls
from vfiokit.vfio.system import LiveSystem

_FIEMAP = 0xC020660B
_EVERYTHING = (1 << 64) - 1


class FileCalls(BaseCalls):
    """A call as :mod:`vfiokit._native` types them."""

    def fiemap(self, fd: int, *, start: int, length: int) -> int:
        """Return how many extents a file has."""
        return self._ask("FS_IOC_FIEMAP", -3, fd, start, length)

    def _describe(self, name: str) -> tuple[int, bytes]:
        return _FIEMAP, b"QQIIII"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--number", type=int, default=200_000)
    number = arguments.parse_args().number
    with peer.scratch() as directory, tempfile.NamedTemporaryFile(dir=".") as file:
        file.write(bytes(4096))
        file.flush()
        fd = file.fileno()
        program = peer.build(directory)
        theirs = min(peer.ask(program, "fiemap", fd, number // 10, fds=[fd])[0] for _ in range(20))
        calls = FileCalls(LiveSystem())
        memory = bytearray(struct.pack("=2Q4I", 0, _EVERYTHING, 0, 0, 0, 0))
        libc = ctypes.CDLL(None, use_errno=True)
        raw = (ctypes.c_uint64 * 4)(0, _EVERYTHING, 0, 0)
        ways: dict[str, Callable[[], object]] = {
            "typed call": lambda: calls.fiemap(fd, start=0, length=_EVERYTHING),
            "fcntl.ioctl, no types": partial(fcntl.ioctl, fd, _FIEMAP, memory),
            "ctypes, no types": partial(libc.ioctl, fd, _FIEMAP, ctypes.byref(raw)),
        }
        peer.table((name, peer.nanoseconds(way, number), theirs) for name, way in ways.items())


if __name__ == "__main__":
    main()

"""What an access to device memory costs from Python, on plain memory, beside C and beside Python's own ways.

    python benchmarks/mmio.py [--number N] [--size MIB]

Plain memory answers at once, so this is the cost of the call; a read over PCIe takes 500 ns and more on top.
Python's own ways are faster or slower, and wrong: they make two accesses for one, or read before they write.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import peer

from vfiokit.vfio.mapped import MappedWindow
from vfiokit.vfio.syscall import SyscallWindow
from vfiokit.vfio.system import LiveSystem


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--number", type=int, default=200_000)
    arguments.add_argument("--size", type=int, default=64, help="MiB of a block copy")
    chosen = arguments.parse_args()
    with peer.scratch() as directory:
        program = peer.build(directory)
        single(program, chosen.number)
        blocks(program, chosen.size << 20)


def single(program: Path, number: int) -> None:
    """Time single accesses."""
    fd = os.memfd_create("memory")
    os.ftruncate(fd, 4096)
    system = LiveSystem()
    theirs = peer.ask(program, "read32", 20 * number)[0]
    with (
        system.map(fd, 0, 4096, writable=True, keep_on_fork=False, subject="memory") as window,
        mmap.mmap(fd, 4096) as view,
    ):
        calls = SyscallWindow(system, fd, 0, 4096, "memory")
        word = ctypes.c_uint32.from_buffer(view, 16)
        ways: dict[str, Callable[[], object]] = {
            "window.read32": partial(window.read32, 16),
            "window.write32": partial(window.write32, 16, 1),
            "window.doorbell32 (with its fence)": partial(window.doorbell32, 16, 1),
            "window.read64": partial(window.read64, 16),
            "by pread: guarded read32": partial(calls.read32, 16),
            "struct.unpack_from (reads once, by chance)": partial(struct.unpack_from, "<I", view, 16),
            "struct.pack_into (stores three times)": partial(struct.pack_into, "<I", view, 16, 1),
            "ctypes (reads before it writes)": partial(setattr, word, "value", 1),
        }
        peer.table((name, peer.nanoseconds(way, number), theirs) for name, way in ways.items())
        del word, ways
    os.close(fd)


def blocks(program: Path, size: int) -> None:
    """Time block copies, in MB/s; the same loop in C, and memcpy, which says nothing about widths."""
    fd = os.memfd_create("block")
    os.ftruncate(fd, size)
    target = bytearray(size)
    with LiveSystem().map(fd, 0, size, writable=True, keep_on_fork=False, subject="block") as window:
        assert isinstance(window, MappedWindow)
        print()
        loop = peer.ask(program, "copy", size, 10)[0]
        plain = peer.ask(program, "memcpy", size, 10)[0]
        for width in (8, 4, 2, 1):
            took = peer.nanoseconds(partial(window.read_into, 0, target, width=width), 5, 5)
            print(f"copy out by {width}-byte accesses {size / took * 1000:>26.0f} MB/s")
        print(f"the same by 8 in C {size / loop * 1000:>37.0f} MB/s")
        print(f"memcpy in C {size / plain * 1000:>44.0f} MB/s")
    os.close(fd)


if __name__ == "__main__":
    main()

"""What calls on a device cost through handles, beside the same calls in C.

    python benchmarks/vfio_calls.py ADDRESS [--backend container|iommufd] [--number N] [--size MIB]

The device must be bound to VFIO. In a guest the numbers mean nothing, the ratios do.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError

import peer

from vfiokit.address import PageSize
from vfiokit.errors import VfiokitError
from vfiokit.vfio import Device
from vfiokit.vfio.container import Container
from vfiokit.vfio.iommufd import Iommufd

_GET_IRQ_INFO = 0x3B6D


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("address")
    arguments.add_argument("--backend", default="auto", choices=["auto", "container", "iommufd"])
    arguments.add_argument("--number", type=int, default=20_000)
    arguments.add_argument("--size", type=int, default=1024, help="MiB to map at once")
    chosen = arguments.parse_args()
    with (
        peer.scratch() as directory,
        Device.open(chosen.address, backend=chosen.backend) as device,
    ):
        program = peer.build(directory)
        print(f"{device.address} by {device.backend}")
        rows = [*calls(program, device, chosen.number), *interrupts(program, device, chosen.number)]
        peer.table([*rows, *mappings(program, device, chosen.size << 20)])


def calls(program: Path, device: Device, number: int) -> Iterator[tuple[str, float, float]]:
    """Time one short call by each way of making it."""
    theirs = peer.ask(program, "irqinfo", device.fd, 10 * number, fds=[device.fd])[0]
    typed = partial(device.calls.vfio_device_get_irq_info, device.fd, 1)
    yield "VFIO_DEVICE_GET_IRQ_INFO, typed call", peer.nanoseconds(typed, number), theirs
    memory = bytearray(struct.pack("=4I", 16, 0, 1, 0))
    plain = partial(fcntl.ioctl, device.fd, _GET_IRQ_INFO, memory)
    yield "the same by fcntl.ioctl, no types", peer.nanoseconds(plain, number), theirs
    libc = ctypes.CDLL(None, use_errno=True)
    raw = (ctypes.c_uint32 * 4)(16, 0, 1, 0)
    foreign = partial(libc.ioctl, device.fd, _GET_IRQ_INFO, ctypes.byref(raw))
    yield "the same by ctypes, no types", peer.nanoseconds(foreign, number), theirs


def interrupts(program: Path, device: Device, number: int) -> Iterator[tuple[str, float, float]]:
    """Time from a trigger to its handler."""
    kind = device.irqs.best()
    theirs = peer.ask(program, "trigger", device.fd, kind.index, number, fds=[device.fd])[0]
    with kind[0].eventfd() as event:
        vector = kind[0]

        def once() -> None:
            vector.trigger()
            if not event.wait(1):
                raise TimeoutError

        yield "trigger, wait, read: an interrupt", peer.nanoseconds(once, number), theirs


def mappings(program: Path, device: Device, size: int) -> Iterator[tuple[str, float, float]]:
    """Time map and unmap of all pages at once, for each page size that the machine has free."""
    space = device.space
    assert isinstance(space, Container | Iommufd)
    ioas = space.ioas if isinstance(space, Iommufd) else 0
    for page in PageSize:
        if size % page:
            continue
        with suppress(VfiokitError, CalledProcessError):
            words = ("map", device.backend, space.fd, ioas, size, page.value, 5)
            theirs = peer.ask(program, *words, fds=[space.fd])
            ours = map_unmap(device, size, page)
            for name, one, other in zip(("map", "unmap"), ours, theirs, strict=True):
                yield f"{name} {size >> 20} MiB in pages of {page.value >> 10} KiB", one, other


def map_unmap(device: Device, size: int, page: PageSize) -> tuple[float, float]:
    """Map memory that is there already, and unmap it; nanoseconds of each, the mean of five."""
    huge = None if page is PageSize.SIZE_4K else page
    with device.dma.map(size, huge=huge) as kept:
        memory = kept._memory.view.obj
        assert isinstance(memory, mmap.mmap)
        address, iova = kept._memory.address, 0x40000000
        if huge is None:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    total = [0.0, 0.0]
    for _ in range(5):
        started = time.perf_counter_ns()
        device.space.map(address, size, iova, readable=True, writable=True)
        middle = time.perf_counter_ns()
        device.space.unmap(iova, size)
        total[0] += (middle - started) / 5
        total[1] += (time.perf_counter_ns() - middle) / 5
    del memory
    return total[0], total[1]


if __name__ == "__main__":
    os.environ.pop("VFIOKIT_TRACE", None)
    main()

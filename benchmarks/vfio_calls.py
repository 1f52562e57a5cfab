"""What calls on a device cost through handles, beside the same calls in C.

    python benchmarks/vfio_calls.py ADDRESS [--backend container|iommufd] [--number N] [--size MIB]

The device must be bound to VFIO. In a guest the numbers mean nothing, the ratios do.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import fcntl
import mmap
import os
import select
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError

import peer

from vfiokit.address import PageSize
from vfiokit.errors import VfiokitError
from vfiokit.vfio import Device
from vfiokit.vfio.container import Container
from vfiokit.vfio.iommufd import Iommufd
from vfiokit.vfio.irq import EventFd, Interrupt

_GET_IRQ_INFO = 0x3B6D
MAP_HUGETLB, MAP_HUGE_SHIFT = 0x40000, 26
ROUNDS = 5


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
    """Time one short call by each way of making it, and one that costs the kernel more."""
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
    space, page = device.space, mmap.PAGESIZE
    assert isinstance(space, Container | Iommufd)
    theirs = sum(peer.ask(program, *_map_words(device, page, page, number), fds=[space.fd]))
    with peer_memory(page, PageSize.SIZE_4K) as address:
        iova = 0x40000000

        def pair() -> None:
            space.map(address, page, iova, readable=True, writable=True)
            space.unmap(iova, page)

        yield "map and unmap one page, through the handle", peer.nanoseconds(pair, number), theirs


def interrupts(program: Path, device: Device, number: int) -> Iterator[tuple[str, float, float]]:
    """Time a trigger, and from a trigger to its handler."""
    kind = device.irqs.best()
    alone, handled = peer.ask(program, "trigger", device.fd, kind.index, number, fds=[device.fd])
    vector = kind[0]
    with vector.eventfd() as event, select.epoll() as poll:
        yield "trigger of a vector, through the handle", peer.nanoseconds(vector.trigger, number), alone
        event.read()

        def wait() -> None:
            vector.trigger()
            if not event.wait(1):
                raise TimeoutError

        yield "trigger to event.wait()", peer.nanoseconds(wait, number), handled
        handlers = {event.fileno(): event.read}
        poll.register(event, select.EPOLLIN)

        def callback() -> None:
            vector.trigger()
            for fd, _ in poll.poll(1, 1):
                handlers[fd]()

        yield "trigger to a callback, select.epoll", peer.nanoseconds(callback, number), handled
        yield "trigger to a callback, asyncio", asyncio.run(in_a_loop(vector, event, number)), handled


async def in_a_loop(vector: Interrupt, event: EventFd, number: int) -> float:
    """Let every callback of an event loop fire the next; nanoseconds of one, the best of twenty rounds."""
    loop = asyncio.get_running_loop()
    best = float("inf")
    for _ in range(20):
        left, over = max(1, number // 20), asyncio.Event()
        began = time.perf_counter_ns()

        def callback() -> None:
            nonlocal left
            left -= event.read()
            vector.trigger() if left else over.set()  # noqa: B023

        loop.add_reader(event, callback)
        vector.trigger()
        await over.wait()
        best = min(best, (time.perf_counter_ns() - began) / max(1, number // 20))
        loop.remove_reader(event)
    return best


def mappings(program: Path, device: Device, size: int) -> Iterator[tuple[str, float, float]]:
    """Time map and unmap of all pages at once, for each page size that the machine has free."""
    for page in PageSize:
        if size % page:
            continue
        try:
            # Ours and theirs in turn, and of each the best: what else runs only adds.
            rounds = [
                (map_unmap(device, size, page), ask_mapping(program, device, size, page))
                for _ in range(ROUNDS)
            ]
        except (VfiokitError, CalledProcessError) as error:
            print(f"not in pages of {page.value >> 10} KiB: {error}")
            continue
        for at, name in enumerate(("map", "unmap")):
            ours, theirs = (min(each[side][at] for each in rounds) for side in (0, 1))
            yield f"{name} {size >> 20} MiB in pages of {page.value >> 10} KiB", ours, theirs


def ask_mapping(program: Path, device: Device, size: int, page: int) -> list[float]:
    """Let the C program map and unmap; nanoseconds of each."""
    return peer.ask(program, *_map_words(device, size, page, 1), fds=[_fd(device)])


def _map_words(device: Device, size: int, page: int, number: int) -> tuple[object, ...]:
    ioas = device.space.ioas if isinstance(device.space, Iommufd) else 0
    return ("map", device.backend, _fd(device), ioas, size, int(page), number)


def _fd(device: Device) -> int:
    assert isinstance(device.space, Container | Iommufd)
    return device.space.fd


def map_unmap(device: Device, size: int, page: PageSize) -> tuple[float, float]:
    """Map memory that is there already, and unmap it; nanoseconds of each."""
    with peer_memory(size, page) as address:
        iova = 0x40000000
        started = time.perf_counter_ns()
        device.space.map(address, size, iova, readable=True, writable=True)
        middle = time.perf_counter_ns()
        device.space.unmap(iova, size)
        return middle - started, time.perf_counter_ns() - middle


@contextmanager
def peer_memory(size: int, page: PageSize) -> Iterator[int]:
    """Give the address of memory like the C program's: private, there already, in pages of one size."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_HUGETLB | (page.bit_length() - 1) << MAP_HUGE_SHIFT
    small = page is PageSize.SIZE_4K
    with peer.small_pages(size) if small else mmap.mmap(-1, size, flags) as memory:
        first = ctypes.c_char.from_buffer(memory)
        ctypes.memset(ctypes.addressof(first), 1, size)
        yield ctypes.addressof(first)
        del first


if __name__ == "__main__":
    os.environ.pop("VFIOKIT_TRACE", None)
    main()

"""Drive edu from an event loop and from select: one program for the guest, the fake and a recording."""

import asyncio
import random
import select
from types import ModuleType

from vfiokit.vfio import Device, EventFd, Window

RAISE, ACKNOWLEDGE = 0x60, 0x64


def drive(edu: ModuleType, device: Device) -> list[object]:
    """Run every way of waiting, and return what was seen."""
    with device.regions[0].map() as bar:
        device.bus_master = True
        event = device.irqs.msi[0].eventfd()
        seen = asyncio.run(asyncio.wait_for(in_a_loop(edu, device, bar, event), 30))
        return [*seen, *by_select(bar, event)]


async def in_a_loop(edu: ModuleType, device: Device, bar: Window, event: EventFd) -> list[object]:
    """Compute while another task runs, copy with a reader of our own, iterate over interrupts."""
    turns = asyncio.create_task(take_turns())
    bar.write32(edu.STATUS, edu.INTERRUPT_WHEN_DONE)
    bar.write32(edu.FACTORIAL, 12)
    counts = [await event.next()]
    acknowledge(edu, bar)
    result = bar.read32(edu.FACTORIAL)
    turns.cancel()
    with device.dma.map(2 * 4096, below=edu.ADDRESS_LIMIT) as memory:
        memory.view[:4096] = sent = random.Random(11).randbytes(4096)
        counts.append(await copied(edu, bar, event, memory.iova, edu.BUFFER, 0))
        counts.append(await copied(edu, bar, event, edu.BUFFER, memory.iova + 4096, edu.TO_MEMORY))
        equal = memory.view[4096:] == sent
    bar.write32(RAISE, 1)
    async for count in event:
        counts.append(count)
        acknowledge(edu, bar)
        if len(counts) == 6:
            break
        bar.write32(RAISE, 1)
    return [result, equal, counts]


async def take_turns() -> None:
    while True:
        await asyncio.sleep(0.001)


async def copied(edu: ModuleType, bar: Window, event: EventFd, source: int, target: int, flags: int) -> int:
    """Start a copy, and wait for it with a callback of the loop's."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()
    loop.add_reader(event.fileno(), read_once, event, done)
    bar.write64(edu.DMA_SOURCE, source)
    bar.write64(edu.DMA_DESTINATION, target)
    bar.write64(edu.DMA_COUNT, 4096)
    bar.doorbell64(edu.DMA_COMMAND, edu.START | edu.DMA_INTERRUPT | flags)
    count = await done
    loop.remove_reader(event.fileno())
    acknowledge(edu, bar)
    return count


def read_once(event: EventFd, done: asyncio.Future[int]) -> None:
    if not done.done():
        done.set_result(event.read())


def by_select(bar: Window, event: EventFd) -> list[object]:
    """Wait without a loop: nothing comes unasked, and what was asked for comes."""
    seen: list[object] = [bool(select.select([event], [], [], 0.05)[0])]
    for _ in range(2):
        bar.write32(RAISE, 2)
        ready, _, _ = select.select([event], [], [], 10)
        seen.append((len(ready), event.read()))
        bar.write32(ACKNOWLEDGE, 2)
    return seen


def acknowledge(edu: ModuleType, bar: Window) -> None:
    bar.write32(edu.INTERRUPT_ACKNOWLEDGE, bar.read32(edu.INTERRUPT_STATUS))

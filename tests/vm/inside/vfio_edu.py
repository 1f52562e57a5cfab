"""Check handles against edu in a guest: registers, interrupts, DMA, resets, config space, lifetimes."""

import asyncio
import contextlib
import errno
import io
import mmap
import os
import random
import resource
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import edu_loop
import vfio_lab
from vfio_lab import address, bind, drop_ipc_lock, example, in_child, kernel_log, refused, state

from vfiokit.address import PageSize
from vfiokit.errors import VfioError
from vfiokit.pci.bars import Kind, bars
from vfiokit.sysfs.function import FunctionFiles
from vfiokit.sysfs.live import LiveSource
from vfiokit.testing.recording import Player, Recorder
from vfiokit.vfio import Device, DmaBuffer, EventFd, Window, open_space
from vfiokit.vfio.errors import (
    AlreadyMapped,
    Busy,
    Closed,
    DecodeOff,
    InUse,
    IovaReserved,
    MemlockExceeded,
    NoSuchInterrupt,
    NoSuchRegion,
    NotBound,
    NotMapped,
    ResetNotSupported,
)
from vfiokit.vfio.system import LiveSystem

edu = example("edu")
DEVICES = Path("/sys/bus/pci/devices")


def open_edu(backend: str, name: str = "edu", **details: Any) -> Device:
    return Device.open(address(name), backend=backend, **details)


def the_example_runs(backend: str) -> None:
    sys.argv[1:] = [address("edu"), "--backend", backend]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        edu.main()
    said = output.getvalue()
    expected = ["edu 1.0", "liveness: 0xedcba987", "10! = 3628800", "there and back: equal"]
    assert all(text in said for text in expected), said


def dma_copies_random_content(backend: str) -> None:
    """Copy in 4 KiB, 1 MiB and a huge page, both ways, at both ends and between; all else stays."""
    Path("/proc/sys/vm/nr_hugepages").write_text("2")
    sizes = ((4096, None), (1 << 20, None), (2 << 20, PageSize.SIZE_2M))
    with open_edu(backend) as device, device.regions[0].map() as bar:
        event = device.irqs.msi[0].eventfd()
        device.bus_master = True
        for size, huge in sizes:
            with device.dma.map(size, huge=huge, below=1 << 28) as buffer:
                expected = bytearray(os.urandom(size))
                buffer.view[:] = expected
                offsets = sorted({0, size - 4096, size // 2 & ~0xFFF})
                for source, target in zip(offsets, reversed(offsets), strict=True):
                    length = 4096 if source == target else 1000
                    edu.copy(bar, event, buffer, source, to_memory=False, length=length)
                    edu.copy(bar, event, buffer, target + 4096 - length, to_memory=True, length=length)
                    at = target + 4096 - length
                    expected[at : at + length] = expected[source : source + length]
                assert bytes(buffer.view) == expected


def dma_outside_a_mapping_is_blocked(backend: str) -> None:
    with open_edu(backend) as device, device.regions[0].map() as bar:
        event = device.irqs.msi[0].eventfd()
        device.bus_master = True
        with device.dma.map(8192, iova=0x4000000) as buffer, device.dma.map(4096, writable=False) as fixed:
            buffer.view[:] = content = os.urandom(8192)
            fixed.view[:] = kept = os.urandom(4096)
            edu.copy(bar, event, buffer, 0, to_memory=False)
            raw(bar, event, 0x40000, 0x5000000)
            raw(bar, event, 0x40000, fixed.iova)
            assert bytes(buffer.view) == content
            assert bytes(fixed.view) == kept
            iova = buffer.iova
        raw(bar, event, 0x40000, iova)
        assert bytes(buffer.view) == content
    faults = kernel_log()
    assert "fault addr 0x5000000" in faults, faults[-2000:]


def raw(bar: Window, event: EventFd, source: int, target: int) -> None:
    """Start a copy to memory at an address of our own choice."""
    bar.write64(edu.DMA_SOURCE, source)
    bar.write64(edu.DMA_DESTINATION, target)
    bar.write64(edu.DMA_COUNT, 4096)
    bar.write64(edu.DMA_COMMAND, edu.START | edu.TO_MEMORY | edu.DMA_INTERRUPT)
    edu.acknowledge(bar, event)


def without_bus_mastering_nothing_moves(backend: str) -> None:
    with open_edu(backend) as device, device.regions[0].map() as bar, device.dma.map(4096) as buffer:
        assert not device.bus_master
        bar.write64(edu.DMA_SOURCE, 0x40000)
        bar.write64(edu.DMA_DESTINATION, buffer.iova)
        bar.write64(edu.DMA_COUNT, 4096)
        buffer.view[:] = content = os.urandom(4096)
        bar.write64(edu.DMA_COMMAND, edu.START | edu.TO_MEMORY)
        while bar.read64(edu.DMA_COMMAND) & edu.START:
            time.sleep(0.02)
        assert bytes(buffer.view) == content


def interrupts_by_message(backend: str) -> None:
    with open_edu(backend) as device, device.regions[0].map() as bar:
        device.bus_master = True
        event = device.irqs.msi[0].eventfd()
        for _ in range(3):
            bar.write32(0x60, 1)
            assert event.wait(5) == 1
            bar.write32(0x64, 1)
        device.irqs.msi[0].trigger()
        device.irqs.msi[0].trigger()
        assert event.wait(5) == 2
        refused(InUse, device.irqs.intx[0].eventfd)
        event.close()
        refused(NoSuchInterrupt, device.irqs.msi[0].trigger)


def interrupts_by_pin(backend: str) -> None:
    """Find the pin masked when it fired; unmasked before the device is quiet, it fires again at once."""
    with open_edu(backend) as device, device.regions[0].map() as bar:
        pin = device.irqs.intx[0]
        event = pin.eventfd()
        bar.write32(0x60, 1)
        assert event.wait(5) == 1
        assert event.wait(0.2) == 0
        pin.unmask()
        assert event.wait(5) == 1
        bar.write32(0x64, 1)
        pin.unmask()
        assert event.wait(0.2) == 0
        pin.mask()
        bar.write32(0x60, 1)
        assert event.wait(0.2) == 0
        pin.unmask()
        assert event.wait(5) == 1
        bar.write32(0x64, 1)
        pin.unmask()


def interrupts_in_an_event_loop(backend: str) -> None:
    async def listen(device: Device, bar: Window) -> int:
        event = device.irqs.msi[0].eventfd()
        seen = 0
        bar.write32(0x60, 1)
        async for count in event:
            seen += count
            bar.write32(0x64, 1)
            if seen == 3:
                return seen
            bar.write32(0x60, 1)
        return seen

    with open_edu(backend) as device, device.regions[0].map() as bar:
        device.bus_master = True
        assert asyncio.run(asyncio.wait_for(listen(device, bar), 20)) == 3


def regions_are_what_sysfs_says(backend: str) -> None:
    for name in ("edu", "disk", "network"):
        with open_edu(backend, name) as device:
            rows = (DEVICES / address(name) / "resource").read_text().splitlines()[:7]
            sizes = {}
            for index, row in enumerate(rows):
                start, end, _ = (int(word, 16) for word in row.split())
                sizes[index] = end - start + 1 if end else 0
            ours = {region.index: region.size for region in device.regions if region.index < 6}
            assert ours == {index: size for index, size in sizes.items() if size and index < 6}
            files = FunctionFiles(LiveSource(), device.address)
            found = {region.index: region.size for region in device.regions if region.index < 7}
            decoded = bars(files.config(), files.resources(), regions=found)
            assert not [bar for bar in decoded if bar.disagreements], decoded
            assert ours == {bar.index: bar.size for bar in decoded if bar.kind is Kind.BAR and bar.size}
            assert device.regions["config"].size in (256, 4096)
            refused(NoSuchRegion, lambda: device.regions["vga"])


def config_is_what_sysfs_says(backend: str) -> None:
    """Compare byte by byte and field by field: at rest, VFIO hides nothing of these two."""
    for name in ("edu", "network"):
        with open_edu(backend, name) as device:
            ours = device.config.read(0, device.config.size)
            theirs = (DEVICES / address(name) / "config").read_bytes()
            seen, kept = device.config.space, FunctionFiles(LiveSource(), device.address).config()
            assert [str(part) for part in seen.structures] == [str(part) for part in kept.structures]
            assert [part.values for part in seen.decode()] == [part.values for part in kept.decode()]
        assert ours == theirs, [hex(at) for at in range(len(ours)) if ours[at] != theirs[at]]


def writes_to_virtual_registers_stay_with_us(backend: str) -> None:
    """BARs answer to sizing, and the interrupt line to anything, while the device keeps its own."""
    path = DEVICES / address("disk") / "config"
    with open_edu(backend, "disk") as device:
        before = path.read_bytes()[:64]
        low, high = device.config.read32(0x10), device.config.read32(0x14)
        device.config.write32(0x10, 0xFFFFFFFF)
        device.config.write32(0x14, 0xFFFFFFFF)
        answer = device.config.read32(0x14) << 32 | device.config.read32(0x10) & ~0xF
        assert (~answer & 0xFFFFFFFFFFFFFFFF) + 1 == device.regions[0].size
        device.config.write8(0x3C, 0x55)
        assert device.config.read8(0x3C) == 0x55
        assert path.read_bytes()[:64] == before
        device.config.write32(0x10, low)
        device.config.write32(0x14, high)
        assert device.config.read32(0x10) == low
        for place in (0x00, 0x08, 0x2C):
            value = device.config.read32(place)
            device.config.write32(place, ~value & 0xFFFFFFFF)
            assert device.config.read32(place) == value


def commands_are_put_back(backend: str) -> None:
    with open_edu(backend) as device:
        device.bus_master = True
        seen = int.from_bytes((DEVICES / address("edu") / "config").read_bytes()[4:6], "little")
        assert seen & 4
    seen = int.from_bytes((DEVICES / address("edu") / "config").read_bytes()[4:6], "little")
    assert not seen & 4


def decoding_off_is_an_error_when_guarded(backend: str) -> None:
    """And a SIGBUS when not, which only a process of its own can show."""
    with open_edu(backend) as device:
        with device.regions[0].map(guarded=True) as bar:
            device.config.command = 0
            for access in (lambda: bar.read32(0), lambda: bar.write32(4, 1)):
                error = refused(DecodeOff, access)
                assert error.errno == errno.EIO
            device.config.command = 2
            assert bar.read32(0) == 0x010000ED
        with device.regions[0].map():
            refused(InUse, device.config.write16, 4, 0)

    def touch() -> None:
        device = open_edu(backend)
        bar = device.regions[0].map()
        device.regions["config"].syscalls().write16(4, 0)
        bar.read32(0)

    assert in_child(touch) == -signal.SIGBUS


def a_reset_that_is_not_there(backend: str) -> None:
    with open_edu(backend) as device:
        for attempt in (device.reset, device.hot_reset_plan):
            refused(ResetNotSupported, attempt)


def a_hot_reset_of_two(backend: str) -> None:
    """Refused while one of two is not ours, allowed when both are; shown before it happens."""
    pair = tuple(sorted(address(name) for name in ("first", "second")))
    bind("first")
    bind("second", driver="none")
    with open_edu(backend, "first") as device:
        plan = device.hot_reset_plan()
        assert tuple(map(str, plan.functions)) == pair
        assert not plan.allowed
        refused(ResetNotSupported, device.hot_reset, touching=plan.functions)
    bind("second")
    with (
        open_space(backend) as space,
        Device.open(pair[0], space=space) as one,
        Device.open(pair[1], space=space) as two,
    ):
        plan = one.hot_reset_plan()
        assert plan.allowed, plan
        for device in (one, two):
            device.regions[0].syscalls().write32(4, 0)
        one.hot_reset(touching=plan.functions)
        for device in (one, two):
            assert device.regions[0].syscalls().read32(0) == 0x010000ED


def the_kernels_refusals_are_explained(backend: str) -> None:
    """Past our own checks, by the kernel itself."""
    with open_edu(backend) as device:
        memory = mmap.mmap(-1, 1 << 16)
        buffer = device.dma.map(memory, iova=0x100000)
        vaddr = buffer._memory.address
        for kind, iova in ((AlreadyMapped, 0x100000), (VfioError, 0xFEE00000), (VfioError, 1 << 60)):
            error = refused(kind, device.space.map, vaddr, 4096, iova, readable=True, writable=True)
            assert error.errno in (errno.EEXIST, errno.EINVAL), error
        for iova in (0xFEE00000, 1 << 60):
            refused(IovaReserved, device.dma.map, 4096, iova=iova)
        refused(NotMapped, device.space.unmap, 0x101000, 4096)
        assert buffer.close() == 1 << 16
        buffer.view.release()


def somebody_else_has_it(backend: str) -> None:
    other = {"container": "iommufd", "iommufd": "container"}[backend]
    with open_edu(backend):
        for again in (backend, other):
            error = refused(Busy, open_edu, again)
            assert error.holders, error
            assert error.holders[0][0] == os.getpid(), error
    ready, told = os.pipe()
    holder = os.fork()
    if not holder:
        device = open_edu(backend)
        os.write(told, b"x")
        time.sleep(60)
        os._exit(len(repr(device)) and 0)
    os.read(ready, 1)
    try:
        error = refused(Busy, open_edu, backend)
        assert [pid for pid, _ in error.holders] == [holder], error
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    open_edu(backend).close()


def not_bound(backend: str) -> None:
    bind("edu", driver="none")
    try:
        refused(NotBound, open_edu, backend)
    finally:
        bind("edu")


def a_child_keeps_nothing(backend: str) -> None:
    """Let a forked child outlive the close of its parent: the device can be opened again."""
    device = open_edu(backend)
    bar = device.regions[0].map()
    buffer = device.dma.map(4096)
    buffer.view[:5] = b"ours!"
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        # What runs after a fork has closed the copies before this line.
        good = device.closed and bar.closed and bytes(buffer.view[:5]) == bytes(5)
        os.read(reading, 1)
        os._exit(0 if good else 1)
    try:
        os.close(reading)
        assert bar.read32(0) == 0x010000ED
        device.close()
        open_edu(backend).close()
    finally:
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, status


def closing_in_every_order(backend: str) -> None:
    before = state()
    for first in ("bar", "event", "buffer", "device"):
        device = open_edu(backend)
        parts: dict[str, Window | EventFd | DmaBuffer | Device] = {
            "bar": device.regions[0].map(),
            "event": device.irqs.msi[0].eventfd(),
            "buffer": device.dma.map(4096),
            "device": device,
        }
        parts.pop(first).close()
        for part in parts.values():
            part.close()
        for use in (device.check_open, device.regions[0].map, partial(device.dma.map, 4096)):
            refused(Closed, use)
    assert state() == before


CYCLES = int(os.environ.get("VFIOKIT_LAB_CYCLES", "10000"))


def mapping_many_times(backend: str) -> None:
    """No descriptor, no pinned page, no address is lost.

    A tenth by the handles, which take most of the time where instructions are emulated, and the rest by the
    two calls below them.
    """
    with open_edu(backend) as device:
        memory = mmap.mmap(-1, 4096)
        device.dma.map(memory).close()
        before = state()
        addresses = set()
        for _ in range(CYCLES // 10):
            with device.dma.map(memory) as buffer:
                addresses.add(buffer.iova)
                vaddr = buffer._memory.address
        for _ in range(CYCLES - CYCLES // 10):
            device.space.map(vaddr, 4096, buffer.iova, readable=True, writable=True)
            assert device.space.unmap(buffer.iova, 4096) == 4096
        assert state() == before
        assert len(addresses) == 1
        assert device.dma.buffers == ()


def asked_for_from_outside(backend: str) -> None:
    """Unbind from outside: it ends when the device is closed, which the kernel's request can do."""
    device = open_edu(backend, close_on_request=True)
    device.regions[0].map()
    unbind = threading.Thread(target=bind, args=("edu",), kwargs={"driver": "none"})
    unbind.start()
    unbind.join(15)
    assert not unbind.is_alive()
    assert device.closed
    assert device.release_requested
    bind("edu")
    with open_edu(backend) as device:
        unbind = threading.Thread(target=bind, args=("edu",), kwargs={"driver": "none"})
        unbind.start()
        assert device.release_request is not None
        assert device.release_request.wait(15)
        assert unbind.is_alive()
    unbind.join(15)
    assert not unbind.is_alive()
    bind("edu")


def over_the_limit_of_locked_memory(backend: str) -> None:
    """Without the capability, the kernel's refusal and our own name limit and need."""

    def meet_the_limit() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
        drop_ipc_lock()
        with open_edu(backend) as device:
            device.dma.map(1 << 16).close()
            for past_our_check in (False, True):
                device.space._exempt = past_our_check
                error = refused(MemlockExceeded, device.dma.map, 4 << 20)
                assert (error.limit, error.needed) == (1 << 20, 4 << 20), error
                assert past_our_check <= (error.errno == errno.ENOMEM), error
            assert device.dma.buffers == ()

    assert in_child(meet_the_limit) == 0


def a_run_is_recorded(backend: str) -> None:
    """Record the example and play it back; the file is for those without a guest."""
    recorder = Recorder(LiveSystem(), LiveSource())
    said = [run_again(backend, recorder)]
    player = Player(recorder.dump())
    said.append(run_again(backend, player))
    assert said[0] == said[1]
    assert player.rest == 0
    Path(f"edu-{backend}.jsonl").write_text(recorder.dump())


def run_again(backend: str, system: Recorder | Player) -> str:
    """Run the example with content that is the same each time, and return what it said."""
    with (
        mock.patch("os.urandom", random.Random(7).randbytes),
        contextlib.redirect_stdout(io.StringIO()) as output,
        open_edu(backend, system=system, source=system.source) as device,
    ):
        edu.run(device)
    return output.getvalue()


def a_run_in_an_event_loop_is_recorded(backend: str) -> None:
    """Record asyncio and select, and play it back: the descriptors fire in the recorded order."""
    recorder = Recorder(LiveSystem(), LiveSource())
    said = []
    with open_edu(backend, system=recorder, source=recorder.source) as device:
        said.append(edu_loop.drive(edu, device))
    player = Player(recorder.dump())
    with open_edu(backend, system=player, source=player.source) as device:
        said.append(edu_loop.drive(edu, device))
    assert said[0] == said[1], said
    assert said[0][:2] == [479001600, True], said
    assert player.rest == 0
    Path(f"loop-{backend}.jsonl").write_text(recorder.dump())


def features_are_probed(backend: str) -> None:
    with open_edu(backend) as device:
        known = {feature.name for feature in device.features.known()}
        assert {"LOW_POWER_ENTRY", "LOW_POWER_EXIT", "LOW_POWER_ENTRY_WITH_WAKEUP"} <= known, known
        assert "MIGRATION" not in known
        device.features.low_power_entry()
        device.features.low_power_exit()
        with device.regions[0].map() as bar:
            assert bar.read32(0) == 0x010000ED


CHECKS = [
    the_example_runs,
    dma_copies_random_content,
    dma_outside_a_mapping_is_blocked,
    without_bus_mastering_nothing_moves,
    interrupts_by_message,
    interrupts_by_pin,
    interrupts_in_an_event_loop,
    regions_are_what_sysfs_says,
    config_is_what_sysfs_says,
    writes_to_virtual_registers_stay_with_us,
    commands_are_put_back,
    decoding_off_is_an_error_when_guarded,
    a_reset_that_is_not_there,
    a_hot_reset_of_two,
    the_kernels_refusals_are_explained,
    somebody_else_has_it,
    not_bound,
    a_child_keeps_nothing,
    closing_in_every_order,
    mapping_many_times,
    asked_for_from_outside,
    over_the_limit_of_locked_memory,
    a_run_is_recorded,
    a_run_in_an_event_loop_is_recorded,
    features_are_probed,
]

if __name__ == "__main__":
    only = sys.argv[1:]
    bind("edu", "first", "second", "disk", "network")
    vfio_lab.run(CHECKS, *only)

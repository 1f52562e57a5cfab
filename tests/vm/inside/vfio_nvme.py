"""Check handles against NVMe and igb in a guest: a queue of 32 commands, every vector, virtual functions."""

import contextlib
import hashlib
import io
import os
import random
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import vfio_lab
from vfio_lab import NEWEST, address, bind, example, refused, virtual_function

from vfiokit.vfio import Device
from vfiokit.vfio.errors import CallNotSupported, TokenNeeded

nvme = example("nvme")
MIB = 1 << 20
TOTAL = int(os.environ.get("VFIOKIT_LAB_MIB", "64")) * MIB
EACH, DEPTH, BLOCK = 64 << 10, 32, 512


def the_example_identifies_and_reads(backend: str) -> None:
    sys.argv[1:] = [address("disk"), "--backend", backend]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        nvme.main()
    said = output.getvalue()
    expected = ("QEMU NVMe Ctrl, serial lab-disk", "262144 blocks of 512 bytes", "block 0 begins ")
    assert all(text in said for text in expected), said


def what_is_written_is_read_and_on_the_disk(backend: str) -> None:
    """Write and read back at depth 32, then let the host's driver read the same blocks."""
    pieces = random.Random(backend).randbytes(EACH * 61)
    starts = [(index * 7919) % (len(pieces) - EACH) for index in range(TOTAL // EACH)]
    content = [pieces[start : start + EACH] for start in starts]
    with (
        Device.open(address("disk"), backend=backend) as device,
        nvme.Controller(device) as controller,
    ):
        transfer(controller, nvme.WRITE, content)
        read = transfer(controller, nvme.READ, content)
    assert read == [hashlib.sha256(piece).digest() for piece in content]
    bind("disk", driver="host")
    try:
        end = time.monotonic() + 20
        while not Path("/dev/nvme0n1").exists() and time.monotonic() < end:
            time.sleep(0.05)
        with open("/dev/nvme0n1", "rb", buffering=0) as disk:
            for piece in content:
                assert disk.read(EACH) == piece
    finally:
        bind("disk")


def transfer(controller: Any, opcode: int, content: list[bytes]) -> list[bytes]:
    """Keep 32 commands under way until all pieces are done; the digests of what memory then holds."""
    digests = [b""] * len(content)
    with (
        controller.device.dma.map(EACH * DEPTH) as memory,
        controller.device.dma.map(nvme.PAGE * DEPTH) as pages,
    ):
        free, under_way, next_piece = list(range(DEPTH)), dict[int, int](), 0
        while next_piece < len(content) or under_way:
            while free and next_piece < len(content):
                slot = free.pop()
                part = memory.view[slot * EACH : (slot + 1) * EACH]
                part[:] = content[next_piece] if opcode == nvme.WRITE else bytes(EACH)
                start = next_piece * EACH // BLOCK
                controller.transfer(opcode, start, EACH // BLOCK, memory, pages, slot)
                under_way[slot] = next_piece
                next_piece += 1
            for slot in controller.io.reap():
                piece = under_way.pop(slot)
                digests[piece] = hashlib.sha256(memory.view[slot * EACH : (slot + 1) * EACH]).digest()
                free.append(slot)
    return digests


def every_vector_arrives(backend: str) -> None:
    for name, count in (("disk", 65), ("network", 10)):
        with Device.open(address(name), backend=backend) as device:
            assert len(device.irqs.msix) == count, device.irqs.msix
            last = device.irqs.msix[count - 1].eventfd()
            events = device.irqs.msix.enable()
            assert events[-1] is last
            for vector, event in enumerate(events):
                device.irqs.msix[vector].trigger()
                assert event.wait(5) == 1
            assert not any(event.read() for event in events)


def a_reset_is_as_after_power_on(backend: str) -> None:
    """Change a register of igb: the reset brings it back; vectors work again, and memory stays mapped."""
    vlan_type = 0x38
    with (
        Device.open(address("network"), backend=backend) as device,
        device.regions[0].map() as bar,
        device.dma.map(4096) as buffer,
    ):
        event = device.irqs.msix[3].eventfd()
        before = bar.read32(vlan_type)
        bar.write32(vlan_type, before ^ 0xFFFF)
        assert bar.read32(vlan_type) == before ^ 0xFFFF
        device.bus_master = True
        device.reset()
        assert bar.read32(vlan_type) == before
        assert device.bus_master
        device.irqs.msix[3].trigger()
        assert event.wait(5) == 1
        assert buffer.close() == 4096


def a_virtual_function_wants_its_token(backend: str) -> None:
    with virtual_function(backend) as (virtual, token):
        if backend == "iommufd" and not NEWEST:
            # Before Linux 6.17 the kernel neither asks for a token at the bind nor takes one.
            refused(CallNotSupported, Device.open, virtual, backend=backend, token=token)
            Device.open(virtual, backend=backend).close()
            with Device.open(virtual, token=token) as device:
                assert device.backend == "container"
            refused(TokenNeeded, Device.open, virtual, token=str(uuid.uuid4()))
        else:
            for wrong in (None, str(uuid.uuid4())):
                refused(TokenNeeded, Device.open, virtual, backend=backend, token=wrong)
            with Device.open(virtual, backend=backend, token=token) as device:
                assert device.config.size == 4096
                assert [region.index for region in device.regions if region.index < 6] == [0, 3]
                device.irqs.msix[0].eventfd()


CHECKS = [
    the_example_identifies_and_reads,
    what_is_written_is_read_and_on_the_disk,
    every_vector_arrives,
    a_reset_is_as_after_power_on,
    a_virtual_function_wants_its_token,
]

if __name__ == "__main__":
    only = sys.argv[1:]
    bind("disk", "network")
    vfio_lab.run(CHECKS, *only)

"""Identify an NVMe controller and read a block: python nvme.py ADDRESS [--backend container|iommufd].

Queues are DMA buffers, completions are MSI-X interrupts. Sections are of the NVM Express specification 2.0.
"""

import argparse
import struct
from types import TracebackType

from vfiokit.vfio import Device, DmaBuffer, EventFd, Window

CAP, CC, CSTS, AQA, ASQ, ACQ, DOORBELLS = 0x00, 0x14, 0x1C, 0x24, 0x28, 0x30, 0x1000  # 3.1.3
ENABLE, READY = 1, 1
DELETE_SQ, CREATE_SQ, DELETE_CQ, CREATE_CQ, IDENTIFY = 0x00, 0x01, 0x04, 0x05, 0x06  # 5
WRITE, READ = 0x01, 0x02
COMMAND = struct.Struct("<BBHIIIQQQIIIIII")  # 3.3.3.1: opcode, flags, id, nsid, ..., PRP1, PRP2, CDW10-15
COMPLETION = struct.Struct("<IIHHHH")  # 3.3.3.2: result, reserved, head, queue, id, status and phase
PAGE = 4096


class Queue:
    """A submission queue, its completion queue and the interrupt of that."""

    def __init__(
        self, device: Device, registers: Window, number: int, depth: int, interrupt: EventFd
    ) -> None:
        self.number, self.depth, self.interrupt = number, depth, interrupt
        self.commands = device.dma.map(depth * COMMAND.size)
        self.completions = device.dma.map(depth * COMPLETION.size)
        stride = 4 << (registers.read64(CAP) >> 32 & 0xF)
        self._registers, self._doorbell, self._stride = registers, DOORBELLS + 2 * number * stride, stride
        self._tail = self._head = 0
        self._phase = 1

    def submit(
        self,
        identity: int,
        opcode: int,
        *,
        nsid: int = 0,
        prp: tuple[int, int] = (0, 0),
        dwords: tuple[int, ...] = (),
    ) -> None:
        """Put a command into the queue; the doorbell comes after it, for the device too."""
        words = (*dwords, 0, 0, 0, 0, 0, 0)[:6]
        COMMAND.pack_into(
            self.commands.view, self._tail * COMMAND.size, opcode, 0, identity, nsid, 0, 0, 0, *prp, *words
        )
        self._tail = (self._tail + 1) % self.depth
        self._registers.doorbell32(self._doorbell, self._tail)

    def reap(self, timeout: float = 10) -> list[int]:
        """Wait for completions, and return the identities of the commands that are done."""
        while not (done := self._collect()):
            if not self.interrupt.wait(timeout):
                raise TimeoutError(f"no completion on queue {self.number}")
        self._registers.write32(self._doorbell + self._stride, self._head)
        return done

    def call(self, opcode: int, *, nsid: int = 0, prp: int = 0, dwords: tuple[int, ...] = ()) -> None:
        """Submit one command and wait until it is done."""
        self.submit(0, opcode, nsid=nsid, prp=(prp, 0), dwords=dwords)
        self.reap()

    def _collect(self) -> list[int]:
        done: list[int] = []
        while True:
            fields = COMPLETION.unpack_from(self.completions.view, self._head * COMPLETION.size)
            identity, status = fields[4], fields[5]
            if status & 1 != self._phase:
                return done
            if status >> 1:
                raise OSError(
                    f"command {identity} of queue {self.number} failed with status {status >> 1:#x}"
                )
            done.append(identity)
            self._head = (self._head + 1) % self.depth
            self._phase ^= not self._head


class Controller:
    """A controller with its admin queue and one I/O queue; a context manager that leaves it disabled."""

    def __init__(self, device: Device, depth: int = 64) -> None:
        self.device, self.depth = device, depth

    def __enter__(self) -> "Controller":
        device = self.device
        device.bus_master = True
        self.registers = device.regions["bar0"].map()
        self._enable(on=False)
        admin, io = device.irqs.msix.enable(2)
        self.admin = Queue(device, self.registers, 0, 32, admin)
        self.registers.write32(AQA, 31 << 16 | 31)
        self.registers.write64(ASQ, self.admin.commands.iova)
        self.registers.write64(ACQ, self.admin.completions.iova)
        self._enable(on=True)
        self.io = Queue(device, self.registers, 1, self.depth, io)
        last = self.depth - 1
        self.admin.call(CREATE_CQ, prp=self.io.completions.iova, dwords=(last << 16 | 1, 1 << 16 | 3))
        self.admin.call(CREATE_SQ, prp=self.io.commands.iova, dwords=(last << 16 | 1, 1 << 16 | 1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enable(on=False)

    def identify(self, what: int, nsid: int = 0) -> bytes:
        """Return one page of what the controller says (5.17)."""
        with self.device.dma.map(PAGE) as answer:
            self.admin.call(IDENTIFY, nsid=nsid, prp=answer.iova, dwords=(what,))
            return bytes(answer.view)

    def transfer(
        self, opcode: int, block: int, count: int, memory: DmaBuffer, pages: DmaBuffer, slot: int
    ) -> None:
        """Start to read or write *count* blocks from *block*, by the part of *memory* for the slot."""
        self.io.submit(
            slot,
            opcode,
            nsid=1,
            prp=self._prp(memory, pages, slot),
            dwords=(block & 0xFFFFFFFF, block >> 32, count - 1),
        )

    def _prp(self, memory: DmaBuffer, pages: DmaBuffer, slot: int) -> tuple[int, int]:
        """Name the pages of a slot: the first, then the second or a list of the rest (4.1.1)."""
        each = memory.size // (pages.size // PAGE)
        first = memory.iova_of(slot * each)
        rest = [first + offset for offset in range(PAGE, each, PAGE)]
        struct.pack_into(f"<{len(rest)}Q", pages.view, slot * PAGE, *rest)
        return first, (rest[0] if len(rest) == 1 else pages.iova_of(slot * PAGE)) if rest else 0

    def _enable(self, *, on: bool) -> None:
        # Memory pages of 4 KiB, submission entries of 64 bytes, completion entries of 16 (3.1.3.5).
        self.registers.write32(CC, 6 << 16 | 4 << 20 | ENABLE if on else 0)
        while self.registers.read32(CSTS) & READY != on:
            pass


def main() -> None:
    """Say what the controller is, and what its first block holds."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("address")
    arguments.add_argument("--backend", default="auto", choices=["auto", "container", "iommufd"])
    chosen = arguments.parse_args()
    with Device.open(chosen.address, backend=chosen.backend) as device, Controller(device) as controller:
        run(controller)


def run(controller: Controller) -> None:
    """Identify controller and namespace, and read block 0."""
    device, about = controller.device, controller.identify(1)
    serial, model = about[4:24].decode().strip(), about[24:64].decode().strip()
    namespace = controller.identify(0, nsid=1)
    blocks = int.from_bytes(namespace[:8], "little")
    size = 1 << namespace[128 + 4 * (namespace[26] & 0xF) + 2]
    print(f"{device.address} by {device.backend}: {model}, serial {serial}")
    print(f"namespace 1: {blocks} blocks of {size} bytes")
    with device.dma.map(PAGE) as block, device.dma.map(PAGE) as pages:
        controller.transfer(READ, 0, 1, block, pages, 0)
        controller.io.reap()
        print(f"block 0 begins {bytes(block.view[:16]).hex(' ')}")


if __name__ == "__main__":
    main()

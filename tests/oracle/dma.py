"""A device that does DMA on command, behind a real unit, in a QEMU that the test steers word by word.

Guest memory is a file that the test maps too, so QEMU and the model walk the same bytes. The processor runs
a firmware of three instructions that halts it; with time counted by instructions, virtual time then jumps
to the next timer, and the device's DMA takes no real time. The machine has no interval timer: it would be
the next one for ever, and keep a processor of the host busy. No guest runs.
"""

import mmap
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.oracle.qtest import QEMU, QTest
from vfiokit.address import PciAddress

__all__ = ["EDU", "MEMORY_SIZE", "AmdMachine", "FaultRecord", "Machine", "VtdMachine", "machine"]

MEMORY_SIZE = 64 << 20
EDU = PciAddress(0, 0, 5, 0)
EDU_BAR = 0xFEA00000
BUFFER = 0x40000
SCRATCH = 0x3F00000
"""Where the test and the device exchange buffers while translation is off; no table and no page is there."""

_SOURCE, _DESTINATION, _COUNT, _COMMAND = 0x80, 0x88, 0x90, 0x98
_START, _TO_MEMORY = 1, 2
_HALT = bytes((0xFA, 0xF4, 0xEB, 0xFD))


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """What a unit recorded.

    :ivar reason: its code.
    :ivar page: address of the page.
    """

    reason: int
    source_id: int
    page: int
    read: bool


class Machine:
    """A running QEMU with its memory mapped here."""

    def __init__(self, guest: QTest, memory: mmap.mmap) -> None:
        self.guest = guest
        self.memory = memory
        self.device = EDU

    def plug(self, device: PciAddress = EDU) -> None:
        """Give a device its BAR and let it master the bus."""
        self.device = device
        self.guest.config_write(device, 0x10, EDU_BAR)
        self.guest.config_write(device, 0x04, 0x6)

    def batch(self, commands: Sequence[str]) -> list[list[str]]:
        """Send commands in one go and return the words of each answer."""
        stream = self.guest._stream
        stream.write("".join(f"{line}\n" for line in commands).encode())
        stream.flush()
        answers = [stream.readline().decode().split() for _ in commands]
        assert all(words[:1] == ["OK"] for words in answers), answers
        return answers

    def dma(self, address: int, slot: int, size: int, *, write: bool) -> list[str]:
        """Return the commands that start a transfer between *address* and the device's buffer."""
        here = BUFFER + slot
        source, destination = (here, address) if write else (address, here)
        return [
            f"writeq {EDU_BAR + _SOURCE:#x} {source:#x}",
            f"writeq {EDU_BAR + _DESTINATION:#x} {destination:#x}",
            f"writeq {EDU_BAR + _COUNT:#x} {size:#x}",
            f"writeq {EDU_BAR + _COMMAND:#x} {_START | (_TO_MEMORY if write else 0):#x}",
            f"readq {EDU_BAR + _COMMAND:#x}",
            f"readq {EDU_BAR + _COMMAND:#x}",
        ]

    def wait(self, answer: list[str]) -> None:
        """Poll until the transfer that was started is done."""
        for _ in range(10_000):
            if not int(answer[1], 16) & _START:
                return
            (answer,) = self.batch([f"readq {EDU_BAR + _COMMAND:#x}"])
        raise AssertionError("the device never finished its transfer")

    def transfer(self, address: int, slot: int, size: int, *, write: bool) -> None:
        """Move *size* bytes and wait until that is done."""
        self.wait(self.batch(self.dma(address, slot, size, write=write))[-1])

    def load(self, data: bytes) -> None:
        """Fill the device's buffer, with translation off."""
        self.memory[SCRATCH : SCRATCH + len(data)] = data
        self.disable()
        self.transfer(SCRATCH, 0, len(data), write=False)
        self.memory[SCRATCH : SCRATCH + len(data)] = bytes(len(data))

    def dump(self) -> bytes:
        """Return the device's buffer, with translation off."""
        self.disable()
        self.transfer(SCRATCH, 0, 0x1000, write=True)
        data = self.memory[SCRATCH : SCRATCH + 0x1000]
        self.memory[SCRATCH : SCRATCH + 0x1000] = bytes(0x1000)
        return data

    def disable(self) -> None:
        """Turn translation off."""
        raise NotImplementedError


class VtdMachine(Machine):
    """With a VT-d unit at the place that q35 gives it."""

    BASE = 0xFED90000
    CAP, ECAP, GCMD, RTADDR, CCMD, FSTS = 0x08, 0x10, 0x18, 0x20, 0x28, 0x34
    TE, SRTP = 1 << 31, 1 << 30

    def register(self, offset: int) -> int:
        """Read a 64-bit register."""
        return self.guest.read64(self.BASE + offset)

    @property
    def fault_offset(self) -> int:
        """Where the fault recording registers are."""
        return 16 * (self.register(self.CAP) >> 24 & 0x3FF)

    @property
    def iotlb_offset(self) -> int:
        """Where the IOTLB registers are."""
        return 16 * (self.register(self.ECAP) >> 8 & 0x3FF)

    def disable(self) -> None:
        """Turn translation off, which drops every cached entry."""
        self.batch([f"writel {self.BASE + self.GCMD:#x} 0x0"])

    def set_root(self, rtaddr: int) -> list[str]:
        """Return the commands that latch RTADDR and turn translation on, with every cache empty."""
        return [
            f"writeq {self.BASE + self.RTADDR:#x} {rtaddr:#x}",
            f"writel {self.BASE + self.GCMD:#x} {self.SRTP | self.TE:#x}",
        ]

    def read_fault(self) -> list[str]:
        """Return the commands that read a fault record and clear it."""
        record = self.BASE + 0x220
        return [
            f"readq {record:#x}",
            f"readq {record + 8:#x}",
            f"writel {record + 12:#x} {1 << 31:#x}",
            f"writel {self.BASE + self.FSTS:#x} 0x1",
        ]

    @staticmethod
    def decode_fault(low: int, high: int) -> FaultRecord | None:
        """Read a fault record; ``None`` if there is none."""
        if not high >> 63:
            return None
        return FaultRecord(high >> 32 & 0xFF, high & 0xFFFF, low & ~0xFFF, bool(high >> 62 & 1))

    def request(
        self, rtaddr: int | None, address: int, slot: int, *, write: bool, size: int = 8
    ) -> FaultRecord | None:
        """Do one DMA and return what was recorded; *rtaddr* latches the root and empties every cache."""
        setup = [] if rtaddr is None else self.set_root(rtaddr)
        commands = [*setup, *self.dma(address, slot, size, write=write)]
        *_, done, low, high, _, _ = self.batch([*commands, *self.read_fault()])
        if int(done[1], 16) & _START:
            self.wait(done)
            low, high, *_ = self.batch(self.read_fault())
        return self.decode_fault(int(low[1], 16), int(high[1], 16))

    def invalidate_context(self) -> None:
        """Drop every cached context entry."""
        self.guest.command(f"writeq {self.BASE + self.CCMD:#x} {1 << 63 | 1 << 61:#x}")

    def invalidate_iotlb(self, granularity: int, domain: int = 0, address: int = 0, order: int = 0) -> None:
        """Drop cached translations: all (1), a domain's (2), or those of pages (3)."""
        place = self.BASE + 0xF0
        self.guest.command(f"writeq {place:#x} {address & ~0xFFF | order:#x}")
        self.guest.command(f"writeq {place + 8:#x} {1 << 63 | granularity << 60 | domain << 32:#x}")


class AmdMachine(Machine):
    """With an AMD-Vi unit at the place that QEMU gives it."""

    BASE = 0xFED80000
    DEVICE_TABLE, COMMAND_BUFFER, CONTROL, HEAD, TAIL = 0x00, 0x08, 0x18, 0x2000, 0x2008
    ENABLE, ENABLE_COMMANDS = 1 << 0, 1 << 12
    COMMANDS = 0x3EFF000
    INVALIDATE_ALL = (8 << 60).to_bytes(8, "little") + bytes(8)

    def disable(self) -> None:
        """Turn translation off."""
        self.batch([f"writeq {self.BASE + self.CONTROL:#x} 0x0"])

    def enable(self, device_table: int) -> list[str]:
        """Return the commands that set the device table, turn translation on and drop what is cached."""
        self.memory[self.COMMANDS : self.COMMANDS + 16] = self.INVALIDATE_ALL
        return [
            f"writeq {self.BASE + self.DEVICE_TABLE:#x} {device_table:#x}",
            f"writeq {self.BASE + self.COMMAND_BUFFER:#x} {self.COMMANDS | 8 << 56:#x}",
            f"writeq {self.BASE + self.CONTROL:#x} {self.ENABLE | self.ENABLE_COMMANDS:#x}",
            # The head goes to 0 with the base, so that one command runs.
            f"writeq {self.BASE + self.TAIL:#x} 0x10",
        ]


@contextmanager
def machine(unit: str, *options: str, device: PciAddress | None = EDU) -> Iterator[Machine]:
    """Start QEMU with *unit* (``intel-iommu,…`` or ``amd-iommu,…``), and stop it at the end."""
    with (
        tempfile.TemporaryDirectory(dir=_shared_memory()) as directory,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path, memory, firmware = (Path(directory, name) for name in ("qtest", "memory", "firmware"))
        firmware.write_bytes(bytes(0xFFF0) + _HALT.ljust(16, b"\0"))
        with memory.open("wb") as file:
            file.truncate(MEMORY_SIZE)
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(60)
        command = [
            *(QEMU, "-nodefaults", "-display", "none", "-accel", "tcg", "-icount", "shift=0,sleep=off"),
            *("-machine", "q35,kernel-irqchip=split,memory-backend=ram,pit=off"),
            *("-m", "64", "-bios", str(firmware)),
            *("-object", f"memory-backend-file,id=ram,size=64M,mem-path={memory},share=on"),
            *("-qtest-log", "/dev/null", "-qtest", f"unix:{path}", "-device", unit),
            *options,
        ]
        if device is not None:
            command += ["-device", f"edu,dma_mask=0xffffffffffffffff,addr={device.device:#x}"]
        errors = Path(directory, "errors")
        with errors.open("wb") as stderr:
            process = subprocess.Popen(command, stderr=stderr)
        try:
            connection, _ = listener.accept()
            with connection, memory.open("r+b") as file:
                # Not closed here: the test's models may still hold views of it.
                mapped = mmap.mmap(file.fileno(), MEMORY_SIZE)
                connection.settimeout(60)
                found = (VtdMachine if unit.startswith("intel") else AmdMachine)(QTest(connection), mapped)
                if device is not None:
                    found.plug(device)
                yield found
        except (TimeoutError, ConnectionError) as error:
            raise AssertionError(f"QEMU: {errors.read_text().strip()[:2000]}") from error
        finally:
            process.terminate()
            process.wait(timeout=60)


def _shared_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None

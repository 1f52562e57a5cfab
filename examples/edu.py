"""Make QEMU's edu device compute, interrupt and copy: python edu.py ADDRESS [--backend container|iommufd].

The device's registers are in docs/specs/edu.rst of QEMU. It copies between memory and a buffer of 4096 bytes
of its own, and sees 28 address bits.
"""

import argparse
import os

from vfiokit.vfio import Device, DmaBuffer, EventFd, Window

IDENTITY, LIVENESS, FACTORIAL, STATUS = 0x00, 0x04, 0x08, 0x20
INTERRUPT_STATUS, INTERRUPT_ACKNOWLEDGE = 0x24, 0x64
DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98
COMPUTING, INTERRUPT_WHEN_DONE = 0x01, 0x80
START, TO_MEMORY, DMA_INTERRUPT = 1, 2, 4
BUFFER, BUFFER_SIZE, ADDRESS_LIMIT = 0x40000, 4096, 1 << 28


def main() -> None:
    """Open the device and run every part."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("address")
    arguments.add_argument("--backend", default="auto", choices=["auto", "container", "iommufd"])
    chosen = arguments.parse_args()
    with Device.open(chosen.address, backend=chosen.backend) as device:
        run(device)


def run(device: Device) -> None:
    """Identify the device, compute with an interrupt, copy by DMA."""
    with device.regions["bar0"].map() as registers, device.irqs.msi[0].eventfd() as interrupt:
        identity = registers.read32(IDENTITY)
        print(f"{device.address} by {device.backend}: edu {identity >> 24}.{identity >> 16 & 0xFF}")
        registers.write32(LIVENESS, 0x12345678)
        print(f"liveness: {registers.read32(LIVENESS):#x}")
        # A message signalled interrupt is a write by the device.
        device.bus_master = True
        print(f"10! = {factorial(registers, interrupt, 10)}")
        with device.dma.map(2 * BUFFER_SIZE, below=ADDRESS_LIMIT) as memory:
            sent = os.urandom(BUFFER_SIZE)
            memory.view[:BUFFER_SIZE] = sent
            copy(registers, interrupt, memory, 0, to_memory=False)
            copy(registers, interrupt, memory, BUFFER_SIZE, to_memory=True)
            came_back = bytes(memory.view[BUFFER_SIZE:])
            print(f"{BUFFER_SIZE} bytes there and back: {'equal' if came_back == sent else 'DIFFERENT'}")


def factorial(registers: Window, interrupt: EventFd, number: int) -> int:
    """Compute number! modulo 2**32, waiting for the interrupt that says it is done."""
    registers.write32(STATUS, INTERRUPT_WHEN_DONE)
    registers.write32(FACTORIAL, number)
    acknowledge(registers, interrupt)
    return registers.read32(FACTORIAL)


def copy(
    registers: Window,
    interrupt: EventFd,
    memory: DmaBuffer,
    offset: int,
    *,
    to_memory: bool,
    length: int = BUFFER_SIZE,
) -> None:
    """Copy between the device's buffer and memory, waiting for the interrupt."""
    ends = (BUFFER, memory.iova_of(offset)) if to_memory else (memory.iova_of(offset), BUFFER)
    registers.write64(DMA_SOURCE, ends[0])
    registers.write64(DMA_DESTINATION, ends[1])
    registers.write64(DMA_COUNT, length)
    registers.doorbell64(DMA_COMMAND, START | DMA_INTERRUPT | (TO_MEMORY if to_memory else 0))
    acknowledge(registers, interrupt)


def acknowledge(registers: Window, interrupt: EventFd) -> None:
    """Wait for an interrupt and tell the device that it was seen."""
    if not interrupt.wait(timeout=10):
        raise TimeoutError("edu did not interrupt")
    registers.write32(INTERRUPT_ACKNOWLEDGE, registers.read32(INTERRUPT_STATUS))


if __name__ == "__main__":
    main()

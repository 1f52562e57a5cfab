"""Devices for the fake kernel: a base with config space, interrupts and DMA, and QEMU's edu built on it."""

import errno
import math
import mmap
import os
from collections.abc import Callable

from vfiokit.address import AddressRange, PciAddress
from vfiokit.testing.fake_iommu import DmaFault, FakeIommu
from vfiokit.testing.fake_space import FakeSpace

__all__ = ["FakeDevice", "FakeEdu"]

COMMAND, STATUS, CAPABILITIES = 0x04, 0x06, 0x34
IO, MEMORY, MASTER = 1, 2, 4
_POWER, _MSI = 0x50, 0x60
CONFIG = 7
INTX, MSI, MSIX, ERR, REQ = range(5)
VIABLE = ("vfio-pci", "pci-stub", "pcieport", None)
"""Drivers that leave DMA of the group to its owner."""


class FakeDevice:
    """A PCI function without behaviour: subclass it and answer :meth:`read` and :meth:`write`.

    :param address: where it sits.
    :param group: its IOMMU group.
    :param bars: bytes of each BAR, by index.
    :param vectors: how many interrupts of each kind: intx, msi, msix, err, req.
    :param can_reset: whether it has a function reset.
    :param driver: the driver that has it.
    :param token: the UUID it opens with, for a virtual function.
    :param mappable: whether its BARs can be mapped, or which parts of them.
    :ivar memory: the content of each BAR, for a device that only stores.
    :ivar accesses: every access to a BAR: (index, offset, width, value or ``None`` for a read).
    :ivar iommu: what its requests go through; ``None`` for one without.
    """

    identity = (0x1234, 0x0001, 0x00FF0000)
    """Vendor, device, class."""

    def __init__(
        self,
        address: str | PciAddress = "0000:00:04.0",
        *,
        group: int = 14,
        bars: dict[int, int] | None = None,
        vectors: tuple[int, int, int, int, int] = (1, 1, 8, 1, 1),
        can_reset: bool = True,
        driver: str | None = "vfio-pci",
        token: str | None = None,
        noiommu: bool = False,
        mappable: bool | tuple[AddressRange, ...] = True,
    ) -> None:
        self.address = PciAddress.parse(address) if isinstance(address, str) else address
        self.group, self.driver, self.token = group, driver, token
        self.noiommu, self.can_reset, self.mappable = noiommu, can_reset, mappable
        self.bars = {0: 0x1000} if bars is None else bars
        self.vectors = vectors
        # Whole pages, as a BAR's are: part of it may be mapped for another device.
        self.memory = {index: mmap.mmap(-1, size) for index, size in self.bars.items()}
        self.accesses: list[tuple[int, int, int, int | None]] = []
        self.iommu: FakeIommu | None = None
        self._space: FakeSpace | None = None
        self.eventfds: dict[tuple[int, int], int] = {}
        self.masked: set[tuple[int, int]] = set()
        self.pending: set[tuple[int, int]] = set()
        self.gone = False
        self.config = self._config()

    # What a subclass gives its own behaviour.

    def read(self, bar: int, offset: int, width: int) -> int:
        """Answer a read of a BAR; here it is memory."""
        return int.from_bytes(self.memory[bar][offset : offset + width], "little")

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """Take a write to a BAR; here it is memory."""
        self.memory[bar][offset : offset + width] = value.to_bytes(width, "little")

    def on_reset(self) -> None:
        """Return to the state after power on; here all BARs become zero."""
        for content in self.memory.values():
            content[:] = bytes(len(content))

    def on_fault(self, fault: DmaFault) -> None:
        """Do what the device does when the IOMMU blocks it; here nothing."""

    # What a device can do.

    def interrupt(self, kind: int, vector: int = 0) -> None:
        """Fire an interrupt; one that is not wired, or a message without bus mastering, is lost."""
        if kind in (MSI, MSIX) and not self.is_master:
            return
        self.deliver(kind, vector)

    def dma_read(self, iova: int, size: int) -> bytes:
        """Read memory; all ones where it is blocked, as a completion that never came."""
        if not self.is_master:
            return b"\xff" * size
        if self.iommu is None:
            return self._space.read(iova, size) if self._space else b"\xff" * size
        try:
            return self.iommu.read(self.address, iova, size)
        except DmaFault as fault:
            self.on_fault(fault)
            return b"\xff" * size

    def dma_write(self, iova: int, data: bytes) -> None:
        """Write memory; nothing happens where it is blocked."""
        if not self.is_master:
            return
        if self.iommu is None:
            if self._space:
                self._space.write(iova, data)
        else:
            try:
                self.iommu.write(self.address, iova, data)
            except DmaFault as fault:
                self.on_fault(fault)

    def unplug(self) -> None:
        """Be gone: every call and access fails from now on."""
        self.gone = True

    @property
    def is_master(self) -> bool:
        """Whether it may start DMA and send messages."""
        return bool(self.config[COMMAND] & MASTER)

    @property
    def decodes(self) -> bool:
        """Whether it answers at its BARs."""
        return bool(self.config[COMMAND] & MEMORY) and not self.config[_POWER + 4] & 3

    # What the kernel does with it.

    @property
    def space(self) -> FakeSpace | None:
        """The address space that its requests go to; ``None`` where all of them are blocked."""
        return self._space

    @space.setter
    def space(self, space: FakeSpace | None) -> None:
        self._space = space
        if self.iommu is not None:
            if space is None:
                self.iommu.detach(self.address)
            else:
                self.iommu.attach(self.address, space.domain)

    def access(self, bar: int, offset: int, width: int, value: int | None = None) -> int:
        """Make one access to a BAR, and note it."""
        self.accesses.append((bar, offset, width, value))
        if value is None:
            return self.read(bar, offset, width)
        self.write(bar, offset, width, value)
        return 0

    def write_config(self, offset: int, data: bytes) -> None:
        """Write configuration space: command and power state can be written, the rest is read only."""
        writable = {COMMAND: 0x07, COMMAND + 1: 0x05, _POWER + 4: 0x03}
        for at, byte in enumerate(data, offset):
            mask = writable.get(at, 0)
            self.config[at] = self.config[at] & ~mask | byte & mask

    def deliver(self, kind: int, vector: int) -> None:
        """Signal the eventfd of a vector, unless it is masked."""
        key = (kind, vector)
        if key in self.masked:
            self.pending.add(key)
        elif key in self.eventfds:
            if kind == INTX:
                # The kernel masks a pin when it fires, until the user says that the device is quiet.
                self.masked.add(key)
            os.eventfd_write(self.eventfds[key], 1)

    def unmask(self, kind: int, vector: int) -> None:
        """Let a vector through, and deliver what waited."""
        self.masked.discard((kind, vector))
        if (kind, vector) in self.pending:
            self.pending.discard((kind, vector))
            self.deliver(kind, vector)

    def unwire(self, kind: int | None = None) -> None:
        """Drop the eventfds of a kind, or of all."""
        for key in [key for key in self.eventfds if kind is None or key[0] == kind]:
            os.close(self.eventfds.pop(key))
            self.masked.discard(key)
            self.pending.discard(key)

    def reset(self) -> None:
        """Reset, as the kernel does it: interrupts gone but the release request, config space put back."""
        for kind in (INTX, MSI, MSIX):
            self.unwire(kind)
        self.on_reset()

    def opened(self) -> None:
        """Reset, and begin as the kernel leaves a device that it opens: decoding, without bus mastering."""
        self.reset()
        self.config = self._config()

    def check(self) -> None:
        """Raise ENODEV if it is gone."""
        if self.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def _config(self) -> bytearray:
        vendor, device, kind = self.identity
        config = bytearray(256)
        config[0:4] = (vendor | device << 16).to_bytes(4, "little")
        config[COMMAND] = IO | MEMORY
        config[STATUS] = 1 << 4
        config[8:12] = (kind << 8).to_bytes(4, "little")
        config[CAPABILITIES] = _POWER
        config[_POWER : _POWER + 2] = bytes((0x01, _MSI))
        config[_MSI : _MSI + 2] = bytes((0x05, 0x00))
        config[0x3D] = 1 if self.vectors[INTX] else 0
        return config


class FakeEdu(FakeDevice):
    """QEMU's edu: it computes factorials, raises interrupts and copies by DMA, without taking time."""

    identity = (0x1234, 0x11E8, 0x00FF0000)

    def __init__(self, address: str | PciAddress = "0000:00:04.0", **details: object) -> None:
        defaults: dict[str, object] = {"bars": {0: 1 << 20}, "vectors": (1, 1, 0, 0, 1)}
        super().__init__(address, **(defaults | details))  # type: ignore[arg-type]
        self.on_reset()

    def on_reset(self) -> None:
        """Forget everything."""
        self.registers = dict.fromkeys((0x04, 0x08, 0x20, 0x24, 0x80, 0x88, 0x90, 0x98), 0)
        self.buffer = bytearray(4096)

    def read(self, bar: int, offset: int, width: int) -> int:
        """Answer as edu: below 0x80 to 32-bit accesses only."""
        if (width != 4 and offset < 0x80) or width not in (4, 8):
            return (1 << 8 * width) - 1
        return {0x00: 0x010000ED, **self.registers}.get(offset, (1 << 8 * width) - 1)

    def write(self, bar: int, offset: int, width: int, value: int) -> None:
        """Act on a write."""
        action = self._actions().get(offset)
        if action and (width == 4 or (width == 8 and offset >= 0x80)):
            action(value)

    def _actions(self) -> dict[int, Callable[[int], None]]:
        plain = {
            place: lambda value, at=place: self.registers.update({at: value}) for place in (0x80, 0x88, 0x90)
        }
        return plain | {
            0x04: lambda value: self.registers.update({0x04: ~value & 0xFFFFFFFF}),
            0x08: self._factorial,
            0x20: lambda value: self.registers.update({0x20: value & 0x80}),
            0x60: self._raise,
            0x64: lambda value: self.registers.update({0x24: self.registers[0x24] & ~value}),
            0x98: self._copy,
        }

    def _factorial(self, number: int) -> None:
        self.registers[0x08] = math.factorial(min(number, 64)) % (1 << 32)
        if self.registers[0x20] & 0x80:
            self._raise(1)

    def _raise(self, bits: int) -> None:
        self.registers[0x24] |= bits
        wired = {kind for kind, _ in self.eventfds}
        self.interrupt(MSI if MSI in wired else INTX)

    def _copy(self, command: int) -> None:
        if not command & 1:
            return
        source, target, count = (self.registers[place] for place in (0x80, 0x88, 0x90))
        if command & 2:
            start = source - 0x40000
            self.dma_write(target & 0xFFFFFFF, bytes(self.buffer[start : start + count]))
        else:
            start = target - 0x40000
            self.buffer[start : start + count] = self.dma_read(source & 0xFFFFFFF, count)
        if command & 4:
            self._raise(0x100)

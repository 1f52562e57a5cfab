"""Configuration space of an open device, as VFIO shows it: some registers are virtual, some not writable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfiokit.vfio.errors import InUse
from vfiokit.vfio.region import CONFIG

if TYPE_CHECKING:
    from vfiokit.vfio.device import Device

__all__ = ["ConfigAccess", "PowerState"]

_COMMAND, _STATUS, _CAPABILITIES = 0x04, 0x06, 0x34
COMMAND_IO, COMMAND_MEMORY, COMMAND_MASTER = 1, 2, 4
_STATUS_LIST = 1 << 4
_CAP_POWER = 0x01
PowerState = int
"""0 to 3: D0, D1, D2, D3hot."""


class ConfigAccess:
    """Bytes of configuration space; an access of 1, 2 or 4 aligned bytes is one access of the device.

    Writes that would take memory decoding away from under a mapping are refused, since the next access
    through the mapping would kill the process.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._region = device.regions[CONFIG]
        self._window = self._region.syscalls()

    @property
    def size(self) -> int:
        """256 for a conventional device, else 4096."""
        return self._region.size

    def read(self, offset: int, size: int) -> bytes:
        """Read *size* bytes from *offset*, by the widest accesses that are aligned."""
        return b"".join(
            self._window.read_block(at, width, width=width) for at, width in _pieces(offset, size)
        )

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at *offset*, by the widest accesses that are aligned.

        :raises InUse: if it would switch memory decoding off while a region is mapped.
        """
        self._check(offset, data)
        for at, width in _pieces(offset, len(data)):
            self._window.write_block(at, data[at - offset : at - offset + width], width=width)

    def read8(self, offset: int) -> int:
        """Read one byte."""
        return self._window.read8(offset)

    def read16(self, offset: int) -> int:
        """Read a word by one access."""
        return self._window.read16(offset)

    def read32(self, offset: int) -> int:
        """Read a double word by one access."""
        return self._window.read32(offset)

    def write8(self, offset: int, value: int) -> None:
        """Write one byte."""
        self.write(offset, value.to_bytes(1, "little"))

    def write16(self, offset: int, value: int) -> None:
        """Write a word by one access."""
        self.write(offset, value.to_bytes(2, "little"))

    def write32(self, offset: int, value: int) -> None:
        """Write a double word by one access."""
        self.write(offset, value.to_bytes(4, "little"))

    @property
    def command(self) -> int:
        """The COMMAND register (PCI 3.0, 6.2.2)."""
        return self.read16(_COMMAND)

    @command.setter
    def command(self, value: int) -> None:
        self.write16(_COMMAND, value)

    def capability(self, identity: int) -> int | None:
        """Return the offset of a capability (PCI 3.0, 6.7), or ``None`` without it."""
        if not self.read16(_STATUS) & _STATUS_LIST:
            return None
        place, seen = self.read8(_CAPABILITIES) & ~3, set[int]()
        while place >= 0x40 and place not in seen:
            seen.add(place)
            if self.read8(place) == identity:
                return place
            place = self.read8(place + 1) & ~3
        return None

    @property
    def power_state(self) -> PowerState | None:
        """D0 to D3hot as 0 to 3 (PCI PM 3.2.4), ``None`` for a device without power management."""
        place = self.capability(_CAP_POWER)
        return None if place is None else self.read16(place + 4) & 3

    @power_state.setter
    def power_state(self, state: PowerState) -> None:
        place = self.capability(_CAP_POWER)
        if place is not None:
            self.write16(place + 4, self.read16(place + 4) & ~3 | state)

    def _check(self, offset: int, data: bytes) -> None:
        if not self._device.mapped_regions:
            return
        if offset <= _COMMAND < offset + len(data) and not data[_COMMAND - offset] & COMMAND_MEMORY:
            self._refuse("it would switch memory decoding off")
        place = self.capability(_CAP_POWER)
        # Any state but D0 takes the BARs away.
        if place and offset <= place + 4 < offset + len(data) and data[place + 4 - offset] & 3:
            self._refuse("it would take the device out of D0")

    def _refuse(self, reason: str) -> None:
        names = ", ".join(region.name for region in self._device.mapped_regions)
        raise InUse(
            f"{reason} under a mapping",
            operation="write config",
            subject=str(self._device.address),
            hint=f"close the windows on {names}, or open them guarded",
        )


def _pieces(offset: int, size: int) -> list[tuple[int, int]]:
    """Cut a range into aligned pieces of 4, 2 and 1 bytes."""
    pieces = []
    end = offset + size
    while offset < end:
        width = next(width for width in (4, 2, 1) if offset % width == 0 and offset + width <= end)
        pieces.append((offset, width))
        offset += width
    return pieces

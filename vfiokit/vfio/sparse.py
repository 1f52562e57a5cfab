"""Windows on regions of which only parts can be mapped, as where an MSI-X table lies in a BAR."""

from __future__ import annotations

from vfiokit.address import AddressRange
from vfiokit.vfio.window import Window, check_access

__all__ = ["SparseWindow"]


class SparseWindow(Window):
    """A window on a region of which parts can be mapped: each access goes the way that its place allows.

    :param parts: the mapped parts, with where each lies in the region.
    :param rest: for all that lies between.
    """

    mode = "mixed"

    def __init__(self, parts: tuple[tuple[AddressRange, Window], ...], rest: Window) -> None:
        self._parts, self._rest = parts, rest
        self.size, self.subject = rest.size, rest.subject

    @property
    def closed(self) -> bool:
        """Whether it was given up."""
        return self._rest.closed

    def read8(self, offset: int, /) -> int:
        """Read one byte by one 8-bit access."""
        window, at = self._at(offset, 1)
        return window.read8(at)

    def read16(self, offset: int, /) -> int:
        """Read by one 16-bit access."""
        window, at = self._at(offset, 2)
        return window.read16(at)

    def read32(self, offset: int, /) -> int:
        """Read by one 32-bit access."""
        window, at = self._at(offset, 4)
        return window.read32(at)

    def read64(self, offset: int, /) -> int:
        """Read by one 64-bit access."""
        window, at = self._at(offset, 8)
        return window.read64(at)

    def write8(self, offset: int, value: int, /) -> None:
        """Write one byte by one 8-bit access."""
        window, at = self._at(offset, 1)
        window.write8(at, value)

    def write16(self, offset: int, value: int, /) -> None:
        """Write by one 16-bit access."""
        window, at = self._at(offset, 2)
        window.write16(at, value)

    def write32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access."""
        window, at = self._at(offset, 4)
        window.write32(at, value)

    def write64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access."""
        window, at = self._at(offset, 8)
        window.write64(at, value)

    def doorbell32(self, offset: int, value: int, /) -> None:
        """Write by one 32-bit access, after a release fence."""
        window, at = self._at(offset, 4)
        window.doorbell32(at, value)

    def doorbell64(self, offset: int, value: int, /) -> None:
        """Write by one 64-bit access, after a release fence."""
        window, at = self._at(offset, 8)
        window.doorbell64(at, value)

    def read_block(self, offset: int, length: int, *, width: int) -> bytes:
        """Read *length* bytes by accesses of *width* bytes, upwards, each the way its place allows."""
        check_access(offset, width, self.size, self.subject, length=length)
        return b"".join(
            window.read_block(start, size, width=width)
            for window, start, size in self._pieces(offset, length, width)
        )

    def write_block(self, offset: int, data: bytes | bytearray | memoryview, *, width: int) -> None:
        """Write *data* by accesses of *width* bytes, upwards, each the way its place allows."""
        check_access(offset, width, self.size, self.subject, length=len(data))
        done = 0
        for window, start, size in self._pieces(offset, len(data), width):
            window.write_block(start, data[done : done + size], width=width)
            done += size

    def close(self) -> None:
        """Unmap every part."""
        for _, window in self._parts:
            window.close()
        self._rest.close()

    def forget(self) -> None:
        """Give every part up in a forked child."""
        for _, window in self._parts:
            window.forget()
        self._rest.forget()

    def _at(self, offset: int, width: int) -> tuple[Window, int]:
        for part, window in self._parts:
            if part.start <= offset and offset + width <= part.end and not window.closed:
                return window, offset - part.start
        return self._rest, offset

    def _pieces(self, offset: int, length: int, width: int) -> list[tuple[Window, int, int]]:
        """Cut a block where the way changes."""
        pieces: list[tuple[Window, int, int]] = []
        for at in range(offset, offset + length, width):
            window, start = self._at(at, width)
            if pieces and pieces[-1][0] is window and pieces[-1][1] + pieces[-1][2] == start:
                pieces[-1] = (window, pieces[-1][1], pieces[-1][2] + width)
            else:
                pieces.append((window, start, width))
        return pieces

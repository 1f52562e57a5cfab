"""A dma-buf: part of a device's BAR as a file, for another device's address space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfiokit.vfio import forks
from vfiokit.vfio.errors import Closed
from vfiokit.vfio.system import System, close_quietly

if TYPE_CHECKING:
    from vfiokit.address import PciAddress

__all__ = ["DmaBuf"]


class DmaBuf:
    """A dma-buf over parts of a BAR, made by :meth:`Features.dma_buf`; :meth:`Dma.map_file` maps it.

    Closing it leaves what was mapped from it mapped. It can be passed to another process as any descriptor
    can. When its device is reset, or stops decoding memory, every mapping made before is gone for good; it
    can be mapped anew when the device decodes again, and not at all once the device is closed.

    :ivar size: bytes, all parts together.
    """

    def __init__(self, system: System, fd: int, size: int, address: PciAddress) -> None:
        self._system, self._fd, self._address = system, fd, address
        self.size = size
        forks.register(self)

    def fileno(self) -> int:
        """Return the descriptor.

        :raises Closed: if it was closed.
        """
        if self._fd < 0:
            raise Closed("it was closed", operation="use", subject=f"dma-buf of {self._address}")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._fd < 0

    def close(self) -> None:
        """Close the descriptor; a second time is nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            close_quietly(self._system, fd)

    def forget(self) -> None:
        """Close this copy after a fork."""
        self.close()

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> DmaBuf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"descriptor {self._fd}"
        return f"<DmaBuf of {self.size:#x} bytes of {self._address}: {state}>"

"""One function's config space and resources, read from a source a few bytes at a time."""

import errno
import re

from vfiokit.address import PciAddress
from vfiokit.errors import CannotTell, VfiokitError
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.image import Origin, SparseImage
from vfiokit.pci.lspci import KernelView
from vfiokit.pci.resources import ResourceTable, parse_resources
from vfiokit.pci.vfio_view import VirtualFunction, as_shown
from vfiokit.sysfs.source import Source, follow

__all__ = ["FunctionFiles"]

_DEVICES = "sys/bus/pci/devices"
_LIMIT = 1 << 12
_PCI_ID = re.compile(rb"^PCI_ID=([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})$", re.M)
_ATTRIBUTES = ("irq", "resource", "sriov_totalvfs")


class FunctionFiles:
    """The files of one function.

    :ivar address: the function.
    :ivar path: its directory, from the root, links followed.
    """

    def __init__(self, source: Source, address: PciAddress) -> None:
        self.source = source
        self.address = address
        self.path = _real_path(source, f"{_DEVICES}/{address}")

    def config(self) -> ConfigSpace:
        """Open the config space; nothing but its header is read now.

        :raises CannotTell: if it cannot be read.
        """
        self._read_at(0, 4)
        image = SparseImage(self._read_at, origin=Origin.KERNEL)
        return ConfigSpace(image, first=self.address.devfn == 0)

    def resources(self) -> ResourceTable | None:
        """Read what the kernel assigned, ``None`` where it does not say."""
        text = self.text("resource")
        if text is None:
            return None
        try:
            return parse_resources(text)
        except ValueError as error:
            raise VfiokitError(str(error), operation="read", subject=f"{self.path}/resource") from error

    def number(self, name: str) -> int | None:
        """Read an attribute that is a decimal number, ``None`` where there is none."""
        text = (self.text(name) or b"").strip()
        return int(text) if text.isdigit() else None

    def text(self, name: str) -> bytes | None:
        """Read an attribute, ``None`` where there is none."""
        try:
            return self.source.read(f"{self.path}/{name}", _LIMIT)
        except OSError:
            return None

    def read_all(self) -> None:
        """Read every attribute that is read of one function beyond a scan, so that a capture holds it."""
        for name in _ATTRIBUTES:
            self.text(name)

    def kernel_view(self) -> KernelView | None:
        """Return what the kernel adds in lspci's text, ``None`` where that was not recorded."""
        table = self.resources()
        if table is None:
            return None
        return KernelView(
            irq=self.number("irq") or 0, regions=table.bars, rom=table.rom, windows=table.windows
        )

    def virtual(self) -> VirtualFunction | None:
        """Return what the kernel calls a virtual function, ``None`` for any other.

        :raises CannotTell: if it does not say.
        """
        try:
            self.source.readlink(f"{self.path}/physfn")
        except OSError:
            return None
        match = _PCI_ID.search(self.text("uevent") or b"")
        if match is None:
            raise CannotTell(
                "the kernel does not say what it is", operation="read", subject=f"{self.path}/uevent"
            )
        return VirtualFunction(int(match[1], 16), int(match[2], 16))

    def through_vfio(self, space: ConfigSpace) -> ConfigSpace:
        """Return what vfio-pci would show of its config space.

        :param space: what :meth:`config` gave; nothing of it is read again.
        :raises CannotTell: if it cannot be read.
        :raises UsageError: for a bridge.
        """
        return as_shown(space, virtual=self.virtual(), resources=self.resources())

    def _read_at(self, offset: int, size: int) -> bytes:
        try:
            return self.source.read_at(f"{self.path}/config", offset, size)
        except OSError as error:
            hint = "it needs root" if error.errno in (errno.EACCES, errno.EPERM) else ""
            raise CannotTell.from_os(
                error, operation="read config space of", subject=str(self.address), hint=hint
            ) from error


def _real_path(source: Source, path: str) -> str:
    try:
        return follow(path, source.readlink(path))
    except OSError:
        return path

"""Kernel and udev events as a reason to scan again, and names from the hardware database.

The only importer of pyudev. An event is never believed: it says that something happened, and a new scan
says what. So a burst that overflows the socket's buffer loses nothing; it is one more reason to scan.
"""

import contextlib
import select
import time
from collections.abc import Callable
from typing import Any

import pyudev

from vfiokit.errors import NotSupported

__all__ = ["Events", "HardwareNames"]

_SUBSYSTEMS = ("pci", "iommu", "vfio", "vfio-dev", "drivers", "module")
_BUFFER = 1 << 22
_QUIET = 0.05
_LONGEST_BURST = 0.5


class Events:
    """Waits for events about PCI functions, their drivers, IOMMU and VFIO devices.

    Open it before the first scan, so that nothing falls between the two; a ``with`` block gets
    :meth:`wait`. Synchronization: one thread.

    :raises NotSupported: if there is no libudev, or the kernel gives no events here.
    """

    def __init__(self) -> None:
        self._monitors: list[Any] = []
        self._open()

    def __enter__(self) -> Callable[[float], bool]:
        return self.wait

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._monitors.clear()

    def wait(self, seconds: float) -> bool:
        """Wait for an event, then until the burst that it starts has passed.

        :param seconds: how long to wait at most for the first event.
        :returns: whether there was any.
        """
        if not self._ready(seconds):
            return False
        end = time.monotonic() + _LONGEST_BURST
        self._drain()
        while time.monotonic() < end and self._ready(_QUIET):
            self._drain()
        return True

    def _open(self) -> None:
        try:
            context = pyudev.Context()
            # The kernel's own events come at once; udev's come when nodes and names are in place.
            self._monitors = [_monitor(context, source) for source in ("kernel", "udev")]
        except (ImportError, OSError) as error:
            raise NotSupported(str(error), operation="watch", subject="udev events") from error

    def _ready(self, seconds: float) -> bool:
        poller = select.poll()
        for monitor in self._monitors:
            poller.register(monitor.fileno(), select.POLLIN)
        return bool(poller.poll(max(0, int(seconds * 1000))))

    def _drain(self) -> None:
        """Take every event that waits; an overflow ends the socket for pyudev: open a new one."""
        try:
            for monitor in self._monitors:
                while monitor.poll(timeout=0) is not None:
                    pass
        except OSError:
            self._open()


def _monitor(context: Any, source: str) -> Any:
    monitor = pyudev.Monitor.from_netlink(context, source=source)
    for subsystem in _SUBSYSTEMS:
        monitor.filter_by(subsystem)
    with contextlib.suppress(OSError):
        # Beyond the system's limit only with CAP_NET_ADMIN.
        monitor.set_receive_buffer_size(_BUFFER)
    monitor.start()
    return monitor


class HardwareNames:
    """Names from udev's hardware database, of the functions that this host has.

    :param names: vendor, device and class names by their identifiers.
    """

    def __init__(self, names: dict[tuple[str, int, int], str]) -> None:
        self._names = names

    @classmethod
    def open(cls) -> "HardwareNames | None":
        """Ask udev about every PCI function; ``None`` where there is no udev."""
        names: dict[tuple[str, int, int], str] = {}
        try:
            for device in pyudev.Context().list_devices(subsystem="pci"):
                _remember(names, device.properties)
        except (ImportError, OSError):
            return None
        return cls(names) if names else None

    def vendor(self, vendor: int) -> str | None:
        """Return a vendor's name."""
        return self._names.get(("vendor", vendor, 0))

    def device(self, vendor: int, device: int) -> str | None:
        """Return a device's name."""
        return self._names.get(("device", vendor, device))

    def class_name(self, code: int) -> str | None:
        """Return the name of a base class and subclass, 16 bits."""
        return self._names.get(("class", code, 0))


def _remember(names: dict[tuple[str, int, int], str], properties: Any) -> None:
    vendor, _, device = str(properties.get("PCI_ID", "")).partition(":")
    code = str(properties.get("PCI_CLASS", ""))
    rows = (
        (("vendor", vendor, "0"), "ID_VENDOR_FROM_DATABASE"),
        (("device", vendor, device), "ID_MODEL_FROM_DATABASE"),
        (("class", code[:-2], "0"), "ID_PCI_SUBCLASS_FROM_DATABASE"),
    )
    for (kind, first, second), key in rows:
        name = properties.get(key)
        if name:
            with contextlib.suppress(ValueError):
                names[kind, int(first, 16), int(second, 16)] = str(name)

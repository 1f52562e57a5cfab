"""The system's pci.ids, wherever the distribution keeps it."""

import mmap
import os

from vfiokit.pci.ids import PciIds

__all__ = ["PATHS", "system_ids"]

PATHS = (
    "/usr/share/misc/pci.ids",
    "/usr/share/hwdata/pci.ids",
    "/var/lib/pciutils/pci.ids",
    "/usr/share/pci.ids",
    "/usr/local/share/pci.ids",
)
"""Where distributions put it; ``VFIOKIT_PCI_IDS`` names another."""


def system_ids() -> PciIds | None:
    """Open the first pci.ids that there is, ``None`` without one."""
    chosen = os.environ.get("VFIOKIT_PCI_IDS")
    for path in (chosen,) if chosen is not None else PATHS:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            return PciIds(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
        except (OSError, ValueError):
            continue
        finally:
            os.close(descriptor)
    return None

"""Drive a device through VFIO: the only opener of ``/dev/vfio`` and ``/dev/iommu``.

The same handles stand on both of the kernel's interfaces, the container with its groups and the iommufd
with a node for each device.
"""

from vfiokit.vfio.backend import AddressSpace, Limits, open_space
from vfiokit.vfio.device import Device
from vfiokit.vfio.dma import Dma
from vfiokit.vfio.dmabuf import DmaBuf
from vfiokit.vfio.features import Features, MigrationState
from vfiokit.vfio.irq import EventFd, Interrupt, InterruptKind, Interrupts
from vfiokit.vfio.mapping import DmaBuffer, DmaMapping
from vfiokit.vfio.region import Region, Regions
from vfiokit.vfio.reset import HotReset
from vfiokit.vfio.window import Window

__all__ = [
    "AddressSpace",
    "Device",
    "Dma",
    "DmaBuf",
    "DmaBuffer",
    "DmaMapping",
    "EventFd",
    "Features",
    "HotReset",
    "Interrupt",
    "InterruptKind",
    "Interrupts",
    "Limits",
    "MigrationState",
    "Region",
    "Regions",
    "Window",
    "open_space",
]

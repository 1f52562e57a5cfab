"""Check what is said without interrupt remapping, or without an IOMMU: vfio_unusual.py remapping|noiommu."""

import errno
import sys
from pathlib import Path

from vfio_lab import BACKENDS, address, bind, example, refused

from vfiokit.vfio import Device
from vfiokit.vfio.errors import CallNotSupported, NoInterruptRemapping, UnsafeNotAsked

edu = example("edu")


def remapping() -> None:
    """Find both back ends refusing the device, saying why, and leaving nothing open."""
    for backend in BACKENDS:
        error = refused(NoInterruptRemapping, Device.open, address("edu"), backend=backend)
        assert error.errno == errno.EPERM, error
        assert "allow_unsafe_interrupts" in error.hint
    Path("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts").write_text("1")
    with Device.open(address("edu"), backend="container") as device:
        assert device.regions[0].syscalls().read32(0) == 0x010000ED


def noiommu() -> None:
    """Open a device without an IOMMU only when asked for, and drive it but for DMA."""
    error = refused(UnsafeNotAsked, Device.open, address("edu"))
    assert error.exit_status == 4
    # Before Linux 7.3 such a device has no node of its own, and auto takes the container.
    with Device.open(address("edu"), noiommu=True) as device, device.regions[0].map() as bar:
        assert device.backend == "container"
        refused(CallNotSupported, device.dma.map, 4096)
        device.bus_master = True
        event = device.irqs.msi[0].eventfd()
        assert edu.factorial(bar, event, 10) == 3628800
    refused(CallNotSupported, Device.open, address("edu"), backend="iommufd", noiommu=True)


if __name__ == "__main__":
    bind("edu")
    {"remapping": remapping, "noiommu": noiommu}[sys.argv[1]]()

"""Everything between a PCI device and the program or virtual machine that is to own it.

>>> import vfiokit
>>> host = vfiokit.scan(vfiokit.open_source("example"))
>>> len(host.groups) > 3
True
"""

from vfiokit.address import AddressRange, PageSize, PciAddress
from vfiokit.errors import VfiokitError
from vfiokit.model.device import ConfigFacts, PciDevice
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.group import IommuGroup, ReservedRegion
from vfiokit.model.host import Host, Platform
from vfiokit.model.iommu import IommuUnit
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.roots import open_source
from vfiokit.sysfs.scan import Part, scan

__version__ = "0.1.0"

__all__ = [
    "AddressRange",
    "ConfigFacts",
    "Finding",
    "Host",
    "IommuGroup",
    "IommuUnit",
    "PageSize",
    "Part",
    "PciAddress",
    "PciDevice",
    "Platform",
    "ReservedRegion",
    "Severity",
    "Unknown",
    "VfiokitError",
    "open_source",
    "scan",
]

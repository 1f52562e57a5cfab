"""Everything between a PCI device and the program or virtual machine that is to own it.

>>> import vfiokit
>>> host = vfiokit.scan(vfiokit.open_source("example"))
>>> len(host.groups) > 3
True
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from vfiokit.analysis.isolation import explain, relate
    from vfiokit.analysis.units import describe_units
    from vfiokit.analysis.viability import group_findings, viable

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
    "describe_units",
    "explain",
    "group_findings",
    "open_source",
    "relate",
    "scan",
    "viable",
]

# Tables of devices, registers and firmware structures cost more than a listing: imported when asked for.
_LATER = {
    "describe_units": "vfiokit.analysis.units",
    "explain": "vfiokit.analysis.isolation",
    "group_findings": "vfiokit.analysis.viability",
    "relate": "vfiokit.analysis.isolation",
    "viable": "vfiokit.analysis.viability",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)

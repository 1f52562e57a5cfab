"""Everything between a PCI device and the program or virtual machine that is to own it.

>>> import vfiokit
>>> host = vfiokit.scan(vfiokit.open_source("example"))
>>> len(host.groups) > 3
True
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vfiokit.address import AddressRange, PageSize, PciAddress
    from vfiokit.analysis.isolation import explain, relate
    from vfiokit.analysis.units import describe_units
    from vfiokit.analysis.viability import group_findings, viable
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
    "describe_units",
    "explain",
    "group_findings",
    "open_source",
    "relate",
    "scan",
    "viable",
]

# A name's module is imported when it is asked for: whoever wants one room does not pay for the others.
_HOMES = {
    "vfiokit.address": ("AddressRange", "PageSize", "PciAddress"),
    "vfiokit.analysis.isolation": ("explain", "relate"),
    "vfiokit.analysis.units": ("describe_units",),
    "vfiokit.analysis.viability": ("group_findings", "viable"),
    "vfiokit.errors": ("VfiokitError",),
    "vfiokit.model.device": ("ConfigFacts", "PciDevice"),
    "vfiokit.model.finding": ("Finding", "Severity"),
    "vfiokit.model.group": ("IommuGroup", "ReservedRegion"),
    "vfiokit.model.host": ("Host", "Platform"),
    "vfiokit.model.iommu": ("IommuUnit",),
    "vfiokit.model.unknown": ("Unknown",),
    "vfiokit.sysfs.roots": ("open_source",),
    "vfiokit.sysfs.scan": ("Part", "scan"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

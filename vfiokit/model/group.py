"""An IOMMU group: the smallest set of functions that the IOMMU can tell apart from the rest."""

from dataclasses import dataclass

from vfiokit.address import AddressRange, PciAddress
from vfiokit.model.unknown import Unknown

__all__ = ["NOIOMMU_NAME", "IommuGroup", "ReservedRegion"]

NOIOMMU_NAME = "vfio-noiommu"
"""The name the kernel gives to a group that VFIO made up for a device without an IOMMU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedRegion:
    """A range of I/O virtual addresses that cannot be mapped freely.

    :ivar range: half open, in bytes.
    :ivar type: ``direct``, ``direct-relaxable``, ``reserved`` or ``msi``, as the kernel prints it.
    """

    range: AddressRange
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IommuGroup:
    """One IOMMU group as the kernel formed it.

    :ivar id: its number; numbers are sparse.
    :ivar type: type of its default domain (``DMA``, ``DMA-FQ``, ``identity``); ``None`` on old kernels.
    :ivar name: set by the kernel for made-up groups only.
    :ivar devices: its PCI functions, in order of address.
    :ivar others: names of members that are not PCI functions.
    :ivar reserved_regions: in the kernel's order; ``None`` on old kernels.
    """

    id: int
    type: str | Unknown | None = None
    name: str | Unknown | None = None
    devices: tuple[PciAddress, ...] | Unknown = ()
    others: tuple[str, ...] = ()
    reserved_regions: tuple[ReservedRegion, ...] | Unknown | None = ()

    @property
    def is_noiommu(self) -> bool:
        """Whether VFIO made the group up: nothing isolates it."""
        return self.name == NOIOMMU_NAME

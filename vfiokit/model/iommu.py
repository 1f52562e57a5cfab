"""An IOMMU unit as its driver presents it under ``/sys/class/iommu``."""

from dataclasses import dataclass
from enum import StrEnum

from vfiokit.address import PciAddress
from vfiokit.model.unknown import Unknown

__all__ = ["IommuKind", "IommuUnit"]


class IommuKind(StrEnum):
    """The architectures whose units vfiokit names."""

    INTEL = "intel"
    AMD = "amd"
    ARM = "arm"
    VIRTIO = "virtio"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class IommuUnit:
    """One IOMMU unit.

    :ivar name: ``dmar0``, ``ivhd0``, ``smmu3.0x…`` as the kernel names it.
    :ivar kind: its architecture, by name and attributes.
    :ivar registers: capability registers as read, by the kernel's attribute name.
    :ivar devices: PCI functions in front of which it stands, in order of address.
    """

    name: str
    kind: IommuKind
    registers: tuple[tuple[str, int | Unknown], ...] = ()
    devices: tuple[PciAddress, ...] | Unknown = ()

    def register(self, name: str) -> int | None:
        """Return a register's value, ``None`` where it was absent or unreadable."""
        value = dict(self.registers).get(name)
        return None if isinstance(value, Unknown) else value

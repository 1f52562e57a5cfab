"""One PCI function, as the kernel and its config space describe it."""

from dataclasses import dataclass
from enum import IntEnum

from vfiokit.address import PciAddress
from vfiokit.model.unknown import NOT_READ, Unknown

__all__ = ["AcsRegisters", "ConfigFacts", "HeaderType", "PciDevice", "PortType"]


class HeaderType(IntEnum):
    """Layout of the config header, bits 6:0 of the Header Type register (PCI 3.0, 6.2.1)."""

    NORMAL = 0
    BRIDGE = 1
    CARDBUS = 2


class PortType(IntEnum):
    """Device/Port Type, bits 7:4 of the PCI Express Capabilities register (PCIe 6.0, 7.5.3.2)."""

    ENDPOINT = 0x0
    LEGACY_ENDPOINT = 0x1
    ROOT_PORT = 0x4
    UPSTREAM_PORT = 0x5
    DOWNSTREAM_PORT = 0x6
    PCIE_TO_PCI_BRIDGE = 0x7
    PCI_TO_PCIE_BRIDGE = 0x8
    RC_INTEGRATED_ENDPOINT = 0x9
    RC_EVENT_COLLECTOR = 0xA


@dataclass(frozen=True, slots=True, kw_only=True)
class AcsRegisters:
    """The Access Control Services capability as it was read (PCIe 6.0, 7.7.11).

    :ivar capability: ACS Capability register, 16 bits.
    :ivar control: ACS Control register, 16 bits.
    :ivar next_dword: the 32 bits after them, which some Intel root ports use as the control register.
    """

    capability: int
    control: int
    next_dword: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFacts:
    """What config space says about a function's place in the topology.

    :ivar header_type: bits 6:0 of Header Type; see :class:`HeaderType`.
    :ivar multifunction: bit 7 of Header Type.
    :ivar secondary: the bus right below a bridge, ``None`` for others.
    :ivar subordinate: the highest bus below a bridge, ``None`` for others.
    :ivar port_type: see :class:`PortType`; ``None`` for a conventional function.
    :ivar acs: the ACS capability, ``None`` where the function has none.
    """

    header_type: int = HeaderType.NORMAL
    multifunction: bool = False
    secondary: int | None = None
    subordinate: int | None = None
    port_type: int | Unknown | None = None
    acs: AcsRegisters | Unknown | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """One PCI function.

    :ivar address: its full address.
    :ivar vendor: vendor identifier, 16 bits.
    :ivar device: device identifier, 16 bits.
    :ivar subsystem_vendor: subsystem vendor identifier, 16 bits.
    :ivar subsystem_device: subsystem identifier, 16 bits.
    :ivar class_code: base class, subclass and programming interface, 24 bits.
    :ivar revision: revision identifier, 8 bits.
    :ivar driver: the bound driver, ``None`` where there is none.
    :ivar driver_override: the only driver that may bind, ``None`` where any may.
    :ivar numa_node: NUMA node, ``None`` where the platform names none.
    :ivar is_bridge: whether its header is that of a bridge (by header type, never by class).
    :ivar parent: the bridge above it, ``None`` on a root bus.
    :ivar dma_device: the function whose identity its DMA carries, where a driver made its root bus (VMD).
    :ivar physfn: the physical function of a virtual function, else ``None``.
    :ivar boot_vga: whether firmware used it as the primary display; ``None`` for other classes.
    :ivar vfio_device: name of its VFIO character device (``vfio0``) while a VFIO driver has it.
    :ivar group: number of its IOMMU group, ``None`` without one.
    :ivar iommu: name of the IOMMU unit in front of it (``dmar0``), ``None`` without one.
    :ivar config: what its config space says.
    """

    address: PciAddress
    vendor: int | Unknown
    device: int | Unknown
    subsystem_vendor: int | Unknown | None = None
    subsystem_device: int | Unknown | None = None
    class_code: int | Unknown
    revision: int | Unknown = NOT_READ
    driver: str | Unknown | None = None
    driver_override: str | Unknown | None = None
    numa_node: int | Unknown | None = None
    is_bridge: bool = False
    parent: PciAddress | None = None
    dma_device: PciAddress | None = None
    physfn: PciAddress | Unknown | None = None
    boot_vga: bool | Unknown | None = None
    vfio_device: str | Unknown | None = None
    group: int | Unknown | None = None
    iommu: str | Unknown | None = NOT_READ
    config: ConfigFacts | Unknown = NOT_READ

"""A host: its functions, groups and IOMMU units, and the platform facts that explain them."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from vfiokit.address import PciAddress
from vfiokit.errors import NotFound
from vfiokit.model.device import PciDevice
from vfiokit.model.group import IommuGroup
from vfiokit.model.iommu import IommuUnit
from vfiokit.model.unknown import NOT_READ, Unknown

__all__ = ["Driver", "Host", "Name", "Platform", "Problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a scan met and could not read or understand.

    :ivar path: relative to the root, as scan asked for it.
    :ivar reason: why, in a few words.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A name that people use for a function: of a network interface or a block device on it.

    :ivar kind: ``net`` or ``block``.
    :ivar name: as under ``/sys/class``.
    :ivar address: the function it belongs to.
    """

    kind: str
    name: str
    address: PciAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A PCI driver that some function is bound to.

    :ivar name: as under ``/sys/bus/pci/drivers``.
    :ivar module: the kernel module it is in, ``None`` when built in.
    :ivar uses_vfio_core: whether that module is a user of ``vfio_pci_core``: the mark of a VFIO driver.
    """

    name: str
    module: str | Unknown | None = None
    uses_vfio_core: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What the kernel and the firmware say about the machine as a whole.

    :ivar kernel_release: as ``uname -r`` prints it.
    :ivar command_line: the kernel's command line, without the final newline.
    :ivar hypervisor: whether the processor says that it is virtual; unknown where it cannot say.
    :ivar architecture: ``x86``, ``arm`` or ``riscv``, from what ``/proc/cpuinfo`` looks like; else empty.
    :ivar acpi_tables: names of the ACPI tables that describe IOMMUs; ``None`` on a platform without ACPI.
    :ivar has_iommu_class: whether any IOMMU driver registered a unit.
    :ivar interrupt_remapping: whether device interrupts pass a remapping unit.
    :ivar unsafe_interrupts: modules whose ``allow_unsafe_interrupts`` is on.
    :ivar noiommu_mode: whether ``vfio`` offers devices without an IOMMU; ``None`` where it cannot.
    """

    kernel_release: str | Unknown = NOT_READ
    command_line: str | Unknown = NOT_READ
    hypervisor: bool | Unknown = NOT_READ
    architecture: str | Unknown = NOT_READ
    acpi_tables: tuple[str, ...] | Unknown | None = NOT_READ
    has_iommu_class: bool | Unknown = NOT_READ
    interrupt_remapping: bool | Unknown = NOT_READ
    unsafe_interrupts: tuple[str, ...] | Unknown = NOT_READ
    noiommu_mode: bool | Unknown | None = NOT_READ


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host at one moment, as read from a source.

    :ivar devices: every PCI function, in order of address.
    :ivar groups: every IOMMU group, in numeric order.
    :ivar units: every IOMMU unit, by name.
    :ivar drivers: the drivers that functions are bound to, by name.
    :ivar names: interfaces and block devices on the functions, by kind and name.
    :ivar platform: kernel and firmware facts.
    :ivar tables: the firmware's IOMMU tables by name, as bytes.
    :ivar problems: what could not be read, by path.
    """

    devices: tuple[PciDevice, ...] = ()
    groups: tuple[IommuGroup, ...] = ()
    units: tuple[IommuUnit, ...] = ()
    drivers: tuple[Driver, ...] = ()
    names: tuple[Name, ...] = ()
    platform: Platform = Platform()
    tables: tuple[tuple[str, bytes | Unknown], ...] = ()
    problems: tuple[Problem, ...] = ()

    @cached_property
    def by_address(self) -> dict[PciAddress, PciDevice]:
        """The functions by address."""
        return {device.address: device for device in self.devices}

    @cached_property
    def by_group(self) -> dict[int, IommuGroup]:
        """The groups by number."""
        return {group.id: group for group in self.groups}

    @cached_property
    def by_slot(self) -> dict[tuple[int, int, int], tuple[PciDevice, ...]]:
        """The functions of each slot (domain, bus, device)."""
        slots: dict[tuple[int, int, int], list[PciDevice]] = defaultdict(list)
        for device in self.devices:
            slots[device.address.slot].append(device)
        return {slot: tuple(members) for slot, members in slots.items()}

    @cached_property
    def by_driver(self) -> dict[str, Driver]:
        """The drivers by name."""
        return {driver.name: driver for driver in self.drivers}

    def device(self, address: PciAddress) -> PciDevice:
        """Return the function at *address*.

        :raises NotFound: if there is none.
        """
        try:
            return self.by_address[address]
        except KeyError:
            raise NotFound("no such PCI function", operation="select", subject=str(address)) from None

    def group(self, number: int) -> IommuGroup:
        """Return IOMMU group *number*.

        :raises NotFound: if there is none.
        """
        try:
            return self.by_group[number]
        except KeyError:
            raise NotFound("no such IOMMU group", operation="select", subject=f"group:{number}") from None

    def table(self, name: str) -> bytes | Unknown | None:
        """Return a firmware table's bytes; ``None`` where there is none, or it was not asked for."""
        return dict(self.tables).get(name)

    def upstream(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """Return the bridges above *device*, nearest first; stops at the root bus.

        >>> Host().upstream(PciDevice(address=PciAddress(0, 0, 2, 0), vendor=1, device=1, class_code=0))
        ()
        """
        path: list[PciDevice] = []
        parent = device.parent
        while parent is not None and parent in self.by_address and len(path) < 256:
            bridge = self.by_address[parent]
            path.append(bridge)
            parent = bridge.parent
        return tuple(path)

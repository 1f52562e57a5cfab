"""What the grouping rules look at, worked out once for a host: places, ACS, aliases."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from vfiokit.address import PciAddress
from vfiokit.model.device import ConfigFacts, PciDevice, PortType
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown, known
from vfiokit.pci.acs import AcsState, effective_acs
from vfiokit.pci.acs_bits import REQUIRED_FOR_GROUPING, AcsBit
from vfiokit.pci.quirk_model import AcsIdentity, BridgeFlag
from vfiokit.pci.quirks import bridge_alias, dma_alias_devfns

__all__ = ["Topology", "has_late_unit", "order_by_number"]

_FACING_DOWN = (PortType.ROOT_PORT, PortType.DOWNSTREAM_PORT, PortType.PCI_TO_PCIE_BRIDGE)
_LATE_TABLES = frozenset({"VIOT", "IORT", "RIMT"})
"""Tables whose IOMMUs learn of a function when its driver probes, up to Linux 6.14."""
_CONVENTIONAL_FROM = (PortType.PCIE_TO_PCI_BRIDGE, PortType.PCI_TO_PCIE_BRIDGE)


@dataclass(frozen=True)
class Topology:
    """A host's functions with what Linux derives from them.

    :ivar host: the host.
    :ivar pch_workaround: what to take for the ports of old Intel chipsets, whose redirection the kernel
        switches on where nobody can see it; ``None`` for not known.
    """

    host: Host
    pch_workaround: bool | None = None

    def chain(self, address: PciAddress) -> tuple[PciAddress, ...]:
        """Return the bridges above a function, nearest first."""
        return self._chains[address]

    def real(self, address: PciAddress) -> PciAddress:
        """Return the function whose identity carries the DMA: itself, or the owner of its root bus."""
        owner = self.host.by_address[address].dma_device
        return owner if owner is not None and owner in self.host.by_address else address

    def same_bus(self, address: PciAddress) -> tuple[PciAddress, ...]:
        """Return the functions on a function's bus, in order, itself included."""
        return self._buses[address[:2]]

    def port_type(self, address: PciAddress) -> int | Unknown | None:
        """Return Device/Port Type as Linux corrects it.

        Some switches claim the wrong end: a downstream port right below a port that faces down is an
        upstream port, and the other way round (``set_pcie_port_type``).
        """
        return self._port_types[address]

    def multifunction(self, address: PciAddress) -> bool:
        """Whether Linux counts a function as one of several; a virtual function never is."""
        device = self.host.by_address[address]
        if device.physfn is not None:
            return False
        # A link has one device; numbers above 0 on it are functions 8 and up of that device (ARI).
        chain = self._chains[address]
        beyond_8 = address.device > 0 and bool(chain) and self.port_type(chain[0]) in _FACING_DOWN
        claimed = isinstance(device.config, ConfigFacts) and device.config.multifunction
        return address.function > 0 or beyond_8 or claimed

    def acs(self, address: PciAddress) -> AcsState:
        """Return whether a function counts as isolated."""
        return self._acs[address]

    def redirects(self, address: PciAddress) -> AcsState:
        """Return whether a function sends requests for its peers up to the IOMMU first."""
        return self._effective(self.host.by_address[address], AcsBit.RR)

    def alias_devfns(self, address: PciAddress) -> tuple[int, ...]:
        """Return the further devfns, on its own bus, that a function's requests may carry."""
        return self._alias_devfns.get(address, ())

    def hides_requester(self, address: PciAddress, *, no_alias: bool = False) -> bool:
        """Whether what is behind a bridge reaches the IOMMU under another identity.

        :param no_alias: whether the kernel knows the bridges that pass identities through (Linux 7.3).
        """
        if no_alias and self._flag(address) is BridgeFlag.PCI_BRIDGE_NO_ALIAS:
            return False
        port_type = self.port_type(address)
        return port_type is None or port_type in _CONVENTIONAL_FROM

    def ends_aliases(self, address: PciAddress) -> bool:
        """Whether the IOMMU sits at this bridge, so that nothing above it counts."""
        return self._flag(address) is BridgeFlag.BRIDGE_XLATE_ROOT

    @cached_property
    def order(self) -> tuple[PciAddress, ...]:
        """The functions in the order in which Linux puts them into groups.

        Bus by bus as firmware numbered them; what a driver adds later comes last.
        """
        return tuple(
            device.address
            for device in sorted(
                self.host.devices,
                key=lambda device: (
                    device.dma_device is not None,
                    device.physfn is not None,
                    device.address,
                ),
            )
        )

    @cached_property
    def orders(self) -> tuple[tuple[PciAddress, ...], ...]:
        """The orders in which the functions may have come into groups, the likeliest first.

        Where drivers that probed decided it, a function may have had a group before the bridge above it;
        the numbers of the groups tell.
        """
        late = has_late_unit(self.host)
        return (self.order, order_by_number(self.host)) if late else (self.order,)

    @cached_property
    def _chains(self) -> dict[PciAddress, tuple[PciAddress, ...]]:
        return {
            device.address: tuple(bridge.address for bridge in self.host.upstream(device))
            for device in self.host.devices
        }

    @cached_property
    def _port_types(self) -> dict[PciAddress, int | Unknown | None]:
        found: dict[PciAddress, int | Unknown | None] = {}
        for address in sorted(self._chains, key=lambda each: len(self._chains[each])):
            chain = self._chains[address]
            found[address] = _corrected(self._claimed(address), found[chain[0]] if chain else None)
        return found

    @cached_property
    def _buses(self) -> dict[tuple[int, int], tuple[PciAddress, ...]]:
        buses: dict[tuple[int, int], list[PciAddress]] = defaultdict(list)
        for device in self.host.devices:
            buses[device.address[:2]].append(device.address)
        return {bus: tuple(members) for bus, members in buses.items()}

    @cached_property
    def _acs(self) -> dict[PciAddress, AcsState]:
        return {
            device.address: self._effective(device, REQUIRED_FOR_GROUPING) for device in self.host.devices
        }

    @cached_property
    def _alias_devfns(self) -> dict[PciAddress, tuple[int, ...]]:
        aliases = {}
        for device in self.host.devices:
            found = dma_alias_devfns(
                known(device.vendor, 0),
                known(device.device, 0),
                known(device.class_code, 0),
                device.address.devfn,
                subsystem=_subsystem(device),
            )
            if found:
                aliases[device.address] = found
        return aliases

    def _claimed(self, address: PciAddress) -> int | Unknown | None:
        config = self.host.by_address[address].config
        return config if isinstance(config, Unknown) else config.port_type

    def _flag(self, address: PciAddress) -> BridgeFlag | None:
        device = self.host.by_address[address]
        quirk = bridge_alias(known(device.vendor, 0), known(device.device, 0))
        return quirk.flag if quirk else None

    def _identity(self, device: PciDevice) -> AcsIdentity | Unknown:
        port_type = self.port_type(device.address)
        if (
            isinstance(port_type, Unknown)
            or isinstance(device.vendor, Unknown)
            or isinstance(device.device, Unknown)
        ):
            return Unknown("config space could not be read")
        return AcsIdentity(
            vendor=device.vendor,
            device=device.device,
            port_type=port_type,
            multifunction=self.multifunction(device.address),
            on_root_bus=not self._chains[device.address],
        )

    def _effective(self, device: PciDevice, wanted: AcsBit) -> AcsState:
        tables = self.host.platform.acpi_tables
        config = device.config
        return effective_acs(
            self._identity(device),
            config if isinstance(config, Unknown) else config.acs,
            has_ivrs=None if isinstance(tables, Unknown) else "IVRS" in (tables or ()),
            pch_workaround=self.pch_workaround,
            wanted=wanted,
        )


def has_late_unit(host: Host) -> bool:
    """Whether an IOMMU of the host may learn of a function as late as when its driver probes."""
    tables = known(host.platform.acpi_tables, ()) or ()
    return not _LATE_TABLES.isdisjoint(tables)


def order_by_number(host: Host) -> tuple[PciAddress, ...]:
    """Return the functions by the number of their group: the order in which the kernel made the groups."""
    return tuple(address for group in host.groups for address in known(group.devices, ()))


def _corrected(claimed: int | Unknown | None, above: int | Unknown | None) -> int | Unknown | None:
    if claimed == PortType.DOWNSTREAM_PORT and above in _FACING_DOWN:
        return PortType.UPSTREAM_PORT
    if claimed == PortType.UPSTREAM_PORT and above == PortType.UPSTREAM_PORT:
        return PortType.DOWNSTREAM_PORT
    return claimed


def _subsystem(device: PciDevice) -> tuple[int, int] | None:
    vendor, identifier = device.subsystem_vendor, device.subsystem_device
    return (vendor, identifier) if isinstance(vendor, int) and isinstance(identifier, int) else None

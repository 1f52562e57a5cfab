"""Hosts drawn by Hypothesis: PCI trees with bridges, slots, virtual functions, ACS, groups and units."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from vfiokit.address import AddressRange, PciAddress
from vfiokit.analysis.grouping import predict
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import AcsRegisters, ConfigFacts, HeaderType, PciDevice, PortType
from vfiokit.model.group import NOIOMMU_NAME, IommuGroup, ReservedRegion
from vfiokit.model.host import Driver, Host, Name, Platform
from vfiokit.model.iommu import IommuKind, IommuUnit
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.config import NEEDS_PRIVILEGE
from vfiokit.sysfs.platform import IOMMU_TABLES, NO_FLAGS

__all__ = ["hosts", "topologies"]

_T = TypeVar("_T")
Draw = Callable[[st.SearchStrategy[Any]], Any]

_FAILURES = tuple(Unknown(os.strerror(number)) for number in (errno.EACCES, errno.EIO, errno.EPERM))
_DRIVERS = (
    Driver(name="nvme", module="nvme"),
    Driver(name="igb", module="igb"),
    Driver(name="pcieport"),
    Driver(name="pci-stub"),
    Driver(name="vfio-pci", module="vfio_pci", uses_vfio_core=True),
    Driver(name="mlx5_vfio_pci", module="mlx5_vfio_pci", uses_vfio_core=True),
    Driver(name="vendor-vfio", module="vendor_vfio", uses_vfio_core=True),
    Driver(name="snd_hda_intel", module="snd_hda_intel"),
)
_ENDPOINT_CLASSES = (0x010802, 0x020000, 0x040300, 0x0C0330, 0x068000, 0x120000, 0x030200)
_VGA = 0x030000
_BRIDGE_CLASS = 0x060400
_VENDORS = (0x8086, 0x10DE, 0x1022, 0x15B3, 0x1B36, 0xFFFE)
_TEXT = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=12)
_NAME = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
_MAX_DEPTH = 4

# Strategies are made once: a host takes some hundred draws, and a new strategy is examined at its first.
_YES_OR_NO = st.booleans()
_UINT16 = st.integers(0, 0xFFFF)
_REVISION = st.integers(0, 255)
_ONE_IN_TEN = st.integers(0, 9)
_SLOTS = st.sets(st.integers(0, 31), min_size=1, max_size=3)
_FUNCTIONS = st.sets(st.integers(1, 7), max_size=2)
_VENDOR = st.sampled_from(_VENDORS)
_CLASS = st.sampled_from((*_ENDPOINT_CLASSES, _VGA))
_DRIVER = st.sampled_from((None, *(each.name for each in _DRIVERS)))
_OVERRIDE = st.one_of(st.none(), st.just("vfio-pci"), _TEXT)
_NODE = st.one_of(st.none(), st.integers(0, 7))
_PART = st.one_of(st.none(), st.integers(0, 5))
_FAILURE = st.sampled_from(_FAILURES)
_ACS = st.one_of(
    st.none(),
    st.just(AcsRegisters(capability=0x5F, control=0x1D)),
    st.builds(
        AcsRegisters,
        capability=st.integers(0, 0x7F),
        control=st.integers(0, 0x7F),
        next_dword=st.integers(0, 0x7F),
    ),
)

_EXPRESS_BRIDGES: dict[int | None, tuple[PortType | None, ...]] = {
    # What stands below what: a bridge's kind and the kinds of bridge that may follow it.
    PortType.ROOT_PORT: (PortType.UPSTREAM_PORT, PortType.PCIE_TO_PCI_BRIDGE),
    PortType.UPSTREAM_PORT: (PortType.DOWNSTREAM_PORT,),
    PortType.DOWNSTREAM_PORT: (PortType.UPSTREAM_PORT, PortType.PCIE_TO_PCI_BRIDGE),
    PortType.PCIE_TO_PCI_BRIDGE: (None,),
    None: (None,),
}
_ROOT_KINDS = (PortType.ROOT_PORT, None)


@st.composite
def topologies(draw: Draw, *, max_devices: int = 24) -> Host:
    """Draw PCI functions alone: one to three root buses and what hangs below them.

    All of config space is readable; no function has a driver, a group or a unit.

    :param max_devices: at most so many functions.
    """
    builder = _Builder(draw, max_devices)
    domains = draw(st.lists(st.sampled_from((0, 1, 0x10000)), min_size=1, max_size=2, unique=True))
    for domain in sorted(domains):
        builder.domain(domain)
    return Host(devices=tuple(sorted(builder.devices, key=lambda device: device.address)))


@st.composite
def hosts(draw: Draw, *, max_devices: int = 24, by_the_rules: bool = False, readable: bool = False) -> Host:
    """Draw a whole host.

    :param max_devices: at most so many functions.
    :param by_the_rules: form the groups as Linux does; else any partition is drawn.
    :param readable: draw no unknown values.
    """
    host: Host = draw(topologies(max_devices=max_devices))
    host = _with_units(draw, host)
    devices = tuple(_with_state(draw, device, host) for device in host.devices)
    host = replace(host, devices=devices, platform=draw(_platforms()), names=_names(draw, devices))
    host = _with_tables(draw, host)
    host = _with_groups(draw, host, by_the_rules=by_the_rules)
    host = host if readable else _with_unknowns(draw, host)
    used = {device.driver for device in host.devices}
    return replace(
        host,
        drivers=tuple(sorted((each for each in _DRIVERS if each.name in used), key=lambda each: each.name)),
    )


@dataclass
class _Builder:
    """Grows a tree bus by bus; buses are numbered as firmware does, depth first."""

    draw: Draw
    budget: int
    devices: list[PciDevice] = field(default_factory=list)
    _bus: int = 0

    def domain(self, domain: int) -> None:
        self._bus = 0
        for _ in range(self.draw(st.integers(1, 2))):
            self._fill(domain, self._bus, None, 0)
            self._bus += 1

    def _fill(self, domain: int, bus: int, parent: PciDevice | None, depth: int) -> None:
        """Put functions on a bus, then fill the buses below its bridges."""
        above = _port_type(parent)
        on_link = above in (PortType.ROOT_PORT, PortType.DOWNSTREAM_PORT)
        slots = [0] if on_link else sorted(self.draw(_SLOTS))
        placed = [
            device
            for slot in slots
            for device in self._slot(PciAddress(domain, bus, slot, 0), parent, depth)
        ]
        self.devices += placed
        for device in placed:
            if device.is_bridge:
                self._below(device, depth)

    def _below(self, bridge: PciDevice, depth: int) -> None:
        index = self.devices.index(bridge)
        self._bus += 1
        secondary = self._bus
        if self.budget > 0:
            self._fill(bridge.address.domain, secondary, bridge, depth + 1)
        assert isinstance(bridge.config, ConfigFacts)
        facts = replace(bridge.config, secondary=secondary, subordinate=self._bus)
        self.devices[index] = replace(bridge, config=facts)

    def _slot(self, first: PciAddress, parent: PciDevice | None, depth: int) -> list[PciDevice]:
        functions = [0, *sorted(self.draw(_FUNCTIONS))] if self.draw(_YES_OR_NO) else [0]
        placed = []
        for function in functions:
            if self.budget > 0:
                self.budget -= 1
                address = first._replace(function=function)
                placed.append(self._function(address, parent, depth, multifunction=len(functions) > 1))
        return [*placed, *self._virtual(placed)]

    def _virtual(self, placed: list[PciDevice]) -> list[PciDevice]:
        """Give the first function virtual functions, where it is an endpoint and its slot has room."""
        physical = placed[0] if placed else None
        if physical is None or physical.is_bridge or len(placed) > 1 or physical.parent is None:
            return []
        facts = physical.config
        if not isinstance(facts, ConfigFacts) or facts.port_type != PortType.ENDPOINT:
            return []
        count = min(self.draw(st.integers(0, 3)), self.budget)
        self.budget -= count
        virtual = ConfigFacts(port_type=PortType.ENDPOINT)
        return [
            replace(
                physical,
                address=physical.address._replace(function=index + 1),
                physfn=physical.address,
                config=virtual,
            )
            for index in range(count)
        ]

    def _function(
        self, address: PciAddress, parent: PciDevice | None, depth: int, *, multifunction: bool
    ) -> PciDevice:
        above = _port_type(parent)
        kinds = _EXPRESS_BRIDGES[above] if parent else _ROOT_KINDS
        must_be_bridge = above == PortType.UPSTREAM_PORT
        is_bridge = must_be_bridge or (depth < _MAX_DEPTH and self.draw(_YES_OR_NO))
        port_type = self.draw(st.sampled_from(kinds)) if is_bridge else self._endpoint_type(parent, above)
        facts = ConfigFacts(
            header_type=HeaderType.BRIDGE if is_bridge else HeaderType.NORMAL,
            multifunction=multifunction,
            secondary=0 if is_bridge else None,
            subordinate=0 if is_bridge else None,
            port_type=port_type,
            acs=None if port_type is None else self.draw(_ACS),
        )
        return PciDevice(
            address=address,
            vendor=self.draw(_VENDOR),
            device=self.draw(_UINT16),
            subsystem_vendor=self.draw(_UINT16),
            subsystem_device=self.draw(_UINT16),
            class_code=_BRIDGE_CLASS if is_bridge else self.draw(_CLASS),
            revision=self.draw(_REVISION),
            is_bridge=is_bridge,
            parent=parent.address if parent else None,
            iommu=None,
            config=facts,
        )

    def _endpoint_type(self, parent: PciDevice | None, above: int | None) -> PortType | None:
        kinds: tuple[PortType | None, ...] = (PortType.ENDPOINT, PortType.LEGACY_ENDPOINT)
        if parent is None:
            kinds = (PortType.RC_INTEGRATED_ENDPOINT, None)
        elif above in (PortType.PCIE_TO_PCI_BRIDGE, None):
            kinds = (None,)
        chosen: PortType | None = self.draw(st.sampled_from(kinds))
        return chosen


def _port_type(device: PciDevice | None) -> int | None:
    facts = device.config if device else None
    return facts.port_type if isinstance(facts, ConfigFacts) and isinstance(facts.port_type, int) else None


def _with_units(draw: Draw, host: Host) -> Host:
    """Put IOMMU units in front of some root buses."""
    count = draw(st.integers(0, 2))
    kind = draw(st.sampled_from((IommuKind.INTEL, IommuKind.AMD)))
    prefix, registers = (
        ("dmar", ("version", "address", "cap", "ecap"))
        if kind is IommuKind.INTEL
        else ("ivhd", ("cap", "features", "features2"))
    )
    names = [f"{prefix}{index}" for index in range(count)]
    chosen = {device.address[:2]: draw(st.sampled_from([None, *names])) for device in host.devices}
    devices = tuple(replace(device, iommu=chosen[device.address[:2]]) for device in host.devices)
    units = tuple(
        IommuUnit(
            name=name,
            kind=kind,
            registers=tuple((register, draw(_register(register))) for register in registers),
            devices=tuple(device.address for device in devices if device.iommu == name),
        )
        for name in names
    )
    return replace(host, devices=devices, units=units)


def _register(name: str) -> st.SearchStrategy[int]:
    # The order in which the kernel prints the two changed: EFR is the larger, since only it has high bits.
    low, high = {"version": (0, 0xFF), "features": (2**32, 2**64 - 1), "features2": (0, 2**32 - 1)}.get(
        name, (0, 2**64 - 1)
    )
    return st.integers(low, high)


def _with_state(draw: Draw, device: PciDevice, host: Host) -> PciDevice:
    driver = draw(_DRIVER)
    is_vfio = any(each.name == driver and each.uses_vfio_core for each in _DRIVERS)
    return replace(
        device,
        driver=driver,
        driver_override=draw(_OVERRIDE),
        numa_node=draw(_NODE),
        boot_vga=draw(_YES_OR_NO) if device.class_code == _VGA else None,
        vfio_device=f"vfio{draw(st.integers(0, 99))}" if is_vfio and draw(_YES_OR_NO) else None,
    )


def _names(draw: Draw, devices: tuple[PciDevice, ...]) -> tuple[Name, ...]:
    chosen = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(("net", "block")), _NAME), st.sampled_from(devices), max_size=3
        )
    )
    return tuple(
        Name(kind=kind, name=name, address=device.address)
        for (kind, name), device in sorted(chosen.items(), key=lambda each: each[0])
    )


@st.composite
def _platforms(draw: Draw) -> Platform:
    architecture = draw(st.sampled_from(("x86", "x86", "arm", "riscv", "")))
    return Platform(
        kernel_release=draw(st.sampled_from(("6.12.0", "6.1.0-37-amd64", "7.3.4"))),
        command_line=draw(
            st.sampled_from(("", "quiet", "intel_iommu=on iommu=pt", "pcie_acs_override=downstream"))
        ),
        hypervisor=draw(_YES_OR_NO) if architecture == "x86" else NO_FLAGS,
        architecture=architecture,
        acpi_tables=None,
        has_iommu_class=False,
        interrupt_remapping=draw(_YES_OR_NO),
        unsafe_interrupts=draw(
            st.sampled_from(((), ("vfio_iommu_type1",), ("iommufd", "vfio_iommu_type1")))
        ),
        noiommu_mode=draw(st.sampled_from((None, False, True))),
    )


def _with_tables(draw: Draw, host: Host) -> Host:
    names = draw(st.one_of(st.none(), st.sets(st.sampled_from(IOMMU_TABLES), max_size=2)))
    present = None if names is None else tuple(name for name in IOMMU_TABLES if name in names)
    platform = replace(host.platform, acpi_tables=present, has_iommu_class=bool(host.units))
    tables = tuple((name, draw(st.binary(max_size=64))) for name in present or ())
    return replace(host, platform=platform, tables=tables)


def _with_groups(draw: Draw, host: Host, *, by_the_rules: bool) -> Host:
    if by_the_rules:
        covered = frozenset(host.by_address)
        parts = [list(members) for members in predict(Topology(host), covered).groups]
    else:
        chosen = [draw(_PART) for _ in host.devices]
        parts = [
            [each.address for each, part in zip(host.devices, chosen, strict=True) if part == number]
            for number in range(6)
        ]
        parts = [part for part in parts if part]
    numbers = sorted(draw(st.sets(st.integers(0, 5000), min_size=len(parts), max_size=len(parts))))
    group_of = {address: number for number, part in zip(numbers, parts, strict=True) for address in part}
    groups = tuple(_group(draw, number, tuple(part)) for number, part in zip(numbers, parts, strict=True))
    devices = tuple(replace(device, group=group_of.get(device.address)) for device in host.devices)
    return replace(host, groups=groups, devices=devices)


def _group(draw: Draw, number: int, members: tuple[PciAddress, ...]) -> IommuGroup:
    return IommuGroup(
        id=number,
        type=draw(_GROUP_TYPE),
        name=draw(_GROUP_NAME),
        devices=members,
        others=draw(_OTHERS),
        reserved_regions=draw(_REGIONS),
    )


@st.composite
def _region(draw: Draw) -> ReservedRegion:
    start = draw(st.integers(0, 2**52))
    return ReservedRegion(
        range=AddressRange(start, start + draw(st.integers(1, 2**40))),
        type=draw(_REGION_TYPE),
    )


_GROUP_TYPE = st.sampled_from((None, "DMA", "DMA-FQ", "identity"))
_GROUP_NAME = st.sampled_from((None, None, None, NOIOMMU_NAME))
_OTHERS = st.sampled_from(((), (), ("arm-smmu.0.auto",)))
_REGION_TYPE = st.sampled_from(("direct", "direct-relaxable", "reserved", "msi"))
_REGIONS = st.one_of(st.none(), st.lists(_region(), max_size=3).map(tuple))


def _with_unknowns(draw: Draw, host: Host) -> Host:
    """Make a few values unreadable, as a kernel or missing privileges would."""
    unprivileged = draw(_YES_OR_NO)
    devices = tuple(_hide(draw, device, unprivileged=unprivileged) for device in host.devices)
    groups = tuple(_hide_group(draw, group) for group in host.groups)
    return replace(host, devices=devices, groups=groups)


def _hide(draw: Draw, device: PciDevice, *, unprivileged: bool) -> PciDevice:
    facts = device.config
    if unprivileged and isinstance(facts, ConfigFacts) and facts.port_type is not None:
        device = replace(device, config=replace(facts, port_type=NEEDS_PRIVILEGE, acs=NEEDS_PRIVILEGE))
    if draw(_ONE_IN_TEN):
        return device
    name = draw(st.sampled_from(("driver", "driver_override", "numa_node", "revision", "iommu")))
    hidden: Any = {name: draw(_FAILURE)}
    return replace(device, **hidden)


def _hide_group(draw: Draw, group: IommuGroup) -> IommuGroup:
    if draw(_ONE_IN_TEN):
        return group
    name = draw(st.sampled_from(("type", "reserved_regions")))
    hidden: Any = {name: draw(_FAILURE)}
    return replace(group, **hidden)

"""IOMMU units by what they can do and whom they cover: what the kernel shows beside what firmware says.

The kernel's account is ``/sys/class/iommu``; firmware's are the DMAR and IVRS tables. Neither is believed
against the other: where they differ, there is a finding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vfiokit.acpi import dmar, ivrs
from vfiokit.acpi.dmar import Drhd, Rmrr
from vfiokit.acpi.ivrs import Ivhd, Ivmd
from vfiokit.acpi.scope import Topology
from vfiokit.acpi.table import Diagnostic
from vfiokit.address import AddressRange, PciAddress
from vfiokit.errors import BadTable
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.host import Host
from vfiokit.model.iommu import IommuKind, IommuUnit
from vfiokit.model.unknown import Unknown, known
from vfiokit.translation.capabilities import AmdCapabilities, VtdCapabilities

__all__ = ["FirmwareUnit", "ReservedMemory", "UnitView", "Units", "describe_units"]

Capabilities = VtdCapabilities | AmdCapabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareUnit:
    """One unit as a firmware table describes it.

    :ivar table: ``DMAR`` or ``IVRS``.
    :ivar base: physical address of its registers.
    :ivar segment: the PCI domain of the functions that it covers.
    :ivar covers: this host's functions that it stands in front of, in order of address.
    """

    table: str
    base: int
    segment: int
    covers: tuple[PciAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitView:
    """One unit as the kernel shows it, decoded, with firmware's account of it.

    :ivar unit: as under ``/sys/class/iommu``.
    :ivar capabilities: its registers by meaning; ``None`` for a kind whose registers are not shown.
    :ivar firmware: the unit of the tables that it is, ``None`` where none was found.
    """

    unit: IommuUnit
    capabilities: Capabilities | Unknown | None
    firmware: FirmwareUnit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedMemory:
    """Memory that firmware demands for functions of this host.

    :ivar range: half open, in bytes.
    :ivar kind: ``RMRR`` (Intel), ``unity`` or ``exclusion`` (AMD).
    :ivar functions: whom it is for, in order of address; empty where the host has none of them.
    """

    range: AddressRange
    kind: str
    functions: tuple[PciAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """All that is known of a host's units.

    :ivar views: the units that the kernel shows, in its order.
    :ivar firmware: the units that the tables describe, in their order.
    :ivar reserved: the reserved memory of the tables, in their order.
    :ivar findings: what could not be read, is odd, or differs.
    """

    views: tuple[UnitView, ...] = ()
    firmware: tuple[FirmwareUnit, ...] = ()
    reserved: tuple[ReservedMemory, ...] = ()
    findings: tuple[Finding, ...] = ()

    def covering(self, address: PciAddress) -> FirmwareUnit | None:
        """Return the unit in front of a function by firmware's account, ``None`` without one."""
        return next((unit for unit in self.firmware if address in unit.covers), None)

    def reserved_for(self, address: PciAddress) -> tuple[ReservedMemory, ...]:
        """Return the memory that firmware demands for a function."""
        return tuple(memory for memory in self.reserved if address in memory.functions)


def describe_units(host: Host) -> Units:
    """Decode a host's units and firmware tables, and compare the two.

    A table that cannot be read or does not hold together is a finding, not an error.

    :param host: a host that was scanned with units and tables.

    >>> describe_units(Host())
    Units(views=(), firmware=(), reserved=(), findings=())
    """
    tables = _Tables(host)
    for name, data in host.tables:
        tables.take(name, data)
    views = tuple(_view(unit, number, tables.units) for number, unit in _numbered(host.units))
    return Units(
        views=views,
        firmware=tuple(tables.units),
        reserved=tuple(tables.reserved),
        findings=(*tables.findings, *_unread(views), *_differences(views)),
    )


class _Account(NamedTuple):
    """One parsed table, and its answers about a function."""

    units: tuple[Drhd | Ivhd, ...]
    reserved: tuple[tuple[Rmrr | Ivmd, str], ...]
    diagnostics: tuple[Diagnostic, ...]
    covering: Callable[[PciAddress], Drhd | Ivhd | None]
    demands: Callable[[PciAddress], tuple[Rmrr | Ivmd, ...]]


def _read_dmar(host: Host, data: bytes) -> _Account:
    table = dmar.parse(data)
    topology = _topology(host)
    return _Account(
        units=table.units,
        reserved=tuple((region, "RMRR") for region in table.reserved),
        diagnostics=table.diagnostics,
        covering=lambda address: dmar.covering_unit(table, address, topology),
        demands=lambda address: dmar.reserved_memory(table, address, topology),
    )


def _read_ivrs(_: Host, data: bytes) -> _Account:
    table = ivrs.parse(data)
    return _Account(
        units=table.units,
        reserved=tuple((block, "exclusion" if block.is_exclusion else "unity") for block in table.reserved),
        diagnostics=table.diagnostics,
        covering=lambda address: ivrs.covering_unit(table, address),
        demands=lambda address: ivrs.reserved_memory(table, address),
    )


_READERS: dict[str, Callable[[Host, bytes], _Account]] = {"DMAR": _read_dmar, "IVRS": _read_ivrs}


@dataclass(slots=True)
class _Tables:
    """What has been taken from the tables so far."""

    host: Host
    units: list[FirmwareUnit] = field(default_factory=list)
    reserved: list[ReservedMemory] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def take(self, name: str, data: bytes | Unknown) -> None:
        """Read a table; one that is unreadable, broken or odd leaves a finding."""
        if name not in _READERS:
            self.find(
                "table-not-decoded", Severity.INFO, name, "it describes IOMMUs but is not decoded here"
            )
        elif isinstance(data, Unknown):
            self.find("table-unreadable", Severity.UNKNOWN, name, str(data), remedies=("read it as root",))
        else:
            try:
                self.add(name, _READERS[name](self.host, data))
            except BadTable as error:
                self.find(
                    "table-broken", Severity.WARNING, name, str(error), remedies=("update the firmware",)
                )

    def add(self, name: str, account: _Account) -> None:
        """Apply an account to every function of the host."""
        addresses = sorted(self.host.by_address)
        covering = [account.covering(address) for address in addresses]
        for unit in account.units:
            covers = tuple(each for each, found in zip(addresses, covering, strict=True) if found is unit)
            self.units.append(FirmwareUnit(table=name, base=unit.base, segment=unit.segment, covers=covers))
        demands = [account.demands(address) for address in addresses]
        for region, kind in account.reserved:
            functions = tuple(
                each
                for each, found in zip(addresses, demands, strict=True)
                if any(one is region for one in found)
            )
            self.reserved.append(ReservedMemory(range=region.memory, kind=kind, functions=functions))
        if account.diagnostics:
            evidence = tuple(map(str, account.diagnostics))
            message = "the table is odd; kernels use such tables too"
            self.find("table-odd", Severity.INFO, name, message, evidence=evidence)

    def find(
        self,
        code: str,
        severity: Severity,
        subject: str,
        message: str,
        evidence: tuple[str, ...] = (),
        remedies: tuple[str, ...] = (),
    ) -> None:
        """Keep a finding."""
        self.findings.append(
            Finding(
                code=code,
                severity=severity,
                subject=subject,
                message=message,
                evidence=evidence,
                remedies=remedies,
            )
        )


def _topology(host: Host) -> Topology:
    stand_ins = {
        device.address: stand_in
        for device in host.devices
        for stand_in in (device.dma_device, device.physfn)
        if isinstance(stand_in, PciAddress)
    }
    return Topology(
        parents={device.address: device.parent for device in host.devices}, looked_up_as=stand_ins
    )


def _numbered(units: tuple[IommuUnit, ...]) -> Iterator[tuple[int, IommuUnit]]:
    """Yield each unit with its number among those of its kind."""
    counts: dict[IommuKind, int] = {}
    for unit in units:
        counts[unit.kind] = counts.get(unit.kind, -1) + 1
        yield counts[unit.kind], unit


def _view(unit: IommuUnit, number: int, described: list[FirmwareUnit]) -> UnitView:
    return UnitView(
        unit=unit, capabilities=_capabilities(unit), firmware=_described(unit, number, described)
    )


def _capabilities(unit: IommuUnit) -> Capabilities | Unknown | None:
    values = dict(unit.registers)
    needed = {IommuKind.INTEL: ("cap", "ecap"), IommuKind.AMD: ("cap",)}.get(unit.kind, ())
    unread = [value for name in needed if isinstance(value := values.get(name, _NO_REGISTER), Unknown)]
    if unread:
        return unread[0]
    if unit.kind is IommuKind.INTEL:
        return VtdCapabilities(cap=known(values["cap"], 0), ecap=known(values["ecap"], 0))
    if unit.kind is IommuKind.AMD:
        # Without EFRSup the unit has no extended features, and the kernel shows zeros.
        efr, efr2 = (known(values.get(name, 0), 0) for name in ("features", "features2"))
        return AmdCapabilities(cap=known(values["cap"], 0), efr=efr, efr2=efr2)
    return None


_NO_REGISTER = Unknown("the kernel does not show the register")


def _described(unit: IommuUnit, number: int, described: list[FirmwareUnit]) -> FirmwareUnit | None:
    """Find a kernel's unit in the tables: Intel's by its register base, AMD's by the order of the table."""
    if unit.kind is IommuKind.INTEL:
        base = unit.register("address")
        return next((each for each in described if each.table == "DMAR" and each.base == base), None)
    if unit.kind is IommuKind.AMD:
        units = [each for each in described if each.table == "IVRS"]
        return units[number] if number < len(units) else None
    return None


def _unread(views: tuple[UnitView, ...]) -> Iterator[Finding]:
    for view in views:
        if isinstance(view.capabilities, Unknown):
            yield Finding(
                code="registers-unknown",
                severity=Severity.UNKNOWN,
                subject=view.unit.name,
                message=f"what it can do is {view.capabilities}",
            )


def _differences(views: tuple[UnitView, ...]) -> Iterator[Finding]:
    for view in views:
        if view.firmware is None or isinstance(view.unit.devices, Unknown):
            continue
        strangers = sorted(set(view.unit.devices) - set(view.firmware.covers))
        if strangers:
            yield Finding(
                code="coverage-differs",
                severity=Severity.WARNING,
                subject=view.unit.name,
                message="the kernel put functions behind this unit that firmware does not give it",
                evidence=("not given: " + " ".join(map(str, strangers)),),
            )

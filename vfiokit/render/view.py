"""What every output says of a host: one place for names, marks and verdicts, so that no formats differ."""

from dataclasses import dataclass
from typing import Protocol

from vfiokit.analysis.viability import group_findings
from vfiokit.model.device import PciDevice
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown, known

__all__ = ["GroupView", "Names", "NoNames", "device_marks", "group_view", "title"]


class Names(Protocol):
    """Where names of vendors, devices and classes come from."""

    def vendor(self, vendor: int) -> str | None:
        """Return a vendor's name."""
        ...

    def device(self, vendor: int, device: int) -> str | None:
        """Return a device's name."""
        ...

    def class_name(self, code: int) -> str | None:
        """Return the name of a base class and subclass."""
        ...


class NoNames:
    """The names of a system without a pci.ids: none."""

    def vendor(self, vendor: int) -> str | None:
        """Return ``None``."""
        return None

    def device(self, vendor: int, device: int) -> str | None:
        """Return ``None``."""
        return None

    def class_name(self, code: int) -> str | None:
        """Return ``None``."""
        return None


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group with what was concluded about it.

    :ivar group: the group.
    :ivar devices: its functions, as far as they could be read.
    :ivar findings: what bears on owning it.
    """

    group: IommuGroup
    devices: tuple[PciDevice, ...]
    findings: tuple[Finding, ...]

    @property
    def viable(self) -> bool | None:
        """Whether VFIO can own it now; ``None`` where that cannot be told."""
        severities = {finding.severity for finding in self.findings}
        if Severity.ERROR in severities:
            return False
        return None if Severity.UNKNOWN in severities else True

    @property
    def verdict(self) -> str:
        """The verdict in words, with who is in the way."""
        viable = self.viable
        if viable:
            return "viable, but not isolated" if self.group.is_noiommu else "viable"
        wanted = Severity.UNKNOWN if viable is None else Severity.ERROR
        reasons = [finding.message for finding in self.findings if finding.severity is wanted]
        shown = "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
        return f"{'cannot tell' if viable is None else 'not viable'}: {shown}"

    @property
    def type(self) -> str:
        """The type of its domain in words."""
        if self.group.is_noiommu:
            return "no-IOMMU"
        return str(self.group.type) if self.group.type is not None else "-"


def group_view(host: Host, group: IommuGroup) -> GroupView:
    """Gather what is to be said of a group."""
    devices = tuple(
        host.by_address[address] for address in known(group.devices, ()) if address in host.by_address
    )
    return GroupView(group, devices, group_findings(host, group))


def title(device: PciDevice, names: Names, address: str | None = None) -> str:
    """Return a function's line as lspci spells it: address, class, names, identifiers.

    >>> from vfiokit.address import PciAddress
    >>> address = PciAddress(0, 0, 2, 0)
    >>> title(PciDevice(address=address, vendor=0x8086, device=0x9a49, class_code=0x030000), NoNames())
    '0000:00:02.0 Class [0300]: Device [8086:9a49]'
    """
    class_code, vendor, identifier = device.class_code, device.vendor, device.device
    if isinstance(class_code, Unknown) or isinstance(vendor, Unknown) or isinstance(identifier, Unknown):
        return f"{address or device.address} {class_code if isinstance(class_code, Unknown) else vendor}"
    kind = names.class_name(class_code >> 8) or "Class"
    name = " ".join(filter(None, (names.vendor(vendor), names.device(vendor, identifier) or "Device")))
    return (
        f"{address or device.address} {kind} [{class_code >> 8:04x}]: {name} [{vendor:04x}:{identifier:04x}]"
    )


def device_marks(device: PciDevice) -> tuple[str, ...]:
    """Return what else is to be said of a function, a phrase each."""
    marks = [f"driver {device.driver}" if device.driver is not None else "no driver"]
    if device.driver_override is not None:
        marks.append(f"override {device.driver_override}")
    if device.vfio_device is not None:
        marks.append(f"cdev {device.vfio_device}")
    if device.numa_node is not None:
        marks.append(f"NUMA {device.numa_node}")
    if device.is_bridge:
        marks.append("bridge")
    if device.physfn is not None:
        marks.append(f"VF of {device.physfn}")
    if device.boot_vga:
        marks.append("boot VGA")
    return tuple(marks)

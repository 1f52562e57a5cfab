"""Whether VFIO can own a group now, and who is in the way.

The kernel lets a user own a group when every function in it is without a driver or has one that leaves
DMA to that user (``driver_managed_dma``): a VFIO driver, ``pci-stub``, the PCI Express port driver.
"""

from enum import Enum

from vfiokit.model.device import PciDevice
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown

__all__ = ["VFIO_DRIVERS", "Occupation", "group_findings", "occupation", "viable"]

VFIO_DRIVERS = frozenset(
    {
        "vfio-pci",
        "mlx5_vfio_pci",
        "hisi_acc_vfio_pci",
        "nvgrace_gpu_vfio_pci",
        "virtio_vfio_pci",
        "pds_vfio_pci",
        "qat_vfio_pci",
        "xe-vfio-pci",
        "ism_vfio_pci",
    }
)
"""Drivers that set ``driver_managed_dma`` and use ``vfio_pci_core`` in Linux 6.1 to 7.3: the last of three
marks, for kernels without the ``vfio-dev`` directory that have these drivers built in."""

_STUBS = frozenset({"pci-stub"})
_PORT_DRIVER = "pcieport"


class Occupation(Enum):
    """What a function's driver means for whoever wants to own its group."""

    FREE = "no driver"
    VFIO = "a VFIO driver"
    STUB = "pci-stub"
    PORT = "the PCI Express port driver"
    BRIDGE_IN_USE = "a bridge with a driver of its own"
    IN_USE = "a host driver"
    UNKNOWN = "not known"

    @property
    def in_the_way(self) -> bool:
        """Whether the kernel would refuse the group because of it."""
        return self in (Occupation.BRIDGE_IN_USE, Occupation.IN_USE)


def occupation(host: Host, device: PciDevice) -> Occupation:
    """Classify a function by what has it."""
    driver = device.driver
    if isinstance(driver, Unknown):
        return Occupation.UNKNOWN
    if driver is None:
        return Occupation.FREE
    if _is_vfio(host, device, driver):
        return Occupation.VFIO
    if driver in _STUBS:
        return Occupation.STUB
    if driver == _PORT_DRIVER:
        return Occupation.PORT
    return Occupation.BRIDGE_IN_USE if device.is_bridge else Occupation.IN_USE


def viable(host: Host, group: IommuGroup) -> bool | None:
    """Whether VFIO can own *group* now; ``None`` where something needed for the answer is unknown."""
    severities = {finding.severity for finding in group_findings(host, group)}
    if Severity.ERROR in severities:
        return False
    return None if Severity.UNKNOWN in severities else True


def group_findings(host: Host, group: IommuGroup) -> tuple[Finding, ...]:
    """Say everything that bears on owning *group*: members in the way, reserved memory, what is unknown."""
    return (*_members(host, group), *_reserved(group), *_noiommu(group))


def _is_vfio(host: Host, device: PciDevice, driver: str) -> bool:
    facts = host.by_driver.get(driver)
    return (
        isinstance(device.vfio_device, str) or bool(facts and facts.uses_vfio_core) or driver in VFIO_DRIVERS
    )


def _members(host: Host, group: IommuGroup) -> tuple[Finding, ...]:
    subject = f"group {group.id}"
    if isinstance(group.devices, Unknown):
        return (
            _unknown("members-unknown", subject, f"its members could not be read: {group.devices.reason}"),
        )
    findings = [
        finding
        for address in group.devices
        for finding in _member(host, host.by_address.get(address), str(address))
    ]
    findings += [
        _unknown("member-not-pci", name, f"{name} is no PCI function; its driver is not known here")
        for name in group.others
    ]
    return tuple(findings)


def _member(host: Host, device: PciDevice | None, subject: str) -> tuple[Finding, ...]:
    if device is None:
        return (_unknown("member-unknown", subject, "it is in the group but could not be read"),)
    held = occupation(host, device)
    if held is Occupation.UNKNOWN:
        return (_unknown("driver-unknown", subject, f"its driver is {device.driver}"),)
    if not held.in_the_way:
        return ()
    bridge = held is Occupation.BRIDGE_IN_USE
    return (
        Finding(
            code="bridge-in-the-way" if bridge else "member-in-the-way",
            severity=Severity.ERROR,
            subject=subject,
            message=f"{subject} is bound to {device.driver}"
            + (", and a bridge may have only the port driver" if bridge else ""),
            evidence=(f"driver: {device.driver}",),
            remedies=("unbind it; a bridge is never bound to VFIO",)
            if bridge
            else ("bind it to a VFIO driver too, or leave it without a driver",),
        ),
    )


def _reserved(group: IommuGroup) -> tuple[Finding, ...]:
    subject = f"group {group.id}"
    regions = group.reserved_regions
    if isinstance(regions, Unknown):
        return (_unknown("reserved-unknown", subject, f"its reserved regions are {regions}"),)
    direct = [region for region in regions or () if region.type == "direct"]
    if not direct:
        return ()
    return (
        Finding(
            code="reserved-direct",
            severity=Severity.ERROR,
            subject=subject,
            message="firmware demands a fixed mapping for a function in it: the kernel refuses it to VFIO",
            evidence=tuple(f"reserved_regions: {region.range} {region.type}" for region in direct),
            remedies=(
                "update the firmware, or switch off what uses the memory, often a management controller",
                "use another slot",
            ),
        ),
    )


def _noiommu(group: IommuGroup) -> tuple[Finding, ...]:
    if not group.is_noiommu:
        return ()
    return (
        Finding(
            code="no-iommu-group",
            severity=Severity.WARNING,
            subject=f"group {group.id}",
            message="VFIO made this group up: no IOMMU isolates it, and its DMA reaches all of memory",
            evidence=(f"name: {group.name}",),
            remedies=("switch the IOMMU on", "set enable_unsafe_noiommu_mode to N in the vfio module"),
        ),
    )


def _unknown(code: str, subject: str, message: str) -> Finding:
    return Finding(code=code, severity=Severity.UNKNOWN, subject=subject, message=message)

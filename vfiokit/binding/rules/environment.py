"""Whether the host can isolate a function at all."""

from collections.abc import Iterator

from vfiokit.analysis.platform import absence_findings, host_findings
from vfiokit.binding.case import Case, Hit
from vfiokit.model.unknown import Unknown

__all__ = [
    "acs_override",
    "interrupts",
    "lockdown",
    "memlock",
    "no_iommu",
    "noiommu_mode",
    "unsafe_interrupts",
]


def no_iommu(case: Case) -> Iterator[Hit]:
    """Find whether it has no IOMMU group, and VFIO offers nothing else."""
    group = case.device.group
    if isinstance(group, Unknown):
        yield Hit((f"iommu_group: {group}",), unknown=True)
    elif group is None and case.host.platform.noiommu_mode is not True:
        reasons = [finding.message for finding in absence_findings(case.host)]
        yield Hit(("it has no iommu_group", *reasons))


def noiommu_mode(case: Case) -> Iterator[Hit]:
    """Find whether VFIO would take it without an IOMMU: its DMA reaches all of memory."""
    group = case.device.group
    made_up = isinstance(group, int) and group in case.host.by_group and case.host.by_group[group].is_noiommu
    if made_up or (group is None and case.host.platform.noiommu_mode is True):
        yield Hit(("enable_unsafe_noiommu_mode: Y", "no IOMMU stands in front of it"))


def interrupts(case: Case) -> Iterator[Hit]:
    """Find whether interrupts are not remapped, and unsafe ones are not allowed: VFIO answers EPERM."""
    platform = case.host.platform
    if isinstance(platform.interrupt_remapping, Unknown):
        yield Hit((f"interrupt remapping: {platform.interrupt_remapping}",), unknown=True)
    elif not platform.interrupt_remapping:
        allowed = platform.unsafe_interrupts
        if isinstance(allowed, Unknown):
            yield Hit((f"allow_unsafe_interrupts: {allowed}",), unknown=True)
        elif not allowed:
            yield Hit(("proc/interrupts: no chip that remaps", "allow_unsafe_interrupts: N"))


def unsafe_interrupts(case: Case) -> Iterator[Hit]:
    """Find whether unsafe interrupts are allowed."""
    modules = case.host.platform.unsafe_interrupts
    for name in () if isinstance(modules, Unknown) else modules:
        yield Hit((f"sys/module/{name}/parameters/allow_unsafe_interrupts: Y",))


def acs_override(case: Case) -> Iterator[Hit]:
    """Find whether an ACS override makes groups look smaller than the hardware isolates."""
    for finding in host_findings(case.host):
        if finding.code == "acs-override":
            yield Hit(finding.evidence)


def memlock(case: Case) -> Iterator[Hit]:
    """Find whether whoever maps a guest's memory may lock less than there is."""
    limit, memory = case.evidence.environment.memlock, case.evidence.environment.memory
    if isinstance(limit, int) and isinstance(memory, int) and limit < memory:
        yield Hit((f"max locked memory: {limit} bytes of {memory}",))


def lockdown(case: Case) -> Iterator[Hit]:
    """Find whether the kernel is locked down: config space and BARs cannot be written through sysfs."""
    mode = case.evidence.environment.lockdown
    if isinstance(mode, Unknown) or mode != "none":
        yield Hit((f"sys/kernel/security/lockdown: {mode}",))

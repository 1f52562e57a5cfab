"""What holds for the whole host: why it has no IOMMU, and what weakens the one that it has."""

from vfiokit.analysis.absence import absence_findings, has_iommu
from vfiokit.analysis.command_line import options, tokens
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown

__all__ = ["absence_findings", "has_iommu", "host_findings"]

_SUBJECT = "host"


def host_findings(host: Host) -> tuple[Finding, ...]:
    """Say what bears on every group of the host."""
    return (
        *absence_findings(host),
        *_interrupts(host),
        *_unsafe(host),
        *_noiommu_mode(host),
        *_override(host),
        *_redirection(host),
    )


def _interrupts(host: Host) -> tuple[Finding, ...]:
    if not has_iommu(host):
        return ()
    remapping = host.platform.interrupt_remapping
    if isinstance(remapping, Unknown):
        return (_unknown("interrupt-remapping-unknown", f"whether interrupts are remapped is {remapping}"),)
    if remapping:
        return ()
    return (
        Finding(
            code="no-interrupt-remapping",
            severity=Severity.WARNING,
            subject=_SUBJECT,
            message="interrupts are not remapped: VFIO refuses devices unless it may use unsafe ones",
            evidence=("proc/interrupts: no chip named IR-", *_no_remapping_tokens(host)),
            remedies=(
                "switch interrupt remapping or x2APIC on in the firmware",
                "take intremap=off and nointremap off the command line",
                "last of all, for trusted guests only: vfio_iommu_type1.allow_unsafe_interrupts=1",
            ),
        ),
    )


def _no_remapping_tokens(host: Host) -> tuple[str, ...]:
    found = (*tokens(host, "nointremap"), *(each for each in tokens(host, "intremap") if "off" in each))
    return tuple(f"proc/cmdline: {token}" for token in found)


def _unsafe(host: Host) -> tuple[Finding, ...]:
    modules = host.platform.unsafe_interrupts
    if isinstance(modules, Unknown):
        return (
            _unknown("unsafe-interrupts-unknown", f"whether allow_unsafe_interrupts is set is {modules}"),
        )
    if not modules:
        return ()
    return (
        Finding(
            code="unsafe-interrupts",
            severity=Severity.WARNING,
            subject=_SUBJECT,
            message="allow_unsafe_interrupts is set: a guest can raise any interrupt of the host",
            evidence=tuple(f"sys/module/{name}/parameters/allow_unsafe_interrupts: Y" for name in modules),
            remedies=("clear it once interrupts are remapped",),
        ),
    )


def _noiommu_mode(host: Host) -> tuple[Finding, ...]:
    mode = host.platform.noiommu_mode
    if isinstance(mode, Unknown):
        return (_unknown("noiommu-mode-unknown", f"whether vfio offers devices without an IOMMU is {mode}"),)
    if mode is not True:
        return ()
    return (
        Finding(
            code="noiommu-mode",
            severity=Severity.WARNING,
            subject=_SUBJECT,
            message="vfio offers devices without an IOMMU: their DMA reaches all of memory",
            evidence=("sys/module/vfio/parameters/enable_unsafe_noiommu_mode: Y",),
            remedies=("set it to N where an IOMMU can be had",),
        ),
    )


def _override(host: Host) -> tuple[Finding, ...]:
    found = tokens(host, "pcie_acs_override")
    if not found:
        return ()
    return (
        Finding(
            code="acs-override",
            severity=Severity.WARNING,
            subject=_SUBJECT,
            message="an ACS override is on the command line: groups look smaller than the hardware isolates",
            evidence=tuple(f"proc/cmdline: {token}" for token in found),
            remedies=("take it off where guests are not trusted",),
        ),
    )


def _redirection(host: Host) -> tuple[Finding, ...]:
    found = [
        value for value in options(host, "pci") if value.startswith(("disable_acs_redir=", "config_acs="))
    ]
    if not found:
        return ()
    return (
        Finding(
            code="acs-configured",
            severity=Severity.WARNING,
            subject=_SUBJECT,
            message="the kernel's command line changes ACS controls of some ports",
            evidence=tuple(f"proc/cmdline: pci={value}" for value in found),
            remedies=("check that the ports it names still send requests up to the IOMMU",),
        ),
    )


def _unknown(code: str, message: str) -> Finding:
    return Finding(code=code, severity=Severity.UNKNOWN, subject=_SUBJECT, message=message)

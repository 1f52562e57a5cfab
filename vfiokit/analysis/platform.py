"""What holds for the whole host: whether there is an IOMMU, why not, and what weakens it."""

from vfiokit.model.finding import Finding, Severity
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown, known

__all__ = ["absence_findings", "has_iommu", "host_findings"]

_OFF_SWITCHES = frozenset({"iommu=off", "intel_iommu=off", "amd_iommu=off"})
_SUBJECT = "host"


def has_iommu(host: Host) -> bool:
    """Whether any group rests on an IOMMU; groups that VFIO made up do not count."""
    return any(not group.is_noiommu for group in host.groups)


def host_findings(host: Host) -> tuple[Finding, ...]:
    """Say what bears on every group of the host."""
    return (
        *absence_findings(host),
        *_interrupts(host),
        *_unsafe(host),
        *_noiommu_mode(host),
        *_override(host),
    )


def absence_findings(host: Host) -> tuple[Finding, ...]:
    """Say why there is no IOMMU group, from evidence; nothing where there is one."""
    if has_iommu(host):
        return ()
    code, message, remedies, evidence = _absence(host)
    return (
        Finding(
            code=code,
            severity=Severity.ERROR,
            subject=_SUBJECT,
            message=message,
            evidence=(*evidence, "sys/kernel/iommu_groups: empty"),
            remedies=remedies,
        ),
    )


_Absence = tuple[str, str, tuple[str, ...], tuple[str, ...]]


def _absence(host: Host) -> _Absence:
    off = _off_switches(host)
    tables = _tables(host)
    if off:
        return (
            "iommu-switched-off",
            f"the IOMMU is switched off on the kernel's command line ({', '.join(off)})",
            ("take it off the command line and reboot",),
            tuple(f"proc/cmdline: {token}" for token in off),
        )
    if host.platform.has_iommu_class is True:
        return (
            "iommu-translation-off",
            "the kernel's driver found an IOMMU but put no device behind it",
            ("boot with intel_iommu=on (Intel), or iommu=nopt", "read the kernel log for DMAR or AMD-Vi"),
            ("sys/class/iommu: not empty",),
        )
    if tables:
        return _kernel_side(host, tables)
    return _firmware_side(host)


def _kernel_side(host: Host, tables: tuple[str, ...]) -> _Absence:
    found = " and ".join(tables)
    if tables == ("DMAR",) and not _on_command_line(host, "intel_iommu"):
        advice = ("boot with intel_iommu=on; this kernel may not do so by itself",)
    else:
        advice = ("use a kernel with the driver of this IOMMU (CONFIG_INTEL_IOMMU, CONFIG_AMD_IOMMU)",)
    return (
        "iommu-no-driver",
        f"firmware describes an IOMMU ({found}) but the kernel does not drive it",
        (*advice, "read the kernel log for DMAR or AMD-Vi"),
        (f"sys/firmware/acpi/tables: {found}",),
    )


def _firmware_side(host: Host) -> _Absence:
    known_tables = isinstance(host.platform.acpi_tables, tuple)
    evidence = ("sys/firmware/acpi/tables: no DMAR, IVRS, IORT, VIOT",) if known_tables else ()
    if host.platform.hypervisor is True:
        return (
            "iommu-not-in-vm",
            "this is a virtual machine without a virtual IOMMU",
            (
                (
                    "give it one: -device intel-iommu,intremap=on (QEMU), <iommu model='intel'/> (libvirt), "
                    "or use the host below"
                ),
            ),
            ("proc/cpuinfo: hypervisor", *evidence),
        )
    if known_tables:
        return (
            "iommu-not-in-firmware",
            "firmware describes no IOMMU",
            (
                "switch it on in the firmware setup: VT-d (Intel), IOMMU or AMD-Vi (AMD), SMMU (Arm)",
                "if there is no such switch, the processor or board has no IOMMU",
            ),
            evidence,
        )
    return (
        "iommu-absent",
        "there is no IOMMU group, and the firmware tables that would say why are not to be seen",
        ("look at the kernel log for DMAR, AMD-Vi or SMMU",),
        ("sys/firmware/acpi/tables: absent",),
    )


def _interrupts(host: Host) -> tuple[Finding, ...]:
    if not has_iommu(host):
        return ()
    remapping = host.platform.interrupt_remapping
    if isinstance(remapping, Unknown):
        return (
            Finding(
                code="interrupt-remapping-unknown",
                severity=Severity.UNKNOWN,
                subject=_SUBJECT,
                message=f"whether interrupts are remapped is {remapping}",
            ),
        )
    if remapping:
        return ()
    return (
        Finding(
            code="no-interrupt-remapping",
            severity=Severity.WARNING,
            subject=_SUBJECT,
            message="interrupts are not remapped: VFIO refuses devices unless it may use unsafe ones",
            evidence=("proc/interrupts: no chip named IR-",),
            remedies=(
                "switch interrupt remapping or x2APIC on in the firmware",
                "take intremap=off and nointremap off the command line",
                "last of all, for trusted guests only: vfio_iommu_type1.allow_unsafe_interrupts=1",
            ),
        ),
    )


def _unsafe(host: Host) -> tuple[Finding, ...]:
    modules = host.platform.unsafe_interrupts
    if isinstance(modules, Unknown) or not modules:
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
    if host.platform.noiommu_mode is not True:
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
    tokens = [token for token in _tokens(host) if token.split("=")[0] == "pcie_acs_override"]
    if not tokens:
        return ()
    return (
        Finding(
            code="acs-override",
            severity=Severity.WARNING,
            subject=_SUBJECT,
            message="an ACS override is on the command line: groups look smaller than the hardware isolates",
            evidence=tuple(f"proc/cmdline: {token}" for token in tokens),
            remedies=("take it off where guests are not trusted",),
        ),
    )


def _tokens(host: Host) -> tuple[str, ...]:
    line = host.platform.command_line
    return () if isinstance(line, Unknown) else tuple(line.split(" -- ")[0].split())


def _off_switches(host: Host) -> tuple[str, ...]:
    # intel_iommu= takes a list: intel_iommu=on,sm_on or intel_iommu=off.
    found = []
    for token in _tokens(host):
        name, _, values = token.partition("=")
        options = {f"{name}={value}" for value in values.split(",")} if values else {name}
        if options & _OFF_SWITCHES:
            found.append(token)
    return tuple(found)


def _on_command_line(host: Host, name: str) -> bool:
    return any(token.split("=")[0] == name for token in _tokens(host))


def _tables(host: Host) -> tuple[str, ...]:
    return known(host.platform.acpi_tables, ()) or ()

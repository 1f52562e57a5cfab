"""Why a host has no IOMMU group: the causes in the order in which evidence rules them in."""

from typing import NamedTuple

from vfiokit.analysis.command_line import options, tokens
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown, known

__all__ = ["absence_findings", "has_iommu"]

_SUBJECT = "host"
_GROUPS = "sys/kernel/iommu_groups"
_TABLES = "sys/firmware/acpi/tables"


class _Driver(NamedTuple):
    """What drives the IOMMU that a firmware table describes, and what to look for in the kernel log."""

    config: str
    log: str


_DRIVERS = {
    "DMAR": _Driver("CONFIG_INTEL_IOMMU", "DMAR"),
    "IVRS": _Driver("CONFIG_AMD_IOMMU", "AMD-Vi"),
    "IORT": _Driver("CONFIG_ARM_SMMU_V3 or CONFIG_ARM_SMMU", "arm-smmu"),
    "VIOT": _Driver("CONFIG_VIRTIO_IOMMU", "virtio_iommu"),
    "RIMT": _Driver("CONFIG_RISCV_IOMMU", "riscv-iommu"),
}

_SWITCHES = (
    # An option of the kernel's command line, the value that wins over it, and the tables whose driver obeys.
    ("iommu", "off", "", ("DMAR", "IVRS")),
    ("intel_iommu", "off", "on", ("DMAR",)),
    ("amd_iommu", "off", "", ("IVRS",)),
)


def has_iommu(host: Host) -> bool | None:
    """Whether any group rests on an IOMMU; groups that VFIO made up do not count.

    ``None`` where the groups could not be listed.
    """
    if any(not group.is_noiommu for group in host.groups):
        return True
    return None if _unlisted(host) else False


def absence_findings(host: Host) -> tuple[Finding, ...]:
    """Say why there is no IOMMU group, from evidence; nothing where there is one."""
    present = has_iommu(host)
    if present:
        return ()
    if present is None:
        return (
            Finding(
                code="groups-unreadable",
                severity=Severity.UNKNOWN,
                subject=_SUBJECT,
                message="the IOMMU groups could not be listed",
                evidence=_unlisted(host),
                remedies=("run as root",),
            ),
        )
    absence = _absence(host)
    shown = "only groups that VFIO made up" if host.groups else "empty"
    return (
        Finding(
            code=absence.code,
            severity=Severity.ERROR,
            subject=_SUBJECT,
            message=absence.message,
            evidence=(*absence.evidence, f"{_GROUPS}: {shown}"),
            remedies=absence.remedies,
        ),
    )


class _Absence(NamedTuple):
    code: str
    message: str
    remedies: tuple[str, ...]
    evidence: tuple[str, ...]


def _unlisted(host: Host) -> tuple[str, ...]:
    return tuple(f"{each.path}: {each.reason}" for each in host.problems if each.path == _GROUPS)


def _absence(host: Host) -> _Absence:
    tables = known(host.platform.acpi_tables, ()) or ()
    off = _switches(host)
    obeyed = [token for token, obeying in off if set(obeying) & set(tables) or not _tells(host)]
    if obeyed:
        return _Absence(
            "iommu-switched-off",
            f"the IOMMU is switched off on the kernel's command line ({', '.join(obeyed)})",
            ("take it off the command line and reboot",),
            _cmdline(obeyed),
        )
    if host.platform.has_iommu_class is True:
        return _translation_off(tables)
    cause = _kernel_side(host, tables) if tables else _firmware_side(host)
    also = [token for token, _ in off]
    if not also:
        return cause
    # Switched off too, by a switch that does not matter until the cause is gone.
    advice = f"take {' and '.join(also)} off the command line as well"
    return cause._replace(remedies=(*cause.remedies, advice), evidence=(*cause.evidence, *_cmdline(also)))


def _tells(host: Host) -> bool:
    """Whether the list of firmware tables rules out what is not in it."""
    return isinstance(host.platform.acpi_tables, tuple)


def _cmdline(found: list[str]) -> tuple[str, ...]:
    return tuple(f"proc/cmdline: {token}" for token in found)


def _switches(host: Host) -> list[tuple[str, tuple[str, ...]]]:
    """Return the off switches on the command line, each with the tables whose driver obeys it."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, off, on, obeying in _SWITCHES:
        given = [value for value in options(host, name) if value in (off, on)]
        if given and given[-1] == off:
            token = next(each for each in tokens(host, name) if off in each.partition("=")[2].split(","))
            found.append((token, obeying))
    return found


def _translation_off(tables: tuple[str, ...]) -> _Absence:
    switch = ("boot with intel_iommu=on",) if "DMAR" in tables or not tables else ()
    return _Absence(
        "iommu-translation-off",
        "the kernel's driver found an IOMMU but put no device behind it",
        (*switch, f"read the kernel log for {_log(tables)}"),
        ("sys/class/iommu: not empty",),
    )


def _log(tables: tuple[str, ...]) -> str:
    return " or ".join(_DRIVERS[name].log for name in tables) or "DMAR, AMD-Vi or SMMU"


def _kernel_side(host: Host, tables: tuple[str, ...]) -> _Absence:
    found = " and ".join(tables)
    if tables == ("DMAR",) and "on" not in options(host, "intel_iommu"):
        advice = "boot with intel_iommu=on; this kernel may not do so by itself"
    else:
        configs = " and ".join(_DRIVERS[name].config for name in tables)
        advice = f"use a kernel with the driver of this IOMMU ({configs})"
    # An IORT describes interrupt translation too, and may do so on a machine without any SMMU.
    message = (
        "the kernel drives no IOMMU; firmware has an IORT table, which describes an SMMU if there is one"
        if tables == ("IORT",)
        else f"firmware describes an IOMMU ({found}) but the kernel does not drive it"
    )
    return _Absence(
        "iommu-no-driver",
        message,
        (advice, f"read the kernel log for {_log(tables)}"),
        (f"{_TABLES}: {found}",),
    )


def _firmware_side(host: Host) -> _Absence:
    evidence = (f"{_TABLES}: none of {', '.join(_DRIVERS)}",) if _tells(host) else ()
    if host.platform.hypervisor is True:
        return _Absence(
            "iommu-not-in-vm",
            "this is a virtual machine without a virtual IOMMU",
            (
                "give it one: -device intel-iommu,intremap=on (QEMU), <iommu model='intel'/> (libvirt)",
                "or do this on the host below",
            ),
            ("proc/cpuinfo: hypervisor", *evidence),
        )
    if _tells(host):
        perhaps = ("if this is a virtual machine, give it a virtual IOMMU",)
        return _Absence(
            "iommu-not-in-firmware",
            "firmware describes no IOMMU",
            (
                *(() if host.platform.hypervisor is False else perhaps),
                "switch it on in the firmware setup: VT-d (Intel), IOMMU or AMD-Vi (AMD), SMMU (Arm)",
                "if there is no such switch, the processor or board has no IOMMU",
            ),
            evidence,
        )
    return _without_tables(host)


_DEVICE_TREE = ("arm", "riscv")


def _without_tables(host: Host) -> _Absence:
    tables = host.platform.acpi_tables
    why: tuple[str, ...]
    if isinstance(tables, Unknown):
        seen, why = f"{_TABLES}: {tables}", ("read them as root",)
    elif host.platform.architecture in _DEVICE_TREE:
        seen = f"{_TABLES}: absent, so the device tree describes the machine"
        why = (
            "look for iommu-map in the device tree: without it there is no IOMMU for PCI",
            "use a kernel with its driver: CONFIG_ARM_SMMU_V3, CONFIG_ARM_SMMU, CONFIG_RISCV_IOMMU",
        )
    elif "off" in options(host, "acpi"):
        seen, why = "proc/cmdline: acpi=off", ("take acpi=off off the command line",)
    else:
        seen, why = f"{_TABLES}: absent", ("look on the host itself: a container hides the tables",)
    return _Absence(
        "iommu-absent",
        "there is no IOMMU group, and the firmware tables that would say why are not to be seen",
        (*why, "read the kernel log for DMAR, AMD-Vi or SMMU"),
        (seen, *_unread_command_line(host)),
    )


def _unread_command_line(host: Host) -> tuple[str, ...]:
    line = host.platform.command_line
    return (f"proc/cmdline: {line}",) if isinstance(line, Unknown) else ()

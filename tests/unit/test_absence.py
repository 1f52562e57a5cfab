"""Why there is no IOMMU: every cause from its evidence, and switches that are not the cause."""

import pytest

from vfiokit.address import PciAddress
from vfiokit.analysis.command_line import options, tokens
from vfiokit.analysis.platform import has_iommu, host_findings
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.group import NOIOMMU_NAME, IommuGroup
from vfiokit.model.host import Host, Platform, Problem
from vfiokit.model.unknown import Unknown

BARE = {
    "kernel_release": "6.12.0",
    "command_line": "quiet",
    "hypervisor": False,
    "architecture": "x86",
    "acpi_tables": (),
    "has_iommu_class": False,
    "interrupt_remapping": True,
    "unsafe_interrupts": (),
    "noiommu_mode": None,
}
DENIED = Unknown("Permission denied")
REAL = IommuGroup(id=1, type="DMA", devices=(PciAddress(0, 0, 2, 0),))
MADE_UP = IommuGroup(id=7, name=NOIOMMU_NAME)


def host(*groups: IommuGroup, **facts: object) -> Host:
    """Return a host without functions: a plain x86 machine but for *facts*."""
    return Host(groups=groups, platform=Platform(**{**BARE, **facts}))  # type: ignore[arg-type]


def absence(**facts: object) -> Finding:
    """Return the one finding about a host without groups."""
    (finding,) = host_findings(host(**facts))
    return finding


class TestCause:
    @pytest.mark.parametrize(
        ("facts", "code"),
        [
            ({}, "iommu-not-in-firmware"),
            ({"hypervisor": True}, "iommu-not-in-vm"),
            ({"acpi_tables": ("DMAR",)}, "iommu-no-driver"),
            ({"acpi_tables": ("IVRS",)}, "iommu-no-driver"),
            ({"acpi_tables": ("IORT",), "architecture": "arm"}, "iommu-no-driver"),
            ({"acpi_tables": ("VIOT",), "hypervisor": True}, "iommu-no-driver"),
            ({"acpi_tables": ("RIMT",), "architecture": "riscv"}, "iommu-no-driver"),
            ({"acpi_tables": ("DMAR",), "has_iommu_class": True}, "iommu-translation-off"),
            ({"acpi_tables": None}, "iommu-absent"),
            ({"acpi_tables": DENIED}, "iommu-absent"),
            ({"acpi_tables": None, "architecture": "arm"}, "iommu-absent"),
            ({"acpi_tables": None, "architecture": "riscv"}, "iommu-absent"),
            ({"acpi_tables": None, "hypervisor": True}, "iommu-not-in-vm"),
            ({"acpi_tables": ("DMAR",), "command_line": "intel_iommu=off"}, "iommu-switched-off"),
            ({"acpi_tables": ("IVRS",), "command_line": "ro amd_iommu=off"}, "iommu-switched-off"),
            ({"acpi_tables": ("IVRS",), "command_line": "iommu=off"}, "iommu-switched-off"),
            ({"acpi_tables": ("DMAR",), "command_line": "iommu=soft,off"}, "iommu-switched-off"),
            ({"acpi_tables": None, "command_line": "iommu=off"}, "iommu-switched-off"),
            ({"acpi_tables": DENIED, "command_line": "amd_iommu=off"}, "iommu-switched-off"),
        ],
    )
    def test_follows_from_evidence(self, facts: dict[str, object], code: str) -> None:
        finding = absence(**facts)
        assert (finding.code, finding.severity, finding.subject) == (code, Severity.ERROR, "host")
        assert finding.remedies
        assert len(finding.evidence) >= 2 or finding.code == "iommu-not-in-vm"

    @pytest.mark.parametrize(
        ("tables", "line", "code"),
        [
            (("DMAR",), "amd_iommu=off", "iommu-no-driver"),
            (("IVRS",), "intel_iommu=off", "iommu-no-driver"),
            (("IORT",), "iommu=off", "iommu-no-driver"),
            (("VIOT",), "intel_iommu=off", "iommu-no-driver"),
            ((), "intel_iommu=off", "iommu-not-in-firmware"),
        ],
    )
    def test_a_switch_that_the_driver_does_not_obey_is_not_the_cause(
        self, tables: tuple[str, ...], line: str, code: str
    ) -> None:
        finding = absence(acpi_tables=tables, command_line=line)
        assert finding.code == code
        assert finding.remedies[-1] == f"take {line} off the command line as well"
        assert f"proc/cmdline: {line}" in finding.evidence

    @pytest.mark.parametrize(
        "line",
        [
            "intel_iommu=igfx_off",
            "intel_iommu=off intel_iommu=on",
            "xintel_iommu=off",
            "quiet -- intel_iommu=off",
            "intel_iommu.off=1",
            "iommu=pt",
        ],
    )
    def test_what_only_looks_like_a_switch_is_none(self, line: str) -> None:
        assert absence(acpi_tables=("DMAR",), command_line=line).code == "iommu-no-driver"

    def test_the_last_of_two_intel_switches_counts(self) -> None:
        line = "intel_iommu=on,sm_on intel_iommu=off"
        finding = absence(acpi_tables=("DMAR",), command_line=line)
        assert (finding.code, finding.evidence[0]) == (
            "iommu-switched-off",
            "proc/cmdline: intel_iommu=off",
        )

    def test_intel_without_a_switch_is_told_to_switch_on(self) -> None:
        assert "intel_iommu=on" in absence(acpi_tables=("DMAR",)).remedies[0]
        tried = absence(acpi_tables=("DMAR",), command_line="intel_iommu=on")
        assert "CONFIG_INTEL_IOMMU" in tried.remedies[0]

    @pytest.mark.parametrize(
        ("table", "word", "log"),
        [
            ("IVRS", "CONFIG_AMD_IOMMU", "AMD-Vi"),
            ("IORT", "CONFIG_ARM_SMMU_V3", "arm-smmu"),
            ("VIOT", "CONFIG_VIRTIO_IOMMU", "virtio_iommu"),
            ("RIMT", "CONFIG_RISCV_IOMMU", "riscv-iommu"),
        ],
    )
    def test_advice_is_for_the_iommu_that_the_table_describes(self, table: str, word: str, log: str) -> None:
        remedies = absence(acpi_tables=(table,)).remedies
        assert word in remedies[0]
        assert log in remedies[1]

    def test_amd_is_not_told_to_use_intels_switch(self) -> None:
        for name in ("IVRS", "IORT"):
            for seen in (True, False):
                text = " ".join(absence(acpi_tables=(name,), has_iommu_class=seen).remedies)
                assert "intel" not in text

    def test_an_iort_need_not_describe_an_smmu(self) -> None:
        assert "if there is one" in absence(acpi_tables=("IORT",), architecture="arm").message

    def test_arm_without_acpi_is_sent_to_the_device_tree(self) -> None:
        assert "device tree" in absence(acpi_tables=None, architecture="arm").evidence[0]

    def test_a_machine_that_cannot_say_is_told_about_virtual_machines(self) -> None:
        unsure = absence(hypervisor=Unknown("proc/cpuinfo has no flags that tell"), architecture="arm")
        assert "virtual machine" in unsure.remedies[0]
        assert "virtual machine" not in " ".join(absence().remedies)

    def test_hidden_tables_on_x86_are_a_containers_or_acpi_off(self) -> None:
        assert "container" in absence(acpi_tables=None).remedies[0]
        assert "acpi=off" in absence(acpi_tables=None, command_line="acpi=off").remedies[0]

    def test_a_command_line_that_could_not_be_read_is_said(self) -> None:
        finding = absence(acpi_tables=None, command_line=DENIED)
        assert "proc/cmdline: unknown (Permission denied)" in finding.evidence


class TestPresence:
    def test_a_group_is_all_the_proof_needed(self) -> None:
        assert has_iommu(host(REAL)) is True
        assert host_findings(host(REAL, command_line="intel_iommu=off", acpi_tables=("DMAR",))) == ()

    def test_groups_that_vfio_made_up_do_not_count(self) -> None:
        assert has_iommu(host(MADE_UP)) is False
        (finding,) = host_findings(host(MADE_UP))
        assert finding.evidence[-1] == "sys/kernel/iommu_groups: only groups that VFIO made up"

    def test_groups_that_could_not_be_listed_are_unknown_not_absent(self) -> None:
        hidden = Host(
            platform=host().platform,
            problems=(Problem(path="sys/kernel/iommu_groups", reason="Permission denied"),),
        )
        assert has_iommu(hidden) is None
        (finding,) = host_findings(hidden)
        assert (finding.code, finding.severity) == ("groups-unreadable", Severity.UNKNOWN)
        assert finding.evidence == ("sys/kernel/iommu_groups: Permission denied",)


class TestWeaknesses:
    @pytest.mark.parametrize(
        ("facts", "code", "severity"),
        [
            ({"interrupt_remapping": False}, "no-interrupt-remapping", Severity.WARNING),
            ({"interrupt_remapping": DENIED}, "interrupt-remapping-unknown", Severity.UNKNOWN),
            ({"unsafe_interrupts": ("iommufd",)}, "unsafe-interrupts", Severity.WARNING),
            ({"unsafe_interrupts": DENIED}, "unsafe-interrupts-unknown", Severity.UNKNOWN),
            ({"noiommu_mode": True}, "noiommu-mode", Severity.WARNING),
            ({"noiommu_mode": DENIED}, "noiommu-mode-unknown", Severity.UNKNOWN),
            ({"command_line": "pcie_acs_override=downstream"}, "acs-override", Severity.WARNING),
            ({"command_line": "pci=disable_acs_redir=0000:00:1c.0"}, "acs-configured", Severity.WARNING),
            ({"command_line": "pci=noaer,config_acs=x1@pci:0:0"}, "acs-configured", Severity.WARNING),
        ],
    )
    def test_each_is_one_finding(self, facts: dict[str, object], code: str, severity: Severity) -> None:
        (finding,) = host_findings(host(REAL, **facts))
        assert (finding.code, finding.severity) == (code, severity)

    @pytest.mark.parametrize("facts", [{}, {"noiommu_mode": False}, {"command_line": "iommu=pt pci=noaer"}])
    def test_a_sound_host_has_none(self, facts: dict[str, object]) -> None:
        assert host_findings(host(REAL, **facts)) == ()

    @pytest.mark.parametrize("token", ["nointremap", "intremap=off", "intremap=no_x2apic_optout,off"])
    def test_the_switch_that_took_remapping_away_is_evidence(self, token: str) -> None:
        (finding,) = host_findings(host(REAL, interrupt_remapping=False, command_line=f"ro {token}"))
        assert f"proc/cmdline: {token}" in finding.evidence


class TestCommandLine:
    def test_dashes_and_underscores_are_the_same(self) -> None:
        assert options(host(command_line="intel-iommu=off"), "intel_iommu") == ("off",)

    def test_an_unknown_line_has_no_tokens(self) -> None:
        assert tokens(host(command_line=DENIED), "iommu") == ()

"""``vfiokit groups``: every format, every way to select, every exit status."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from tests.cli.machine import MACHINE, Command, Tree, at, changed
from vfiokit.model.group import NOIOMMU_NAME
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.memory import Failure
from vfiokit.testing import layout

HOST_KEYS = {
    "kernel": str,
    "interrupt_remapping": bool,
    "unsafe_interrupts": list,
    "noiommu_mode": bool,
    "hypervisor": bool,
    "findings": list,
}
GROUP_KEYS = {
    "id": int,
    "type": str,
    "noiommu": bool,
    "viable": bool,
    "reserved_regions": list,
    "findings": list,
    "devices": list,
    "others": list,
}
DEVICE_KEYS = {
    "address": str,
    "vendor": int,
    "device": int,
    "subsystem_vendor": int,
    "subsystem_device": int,
    "class": int,
    "vendor_name": str,
    "device_name": str,
    "class_name": str,
    "driver": str,
    "driver_override": str,
    "numa_node": int,
    "bridge": bool,
    "physfn": str,
    "boot_vga": bool,
    "vfio_device": str,
}
FINDING_KEYS = {
    "code": str,
    "severity": str,
    "subject": str,
    "message": str,
    "evidence": list,
    "remedies": list,
}


def conforms(value: dict[str, Any], keys: dict[str, type]) -> None:
    """Check that an object has these keys in this order, and each value its type or null."""
    assert [key for key in value if key != "unknown"] == list(keys)
    for key, kind in keys.items():
        assert value[key] is None or type(value[key]) is kind, (key, value[key])


class TestJson:
    def test_has_stable_keys_and_numbers_as_numbers(self, vfiokit: Command) -> None:
        document = vfiokit("groups", "--json").json
        assert list(document) == ["schema", "source", "host", "groups", "ungrouped", "problems"]
        assert document["schema"] == "vfiokit.groups/1"
        conforms(document["host"], HOST_KEYS)
        for group in document["groups"]:
            conforms(group, GROUP_KEYS)
            for device in group["devices"]:
                conforms(device, DEVICE_KEYS)
            for finding in group["findings"]:
                conforms(finding, FINDING_KEYS)

    def test_lists_groups_in_numeric_order_with_full_addresses(self, vfiokit: Command) -> None:
        groups = vfiokit("groups", "--json").json["groups"]
        assert [group["id"] for group in groups] == [0, 1, 2, 3, 4, 5, 14, 200, 4000]
        assert [each["address"] for each in groups[1]["devices"]] == [
            "0000:00:01.0",
            "0000:01:00.0",
            "0000:01:00.1",
        ]
        assert groups[-1]["devices"][0]["address"] == "10000:00:02.0"

    def test_says_of_each_function_what_sysfs_says(self, vfiokit: Command) -> None:
        groups = {group["id"]: group for group in vfiokit("groups", "--json").json["groups"]}
        ssd = groups[14]["devices"][0]
        assert ssd == {
            "address": "0000:03:00.0",
            "vendor": 0x144D,
            "device": 0xA808,
            "subsystem_vendor": 0x144D,
            "subsystem_device": 1,
            "class": 0x010802,
            "vendor_name": "Samsung Electronics Co Ltd",
            "device_name": "NVMe SSD Controller SM981",
            "class_name": "Non-Volatile memory controller",
            "driver": "vfio-pci",
            "driver_override": "vfio-pci",
            "numa_node": 0,
            "bridge": False,
            "physfn": None,
            "boot_vga": None,
            "vfio_device": "vfio0",
        }
        assert groups[1]["devices"][1]["boot_vga"] is True
        assert groups[1]["devices"][0]["bridge"] is True

    def test_tells_who_is_in_the_way(self, vfiokit: Command) -> None:
        groups = {group["id"]: group for group in vfiokit("groups", "--json").json["groups"]}
        viable = {number: group["viable"] for number, group in groups.items()}
        assert viable == {0: True, 1: False, 2: True, 3: False, 4: True, 5: True, 14: True, 200: False} | {
            4000: False
        }
        blamed = [(each["code"], each["subject"]) for each in groups[1]["findings"]]
        assert blamed == [("member-in-the-way", "0000:01:00.0"), ("member-in-the-way", "0000:01:00.1")]
        assert [each["code"] for each in groups[200]["findings"]] == ["reserved-direct"]
        assert groups[200]["reserved_regions"][0] == {
            "start": 0x7B800000,
            "end": 0x7BA00000,
            "type": "direct",
        }

    def test_an_unknown_is_null_with_its_reason_beside_it(self, vfiokit: Command) -> None:
        answer = vfiokit(
            "groups", "3", "--json", root=changed("02:00.0", driver=Unknown("Permission denied"))
        )
        (group,) = answer.json["groups"]
        (device,) = group["devices"]
        assert (device["driver"], device["unknown"]) == (None, {"driver": "Permission denied"})
        assert group["viable"] is None
        assert [each["code"] for each in group["findings"]] == ["driver-unknown"]
        assert answer.json["problems"][0]["reason"] == "Permission denied"
        assert "02:00.0/driver: Permission denied" in answer.err

    def test_functions_without_a_group_are_listed_apart(self, vfiokit: Command) -> None:
        groups = tuple(group for group in MACHINE.groups if group.id != 3)
        host = replace(changed("02:00.0", group=None), groups=groups)
        assert vfiokit("groups", "--json", root=host).json["ungrouped"] == ["0000:02:00.0"]

    def test_names_are_null_where_there_is_no_list(
        self, vfiokit: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VFIOKIT_PCI_IDS", "/nowhere/pci.ids")
        (group,) = vfiokit("groups", "14", "--json").json["groups"]
        names = [group["devices"][0][key] for key in ("vendor_name", "device_name", "class_name")]
        assert names == [None, None, None]


class TestPlain:
    def test_is_one_line_a_group_and_one_a_function(self, vfiokit: Command) -> None:
        lines = vfiokit("groups", "--format", "plain").out.splitlines()
        assert len(lines) == len(MACHINE.groups) + len(MACHINE.devices)
        assert lines[1].startswith("  0000:00:00.0 Bridge [0600]: Intel Corporation Device [8086:3e1f]")

    def test_is_what_a_pipe_gets(self, vfiokit: Command) -> None:
        assert vfiokit("groups").out == vfiokit("groups", "--format", "plain").out

    def test_marks_what_is_special(self, vfiokit: Command) -> None:
        text = vfiokit("groups", "--format", "plain").out
        assert "(driver nouveau, NUMA 0, boot VGA)" in text
        assert "(driver pcieport, bridge)" in text
        assert "(driver vfio-pci, override vfio-pci, cdev vfio0, NUMA 0)" in text
        assert "group 1  DMA-FQ  not viable: 0000:01:00.0 is bound to nouveau; 0000:01:00.1 is bound" in text
        assert "group 14  DMA-FQ  viable\n" in text

    def test_names_the_parent_of_a_virtual_function(self, vfiokit: Command) -> None:
        assert "VF of 0000:02:00.0" in vfiokit("groups", root=changed("04:00.0", physfn=at("02:00.0"))).out

    def test_a_group_that_vfio_made_up_is_never_isolated(self, vfiokit: Command) -> None:
        groups = tuple(replace(group, name=NOIOMMU_NAME, type=None) for group in MACHINE.groups)
        answer = vfiokit("groups", root=replace(MACHINE, groups=groups))
        assert answer.status == 8
        assert "group 14  no-IOMMU  viable, but not isolated" in answer.out
        assert "only groups that VFIO made up" in answer.err

    def test_members_that_are_no_pci_functions_are_shown_and_unknown(self, vfiokit: Command) -> None:
        groups = (replace(MACHINE.groups[0], others=("arm-smmu.0.auto",)), *MACHINE.groups[1:])
        out = vfiokit("groups", "0", root=replace(MACHINE, groups=groups)).out
        assert "cannot tell: arm-smmu.0.auto is no PCI function" in out
        assert "  arm-smmu.0.auto  (not a PCI function)" in out


class TestTable:
    @pytest.mark.parametrize("columns", ["20", "40", "80", "400"])
    def test_keeps_every_address_whole_at_any_width(
        self, vfiokit: Command, monkeypatch: pytest.MonkeyPatch, columns: str
    ) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        answer = vfiokit("groups", "--format", "table")
        assert answer.status == 0
        if int(columns) >= 80:
            assert all(str(device.address) in answer.out for device in MACHINE.devices)

    def test_shows_what_is_unknown(self, vfiokit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "240")
        tree = layout(MACHINE)
        path = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0/uevent"
        tree.add(path, Failure(13))
        out = vfiokit("groups", "3", "--format", "table", root=tree).out
        assert "unknown" in out

    def test_members_that_are_no_pci_functions_have_a_row(self, vfiokit: Command) -> None:
        groups = (replace(MACHINE.groups[0], others=("platform.0",)), *MACHINE.groups[1:])
        out = vfiokit("groups", "0", "--format", "table", root=replace(MACHINE, groups=groups)).out
        assert "platform.0" in out


class TestForum:
    def test_is_the_block_that_people_paste(self, vfiokit: Command) -> None:
        assert vfiokit("groups", "14", "3", "--format", "forum").out == (
            "IOMMU Group 3:\n"
            "\t02:00.0 Ethernet controller [0200]: "
            "Intel Corporation I210 Gigabit Network Connection [8086:1533] (rev a1)\n"
            "IOMMU Group 14:\n"
            "\t03:00.0 Non-Volatile memory controller [0108]: "
            "Samsung Electronics Co Ltd NVMe SSD Controller SM981 [144d:a808] (rev a1)\n"
        )

    def test_shows_domains_where_there_are_several(self, vfiokit: Command) -> None:
        out = vfiokit("groups", "--format", "forum").out
        assert "\t10000:00:02.0 " in out
        assert "\t0000:03:00.0 " in out


class TestSelection:
    @pytest.mark.parametrize(
        ("selector", "number"),
        [
            ("14", 14),
            ("group:14", 14),
            ("0000:03:00.0", 14),
            ("03:00.0", 14),
            ("3:0.0", 14),
            ("pci_0000_03_00_0", 14),
            ("01:00.1", 1),
            ("10de:10f0", 1),
            ("10DE:10F0", 1),
            ("enp2s0", 3),
            ("nvme0n1", 200),
            ("10000:00:02.0", 4000),
        ],
    )
    def test_finds_one_group(self, vfiokit: Command, selector: str, number: int) -> None:
        answer = vfiokit("groups", selector, "--json")
        assert (answer.status, [group["id"] for group in answer.json["groups"]]) == (0, [number])

    def test_of_several_keeps_numeric_order_and_no_doubles(self, vfiokit: Command) -> None:
        answer = vfiokit("groups", "4000", "01:00.0", "01:00.1", "group:3", "--json")
        assert [group["id"] for group in answer.json["groups"]] == [1, 3, 4000]

    @pytest.mark.parametrize(
        "selector",
        [
            "9",
            "group:9",
            "05:00.0",
            "0001:03:00.0",
            "ffff:ffff",
            "enp2s",
            "enp2s00",
            "nvme0",
            "group:99999999999",
            "",
            "group:",
            "*",
            "a\nb",
            "\x1b[2J",
        ],
    )
    def test_of_nothing_is_one_line_and_status_2(self, vfiokit: Command, selector: str) -> None:
        answer = vfiokit("groups", selector)
        assert answer.status == 2
        assert answer.error.startswith("vfiokit: select ")

    def test_of_several_groups_lists_the_candidates(self, vfiokit: Command) -> None:
        answer = vfiokit("groups", "144d:a808")
        assert answer.status == 2
        assert answer.error.endswith("2 functions match (one of: 0000:03:00.0, 0000:04:00.0)")

    def test_of_several_functions_of_one_group_is_that_group(self, vfiokit: Command) -> None:
        host = changed("01:00.1", vendor=0x10DE, device=0x1B81)
        assert vfiokit("groups", "10de:1b81", "--json", root=host).json["groups"][0]["id"] == 1

    def test_of_a_function_without_a_group_says_so(self, vfiokit: Command) -> None:
        groups = tuple(group for group in MACHINE.groups if group.id != 3)
        answer = vfiokit("groups", "enp2s0", root=replace(changed("02:00.0", group=None), groups=groups))
        assert answer.status == 2
        assert answer.error == "vfiokit: select 0000:02:00.0: it has no IOMMU group"


class TestStatus:
    def test_is_8_without_an_iommu_with_the_reason_and_where_to_go(self, vfiokit: Command) -> None:
        devices = tuple(replace(device, group=None) for device in MACHINE.devices)
        host = replace(MACHINE, groups=(), devices=devices)
        answer = vfiokit("groups", root=host)
        assert (answer.status, answer.out) == (8, "")
        assert "[iommu-translation-off]" in answer.err
        assert "--root example" in answer.err
        document = vfiokit("groups", "--json", root=host).json
        assert [each["code"] for each in document["host"]["findings"]] == ["iommu-translation-off"]
        assert len(document["ungrouped"]) == len(MACHINE.devices)

    def test_is_3_where_groups_cannot_be_listed(self, vfiokit: Command) -> None:
        tree = layout(replace(MACHINE, groups=()))
        tree.add("sys/kernel/iommu_groups", Failure(13))
        answer = vfiokit("groups", root=tree)
        assert (answer.status, answer.out) == (3, "")
        assert "[groups-unreadable]" in answer.err
        assert "--root example" not in answer.err

    def test_is_2_for_an_option_that_does_not_exist(self, vfiokit: Command) -> None:
        answer = vfiokit("groups", "--frmat", "plain")
        assert answer.status == 2
        assert "No such option" in answer.err

    def test_is_2_for_a_command_that_does_not_exist(self, vfiokit: Command) -> None:
        answer = vfiokit("grops")
        assert answer.status == 2
        assert "No such command" in answer.err

    def test_weaknesses_of_the_host_go_to_standard_error(self, vfiokit: Command) -> None:
        host = replace(MACHINE, platform=replace(MACHINE.platform, interrupt_remapping=False))
        answer = vfiokit("groups", root=host)
        assert answer.status == 0
        assert "[no-interrupt-remapping]" in answer.err
        assert "remapped" not in answer.out

    def test_more_problems_than_fit_are_counted(self, vfiokit: Command) -> None:
        devices = tuple(
            replace(device, numa_node=Unknown("Input/output error")) for device in MACHINE.devices
        )
        answer = vfiokit("groups", root=replace(MACHINE, devices=devices))
        assert answer.err.count("Input/output error") == 5
        assert "and 6 more (see problems in --json)" in answer.err


class TestProcess:
    def run(self, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vfiokit", *arguments],
            capture_output=True,
            text=True,
            check=False,
            **settings,
        )

    def test_prints_the_listing_and_ends_with_0(self, tree: Tree) -> None:
        run = self.run("--root", str(tree(MACHINE)), "groups")
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith("group 0  DMA-FQ  viable\n")

    def test_ends_with_the_status_of_an_error_on_one_line(self, tree: Tree) -> None:
        run = self.run("--root", str(tree(MACHINE)), "groups", "nothing")
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr.count("\n") == 1

    def test_a_reader_that_leaves_is_no_failure(self, tree: Tree) -> None:
        command = (
            f"{sys.executable} -m vfiokit --root {tree(MACHINE)} groups | true; exit ${{PIPESTATUS[0]}}"
        )
        run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")

    def test_a_full_disk_is_one_line(self, tree: Tree) -> None:
        with open("/dev/full", "w") as full:
            run = subprocess.run(
                [sys.executable, "-m", "vfiokit", "--root", str(tree(MACHINE)), "groups"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert run.returncode == 1
        assert run.stderr == "vfiokit: output: No space left on device\n"

    def test_help_lists_every_command(self) -> None:
        run = self.run("--help")
        assert run.returncode == 0
        assert all(f"  {name} " in run.stdout for name in ("capture", "groups", "watch", "why"))


def test_an_empty_host_has_nothing_to_list(vfiokit: Command) -> None:
    answer = vfiokit("groups", "--json", root=Host())
    assert answer.status == 8
    assert answer.json["groups"] == []

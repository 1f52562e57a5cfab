"""The commands that move drivers, on a simulated kernel: what they print, how they end, what they leave."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.machine import Command
from vfiokit.address import PciAddress
from vfiokit.cli import moving
from vfiokit.testing.faults import Crash, Fault, Killed
from vfiokit.testing.kernel import SimulatedKernel, VirtualFunctions
from vfiokit.testing.machines import GPU, NIC, NVME, workstation


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimulatedKernel:
    """Put a simulated kernel in the place of the running one, and the state into a directory of the test."""
    simulated = SimulatedKernel(workstation(), vfs={NIC: VirtualFunctions(total=7)}, vf_delay=0.5)
    simulated.source.name = "/"
    monkeypatch.setattr(moving, "open_root", lambda _: simulated.source)
    monkeypatch.setattr(moving, "open_writer", lambda _: simulated)
    for name in ("RUN", "STATE", "CONFIG", "UDEV", "DRIVERCTL"):
        monkeypatch.setenv(f"VFIOKIT_{name}_DIR", str(tmp_path / name.lower()))
    return simulated


class TestBinding:
    def test_a_function_goes_and_comes_back(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        before = kernel.state()
        answer = vfiokit("bind", "3:0.0")
        assert answer.status == 0
        assert answer.out.startswith("0000:03:00.0  igb -> vfio-pci\nwarning: 0000:03:00.0 it sleeps")
        assert vfiokit("bind", "3:0.0").out == "nothing to do: everything is as wanted\n"
        assert vfiokit("status").out == "0000:03:00.0  vfio-pci; had igb\n"
        assert vfiokit("restore", "--all").out == "0000:03:00.0  vfio-pci -> igb\n"
        assert kernel.state() == before
        assert vfiokit("status").out == "nothing is moved\n"

    def test_every_step_is_said_when_asked(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        steps = vfiokit("bind", "3:0.0", "-v").err.splitlines()
        assert steps[0] == "vfiokit: write vfio-pci to sys/bus/pci/devices/0000:03:00.0/driver_override"
        assert steps[-1] == "vfiokit: commit"

    def test_mates_need_leave(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        answer = vfiokit("bind", str(GPU[0]))
        assert answer.status == 4
        assert "--allow 0000:01:00.3, or --with-group" in answer.err
        assert answer.out == ""
        assert kernel.writes == []
        assert vfiokit("bind", str(GPU[0]), *(f"--allow={each}" for each in GPU[1:])).status == 0
        assert vfiokit("restore", "group:14").status == 0

    def test_a_whole_group_by_its_number(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        document = json.loads(vfiokit("bind", "group:14", "--json").out)
        assert document["schema"] == "vfiokit.bind/1"
        assert [row["address"] for row in document["moved"]] == [str(each) for each in GPU]
        assert document["moved"][0]["before"]["driver"] == "amdgpu"
        assert document["moved"][0]["after"]["driver"] == "vfio-pci"

    def test_nodes_are_given_away(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        assert vfiokit("bind", "3:0.0", "--owner", "1000:1001", "--mode", "660").status == 0
        owner = kernel.owners["dev/vfio/16"]
        assert (owner.uid, owner.gid, owner.mode) == (1000, 1001, 0o660)

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (("--owner", "no-such-user"), "own no-such-user: no such user"),
            (("--mode", "rw"), "own 'rw': no permission bits (like 0660)"),
            (("--mode", "7777"), "no permission bits"),
            (("--allow", "no-such=3:0.0"), "allow no-such: no such rule"),
            (("--allow", "net-up"), "a rule is allowed for one function at a time"),
            (("--allow", "storage-root=3:0.0"), "this rule cannot be allowed"),
            (("--allow", "9:0.0"), "no PCI function matches"),
            (("--driver", "../../nvme"), "bind '../../nvme': no name of a driver"),
            (("--driver", 'x", RUN+="sh'), "no name of a driver"),
        ],
    )
    def test_options_that_cannot_be_right(
        self, vfiokit: Command, kernel: SimulatedKernel, options: tuple[str, ...], text: str
    ) -> None:
        answer = vfiokit("bind", "3:0.0", *options)
        assert answer.status == 2
        assert text in answer.err
        assert kernel.writes == []

    def test_a_failure_is_one_line_and_status_5(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        before = kernel.state()
        kernel.faults.append(Fault(at=1, errno=5))
        answer = vfiokit("bind", "3:0.0")
        assert answer.status == 5
        assert answer.err == (
            "vfiokit: bind 0000:03:00.0: write 0000:03:00.0 to sys/bus/pci/drivers/igb/unbind: "
            "Input/output error; everything is as it was\n"
        )
        assert kernel.state() == before

    def test_a_way_back_that_fails_is_status_6(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        kernel.drivers["igb"].probe_error = 5
        kernel.drivers["vfio-pci"].probe_error = 22
        answer = vfiokit("bind", "3:0.0")
        assert answer.status == 6
        assert "driver none, override none instead of driver igb, override none" in answer.err
        assert vfiokit("status").status == 1
        assert vfiokit("recover").status == 6
        kernel.drivers["igb"].probe_error = None
        assert vfiokit("recover").status == 0
        assert vfiokit("status").status == 0

    def test_a_write_that_is_stuck_is_status_7(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        kernel.faults.append(Fault(path="igb/unbind", hang=True))
        answer = vfiokit("bind", "3:0.0", "--timeout", "3")
        assert answer.status == 7
        assert "no answer within 3 s" in answer.err
        assert "vfiokit recover, once the kernel lets it go" in answer.err
        assert vfiokit("recover").status == 7
        kernel.stuck.clear()
        assert vfiokit("recover").status == 0

    def test_unbind_leaves_it_alone(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        assert vfiokit("unbind", "2:0.0").out.startswith("0000:02:00.0  nvme -> no driver, override none\n")
        assert kernel.state()[str(NVME)] == (None, "none\n")
        assert vfiokit("restore", "2:0.0").status == 0

    def test_restore_needs_names_or_all(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        assert vfiokit("restore").status == 2
        assert vfiokit("restore", "--all", "3:0.0").status == 2
        assert vfiokit("restore", "3:0.0").err == (
            "vfiokit: restore 0000:03:00.0: vfiokit has not moved it (see vfiokit status)\n"
        )


class TestPlans:
    def test_a_plan_changes_nothing_and_says_all(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        answer = vfiokit("plan", "bind", "3:0.0")
        assert answer.status == 0
        assert (
            "  4. write 0000:03:00.0 to sys/bus/pci/drivers/igb/unbind  (undo: give it back to igb)"
            in answer.out
        )
        assert kernel.writes == []

    def test_a_refused_plan_is_status_4(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        answer = vfiokit("plan", "bind", "1:0.0")
        assert answer.status == 4
        assert "refused: 0000:01:00.1 it is in the same group" in answer.out
        assert answer.out.endswith("it would be refused: rules against it: 3\n")

    def test_a_reviewed_plan_is_applied(
        self, vfiokit: Command, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        file = tmp_path / "plan.json"
        file.write_text(vfiokit("plan", "bind", "group:14", "--keep-power", "--json").out)
        assert vfiokit("apply", str(file)).status == 0
        assert kernel.viable(14) is True
        again = vfiokit("apply", str(file))
        assert again.status == 4
        assert "the host is not as it was when the plan was made" in again.err

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"schema": "vfiokit.plan/2", "plan": {}}',
            '{"schema": "vfiokit.plan/1"}',
            "\x00",
            '{"schema": "vfiokit.plan/1", "plan": {"goal": {"action": "format"}}}',
        ],
    )
    def test_what_is_no_plan_is_refused(
        self, vfiokit: Command, kernel: SimulatedKernel, tmp_path: Path, text: str
    ) -> None:
        file = tmp_path / "plan.json"
        file.write_text(text)
        answer = vfiokit("apply", str(file))
        assert answer.status == 2
        assert answer.err.startswith("vfiokit: read plan")
        assert len(answer.err.splitlines()) == 1

    def test_a_forged_step_is_never_taken(
        self, vfiokit: Command, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        document = json.loads(vfiokit("plan", "bind", "3:0.0", "--json").out)
        document["plan"]["steps"][0]["path"] = "../../etc/passwd"
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(document))
        assert vfiokit("apply", str(file)).status == 4
        assert kernel.writes == []

    def test_a_capture_can_be_planned_for_and_not_changed(self, vfiokit: Command) -> None:
        answer = vfiokit("plan", "bind", "3:0.0", root=workstation())
        assert answer.status == 4
        assert "only the running kernel can be asked" in answer.out
        answer = vfiokit("bind", "3:0.0", root=workstation())
        assert answer.status == 2
        assert "only the running host can be changed (plan works on any root)" in answer.err


class TestRecovery:
    def test_what_a_crash_left_is_shown_and_undone(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        before = kernel.state()
        kernel.faults.append(Fault(at=9, crash=Crash.AFTER))
        with pytest.raises(Killed):
            vfiokit("bind", "group:14")
        answer = vfiokit("status")
        assert answer.status == 1
        assert "open: bind 0000:01:00.3, 0000:01:00.2" in answer.out
        assert f"process {os.getpid()}" in answer.out
        assert "  began: write 0000:01:00.3 to sys/bus/pci/drivers/i2c-designware/unbind" in answer.out
        (shown,) = json.loads(vfiokit("status", "--json").out)["open"]
        assert shown["outcome"] == "open"
        (ended,) = json.loads(vfiokit("recover", "--json").out)["transactions"]
        assert ended["outcome"] == "undone"
        assert kernel.state() == before
        assert vfiokit("recover").out == "nothing was left half done\n"

    def test_it_can_be_finished(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        kernel.faults.append(Fault(at=9, crash=Crash.AFTER))
        with pytest.raises(Killed):
            vfiokit("bind", "group:14")
        assert vfiokit("recover", "--finish").status == 0
        assert kernel.viable(14) is True


class TestVirtualFunctions:
    def test_they_come_without_drivers_and_go(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        before = kernel.state()
        assert vfiokit("vfs", "3:0.0", "2").status == 0
        virtual = sorted(set(kernel.state()) - set(before))
        assert len(virtual) == 2
        assert {kernel.state()[each][0] for each in virtual} == {None}
        autoprobe = f"sys/bus/pci/devices/{NIC}/sriov_drivers_autoprobe"
        assert kernel.source.read(autoprobe) == b"1\n"
        assert vfiokit("vfs", "3:0.0", "2").out == "nothing to do: everything is as wanted\n"
        assert vfiokit("bind", *virtual).status == 0
        assert "it is still on vfio-pci" in vfiokit("vfs", "3:0.0", "0").err
        assert vfiokit("restore", *virtual).status == 0
        assert vfiokit("vfs", "3:0.0", "0").status == 0
        assert kernel.state() == before

    def test_those_that_do_not_come_in_time_are_taken_back(
        self, vfiokit: Command, kernel: SimulatedKernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kernel, "_vf_delay", 60.0)
        before = kernel.state()
        answer = vfiokit("vfs", "3:0.0", "2")
        assert answer.status == 5
        assert "they did not come" in answer.err
        kernel.pause(120)
        assert kernel.state() == before
        assert kernel.source.read(f"sys/bus/pci/devices/{NIC}/sriov_numvfs") == b"0\n"

    def test_a_crash_while_they_appear_is_undone(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        kernel.faults.append(Fault(at=1, crash=Crash.AFTER))
        with pytest.raises(Killed):
            vfiokit("vfs", "3:0.0", "2")
        kernel.pause(1)
        assert vfiokit("recover").status == 0
        assert kernel.source.read(f"sys/bus/pci/devices/{NIC}/sriov_numvfs") == b"0\n"
        assert kernel.source.read(f"sys/bus/pci/devices/{NIC}/sriov_drivers_autoprobe") == b"1\n"

    def test_a_function_that_can_have_none(self, vfiokit: Command, kernel: SimulatedKernel) -> None:
        assert vfiokit("vfs", "2:0.0", "1").err == "vfiokit: vfs 0000:02:00.0: it has no virtual functions\n"


class TestPersistence:
    def test_it_is_added_verified_and_removed(
        self, vfiokit: Command, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        assert vfiokit("persist", "add", "3:0.0").status == 0
        rule = (tmp_path / "udev" / "62-vfiokit-0000:03:00.0.rules").read_text()
        assert 'ATTR{vendor}!="0x8086", GOTO="vfiokit_refuse"' in rule
        assert 'RESULT!="0000:03:00.0", GOTO="vfiokit_refuse"' in rule
        assert 'ATTR{driver_override}="vfio-pci"' in rule
        assert "new_id" not in rule
        answer = vfiokit("persist", "verify")
        assert answer.status == 1
        assert "it is not on vfio-pci" in answer.out
        assert vfiokit("persist", "apply").out == "0000:03:00.0  igb -> vfio-pci\n"
        assert vfiokit("persist", "verify").status == 0
        assert vfiokit("persist", "list").out == "0000:03:00.0  vfio-pci  [8086:10c9] at 0000:03/00.0\n"
        assert vfiokit("persist", "remove", "3:0.0").status == 0
        assert not list((tmp_path / "udev").iterdir())
        assert vfiokit("persist", "remove", "3:0.0").status == 2

    def test_another_tools_files(self, vfiokit: Command, kernel: SimulatedKernel, tmp_path: Path) -> None:
        assert vfiokit("persist", "add", "3:0.0", "--format", "driverctl").status == 0
        assert (tmp_path / "driverctl" / "pci-0000:03:00.0").read_text() == "vfio-pci\n"
        assert not (tmp_path / "config").exists()

    def test_a_function_that_is_gone_is_found_elsewhere(
        self, vfiokit: Command, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        vfiokit("persist", "add", "3:0.0")
        (file,) = (tmp_path / "config" / "bind.d").iterdir()
        moved = file.read_text().replace(str(NIC), str(PciAddress(0, 9, 0, 0)))
        file.write_text(moved)
        answer = vfiokit("persist", "verify")
        assert answer.status == 1
        assert "there is no function at this address" in answer.out
        assert "the same identifiers are at 0000:03:00.0" in answer.out
        assert vfiokit("persist", "apply").status == 1

    @pytest.mark.parametrize("text", ["", "{}", '{"driver": "x; rm -rf /"}'])
    def test_a_damaged_file_is_named(
        self, vfiokit: Command, kernel: SimulatedKernel, tmp_path: Path, text: str
    ) -> None:
        vfiokit("persist", "add", "3:0.0")
        (file,) = (tmp_path / "config" / "bind.d").iterdir()
        file.write_text(text)
        answer = vfiokit("persist", "list")
        assert answer.status == 1
        assert str(file) in answer.err

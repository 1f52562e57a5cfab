"""Every failure at every step: a four-function card on a simulated kernel, and the way back."""

import errno
from pathlib import Path

import pytest

from vfiokit.address import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.execute import Limits
from vfiokit.binding.goal import Goal, Owner
from vfiokit.binding.journal import Outcome, read_entry
from vfiokit.binding.places import Places
from vfiokit.binding.safety import Allowance
from vfiokit.binding.transaction import Desk
from vfiokit.errors import NotRolledBack, Refused, RolledBack, VfiokitError, WriteStuck
from vfiokit.sysfs.memory import File, Link
from vfiokit.testing.drivers import common_drivers, vfio_driver
from vfiokit.testing.faults import Crash, Fault, Killed
from vfiokit.testing.kernel import SimulatedKernel
from vfiokit.testing.machines import GPU, NIC, NVME, workstation

BIND = Goal(action=Action.BIND, targets=GPU, keep_power=True, owner=Owner(uid=1000, gid=1000, mode=0o600))
LIMITS = Limits(write=20, driver=1, node=1)


def places(directory: Path) -> Places:
    return Places(
        run=directory / "run",
        state=directory / "state",
        config=directory / "etc",
        rules=directory / "rules",
        driverctl=directory / "driverctl",
    )


def desk(kernel: SimulatedKernel, directory: Path) -> Desk:
    return Desk(kernel, places(directory), limits=LIMITS, lock_wait=0)


def machine() -> SimulatedKernel:
    """Return a workstation whose vfio-pci is a module that is not loaded yet."""
    drivers = [driver for driver in common_drivers() if not driver.vfio]
    return SimulatedKernel(workstation(), [*drivers, vfio_driver(loaded=False)])


def everything(kernel: SimulatedKernel) -> dict[str, tuple[str | None, ...]]:
    """Return drivers, overrides and power settings, byte for byte."""
    rows: dict[str, tuple[str | None, ...]] = {}
    for address, state in kernel.state().items():
        path = f"sys/bus/pci/devices/{address}"
        extra = [
            kernel.source.read(f"{path}/{name}").decode() for name in ("d3cold_allowed", "power/control")
        ]
        rows[address] = (*state, *extra)
    return rows


WRITES = 26
"""Writes of the plan: a module, four overrides, unbinds and probes, eight power settings, five nodes."""


def test_the_plan_has_as_many_writes_as_are_tried(tmp_path: Path) -> None:
    kernel = machine()
    desk(kernel, tmp_path).do(BIND)
    assert len(kernel.writes) == WRITES
    assert {kernel.state()[str(address)] for address in GPU} == {("vfio-pci", "vfio-pci\n")}
    assert kernel.viable(14) is True
    assert set(kernel.owners.values()) == {Owner(1000, 1000, 0o600)}


@pytest.mark.parametrize("number", range(WRITES))
@pytest.mark.parametrize("code", [errno.EIO, errno.EBUSY, errno.EINVAL])
def test_an_error_at_any_write_leaves_everything_as_it_was(tmp_path: Path, number: int, code: int) -> None:
    kernel = machine()
    before = everything(kernel)
    kernel.faults.append(Fault(at=number, errno=code))
    with pytest.raises(RolledBack) as caught:
        desk(kernel, tmp_path).do(BIND)
    assert caught.value.exit_status == 5
    assert everything(kernel) == before
    assert desk(kernel, tmp_path).open_entries() == ()
    assert desk(kernel, tmp_path).records.all() == {}


@pytest.mark.parametrize("when", [Crash.BEFORE, Crash.AFTER])
@pytest.mark.parametrize("number", range(WRITES))
def test_a_kill_at_any_write_is_recovered(tmp_path: Path, number: int, when: Crash) -> None:
    kernel = machine()
    before = everything(kernel)
    kernel.faults.append(Fault(at=number, crash=when))
    with pytest.raises(Killed):
        desk(kernel, tmp_path).do(BIND)
    assert len(desk(kernel, tmp_path).open_entries()) == 1
    (recovered,) = desk(kernel, tmp_path).recover()
    assert recovered.outcome is Outcome.UNDONE
    assert everything(kernel) == before
    assert desk(kernel, tmp_path).recover() == ()


@pytest.mark.parametrize("number", range(0, WRITES, 3))
def test_a_kill_can_be_finished_as_well(tmp_path: Path, number: int) -> None:
    kernel = machine()
    kernel.faults.append(Fault(at=number, crash=Crash.AFTER))
    with pytest.raises(Killed):
        desk(kernel, tmp_path).do(BIND)
    (recovered,) = desk(kernel, tmp_path).recover(finish=True)
    assert recovered.outcome is Outcome.COMMITTED
    assert {kernel.state()[str(address)][0] for address in GPU} == {"vfio-pci"}
    before = everything(machine())
    desk(kernel, tmp_path).do(Goal(action=Action.RESTORE, targets=GPU))
    assert everything(kernel) == before


@pytest.mark.parametrize("number", range(WRITES))
def test_a_write_that_never_returns_is_stuck(tmp_path: Path, number: int) -> None:
    kernel = machine()
    before = everything(kernel)
    kernel.faults.append(Fault(at=number, hang=True))
    started = kernel.now()
    with pytest.raises(WriteStuck) as caught:
        desk(kernel, tmp_path).do(BIND)
    assert caught.value.exit_status == 7
    assert kernel.now() - started <= LIMITS.write + 8 * LIMITS.driver
    stuck = {str(address) for address in kernel.stuck}
    after = everything(kernel)
    assert {address for address in before if after[address] != before[address]} <= stuck
    for path, text in kernel.writes[number + 1 :]:
        assert not any(address in path or address in text for address in stuck)
    # Another group is as usable as ever.
    desk(kernel, tmp_path).do(Goal(action=Action.BIND, targets=(NVME,)))
    assert kernel.state()[str(NVME)][0] == "vfio-pci"


def test_a_stuck_function_is_recovered_once_the_kernel_lets_it_go(tmp_path: Path) -> None:
    kernel = machine()
    before = everything(kernel)
    kernel.faults.append(Fault(path="amdgpu/unbind", hang=True))
    with pytest.raises(WriteStuck, match="amdgpu/unbind"):
        desk(kernel, tmp_path).do(BIND)
    with pytest.raises(Refused, match="was left stuck"):
        desk(kernel, tmp_path).do(BIND)
    kernel.stuck.clear()
    (recovered,) = desk(kernel, tmp_path).recover()
    assert recovered.outcome is Outcome.UNDONE
    assert everything(kernel) == before


def test_a_way_back_that_fails_says_so_and_keeps_its_journal(tmp_path: Path) -> None:
    kernel = machine()
    before = everything(kernel)
    kernel.drivers["vfio-pci"].probe_error = errno.EIO
    kernel.drivers["xhci_hcd"].probe_error = errno.EIO
    with pytest.raises(NotRolledBack, match=r"0000:01:00\.2: driver none") as caught:
        desk(kernel, tmp_path).do(BIND)
    assert caught.value.exit_status == 6
    (entry,) = desk(kernel, tmp_path).open_entries()
    assert entry.outcome is Outcome.PART_UNDONE
    kernel.drivers["xhci_hcd"].probe_error = None
    desk(kernel, tmp_path).recover()
    assert everything(kernel) == before


class TestWhatTheKernelAnswers:
    def test_a_driver_that_refuses_is_named_with_its_reason(self, tmp_path: Path) -> None:
        kernel = machine()
        kernel.drivers["vfio-pci"].probe_error = errno.EINVAL
        with pytest.raises(RolledBack, match=r"bind to vfio-pci 0000:01:00\.3: Invalid argument"):
            desk(kernel, tmp_path).do(BIND)

    def test_a_driver_that_probes_late_is_waited_for(self, tmp_path: Path) -> None:
        kernel = SimulatedKernel(workstation(), node_delay=0.5)
        desk(kernel, tmp_path).do(BIND)
        assert kernel.viable(14) is True

    def test_a_node_that_does_not_come_is_a_failure(self, tmp_path: Path) -> None:
        kernel = SimulatedKernel(workstation(), node_delay=60)
        before = everything(kernel)
        with pytest.raises(RolledBack, match="no node, or one with another number: dev/vfio/14"):
            desk(kernel, tmp_path).do(BIND)
        assert everything(kernel) == before

    def test_a_module_that_is_not_there_changes_nothing(self, tmp_path: Path) -> None:
        kernel = SimulatedKernel(workstation(), [each for each in common_drivers() if not each.vfio])
        with pytest.raises(RolledBack, match="load module vfio_pci: No such file"):
            desk(kernel, tmp_path).do(BIND)
        assert [path for path, _ in kernel.writes] == ["sbin/modprobe vfio_pci"]


class TestGivingBack:
    def test_restore_gives_back_exactly_what_was_recorded(self, tmp_path: Path) -> None:
        kernel = machine()
        before = everything(kernel)
        desk(kernel, tmp_path).do(BIND)
        assert everything(kernel) != before
        desk(kernel, tmp_path).do(Goal(action=Action.RESTORE, targets=GPU))
        assert everything(kernel) == before
        assert desk(kernel, tmp_path).records.all() == {}

    def test_an_override_that_was_there_is_given_back(self, tmp_path: Path) -> None:
        kernel = machine()
        kernel.write(f"sys/bus/pci/devices/{NIC}/driver_override", "igb", 1)
        before = everything(kernel)
        goal = Goal(action=Action.BIND, targets=(NIC,))
        plan = desk(kernel, tmp_path).plan(goal)
        assert [verdict.rule for verdict in plan.refusals] == ["foreign-override"]

        allowed = Goal(
            action=Action.BIND, targets=(NIC,), allowed=frozenset({Allowance("foreign-override", NIC)})
        )
        desk(kernel, tmp_path).do(allowed)
        desk(kernel, tmp_path).do(Goal(action=Action.RESTORE, targets=(NIC,)))
        assert everything(kernel) == before

    def test_a_function_that_had_no_driver_gets_none(self, tmp_path: Path) -> None:
        kernel = machine()
        kernel.write("sys/bus/pci/drivers/igb/unbind", str(NIC), 1)
        before = everything(kernel)
        desk(kernel, tmp_path).do(Goal(action=Action.BIND, targets=(NIC,)))
        assert kernel.state()[str(NIC)][0] == "vfio-pci"
        desk(kernel, tmp_path).do(Goal(action=Action.RESTORE, targets=(NIC,)))
        assert everything(kernel) == before

    def test_unbind_keeps_every_driver_away_until_it_is_given_back(self, tmp_path: Path) -> None:
        kernel = machine()
        before = everything(kernel)
        desk(kernel, tmp_path).do(Goal(action=Action.UNBIND, targets=(NVME,)))
        kernel.write("sys/bus/pci/drivers_probe", str(NVME), 1)
        assert kernel.state()[str(NVME)] == (None, "none\n")
        desk(kernel, tmp_path).do(Goal(action=Action.RESTORE, targets=(NVME,)))
        assert everything(kernel) == before

    def test_a_block_gives_back_what_it_bound(self, tmp_path: Path) -> None:
        kernel = machine()
        before = everything(kernel)
        with desk(kernel, tmp_path).bound(BIND) as plan:
            assert {move.address for move in plan.moves} == set(GPU)
            assert kernel.viable(14) is True
        assert everything(kernel) == before

    def test_a_block_that_fails_gives_back_too(self, tmp_path: Path) -> None:
        kernel = machine()
        before = everything(kernel)
        with pytest.raises(RuntimeError, match="inside"), desk(kernel, tmp_path).bound(BIND):
            raise RuntimeError("inside")
        assert everything(kernel) == before

    def test_another_card_in_the_same_place_is_not_given_back_to(self, tmp_path: Path) -> None:
        kernel = machine()
        desk(kernel, tmp_path).do(Goal(action=Action.BIND, targets=(NIC,)))
        path = next(path for path, _ in kernel.source.nodes() if path.endswith(f"{NIC}/uevent"))
        text = kernel.source.read(path).replace(b"8086:10C9", b"10EC:8168")

        kernel.source.add(path, File(text))
        plan = desk(kernel, tmp_path).plan(Goal(action=Action.RESTORE, targets=(NIC,)))
        (verdict,) = plan.refusals
        assert verdict.rule == "identity"
        assert "vendor: 0x8086 recorded, 0x10ec found" in verdict.evidence

    def test_what_was_never_moved_cannot_be_given_back(self, tmp_path: Path) -> None:
        with pytest.raises(VfiokitError, match="has not moved it"):
            desk(machine(), tmp_path).plan(Goal(action=Action.RESTORE, targets=(NIC,)))


class TestIdempotence:
    @pytest.mark.parametrize("targets", [(NIC,), GPU])
    def test_a_second_run_writes_nothing(self, tmp_path: Path, targets: tuple[PciAddress, ...]) -> None:
        kernel = machine()
        goal = Goal(action=Action.BIND, targets=targets)
        desk(kernel, tmp_path).do(goal)
        writes = len(kernel.writes)
        assert desk(kernel, tmp_path).do(goal).moves == ()
        assert len(kernel.writes) == writes

    def test_restoring_what_is_back_writes_nothing_and_forgets(self, tmp_path: Path) -> None:
        kernel = machine()
        desk(kernel, tmp_path).do(Goal(action=Action.BIND, targets=(NIC,)))
        # What a reboot leaves: drivers and overrides as the kernel starts, and our record.
        fresh = machine()
        assert desk(fresh, tmp_path).do(Goal(action=Action.RESTORE, targets=(NIC,))).moves == ()
        assert fresh.writes == []


class TestJournal:
    def test_it_is_on_disk_before_the_first_write(self, tmp_path: Path) -> None:
        kernel = machine()
        seen: list[int] = []
        original = kernel.write

        def write(path: str, text: str, limit: float) -> None:
            seen.append(len(desk(kernel, tmp_path).open_entries()))
            original(path, text, limit)

        kernel.write = write  # type: ignore[method-assign]
        desk(kernel, tmp_path).do(Goal(action=Action.BIND, targets=(NIC,)))
        assert seen
        assert set(seen) == {1}

    def test_a_torn_header_changed_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "journal" / "20260101T000000-1-0.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text('{"schema": "vfiokit.journal/1", "moves": [')
        assert read_entry(path) is None
        assert desk(machine(), tmp_path).recover() == ()

    def test_a_torn_last_line_is_no_obstacle(self, tmp_path: Path) -> None:
        kernel = machine()
        before = everything(kernel)
        kernel.faults.append(Fault(at=12, crash=Crash.AFTER))
        with pytest.raises(Killed):
            desk(kernel, tmp_path).do(BIND)
        (entry,) = desk(kernel, tmp_path).open_entries()
        with entry.path.open("a") as stream:
            stream.write('{"step": 13, "te')
        desk(kernel, tmp_path).recover()
        assert everything(kernel) == before
        assert desk(kernel, tmp_path).open_entries() == ()

    def test_a_reboot_ends_a_transaction(self, tmp_path: Path) -> None:
        kernel = machine()
        kernel.faults.append(Fault(at=12, crash=Crash.AFTER))
        with pytest.raises(Killed):
            desk(kernel, tmp_path).do(BIND)
        fresh = machine()

        fresh.source.add("proc/sys/kernel/random/boot_id", File(b"another\n"))
        (recovered,) = desk(fresh, tmp_path).recover()
        assert recovered.outcome is Outcome.REBOOTED
        assert fresh.writes == []

    def test_a_directory_that_cannot_be_written_changes_nothing(self, tmp_path: Path) -> None:
        kernel = machine()
        (tmp_path / "state").write_text("in the way")
        with pytest.raises(VfiokitError, match="nothing was changed"):
            desk(kernel, tmp_path).do(Goal(action=Action.BIND, targets=(NIC,)))
        assert kernel.writes == []


class TestPlanAgainstTheHost:
    def test_a_plan_that_is_out_of_date_is_refused(self, tmp_path: Path) -> None:
        kernel = machine()
        plan = desk(kernel, tmp_path).plan(Goal(action=Action.BIND, targets=(NIC,)))
        kernel.write("sys/bus/pci/drivers/igb/unbind", str(NIC), 1)
        with pytest.raises(Refused, match="not what it was when the plan was made"):
            desk(kernel, tmp_path).run(plan)

    def test_a_group_that_gained_a_member_is_refused(self, tmp_path: Path) -> None:
        kernel = machine()
        plan = desk(kernel, tmp_path).plan(Goal(action=Action.BIND, targets=(NIC,)))

        kernel.source.add(
            f"sys/kernel/iommu_groups/16/devices/{NVME}", Link(f"../../../../devices/pci0000:00/{NVME}")
        )
        with pytest.raises(
            Refused, match=r"its members were 0000:03:00\.0 and are 0000:02:00\.0, 0000:03:00\.0"
        ):
            desk(kernel, tmp_path).run(plan)

    def test_a_holder_that_comes_between_plan_and_unbind_stops_it(self, tmp_path: Path) -> None:
        kernel = machine()
        before = everything(kernel)
        plan = desk(kernel, tmp_path).plan(Goal(action=Action.BIND, targets=(NVME,)))
        kernel.processes.start(77, "mount", mounts=("90 22 259:0 / /data rw - ext4 /dev/nvme0n1 rw",))
        place = next(
            path for path, _ in kernel.source.nodes() if path.endswith(f"/{NVME}") and "devices/pci" in path
        )

        disk = f"{place}/nvme/nvme0/nvme0n1"
        kernel.source.add(f"{disk}/uevent", File(b""))
        kernel.source.add(f"{disk}/dev", File(b"259:0\n"))
        kernel.source.add(f"{disk}/subsystem", Link("../" * disk.count("/") + "class/block"))
        kernel.source.add("sys/class/block/nvme0n1", Link(f"../../../{disk}"))
        kernel.processes.start(
            78, "late", mounts=("90 22 259:0 / /data rw - ext4 /dev/nvme0n1 rw",), namespace=5
        )
        with pytest.raises(RolledBack, match="storage-mounted"):
            desk(kernel, tmp_path).run(plan)
        assert everything(kernel) == before

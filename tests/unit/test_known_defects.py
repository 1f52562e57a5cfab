"""Mistakes that other tools make when they rebind (each seen in one of them), and that are not made here."""

import errno
from pathlib import Path

import pytest

from vfiokit.address import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.drivers import best_module, driver_of_module, find_driver, module_of_driver
from vfiokit.binding.evidence import Catalog
from vfiokit.binding.execute import Limits
from vfiokit.binding.goal import Goal, StepKind
from vfiokit.binding.journal import open_entries
from vfiokit.binding.places import Places
from vfiokit.binding.transaction import Desk
from vfiokit.errors import RolledBack
from vfiokit.sysfs.memory import File, Link
from vfiokit.testing.drivers import common_drivers, vfio_driver
from vfiokit.testing.faults import Crash, Fault, Killed
from vfiokit.testing.kernel import SimulatedKernel
from vfiokit.testing.machines import GPU, NIC, NVME, PORT, workstation

ALIASES = (
    ("vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci"),
    ("vfio_pci:v00008086d000010C9sv*sd*bc*sc*i*", "fancy_vfio_pci"),
    ("vfio_pci:v00008086d*sv*sd*bc*sc*i*", "vague_vfio_pci"),
)


@pytest.fixture
def kernel() -> SimulatedKernel:
    return SimulatedKernel(workstation())


def desk(kernel: SimulatedKernel, directory: Path) -> Desk:
    places = Places(
        run=directory / "run",
        state=directory / "state",
        config=directory,
        rules=directory,
        driverctl=directory,
    )
    return Desk(kernel, places, limits=Limits(write=5, driver=1, node=1), lock_wait=0)


def bind(*targets: PciAddress, **more: object) -> Goal:
    return Goal(action=Action.BIND, targets=targets, **more)  # type: ignore[arg-type]


class TestTheWayBack:
    def test_a_refused_network_card_is_not_left_without_a_driver(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        """A rollback that lost the old driver's name left the card driverless, its override still set."""
        before = kernel.state()
        kernel.drivers["vfio-pci"].probe_error = errno.EINVAL
        with pytest.raises(RolledBack, match="Invalid argument"):
            desk(kernel, tmp_path).do(bind(NIC))
        assert kernel.state() == before
        assert kernel.state()[str(NIC)] == ("igb", "(null)\n")

    def test_the_other_devices_of_a_run_are_not_forgotten(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        """A failure in the middle of a list ended the program with the rest half done."""
        before = kernel.state()
        kernel.faults.append(Fault(path="nvme/unbind", errno=errno.EIO))
        with pytest.raises(RolledBack):
            desk(kernel, tmp_path).do(bind(NIC, NVME))
        assert kernel.state() == before

    def test_giving_back_goes_to_the_recorded_driver_not_to_whatever_matches(self, tmp_path: Path) -> None:
        """A reset to the default driver by modalias gives a card to another driver than the one it had."""
        drivers = list(common_drivers())
        first = drivers[1]
        assert first.name == "igb"
        drivers.insert(0, type(first)(name="igb-other", classes=first.classes))
        kernel = SimulatedKernel(workstation(), drivers)
        before = kernel.state()
        desk(kernel, tmp_path).do(bind(NIC))
        desk(kernel, tmp_path).do(Goal(action=Action.RESTORE, targets=(NIC,)))
        assert kernel.state() == before

    def test_a_device_without_a_default_driver_is_forgotten_when_it_is_back(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        """An early exit kept the saved file of such a device: its override came back at boot."""
        kernel.write("sys/bus/pci/drivers/igb/unbind", str(NIC), 1)
        kernel.drivers["igb"].classes = frozenset()
        here = desk(kernel, tmp_path)
        here.do(bind(NIC))
        here.do(Goal(action=Action.RESTORE, targets=(NIC,)))
        assert kernel.state()[str(NIC)] == (None, "(null)\n")
        assert here.records.all() == {}

    def test_the_way_back_is_on_disk_before_the_first_change(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        """An undo file that is written at the end is lost with the process that dies in the middle."""
        kernel.faults.append(Fault(at=0, crash=Crash.BEFORE))
        with pytest.raises(Killed):
            desk(kernel, tmp_path).do(bind(NIC))
        (entry,) = open_entries(tmp_path / "state" / "journal")
        assert entry.moves[0].before.driver == "igb"
        assert entry.path.read_text().startswith('{"schema"')

    def test_a_failure_is_not_reported_as_success(self, kernel: SimulatedKernel, tmp_path: Path) -> None:
        """A bind that failed was ignored, and the tool said that it was done."""
        kernel.drivers["vfio-pci"].probe_error = errno.EINVAL
        with pytest.raises(RolledBack) as caught:
            desk(kernel, tmp_path).do(bind(NIC))
        assert caught.value.exit_status == 5


class TestTheWrites:
    def test_an_override_is_cleared_by_one_newline(self, kernel: SimulatedKernel, tmp_path: Path) -> None:
        """A NUL byte broke on one kernel, and an empty write never reaches any."""
        here = desk(kernel, tmp_path)
        here.do(bind(NIC))
        here.do(Goal(action=Action.RESTORE, targets=(NIC,)))
        texts = [text for path, text in kernel.writes if path.endswith("driver_override")]
        assert texts == ["vfio-pci", "igb", "\n"]

    def test_the_override_comes_before_the_unbind(self, kernel: SimulatedKernel, tmp_path: Path) -> None:
        """Between an unbind and a later override, udev gave the card back to its driver."""
        plan = desk(kernel, tmp_path).plan(bind(*GPU))
        kinds = [step.kind for step in plan.steps]
        last_override = len(kinds) - 1 - kinds[::-1].index(StepKind.OVERRIDE)
        assert last_override < kinds.index(StepKind.UNBIND)
        assert kinds.index(StepKind.CHECK) < kinds.index(StepKind.UNBIND)

    def test_no_list_of_identifiers_is_ever_written(self, kernel: SimulatedKernel, tmp_path: Path) -> None:
        """An identifier in new_id takes every card of that kind, now and at each hot plug, and stays."""
        here = desk(kernel, tmp_path)
        here.do(bind(*GPU, NIC, NVME))
        here.do(Goal(action=Action.RESTORE, targets=(*GPU, NIC, NVME)))
        assert not [path for path, _ in kernel.writes if path.endswith("_id")]

    def test_a_probe_that_was_accepted_is_not_believed(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        """drivers_probe succeeds whether anything was bound or not."""
        kernel.drivers["vfio-pci"].probe_error = errno.EBUSY
        kernel.write("sys/bus/pci/drivers_probe", str(NIC), 1)
        with pytest.raises(RolledBack):
            desk(kernel, tmp_path).do(bind(NIC))

    def test_a_device_that_is_right_already_is_left_alone(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        """A second run unbound devices that virtual machines were using."""
        here = desk(kernel, tmp_path)
        here.do(bind(*GPU))
        kernel.processes.open(9, "qemu", "dev/vfio/14")
        writes = len(kernel.writes)
        assert here.do(bind(*GPU)).moves == ()
        assert len(kernel.writes) == writes


class TestGroups:
    def test_every_mate_is_planned_for(self, kernel: SimulatedKernel, tmp_path: Path) -> None:
        """The first sound function was moved with the card, and its USB functions were forgotten."""
        plan = desk(kernel, tmp_path).plan(bind(GPU[0], with_group=True))
        assert {move.address for move in plan.moves} == set(GPU)

    def test_a_bridge_on_the_port_driver_is_fine_and_stays(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        """A bridge was wanted on vfio-pci, or called not viable."""
        here = desk(kernel, tmp_path)
        plan = here.plan(bind(GPU[0], with_group=True))
        assert [left.address for left in plan.left] == [PORT]
        here.run(plan)
        assert kernel.viable(14) is True
        assert kernel.state()[str(PORT)][0] == "pcieport"

    def test_an_unbound_mate_needs_no_driver(self, kernel: SimulatedKernel, tmp_path: Path) -> None:
        """Every mate was wanted on vfio-pci before the group counted as viable."""
        kernel.write(f"sys/bus/pci/devices/{GPU[3]}/driver_override", "none", 1)
        kernel.write("sys/bus/pci/drivers/i2c-designware/unbind", str(GPU[3]), 1)
        plan = desk(kernel, tmp_path).plan(bind(*GPU[:3]))
        assert plan.refusals == ()
        assert GPU[3] in {left.address for left in plan.left}
        desk(kernel, tmp_path).run(plan)
        assert kernel.viable(14) is True

    def test_a_mate_on_a_host_driver_is_named(self, kernel: SimulatedKernel, tmp_path: Path) -> None:
        plan = desk(kernel, tmp_path).plan(bind(GPU[0]))
        assert "driver xhci_hcd" in " ".join(verdict.message for verdict in plan.refusals)

    def test_numbers_of_groups_may_have_gaps(self, kernel: SimulatedKernel, tmp_path: Path) -> None:
        """Walking group numbers from 0 to their count crashed at the first gap."""
        assert desk(kernel, tmp_path).do(bind(NVME)).moves[0].group == 15


class TestDrivers:
    def test_the_most_particular_variant_driver_is_chosen(self) -> None:
        catalog = Catalog(aliases=ALIASES)
        modalias = "pci:v00008086d000010C9sv00008086sd000010C9bc02sc00i00"
        assert best_module(catalog, modalias) == "fancy_vfio_pci"
        assert best_module(catalog, modalias.replace("10C9sv", "FFFFsv")) == "vague_vfio_pci"
        assert best_module(catalog, modalias.replace("v00008086", "v000010DE")) == "vfio_pci"
        assert best_module(Catalog(), modalias) is None

    def test_modules_and_drivers_are_called_differently(self) -> None:
        loaded = Catalog(loaded=(("xe-vfio-pci", "xe_vfio_pci"), ("odd", "odd_vfio")))
        assert driver_of_module(Catalog(), "vfio_pci") == "vfio-pci"
        assert driver_of_module(loaded, "odd_vfio") == "odd"
        assert find_driver(loaded, "xe_vfio_pci") == "xe-vfio-pci"
        assert find_driver(Catalog(), "vfio_pci") == "vfio-pci"
        assert module_of_driver(loaded, "odd") is None
        assert module_of_driver(Catalog(), "nvgrace_gpu_vfio_pci") == "nvgrace_gpu_vfio_pci"

    def test_a_variant_driver_is_loaded_and_bound(self, tmp_path: Path) -> None:
        """Variant drivers were refused because their name is not vfio-pci."""
        drivers = [*common_drivers(), vfio_driver("fancy_vfio_pci", "fancy_vfio_pci", loaded=False)]
        kernel = SimulatedKernel(workstation(), drivers)
        text = "".join(f"alias {pattern} {module}\n" for pattern, module in ALIASES)
        kernel.source.add("lib/modules/6.12.0/modules.alias", File(text.encode()))
        before = kernel.state()
        desk(kernel, tmp_path).do(bind(NIC))
        assert kernel.state()[str(NIC)] == ("fancy_vfio_pci", "fancy_vfio_pci\n")
        assert kernel.viable(16) is True
        desk(kernel, tmp_path).do(Goal(action=Action.RESTORE, targets=(NIC,)))
        assert kernel.state() == before
        named = desk(kernel, tmp_path).plan(bind(NIC, driver="vfio_pci"))
        assert named.moves[0].after.driver == "vfio-pci"

    def test_the_host_driver_whose_module_was_unloaded_is_loaded_again(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        here = desk(kernel, tmp_path)
        here.do(bind(NIC))
        kernel.drivers["igb"].loaded = False
        kernel.source.remove("sys/bus/pci/drivers/igb")
        here.do(Goal(action=Action.RESTORE, targets=(NIC,)))
        assert ("sbin/modprobe igb", "igb") in kernel.writes
        assert kernel.state()[str(NIC)] == ("igb", "(null)\n")


class TestOrder:
    def test_consumers_are_let_go_before_their_suppliers(
        self, kernel: SimulatedKernel, tmp_path: Path
    ) -> None:
        """The sound function keeps the card powered: device links say so."""
        place = next(
            path for path, _ in kernel.source.nodes() if path.endswith(f"/{GPU[0]}") and "pci0000" in path
        )
        kernel.source.add(f"{place}/supplier:pci:{GPU[3]}", Link("x"))
        plan = desk(kernel, tmp_path).plan(bind(*GPU))
        unbound = [step.address for step in plan.steps if step.kind is StepKind.UNBIND]
        probed = [step.address for step in plan.steps if step.kind is StepKind.PROBE]
        assert unbound.index(GPU[0]) < unbound.index(GPU[3])
        assert probed == unbound[::-1]
        rest = [address for address in unbound if address not in (GPU[0], GPU[3])]
        assert rest == sorted(rest, reverse=True)

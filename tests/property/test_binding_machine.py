"""Any order of events: no function is ever left without a driver that had one unless a journal says so."""

import contextlib
import errno
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vfiokit.address import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.execute import Limits
from vfiokit.binding.goal import Goal
from vfiokit.binding.journal import Outcome
from vfiokit.binding.places import Places
from vfiokit.binding.transaction import Desk
from vfiokit.errors import VfiokitError
from vfiokit.testing.faults import Crash, Fault, Killed
from vfiokit.testing.kernel import SimulatedKernel
from vfiokit.testing.machines import GPU, NIC, NVME, workstation

TARGETS = st.sampled_from((GPU, (NVME,), (NIC,), (NVME, NIC)))
GROUPS = (14, 15, 16)
WRITE = st.integers(0, 30)
FAULTS = st.one_of(
    st.builds(Fault, at=WRITE, errno=st.sampled_from((errno.EIO, errno.EBUSY, errno.ENODEV))),
    st.builds(Fault, at=WRITE, crash=st.sampled_from((Crash.BEFORE, Crash.AFTER))),
    st.builds(Fault, at=WRITE, hang=st.just(True)),
    st.builds(Fault, at=WRITE, delay=st.floats(0, 3)),
)


class Binding(RuleBasedStateMachine):
    """A machine on which things are bound and given back, and go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.start = workstation()
        self.kernel = SimulatedKernel(self.start)
        self.original = self.kernel.state()

    def teardown(self) -> None:
        """Follow what a person does after the worst: all is as it was at the start."""
        try:
            self.kernel.stuck.clear()
            for number in GROUPS:
                self.kernel.processes.end(4000 + number)
            for recovered in self.desk.recover():
                assert recovered.outcome in (Outcome.UNDONE, Outcome.COMMITTED), recovered.text
            moved = tuple(each for each in self.desk.records.all() if str(each) in self.kernel.state())
            self.desk.do(Goal(action=Action.RESTORE, targets=moved))
            for address, state in self.kernel.state().items():
                assert state == self.original[address], address
        finally:
            self.directory.cleanup()

    @initialize(delay=st.sampled_from((0.0, 0.2)))
    def boot(self, delay: float) -> None:
        self.kernel = SimulatedKernel(self.start, node_delay=delay)

    @property
    def desk(self) -> Desk:
        root = Path(self.directory.name)
        places = Places(run=root / "run", state=root / "state", config=root, rules=root, driverctl=root)
        return Desk(self.kernel, places, limits=Limits(write=5, driver=1, node=1), lock_wait=0)

    @property
    def known(self) -> set[str]:
        """What a record or an open journal speaks of."""
        moves = (move.address for entry in self.desk.open_entries() for move in entry.moves)
        return set(map(str, (*self.desk.records.all(), *moves)))

    def attempt(self, goal: Goal, fault: Fault | None) -> None:
        """Do it, with a fault counted from now, and let the world's errors be."""
        if fault is not None:
            shifted = Fault(
                at=len(self.kernel.writes) + (fault.at or 0),
                errno=fault.errno,
                delay=fault.delay,
                hang=fault.hang,
                crash=fault.crash,
            )
            self.kernel.faults.append(shifted)
        try:
            self.desk.do(goal)
        except (VfiokitError, Killed):
            pass
        finally:
            self.kernel.faults.clear()

    @rule(which=TARGETS, fault=st.none() | FAULTS)
    def bind(self, which: tuple[PciAddress, ...], fault: Fault | None) -> None:
        self.attempt(Goal(action=Action.BIND, targets=which), fault)

    @rule(which=TARGETS, fault=st.none() | FAULTS)
    def unbind(self, which: tuple[PciAddress, ...], fault: Fault | None) -> None:
        self.attempt(Goal(action=Action.UNBIND, targets=which), fault)

    @rule(which=TARGETS, fault=st.none() | FAULTS)
    def restore(self, which: tuple[PciAddress, ...], fault: Fault | None) -> None:
        self.attempt(Goal(action=Action.RESTORE, targets=which), fault)

    @rule(finish=st.booleans())
    def recover(self, finish: bool) -> None:
        self.desk.recover(finish=finish)

    @rule()
    def the_kernel_lets_go(self) -> None:
        self.kernel.stuck.clear()

    @rule(number=st.sampled_from(GROUPS))
    def a_virtual_machine_starts(self, number: int) -> None:
        try:
            node = self.kernel.source.device(f"dev/vfio/{number}")
        except OSError:
            node = None
        if node is not None:
            self.kernel.processes.open(4000 + number, "qemu", f"dev/vfio/{number}")

    @rule(number=st.sampled_from(GROUPS))
    def a_virtual_machine_ends(self, number: int) -> None:
        self.kernel.processes.end(4000 + number)

    @precondition(lambda self: str(NIC) in self.kernel.state())
    @rule()
    def a_card_is_pulled(self) -> None:
        self.kernel.unplug(NIC)

    @rule(address=st.sampled_from((*GPU, NVME)))
    def somebody_else_probes(self, address: PciAddress) -> None:
        with contextlib.suppress(OSError, VfiokitError):
            self.kernel.write("sys/bus/pci/drivers_probe", str(address), 1)

    @invariant()
    def nothing_is_lost(self) -> None:
        for address, state in self.kernel.state().items():
            if address not in self.known:
                assert state == self.original[address], f"{address} was moved and nothing says so"

    @invariant()
    def whoever_is_without_a_driver_is_known(self) -> None:
        for address, (driver, _) in self.kernel.state().items():
            if driver is None and self.original[address][0] is not None:
                assert address in self.known


TestBinding = Binding.TestCase
TestBinding.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

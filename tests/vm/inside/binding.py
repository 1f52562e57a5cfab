"""The scenes of binding, in the guest: real drivers, real groups, the kernel's own word on viability."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from scenes import (
    DEVICES,
    address,
    disk_of,
    driver,
    group,
    interface_of,
    override,
    read,
    refused,
    run_all,
    scene,
    sh,
    state,
    undone,
    vfiokit,
    viable,
    wait_for,
)
from vfio_holder import hold_device

from vfiokit import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.goal import Goal
from vfiokit.binding.live import LiveWriter
from vfiokit.binding.locks import hold
from vfiokit.binding.places import Places
from vfiokit.binding.transaction import Desk
from vfiokit.errors import RolledBack

MULTI = ("multi0", "multi1", "multi2")


@scene
def a_disk_is_bound_and_given_back_with_its_data() -> None:
    where, disk = address("disk"), disk_of("disk")
    data = os.urandom(1 << 20)
    with open(f"/dev/{disk}", "r+b", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())
    before = state()
    vfiokit("bind", where).expect(0, f"{where}  nvme -> vfio-pci")
    assert driver(where) == "vfio-pci"
    assert override(where) == "vfio-pci\n"
    assert viable(group(where))
    vfiokit("bind", where).expect(0, "nothing to do")
    vfiokit("status").expect(0, f"{where}  vfio-pci; had nvme")
    vfiokit("restore", where).expect(0, f"{where}  vfio-pci -> nvme")
    assert state() == before
    with open(f"/dev/{disk_of('disk')}", "rb", buffering=0) as file:
        assert hashlib.sha256(file.read(len(data))).digest() == hashlib.sha256(data).digest()
    vfiokit("restore", where).expect(2, "has not moved it")
    vfiokit("status").expect(0, "nothing is moved")


@scene
def a_network_card_is_bound_by_its_name_and_has_its_link_again() -> None:
    where, name = address("network"), interface_of("network")
    before, mac = state(), read(f"/sys/class/net/{name}/address")
    sh(f"ip link set {name} down")
    vfiokit("bind", name, "--keep-power", "--owner", "1000:1000", "--mode", "0640").expect(0)
    assert viable(group(where))
    node = os.stat(f"/dev/vfio/{group(where)}")
    assert (node.st_uid, node.st_gid, node.st_mode & 0o777) == (1000, 1000, 0o640)
    assert read(f"{DEVICES}/{where}/d3cold_allowed") == "0\n"
    assert read(f"{DEVICES}/{where}/power/control") == "on\n"
    vfiokit("restore", where).expect(0)
    assert state() == before
    assert read(f"{DEVICES}/{where}/d3cold_allowed") == "1\n"
    name = interface_of("network")
    assert read(f"/sys/class/net/{name}/address") == mac
    sh(f"ip link set {name} up")
    wait_for(lambda: read(f"/sys/class/net/{name}/carrier") == "1\n")
    sh(f"ip link set {name} down")


@scene
def a_function_without_a_driver_gets_none_back() -> None:
    where = address("edu")
    before = state()
    assert driver(where) is None
    vfiokit("bind", where).expect(0)
    assert driver(where) == "vfio-pci"
    assert viable(group(where))
    vfiokit("restore", "--all").expect(0)
    assert state() == before


@scene
def a_group_moves_as_one_or_not_at_all() -> None:
    before = state()
    first, *others = (address(name) for name in MULTI)
    vfiokit("bind", first).expect(4, "[group-mate]", f"--allow {others[0]}", f"--allow {others[1]}")
    vfiokit("bind", first, "--allow", others[0]).expect(4, f"{others[1]} it is in the same group")
    assert state() == before
    vfiokit("plan", "bind", first, "--with-group").expect(0, f"{others[0]}  e1000e -> vfio-pci (mate)")
    assert state() == before
    vfiokit("bind", first, "--allow", others[0], "--allow", others[1]).expect(0)
    assert [driver(each) for each in (first, *others)] == ["vfio-pci"] * 3
    assert viable(group(first))
    vfiokit("restore", *others, first).expect(0)
    assert state() == before


@scene
def functions_behind_a_bridge_move_and_the_bridge_stays() -> None:
    before = state()
    old, second = address("old"), address("second")
    assert group(old) == group(second)
    vfiokit("bind", address("bridge")).expect(4, "[bridge]")
    vfiokit("bind", f"group:{group(old)}").expect(0)
    assert driver(old) == driver(second) == "vfio-pci"
    assert driver(address("bridge")) == before[address("bridge")][0]
    assert viable(group(old))
    vfiokit("restore", "--all").expect(0)
    assert state() == before


@scene
def a_plan_is_reviewed_and_applied() -> None:
    before = state()
    where = address("network")
    plan = vfiokit("plan", "bind", where, "--json").expect(0).out
    with open("plan.json", "w", encoding="utf-8") as file:
        file.write(plan)
    vfiokit("apply", "plan.json").expect(0)
    assert driver(where) == "vfio-pci"
    vfiokit("apply", "plan.json").expect(4, "not as it was when the plan was made")
    vfiokit("restore", where).expect(0)
    forged = json.loads(plan)
    forged["plan"]["steps"][0]["path"] = "proc/sysrq-trigger"
    with open("plan.json", "w", encoding="utf-8") as file:
        json.dump(forged, file)
    vfiokit("apply", "plan.json").expect(4, "its steps would differ")
    assert state() == before


@scene
def unbind_keeps_drivers_away() -> None:
    before = state()
    where = address("network")
    vfiokit("unbind", where).expect(0)
    with open("/sys/bus/pci/drivers_probe", "w", encoding="ascii") as file:
        file.write(where)
    assert (driver(where), override(where)) == (None, "none\n")
    vfiokit("restore", where).expect(0)
    assert state() == before


class Killer(LiveWriter):
    """A writer that kills its process at a write, before or after the kernel has seen it."""

    def __init__(self, number: int, *, after: bool) -> None:
        super().__init__()
        self.left = number
        self.after = after

    def write(self, path: str, text: str, limit: float) -> None:
        self.left -= 1
        if self.left < 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(path, text, limit)
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


@scene
def a_kill_at_every_write_is_recovered() -> None:

    before = state()
    targets = tuple(PciAddress.parse(address(name)) for name in MULTI)
    goal = Goal(action=Action.BIND, targets=targets)
    kills = 0
    for after in (False, True):
        for number in range(9):
            pid = os.fork()
            if pid == 0:
                Desk(Killer(number, after=after)).do(goal)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL, f"write {number} did not come"
            kills += 1
            vfiokit("status").expect(1, "open: bind", "do: vfiokit recover")
            vfiokit("bind", str(targets[0]), "--with-group").expect(4, "was left open")
            vfiokit("recover").expect(0, "everything is as it was")
            assert state() == before, f"write {number}, after {after}"
    assert kills == 18
    vfiokit("recover").expect(0, "nothing was left half done")


@scene
def a_signal_between_two_steps_is_undone() -> None:

    before = state()
    targets = tuple(PciAddress.parse(address(name)) for name in MULTI)

    def interrupt(step: object) -> None:
        if "unbind" in step.text:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGTERM)

    said = ""
    with LiveWriter() as writer:
        try:
            Desk(writer).do(Goal(action=Action.BIND, targets=targets), interrupt)
        except RolledBack as error:
            said = str(error)
    assert "interrupted" in said
    assert state() == before


@scene
def a_block_in_python_has_the_group_and_gives_it_back() -> None:
    before = state()
    goal = Goal(action=Action.BIND, targets=(PciAddress.parse(address("multi0")),), with_group=True)
    with LiveWriter() as writer:
        for _ in range(2):
            with Desk(writer, lock_wait=0).bound(goal) as plan:
                assert len(plan.moves) == len(MULTI)
                assert viable(group(address("multi0")))
            assert state() == before


@scene
def two_runs_at_once_wait_or_name_each_other() -> None:

    where = address("network")
    before = state()
    pid = os.fork()
    if pid == 0:
        with hold(Path(Places.from_environment().run), [int(group(where))], 0):
            signal.pause()
    wait_for(lambda: vfiokit("bind", where, "--lock-wait", "0").status == 4)
    vfiokit("bind", where, "--lock-wait", "0.2").expect(4, f"held by pid {pid}")
    assert state() == before
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    vfiokit("bind", where, "--lock-wait", "5").expect(0)
    vfiokit("restore", where).expect(0)
    assert state() == before


@scene
def virtual_functions_come_move_and_go() -> None:
    where = address("network")
    before = state()
    vfiokit("vfs", where, "2").expect(0)
    virtual = sorted(os.path.basename(os.readlink(f"{DEVICES}/{where}/virtfn{n}")) for n in range(2))
    assert [driver(each) for each in virtual] == [None, None]
    assert read(f"{DEVICES}/{where}/sriov_drivers_autoprobe") == "1\n"
    vfiokit("bind", *virtual).expect(0)
    assert [driver(each) for each in virtual] == ["vfio-pci", "vfio-pci"]
    assert all(viable(group(each)) for each in virtual)
    vfiokit("bind", where).expect(4, "[virtual-functions]", "sriov_numvfs: 2")
    vfiokit("vfs", where, "0").expect(4, "still on vfio-pci")
    vfiokit("restore", *virtual).expect(0)
    vfiokit("vfs", where, "3").expect(4, "it has 2")
    vfiokit("vfs", where, "0").expect(0)
    vfiokit("vfs", where, "99").expect(5, "Numerical result out of range")
    assert state() == before


@scene
def a_write_that_never_returns_is_named_and_left_alone() -> None:
    where, other = address("edu"), address("network")
    before = state()
    vfiokit("bind", where).expect(0)
    with hold_device(where, group(where)) as holder:
        vfiokit("restore", where).expect(4, "[group-open]", f"pid {holder}")
        answer = vfiokit("restore", where, "--allow", f"group-open={where}", "--timeout", "2")
        answer.expect(7, "no answer within 2 s", "is in the kernel (state", "vfio_unregister")
        answer.expect(7, "in the kernel: [<0>]")
        vfiokit("status").expect(1, "stuck: restore", where)
        again = ("--allow", f"group-open={where}", "--lock-wait", "0.1")
        vfiokit("restore", where, *again).expect(4, "held by pid")
        vfiokit("bind", other).expect(0)
        vfiokit("restore", other).expect(0)
    wait_for(lambda: driver(where) is None)
    vfiokit("recover").expect(0)
    # What was being given back is on VFIO again, as it was when that transaction began.
    assert driver(where) == "vfio-pci"
    vfiokit("restore", where).expect(0)
    assert state() == before


@scene
def a_holder_that_goes_is_waited_for() -> None:
    before = state()
    where, disk = address("disk"), disk_of("disk")
    pid = os.fork()
    if pid == 0:
        os.open(f"/dev/{disk}", os.O_RDONLY)
        signal.alarm(4)
        signal.pause()
    try:
        wait_for(lambda: "[storage-open]" in vfiokit("plan", "bind", where).out)
        refused("disk", "storage-open", f"pid {pid}", f"has {disk} open")
        vfiokit("bind", where, "--wait", "30").expect(0)
    finally:
        os.waitpid(pid, 0)
    vfiokit("restore", where).expect(0)
    assert state() == before


@scene
def names_that_are_no_function_are_refused() -> None:
    vfiokit("bind", "ffff:00:00.0").expect(2, "no PCI function matches")
    vfiokit("bind", address("disk"), "--allow", f"no-such={address('disk')}").expect(2, "no such rule")
    vfiokit("bind", address("disk"), "--allow", f"storage-root={address('disk')}").expect(
        2, "cannot be allowed"
    )
    vfiokit("bind", address("disk"), "--allow", "net-up").expect(2, "one function at a time")
    vfiokit("bind", address("disk"), "--driver", "no-such-driver").expect(5, "load module no_such_driver")
    with undone():
        assert driver(address("disk")) == "nvme"


if __name__ == "__main__":
    run_all(sys.argv[1:])

"""Check hot resets of slots with two functions: what they touch, when they are refused, what is lost.

Below QEMU 10's `pcie-root-port` at its own speed (16 GT/s) the kernel resets both functions and then says
ENOTTY: the port claims to report an active link (LnkCap.LLActRep) and never does (LnkSta.DLActive), and for
a port that is faster than 5 GT/s the kernel waits for that report (pci_bridge_wait_for_secondary_bus). A
slower port (x-speed=2_5), a port that claims nothing (ioh3420, xio3130-downstream) and a conventional bridge
do; so does any port for functions without power management (edu), for which the kernel waits for nothing.
Whether the port takes part in hot-plug, so that its slot is reset and not its bus, makes no difference.
"""

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Iterator

import vfio_lab
from vfio_lab import address, bind, refused

from vfiokit.errors import UsageError, VfioError
from vfiokit.vfio import Device, open_space
from vfiokit.vfio.errors import NotViable, ResetNotSupported
from vfiokit.vfio.reset import HotReset

ONE_GROUP = ("left", "right")
TWO_GROUPS = ("lan0", "lan1")
"""igb's functions are apart by a quirk of the kernel's, though they have no ACS."""
TOO_FAST = ("fast0", "fast1")
VLAN_TYPE, AT_RESET, WRITTEN = 0x38, 0x8100, 0x1234


def pair_of(names: tuple[str, str]) -> tuple[str, str]:
    first, second = map(address, names)
    return first, second


def mark(*devices: Device) -> None:
    for device in devices:
        bar = device.regions[0].syscalls()
        bar.write32(VLAN_TYPE, WRITTEN)
        assert marks(device) == [WRITTEN]


def marks(*devices: Device) -> list[int]:
    return [device.regions[0].syscalls().read32(VLAN_TYPE) & 0xFFFF for device in devices]


def refused_by_both(device: Device, pair: tuple[str, str], missing: tuple[str, ...]) -> None:
    """Find the plan complete and not allowed; refused by us, by the kernel, and nothing lost."""
    plan = device.hot_reset_plan()
    assert tuple(map(str, plan.functions)) == pair, plan
    assert tuple(map(str, plan.missing)) == missing, plan
    assert not plan.allowed
    mark(device)
    said = refused(ResetNotSupported, device.hot_reset, touching=plan.functions)
    assert all(name in str(said) for name in missing), said
    groups = [group.fd for group in device.groups]
    error = refused(VfioError, device.calls.vfio_device_pci_hot_reset, device.fd, groups)
    assert error.errno == errno.EINVAL, error
    assert marks(device) == [WRITTEN]


def a_sibling_under_another_driver_refuses(backend: str) -> None:
    """Let a driver that leaves DMA alone have the sibling: the group is opened, the reset is refused."""
    for names in (ONE_GROUP, TWO_GROUPS):
        pair = pair_of(names)
        bind(pair[0])
        for driver in ("pci-stub", "none"):
            bind(pair[1], driver=driver)
            with Device.open(pair[0], backend=backend) as device:
                refused_by_both(device, pair, pair[1:])


def a_sibling_of_the_hosts_refuses(backend: str) -> None:
    """In one group with it nothing is opened; in a group of its own the reset is refused."""
    for names in (ONE_GROUP, TWO_GROUPS):
        pair = pair_of(names)
        bind(pair[0])
        bind(pair[1], driver="host")
        try:
            if names == ONE_GROUP:
                error = refused(NotViable, Device.open, pair[0], backend=backend)
                assert pair[1] in str(error), error
            else:
                with Device.open(pair[0], backend=backend) as device:
                    refused_by_both(device, pair, pair[1:])
        finally:
            bind(pair[1])


def a_sibling_that_nobody_opened(backend: str) -> None:
    """Reset all of a group that is ours; what is in another group has to be opened."""
    pair = pair_of(ONE_GROUP)
    bind(*pair)
    with Device.open(pair[0], backend=backend) as device:
        plan = device.hot_reset_plan()
        assert tuple(map(str, plan.functions)) == pair
        assert plan.allowed, plan
        mark(device)
        assert device.hot_reset(touching=plan.functions) == plan
        assert marks(device) == [AT_RESET]
    pair = pair_of(TWO_GROUPS)
    bind(*pair)
    with Device.open(pair[0], backend=backend) as device:
        refused_by_both(device, pair, pair[1:])


def a_sibling_that_another_process_holds(backend: str) -> None:
    pair = pair_of(TWO_GROUPS)
    bind(*pair)
    with held_elsewhere(pair[1], backend), Device.open(pair[0], backend=backend) as device:
        refused_by_both(device, pair, pair[1:])


@contextlib.contextmanager
def held_elsewhere(name: str, backend: str) -> Iterator[None]:
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        kept = Device.open(name, backend=backend)
        os.write(told, b"x")
        time.sleep(60)
        os._exit(len(repr(kept)) and 0)
    try:
        assert os.read(ready, 1) == b"x"
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(told)


def both_are_ours(backend: str) -> None:
    """Find both reset whoever of them is asked, and nothing done for a caller who expects another set."""
    for names in (ONE_GROUP, TWO_GROUPS):
        pair = pair_of(names)
        bind(*pair)
        with (
            open_space(backend) as space,
            Device.open(pair[0], space=space) as one,
            Device.open(pair[1], space=space) as two,
        ):
            for asked in (one, two):
                plan = asked.hot_reset_plan()
                check_plan(plan, pair, one, two)
                mark(one, two)
                refused(UsageError, asked.hot_reset, touching=plan.functions[:1])
                assert marks(one, two) == [WRITTEN, WRITTEN]
                event = asked.irqs.msix[0].eventfd()
                asked.hot_reset(touching=plan.functions)
                assert marks(one, two) == [AT_RESET, AT_RESET]
                asked.irqs.msix[0].trigger()
                assert event.wait(5) == 1
                event.close()


def check_plan(plan: HotReset, pair: tuple[str, str], one: Device, two: Device) -> None:
    assert tuple(map(str, plan.functions)) == pair
    assert plan.allowed, plan
    # A container is shown by its groups, a device node by itself.
    assert plan.groups == tuple(sorted({group.id for group in (*one.groups, *two.groups)}))


def a_link_that_does_not_come_back(backend: str) -> None:
    """Find both reset, the kernel giving up on the link afterwards, and the error saying so."""
    pair = pair_of(TOO_FAST)
    bind(*pair)
    with (
        open_space(backend) as space,
        Device.open(pair[0], space=space) as one,
        Device.open(pair[1], space=space) as two,
    ):
        plan = one.hot_reset_plan()
        check_plan(plan, pair, one, two)
        mark(one, two)
        error = refused(VfioError, one.hot_reset, touching=plan.functions)
        assert error.errno == errno.ENOTTY, error
        assert "may have been reset" in str(error), error
        assert marks(one, two) == [AT_RESET, AT_RESET]


CHECKS = [
    a_sibling_under_another_driver_refuses,
    a_sibling_of_the_hosts_refuses,
    a_sibling_that_nobody_opened,
    a_sibling_that_another_process_holds,
    both_are_ours,
    a_link_that_does_not_come_back,
]

if __name__ == "__main__":
    only = sys.argv[1:]
    vfio_lab.run(CHECKS, *only)

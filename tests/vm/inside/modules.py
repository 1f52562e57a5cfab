"""The scenes of a kernel whose drivers are modules: loaded when needed, with udev before any of them."""

from __future__ import annotations

import glob
import os
import sys

from scenes import (
    address,
    driver,
    group,
    interface_of,
    override,
    run_all,
    scene,
    sh,
    state,
    vfiokit,
    viable,
    wait_for,
)

PCI_DRIVERS = "/sys/bus/pci/drivers"


@scene
def the_vfio_module_is_loaded_when_it_is_needed() -> None:
    where = address("network")
    interface_of("network")
    before = state()
    sh("modprobe -r vfio-pci")
    assert not os.path.exists(f"{PCI_DRIVERS}/vfio-pci")
    vfiokit("plan", "bind", where).expect(0, "load module vfio_pci")
    assert not os.path.exists(f"{PCI_DRIVERS}/vfio-pci")
    vfiokit("bind", where).expect(0, f"{where}  igb -> vfio-pci")
    assert viable(group(where))
    vfiokit("restore", where).expect(0)
    assert state() == before


@scene
def the_module_that_the_host_had_is_loaded_again() -> None:
    where = address("network")
    before = state()
    vfiokit("bind", where).expect(0)
    sh("modprobe -r igb")
    assert not os.path.exists(f"{PCI_DRIVERS}/igb")
    vfiokit("restore", where, "-v").expect(0, "load module igb", "vfio-pci -> igb")
    assert state() == before


@scene
def a_module_that_is_not_there_changes_nothing() -> None:
    where = address("network")
    before = state()
    vfiokit("bind", where, "--driver", "no-such-driver").expect(5, "load module no_such_driver", "as it was")
    assert state() == before


@scene
def udev_sets_the_override_before_a_driver_is_loaded() -> None:
    where = address("network")
    vfiokit("persist", "add", where).expect(0)
    # What a boot looks like: no module of either driver, and then every device is announced.
    sh("modprobe -r igb && modprobe -r vfio-pci")
    os.makedirs("/run/udev/rules.d", exist_ok=True)
    for path in glob.glob(f"{os.environ['VFIOKIT_UDEV_DIR']}/*.rules"):
        sh(f"cp '{path}' /run/udev/rules.d/")
    sh("/lib/systemd/systemd-udevd --daemon")
    sh("udevadm trigger --action=add --subsystem-match=pci && udevadm settle --timeout=60")
    wait_for(lambda: driver(where) == "vfio-pci")
    assert override(where) == "vfio-pci\n"
    assert viable(group(where))
    vfiokit("persist", "verify").expect(0)


if __name__ == "__main__":
    run_all(sys.argv[1:])

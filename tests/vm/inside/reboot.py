"""The scenes around a reboot: what is configured before it, what udev and `persist apply` do after it."""

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
    read,
    run_all,
    scene,
    sh,
    vfiokit,
    viable,
    wait_for,
)

RULES = os.environ["VFIOKIT_UDEV_DIR"]
UDEVD = "/lib/systemd/systemd-udevd"


def coldplug() -> None:
    """Start udev with our rules and let it meet every function, as it does at boot."""
    os.makedirs("/run/udev/rules.d", exist_ok=True)
    for path in glob.glob(f"{RULES}/*.rules"):
        sh(f"cp '{path}' /run/udev/rules.d/")
    sh(f"{UDEVD} --daemon")
    sh("udevadm trigger --action=add --subsystem-match=pci && udevadm settle --timeout=60")


@scene
def before_configure() -> None:
    for name in ("edu", "network", "second"):
        vfiokit("persist", "add", address(name)).expect(0, "bind.d", ".rules")
    vfiokit("persist", "add", "ffff:00:00.0").expect(2)
    vfiokit("persist", "list").expect(0, address("edu"), "[1234:11e8]", address("network"))
    # Nothing is moved by it, which verify says.
    vfiokit("persist", "verify").expect(1, "it is not on vfio-pci")
    assert driver(address("network")) == "igb"
    vfiokit("persist", "add", address("disk"), "--format", "driverctl").expect(0, "driverctl.d/pci-")
    assert read(f"/etc/driverctl.d/pci-{address('disk')}") == "vfio-pci\n"
    # This kernel has everything built in, which driverctl's modprobe does not know.
    sh("rm -f /sbin/modprobe && cp /bin/true /sbin/modprobe")
    sh(f"driverctl load-override {address('disk')}")
    assert driver(address("disk")) == "vfio-pci"
    vfiokit("persist", "remove", address("disk")).expect(0)
    # What is moved before a reboot is known after it.
    vfiokit("bind", address("network")).expect(0)


@scene
def after_the_same_hardware_is_bound() -> None:
    where = address("edu")
    assert driver(where) is None
    vfiokit("status").expect(0, f"{address('network')}  igb; had igb")
    coldplug()
    wait_for(lambda: driver(where) == "vfio-pci")
    assert override(where) == "vfio-pci\n"
    assert viable(group(where))
    # The kernel's own drivers were there first: udev leaves them alone, and says so.
    name = interface_of("network")
    assert driver(address("network")) == "igb"
    wait_for(lambda: f"vfiokit: {address('network')}: it has a driver already" in sh("dmesg"))
    # The second function behind the bridge is bound only with its mate's leave, which a rule cannot give.
    vfiokit("persist", "apply").expect(0, f"{address('network')}  igb -> vfio-pci")
    assert not os.path.exists(f"/sys/class/net/{name}")
    assert driver(address("second")) == "vfio-pci"
    vfiokit("persist", "verify").expect(0)
    # What was recorded before the reboot is what is given back after it.
    vfiokit("restore", address("network")).expect(0, "vfio-pci -> igb")
    assert (driver(address("network")), override(address("network"))) == ("igb", "(null)\n")
    sh(f"echo '# changed' >> {RULES}/62-vfiokit-{where}.rules")
    vfiokit("persist", "verify").expect(1, "its udev rule was changed", "it is not on vfio-pci")
    vfiokit("persist", "add", where).expect(0)


@scene
def moved_hardware_is_refused_and_logged() -> None:
    coldplug()
    old = next(
        path.split("vfiokit-")[1][:12] for path in glob.glob(f"{RULES}/*.rules") if "00:11.0" not in path
    )
    wait_for(lambda: "another function is at this address" in sh("dmesg"))
    assert driver(old) != "vfio-pci"
    assert override(old) == "(null)\n"
    # The edu device is where it was, but not alone any more.
    edu = address("edu")
    wait_for(lambda: f"vfiokit: {edu}: its IOMMU group is not what it was" in sh("dmesg"))
    assert (driver(edu), override(edu)) == (None, "(null)\n")
    answer = vfiokit("persist", "verify")
    answer.expect(1, "its IOMMU group is not what it was", "another function is at this address")
    vfiokit("persist", "apply").expect(1, "not bound")
    assert driver(edu) is None
    assert driver(address("network")) == "igb"
    # A record of before is about another function now.
    for where in (edu, old):
        vfiokit("persist", "remove", where).expect(0)
        vfiokit("persist", "remove", where).expect(2, "nothing is configured")


if __name__ == "__main__":
    run_all(sys.argv[1:])

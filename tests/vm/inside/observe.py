"""Write down, inside the guest, what the kernel says: groups.json, and viability.json after each step.

Stand-alone and plain on purpose: this is the truth that the package's own reading is compared with, so it
shares no code with it. A step is `NAME=DRIVER[,NAME=DRIVER...]`: NAME is a function of the topology or a
full address, DRIVER a driver to bind by driver_override, or `none` to leave the function unbound, or
`host` to give it back. viability.json has one entry for the state at the start and one after each step.
"""

import fcntl
import glob
import json
import os
import struct
import sys
import time

DEVICES = "/sys/bus/pci/devices"
GROUPS = "/sys/kernel/iommu_groups"

# linux/vfio.h: _IO(VFIO_TYPE, VFIO_BASE + 3) and struct vfio_group_status {argsz, flags}
VFIO_GROUP_GET_STATUS = (0x3B << 8) | (100 + 3)
VFIO_GROUP_FLAGS_VIABLE = 1 << 0
VFIO_GROUP_STATUS = struct.Struct("=II")


def main(steps: list[str]) -> None:
    write_json("groups.json", observe())
    states = [viability("")]
    for step in steps:
        take(step)
        states.append(viability(step))
    write_json("viability.json", states)


def take(step: str) -> None:
    """Do what a step says."""
    for assignment in step.split(","):
        name, driver = assignment.split("=")
        give(address_of(name), driver)


def observe() -> dict[str, object]:
    """Return the groups and devices as sysfs lists them."""
    return {
        "uname": list(os.uname()),
        "cmdline": read("/proc/cmdline"),
        "iommus": listing("/sys/class/iommu"),
        "groups": {group: observe_group(f"{GROUPS}/{group}") for group in listing(GROUPS)},
        "devices": {address: observe_device(f"{DEVICES}/{address}") for address in listing(DEVICES)},
        "places": places(),
    }


def observe_group(path: str) -> dict[str, object]:
    return {
        "devices": listing(f"{path}/devices"),
        "type": read(f"{path}/type"),
        "reserved_regions": read(f"{path}/reserved_regions"),
    }


def observe_device(path: str) -> dict[str, object]:
    return {
        "vendor": read(f"{path}/vendor"),
        "device": read(f"{path}/device"),
        "class": read(f"{path}/class"),
        "driver": link(f"{path}/driver"),
        "group": link(f"{path}/iommu_group"),
        "physfn": link(f"{path}/physfn"),
        "path": os.path.realpath(path),
    }


def viability(step: str) -> dict[str, object]:
    """Ask VFIO about every group that has a node, and sysfs about the driver of every device."""
    nodes = [name for name in listing("/dev/vfio") if name.isdigit()]
    return {
        "step": step,
        "groups": {group: group_status(group) for group in nodes},
        "drivers": {address: link(f"{DEVICES}/{address}/driver") for address in listing(DEVICES)},
    }


def group_status(group: str) -> dict[str, object]:
    try:
        node = os.open(f"/dev/vfio/{group}", os.O_RDWR)
    except OSError as error:
        return {"viable": None, "error": str(error)}
    try:
        size = VFIO_GROUP_STATUS.size
        answer = fcntl.ioctl(node, VFIO_GROUP_GET_STATUS, VFIO_GROUP_STATUS.pack(size, 0))
    finally:
        os.close(node)
    flags = VFIO_GROUP_STATUS.unpack(answer)[1]
    return {"viable": bool(flags & VFIO_GROUP_FLAGS_VIABLE), "flags": flags}


def give(address: str, driver: str) -> None:
    """Move one function to a driver, to none, or back to the host's."""
    path = f"{DEVICES}/{address}"
    if link(f"{path}/driver") is not None:
        write(f"{path}/driver/unbind", address)
    if driver == "none":
        return
    write(f"{path}/driver_override", "\n" if driver == "host" else driver)
    write("/sys/bus/pci/drivers_probe", address)
    wait_for_driver(path)
    if driver not in ("host", link(f"{path}/driver")):
        raise RuntimeError(f"{address}: {driver} asked for, {link(f'{path}/driver')} got")


def wait_for_driver(path: str, seconds: float = 20.0) -> None:
    """Wait a while: some drivers (NVMe) probe on a thread of their own; some devices have no host driver."""
    end = time.monotonic() + seconds
    while link(f"{path}/driver") is None and time.monotonic() < end:
        time.sleep(0.05)


def places() -> dict[str, str]:
    """Names of the topology's functions and the addresses that the guest gave them."""
    rows = [row.split(" ", 1) for row in os.environ.get("VFIOKIT_LAB_PLACES", "").splitlines()]
    found = {name: glob.glob(pattern) for name, pattern in rows}
    return {name: os.path.basename(paths[0]) for name, paths in found.items() if len(paths) == 1}


def address_of(name: str) -> str:
    return places().get(name, name)


def listing(path: str) -> list[str]:
    """Names in a directory, numbers in numeric order; none when there is no such directory."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return []
    return sorted(names, key=lambda name: (int(name) if name.isdigit() else 0, name))


def link(path: str) -> str | None:
    try:
        return os.path.basename(os.readlink(path))
    except FileNotFoundError:
        return None


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().rstrip("\n")
    except FileNotFoundError:
        return None


def write(path: str, text: str) -> None:
    # Without O_CREAT, which sysfs answers with a misleading EACCES for a file that is not there.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def write_json(name: str, value: object) -> None:
    with open(name, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])

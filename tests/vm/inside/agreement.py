"""The simulated kernel and the real one, write by write: the same answer, and the same state after it."""

from __future__ import annotations

import errno
import os
import random
import sys

from scenes import DEVICES, address, driver, override, run_all, scene, write

from vfiokit import PciAddress, scan
from vfiokit.sysfs.live import LiveSource
from vfiokit.sysfs.scan import Part
from vfiokit.testing.drivers import SimulatedDriver, vfio_driver
from vfiokit.testing.kernel import SimulatedKernel, VirtualFunctions

NAMES = ("disk", "network", "edu", "multi0", "multi1", "old", "second")
HOME = {
    "disk": "nvme",
    "network": "igb",
    "multi0": "e1000e",
    "multi1": "e1000e",
    "second": "e1000e",
}
IDS = {"edu": "1234 11e8", "disk": "1b36 0010"}
STEPS = int(os.environ.get("VFIOKIT_LAB_WRITES", "120"))


def drivers() -> list[SimulatedDriver]:
    """Return what the small kernel has built in for these functions."""
    return [
        SimulatedDriver(name="nvme", classes=frozenset({0x0108}), sriov=True),
        SimulatedDriver(name="igb", ids=frozenset({(0x8086, 0x10C9)}), sriov=True),
        SimulatedDriver(name="igbvf", ids=frozenset({(0x8086, 0x10CA)})),
        SimulatedDriver(name="e1000e", ids=frozenset({(0x8086, 0x10D3)})),
        SimulatedDriver(name="pcieport", classes=frozenset({0x0604}), managed_dma=True),
        SimulatedDriver(name="pci-stub", managed_dma=True),
        vfio_driver(module=""),
    ]


def draw(chance: random.Random, places: dict[str, str]) -> tuple[str, str]:
    """Draw one write: a file and a text."""
    name = chance.choice(NAMES)
    where = places[name]
    home = HOME.get(name, "vfio-pci")
    some = (home, "vfio-pci", "pci-stub", driver(where) or home)
    kinds = {
        "override": (
            f"sys/bus/pci/devices/{where}/driver_override",
            chance.choice((home, "vfio-pci", "pci-stub", "none", "\n", "vfio-pci\n")),
        ),
        "unbind": (f"sys/bus/pci/drivers/{chance.choice(some)}/unbind", where),
        "bind": (f"sys/bus/pci/drivers/{chance.choice((home, 'vfio-pci', 'pci-stub'))}/bind", where),
        "probe": ("sys/bus/pci/drivers_probe", chance.choice((where, where, where, "0000:ff:1f.7"))),
        "new_id": (
            f"sys/bus/pci/drivers/{chance.choice(('vfio-pci', 'pci-stub'))}/new_id",
            IDS[chance.choice(sorted(IDS))],
        ),
        "remove_id": (
            f"sys/bus/pci/drivers/{chance.choice(('vfio-pci', 'pci-stub'))}/remove_id",
            IDS[chance.choice(sorted(IDS))],
        ),
        "short_id": ("sys/bus/pci/drivers/vfio-pci/new_id", "1234"),
        "bridge": ("sys/bus/pci/drivers/vfio-pci/bind", places["bridge"]),
        "vfs": (
            f"sys/bus/pci/devices/{places['network']}/sriov_numvfs",
            chance.choice(("0", "1", "2", "99", "x")),
        ),
    }
    weights = {
        "override": 6,
        "unbind": 6,
        "bind": 4,
        "probe": 6,
        "new_id": 1,
        "remove_id": 1,
        "short_id": 1,
        "bridge": 1,
        "vfs": 2,
    }
    return kinds[chance.choices(list(weights), list(weights.values()))[0]]


def both(kernel: SimulatedKernel, path: str, text: str) -> tuple[int, int]:
    """Write to both kernels and return their error numbers."""
    try:
        kernel.write(path, text, 1)
        simulated = 0
    except OSError as error:
        simulated = error.errno or 0
    return write(f"/{path}", text), simulated


def compare(seed: int) -> None:
    places = {name: address(name) for name in (*NAMES, "bridge")}
    network = PciAddress.parse(places["network"])
    host = scan(LiveSource(), Part.CONFIG | Part.REVISION)
    kernel = SimulatedKernel(
        host, drivers(), vfs={network: VirtualFunctions(total=7, offset=0x80, stride=2, device=0x10CA)}
    )
    chance = random.Random(seed)
    history = []
    for _ in range(STEPS):
        path, text = draw(chance, places)
        real, simulated = both(kernel, path, text)
        history.append(f"{text!r} > {path}: {errno.errorcode.get(real, 'done')}")
        said = f"\n{chr(10).join(history[-12:])}\nsimulated: {errno.errorcode.get(simulated, 'done')}"
        assert real == simulated, said
        for where in (*places.values(), *virtual(places["network"])):
            real_state = (driver(where), override(where))
            assert kernel.state()[where] == real_state, (
                f"{where}: {real_state}, {kernel.state()[where]}{said}"
            )
        present = {name for name in os.listdir(DEVICES) if not name.startswith("0000:00")}
        assert {name for name in kernel.state() if not name.startswith("0000:00")} == present, said
    give_everything_back(places)


def virtual(where: str) -> list[str]:
    """Return the virtual functions that there are."""
    names = [name for name in os.listdir(f"{DEVICES}/{where}") if name.startswith("virtfn")]
    return [os.path.basename(os.readlink(f"{DEVICES}/{where}/{name}")) for name in names]


def give_everything_back(places: dict[str, str]) -> None:
    """Leave the guest as a new sequence expects it."""
    for name in ("vfio-pci", "pci-stub"):
        for pair in IDS.values():
            write(f"/sys/bus/pci/drivers/{name}/remove_id", pair)
    write(f"{DEVICES}/{places['network']}/sriov_numvfs", "0")
    for name in NAMES:
        where = places[name]
        if driver(where) and driver(where) != HOME.get(name):
            write(f"{DEVICES}/{where}/driver/unbind", where)
        write(f"{DEVICES}/{where}/driver_override", "\n")
        write("/sys/bus/pci/drivers_probe", where)


@scene
def a_random_sequence_of_writes_leaves_the_same_state() -> None:
    for seed in range(int(os.environ.get("VFIOKIT_LAB_SEEDS", "2"))):
        compare(seed)


if __name__ == "__main__":
    run_all(sys.argv[1:])

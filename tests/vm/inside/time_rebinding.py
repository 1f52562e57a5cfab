"""Time, in the guest, how long each tool takes from its command to its end, for the same functions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from scenes import address, driver, group, viable, write

from vfiokit import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.goal import Goal
from vfiokit.binding.live import LiveWriter
from vfiokit.binding.transaction import Desk

DEVICES = "/sys/bus/pci/devices"
ROUNDS = 2


def names(count: int) -> list[str]:
    """Return functions of the topology: one alone, four of a slot, or eight slots full."""
    if count == 64:
        return [f"net{slot}-{function}" for slot in range(8) for function in range(8)]
    return ["alone"] if count == 1 else [f"four{number}" for number in range(count)]


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ours(where: list[str]) -> None:
    run(sys.executable, "-m", "vfiokit", "bind", *where, "--with-group")


def library(where: list[str]) -> None:
    """Do the same in a process that runs already: plan, rules, transaction, viability."""
    targets = tuple(PciAddress.parse(each) for each in where)
    with LiveWriter() as writer:
        Desk(writer).do(Goal(action=Action.BIND, targets=targets))


def driverctl(where: list[str]) -> None:
    for each in where:
        run("driverctl", "--nosave", "set-override", each, "vfio-pci")


def devbind(where: list[str]) -> None:
    run("dpdk-devbind.py", "-b", "vfio-pci", *where)


def lspci(where: list[str]) -> None:
    run("lspci", "-Dvmmnnk")


def give_back(where: list[str]) -> None:
    """Give functions back without any of the tools, so that each starts from the same state."""
    for each in where:
        if driver(each) == "vfio-pci":
            write("/sys/bus/pci/drivers/vfio-pci/unbind", each)
        write(f"{DEVICES}/{each}/driver_override", "\n")
        write("/sys/bus/pci/drivers_probe", each)
    shutil.rmtree(os.environ["VFIOKIT_STATE_DIR"], ignore_errors=True)


def measure(
    tool: Callable[[list[str]], None], where: list[str], *, rounds: int = ROUNDS, binds: bool = True
) -> float:
    """Return the best of some rounds, in seconds."""
    times = []
    for _ in range(rounds):
        started = time.monotonic()
        tool(where)
        times.append(time.monotonic() - started)
        if binds:
            assert [driver(each) for each in where] == ["vfio-pci"] * len(where)
            assert all(viable(number) for number in {group(each) for each in where})
            give_back(where)
    return min(times)


def main() -> None:
    # Everything is built in here, which the two others only see in places that this kernel does not have.
    os.unlink("/sbin/modprobe")
    shutil.copy("/bin/true", "/sbin/modprobe")
    modules = f"/lib/modules/{os.uname().release}"
    os.makedirs(modules)
    with open(f"{modules}/modules.builtin", "w", encoding="ascii") as file:
        file.write("kernel/drivers/vfio/pci/vfio-pci.ko\n")
    tools = {"vfiokit": ours, "vfiokit as a library": library}
    if shutil.which("driverctl"):
        tools["driverctl"] = driverctl
    if shutil.which("dpdk-devbind.py"):
        tools["dpdk-devbind"] = devbind
    results: dict[str, dict[str, float]] = {}
    for count in (1, 4, 64):
        where = [address(name) for name in names(count)]
        # Those that start a process or more for each function take minutes here for many.
        row = {
            name: measure(tool, where, rounds=ROUNDS if count < 64 else 1) for name, tool in tools.items()
        }
        results[str(count)] = row
        print(count, row, flush=True)
    results["lspci"] = {"lspci -Dvmmnnk": measure(lspci, [], binds=False)}
    with open("rebind.json", "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main()

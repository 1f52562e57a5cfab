"""What the safety costs: rebinding against driverctl and dpdk-devbind, and the rules on a big host.

``python -m benchmarks.rebind [--no-guest]``. The guest is emulated without hardware help, so its seconds are
many times those of a machine; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.vm.binding_lab import INSIDE
from tests.vm.guest import run_guest
from tests.vm.kernel import small_kernel
from tests.vm.topology import Function, Slot, Topology, single
from vfiokit import Host, IommuGroup, PciAddress, PciDevice, scan
from vfiokit.binding.case import Action
from vfiokit.binding.goal import Goal
from vfiokit.binding.plan import plan_bind
from vfiokit.binding.steps import DEVICES
from vfiokit.binding.usage.read import read_evidence
from vfiokit.sysfs.memory import DeviceNode, File, Link
from vfiokit.sysfs.source import DeviceNumber, follow
from vfiokit.testing import SimulatedKernel, workstation

FUNCTIONS = 1024
PROCESSES = 4096
HANDLES = 8


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--no-guest", action="store_true", help="only the plan on a big host")
    chosen = options.parse_args()
    measure_rules()
    if not chosen.no_guest:
        measure_rebinding()


def measure_rules() -> None:
    """Time evidence, rules and plan for one group of a host of 1,024 functions."""
    kernel = SimulatedKernel(big_host())
    tree = kernel.source
    for number in range(HANDLES):
        tree.add(f"dev/node{number}", DeviceNode(DeviceNumber(False, 10, number)))
    for pid in range(2, PROCESSES + 2):
        kernel.processes.start(pid, "worker")
        for number in range(HANDLES):
            tree.add(f"proc/{pid}/fd/{number + 3}", Link(f"/dev/node{number}"))
    targets = tuple(device.address for device in kernel.host.devices if device.group == 1)
    for minor, target in enumerate(targets):
        # A clock with a node: whoever may have it open is looked for in every process.
        clock = f"{follow(f'{DEVICES}/{target}', tree.readlink(f'{DEVICES}/{target}'))}/ptp/ptp{minor}"
        tree.add(f"{clock}/uevent", File(b""))
        tree.add(f"{clock}/dev", File(f"247:{minor}\n".encode()))
    started = time.perf_counter()
    host = scan(tree)
    scanned = time.perf_counter()
    evidence = read_evidence(tree, host, targets, kernel.prober)
    read = time.perf_counter()
    plan = plan_bind(host, Goal(action=Action.BIND, targets=targets), evidence)
    done = time.perf_counter()
    assert len(plan.moves) == len(targets)
    print(f"{len(host.devices)} functions, {PROCESSES} processes, {len(targets)} functions to move:")
    print(f"  scan      {scanned - started:6.3f} s")
    print(f"  evidence  {read - scanned:6.3f} s")
    print(f"  plan      {done - read:6.3f} s (every rule for every function that moves)")
    print(f"  all       {done - started:6.3f} s")


def big_host() -> Host:
    """Return a host of 1,024 functions in groups of four."""
    pattern = next(device for device in workstation().devices if device.driver == "igb")
    devices = tuple(_function(pattern, number) for number in range(FUNCTIONS))
    groups = tuple(
        IommuGroup(
            id=number,
            type="DMA",
            devices=tuple(device.address for device in devices if device.group == number),
        )
        for number in range(FUNCTIONS // 4)
    )
    return replace(workstation(), devices=devices, groups=groups)


def _function(pattern: PciDevice, number: int) -> PciDevice:
    address = PciAddress(number >> 11, number >> 3 & 0xFF, 0, number & 7)
    return replace(pattern, address=address, group=number // 4)


def measure_rebinding() -> None:
    """Time the three tools in a guest with 69 functions that a host driver has."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        env = {"VFIOKIT_RUN_DIR": "/run/vfiokit", "VFIOKIT_STATE_DIR": "/var/lib/vfiokit"}
        script = INSIDE / "time_rebinding.py"
        run_guest(small_kernel(), topology(), script, out_dir=out, env=env, timeout=1800, cpus=2).check()
        results = json.loads((out / "rebind.json").read_text())
    print("in the guest, seconds from command to end, best of the rounds:")
    for count, row in results.items():
        print(f"  {count:>5}  " + "  ".join(f"{name} {seconds:6.2f}" for name, seconds in row.items()))


def topology() -> Topology:
    """Return one function alone, a slot of four and eight slots of eight, all with a host driver."""
    slots = tuple(
        Slot(
            number=0x04 + slot,
            functions=tuple(
                Function(device="virtio-net-pci", name=f"net{slot}-{function}") for function in range(8)
            ),
        )
        for slot in range(8)
    )
    alone = single(2, "pcie-root-port", single(0, "virtio-net-pci", name="alone"))
    four = Slot(
        number=3, functions=tuple(Function(device="virtio-net-pci", name=f"four{n}") for n in range(4))
    )
    return Topology(name="rebind", slots=(alone, four, *slots))


if __name__ == "__main__":
    main()

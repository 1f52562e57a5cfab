"""The machine on which binding is tried: disks, network cards, a card of several functions, a bridge."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from .guest import run_guest
from .kernel import Kernel
from .topology import Function, Slot, Topology, single

INSIDE = Path(__file__).parent / "inside"
PASSED_ON = ("VFIOKIT_LAB_SEEDS", "VFIOKIT_LAB_WRITES")
"""How many sequences of writes, and how long: what is set here is set in the guest."""
_MEBIBYTE = 1 << 20


def binding_topology(
    directory: Path, *, disks: int = 3, before: tuple[Slot, ...] = (), edu: int = 1
) -> Topology:
    """Return the topology, its disks being files in a directory.

    :param before: slots that are numbered before all others, so that every bus number moves.
    :param edu: how many functions the slot of the edu device has.
    """
    names = ["disk", *(f"disk{number}" for number in range(2, disks + 1))]
    return Topology(
        name="binding",
        slots=(
            *before,
            *(
                single(4 + index, "pcie-root-port", single(0, "nvme", name=name, options=(f"drive={name}",)))
                for index, name in enumerate(names)
            ),
            single(0x10, "pcie-root-port", single(0, "igb", name="network")),
            Slot(
                number=0x11,
                functions=(Function(device="edu", name="edu"),) + (Function(device="edu"),) * (edu - 1),
            ),
            single(
                0x12,
                "pcie-root-port",
                Slot(
                    number=0, functions=tuple(Function(device="e1000e", name=f"multi{n}") for n in range(3))
                ),
            ),
            single(
                0x13,
                "pcie-root-port",
                single(
                    0,
                    "pcie-pci-bridge",
                    single(1, "edu", name="old"),
                    single(2, "e1000e", name="second"),
                    name="bridge",
                ),
            ),
        ),
        arguments=tuple(word for name in names for word in _drive(directory, name)),
    )


def run_scenes(
    kernel: Kernel, script: str, out: Path, topology: Topology, *arguments: str, **options: object
) -> Mapping[str, str]:
    """Boot, run the scenes of a script, and return the traceback of each, empty for those that hold."""
    state = out / "state"
    env = {
        "VFIOKIT_RUN_DIR": "/run/vfiokit",
        "VFIOKIT_STATE_DIR": str(state / "lib"),
        "VFIOKIT_CONFIG_DIR": str(state / "etc"),
        "VFIOKIT_UDEV_DIR": str(state / "rules"),
        "VFIOKIT_DRIVERCTL_DIR": "/etc/driverctl.d",
    }
    env |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    result = run_guest(
        kernel,
        topology,
        INSIDE / script,
        *arguments,
        out_dir=out,
        env=env,
        timeout=400,
        **options,  # type: ignore[arg-type]
    ).check()
    print(result.output)
    return dict(json.loads((out / "scenes.json").read_text()))


def _drive(directory: Path, name: str) -> tuple[str, ...]:
    path = directory / f"{name}.img"
    if not path.exists():
        with path.open("wb") as file:
            file.truncate(64 * _MEBIBYTE)
    return "-drive", f"if=none,id={name},format=raw,file={str(path).replace(',', ',,')}"

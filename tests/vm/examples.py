"""The captures that ship with the package, recorded in the guest lab.

`python -m tests.vm.examples [NAME ...]` records them anew into vfiokit/examples.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from .guest import CHECKOUT, run_guest
from .kernel import stock_kernel
from .topology import Acs, Function, Slot, Topology, single

TARGET = CHECKOUT / "vfiokit/examples"
RECORD = Path(__file__).parent / "inside/record.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A host worth looking at, and what is done to it before it is recorded."""

    topology: Topology
    iommu: str = "intel"
    steps: tuple[str, ...] = ()


def _pair(device: str, first: str, second: str) -> Slot:
    names = (first, second)
    return Slot(number=0, functions=tuple(Function(device=device, name=name) for name in names))


WORKSTATION = Topology(
    name="workstation",
    slots=(
        single(2, "VGA", name="display"),
        single(3, "pcie-root-port", single(0, "nvme", name="disk")),
        single(4, "pcie-root-port", single(0, "nvme", name="spare-disk")),
        single(5, "pcie-root-port", _pair("e1000e", "network", "second-network"), acs=Acs.ABSENT),
        single(
            6,
            "pcie-root-port",
            single(
                0,
                "x3130-upstream",
                single(0, "xio3130-downstream", single(0, "nvme", name="switched-disk")),
                single(1, "xio3130-downstream", single(0, "qemu-xhci", name="usb")),
            ),
        ),
        single(
            7,
            "pcie-root-port",
            single(0, "pcie-pci-bridge", single(1, "edu", name="card"), single(2, "e1000e", name="old")),
        ),
    ),
)
"""One disk with VFIO, a network card that shares its port's group, a switch, a conventional bus."""

SERVER = Topology(
    name="server",
    slots=(
        single(2, "pcie-root-port", single(0, "igb", name="network", vfs=4)),
        single(3, "pcie-root-port", single(0, "nvme", name="disk")),
        single(
            4,
            "pxb-pcie",
            single(0, "pcie-root-port", single(0, "igb", name="far-network", vfs=2), acs=Acs.ABSENT),
            single(1, "pcie-root-port", single(0, "nvme", name="far-disk")),
        ),
    ),
)
"""Two root complexes; virtual functions, one with VFIO; a port without ACS that joins the others to it."""

DESKTOP = Topology(
    name="desktop",
    slots=(
        single(2, "VGA", name="display"),
        single(3, "pcie-root-port", single(0, "nvme", name="disk")),
        single(4, "e1000e", name="network"),
    ),
)

EXAMPLES: Mapping[str, Example] = MappingProxyType(
    {
        "workstation": Example(topology=WORKSTATION, steps=("spare-disk=vfio-pci",)),
        "server": Example(topology=SERVER, steps=("far-disk=vfio-pci",)),
        "no-iommu": Example(topology=DESKTOP, iommu="none"),
        "amd": Example(
            topology=Topology(name="amd", slots=tuple(slot for slot in DESKTOP.slots if slot.number != 3)),
            iommu="amd",
        ),
    }
)


def record(name: str) -> Path:
    """Boot one example, record it, and put the capture where the package keeps it."""
    example = EXAMPLES[name]
    target = TARGET / f"{name}.tar.xz"
    with tempfile.TemporaryDirectory(prefix="vfiokit-example-") as directory:
        out = Path(directory)
        result = run_guest(
            stock_kernel(), example.topology, RECORD, *example.steps, iommu=example.iommu, out_dir=out
        )
        result.check()
        TARGET.mkdir(exist_ok=True)
        target.write_bytes((out / "host.tar.xz").read_bytes())
    return target


def main() -> None:
    for name in sys.argv[1:] or EXAMPLES:
        target = record(name)
        print(f"{target.relative_to(CHECKOUT)}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()

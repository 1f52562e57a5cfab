"""What is asked of each named topology, in one boot for the tests of groups and of config space alike."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from .guests import Report, boot
from .kernel import Kernel
from .named import NAMED

SCRIPT = Path(__file__).parent / "inside/named.py"

STEPS = MappingProxyType(
    {
        "root-ports": ("disk=vfio-pci", "disk=none", "disk=host", "edu=vfio-pci"),
        "root-port-without-acs": ("disk=vfio-pci",),
        "pci-behind-pcie": ("first=vfio-pci", "second=vfio-pci"),
        "switch": ("disk=vfio-pci", "edu=pci-stub"),
        "multifunction": ("first=vfio-pci", "second=vfio-pci", "second=host", "second=pci-stub"),
        "conventional": ("first=vfio-pci", "second=vfio-pci", "second=none"),
        "sriov-igb": ("joined=vfio-pci", "network=vfio-pci"),
    }
)
"""Drivers to move, for viability: a group becomes viable, or not, function by function."""

SIZED = MappingProxyType({"root-ports": ("edu", "disk"), "sriov-igb": ("network",)})
"""Functions that are given to VFIO for its sizes; each is alone in its group."""


def ask(kernel: Kernel, name: str, out: Path) -> Report:
    """Boot a named topology and return what it said."""
    sized = ",".join(SIZED.get(name, ())) or "-"
    return boot(kernel, NAMED[name], out, sized, *STEPS.get(name, ()), script=SCRIPT)

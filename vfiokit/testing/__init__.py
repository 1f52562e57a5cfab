"""For the tests of vfiokit and of whatever is built on it: drawn hosts as trees, a kernel that reacts.

Drawn hosts need hypothesis: ``pip install vfiokit[testing]``.
"""

from vfiokit.testing.drivers import SimulatedDriver, common_drivers, vfio_driver
from vfiokit.testing.faults import Crash, Fault, Killed
from vfiokit.testing.hosts import hosts, topologies
from vfiokit.testing.kernel import SimulatedKernel
from vfiokit.testing.layout import layout, write_tree
from vfiokit.testing.machines import workstation

__all__ = [
    "Crash",
    "Fault",
    "Killed",
    "SimulatedDriver",
    "SimulatedKernel",
    "common_drivers",
    "hosts",
    "layout",
    "topologies",
    "vfio_driver",
    "workstation",
    "write_tree",
]

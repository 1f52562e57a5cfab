"""For the tests of vfiokit and of whatever is built on it: drawn hosts, laid out as trees.

Needs hypothesis: ``pip install vfiokit[testing]``.
"""

from vfiokit.testing.hosts import hosts, topologies
from vfiokit.testing.layout import layout, write_tree

__all__ = ["hosts", "layout", "topologies", "write_tree"]

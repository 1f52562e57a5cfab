"""Which tests look at one boot: they run in one worker, so that it is one boot indeed.

The mark `xdist_group` would say it too, but xdist 3.8 hands it on in a way that pytest 9.2 does not see.
"""

from __future__ import annotations

import re

LOOKING = (
    ("moved", r"test_binding\.py::test_moving\["),
    ("kept", r"test_binding\.py::test_refusing\["),
    ("booted", r"test_binding\.py::test_rebooting\["),
    ("modular", r"test_binding\.py::test_(?:modules|routes_of_other_tables)\["),
    ("results", r"test_vfio\.py::test_(?:the_guest_agrees\[|no_check_is_forgotten)"),
    ("same", r"test_newest\.py::test_what_the_small_kernel_does"),
    ("own", r"test_newest\.py::test_(?:no_check_is_forgotten|with_an_iommu|without_an_iommu)\["),
    ("snapshot", r"test_linux_tables\.py::\w+\[([\w-]+)\]"),
    ("named", r"test_(?:groups|config)\.py::test_(?:named|every_live|functions_apart)\w+\[([\w-]+)\]"),
)
"""A fixture, and the tests that look at what it booted: for a parameter, where the pattern has a group."""


def boot_of(nodeid: str) -> str | None:
    """Return what stands for the boot that a test looks at, or none if it shares no boot."""
    for fixture, pattern in LOOKING:
        if found := re.search(f"tests/vm/{pattern}", nodeid):
            return " ".join((fixture, *found.groups()))
    return None


def forgotten(nodeid: str, fixtures: list[str]) -> bool:
    """Whether a test uses one of the fixtures above and no row says so, or the other way round."""
    used = {fixture for fixture, _ in LOOKING} & set(fixtures)
    boot = boot_of(nodeid)
    return used != ({boot.split(" ")[0]} if boot else set())

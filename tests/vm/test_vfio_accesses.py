"""QEMU is the judge of accessors: one access of the width at the offset, a block copy as it says."""

import json
import re
from pathlib import Path

import pytest

from .guest import run_guest
from .kernel import Kernel
from .topology import Topology, single

INSIDE = Path(__file__).parent / "inside"
LINE = re.compile(r"memory_region_ops_(read|write).* addr 0x([0-9a-f]+) value .* size (\d+) name '([^']*)'")

pytestmark = pytest.mark.vm


def test_each_accessor_is_one_access_of_its_width(small: Kernel, tmp_path: Path) -> None:
    log = tmp_path / "trace.log"
    topology = Topology(
        name="accesses",
        slots=(single(2, "edu", name="edu"), single(3, "VGA", name="display")),
        arguments=(
            *("-trace", "memory_region_ops_read", "-trace", "memory_region_ops_write"),
            *("-D", str(log)),
        ),
    )
    run_guest(small, topology, INSIDE / "vfio_trace.py", out_dir=tmp_path).check()
    said = json.loads((tmp_path / "due.json").read_text())
    bases: dict[str, int] = said["bases"]
    # The kernel's own accesses to these two are none: no driver of it had them.
    made = [
        (name, what, int(at, 16) - bases[name], int(size))
        for what, at, size, name in LINE.findall(log.read_text(errors="replace"))
        if name in bases
    ]
    due = [tuple(access) for access in said["due"]]
    assert len(due) > 200
    assert made == due

"""Time calls, interrupts and mappings beside C in a guest, where there is no device bound to VFIO to be had.

``python -m benchmarks.calls_in_guest [--size MIB]``. The guest is emulated without hardware help: only the
ratios say something, and those of short calls too much, since there Python is slowed more than the kernel.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.vm.guest import run_guest
from tests.vm.kernel import small_kernel
from tests.vm.topology import Topology, single

SCRIPT = Path(__file__).resolve().parents[1] / "tests" / "vm" / "inside" / "time_calls.py"


def main() -> None:
    """Boot, measure and print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--size", type=int, default=1024, help="MiB to map at once")
    options.add_argument("--number", type=int, default=20_000)
    chosen = options.parse_args()
    gigabytes = -(-chosen.size // 1024)
    with tempfile.TemporaryDirectory(prefix="vfiokit-calls-") as directory:
        done = run_guest(
            *(small_kernel(), Topology(name="calls", slots=(single(2, "edu", name="edu"),)), SCRIPT),
            *(str(chosen.size), str(chosen.number)),
            out_dir=Path(directory),
            # Pages of 2 MiB, of 1 GiB and small ones; the C program and ours take turns.
            memory=f"{3 * gigabytes + 2}G",
            append=f"hugepagesz=1G hugepages={gigabytes} hugepagesz=2M hugepages={512 * gigabytes + 4}",
            timeout=1800,
        )
    print(done.check().output, end="")


if __name__ == "__main__":
    main()

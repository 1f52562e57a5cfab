"""How long a listing of all groups takes, beside lspci and beside the shell loop that people use today.

    python benchmarks/scan.py [--functions N ...] [--rounds N] [--no-loop]

Whole processes, caches warm, the contenders in turn in one run, medians of the rounds: elapsed time, and the
processor time of user and system, which a busy machine disturbs less. Ratios are what counts: below 1 means
that vfiokit is the faster of the two. Memory is the largest resident set; no process can show less than the
one that started it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import trees

FUNCTIONS = (64, 1024, 16384)
LOOP_LIMIT = 1024
"""The shell loop starts a process for every function: minutes beyond this."""

OURS = "groups --json"
LOOP = "shell loop"
LOOP_SCRIPT = """
for group in $(ls "$1/sys/kernel/iommu_groups" | sort -n); do
    echo "IOMMU Group $group:"
    for device in "$1/sys/kernel/iommu_groups/$group/devices/"*; do
        printf '\\t%s\\n' "$(lspci -O sysfs.path="$1/sys/bus/pci" -nns "${device##*/}")"
    done
done
"""


class Run(NamedTuple):
    """One process: elapsed and processor time in seconds, and its largest resident set in bytes."""

    elapsed: float
    processor: float
    memory: float


def contenders(root: Path, *, loop: bool) -> dict[str, list[str]]:
    """Return the command of each contender."""
    found = {
        OURS: [sys.executable, "-m", "vfiokit", "--root", str(root), "groups", "--json"],
        "lspci -nnk": ["lspci", "-nnk", "-O", f"sysfs.path={root}/sys/bus/pci"],
    }
    return {**found, LOOP: ["sh", "-c", LOOP_SCRIPT, "sh", str(root)]} if loop else found


def run(command: list[str]) -> Run:
    """Run one process to its end with its output thrown away."""
    # As a user's Python does it: compiled modules are kept.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], command, environment, file_actions=silent)
    _, status, usage = os.wait4(child, 0)
    elapsed = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{command[0]} failed with {os.waitstatus_to_exitcode(status)}")
    return Run(elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def measure(functions: int, rounds: int, *, loop: bool) -> dict[str, Run]:
    """Build one tree and return the medians of each contender."""
    with tempfile.TemporaryDirectory(prefix="vfiokit-bench-") as directory:
        root = Path(directory)
        trees.write(functions, root)
        commands = contenders(root, loop=loop and functions <= LOOP_LIMIT)
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        for name, command in commands.items():
            if name != LOOP:
                run(command)
        for number in range(rounds):
            for name, command in commands.items():
                if name != LOOP or number == 0:
                    runs[name].append(run(command))
    return {name: Run(*map(statistics.median, zip(*found, strict=True))) for name, found in runs.items()}


def show(functions: int, medians: dict[str, Run]) -> None:
    """Print a row for each contender."""
    ours = medians[OURS]
    for name, its in medians.items():
        times = f"{its.elapsed * 1e3:10.1f} ms {its.processor * 1e3:10.1f} ms {int(its.memory) >> 20:5} MiB"
        ratios = f"{ours.elapsed / its.elapsed:8.2f} {ours.processor / its.processor:8.2f}"
        print(f"{functions:9}  {name:13} {times} {ratios}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--functions", type=int, nargs="+", default=FUNCTIONS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-loop", action="store_true", help="leave the shell loop out")
    arguments = parser.parse_args()
    if not shutil.which("lspci"):
        raise SystemExit("no lspci: apt-get install pciutils")
    print("functions                      elapsed     processor    memory   ours / its: elapsed, processor")
    for functions in arguments.functions:
        show(functions, measure(functions, arguments.rounds, loop=not arguments.no_loop))


if __name__ == "__main__":
    main()

"""The C program that Python is measured against, built on first use, and how both are timed and shown."""

from __future__ import annotations

import mmap
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = (HERE / "peer.c", HERE.parent / "vfiokit" / "_native" / "mmio.c")


def build(directory: str) -> Path:
    """Compile the C program into a directory."""
    program = Path(directory) / "peer"
    subprocess.run(["gcc", "-O2", "-std=gnu11", "-o", str(program), *map(str, SOURCES)], check=True)
    return program


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Make a directory for the C program."""
    return tempfile.TemporaryDirectory(prefix="vfiokit-peer-")


def ask(program: Path, *words: object, fds: Iterable[int] = ()) -> list[float]:
    """Run the C program, and return its numbers: nanoseconds per operation."""
    command = [str(program), *map(str, words)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, pass_fds=tuple(fds)).stdout
    return [float(word) for word in said.split()]


def small_pages(size: int) -> mmap.mmap:
    """Allocate memory that the kernel is not to gather into huge pages by itself."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # A kernel without such huge pages does not know the word.
    with suppress(OSError):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def nanoseconds(action: Callable[[], object], number: int, rounds: int = 20) -> float:
    """Time an action: the best of several rounds, since whatever else runs only adds."""
    best = float("inf")
    number = max(1, number // rounds)
    for _ in range(rounds):
        started = time.perf_counter_ns()
        for _ in range(number):
            action()
        best = min(best, (time.perf_counter_ns() - started) / number)
    return best


def table(rows: Iterable[tuple[str, float, float]], unit: str = "ns") -> None:
    """Print name, ours, C's and the ratio."""
    print(f"{'':44} {'vfiokit':>12} {'C -O2':>12} {'ratio':>8}")
    for name, ours, theirs in rows:
        print(f"{name:44} {ours:>9.0f} {unit} {theirs:>9.0f} {unit} {ours / theirs:>8.2f}")

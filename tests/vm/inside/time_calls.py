"""Give the edu device to VFIO and run the benchmark of calls on it, by each back end."""

import subprocess
import sys

from vfio_lab import BACKENDS, ROOT, address, bind


def main() -> None:
    size, number = sys.argv[1:]
    bind("edu")
    script = str(ROOT / "benchmarks" / "vfio_calls.py")
    for backend in BACKENDS:
        words = (address("edu"), "--backend", backend, "--size", size, "--number", number)
        subprocess.run([sys.executable, script, *words], check=True)


if __name__ == "__main__":
    main()

"""The scenes that need the kernel of a distribution, of refusals.py and modules.py."""

import sys

import modules  # noqa: F401
import refusals  # noqa: F401
from scenes import run_all

if __name__ == "__main__":
    run_all(sys.argv[1:])

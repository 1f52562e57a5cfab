"""The command: ``python -m vfiokit``."""

import sys

from vfiokit.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""All that is asked of a named topology, in one boot: `named.py NAME[,NAME...]|- [STEP...]`.

Leaves what report.py leaves and what config.py leaves. The functions whose names come first are given to
VFIO for their sizes, after every step: the report is that of a guest which nothing but its steps changed.
"""

import sys

import config
import report


def main(sized: str, *steps: str) -> None:
    """Read config spaces, report each step, and ask VFIO for sizes at the end."""
    config.read()
    report.main(list(steps))
    config.give([] if sized == "-" else sized.split(","))


if __name__ == "__main__":
    main(*sys.argv[1:])

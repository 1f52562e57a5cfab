"""Let vfiokit read the guest beside observe.py: the same moments, two readers.

Leaves what observe.py leaves, and: host.tar.xz, a capture; listing.json and listing.txt, what `groups`
prints; status.json, the exit status of each command; verdicts.json, vfiokit's verdict on each group at each
step.
"""

import contextlib
import sys

import observe

from vfiokit.analysis.viability import viable
from vfiokit.cli import main as command
from vfiokit.sysfs.live import LiveSource
from vfiokit.sysfs.scan import Part, scan

LISTINGS = {
    "host.tar.xz": ("capture", "--force", "host.tar.xz"),
    "listing.json": ("groups", "--json"),
    "listing.txt": ("groups", "--format", "plain"),
}


def main(steps: list[str]) -> None:
    """Observe the guest as it is, then after each step."""
    observe.write_json("groups.json", observe.observe())
    statuses = {name: run(name, arguments) for name, arguments in LISTINGS.items()}
    observe.write_json("status.json", statuses)
    states, verdicts = [observe.viability("")], [judge()]
    for step in steps:
        observe.take(step)
        states.append(observe.viability(step))
        verdicts.append(judge())
    observe.write_json("viability.json", states)
    observe.write_json("verdicts.json", verdicts)


def run(name: str, arguments: tuple[str, ...]) -> int:
    """Run a command; what it prints goes into a file of that name unless the command writes it itself."""
    target = f"{name}.log" if arguments[0] == "capture" else name
    with open(target, "w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        return command(list(arguments))


def judge() -> dict[str, bool | None]:
    """Return vfiokit's verdict on each group as it is now."""
    host = scan(LiveSource(), Part.LISTING)
    return {str(group.id): viable(host, group) for group in host.groups}


if __name__ == "__main__":
    main(sys.argv[1:])

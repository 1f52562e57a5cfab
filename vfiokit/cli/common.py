"""What the commands share: the root, names, output that fits where it goes, completion."""

import contextlib
import gc
import sys
from collections.abc import Iterable, Iterator

import click

from vfiokit.errors import one_line
from vfiokit.model.host import Host
from vfiokit.render.view import Names, NoNames
from vfiokit.sysfs.roots import open_source
from vfiokit.sysfs.scan import Part, scan
from vfiokit.sysfs.source import Source

__all__ = [
    "collector_paused",
    "complete_selector",
    "echo_document",
    "echo_lines",
    "find_names",
    "is_terminal",
    "open_root",
    "warn_problems",
]


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Make many values at once: none is in a cycle, and the collector would walk them all for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def open_root(ctx: click.Context) -> Source:
    """Open the ``--root`` that stands before the command."""
    return open_source(ctx.obj or "/")


def find_names(source: Source) -> Names:
    """Return the system's names: of pci.ids, else of udev's hardware database for the live host."""
    from vfiokit.sysfs.hwdata import system_ids

    names = system_ids()
    if names is not None:
        return names
    if source.name == "/":
        from vfiokit.udev import HardwareNames

        return HardwareNames.open() or NoNames()
    return NoNames()


def echo_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output in one go; names that would break a line are escaped."""
    echo_document("\n".join(map(_safe, lines)))


def echo_document(text: str) -> None:
    """Write a text that needs no escaping to standard output, and a newline after it."""
    if text:
        sys.stdout.write(text + "\n")
        # What follows on standard error must not overtake it where both go to one place.
        sys.stdout.flush()


def _safe(text: str) -> str:
    # A tab stands in front of the lines for forums.
    return text if text.isprintable() else "\t".join(map(one_line, text.split("\t")))


def is_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout.isatty()


def warn_problems(host: Host) -> None:
    """Say on standard error what could not be read."""
    shown = host.problems[:5]
    for problem in shown:
        click.echo(one_line(f"vfiokit: {problem.path}: {problem.reason}"), err=True)
    if len(host.problems) > len(shown):
        click.echo(f"vfiokit: and {len(host.problems) - len(shown)} more (see problems in --json)", err=True)


def complete_selector(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete addresses and groups of the host that ``--root`` names; short ones where no full one fits."""
    root = ctx.find_root().params.get("root") or "/"
    try:
        host = scan(open_source(root), Part.LISTING)
    except Exception:
        return []
    full = [str(device.address) for device in host.devices]
    groups = [f"group:{group.id}" for group in host.groups]
    short = [text.removeprefix("0000:") for text in full if text.startswith("0000:")]
    fitting = [text for text in full + groups if text.startswith(incomplete)]
    return fitting or [text for text in short if text.startswith(incomplete)]

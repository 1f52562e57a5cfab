"""``vfiokit watch``: groups, drivers and hot plug as they change."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

import click

from vfiokit.analysis.changes import Change, changes
from vfiokit.cli.common import open_root
from vfiokit.errors import UsageError, one_line
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.memory import MemorySource
from vfiokit.sysfs.scan import Part, scan
from vfiokit.sysfs.source import Source

__all__ = ["command"]

Wait = Callable[[float], bool]


@click.command("watch", short_help="Report groups, drivers and hot plug as they change.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many changes.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Stop after so many seconds.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.05),
    default=10.0,
    show_default=True,
    help="Scan at least so often, in seconds, for what raises no event.",
)
@click.pass_context
def command(
    ctx: click.Context, as_json: bool, count: int | None, timeout: float | None, interval: float
) -> int:
    """Report changes of groups, drivers and functions as they happen, a line each.

    Events of the kernel and of udev are the reason to look; what is printed was read afterwards. Another
    root than the live host is looked at every --interval seconds.
    """
    source = open_root(ctx)
    if isinstance(source, MemorySource):
        raise UsageError("a capture does not change", operation="watch", subject=source.name)
    show = _json_line if as_json else _plain_line
    left = count
    with _events(source) as wait:
        for change in _stream(source, wait, interval, timeout):
            sys.stdout.write(one_line(show(change)) + "\n")
            sys.stdout.flush()
            left = None if left is None else left - 1
            if left == 0:
                break
    return 0


def _events(source: Source) -> AbstractContextManager[Wait]:
    if source.name != "/":
        return nullcontext(_sleep)
    from vfiokit.udev import Events

    return Events()


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def _stream(source: Source, wait: Wait, interval: float, timeout: float | None) -> Iterator[Change]:
    end = None if timeout is None else time.monotonic() + timeout
    before = scan(source, Part.LISTING)
    click.echo(f"watching {len(before.devices)} functions in {len(before.groups)} groups", err=True)
    while end is None or time.monotonic() < end:
        wait(interval if end is None else max(0.0, min(interval, end - time.monotonic())))
        after = scan(source, Part.LISTING)
        yield from changes(before, after)
        before = after


def _plain_line(change: Change) -> str:
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    if change.before is None and change.after is None:
        return f"{now} {change.subject} {change.what}"
    return f"{now} {change.subject} {change.what}: {_text(change.before)} -> {_text(change.after)}"


def _json_line(change: Change) -> str:
    import json

    return json.dumps(
        {
            "schema": "vfiokit.watch/1",
            "time": datetime.now().astimezone().isoformat(),
            "change": change.what,
            "subject": change.subject,
            "before": _json_value(change.before),
            "after": _json_value(change.after),
        }
    )


def _text(value: object) -> str:
    if value is None:
        return "none"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _json_value(value: object) -> object:
    return None if isinstance(value, Unknown) else value

"""``vfiokit apply``: carry out a plan that somebody else has reviewed."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from vfiokit.binding.codec import decode_goal, encode_plan
from vfiokit.binding.goal import Plan
from vfiokit.cli.moving import live_desk, run_options, run_plan
from vfiokit.errors import Refused, UsageError, VfiokitError

__all__ = ["command"]

_LIMIT = 1 << 24
_COMPARED = ("moves", "steps", "members")


@click.command("apply", short_help="Carry out a plan that was made before.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@run_options
@click.pass_context
def command(
    ctx: click.Context, file: Path, as_json: bool, verbose: bool, timeout: float, lock_wait: float
) -> int:
    """Carry out the plan in FILE (- for standard input), as vfiokit plan --json has printed it.

    The plan is made again first: where a function, a group or a step is not as it was reviewed, it is
    refused. No step is taken from the file.
    """
    body = _read(file)
    with live_desk(ctx, timeout=timeout, lock_wait=lock_wait) as desk:
        plan = desk.plan(decode_goal(body.get("goal") or {}))
        _compare(body, plan, str(file))
        return run_plan(desk, plan, as_json=as_json, verbose=verbose)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read(_LIMIT) if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise VfiokitError(reason or str(error), operation="read plan", subject=str(file)) from error
    try:
        document = json.loads(text)
        if document["schema"] != "vfiokit.plan/1":
            raise ValueError(f"schema {document['schema']!r}")
        body = document["plan"]
        return dict(body)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"no plan: {error}", operation="read plan", subject=str(file), hint="made by vfiokit plan --json"
        ) from error


def _compare(body: dict[str, Any], plan: Plan, subject: str) -> None:
    now = json.loads(json.dumps(encode_plan(plan)))
    changed = [key for key in _COMPARED if body.get(key) != now[key]]
    if changed:
        raise Refused(
            f"the host is not as it was when the plan was made: its {', '.join(changed)} would differ now",
            operation="apply",
            subject=subject,
            hint="plan again, and compare",
        )

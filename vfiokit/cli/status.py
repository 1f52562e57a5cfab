"""``vfiokit status``: what was moved, where it came from, and what was left half done."""

from collections.abc import Iterator
from typing import Any

import click

from vfiokit.binding.codec import encode
from vfiokit.binding.execute import read_state
from vfiokit.binding.journal import Entry
from vfiokit.binding.plan import Record
from vfiokit.binding.transaction import Desk
from vfiokit.cli.common import echo_document, echo_lines
from vfiokit.cli.moving import live_desk
from vfiokit.render.json import document, dumps
from vfiokit.render.plan import state_text

__all__ = ["command"]


@click.command("status", short_help="Show what was moved and left half done.")
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> int:
    """Show what vfiokit has moved with what it had before, and transactions that were left half done.

    Status 1 where a transaction was left open: vfiokit recover ends it.
    """
    with live_desk(ctx) as desk:
        records = [record for _, record in sorted(desk.records.all().items())]
        entries = desk.open_entries()
        if as_json:
            body = {
                "moved": [_record_object(desk, record) for record in records],
                "open": [_entry_object(entry) for entry in entries],
            }
            echo_document(dumps(document("status", desk.writer.source.name, **body)))
        else:
            echo_lines(_lines(desk, records, entries))
    return 1 if entries else 0


def _lines(desk: Desk, records: list[Record], entries: tuple[Entry, ...]) -> Iterator[str]:
    if not records and not entries:
        yield "nothing is moved"
    for record in records:
        state = read_state(desk.writer.source, record.address)
        now = state_text(state) if state else "gone"
        yield f"{record.address}  {now}; had {state_text(record.original)}"
    for entry in entries:
        yield f"{entry.outcome.value}: {entry.action} {', '.join(str(move.address) for move in entry.moves)}"
        yield f"  journal {entry.path}, process {entry.pid}{f': {entry.note}' if entry.note else ''}"
        yield from (f"  began: {text}" for text in entry.steps)
        yield "  do: vfiokit recover"


def _record_object(desk: Desk, record: Record) -> dict[str, Any]:
    state = read_state(desk.writer.source, record.address)
    return {"address": str(record.address), "now": encode(state), "original": encode(record.original)}


def _entry_object(entry: Entry) -> dict[str, Any]:
    return {
        "journal": entry.name,
        "action": entry.action,
        "outcome": entry.outcome.value,
        "note": entry.note,
        "pid": entry.pid,
        "functions": [str(move.address) for move in entry.moves],
        "steps": list(entry.steps),
    }

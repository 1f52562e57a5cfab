"""The journal: what a transaction is about to do, on disk before its first write, and what became of it.

One file a transaction, a JSON object a line. The first line holds everything that undoing needs and is
flushed to the disk before anything is changed; a file whose first line is torn belongs to a transaction
that changed nothing. Later lines are for people: undoing goes by what the kernel shows, not by them.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol

from vfiokit.binding.codec import decode_move, encode
from vfiokit.binding.goal import Move, Owner, Plan, Step
from vfiokit.errors import VfiokitError

__all__ = [
    "Entry",
    "FileJournal",
    "Journal",
    "MemoryJournal",
    "Outcome",
    "close_entry",
    "open_entries",
    "read_entry",
    "sync_directory",
]

SCHEMA = "vfiokit.journal/1"
_SUFFIX = ".jsonl"
_KEPT = 50


class Outcome(StrEnum):
    """What became of a transaction."""

    OPEN = "open"
    """It has not ended, or died."""
    COMMITTED = "committed"
    UNDONE = "undone"
    PART_UNDONE = "part-undone"
    """Some function is not as it was."""
    STUCK = "stuck"
    """A write did not come back."""
    REBOOTED = "ended by a reboot"

    @property
    def open(self) -> bool:
        """Whether something may be left to be done."""
        return self in (Outcome.OPEN, Outcome.PART_UNDONE, Outcome.STUCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A transaction as its journal tells it.

    :ivar name: the journal's file name without its suffix.
    :ivar boot_id: of the boot in which it ran.
    :ivar pid: the process that ran it.
    :ivar moves: what it was to move.
    :ivar steps: the steps that it began, in words.
    """

    name: str
    path: Path
    boot_id: str
    pid: int
    action: str
    moves: tuple[Move, ...]
    steps: tuple[str, ...] = ()
    outcome: Outcome = Outcome.OPEN
    note: str = ""


class Journal(Protocol):
    """Keeps a transaction. Synchronization: one transaction."""

    def begin(self, plan: Plan, boot_id: str) -> None:
        """Keep what is about to be done; when it returns, it is on the disk."""
        ...

    def step(self, number: int, step: Step) -> None:
        """Say that a step begins."""
        ...

    def owned(self, path: str, before: Owner) -> None:
        """Say who had a node that was given away."""
        ...

    def end(self, outcome: Outcome, note: str = "") -> None:
        """Say what became of it."""
        ...


class MemoryJournal:
    """A journal of a trial: nothing is kept beyond the process.

    :ivar lines: what was written, an object each.
    """

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def begin(self, plan: Plan, boot_id: str) -> None:
        """Keep the header."""
        self.lines.append(_header(plan, boot_id))

    def step(self, number: int, step: Step) -> None:
        """Keep the step."""
        self.lines.append({"step": number, "text": step.text})

    def owned(self, path: str, before: Owner) -> None:
        """Keep the owner."""
        self.lines.append({"node": path, "owner": encode(before)})

    def end(self, outcome: Outcome, note: str = "") -> None:
        """Keep the outcome."""
        self.lines.append({"outcome": outcome.value, "note": note})


class FileJournal:
    """A journal in a directory; a ``with`` block closes its file, and leaves it open to be recovered.

    :param directory: where journals are; made where it is absent.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stream: IO[str] | None = None
        self.path: Path | None = None

    def __enter__(self) -> "FileJournal":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def begin(self, plan: Plan, boot_id: str) -> None:
        """Write the header and flush it, and the directory, to the disk."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._prune()
            self.path = self._free_name()
            self._stream = self.path.open("x", encoding="utf-8")
            self._line(_header(plan, boot_id))
            os.fsync(self._stream.fileno())
            sync_directory(self._directory)
        except OSError as error:
            raise VfiokitError.from_os(
                error,
                operation="write journal",
                subject=str(self.path or self._directory),
                hint="nothing was changed",
            ) from error

    def step(self, number: int, step: Step) -> None:
        """Append the step."""
        self._line({"step": number, "text": step.text})

    def owned(self, path: str, before: Owner) -> None:
        """Append the owner."""
        self._line({"node": path, "owner": encode(before)})

    def end(self, outcome: Outcome, note: str = "") -> None:
        """Append the outcome and close."""
        if self._stream is not None:
            self._line({"outcome": outcome.value, "note": note})
            self._stream.close()
            self._stream = None

    def _line(self, body: dict[str, Any]) -> None:
        if self._stream is not None:
            self._stream.write(json.dumps(body) + "\n")
            self._stream.flush()

    def _free_name(self) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        number = 0
        while (path := self._directory / f"{stamp}-{os.getpid()}-{number}{_SUFFIX}").exists():
            number += 1
        return path

    def _prune(self) -> None:
        """Drop the oldest journals of transactions that ended."""
        paths = sorted(self._directory.glob(f"*{_SUFFIX}"))
        for path in paths[: max(0, len(paths) - _KEPT)]:
            entry = read_entry(path)
            if entry is None or not entry.outcome.open:
                path.unlink(missing_ok=True)


def open_entries(directory: Path) -> Iterator[Entry]:
    """Yield the transactions that have not ended well, oldest first; a torn header changed nothing."""
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        entry = read_entry(path)
        if entry is not None and entry.outcome.open:
            yield entry


def read_entry(path: Path) -> Entry | None:
    """Read a journal; ``None`` where its first line is torn or no header.

    :raises VfiokitError: if it cannot be read.
    """
    try:
        lines = [_object(line) for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError as error:
        raise VfiokitError.from_os(error, operation="read journal", subject=str(path)) from error
    header = lines[0] if lines else None
    if header is None or header.get("schema") != SCHEMA:
        return None
    rest = [line for line in lines[1:] if line is not None]
    endings = [line for line in rest if "outcome" in line]
    return Entry(
        name=path.name.removesuffix(_SUFFIX),
        path=path,
        boot_id=str(header["boot_id"]),
        pid=int(header["pid"]),
        action=str(header["action"]),
        moves=tuple(decode_move(move) for move in header["moves"]),
        steps=tuple(str(line["text"]) for line in rest if "step" in line),
        outcome=Outcome(endings[-1]["outcome"]) if endings else Outcome.OPEN,
        note=str(endings[-1].get("note", "")) if endings else "",
    )


def close_entry(entry: Entry, outcome: Outcome, note: str = "") -> None:
    """Append what became of a transaction whose process is gone."""
    with entry.path.open("a", encoding="utf-8") as stream:
        # A line that its writer died in stays as it is.
        stream.write("\n" + json.dumps({"outcome": outcome.value, "note": note}) + "\n")


def sync_directory(directory: Path) -> None:
    """Flush a directory's names to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _header(plan: Plan, boot_id: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "boot_id": boot_id,
        "pid": os.getpid(),
        "action": plan.goal.action.value,
        "goal": encode(plan.goal),
        "moves": encode(plan.moves),
    }


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None

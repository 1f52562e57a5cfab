"""One lock for the tool and one for each group: a second run waits, or says who is in the way."""

import contextlib
import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from vfiokit.errors import Locked, VfiokitError

__all__ = ["close_private", "hold"]

_POLL = 0.05
_private: set[int] = set()
"""Descriptors of locks that a child must not keep."""


@contextlib.contextmanager
def hold(directory: Path, groups: Iterable[int | None], wait: float) -> Iterator[None]:
    """Hold the tool's lock and those of some groups for the length of a block.

    A process that a write is stuck in keeps the locks of its groups, so that nothing else touches them;
    the tool's own lock ends with this process.

    :param groups: numbers; ``None`` stands for functions without a group.
    :param wait: seconds to wait for each lock.
    :raises Locked: if another run still has one.
    """
    names = [
        "tool",
        *(f"group-{group}" for group in sorted({-1 if group is None else group for group in groups})),
    ]
    with contextlib.ExitStack() as stack:
        for name in names:
            descriptor = _open(directory, name)
            stack.callback(os.close, descriptor)
            _lock(descriptor, name, wait)
            if name == "tool":
                # A stuck writer must keep only its groups.
                _private.add(descriptor)
                stack.callback(_private.discard, descriptor)
        yield


def close_private() -> None:
    """Close, in a child that is to write, the locks that are this process's alone."""
    for descriptor in tuple(_private):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _private.clear()


def _open(directory: Path, name: str) -> int:
    path = directory / f"{name}.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise VfiokitError.from_os(error, operation="lock", subject=str(path), hint="run as root") from error


def _lock(descriptor: int, name: str, wait: float) -> None:
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise VfiokitError.from_os(error, operation="lock", subject=name) from error
            if time.monotonic() >= end:
                raise _busy(descriptor, name) from error
        time.sleep(_POLL)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "command": sys.argv}).encode(), 0)


def _busy(descriptor: int, name: str) -> Locked:
    try:
        body = json.loads(os.pread(descriptor, 1 << 16, 0))
        holder = f"pid {body['pid']}: {' '.join(body['command'])}"
    except (OSError, ValueError, KeyError, TypeError):
        holder = "another run"
    return Locked(
        f"held by {holder}",
        operation="lock",
        subject=name.replace("-", " "),
        hint="--lock-wait waits longer; a run that is stuck keeps its groups until the kernel lets it go",
    )

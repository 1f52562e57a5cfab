"""A short-lived process that does the writes, so that one that never returns does not take us with it.

A task that sits in the kernel cannot be killed, and a thread of ours that did would keep us from ending.
The child inherits the locks of the groups: as long as a write is stuck in it, nothing else touches them.
"""

import contextlib
import errno
import json
import os
import select
import signal
import socket
from pathlib import Path

from vfiokit.binding.locks import close_private
from vfiokit.errors import WriteStuck

__all__ = ["Worker"]

_MESSAGE = 1 << 16


class Worker:
    """Writes through a child. Synchronization: one write at a time.

    It is started at the first write and again after one that got stuck.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._pid = 0

    def write(self, path: str, text: str, limit: float) -> None:
        """Write text to a file, which must be there, in one write.

        :raises OSError: as the kernel answered.
        :raises WriteStuck: after *limit* seconds; the child is left where it is.
        """
        if self._socket is None:
            self._start()
        answer = self._ask(json.dumps([path, text]).encode(), limit)
        if answer is None:
            raise self._stuck(path, text, limit)
        if not answer:
            self.close()
            raise OSError(errno.EIO, "the process that writes died", path)
        number = int(answer)
        if number:
            raise OSError(number, os.strerror(number), path)

    def _ask(self, message: bytes, limit: float) -> bytes | None:
        """Return the child's answer, nothing where it is dead, ``None`` where there is none in time."""
        assert self._socket is not None
        try:
            self._socket.send(message)
            if not select.select([self._socket], [], [], limit)[0]:
                return None
            return self._socket.recv(_MESSAGE)
        except OSError:
            return b""

    def close(self) -> None:
        """End the child and wait for it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            _serve(theirs)
        theirs.close()
        self._socket, self._pid = ours, pid

    def _stuck(self, path: str, text: str, limit: float) -> WriteStuck:
        """Leave the child behind; what the kernel says of it goes with the error."""
        stack, state = _proc(self._pid, "stack"), _state(self._pid)
        where = _proc(self._pid, "wchan").strip()
        assert self._socket is not None
        # It ends by itself once the write returns. A signal could cut a driver's removal short.
        self._socket.close()
        self._socket = None
        waits = f", in {where}" if where not in ("", "0") else ""
        return WriteStuck(
            f"no answer within {limit:g} s: pid {self._pid} is in the kernel (state {state}{waits})",
            operation=f"write {text.strip()!r} to",
            subject=path,
            stack=stack,
        )


def _serve(sock: socket.socket) -> None:
    """Write what the parent asks for until it is gone; never return."""
    try:
        close_private()
        # What asks the parent to end must not end a write: it decides.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while message := sock.recv(_MESSAGE):
            path, text = json.loads(message)
            sock.send(str(_write(path, text)).encode())
    finally:
        os._exit(0)


def _write(path: str, text: str) -> int:
    try:
        # Without O_CREAT, which sysfs answers with a misleading EACCES for a file that is not there.
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            data = text.encode()
            return 0 if os.write(descriptor, data) == len(data) else errno.EIO
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or errno.EIO


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _state(pid: int) -> str:
    fields = _proc(pid, "stat").rpartition(")")[2].split()
    return fields[0] if fields else "?"

"""Record what a program and the kernel say to each other about a device, and play it back without a kernel.

>>> from vfiokit.testing.fake_device import FakeEdu
>>> from vfiokit.testing.fake_vfio import FakeKernel
>>> from vfiokit.vfio import Device
>>> kernel = FakeKernel(FakeEdu())
>>> recorder = Recorder(kernel, kernel.source)
>>> with Device.open("0000:00:04.0", system=recorder, source=recorder.source) as device:
...     first = device.config.read32(0)
>>> player = Player(recorder.dump())
>>> with Device.open("0000:00:04.0", system=player, source=player.source) as device:
...     device.config.read32(0) == first
True
>>> player.rest
0
"""

import itertools
import json
import os
import weakref
from collections.abc import Iterator
from typing import Any

from vfiokit._native import ffi
from vfiokit._native.table import Argument, Call
from vfiokit.errors import VfiokitError
from vfiokit.sysfs.capture import RecordingSource
from vfiokit.sysfs.memory import Directory, Failure, File, Link, MemorySource
from vfiokit.sysfs.source import Kind, Source, Stat
from vfiokit.vfio.syscall import SyscallWindow
from vfiokit.vfio.system import System, read_count
from vfiokit.vfio.window import Window

__all__ = ["SCHEMA", "Player", "Recorder", "ReplayMismatch"]

SCHEMA = "vfiokit.recording/2"

_MAPS = {"VFIO_IOMMU_MAP_DMA": ("vaddr", "iova", "size"), "IOMMU_IOAS_MAP": ("user_va", "iova", "length")}
_UNMAPS = {"VFIO_IOMMU_UNMAP_DMA": ("iova", "size"), "IOMMU_IOAS_UNMAP": ("iova", "length")}
_OURS = frozenset({"vaddr", "user_va", "data_uptr", "allowed_iovas", "token_uuid_ptr", "iommufd", "fd"})
"""Members whose values are this process's own: addresses and descriptors differ from run to run."""

Event = list[Any]


class ReplayMismatch(VfiokitError):
    """A program that does not do what was recorded."""


class Recorder:
    """A system that passes everything on and keeps it.

    Memory that devices may write is compared after each event, so keep its size moderate. Interrupts are
    kept as they are read, by ``EventFd.wait`` or, in an event loop or after a ``select``, by
    ``EventFd.read``; a program that reads the descriptor itself goes past the recorder. What devices write
    to files that :meth:`~vfiokit.vfio.Dma.map_file` mapped is not kept. One thread at a time, since the
    order is what is recorded.

    :ivar source: the source to open devices with: what is read from it is kept too.
    """

    def __init__(self, inner: System, source: Source) -> None:
        self._inner = inner
        self.source = _Nodes(source)
        self.events: list[Event] = []
        self._memory: dict[int, tuple[int, bytes]] = {}

    def dump(self) -> str:
        """Return the recording as text, one event a line."""
        head = {"schema": SCHEMA, "nodes": [_node(path, node) for path, node in self.source.tree.nodes()]}
        return "".join(f"{json.dumps(row)}\n" for row in (head, *self.events))

    def open(self, path: str, flags: int) -> int:
        """Open a file."""
        try:
            fd = self._inner.open(path, flags)
        except OSError as error:
            self.events.append(["open", path, -(error.errno or 5)])
            raise
        self.events.append(["open", path, fd])
        return fd

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        self._inner.close(fd)
        self.events.append(["close", fd])

    def ioctl(self, fd: int, call: Call, argument: Any) -> int:
        """Make a call with a pointer."""
        before = _fields(call, argument)
        # The kernel writes there how much it would have liked; what there is, is what we said.
        room = _room(call, argument)
        self._compare()
        answer = self._inner.ioctl(fd, call, argument)
        self._note(call, argument, answer)
        self.events.append(["ioctl", fd, call.name, before, answer, *_reply(call, argument, room)])
        return answer

    def ioctl_value(self, fd: int, call: Call, value: int) -> int:
        """Make a call with a number."""
        answer = self._inner.ioctl_value(fd, call, value)
        self.events.append(["value", fd, call.name, value, answer])
        return answer

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Read from a place."""
        try:
            data = self._inner.pread(fd, size, offset)
        except OSError as error:
            self.events.append(["pread", fd, size, offset, -(error.errno or 5)])
            raise
        self.events.append(["pread", fd, size, offset, data.hex()])
        return data

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write to a place."""
        try:
            answer = self._inner.pwrite(fd, data, offset)
        except OSError as error:
            answer = -(error.errno or 5)
            raise
        finally:
            self.events.append(["pwrite", fd, data.hex(), offset, answer])
        return answer

    def map(
        self, fd: int, offset: int, size: int, *, writable: bool, keep_on_fork: bool, subject: str
    ) -> Window:
        """Map part of a descriptor; accesses through it are kept."""
        inner = self._inner.map(
            fd, offset, size, writable=writable, keep_on_fork=keep_on_fork, subject=subject
        )
        self.events.append(["map", fd, offset, size])
        return _Wrapped(_Recorded(self, inner), inner, offset, size, subject, writable)

    def eventfd(self) -> int:
        """Make an eventfd."""
        fd = self._inner.eventfd()
        self.events.append(["eventfd", fd])
        return fd

    def read(self, eventfd: int) -> int:
        """Read an eventfd."""
        return self._counted("read", eventfd, self._inner.read(eventfd))

    def wait(self, eventfd: int, timeout: float | None) -> int:
        """Wait for an eventfd."""
        return self._counted("wait", eventfd, self._inner.wait(eventfd, timeout))

    def _counted(self, name: str, eventfd: int, count: int) -> int:
        self._compare()
        self.events.append([name, eventfd, count])
        return count

    def _note(self, call: Call, argument: Any, answer: int) -> None:
        if answer < 0:
            return
        if call.name in _MAPS:
            vaddr, iova, size = _members(call, argument, _MAPS[call.name])
            self._memory[iova] = (vaddr, _bytes(vaddr, size))
        elif call.name in _UNMAPS:
            iova, size = _members(call, argument, _UNMAPS[call.name])
            for start in [start for start in self._memory if iova <= start < iova + max(size, 1)]:
                del self._memory[start]

    def _compare(self) -> None:
        """Keep what devices wrote since the last event; what the program wrote is kept with it."""
        for iova, (vaddr, before) in self._memory.items():
            now = _bytes(vaddr, len(before))
            if now != before:
                first = next(
                    at for at, pair in enumerate(zip(before, now, strict=True)) if pair[0] != pair[1]
                )
                last = max(at for at, pair in enumerate(zip(before, now, strict=True)) if pair[0] != pair[1])
                self.events.append(["memory", iova + first, now[first : last + 1].hex()])
                self._memory[iova] = (vaddr, now)


class Player:
    """A system that answers from a recording, and refuses a program that goes another way.

    Event loops and ``select`` work on its eventfds, which are real: one becomes readable when reading it is
    the next thing that was recorded, and not before. So what a loop does comes in the recorded order,
    however fast the devices were; only one is readable at a time, and what a program does because a time is
    over may come too late.

    :param text: what :meth:`Recorder.dump` gave.
    :ivar source: the source to open devices with.
    """

    def __init__(self, text: str) -> None:
        head, *events = (json.loads(line) for line in text.splitlines())
        if head.get("schema") != SCHEMA:
            raise ReplayMismatch(f"a recording of {head.get('schema')}, not of {SCHEMA}")
        self.source = MemorySource("recording")
        for path, kind, content, mode in head["nodes"]:
            self.source.add(path, _rebuild(kind, content, mode))
        self._events: list[Event] = events
        self._position = 0
        self._fds: dict[int, int] = {}
        self._eventfds: dict[int, int] = {}
        self._signals: dict[int, int] = {}
        self._memory: dict[int, tuple[int, int]] = {}
        weakref.finalize(self, _close_all, self._signals)

    @property
    def rest(self) -> int:
        """How many events are left."""
        return sum(event[0] != "memory" for event in self._events[self._position :])

    def open(self, path: str, flags: int) -> int:
        """Answer as when it was recorded."""
        return self._new_fd(self._next("open", path)[2])

    def close(self, fd: int) -> None:
        """Close."""
        self._next("close", self._fds[fd])
        os.close(fd)

    def ioctl(self, fd: int, call: Call, argument: Any) -> int:
        """Compare what is asked, and answer as when it was recorded."""
        given = _fields(call, argument)
        _, _, _, _, answer, written, pointed = self._next("ioctl", self._fds[fd], call.name, given)
        if answer >= 0 and call.name in _MAPS:
            vaddr, iova, size = _members(call, argument, _MAPS[call.name])
            self._memory[iova] = (vaddr, size)
        _put(call, argument, written, pointed)
        # Of all features, only a dma-buf answers with more than 0: with its descriptor.
        gives_fd = call.name.endswith("_FD") or (call.name == "VFIO_DEVICE_FEATURE" and answer > 0)
        return self._new_fd(answer) if gives_fd else int(answer)

    def ioctl_value(self, fd: int, call: Call, value: int) -> int:
        """Answer as when it was recorded."""
        return int(self._next("value", self._fds[fd], call.name, value)[4])

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Answer as when it was recorded."""
        answer = self._next("pread", self._fds[fd], size, offset)[4]
        return bytes.fromhex(answer) if isinstance(answer, str) else _raise(answer)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Answer as when it was recorded."""
        answer = self._next("pwrite", self._fds[fd], data.hex(), offset)[4]
        return int(answer) if answer >= 0 else int(_raise(answer))

    def map(
        self, fd: int, offset: int, size: int, *, writable: bool, keep_on_fork: bool, subject: str
    ) -> Window:
        """Give a window whose accesses are answered as when they were recorded."""
        self._next("map", self._fds[fd], offset, size)
        return _Wrapped(_Played(self), None, offset, size, subject, writable)

    def eventfd(self) -> int:
        """Make an eventfd, which fires when it is its turn."""
        recorded = self._next("eventfd")[1]
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        if recorded in self._signals:
            os.close(self._signals[recorded])
        # Another descriptor of the same, since the program may close its own.
        self._eventfds[fd], self._signals[recorded] = recorded, os.dup(fd)
        self._signal()
        return fd

    def read(self, eventfd: int) -> int:
        """Answer as when it was recorded."""
        read_count(eventfd)
        return int(self._next("read", self._eventfds.get(eventfd))[2])

    def wait(self, eventfd: int, timeout: float | None) -> int:
        """Answer as when it was recorded."""
        return int(self._next("wait", self._eventfds.get(eventfd))[2])

    def _next(self, *given: Any) -> Event:
        """Take the next event, which must begin as given; memory that changed before it changes now."""
        event = self._match(*given)
        self._signal()
        return event

    def _signal(self) -> None:
        """Let the eventfd fire that is read next, also if nothing was in it: somebody may be waiting."""
        rest = (
            event for event in itertools.islice(self._events, self._position, None) if event[0] != "memory"
        )
        event = next(rest, None)
        if event is not None and event[0] == "read" and event[1] in self._signals:
            os.eventfd_write(self._signals[event[1]], 1)

    def _match(self, *given: Any) -> Event:
        for event in self._take():
            if event[0] == "memory":
                self._change(event[1], bytes.fromhex(event[2]))
                continue
            if event[: len(given)] != list(given):
                raise ReplayMismatch(
                    f"{given} where {event[: len(given)]} was recorded",
                    operation="replay",
                    subject=f"event {self._position}",
                )
            return event
        raise ReplayMismatch(f"{given} after the end of the recording", operation="replay")

    def _take(self) -> Iterator[Event]:
        while self._position < len(self._events):
            self._position += 1
            yield self._events[self._position - 1]

    def _change(self, iova: int, data: bytes) -> None:
        for start, (vaddr, size) in self._memory.items():
            if start <= iova < start + size:
                ffi.memmove(ffi.cast("char *", vaddr + iova - start), data, len(data))

    def _new_fd(self, recorded: int) -> int:
        if recorded < 0:
            _raise(recorded)
        fd = os.memfd_create("replay", os.MFD_CLOEXEC)
        self._fds[fd] = recorded
        return fd


class _Nodes(RecordingSource):
    """Keeps also which files there are, when it is asked only that."""

    def stat(self, path: str) -> Stat:
        """Return kind and permission bits."""
        found = super().stat(path)
        if found.kind is not Kind.DIRECTORY and not self._has(path):
            self.tree.add(path, File(b"", found.mode))
        return found


class _Wrapped(SyscallWindow):
    """A window whose accesses go through a recorder or come from a player."""

    mode = "mmap"

    def __init__(
        self, system: Any, inner: Window | None, offset: int, size: int, subject: str, writable: bool
    ) -> None:
        super().__init__(system, 0, offset, size, subject, writable=writable)
        self._inner = inner

    def close(self) -> None:
        """Unmap."""
        super().close()
        if self._inner is not None:
            self._inner.close()

    def forget(self) -> None:
        """Be nothing in a child."""
        super().close()


class _Recorded:
    """Loads and stores of a window that is recorded; places are of the device's descriptor."""

    def __init__(self, recorder: Recorder, inner: Window) -> None:
        self._recorder, self._inner = recorder, inner
        self._start: int | None = None

    def pread(self, _fd: int, size: int, place: int) -> bytes:
        """Load."""
        value: int = getattr(self._inner, f"read{8 * size}")(self._offset(place))
        self._recorder._compare()
        self._recorder.events.append(["load", place, size, value])
        return value.to_bytes(size, "little")

    def pwrite(self, _fd: int, data: bytes, place: int) -> int:
        """Store."""
        self._recorder._compare()
        value = int.from_bytes(data, "little")
        getattr(self._inner, f"write{8 * len(data)}")(self._offset(place), value)
        self._recorder.events.append(["store", place, len(data), value])
        return len(data)

    def _offset(self, place: int) -> int:
        # A region begins at a multiple of 2**40 in the descriptor, its parts at pages.
        base = place >> 40 << 40
        return place - (base if self._inner.size > place - base else place & ~0xFFF)


class _Played:
    """Loads and stores that are answered by a player."""

    def __init__(self, player: Player) -> None:
        self._player = player

    def pread(self, _fd: int, size: int, place: int) -> bytes:
        """Load."""
        return int(self._player._next("load", place, size)[3]).to_bytes(size, "little")

    def pwrite(self, _fd: int, data: bytes, place: int) -> int:
        """Store."""
        self._player._next("store", place, len(data), int.from_bytes(data, "little"))
        return len(data)


def _close_all(fds: dict[int, int]) -> None:
    for fd in fds.values():
        os.close(fd)


def _raise(answer: int) -> bytes:
    raise OSError(-answer, os.strerror(-answer))


def _bytes(vaddr: int, size: int) -> bytes:
    return bytes(ffi.buffer(ffi.cast("char *", vaddr), size))


def _cast(call: Call, argument: Any) -> Any:
    return ffi.cast(f"struct {call.struct} *", argument)


def _members(call: Call, argument: Any, names: tuple[str, ...]) -> tuple[int, ...]:
    cdata = _cast(call, argument)
    return tuple(int(getattr(cdata, name)) for name in names)


def _fields(call: Call, argument: Any) -> dict[str, int] | str | None:
    """Read what is asked, without what is this process's own."""
    if call.argument is Argument.STRUCT:
        cdata = _cast(call, argument)
        return {
            name: int(getattr(cdata, name))
            for name, field in ffi.typeof(cdata[0]).fields
            if field.type.kind == "primitive" and name not in _OURS
        }
    if call.argument is Argument.STRING:
        text: bytes = ffi.string(ffi.cast("char *", argument))
        return text.decode()
    return None


def _room(call: Call, argument: Any) -> int:
    return int(getattr(_cast(call, argument), call.size_field)) if call.struct else 0


def _reply(call: Call, argument: Any, room: int) -> tuple[str, dict[str, str]]:
    """Read what the kernel wrote: the structure, and what its members point at."""
    if call.argument is not Argument.STRUCT:
        return "", {}
    cdata = _cast(call, argument)
    pointed = {
        pointer.field: _bytes(
            getattr(cdata, pointer.field), min(getattr(cdata, pointer.length), 16) * pointer.unit
        ).hex()
        for pointer in call.pointers
        if pointer.writes and hasattr(cdata, pointer.field) and hasattr(cdata, pointer.length)
    }
    return bytes(ffi.buffer(ffi.cast("char *", argument), room)).hex(), pointed


def _put(call: Call, argument: Any, written: str, pointed: dict[str, str]) -> None:
    """Write what the kernel wrote, but for what is this process's own."""
    if call.argument is not Argument.STRUCT:
        return
    cdata = _cast(call, argument)
    room = _room(call, argument)
    ours = {name: getattr(cdata, name) for name in _OURS if hasattr(cdata, name)}
    for field, content in pointed.items():
        data = bytes.fromhex(content)
        ffi.memmove(ffi.cast("char *", getattr(cdata, field)), data, len(data))
    data = bytes.fromhex(written)[:room]
    ffi.memmove(ffi.cast("char *", argument), data, len(data))
    for name, value in ours.items():
        setattr(cdata, name, value)


def _node(path: str, node: object) -> Event:
    if isinstance(node, File):
        return [path, "file", node.data.hex(), node.mode]
    if isinstance(node, Link):
        return [path, "link", node.target, 0]
    if isinstance(node, Failure):
        return [path, "failure", node.errno, node.mode]
    return [path, "directory", "", 0o755]


def _rebuild(kind: str, content: Any, mode: int) -> File | Link | Directory | Failure:
    if kind == "file":
        return File(bytes.fromhex(content), mode)
    if kind == "link":
        return Link(content)
    return Failure(content, mode) if kind == "failure" else Directory(mode)

"""Recording a host: the raw bytes, links, modes and errors that a scan meets, and nothing else."""

import contextlib
import errno
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from typing import TypeVar

from vfiokit.sysfs.archive import FORMAT, MANIFEST
from vfiokit.sysfs.memory import DeviceNode, Directory, Failure, File, Link, MemorySource, Node
from vfiokit.sysfs.source import ATTRIBUTE_LIMIT, CONFIG_SIZE, DeviceNumber, Kind, Source, Stat

__all__ = ["RecordingSource", "pack", "unreadable"]

_T = TypeVar("_T")
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ENOTDIR})


class RecordingSource:
    """Passes every access on to another source and keeps what it answered.

    The paths it is asked for must hold no links, as those of :func:`vfiokit.sysfs.scan.scan` do not.

    :ivar tree: what has been recorded so far; itself a source that gives the same answers.
    """

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.tree = MemorySource(source.name)
        self._source = source

    def read(self, path: str, limit: int = ATTRIBUTE_LIMIT) -> bytes:
        """Return a file's content and keep it."""
        data = self._or_failure(path, lambda: self._source.read(path, limit))
        self.tree.add(path, File(data, self._mode(path)))
        return data

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        """Return part of a file; all of it is kept, up to the size of a config space."""
        if not self._has(path):
            data = self._or_failure(path, lambda: self._source.read_at(path, 0, CONFIG_SIZE))
            self.tree.add(path, File(data, self._mode(path)))
        return self.tree.read_at(path, offset, size)

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory; its links and directories are kept."""
        names = self._or_failure(path, lambda: self._source.listdir(path))
        self.tree.add(path, Directory(self._mode(path)))
        for name in names:
            with contextlib.suppress(OSError):
                self._keep_entry(f"{path}/{name}")
        return names

    def readlink(self, path: str) -> str:
        """Return a link's target and keep it."""
        target = self._or_failure(path, lambda: self._source.readlink(path))
        self.tree.add(path, Link(target))
        return target

    def stat(self, path: str) -> Stat:
        """Return kind and permission bits; of a directory it is kept that there is one."""
        found = self._source.stat(path)
        if found.kind is Kind.DIRECTORY:
            self.tree.add(path, Directory(found.mode))
        return found

    def device(self, path: str) -> DeviceNumber | None:
        """Return the number of a device node and keep it in the place of what leads to it."""
        number = self._or_failure(path, lambda: self._source.device(path))
        if number is not None:
            self.tree.add(path, DeviceNode(number))
        return number

    def _has(self, path: str) -> bool:
        try:
            return self.tree.stat(path).kind is Kind.FILE
        except OSError:
            return False

    def _mode(self, path: str) -> int:
        try:
            return self._source.stat(path).mode
        except OSError:
            return 0o444

    def _keep_entry(self, path: str) -> None:
        kind, mode = self._source.stat(path)
        if kind is Kind.LINK:
            self.tree.add(path, Link(self._source.readlink(path)))
        elif kind is Kind.DIRECTORY:
            self.tree.add(path, Directory(mode))

    def _or_failure(self, path: str, access: Callable[[], _T]) -> _T:
        try:
            return access()
        except OSError as error:
            if error.errno not in _GONE:
                self.tree.add(path, Failure(error.errno or errno.EIO, self._mode(path)))
            raise


def unreadable(tree: MemorySource) -> tuple[tuple[str, str], ...]:
    """Return path and error name of everything that the recording met and could not read."""
    return tuple(
        (path, errno.errorcode.get(node.errno, "EIO"))
        for path, node in tree.nodes()
        if isinstance(node, Failure)
    )


def pack(tree: MemorySource, *, kernel: str, tool: str, redactions: tuple[str, ...] = ()) -> bytes:
    """Return a recorded tree as the bytes of a ``.tar.xz``; the same tree gives the same bytes.

    :param kernel: release of the kernel it was recorded on.
    :param tool: name and version of what recorded it.
    :param redactions: what was taken out, a phrase each.
    """
    manifest = {
        "format": FORMAT,
        "tool": tool,
        "kernel": kernel,
        "redactions": list(redactions),
        "errors": [
            {"path": path, "errno": errno.errorcode.get(node.errno, "EIO"), "mode": node.mode}
            for path, node in tree.nodes()
            if isinstance(node, Failure)
        ],
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _write(archive, MANIFEST, File(json.dumps(manifest, indent=1).encode() + b"\n", 0o644))
        for path, node in tree.nodes():
            _write(archive, path, node)
    return lzma.compress(buffer.getvalue(), check=lzma.CHECK_CRC64, preset=6)


def _write(archive: tarfile.TarFile, path: str, node: Node) -> None:
    member = tarfile.TarInfo(path)
    if isinstance(node, Link):
        member.type, member.linkname = tarfile.SYMTYPE, node.target
    elif isinstance(node, Directory):
        member.type, member.mode = tarfile.DIRTYPE, node.mode
    elif isinstance(node, File):
        member.mode, member.size = node.mode, len(node.data)
    elif isinstance(node, DeviceNode):
        member.type = tarfile.BLKTYPE if node.number.block else tarfile.CHRTYPE
        member.mode, member.devmajor, member.devminor = node.mode, node.number.major, node.number.minor
    else:
        return
    archive.addfile(member, io.BytesIO(node.data) if isinstance(node, File) else None)

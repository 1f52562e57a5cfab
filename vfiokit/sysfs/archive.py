"""A capture, or any archive of a tree that looks like ``/``, opened as a source.

Everything is checked before it is believed: the compression's own checksums, the size it unpacks
to, the names in it, the manifest's format.
"""

import bz2
import errno
import gzip
import io
import json
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

from vfiokit.errors import BadCapture
from vfiokit.sysfs.memory import DeviceNode, Directory, Failure, File, Link, MemorySource
from vfiokit.sysfs.source import DeviceNumber

__all__ = ["FORMAT", "MANIFEST", "MAX_UNPACKED", "is_archive", "open_archive"]

FORMAT = 1
"""The newest capture format that this vfiokit writes and reads."""
MANIFEST = "vfiokit-capture.json"
"""Name of the manifest at the top of a capture."""
MAX_UNPACKED = 1 << 29
"""Bytes that an archive may unpack to."""

_MAX_MEMBERS = 1 << 20
_MAX_DEPTH = 256
_CHUNK = 1 << 20
_OPENERS: dict[bytes, Callable[[io.BytesIO], IO[bytes]]] = {
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
    b"\x1f\x8b": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
}
_OPERATION = "open capture"


def is_archive(head: bytes) -> bool:
    """Whether a file that starts with *head* (at least 265 bytes) can be opened here."""
    return any(head.startswith(magic) for magic in _OPENERS) or head[257:262] == b"ustar"


def open_archive(data: bytes, name: str) -> MemorySource:
    """Read an archive into memory.

    :param data: the file's bytes: a tar, plain or compressed by xz, bzip2 or gzip.
    :param name: what messages call it.
    :raises BadCapture: if it is damaged, too large, of a newer format, or no tree of a host.
    """
    source = MemorySource(name)
    try:
        unpacked = _unpack(data, name)
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            members = _members(archive, name)
            _check_end(unpacked, archive.offset)
            top = _top(members)
            manifest = _manifest(archive, members.get(top + MANIFEST), name)
            for path, member in members.items():
                if path.startswith(top) and path != top + MANIFEST:
                    _add(source, path.removeprefix(top), member, archive)
    except (
        tarfile.TarError,
        lzma.LZMAError,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise _bad(name, f"damaged archive: {str(error) or type(error).__name__}") from error
    _add_errors(source, manifest, name)
    return source


def _bad(name: str, reason: str, hint: str = "") -> BadCapture:
    return BadCapture(reason, operation=_OPERATION, subject=name, hint=hint)


def _unpack(data: bytes, name: str) -> bytes:
    """Decompress to the end, so that the checksum after the last byte counts too."""
    opener = next((opener for magic, opener in _OPENERS.items() if data.startswith(magic)), None)
    if opener is None:
        return data
    pieces = []
    total = 0
    with opener(io.BytesIO(data)) as stream:
        while piece := stream.read(_CHUNK):
            total += len(piece)
            if total > MAX_UNPACKED:
                raise _bad(name, f"unpacks to more than {MAX_UNPACKED >> 20} MiB")
            pieces.append(piece)
    return b"".join(pieces)


def _members(archive: tarfile.TarFile, name: str) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        members[_path(member.name, name)] = member
        if len(members) > _MAX_MEMBERS:
            raise _bad(name, f"more than {_MAX_MEMBERS} members")
    return members


def _path(text: str, name: str) -> str:
    """Return the path that a name in the archive stands for, from the root."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _bad(name, f"a member that leaves the archive: {text[:80]!r}")
    if len(parts) > _MAX_DEPTH:
        raise _bad(name, f"a member more than {_MAX_DEPTH} directories deep")
    return "/".join(parts)


def _check_end(data: bytes, offset: int) -> None:
    """Check for the two empty blocks that end a tar: its reader takes a damaged header for the end."""
    if data[offset : offset + 1024] != bytes(1024):
        raise EOFError("it has no end, or a damaged header within")


def _top(members: dict[str, tarfile.TarInfo]) -> str:
    """Return what stands before ``sys/`` in the names: captures of others have a directory of their own."""
    if MANIFEST in members:
        return ""
    tops = {before for path in members for before, found, _ in [path.partition("sys/")] if found}
    return min((top for top in tops if top == "" or top.endswith("/")), key=len, default="")


def _manifest(archive: tarfile.TarFile, member: tarfile.TarInfo | None, name: str) -> dict[str, Any]:
    if member is None:
        return {"format": FORMAT}
    manifest = json.loads(_content(archive, member))
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or version < 1:
        raise _bad(name, "its manifest names no format")
    if version > FORMAT:
        raise _bad(
            name, f"format {version} is newer than {FORMAT}, the newest known here", "use a newer vfiokit"
        )
    return dict(manifest)


def _add(source: MemorySource, path: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    mode = member.mode & 0o7777
    if member.isdir() and path:
        source.add(path, Directory(mode))
    elif member.issym():
        source.add(path, Link(member.linkname))
    elif member.isreg() and not member.issparse():
        # A sparse file costs nothing packed and any amount of memory unpacked.
        source.add(path, File(_content(archive, member), mode))
    elif member.ischr() or member.isblk():
        source.add(path, DeviceNode(DeviceNumber(member.isblk(), member.devmajor, member.devminor), mode))
    elif path:
        source.add(path, Failure(errno.EINVAL, mode))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    data = stream.read() if stream else b""
    if len(data) != member.size:
        raise EOFError(f"{member.name} ends early")
    return data


def _add_errors(source: MemorySource, manifest: dict[str, Any], name: str) -> None:
    """Replay the errors that the capture met."""
    try:
        for entry in manifest.get("errors", ()):
            number = getattr(errno, entry["errno"])
            source.add(_path(str(entry["path"]), name), Failure(int(number), int(entry.get("mode", 0))))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _bad(name, f"its manifest lists an error that cannot be replayed: {error}") from error

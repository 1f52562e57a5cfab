"""From what a person writes after ``--root`` to a source."""

import os
import stat

from vfiokit.errors import BadRoot
from vfiokit.sysfs.directory import DirectorySource
from vfiokit.sysfs.live import LiveSource
from vfiokit.sysfs.source import Source

__all__ = ["DEFAULT_EXAMPLE", "example_names", "open_source"]

DEFAULT_EXAMPLE = "workstation"
"""The example that ``--root example`` opens."""

_EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "examples")
_SUFFIX = ".tar.xz"
_MAX_FILE = 1 << 28
_HINT = "a directory that looks like /, a capture, or example"


def example_names() -> tuple[str, ...]:
    """Return the names of the captures that ship with vfiokit."""
    return tuple(
        sorted(name.removesuffix(_SUFFIX) for name in os.listdir(_EXAMPLES) if name.endswith(_SUFFIX))
    )


def open_source(root: str | os.PathLike[str] = "/") -> Source:
    """Open a root: ``/`` for this host, a directory, a capture, or ``example[:NAME]``.

    :raises BadRoot: if it is none of these.
    :raises BadCapture: if it is an archive that cannot be opened.
    """
    text = os.fspath(root)
    if text == "example" or text.startswith("example:"):
        return _open_example(text.partition(":")[2] or DEFAULT_EXAMPLE)
    if os.path.isdir(text):
        return LiveSource() if os.path.realpath(text) == "/" else DirectorySource(text)
    return _open_file(text, text)


def _open_example(name: str) -> Source:
    if name not in example_names():
        raise BadRoot(
            "no such example",
            operation="open",
            subject=f"example:{name}",
            hint="one of: " + ", ".join(example_names()),
        )
    return _open_file(os.path.join(_EXAMPLES, name + _SUFFIX), f"example:{name}")


def _open_file(path: str, name: str) -> Source:
    # Imported here: tarfile and the decompressors cost more than a whole listing of the live host.
    from vfiokit.sysfs.archive import is_archive, open_archive

    try:
        data = _content(path, name)
    except OSError as error:
        raise BadRoot(
            error.strerror or str(error), operation="open", subject=name, errno=error.errno, hint=_HINT
        ) from error
    if not is_archive(data[:512]):
        raise BadRoot("not an archive", operation="open", subject=name, hint=_HINT)
    return open_archive(data, name)


def _content(path: str, name: str) -> bytes:
    # Looked at before it is opened: opening a FIFO would wait for its other end.
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BadRoot("neither a directory nor a regular file", operation="open", subject=name, hint=_HINT)
    if status.st_size > _MAX_FILE:
        raise BadRoot(f"larger than {_MAX_FILE >> 20} MiB", operation="open", subject=name, hint=_HINT)
    with open(path, "rb") as file:
        return file.read()

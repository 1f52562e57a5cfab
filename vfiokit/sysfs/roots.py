"""From what a person writes after ``--root`` to a source."""

import os
from pathlib import Path

from vfiokit.errors import BadRoot
from vfiokit.sysfs.directory import DirectorySource
from vfiokit.sysfs.live import LiveSource
from vfiokit.sysfs.source import Source

__all__ = ["DEFAULT_EXAMPLE", "example_names", "open_source"]

DEFAULT_EXAMPLE = "workstation"
"""The example that ``--root example`` opens."""

_EXAMPLES = Path(__file__).parent.parent / "examples"
_SUFFIX = ".tar.xz"
_MAX_FILE = 1 << 28
_HINT = "a directory that looks like /, a capture, or example"


def example_names() -> tuple[str, ...]:
    """Return the names of the captures that ship with vfiokit."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _EXAMPLES.glob(f"*{_SUFFIX}")))


def open_source(root: str | os.PathLike[str] = "/") -> Source:
    """Open a root: ``/`` for this host, a directory, a capture, or ``example[:NAME]``.

    :raises BadRoot: if it is none of these.
    :raises BadCapture: if it is an archive that cannot be opened.
    """
    text = os.fspath(root)
    if text == "example" or text.startswith("example:"):
        return _open_example(text.partition(":")[2] or DEFAULT_EXAMPLE)
    path = Path(text)
    if path.is_dir():
        return LiveSource() if path.resolve() == Path("/") else DirectorySource(text)
    return _open_file(path, text)


def _open_example(name: str) -> Source:
    if name not in example_names():
        raise BadRoot(
            "no such example",
            operation="open",
            subject=f"example:{name}",
            hint="one of: " + ", ".join(example_names()),
        )
    return _open_file(_EXAMPLES / f"{name}{_SUFFIX}", f"example:{name}")


def _open_file(path: Path, name: str) -> Source:
    # Imported here: tarfile and the decompressors cost more than a whole listing of the live host.
    from vfiokit.sysfs.archive import is_archive, open_archive

    try:
        if not path.is_file():
            raise BadRoot(
                "no such file or directory"
                if not path.exists()
                else "neither a directory nor a regular file",
                operation="open",
                subject=name,
                hint=_HINT,
            )
        if path.stat().st_size > _MAX_FILE:
            raise BadRoot(f"larger than {_MAX_FILE >> 20} MiB", operation="open", subject=name, hint=_HINT)
        data = path.read_bytes()
    except OSError as error:
        raise BadRoot(
            error.strerror or str(error), operation="open", subject=name, errno=error.errno
        ) from error
    if not is_archive(data[:512]):
        raise BadRoot("not an archive", operation="open", subject=name, hint=_HINT)
    return open_archive(data, name)

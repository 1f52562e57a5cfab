"""The guest's first file system: busybox, our init, the modules that reach the root, a run's settings."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from .kernel import Kernel

INSIDE = Path(__file__).parent / "inside"
APPLETS = ("sh", "cat", "cp", "insmod", "mkdir", "mount", "switch_root")
ROOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""What must be loaded, with its dependencies, before the root is there; any may be built in."""

Entry = tuple[str, int, bytes]
"""Path, mode with file type, content."""


def initramfs(kernel: Kernel, lab_files: Mapping[str, str]) -> bytes:
    """Build the archive for one run; the lab files appear in /lab."""
    directories = [(name, 0o040755, b"") for name in ("bin", "dev", "lab", "modules", "proc", "sys")]
    lab = [(f"lab/{name}", 0o100644, text.encode()) for name, text in lab_files.items()]
    session = ("lab/session", 0o100644, (INSIDE / "session").read_bytes())
    return archive([*directories, *_busybox(), *_modules(kernel), session, *lab])


def archive(entries: list[Entry]) -> bytes:
    """Pack entries in the "newc" form of cpio, the one that Linux unpacks."""
    trailer = ("TRAILER!!!", 0, b"")
    return b"".join(_newc(number, *entry) for number, entry in enumerate([*entries, trailer], 1))


def _newc(number: int, path: str, mode: int, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device (4 numbers), length of the name, checksum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def find_busybox() -> Path | None:
    """Return the statically linked busybox, if there is one."""
    for name in ("busybox-static", "busybox"):
        path = shutil.which(name)
        # A static program has no interpreter: ldd, unlike file, is on every distribution.
        if path and subprocess.run(["ldd", path], capture_output=True, check=False).returncode:
            return Path(path)
    return None


def _busybox() -> Iterator[Entry]:
    busybox = find_busybox()
    if busybox is None:
        raise FileNotFoundError("no statically linked busybox")
    yield "bin/busybox", 0o100755, busybox.read_bytes()
    for applet in APPLETS:
        yield f"bin/{applet}", 0o120777, b"busybox"
    yield "init", 0o100755, (INSIDE / "init").read_bytes()


def _modules(kernel: Kernel) -> Iterator[Entry]:
    paths = _load_order(kernel.modules) if kernel.modules else []
    for path in paths:
        data = path.read_bytes()
        yield f"modules/{_plain(path)}", 0o100644, lzma.decompress(data) if path.suffix == ".xz" else data
    yield "modules/order", 0o100644, "\n".join(map(_plain, paths)).encode()


def _load_order(modules: Path) -> list[Path]:
    """Return the files of ROOT_MODULES and of all they need, dependencies first."""
    lines = (modules / "modules.dep").read_text().splitlines()
    needs = dict(line.split(":", 1) for line in lines)
    names = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in needs}
    wanted = [names[name] for name in ROOT_MODULES if name in names]
    # modules.dep lists what a module needs with the first to load last.
    ordered = [need for path in wanted for need in (*reversed(needs[path].split()), path)]
    return [modules / path for path in dict.fromkeys(ordered)]


def _plain(path: Path) -> str:
    return path.name.removesuffix(".xz")

"""The running kernel: its writer and its prober."""

import errno
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

from vfiokit.binding.goal import Owner
from vfiokit.binding.kernel_status import group_viable
from vfiokit.binding.netlink import read_namespaces
from vfiokit.binding.prober import NetworkView, Prober
from vfiokit.binding.worker import Worker
from vfiokit.errors import WriteStuck
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.live import LiveSource
from vfiokit.sysfs.source import DeviceNumber, Source

__all__ = ["LiveProber", "LiveWriter"]

_FIRST_BYTES = 0x11000
_SIGNATURES = (
    (0x218, b"LABELONE", "LVM"),
    (0x18, b"LABELONE", "LVM"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "md"),
    (0x0, b"LUKS\xba\xbe", "LUKS"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0x0, b"XFSB", "xfs"),
    (0x438, b"\x53\xef", "ext"),
    (0xFF6, b"SWAPSPACE2", "swap"),
    (0x200, b"EFI PART", "GPT"),
    (0x1FE, b"\x55\xaa", "MBR"),
)
"""Where what stands on a disk (file systems, then partition tables: their own headers at fixed offsets)."""


class LiveProber:
    """Asks the kernel that it runs on. Needs root; without, answers are unknown."""

    def network(self) -> NetworkView | Unknown:
        """Return interfaces, addresses and routes of all namespaces and all tables."""
        return read_namespaces()

    def claimed(self, name: str, number: DeviceNumber | None) -> bool | Unknown:
        """Whether the kernel refuses to open a block device exclusively."""
        try:
            os.close(_open(name, number, os.O_EXCL))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return True
            # A disk without a medium, or one that takes no commands now, holds nothing of the host.
            if error.errno in (errno.ENOMEDIUM, errno.ENXIO):
                return False
            return Unknown(error.strerror or str(error))
        return False

    def signature(self, name: str, number: DeviceNumber | None) -> str | Unknown:
        """Return what the first bytes of a block device are."""
        try:
            descriptor = _open(name, number, 0)
        except OSError as error:
            return Unknown(error.strerror or str(error))
        try:
            data = os.pread(descriptor, _FIRST_BYTES, 0)
        except OSError as error:
            return Unknown(error.strerror or str(error))
        finally:
            os.close(descriptor)
        return next((title for at, magic, title in _SIGNATURES if data[at : at + len(magic)] == magic), "")


class LiveWriter:
    """Writes to the kernel that it runs on. Needs root. Synchronization: one transaction at a time.

    Close it, or use it in a ``with`` block: it keeps a child for the writes.
    """

    def __init__(self) -> None:
        self.source: Source = LiveSource()
        self.prober: Prober = LiveProber()
        self._worker = Worker()

    def __enter__(self) -> "LiveWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child; another write starts another."""
        self._worker.close()

    def write(self, path: str, text: str, limit: float) -> None:
        """Write *text* to a file in one write."""
        self._worker.write(f"/{path}", text, limit)

    def load(self, module: str, limit: float) -> None:
        """Load a module through modprobe, which finds what it depends on."""
        program = shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            raise OSError(errno.ENOENT, "no modprobe on this host", module)
        process = subprocess.Popen(
            [program, "--", module],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            raise WriteStuck(
                f"no answer within {limit:g} s: pid {process.pid}", operation="load module", subject=module
            ) from None
        if process.returncode:
            raise OSError(errno.ENOENT, said.decode("utf-8", "replace").strip().split("\n")[-1], module)

    def own(self, path: str, owner: Owner) -> Owner:
        """Change owner and mode of a node and return what they were."""
        full = f"/{path}"
        status = os.lstat(full)
        if owner.uid is not None or owner.gid is not None:
            os.chown(
                full,
                -1 if owner.uid is None else owner.uid,
                -1 if owner.gid is None else owner.gid,
                follow_symlinks=False,
            )
        if owner.mode is not None:
            os.chmod(full, owner.mode)
        return Owner(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))

    def viable(self, group: int) -> bool | Unknown:
        """Ask the kernel whether a VFIO user may own a group."""
        return group_viable(group)

    def now(self) -> float:
        """Return the monotonic clock."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def boot_id(self) -> str:
        """Return the kernel's identifier of this boot."""
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _open(name: str, number: DeviceNumber | None, flags: int) -> int:
    """Open a block device for reading, if its node is what sysfs says."""
    path = f"/dev/{name.replace('!', '/')}"
    status = os.stat(path)
    if number is not None and (os.major(status.st_rdev), os.minor(status.st_rdev)) != number[1:]:
        raise OSError(errno.ENODEV, "its node has another number", path)
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)

"""How much memory this process may pin, and what that means for a mapping that was refused."""

import resource
from dataclasses import dataclass

from vfiokit.sysfs.source import Source
from vfiokit.vfio.errors import MemlockExceeded

__all__ = ["Memlock", "memlock"]

_CAP_IPC_LOCK = 14


@dataclass(frozen=True, slots=True)
class Memlock:
    """The limit and what stands against it.

    :ivar limit: bytes that may be locked, or ``None`` for no limit.
    :ivar used: bytes this process has locked (``VmLck``), which is what a container counts.
    """

    limit: int | None
    used: int

    def refuses(self, needed: int) -> bool:
        """Whether a container would refuse *needed* bytes more."""
        return self.limit is not None and self.used + needed > self.limit

    def error(self, needed: int, subject: str, errno: int | None = None) -> MemlockExceeded:
        """Say which limit a mapping of *needed* bytes meets."""
        limit = self.limit if self.limit is not None else 0
        return MemlockExceeded(
            f"{needed} bytes more do not fit RLIMIT_MEMLOCK of {limit} bytes, of which {self.used} are used",
            operation="map",
            subject=subject,
            errno=errno,
            hint="ulimit -l, LimitMEMLOCK= of a systemd unit, or CAP_IPC_LOCK",
            limit=limit,
            used=self.used,
            needed=needed,
        )


def memlock(source: Source, soft: int | None = None) -> Memlock:
    """Read the limit of this process; none for one with ``CAP_IPC_LOCK``.

    :param soft: the limit in bytes, if it is not to be asked of the system.
    """
    rows = dict(
        line.split(":", 1) for line in source.read("proc/self/status").decode().splitlines() if ":" in line
    )
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] if soft is None else soft
    exempt = int(rows.get("CapEff", "0"), 16) >> _CAP_IPC_LOCK & 1
    unlimited = exempt or limit in (resource.RLIM_INFINITY, -1)
    used = int(rows.get("VmLck", "0 kB").split()[0]) * 1024
    return Memlock(None if unlimited else limit, used)

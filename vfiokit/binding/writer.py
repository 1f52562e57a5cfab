"""The hands of a transaction, behind one protocol: the running kernel's or a simulated one's."""

from typing import Protocol

from vfiokit.binding.goal import Owner
from vfiokit.binding.prober import Prober
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.source import Source

__all__ = ["Writer"]


class Writer(Protocol):
    """Writes to a kernel and reads back from it. Synchronization: one transaction at a time."""

    source: Source
    """What is read back from."""
    prober: Prober
    """Asks for what is in no file."""

    def write(self, path: str, text: str, limit: float) -> None:
        """Write *text* to the file at *path*, from the root, in one write.

        :param limit: seconds after which it counts as stuck.
        :raises OSError: with the number that the kernel answered.
        :raises WriteStuck: if the kernel does not answer; the write may still happen, at any time.
        """
        ...

    def load(self, module: str, limit: float) -> None:
        """Load a kernel module; loaded already is no error.

        :raises OSError: ENOENT if there is no such module.
        :raises WriteStuck: if it does not return.
        """
        ...

    def own(self, path: str, owner: Owner) -> Owner:
        """Give a node to somebody and return who had it."""
        ...

    def viable(self, group: int) -> bool | Unknown:
        """Ask the kernel whether a VFIO user may own a group; unknown where it cannot be asked."""
        ...

    def now(self) -> float:
        """Return seconds of a clock that only goes forward."""
        ...

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def boot_id(self) -> str:
        """Return what is different after every boot."""
        ...

    def close(self) -> None:
        """Let go of what it keeps for writing; another write may follow."""
        ...

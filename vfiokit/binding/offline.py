"""A writer that writes nothing: what plans are made with for a host that is not this one."""

from vfiokit.binding.goal import Owner
from vfiokit.binding.prober import NoProber, Prober
from vfiokit.errors import UsageError
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.source import Source

__all__ = ["OfflineWriter"]


class OfflineWriter:
    """Reads a source; refuses to change it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.prober: Prober = NoProber()

    def write(self, path: str, text: str, limit: float) -> None:
        """Refuse."""
        raise self._refusal()

    def load(self, module: str, limit: float) -> None:
        """Refuse."""
        raise self._refusal()

    def own(self, path: str, owner: Owner) -> Owner:
        """Refuse."""
        raise self._refusal()

    def viable(self, group: int) -> bool | Unknown:
        """Return that it is unknown."""
        return Unknown("only the running kernel can be asked")

    def now(self) -> float:
        """Return that no time passes."""
        return 0.0

    def pause(self, seconds: float) -> None:
        """Do nothing."""

    def boot_id(self) -> str:
        """Return nothing: it is not running."""
        return ""

    def close(self) -> None:
        """Do nothing."""

    def _refusal(self) -> UsageError:
        return UsageError(
            "only the running host can be changed",
            operation="write",
            subject=self.source.name,
            hint="plan works on any root",
        )

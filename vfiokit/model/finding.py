"""What an analysis concludes: one row for text, JSON and tests alike."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """How much a finding weighs."""

    INFO = "info"
    """Worth knowing; nothing is wrong."""
    WARNING = "warning"
    """It works, but not as safely or as well as it seems."""
    ERROR = "error"
    """It keeps VFIO from owning the subject."""
    UNKNOWN = "unknown"
    """It could not be determined, which is never a pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One conclusion about one subject.

    :ivar code: a stable identifier, ``kebab-case``.
    :ivar severity: how much it weighs.
    :ivar subject: a PCI address, ``group N``, an IOMMU unit's name or ``host``.
    :ivar message: one sentence for people.
    :ivar evidence: what it rests on: attributes and values as read.
    :ivar remedies: what to do, in order of preference.
    """

    code: str
    severity: Severity
    subject: str
    message: str
    evidence: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()

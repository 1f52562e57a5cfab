"""Plain lines: for pipes, for logs, and for what people paste in forums."""

from collections.abc import Iterable, Iterator

from vfiokit.address import PciAddress
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.unknown import Unknown
from vfiokit.render.view import GroupView, Names, device_marks, title

__all__ = ["finding_lines", "forum_lines", "group_lines"]

_SIGNS = {
    Severity.INFO: "note",
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
    Severity.UNKNOWN: "unknown",
}


def group_lines(views: Iterable[GroupView], names: Names) -> Iterator[str]:
    """Yield a line for each group and one, indented, for each function in it."""
    for view in views:
        yield f"group {view.group.id}  {view.type}  {view.verdict}"
        for device in view.devices:
            yield f"  {title(device, names)}  ({', '.join(device_marks(device))})"
        for other in view.group.others:
            yield f"  {other}  (not a PCI function)"


def forum_lines(views: Iterable[GroupView], names: Names) -> Iterator[str]:
    """Yield the block that people paste: the group, then lspci's line of each function."""
    views = tuple(views)
    short = all(device.address.domain == 0 for view in views for device in view.devices)
    for view in views:
        yield f"IOMMU Group {view.group.id}:"
        for device in view.devices:
            revision = device.revision
            shown = "" if isinstance(revision, Unknown) or not revision else f" (rev {revision:02x})"
            yield f"\t{title(device, names, _address(device.address, short=short))}{shown}"


def finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield each finding with its evidence and what to do."""
    for finding in findings:
        yield f"{_SIGNS[finding.severity]}: {finding.message} [{finding.code}]"
        for fact in finding.evidence:
            yield f"  seen: {fact}"
        for number, remedy in enumerate(finding.remedies, 1):
            yield f"  {number}. {remedy}"


def _address(address: PciAddress, *, short: bool) -> str:
    return str(address)[5:] if short else str(address)

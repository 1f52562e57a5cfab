"""What ``translate``, ``mappings`` and ``overlaps`` say: lines and objects."""

from collections.abc import Sequence

from vfiokit.address import PciAddress
from vfiokit.render.json import Object
from vfiokit.translation.audit import Mapping
from vfiokit.translation.overlap import Overlap
from vfiokit.translation.reach import DomainReach
from vfiokit.translation.requests import Fault, Outcome

__all__ = [
    "domain_title",
    "mapping_line",
    "mapping_object",
    "outcome_line",
    "outcome_object",
    "overlap_line",
    "overlap_object",
    "source_text",
]


def source_text(source_id: int) -> str:
    """Return a source-id as bus, device and function.

    >>> source_text(0x28)
    '00:05.0'
    """
    return str(PciAddress.from_source_id(0, source_id))[5:]


def outcome_line(outcome: Outcome) -> str:
    """Return one line on one request."""
    request = outcome.request
    asked = f"{source_text(request.source_id)} {request.access.letters} {request.address:#x}"
    if isinstance(outcome, Fault):
        code = f" [fault reason {outcome.code:#04x}]" if outcome.code is not None else ""
        silent = "" if outcome.recorded else " (not recorded)"
        return f"{asked}  blocked: {outcome.message}{code}{silent}"
    page = f"page of {outcome.page_size:#x}" if outcome.level else "untranslated"
    return f"{asked}  {outcome.address:#x}  {outcome.permissions.letters}  {page}"


def outcome_object(outcome: Outcome) -> Object:
    """Return one request with its outcome and what was read."""
    request = outcome.request
    body: Object = {
        "source": source_text(request.source_id),
        "iova": request.address,
        "access": request.access.letters,
        "pasid": request.pasid,
        "domain_id": outcome.domain_id,
        "level": outcome.level,
    }
    if isinstance(outcome, Fault):
        body |= {
            "address": None,
            "reason": outcome.reason.name.lower(),
            "message": outcome.message,
            "code": outcome.code,
            "recorded": outcome.recorded,
        }
    else:
        body |= {
            "address": outcome.address,
            "page_size": outcome.page_size,
            "permissions": outcome.permissions.letters,
        }
    body["reads"] = [
        {
            "structure": read.structure,
            "address": read.address,
            "words": list(read.words),
            "level": read.level,
        }
        for read in outcome.reads
    ]
    return body


def domain_title(domain: DomainReach) -> str:
    """Return the heading of a domain's mappings."""
    found = domain.dump
    size = sum(mapping.size for mapping in found.mappings)
    stopped = f"; stopped at {found.stopped_at:#x}" if found.stopped_at is not None else ""
    number = "" if domain.domain_id is None else f" {domain.domain_id}"
    return (
        f"domain{number}  {_sources(domain)}"
        f"  ({domain.tables}; {size:#x} bytes in {len(found.mappings)} runs{stopped})"
    )


def mapping_line(mapping: Mapping) -> str:
    """Return one run of addresses."""
    return f"  {mapping.iova_range} -> {mapping.physical_range}  {mapping.access.letters}"


def mapping_object(mapping: Mapping) -> Object:
    """Return one run of addresses."""
    return {
        "iova": mapping.iova,
        "address": mapping.address,
        "size": mapping.size,
        "access": mapping.access.letters,
    }


def overlap_line(overlap: Overlap[int], domains: Sequence[DomainReach]) -> str:
    """Return one stretch of host memory that two domains reach."""
    names = [_sources(domain) for domain in domains]
    kind = "writable" if overlap.writable else "read only"
    return (
        f"{overlap.range}  {kind}: {names[overlap.one]} ({overlap.one_access.letters})"
        f" and {names[overlap.other]} ({overlap.other_access.letters})"
    )


def overlap_object(overlap: Overlap[int], domains: Sequence[DomainReach]) -> Object:
    """Return one stretch of host memory that two domains reach."""
    sources = [[source_text(source) for source in domain.sources] for domain in domains]
    return {
        "start": overlap.range.start,
        "end": overlap.range.end,
        "writable": overlap.writable,
        "sources": [sources[overlap.one], sources[overlap.other]],
        "access": [overlap.one_access.letters, overlap.other_access.letters],
    }


def _sources(domain: DomainReach) -> str:
    return ", ".join(map(source_text, domain.sources))

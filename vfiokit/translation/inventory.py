"""Who is in the tables: every requester with an entry, and the domains that they share."""

from collections.abc import Iterator
from dataclasses import dataclass

from vfiokit.translation.amdvi import DEVICE_TABLE_ENTRY
from vfiokit.translation.batch import dump
from vfiokit.translation.descriptor import Descriptor, Refusal
from vfiokit.translation.iommu import AmdIommu, Iommu
from vfiokit.translation.overlap import ReverseMap
from vfiokit.translation.requests import Access, Request, Translation
from vfiokit.translation.vtd_rows import (
    CONTEXT_ENTRY,
    ROOT_ENTRY,
    SCALABLE_CONTEXT_ENTRY,
    TranslationTableMode,
)

__all__ = ["SharedDomain", "domains", "reach", "requesters"]

_ADDRESS = ~0xFFF


@dataclass(frozen=True, slots=True)
class SharedDomain:
    """Requesters whose requests go through the same tables.

    :ivar descriptor: how the first of them is translated.
    :ivar sources: their source-ids, in order.
    """

    descriptor: Descriptor
    sources: tuple[int, ...]

    @property
    def roots(self) -> tuple[int, int]:
        """The addresses of the first-stage and second-stage tables, 0 for none."""
        first, second = self.descriptor.first, self.descriptor.second
        return first.root if first else 0, second.root if second else 0


def requesters(unit: Iommu | AmdIommu) -> Iterator[int]:
    """Yield the source-ids that have an entry that is present or valid, in order."""
    if isinstance(unit, AmdIommu):
        for source_id in range(unit.unit.number_of_entries):
            word = unit.memory.read64(unit.unit.table + source_id * DEVICE_TABLE_ENTRY.size)
            if word is not None and word & 1:
                yield source_id
        return
    scalable = unit.unit.mode is TranslationTableMode.SCALABLE
    size = SCALABLE_CONTEXT_ENTRY.size if scalable else CONTEXT_ENTRY.size
    for bus in range(256):
        # A scalable-mode root entry has a table for each half of the bus.
        for half in range(2 if scalable else 1):
            root = unit.memory.read64(unit.unit.root_table + bus * ROOT_ENTRY.size + 8 * half)
            if root is None or not root & 1:
                continue
            for index in range(0x1000 // size):
                word = unit.memory.read64((root & _ADDRESS) + index * size)
                if word is not None and word & 1:
                    yield bus << 8 | half << 7 | index


def domains(unit: Iommu | AmdIommu, sources: Iterator[int] | None = None) -> tuple[SharedDomain, ...]:
    """Gather requesters by the tables that they share; who has no tables, or an invalid entry, is left out.

    :param sources: who to look at; everybody in the tables if not given.
    """
    found: dict[tuple[int, int, int | None], tuple[Descriptor, list[int]]] = {}
    for source_id in requesters(unit) if sources is None else sources:
        descriptor = unit.describe(Request(source_id, 0))
        if isinstance(descriptor, Refusal) or descriptor.passes_through:
            continue
        first, second = descriptor.first, descriptor.second
        key = (first.root if first else 0, second.root if second else 0, descriptor.domain_id)
        found.setdefault(key, (descriptor, []))[1].append(source_id)
    return tuple(SharedDomain(descriptor, tuple(members)) for descriptor, members in found.values())


def reach(unit: Iommu | AmdIommu, source_id: int, address: int) -> tuple[Translation, ...]:
    """Return every way on which a requester reaches a host physical address; empty if there is none.

    Each is the translation of the address that leads there, with the entries on the way.
    """
    descriptor = unit.describe(Request(source_id, 0))
    if isinstance(descriptor, Refusal):
        return ()
    found = ReverseMap({source_id: dump(unit.memory, descriptor).mappings}).find(address)
    ways = []
    for _, iova, access in found:
        asked = Access.READ if access & Access.READ else Access.WRITE
        outcome = unit.finish(Request(source_id, iova, asked), descriptor)
        if isinstance(outcome, Translation):
            ways.append(outcome)
    return tuple(ways)

"""Caches of a unit, and their invalidation: so that a stale translation is a value that can be shown.

A unit may answer from what it read before until software invalidates it: the requester's entries, and the
translations, each tagged with the domain (VT-d 6.2). What is not present is not cached, but with caching
mode.

>>> Granularity.PAGES.name
'PAGES'
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from vfiokit.bits import align_down
from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.iommu import AmdIommu, Iommu
from vfiokit.translation.requests import Access, Fault, Outcome, Request, RequestType, Translation

__all__ = ["CachedIommu", "Granularity"]


class Granularity(IntEnum):
    """What an IOTLB invalidation drops: IIRG of IOTLB_REG (VT-d 11.4.9)."""

    GLOBAL = 1
    DOMAIN = 2
    PAGES = 3


@dataclass(frozen=True, slots=True)
class _Requester:
    """What tells requesters' entries apart."""

    source_id: int
    pasid: int | None
    type: RequestType
    executes: bool


@dataclass(frozen=True, slots=True)
class _Key:
    """What tells translations apart in the IOTLB."""

    domain_id: int | None
    source_id: int
    pasid: int | None
    privileged: bool


class CachedIommu:
    """A unit that keeps every translation until it is told to drop it: the most stale that hardware may be.

    :param unit: what walks when nothing is cached.
    """

    def __init__(self, unit: Iommu | AmdIommu) -> None:
        self.unit = unit
        self._descriptors: dict[_Requester, Descriptor] = {}
        self._pages: dict[_Key, dict[tuple[int, int], Translation]] = {}

    def translate(self, request: Request) -> Outcome:
        """Translate, from the caches where they have an answer."""
        key = _Requester(
            request.source_id, request.pasid, request.type, bool(request.access & Access.EXECUTE)
        )
        descriptor = self._descriptors.get(key)
        if descriptor is None:
            found = self.unit.translate(request)
            if isinstance(found, Fault) and found.level == 0:
                return found
            described = self.unit.describe(request)
            if not isinstance(described, Descriptor):
                return found
            descriptor = self._descriptors[key] = described
        hit = self._find(request, descriptor)
        if hit is not None and request.access & ~hit.permissions == 0:
            offset = request.address & hit.page_size - 1
            return replace(
                hit,
                request=request,
                address=align_down(hit.address, hit.page_size) | offset,
                reads=(),
                updates=(),
            )
        outcome = self.unit.finish(request, descriptor)
        if isinstance(outcome, Translation):
            page = align_down(request.address, outcome.page_size)
            pages = self._pages.setdefault(_key(request, descriptor), {})
            pages[page, outcome.page_size] = outcome
        return outcome

    def invalidate_iotlb(
        self,
        granularity: Granularity = Granularity.GLOBAL,
        domain_id: int = 0,
        address: int = 0,
        order: int = 0,
    ) -> None:
        """Drop translations: all, a domain's, or a domain's of ``2 ** order`` pages from *address* on.

        A page of any size that meets the range is dropped whole.
        """
        for key in list(self._pages):
            if granularity is Granularity.GLOBAL:
                del self._pages[key]
            elif key.domain_id == domain_id:
                self._drop(key, granularity, address, order)

    def invalidate_context(self, source_id: int | None = None) -> None:
        """Drop the requesters' entries, all or one's; translations stay until they are dropped too."""
        for key in list(self._descriptors):
            if source_id in (None, key.source_id):
                del self._descriptors[key]

    def flush(self) -> None:
        """Drop everything."""
        self.invalidate_context()
        self.invalidate_iotlb()

    def _find(self, request: Request, descriptor: Descriptor) -> Translation | None:
        for (page, size), hit in self._pages.get(_key(request, descriptor), {}).items():
            if page <= request.address < page + size:
                return hit
        return None

    def _drop(self, key: _Key, granularity: Granularity, address: int, order: int) -> None:
        if granularity is Granularity.DOMAIN:
            del self._pages[key]
            return
        span = 0x1000 << order
        start = align_down(address, span)
        pages = self._pages[key]
        for page, size in list(pages):
            if page < start + span and start < page + size:
                del pages[page, size]


def _key(request: Request, descriptor: Descriptor) -> _Key:
    privileged = request.privileged or descriptor.privileged
    return _Key(descriptor.domain_id, request.source_id, request.pasid, privileged)

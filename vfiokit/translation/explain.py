"""An outcome in words: every entry that was read, its fields, and the check that ended it.

>>> from vfiokit.translation.iommu import Iommu
>>> from vfiokit.translation.memory import ImageMemory
>>> from vfiokit.translation.requests import Request
>>> unit = Iommu(ImageMemory(bytes(4096)), rtaddr=0, cap=0x00d2008c222f0606, ecap=0x0000000000f00f4a)
>>> print(unit.explain(Request(source_id=0x28, address=0x1000)))
00:05.0 r-- 0x1000
  root entry at 0x0: 0x0000000000000000 0x0000000000000000
    nothing set
blocked: the root entry is not present (reason 0x1, recorded)
"""

from collections.abc import Iterator

from vfiokit.address import PciAddress
from vfiokit.translation.requests import Fault, Outcome, Read

__all__ = ["explain_outcome"]


def explain_outcome(outcome: Outcome) -> str:
    """Return what happened to a request, a line for each entry and its fields."""
    return "\n".join(_lines(outcome))


def _lines(outcome: Outcome) -> Iterator[str]:
    request = outcome.request
    pasid = f" PASID {request.pasid:#x}" if request.pasid is not None else ""
    source = str(PciAddress.from_source_id(0, request.source_id))[5:]
    yield f"{source}{pasid} {request.access.letters} {request.address:#x}"
    for read in outcome.reads:
        yield from _entry(read)
    if isinstance(outcome, Fault):
        code = f"reason {outcome.code:#x}, " if outcome.code is not None else ""
        yield f"blocked: {outcome.message} ({code}{'recorded' if outcome.recorded else 'not recorded'})"
        return
    page = f"in a page of {outcome.page_size:#x} bytes"
    yield f"goes to {outcome.address:#x}, {outcome.permissions.letters}, {page}"


def _entry(read: Read) -> Iterator[str]:
    level = f" of level {read.level}" if read.level else ""
    if not read.words:
        yield f"  {read.structure}{level} at {read.address:#x}: outside memory"
        return
    words = " ".join(f"{word:#018x}" for word in read.words)
    yield f"  {read.structure}{level} at {read.address:#x}: {words}"
    shown = [f"{name}={value:#x}" for name, value in read.decode().items() if value]
    yield f"    {' '.join(shown) or 'nothing set'}"

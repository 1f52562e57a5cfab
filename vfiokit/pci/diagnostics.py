"""What is wrong with a config space, or missing from it: every hazard is data with a code."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vfiokit.model.finding import Severity
from vfiokit.pci.capabilities import Hazard
from vfiokit.pci.image import EXTENDED_SIZE, Image, Origin
from vfiokit.pci.structure import Structure

__all__ = ["Code", "Diagnostic", "examine", "walked"]


class Code(StrEnum):
    """What a diagnostic is about; the names are stable."""

    UNPRIVILEGED = "unprivileged"
    HEADER_ONLY = "header-only"
    TRUNCATED = "truncated"
    GONE = "gone"
    TORN = "torn"
    UNKNOWN_HEADER = "unknown-header"
    LIST_LOOP = "list-loop"
    LIST_BROKEN = "list-broken"
    LIST_MISALIGNED = "list-misaligned"
    POINTER_IN_HEADER = "pointer-in-header"
    EXTENDED_LOOP = "extended-loop"
    EXTENDED_BROKEN = "extended-broken"
    EXTENDED_MISALIGNED = "extended-misaligned"
    POINTER_BELOW_EXTENDED = "pointer-below-extended"
    ALIASED = "aliased"
    UNREACHABLE = "unreachable"
    VERSION_ZERO = "version-zero"
    ID_ONES = "id-ones"
    OVERLAP = "overlap"
    PAST_END = "past-end"
    LENGTH = "length"
    BROKEN_64BIT_BAR = "broken-64bit-bar"
    MSIX_OUTSIDE_BAR = "msix-outside-bar"
    REBAR_COUNT = "rebar-count"
    EA_ENTRY = "ea-entry"


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One thing that is wrong or missing.

    :ivar offset: where, in bytes.
    :ivar code: what, for programs.
    :ivar message: what, for people.
    :ivar severity: how much it matters.
    """

    offset: int
    code: Code
    message: str
    severity: Severity = Severity.WARNING


class Space(Protocol):
    """What is examined."""

    image: Image

    @property
    def header_type(self) -> int:
        """Header layout."""
        ...

    @property
    def is_gone(self) -> bool:
        """Whether it reads as all ones."""
        ...

    @property
    def is_aliased(self) -> bool:
        """Whether the extended space is the header again."""
        ...

    @property
    def may_be_extended(self) -> bool:
        """Whether there may be an extended space."""
        ...


_HEADER_SIZE, _CARDBUS_SIZE, _CONVENTIONAL_SIZE = 64, 128, 256
_STATUS_CAP_LIST = 0x10
_HAZARDS = {
    (False, Hazard.LOOP): (Code.LIST_LOOP, "the list comes back to {:#x}"),
    (False, Hazard.BROKEN): (Code.LIST_BROKEN, "the list leads to {:#x}, which reads as ones"),
    (False, Hazard.MISALIGNED): (Code.LIST_MISALIGNED, "pointer {:#x} is not a multiple of 4"),
    (False, Hazard.POINTER): (Code.POINTER_IN_HEADER, "a pointer leads to {:#x}, into the header"),
    (True, Hazard.LOOP): (Code.EXTENDED_LOOP, "the extended list comes back to {:#x}"),
    (True, Hazard.BROKEN): (Code.EXTENDED_BROKEN, "the extended list leads to {:#x}, which is empty"),
    (True, Hazard.MISALIGNED): (Code.EXTENDED_MISALIGNED, "extended pointer {:#x} is not a multiple of 4"),
    (True, Hazard.POINTER): (Code.POINTER_BELOW_EXTENDED, "an extended pointer leads to {:#x}, below 0x100"),
    (True, Hazard.UNREADABLE): (Code.UNREACHABLE, "the extended list leads to {:#x}, which cannot be read"),
}
_BAR_COUNTS = {0: 6, 1: 2, 2: 1}


def walked(space: Space, hazard: Hazard, offset: int, *, extended: bool) -> Diagnostic:
    """Turn what ended a list into a diagnostic."""
    if hazard is Hazard.UNREADABLE and not extended:
        return _unreadable(space, offset)
    code, message = _HAZARDS[extended, hazard]
    return Diagnostic(offset, code, message.format(offset))


def _unreadable(space: Space, offset: int) -> Diagnostic:
    """Tell a kernel that hides from an unprivileged reader from a dump that is short."""
    limit = space.image.limit
    only_header = limit == (_CARDBUS_SIZE if space.header_type == 2 else _HEADER_SIZE)
    if only_header and space.image.origin is Origin.KERNEL:
        return Diagnostic(
            limit,
            Code.UNPRIVILEGED,
            f"the kernel shows {limit} bytes without CAP_SYS_ADMIN: capabilities are hidden",
            Severity.UNKNOWN,
        )
    if only_header or limit == _HEADER_SIZE:
        return Diagnostic(
            limit,
            Code.HEADER_ONLY,
            f"there are only {limit} bytes, the header: it was recorded without -xxx or without privilege",
            Severity.UNKNOWN,
        )
    return Diagnostic(
        limit,
        Code.TRUNCATED,
        f"it ends at {limit:#x}, the list leads to {offset:#x}",
        Severity.UNKNOWN,
    )


def examine(space: Space, structures: Sequence[Structure]) -> Iterator[Diagnostic]:
    """Yield what is wrong with the bytes and with the structures in them."""
    if space.is_gone:
        yield Diagnostic(0, Code.GONE, "it reads as all ones: the function does not answer", Severity.ERROR)
        return
    yield from _of_space(space)
    for each in structures:
        yield from _of_structure(space, each)
    yield from _overlaps(structures)
    yield from _bars(space)


def _of_space(space: Space) -> Iterator[Diagnostic]:
    image, kind = space.image, space.header_type
    if kind > 2:
        yield Diagnostic(0x0E, Code.UNKNOWN_HEADER, f"header type {kind:#x} is none", Severity.ERROR)
    if image.origin is not Origin.KERNEL and image.limit not in (64, 128, 256, EXTENDED_SIZE):
        yield Diagnostic(image.limit, Code.TRUNCATED, f"it has {image.limit} bytes", Severity.UNKNOWN)
    rest = bytes(image.data[_HEADER_SIZE : min(image.limit, _CONVENTIONAL_SIZE)])
    if image.origin is not Origin.KERNEL and rest and rest == b"\xff" * len(rest):
        yield Diagnostic(
            _HEADER_SIZE, Code.TORN, "all beyond the header are ones: it went away while it was read"
        )
    if space.may_be_extended and space.is_aliased:
        yield Diagnostic(0x100, Code.ALIASED, "the space from 0x100 on is the header again")


def _of_structure(space: Space, structure: Structure) -> Iterator[Diagnostic]:
    where = structure.offset
    if structure.layout.truncated:
        yield Diagnostic(
            where, Code.PAST_END, f"{structure.name} goes past the end at {space.image.limit:#x}"
        )
    if structure.is_extended and structure.version == 0 and structure.id:
        yield Diagnostic(where, Code.VERSION_ZERO, f"{structure.name} has version 0", Severity.INFO)
    if structure.is_extended and structure.id == 0xFFFF:
        yield Diagnostic(where, Code.ID_ONES, "an extended capability has the identifier 0xffff")
    check = _CHECKS.get(structure.name)
    if check is not None:
        yield from check(space, structure)
    length = structure.get("Head.Length") if structure.name == "VSEC" else structure.get("Head1.Length")
    if isinstance(length, int) and not (length >= 8 and where + length <= EXTENDED_SIZE):
        yield Diagnostic(where, Code.LENGTH, f"{structure.name} says that it has {length} bytes")


def _overlaps(structures: Sequence[Structure]) -> Iterator[Diagnostic]:
    ordered = sorted(structures, key=lambda each: each.offset)
    for one, other in itertools.pairwise(ordered):
        if other.offset < one.offset + one.size and other.offset != one.offset:
            yield Diagnostic(
                other.offset,
                Code.OVERLAP,
                f"{other.name} starts inside of {one.name}, which has {one.size} bytes from {one.offset:#x}",
            )


def _bars(space: Space) -> Iterator[Diagnostic]:
    count = _BAR_COUNTS.get(space.header_type, 0)
    index = 0
    while index < count:
        low = int.from_bytes(space.image.data[0x10 + 4 * index : 0x14 + 4 * index], "little")
        wide = not low & 1 and low & 6 == 4
        if wide and index == count - 1:
            where = 0x10 + 4 * index
            yield Diagnostic(
                where, Code.BROKEN_64BIT_BAR, f"BAR {index} says 64-bit, and there is none after it"
            )
        index += 1 + wide


def _msix(space: Space, structure: Structure) -> Iterator[Diagnostic]:
    count = _BAR_COUNTS.get(space.header_type, 0)
    for name in ("Table", "PBA"):
        bir = structure.get(f"{name}.BIR")
        if isinstance(bir, int) and bir >= count:
            yield Diagnostic(
                structure.offset,
                Code.MSIX_OUTSIDE_BAR,
                f"the MSI-X {name} is in BAR {bir}, which there is not",
            )


def _rebar(space: Space, structure: Structure) -> Iterator[Diagnostic]:
    count = structure.get("Bar0Control.Count")
    if isinstance(count, int) and not 0 < count <= 6:
        yield Diagnostic(
            structure.offset, Code.REBAR_COUNT, f"{structure.name} says that it has {count} BARs"
        )


def _allocation(space: Space, structure: Structure) -> Iterator[Diagnostic]:
    number = 0
    while (size := structure.get(f"Entry{number}Head.Size")) is not None:
        needed = 2
        needed += structure.get(f"Entry{number}Base.Wide") is True
        needed += structure.get(f"Entry{number}MaxOffset.Wide") is True
        if int(size) < needed:
            yield Diagnostic(
                structure.offset,
                Code.EA_ENTRY,
                f"entry {number} of Enhanced Allocation has {size} dwords, it needs {needed}",
            )
        number += 1


_CHECKS = {"MSIX": _msix, "ReBAR": _rebar, "VFReBAR": _rebar, "EA": _allocation}

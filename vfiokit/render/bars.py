"""Ranges of addresses for people and for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vfiokit.address import PciAddress
from vfiokit.pci.bars import Bar, Needs
from vfiokit.render.config_json import bar_object

__all__ = ["bar_lines", "bar_text", "bars_object", "needs_lines", "size_text"]

_UNITS = ("", "K", "M", "G", "T", "P", "E")


def size_text(size: int) -> str:
    """Return a size in the largest unit that divides it.

    >>> size_text(1 << 20), size_text(3 << 10), size_text(100)
    ('1M', '3K', '100')
    """
    unit = 0
    while size and size % 1024 == 0 and unit < len(_UNITS) - 1:
        size, unit = size // 1024, unit + 1
    return f"{size}{_UNITS[unit]}"


def bar_lines(found: Mapping[PciAddress, Sequence[Bar]]) -> Iterator[str]:
    """Yield functions with their ranges, a line each; functions without any are left out."""
    for address, ranges in found.items():
        if not ranges:
            continue
        yield str(address)
        for bar in ranges:
            yield f"  {bar_text(bar)}"


def bar_text(bar: Bar) -> str:
    """Return a range on one line, disagreements at its end."""
    kind = "I/O" if bar.is_io else "memory"
    prefetchable = "" if bar.is_io else " prefetchable" if bar.prefetchable else " non-prefetchable"
    size = f"{size_text(bar.size)} ({bar.size_source})" if bar.size else "size unknown"
    address = "unassigned" if bar.address is None else f"{bar.address:#x}"
    if "closed" in bar.marks:
        return f"{bar.label:<20} closed"
    marks = [mark for mark in bar.marks if mark != "unassigned"]
    marks += [] if bar.enabled or bar.address is None else ["off"]
    marks += [f"possible: {' '.join(map(size_text, bar.possible))}"] if bar.possible else []
    tail = f" [{', '.join(marks)}]" if marks else ""
    said = "".join(f"; disagreement: {text}" for text in bar.disagreements)
    return f"{bar.label:<20} {address:<16} {size}, {bar.width}-bit {kind}{prefetchable}{tail}{said}"


def needs_lines(summary: Needs) -> Iterator[str]:
    """Yield what a virtual machine needs, a line for each kind of address space."""
    yield f"I/O ports                     {size_text(summary.io)}"
    yield (
        f"memory below 4G               {size_text(summary.memory_32)}, "
        f"a window of {size_text(summary.aligned_32)} aligned to {size_text(summary.alignment_32)}"
    )
    yield (
        f"prefetchable memory, 64-bit   {size_text(summary.prefetchable_64)}, "
        f"a window of {size_text(summary.aligned_64)} aligned to {size_text(summary.alignment_64)}"
    )
    if summary.unknown:
        yield f"of unknown size               {', '.join(summary.unknown)}"


def bars_object(
    found: Mapping[PciAddress, Sequence[Bar]], summary: Needs, clashes: Sequence[str]
) -> dict[str, Any]:
    """Return the body of the document of ``bars``."""
    return {
        "functions": [
            {"address": str(address), "bars": [bar_object(bar) for bar in ranges]}
            for address, ranges in found.items()
        ],
        "needs": asdict(summary),
        "conflicts": list(clashes),
    }

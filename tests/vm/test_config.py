"""Live config spaces of a guest: lspci, the kernel's own table and VFIO say what we say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.oracle.lspci import Said, said, values

from .asked import SIZED
from .guests import Report
from .named import NAMED

_FUNCTION = re.compile(r"\n(?=[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] )")
_REGION = re.compile(r"\tRegion (\d): (Memory|I/O ports) at (\S+) .*?(\[size=\w+\])?$", re.MULTILINE)
_WINDOW = re.compile(
    r"\t(I/O|Memory|Prefetchable memory) behind bridge: 0*([0-9a-f]+)-0*([0-9a-f]+) ", re.MULTILINE
)


@pytest.mark.skipif(not shutil.which("lspci"), reason="no lspci on this host, which the guest shares")
@pytest.mark.parametrize("name", NAMED)
def test_every_live_function_is_read_alike(name: str, named: Callable[[str], Report]) -> None:
    report = named(name)
    compare_texts(report.text("lspci.txt"), report.text("ours.txt"))
    found = {each["address"]: each["bars"] for each in report.json("bars.json")["functions"]}
    resources = report.json("resources.json")
    assert found.keys() == resources.keys()
    for address, lines in resources.items():
        compare_resources(address, found[address], lines)
    regions = report.json("regions.json")
    assert regions.keys() == {report.places[each] for each in SIZED.get(name, ())}
    for address, sizes in regions.items():
        compare_regions(address, found[address], sizes)
    reads = report.json("reads.json")
    assert sum(reads.values()) / len(reads) <= 256, reads


def compare_texts(its: str, own: str) -> None:
    """Compare capabilities, their values, regions and windows of every function."""
    one, other = functions(its), functions(own)
    assert one.keys() == other.keys()
    for address, text in one.items():
        ours = other[address]
        assert _REGION.findall(text) == _REGION.findall(ours), address
        assert set(_WINDOW.findall(ours)) <= set(_WINDOW.findall(text)), address
        both = said(text), said(ours)
        assert [each[:2] for each in both[0]] == [each[:2] for each in both[1]], address
        for mine, theirs in zip(*both, strict=True):
            assert differing(mine, theirs) == {}, (address, theirs.lines[0])


def functions(text: str) -> dict[str, str]:
    """Split a text by function; ours leaves out domain 0."""
    if not text.startswith("0000:"):
        text = re.sub(r"^(?=[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] )", "0000:", text, flags=re.MULTILINE)
    return {each.split(" ", 1)[0]: each for each in _FUNCTION.split(text)}


def differing(one: Said, other: Said) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
    """Return what both print of a capability, but with different values."""
    sides: tuple[dict[tuple[str, str], list[str]], ...] = ({}, {})
    for side, each in zip(sides, (one, other), strict=True):
        for label, name, value in values(each.lines):
            side.setdefault((label, name), []).append(value)
    shared = sides[0].keys() & sides[1].keys()
    return {key: (sides[0][key], sides[1][key]) for key in shared if sides[0][key] != sides[1][key]}


def compare_resources(address: str, bars: list[dict[str, Any]], lines: list[list[int]]) -> None:
    """Hold BARs and ROM against the arithmetic of `resource`."""
    found = {
        6 if bar["kind"] == "ROM" else bar["index"]: (bar["address"], bar["size"])
        for bar in bars
        if bar["kind"] in ("BAR", "ROM")
    }
    expected = {
        index: (start, end - start + 1) for index, (start, end, flags) in enumerate(lines[:7]) if flags
    }
    assert found == expected, address


def compare_regions(address: str, bars: list[dict[str, Any]], regions: list[int | None]) -> None:
    """Hold sizes of BARs against VFIO's regions 0 to 5, and that of the ROM, which may be hidden."""
    sizes = {bar["index"]: bar["size"] for bar in bars if bar["kind"] == "BAR"}
    assert {index: size for index, size in enumerate(regions[:6]) if size} == sizes, address
    rom = next((bar["size"] for bar in bars if bar["kind"] == "ROM"), 0)
    assert regions[6] in (rom, 0, None), address
    assert regions[7] in (256, 4096), address

"""BARs, ROMs and windows of recorded machines equal the arithmetic of their ``resource`` files."""

from collections import Counter
from pathlib import Path

import pytest

from tests.corpus.recordings import files
from vfiokit.pci.bars import Bar, Kind, bars
from vfiokit.pci.diagnostics import Code
from vfiokit.sysfs.function import FunctionFiles
from vfiokit.sysfs.roots import open_source
from vfiokit.sysfs.scan import Part, scan
from vfiokit.sysfs.source import Source


def _lines(text: bytes) -> list[tuple[int, int, int]]:
    return [tuple(int(word, 16) for word in line.split()) for line in text.decode().splitlines()]  # type: ignore[misc]


def _expected(files: FunctionFiles) -> dict[tuple[Kind, int], tuple[int, int]]:
    """Recompute address and size from the columns alone."""
    lines = _lines(files.text("resource") or b"")
    expected = {}
    for index, (start, end, flags) in enumerate(lines[:7]):
        if flags:
            kind, number = (Kind.BAR, index) if index < 6 else (Kind.ROM, 0)
            expected[kind, number] = (start, end - start + 1)
    return expected


def _windows(files: FunctionFiles) -> set[tuple[int, int]]:
    lines = _lines(files.text("resource") or b"")
    if files.config().header_type != 1:
        return set()
    return {(start, end - start + 1) for start, end, flags in lines[7:] if flags and end > start}


@pytest.mark.parametrize("archive", files("hwloc", "*.tar.bz2"))
def test_ranges_are_those_of_resource(archive: Path) -> None:
    source = open_source(str(archive))
    counts: Counter[int] = Counter()
    for address in [device.address for device in scan(source, Part.LISTING).devices]:
        function = FunctionFiles(source, address)
        counts[len(_lines(function.text("resource") or b""))] += 1
        ranges = bars(function.config(), function.resources())
        found = {
            (bar.kind, bar.index): (bar.address, bar.size)
            for bar in ranges
            if bar.kind in (Kind.BAR, Kind.ROM)
        }
        assert found == _expected(function), address
        assert _open_windows(ranges) == _windows(function), address
    assert sum(counts.values()) > 5


def _open_windows(ranges: tuple[Bar, ...]) -> set[tuple[int, int]]:
    return {
        (bar.address or 0, bar.size)
        for bar in ranges
        if bar.kind is Kind.WINDOW and bar.size and bar.enabled
    }


@pytest.mark.parametrize("archive", files("hwloc", "*.tar.bz2"))
def test_the_64_byte_view_is_told_from_a_function_without_capabilities(archive: Path) -> None:
    source: Source = open_source(str(archive))
    seen: Counter[bool] = Counter()
    for address in [device.address for device in scan(source, Part.LISTING).devices]:
        function = FunctionFiles(source, address)
        config = source.read(f"{function.path}/config", 4096)
        hidden = len(config) == 64 and bool(config[6] & 0x10)
        codes = {each.code for each in function.config().diagnostics}
        assert (Code.UNPRIVILEGED in codes) == hidden, address
        seen[hidden] += 1
    assert seen[True]

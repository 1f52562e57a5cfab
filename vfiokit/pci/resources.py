"""The kernel's ``resource`` file of a function: what it assigned to BARs, ROM, VFs and windows."""

from typing import NamedTuple

__all__ = ["Flag", "Resource", "ResourceTable", "parse_resources"]

_BARS, _ROM, _VF_BARS, _WINDOWS = 6, 1, 6, 4


class Flag:
    """Bits of the third column (include/linux/ioport.h)."""

    IO = 0x100
    MEMORY = 0x200
    PREFETCH = 0x2000
    READ_ONLY = 0x4000
    SIZE_ALIGN = 0x40000
    WIDE = 0x100000
    WINDOW = 0x200000
    DISABLED = 0x10000000
    UNSET = 0x20000000
    BUSY = 0x80000000
    ROM_ENABLED = 0x1
    ROM_SHADOW = 0x2
    FIXED = 0x10
    ENHANCED_ALLOCATION = 0x20


class Resource(NamedTuple):
    """One line: where it starts and ends, the last byte included, and its flags.

    >>> Resource(0xfebf0000, 0xfebf3fff, 0x40200).size
    16384
    """

    start: int = 0
    end: int = 0
    flags: int = 0

    @property
    def is_absent(self) -> bool:
        """Whether there is nothing: all columns are 0."""
        return not (self.start or self.end or self.flags)

    @property
    def size(self) -> int:
        """Bytes; 0 for an absent one."""
        return 0 if self.is_absent or self.end < self.start else self.end - self.start + 1

    @property
    def is_io(self) -> bool:
        """Whether it is in I/O space."""
        return bool(self.flags & Flag.IO)

    @property
    def is_assigned(self) -> bool:
        """Whether its address means something."""
        return not self.is_absent and not self.flags & Flag.UNSET


class ResourceTable(NamedTuple):
    """The lines of one function by what they are about.

    :ivar bars: BARs 0 to 5; the upper half of a 64-bit one is absent.
    :ivar rom: the expansion ROM.
    :ivar vf_bars: for each VF BAR the space of all virtual functions; empty where the kernel shows none.
    :ivar windows: of a bridge: I/O, memory, prefetchable, and one more that is never used; empty for others.
    """

    bars: tuple[Resource, ...]
    rom: Resource
    vf_bars: tuple[Resource, ...] = ()
    windows: tuple[Resource, ...] = ()


def parse_resources(text: bytes) -> ResourceTable:
    """Read a ``resource`` file.

    Six BARs and the ROM come first. What follows depends on how the kernel was built and on the function:
    six lines of
    VF BARs with SR-IOV in the kernel, then the windows of a bridge, as flags tell; so the number of lines
    decides nothing.

    :raises ValueError: if a line is malformed or BARs are missing.
    """
    lines = [_line(line) for line in text.splitlines() if line.strip()]
    if len(lines) < _BARS:
        raise ValueError(f"{len(lines)} lines: a resource file has at least {_BARS}")
    lines += [Resource()] * (_BARS + _ROM - len(lines))
    rest = lines[_BARS + _ROM :]
    windows_at = _windows_at(rest)
    return ResourceTable(
        tuple(lines[:_BARS]),
        lines[_BARS],
        tuple(rest[:windows_at][:_VF_BARS]),
        tuple(rest[windows_at : windows_at + _WINDOWS]),
    )


def _windows_at(rest: list[Resource]) -> int:
    """Return where the windows start among the lines after the ROM.

    Newer kernels mark a window; in older ones it stands behind six lines of VF BARs, where there are six.
    """
    marked = next((index for index, each in enumerate(rest) if each.flags & Flag.WINDOW), None)
    if marked is not None and marked < _VF_BARS:
        return 0
    return _VF_BARS if len(rest) >= _VF_BARS else 0


def _line(line: bytes) -> Resource:
    columns = line.split()
    if len(columns) != 3:
        raise ValueError(f"{line!r} has no three columns")
    start, end, flags = (int(column, 16) for column in columns)
    return Resource(start, end, flags)

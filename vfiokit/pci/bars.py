"""BARs, ROM, windows and BARs of virtual functions: where each lies, how large it is, who says so.

A register says where a BAR is and not how large; its size comes from the kernel, from the resizable BAR
capability, from Enhanced Allocation or from VFIO. Physical BARs are never sized by writing: that unmaps a
device that may be in use.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.resources import Flag, Resource, ResourceTable
from vfiokit.pci.structure import Structure

__all__ = ["Bar", "Kind", "Needs", "SizeSource", "bars", "needs", "overlaps"]

_ONES = 0xFFFFFFFF
_BAR_COUNTS = {0: 6, 1: 2, 2: 1}
_ROM_AT = {0: 0x30, 1: 0x38}
_ROM_MASK = 0xFFFFF800
_MB = 1 << 20
_PAGE = 1 << 12


class Kind(StrEnum):
    """What a range of addresses belongs to."""

    BAR = "BAR"
    ROM = "ROM"
    WINDOW = "window"
    VF_BAR = "VF BAR"
    ENHANCED = "EA"


class SizeSource(StrEnum):
    """Who says how large something is."""

    RESOURCE = "kernel"
    REBAR = "resizable BAR capability"
    ENHANCED = "Enhanced Allocation"
    REGISTERS = "window registers"
    VFIO = "VFIO"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One range of addresses of a function.

    :ivar kind: what it belongs to.
    :ivar index: of the BAR, of the window (0 I/O, 1 memory, 2 prefetchable), of the entry; 0 for the ROM.
    :ivar is_io: whether it is in I/O space.
    :ivar width: bits of its addresses: 16, 32, 64.
    :ivar prefetchable: whether reads have no side effects.
    :ivar address: where it starts; ``None`` where it is not assigned.
    :ivar size: bytes, of a VF BAR those of one function; ``None`` where nobody says.
    :ivar size_source: who says so.
    :ivar enabled: whether the function answers there now.
    :ivar marks: what else there is to say: ``unassigned``, ``shadow``, ``fixed``, ``virtual``, ``closed``.
    :ivar possible: the sizes that it could have, for a resizable one.
    :ivar disagreements: what registers, kernel, capabilities and VFIO do not agree on.
    """

    kind: Kind
    index: int
    is_io: bool = False
    width: int = 32
    prefetchable: bool = False
    address: int | None = None
    size: int | None = None
    size_source: SizeSource | None = None
    enabled: bool = False
    marks: tuple[str, ...] = ()
    possible: tuple[int, ...] = ()
    disagreements: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What people call it."""
        if self.kind is Kind.ROM:
            return "ROM"
        if self.kind is Kind.WINDOW:
            return ("I/O window", "memory window", "prefetchable window", "window 3")[self.index]
        return f"{self.kind} {self.index}"

    @property
    def end(self) -> int | None:
        """The address after its last byte, where that is known."""
        return None if self.address is None or self.size is None else self.address + self.size


def bars(
    space: ConfigSpace,
    resources: ResourceTable | None = None,
    *,
    regions: Mapping[int, int] | None = None,
    total_vfs: int | None = None,
) -> tuple[Bar, ...]:
    """Return every range of addresses of a function: BARs, ROM, windows, VF BARs, Enhanced Allocation.

    :param space: its config space.
    :param resources: what the kernel assigned, if it is there to say so.
    :param regions: sizes of VFIO's regions 0 to 6, in bytes.
    :param total_vfs: how many functions a VF BAR of the kernel is for; ``None`` to take it from the
        capability.
    """
    if space.is_gone:
        return ()
    found = [
        *_of_header(space, resources),
        *_rom(space, resources),
        *_windows(space, resources),
        *_of_vfs(space, resources, total_vfs),
        *_enhanced(space),
    ]
    resizable = {**_resizable(space, "ReBAR", Kind.BAR), **_resizable(space, "VFReBAR", Kind.VF_BAR)}
    found = [_with_resizable(each, resizable.get((each.kind, each.index))) for each in found]
    return tuple(_with_region(each, regions) if regions is not None else each for each in found)


def overlaps(placed: Iterable[tuple[str, Bar]]) -> Iterator[tuple[str, Bar, str, Bar]]:
    """Yield the pairs of BARs and ROMs of different owners that claim the same addresses.

    :param placed: owners and their ranges, of one domain.
    """
    for is_io in (False, True):
        chosen = sorted(
            (
                (bar.address, owner, bar)
                for owner, bar in placed
                if bar.kind in (Kind.BAR, Kind.ROM)
                and bar.is_io == is_io
                and bar.address
                and bar.size
                and bar.enabled
            ),
            key=lambda each: (each[0] or 0, each[1]),
        )
        open_: list[tuple[str, Bar]] = []
        for start, owner, bar in chosen:
            open_ = [(other, earlier) for other, earlier in open_ if (earlier.end or 0) > (start or 0)]
            for other, earlier in open_:
                if other != owner:
                    yield other, earlier, owner, bar
            open_.append((owner, bar))


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Address space that a virtual machine needs for some functions, in bytes.

    :ivar io: I/O ports.
    :ivar memory_32: memory below 4 GiB: 32-bit and not prefetchable, ROM too.
    :ivar prefetchable_64: prefetchable memory that may lie above 4 GiB.
    :ivar alignment_32: of the largest BAR below 4 GiB.
    :ivar alignment_64: of the largest prefetchable 64-bit BAR.
    :ivar aligned_32: a window below 4 GiB that holds all, a multiple of 1 MiB.
    :ivar aligned_64: a prefetchable window that holds all, a multiple of 1 MiB.
    :ivar unknown: ranges whose size nobody says.
    """

    io: int = 0
    memory_32: int = 0
    prefetchable_64: int = 0
    alignment_32: int = 0
    alignment_64: int = 0
    aligned_32: int = 0
    aligned_64: int = 0
    unknown: tuple[str, ...] = ()


def needs(ranges: Iterable[Bar]) -> Needs:
    """Return what BARs and ROMs need together.

    Sizes are powers of two and each BAR is aligned to its own; laid out by falling size they leave no gap.
    VFIO maps by pages, so that a smaller BAR counts as one.
    """
    ranges = list(ranges)
    chosen = [each for each in ranges if each.kind in (Kind.BAR, Kind.ROM)]
    # The kernel shows an entry of Enhanced Allocation as the BAR that it stands for.
    placed = {(each.is_io, each.address) for each in chosen}
    chosen += [
        each for each in ranges if each.kind is Kind.ENHANCED and (each.is_io, each.address) not in placed
    ]
    known = [each for each in chosen if each.size]
    wide = [each.size or 0 for each in known if _is_above(each)]
    low = [each.size or 0 for each in known if not each.is_io and not _is_above(each)]
    return Needs(
        io=sum(each.size or 0 for each in known if each.is_io),
        memory_32=sum(low),
        prefetchable_64=sum(wide),
        alignment_32=max(low, default=0),
        alignment_64=max(wide, default=0),
        aligned_32=_window(low),
        aligned_64=_window(wide),
        unknown=tuple(each.label for each in chosen if each.size is None),
    )


def _is_above(bar: Bar) -> bool:
    """Whether a bridge can put it above 4 GiB: only its prefetchable window has 64 bits."""
    return bar.width == 64 and bar.prefetchable and not bar.is_io


def _window(sizes: list[int]) -> int:
    total = sum(max(size, _PAGE) for size in sizes)
    return (total + _MB - 1) // _MB * _MB


def _of_header(space: ConfigSpace, resources: ResourceTable | None) -> Iterator[Bar]:
    data, count = space.image.data, _BAR_COUNTS.get(space.header_type, 0)
    command, index = space.header.get("Command.Mem"), 0
    ports = space.header.get("Command.IO")
    while index < count:
        low = _long(data, 0x10 + 4 * index)
        is_io = bool(low & 1)
        wide = not is_io and low & 6 == 4 and index + 1 < count
        high = _long(data, 0x14 + 4 * index) if wide else 0
        resource = resources.bars[index] if resources else None
        bar = _bar(low, high, index, Kind.BAR, wide=wide, resource=resource)
        if bar is not None:
            yield replace(bar, enabled=bool((ports if bar.is_io else command) and bar.address is not None))
        index += 1 + wide


def _bar(
    low: int, high: int, index: int, kind: Kind, *, wide: bool, resource: Resource | None
) -> Bar | None:
    """Bring together what a register and the kernel say of one BAR."""
    absent = low in (0, _ONES)
    known = resource is not None and not resource.is_absent
    if absent and not known:
        return None
    register = None if absent else high << 32 | low & (~3 if low & 1 else ~15) & _ONES
    if resource is None or not known:
        return Bar(
            kind=kind,
            index=index,
            is_io=bool(low & 1),
            width=64 if wide else 32,
            prefetchable=bool(not low & 1 and low & 8),
            address=register or None,
            marks=() if register else ("unassigned",),
        )
    marks = [] if resource.is_assigned else ["unassigned"]
    marks += ["fixed"] if resource.flags & Flag.FIXED else []
    marks += ["virtual"] if absent and not resource.flags & Flag.ENHANCED_ALLOCATION else []
    return Bar(
        kind=kind,
        index=index,
        is_io=resource.is_io,
        width=64 if resource.flags & Flag.WIDE or wide else 32,
        prefetchable=bool(resource.flags & Flag.PREFETCH),
        address=resource.start if resource.is_assigned else None,
        size=resource.size or None,
        size_source=SizeSource.RESOURCE,
        marks=tuple(marks),
        disagreements=tuple(_disagree(register, low, resource)),
    )


def _disagree(register: int | None, low: int, resource: Resource) -> Iterator[str]:
    if register is None or not resource.is_assigned:
        return
    if bool(low & 1) != resource.is_io:
        yield f"the register says {'I/O' if low & 1 else 'memory'}, the kernel the other"
    # Behind a host bridge that translates, the bus sees other addresses than the processor.
    elif register != resource.start and register:
        yield f"the register says {register:#x}, the kernel {resource.start:#x}"


def _rom(space: ConfigSpace, resources: ResourceTable | None) -> Iterator[Bar]:
    at = _ROM_AT.get(space.header_type)
    if at is None or not space.image.ensure(at, 4):
        return
    register = _long(space.image.data, at)
    register = 0 if register == _ONES else register
    resource = resources.rom if resources else None
    decoded = bool(register & 1 and space.header.get("Command.Mem"))
    if resource is None:
        if register & _ROM_MASK:
            yield Bar(kind=Kind.ROM, index=0, address=register & _ROM_MASK, enabled=decoded)
        return
    if resource.is_absent:
        return
    marks = [] if resource.is_assigned else ["unassigned"]
    marks += ["shadow"] if resource.flags & Flag.ROM_SHADOW else []
    yield Bar(
        kind=Kind.ROM,
        index=0,
        address=resource.start if resource.is_assigned else None,
        size=resource.size or None,
        size_source=SizeSource.RESOURCE,
        enabled=decoded,
        prefetchable=bool(resource.flags & Flag.PREFETCH),
        marks=tuple(marks),
    )


def _windows(space: ConfigSpace, resources: ResourceTable | None) -> Iterator[Bar]:
    if space.header_type != 1:
        return
    for bar in (_io_window(space), _memory_window(space), _prefetch_window(space)):
        if bar is not None:
            resource = (
                resources.windows[bar.index] if resources and len(resources.windows) > bar.index else None
            )
            yield _with_window(bar, resource)


def _io_window(space: ConfigSpace) -> Bar | None:
    data = space.image.data
    base, limit = data[0x1C], data[0x1D]
    wide = base & 15 == 1
    low, high = (base & 0xF0) << 8, (limit & 0xF0) << 8
    if wide:
        low, high = low | _word(data, 0x30) << 16, high | _word(data, 0x32) << 16
    return _opened(0, low, high + 0xFFF, is_io=True, width=32 if wide else 16)


def _memory_window(space: ConfigSpace) -> Bar | None:
    data = space.image.data
    low, high = (_word(data, 0x20) & 0xFFF0) << 16, (_word(data, 0x22) & 0xFFF0) << 16
    return _opened(1, low, high + _MB - 1)


def _prefetch_window(space: ConfigSpace) -> Bar | None:
    data = space.image.data
    base, limit = _word(data, 0x24), _word(data, 0x26)
    wide = base & 15 == 1
    low, high = (base & 0xFFF0) << 16, (limit & 0xFFF0) << 16
    if wide:
        low, high = low | _long(data, 0x28) << 32, high | _long(data, 0x2C) << 32
    return _opened(2, low, high + _MB - 1, prefetchable=True, width=64 if wide else 32)


def _opened(
    index: int, low: int, high: int, *, is_io: bool = False, prefetchable: bool = False, width: int = 32
) -> Bar:
    closed = low > high
    return Bar(
        kind=Kind.WINDOW,
        index=index,
        is_io=is_io,
        width=width,
        prefetchable=prefetchable,
        address=None if closed else low,
        size=None if closed else high - low + 1,
        size_source=None if closed else SizeSource.REGISTERS,
        enabled=not closed,
        marks=("closed",) if closed else (),
    )


def _with_window(bar: Bar, resource: Resource | None) -> Bar:
    """Settle a window by what the kernel says: base and limit of 0 may be open or not there at all."""
    if resource is None:
        return replace(bar, marks=("perhaps absent",)) if bar.address == 0 else bar
    if resource.is_absent or not resource.size:
        if bar.address == 0 or bar.address is None:
            return replace(bar, address=None, size=None, size_source=None, enabled=False, marks=("closed",))
        return replace(bar, disagreements=("the registers open it, the kernel has no window here",))
    said: tuple[str, ...] = ()
    if bar.address is not None and (resource.start, resource.end + 1) != (bar.address, bar.end):
        said = (
            (
                f"the registers say {bar.address:#x}-{(bar.end or 1) - 1:#x}, "
                f"the kernel {resource.start:#x}-{resource.end:#x}"
            ),
        )
    elif bar.address is None and resource.is_assigned:
        said = ("the registers close it, the kernel has a window here",)
    return replace(
        bar,
        address=resource.start if resource.is_assigned else None,
        size=resource.size,
        size_source=SizeSource.RESOURCE,
        marks=() if resource.is_assigned else ("unassigned",),
        disagreements=said,
    )


def _of_vfs(space: ConfigSpace, resources: ResourceTable | None, total_vfs: int | None) -> Iterator[Bar]:
    sriov = space.find("SRIOV", extended=True)
    lines = resources.vf_bars if resources else ()
    if sriov is None:
        total, registers, on = total_vfs, tuple([0] * 6), False
    else:
        total = total_vfs or int(sriov.get("TotalVFs.VFs") or 0)
        registers = tuple(_whole(sriov, f"VFBAR{index}") for index in range(6))
        on = sriov.get("IOVCtl.MSE") is True
    index = 0
    while index < 6:
        low = registers[index]
        wide = low & 7 == 4 and index < 5
        high = registers[index + 1] if wide else 0
        resource = lines[index] if index < len(lines) else None
        bar = _bar(low, high, index, Kind.VF_BAR, wide=wide, resource=resource)
        if bar is not None:
            # The kernel's line is for all virtual functions that there can be.
            size = bar.size // total if bar.size and total else None
            yield replace(
                bar,
                size=size,
                size_source=bar.size_source if size else None,
                enabled=on and bool(bar.address),
            )
        index += 1 + (wide or bool(resource and resource.flags & Flag.WIDE))


def _whole(structure: Structure, name: str) -> int:
    return structure.register(name).value if name in structure.layout.by_name else 0


def _enhanced(space: ConfigSpace) -> Iterator[Bar]:
    allocation = space.find("EA", extended=False)
    number = 0
    while allocation is not None and f"Entry{number}Head" in allocation.layout.by_name:
        entry = f"Entry{number}"
        number += 1
        if f"{entry}MaxOffset" not in allocation.layout.by_name:
            continue
        base = _whole(allocation, f"{entry}Base") & ~3 | _whole(allocation, f"{entry}BaseHigh") << 32
        last = (
            _whole(allocation, f"{entry}MaxOffset") | 3 | _whole(allocation, f"{entry}MaxOffsetHigh") << 32
        )
        properties = allocation.raw_field(f"{entry}Head.Primary")
        yield Bar(
            kind=Kind.ENHANCED,
            index=number - 1,
            is_io=properties in (2, 7, 0xFE),
            width=64 if allocation.get(f"{entry}Base.Wide") else 32,
            prefetchable=properties in (1, 3, 6),
            address=base,
            size=last + 1,
            size_source=SizeSource.ENHANCED,
            enabled=allocation.get(f"{entry}Head.Enable") is True,
            marks=(str(allocation.get(f"{entry}Head.BEI")),),
        )


def _resizable(
    space: ConfigSpace, name: str, kind: Kind
) -> dict[tuple[Kind, int], tuple[int, tuple[int, ...]]]:
    """Return size now and sizes that are possible, by kind and BAR."""
    found: dict[tuple[Kind, int], tuple[int, tuple[int, ...]]] = {}
    structure = space.find(name, extended=True)
    number = 0
    if structure is not None and structure.get("Bar0Control.Count") not in range(1, 7):
        return found
    while structure is not None and f"Bar{number}Control" in structure.layout.by_name:
        prefix = f"Bar{number}"
        number += 1
        vector = structure.raw_field(f"{prefix}Cap.Sizes")
        vector |= structure.raw_field(f"{prefix}Control.MoreSizes") << 28
        possible = tuple(_MB << bit for bit in range(44) if vector >> bit & 1)
        now = _MB << structure.raw_field(f"{prefix}Control.Size")
        found[kind, structure.raw_field(f"{prefix}Control.Index")] = now, possible
    return found


def _with_resizable(bar: Bar, resizable: tuple[int, tuple[int, ...]] | None) -> Bar:
    if resizable is None:
        return bar
    now, possible = resizable
    if bar.size is None:
        return replace(bar, size=now, size_source=SizeSource.REBAR, possible=possible)
    said = bar.disagreements
    if bar.size != now:
        said += (f"the kernel says {bar.size:#x} bytes, the resizable BAR capability {now:#x}",)
    return replace(bar, possible=possible, disagreements=said)


def _with_region(bar: Bar, regions: Mapping[int, int]) -> Bar:
    """Compare with VFIO, which rounds the ROM and says 0 for what it does not show."""
    index = {Kind.BAR: bar.index, Kind.ROM: 6}.get(bar.kind)
    size = regions.get(index) if index is not None else None
    if not size:
        return bar
    if bar.size is None:
        return replace(bar, size=size, size_source=SizeSource.VFIO)
    if bar.size == size:
        return bar
    said = f"the {bar.size_source} says {bar.size:#x} bytes, VFIO {size:#x}"
    return replace(bar, disagreements=(*bar.disagreements, said))


def _word(data: bytes | bytearray, at: int) -> int:
    return data[at] | data[at + 1] << 8


def _long(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")

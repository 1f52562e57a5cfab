"""The text that ``lspci -n -vvv`` prints, line for line as version 3.15.0 does.

Capabilities are worded by their rows; here stand the header, the regions and the walk as lspci does it.
Where lspci is wrong the text is wrong in the same way; each such case is named.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from vfiokit.address import PciAddress
from vfiokit.pci.capabilities import Hazard, extended_in, standard_in
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.interfaces import interface_name
from vfiokit.pci.resources import Resource

__all__ = ["KernelView", "lspci_text"]

_BRIDGE_CLASS, _PCI_BRIDGE = 0x06, 0x0604
_IO, _MEMORY, _MASTER, _NO_INTX = 1, 2, 4, 1 << 10
_LIST_POINTER = {0: 0x34, 1: 0x34, 2: 0x14}
_BAR_COUNTS = (6, 2, 1)
_ROM_AT = {0: 0x30, 1: 0x38}
_PORT_MASK, _MEMORY_MASK, _ROM_MASK = ~3, ~15, ~0x7FF
_UNITS = "KMGT"
_ONES = 0xFFFFFFFF
_ENDS = {
    Hazard.LOOP: "<chain looped>",
    Hazard.BROKEN: "<chain broken>",
}


class KernelView(NamedTuple):
    """What the kernel adds to a config space; a dump has none of it.

    :ivar irq: the interrupt that it assigned.
    :ivar regions: BARs 0 to 5 as it sees them.
    :ivar rom: the expansion ROM as it sees it.
    :ivar windows: the windows of a bridge: I/O, memory, prefetchable.
    """

    irq: int
    regions: tuple[Resource, ...]
    rom: Resource | None = None
    windows: tuple[Resource, ...] = ()


def lspci_text(
    address: PciAddress, space: ConfigSpace, *, domain: bool = False, kernel: KernelView | None = None
) -> str:
    """Return what lspci prints of one function, with the empty line after it.

    :param address: the function's address.
    :param domain: whether to show its domain; lspci does so for all functions if one is in a domain other
        than 0.
    :param kernel: what the kernel says; ``None`` for a dump.
    """
    return "".join(_lines(address, space, domain, kernel)) + "\n"


def _lines(
    address: PciAddress, space: ConfigSpace, domain: bool, kernel: KernelView | None
) -> Iterator[str]:
    data = space.image.data
    kind = space.header_type
    yield _title(address, space, domain)
    yield from _subsystem(space, kind)
    class_code = data[0x0A] | data[0x0B] << 8
    if (class_code == _PCI_BRIDGE) if kind == 0 else (class_code >> 8 != _BRIDGE_CLASS and kind < 3):
        yield f"\t!!! Invalid class {class_code:04x} for header type {kind:02x}\n"
    if kind > 2:
        yield f"\t!!! Unknown header type {kind:02x}\n"
        return
    header = space.header
    yield space.text_of(header)
    yield from _latency(data, kind)
    yield from _interrupts(data, kernel)
    if data[0x0F] & 0x80:
        running = data[0x0F] & 0x40
        yield "\tBIST is running\n" if running else f"\tBIST result: {data[0x0F] & 0xF:02x}\n"
    yield from _BODIES[kind](space, kernel)


def _title(address: PciAddress, space: ConfigSpace, domain: bool) -> str:
    data = space.image.data
    class_code, interface = data[0x0A] | data[0x0B] << 8, data[0x09]
    vendor, device = _word(data, 0), _word(data, 2)
    name = str(address) if domain else str(address).partition(":")[2]
    revision = f" (rev {data[8]:02x})" if data[8] else ""
    meaning = interface_name(class_code, interface)
    shown = f" [{meaning}]" if meaning else ""
    programming = f" (prog-if {interface:02x}{shown})" if interface or meaning else ""
    return f"{name} {class_code:04x}: {vendor:04x}:{device:04x}{revision}{programming}\n"


def _subsystem(space: ConfigSpace, kind: int) -> Iterator[str]:
    at = {0: 0x2C, 2: 0x40}.get(kind)
    if kind == 1:
        bridge = space.find("SSVID", extended=False)
        at = None if bridge is None else bridge.offset + 4
    if at is None or not space.image.ensure(at, 0x40 if kind == 2 else 4):
        return
    vendor, device = _word(space.image.data, at), _word(space.image.data, at + 2)
    if vendor not in (0, 0xFFFF):
        yield f"\tSubsystem: {vendor:04x}:{device:04x}\n"


def _latency(data: bytes | bytearray, kind: int) -> Iterator[str]:
    if not data[4] & _MASTER:
        return
    grant, latency = (data[0x3E], data[0x3F]) if kind == 0 else (0, 0)
    parts = [f"{grant * 250}ns min"] if grant else []
    parts += [f"{latency * 250}ns max"] if latency else []
    bounds = f" ({', '.join(parts)})" if parts else ""
    line = f", Cache Line Size: {data[0x0C] * 4} bytes" if data[0x0C] else ""
    yield f"\tLatency: {data[0x0D]}{bounds}{line}\n"


def _interrupts(data: bytes | bytearray, kernel: KernelView | None) -> Iterator[str]:
    pin, irq = data[0x3D], kernel.irq if kernel else data[0x3C]
    if not pin and not irq:
        return
    # lspci 3.15.0 counts pins from 0: pin 1, INTA#, is shown as B.
    shown = f"pin {chr((ord('A') + pin) & 0xFF)}" if pin else "unknown pin"
    state = " disabled" if _word(data, 4) & _NO_INTX else f" routed to IRQ {irq}" if irq else ""
    yield f"\tInterrupts: {shown}{state}\n"


def _normal(space: ConfigSpace, kernel: KernelView | None) -> Iterator[str]:
    yield from _regions(space, 0, kernel)
    yield from _rom(space, 0, kernel)
    yield from _capabilities(space)


def _bridge(space: ConfigSpace, kernel: KernelView | None) -> Iterator[str]:
    data = space.image.data
    yield from _regions(space, 1, kernel)
    yield (
        f"\tBus: primary={data[0x18]:02x}, secondary={data[0x19]:02x}, subordinate={data[0x1A]:02x}, "
        f"sec-latency={data[0x1B]}\n"
    )
    yield from _windows(data)
    yield _secondary_status(_word(data, 0x1E))
    yield from _rom(space, 1, kernel)
    control = _word(data, 0x3E)
    first = ("Parity", "SERR", "NoISA", "VGA", "VGA16", "MAbort", ">Reset", "FastB2B")
    second = ("PriDiscTmr", "SecDiscTmr", "DiscTmrStat", "DiscTmrSERREn")
    yield f"\tBridgeCtl: {_flags(control, first)}\n"
    yield f"\t\t{_flags(control >> 8, second)}\n"
    yield from _capabilities(space)


def _cardbus(space: ConfigSpace, kernel: KernelView | None) -> Iterator[str]:
    data = space.image.data
    yield from _regions(space, 2, kernel)
    yield (
        f"\tBus: primary={data[0x18]:02x}, secondary={data[0x19]:02x}, subordinate={data[0x1A]:02x}, "
        f"sec-latency={data[0x1B]}\n"
    )
    yield from _cardbus_windows(data)
    if _word(data, 0x16) & 1 << 14:
        yield "\tSecondary status: SERR\n"
    control = _word(data, 0x3E)
    bits = (0, 1, 2, 3, 5, 6, 7, 10)
    names = ("Parity", "SERR", "ISA", "VGA", "MAbort", ">Reset", "16bInt", "PostWrite")
    shown = " ".join(f"{name}{_sign(control >> bit)}" for bit, name in zip(bits, names, strict=True))
    yield f"\tBridgeCtl: {shown}\n"
    if not space.image.ensure(0x40, 0x40):
        yield "\t<access denied to the rest>\n"
        return
    legacy = _word(data, 0x44)
    if legacy:
        yield f"\t16-bit legacy interface ports at {legacy:04x}\n"
    yield from _capabilities(space)


_Body = Callable[[ConfigSpace, "KernelView | None"], Iterator[str]]
_BODIES: tuple[_Body, ...] = (_normal, _bridge, _cardbus)


def _regions(space: ConfigSpace, kind: int, kernel: KernelView | None) -> Iterator[str]:
    data, count = space.image.data, _BAR_COUNTS[kind]
    command, index, upper_halves = _word(data, 4), 0, set[int]()
    while index < count:
        number, flags = index, _long(data, 0x10 + 4 * index)
        index += 1
        flags = 0 if flags == _ONES else flags
        wide = not flags & 1 and flags & 6 == 4
        broken = wide and index == count
        upper = _long(data, 0x10 + 4 * index) if wide and not broken else 0
        hardware = upper << 32 | flags & (_PORT_MASK if flags & 1 else _MEMORY_MASK)
        position, size = (0 if broken or number in upper_halves else hardware | flags), 0
        if wide and not broken and number not in upper_halves:
            upper_halves.add(index)
        if kernel:
            position, size = _kernel_position(kernel.regions[number])
        if not position and not flags and not size:
            continue
        # Without the kernel's word for it lspci shows the upper half of a 64-bit BAR as a region too.
        index += bool(kernel) and wide and not broken
        virtual = bool(position & _MEMORY_MASK) and not hardware
        if virtual:
            flags = position & 15
        ignored = bool(kernel and hardware)
        text = _region_text(flags, position, command, ignored=ignored, virtual=virtual)
        yield f"\tRegion {number}: {text}{_size(size)}\n"


def _kernel_position(region: Resource) -> tuple[int, int]:
    return (region.start | region.flags & 15, region.size) if region.flags else (0, 0)


def _region_text(flags: int, position: int, command: int, *, ignored: bool, virtual: bool) -> str:
    is_io = flags & 1
    address = position & (_PORT_MASK if is_io else _MEMORY_MASK)
    state = " [virtual]" if virtual else "" if command & (_IO if is_io else _MEMORY) else " [disabled]"
    missing = "<ignored>" if ignored else "<unassigned>"
    if is_io:
        shown = f"{address:04x}" if address or command & _IO else missing
        return f"I/O ports at {shown}{state}"
    shown = f"{address:08x}" if address else missing
    kind = ("32-bit", "low-1M", "64-bit", "type 3")[flags >> 1 & 3]
    return f"Memory at {shown} ({kind}, {'' if flags & 8 else 'non-'}prefetchable){state}"


def _rom(space: ConfigSpace, kind: int, kernel: KernelView | None) -> Iterator[str]:
    data = space.image.data
    flags = _long(data, _ROM_AT[kind])
    position, size = (0 if flags == _ONES else flags), 0
    if kernel:
        position, size = _kernel_position(kernel.rom) if kernel.rom else (0, 0)
    if not position and not flags and not size:
        return
    virtual = bool(position & _ROM_MASK) and not flags & _ROM_MASK
    if virtual:
        flags = position
    address = position & _ROM_MASK
    shown = f"{address:08x}" if address else "<ignored>" if flags & _ROM_MASK else "<unassigned>"
    state = " [virtual]" if virtual else ""
    if not flags & 1:
        state += " [disabled]"
    elif not virtual and not _word(data, 4) & _MEMORY:
        state += " [disabled by cmd]"
    yield f"\tExpansion ROM at {shown}{state}{_size(size)}\n"


def _windows(data: bytes | bytearray) -> Iterator[str]:
    base, limit = data[0x1C], data[0x1D]
    kind = base & 15
    if kind != limit & 15 or kind > 1:
        yield f"\t!!! Unknown I/O range types {base:x}/{limit:x}\n"
    else:
        upper = (_word(data, 0x30) << 16, _word(data, 0x32) << 16) if kind else (0, 0)
        low, high = (base & 0xF0) << 8 | upper[0], ((limit & 0xF0) << 8 | upper[1]) + 0xFFF
        yield _range("I/O behind bridge", low, high, 32 if kind else 16)
    base, limit = _word(data, 0x20), _word(data, 0x22)
    if (base | limit) & 15:
        yield f"\t!!! Unknown memory range types {base:x}/{limit:x}\n"
    else:
        yield _range("Memory behind bridge", base << 16, (limit << 16) + 0xFFFFF, 32)
    base, limit = _word(data, 0x24), _word(data, 0x26)
    kind = base & 15
    if kind != limit & 15 or kind > 1:
        yield f"\t!!! Unknown prefetchable memory range types {base:x}/{limit:x}\n"
    else:
        upper = (_long(data, 0x28) << 32, _long(data, 0x2C) << 32) if kind else (0, 0)
        low, high = (base & 0xFFF0) << 16 | upper[0], ((limit & 0xFFF0) << 16 | upper[1]) + 0xFFFFF
        yield _range("Prefetchable memory behind bridge", low, high, 64 if kind else 32)


def _range(name: str, base: int, limit: int, bits: int) -> str:
    digits = bits // 4
    shown = f" {base:0{digits}x}-{limit:0{digits}x}"
    state = _size(limit - base + 1) if base <= limit else " [disabled]"
    return f"\t{name}:{shown}{state} [{bits}-bit]\n"


def _cardbus_windows(data: bytes | bytearray) -> Iterator[str]:
    command, control = _word(data, 4), _word(data, 0x3E)
    for number in range(2):
        base, limit = (_long(data, at + 8 * number) for at in (0x1C, 0x20))
        state = "" if command & _MEMORY else " [disabled]"
        prefetch = " (prefetchable)" if control & 0x100 << number else ""
        yield f"\tMemory window {number}: {base:08x}-{limit + 0xFFF & _ONES:08x}{state}{prefetch}\n"
    for number in range(2):
        base, limit = (_long(data, at + 8 * number) for at in (0x2C, 0x30))
        mask = _ONES if base & 1 else 0xFFFF
        state = "" if command & _IO else " [disabled]"
        yield f"\tI/O window {number}: {base & mask & ~3:08x}-{(limit & mask & ~3) + 3:08x}{state}\n"


def _secondary_status(status: int) -> str:
    names = ((5, "66MHz"), (7, "FastB2B"), (8, "ParErr"))
    shown = " ".join(f"{name}{_sign(status >> bit)}" for bit, name in names)
    timing = ("fast", "medium", "slow", "??")[status >> 9 & 3]
    aborts = _flags(status >> 11, (">TAbort", "<TAbort", "<MAbort", "<SERR", "<PERR"))
    return f"\tSecondary status: {shown} DEVSEL={timing} {aborts}\n"


def _capabilities(space: ConfigSpace) -> Iterator[str]:
    """Yield the capabilities as lspci walks them: pointers into the header are followed."""
    ends: list[tuple[Hazard, int]] = []

    def report(hazard: Hazard, offset: int) -> None:
        ends.append((hazard, offset))

    may_be_extended = False
    image = space.image
    cardbus = space.header_type == 2
    for found in standard_in(image.data, image.ensure, cardbus=cardbus, floor=4, report=report):
        may_be_extended |= found.id in (0x07, 0x10)
        structure = space.structure_at(found, extended=False)
        text = space.text_of(structure)
        yield f"\tCapabilities: [{found.offset:02x}] {text}"
    for hazard, offset in ends:
        if hazard is Hazard.UNREADABLE:
            yield "\tCapabilities: <access denied>\n"
        elif hazard in _ENDS:
            yield f"\tCapabilities: [{offset:02x}] {_ENDS[hazard]}\n"
    if may_be_extended:
        yield from _extended(space)


def _extended(space: ConfigSpace) -> Iterator[str]:
    loops: list[int] = []

    def report(hazard: Hazard, offset: int) -> None:
        if hazard is Hazard.LOOP:
            loops.append(offset)

    image = space.image
    for found in extended_in(image.data, image.ensure, floor=4, report=report):
        structure = space.structure_at(found, extended=True)
        text = space.text_of(structure)
        yield f"\tCapabilities: [{found.offset:03x} v{structure.version}] {text}"
    for offset in loops:
        version = space.image.data[offset + 2] & 15
        yield f"\tCapabilities: [{offset:03x} v{version}] <chain looped>\n"


def _size(size: int) -> str:
    if not size:
        return ""
    unit = ""
    for letter in _UNITS:
        if size % 1024:
            break
        size, unit = size // 1024, letter
    # It is printed in 32 bits.
    return f" [size={size & _ONES}{unit}]"


def _flags(value: int, names: tuple[str, ...]) -> str:
    return " ".join(f"{name}{_sign(value >> bit)}" for bit, name in enumerate(names))


def _sign(value: int) -> str:
    return "-+"[value & 1]


def _word(data: bytes | bytearray, at: int) -> int:
    return data[at] | data[at + 1] << 8


def _long(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")

"""What bears on every function: lockdown, limits, framebuffers, consoles, input, libvirt's domains."""

import re
from collections.abc import Iterator

from vfiokit.address import AddressRange, PciAddress
from vfiokit.binding.evidence import Environment, Input
from vfiokit.binding.usage.children import listing
from vfiokit.model.unknown import NOT_READ, Unknown
from vfiokit.sysfs import attributes
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import FILE_LIMIT

__all__ = ["read_environment", "read_inputs"]

_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_IOMEM = re.compile(r"\s*([0-9a-f]+)-([0-9a-f]+) : (.+)")
_FRAMEBUFFERS = frozenset(
    {"efifb", "vesafb", "simplefb", "simple-framebuffer", "simpledrm", "BOOTFB", "offb"}
)
_EV_REP = 1 << 0x14
_LIBVIRT = "run/libvirt/qemu"
_HOSTDEV = re.compile(
    r"<hostdev[^>]*type=['\"]pci['\"].*?<source[^>]*>\s*<address domain=['\"]0x([0-9a-f]+)['\"] "
    r"bus=['\"]0x([0-9a-f]+)['\"] slot=['\"]0x([0-9a-f]+)['\"] function=['\"]0x([0-9a-f]+)['\"]",
    re.S,
)


def read_environment(reader: Reader) -> Environment:
    """Read it; what cannot be read is unknown."""
    return Environment(
        lockdown=_lockdown(reader),
        memlock=_memlock(reader),
        memory=_memory(reader),
        framebuffers=_framebuffers(reader),
        console_bound=_console_bound(reader),
        consoles=_consoles(reader),
        local_seat="tty0" in (listing(reader, "sys/class/tty")),
        libvirt=tuple(sorted(set(_libvirt(reader)))),
    )


def read_inputs(reader: Reader) -> tuple[Input, ...]:
    """Read keyboards and pointers with the functions they hang on."""
    found = []
    for block in _text(reader, "proc/bus/input/devices").split("\n\n"):
        fields = dict(
            line[3:].split("=", 1) for line in block.splitlines() if line[1:3] == ": " and "=" in line
        )
        handlers = fields.get("Handlers", "").split()
        events = int(fields.get("EV", "0"), 16)
        # Power buttons are "kbd" as well; what repeats its keys has keys to type on.
        keyboard = "kbd" in handlers and bool(events & _EV_REP)
        if keyboard or any(handler.startswith("mouse") for handler in handlers):
            functions = _PCI.findall(fields.get("Sysfs", ""))
            address = PciAddress.parse(functions[-1]) if functions else None
            found.append(Input(fields.get("Name", "").strip('"'), address))
    return tuple(found)


def _lockdown(reader: Reader) -> str | Unknown:
    text = reader.value("sys/kernel/security/lockdown", attributes.line)
    if isinstance(text, Unknown):
        return text
    chosen = re.search(r"\[(\w+)\]", text or "")
    return chosen[1] if chosen else "none"


def _memlock(reader: Reader) -> int | Unknown | None:
    found = re.search(r"Max locked memory\s+(\S+)", _text(reader, "proc/self/limits"))
    if found is None:
        return NOT_READ
    return int(found[1]) if found[1].isdigit() else None


def _memory(reader: Reader) -> int | Unknown:
    found = re.search(r"MemTotal:\s+([0-9]+) kB", _text(reader, "proc/meminfo"))
    return int(found[1]) << 10 if found else NOT_READ


def _framebuffers(reader: Reader) -> tuple[tuple[AddressRange, str], ...] | Unknown:
    text = _text(reader, "proc/iomem")
    rows = [found.groups() for found in map(_IOMEM.fullmatch, text.splitlines()) if found]
    if rows and not any(int(end, 16) for _, end, _ in rows):
        return Unknown("proc/iomem shows no addresses without privileges")
    return tuple(
        (AddressRange(int(start, 16), int(end, 16) + 1), name.strip())
        for start, end, name in rows
        if name.strip() in _FRAMEBUFFERS
    )


def _console_bound(reader: Reader) -> bool | Unknown:
    for name in listing(reader, "sys/class/vtconsole"):
        path = f"sys/class/vtconsole/{name}"
        if "frame buffer" in _text(reader, f"{path}/name") and _text(reader, f"{path}/bind").strip() == "1":
            return True
    return False


def _consoles(reader: Reader) -> tuple[str, ...]:
    return tuple(line.split()[0] for line in _text(reader, "proc/consoles").splitlines() if line.strip())


def _libvirt(reader: Reader) -> Iterator[PciAddress]:
    for name in listing(reader, _LIBVIRT):
        if name.endswith(".xml"):
            for numbers in _HOSTDEV.findall(_text(reader, f"{_LIBVIRT}/{name}")):
                yield PciAddress(*(int(number, 16) for number in numbers))


def _text(reader: Reader, path: str) -> str:
    value = reader.value(path, lambda data: data.decode("utf-8", "replace"), FILE_LIMIT)
    return value if isinstance(value, str) else ""

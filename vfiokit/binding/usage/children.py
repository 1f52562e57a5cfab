"""The kernel devices below a function: everything with a ``uevent`` in its part of the tree."""

import re

from vfiokit.binding.evidence import Child
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import DeviceNumber, Kind, follow

__all__ = ["device_path", "listing", "number", "opens_bus", "read_children", "resolve"]

_DEVICES = "sys/bus/pci/devices"
_MAX_DEPTH = 16
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_ROOT_BUS = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}")
_NUMBER = re.compile(rb"([0-9]{1,9}):([0-9]{1,9})\n?")
# Directories that hold attributes and no devices: not worth a look, and there are many of them.
_PLAIN = frozenset(
    [
        "power",
        "msi_irqs",
        "queues",
        "statistics",
        "holders",
        "slaves",
        "integrity",
        "mq",
        "queue",
        "trace",
        "firmware_node",
        "link",
        "aer",
    ]
)


def listing(reader: Reader, path: str) -> list[str]:
    """Return the names in a directory in order; none where it is absent or cannot be read."""
    names = reader.names(path)
    return sorted(names) if isinstance(names, list) else []


def device_path(reader: Reader, name: str) -> str:
    """Return where a function's directory really is, from the root."""
    path = f"{_DEVICES}/{name}"
    found = reader.link(path)
    return found if isinstance(found, str) else path


def read_children(reader: Reader, path: str) -> tuple[Child, ...] | Unknown:
    """Read the devices below a function; another function and what is below it do not count."""
    found: list[Child] = []
    trouble = _descend(reader, path, found, 0)
    return trouble if trouble is not None else tuple(found)


def opens_bus(reader: Reader, path: str) -> bool:
    """Whether a root bus hangs below a function that is no bridge: that of a VMD controller."""
    return any(_ROOT_BUS.fullmatch(name) for name in listing(reader, path))


def number(reader: Reader, path: str, *, block: bool) -> DeviceNumber | None:
    """Read a ``dev`` attribute."""
    value = reader.value(path, _parse_number)
    return DeviceNumber(block, *value) if isinstance(value, tuple) else None


def _descend(reader: Reader, path: str, found: list[Child], depth: int) -> Unknown | None:
    names = reader.names(path)
    if isinstance(names, Unknown) or depth > _MAX_DEPTH:
        return names if isinstance(names, Unknown) else Unknown("deeper than any device tree")
    if names is None:
        return None
    # Reading it, and not only seeing its name, puts it into a recording.
    if depth and "uevent" in names and reader.value(f"{path}/uevent", bytes) is not None:
        found.append(_child(reader, path, names))
    for name in sorted(names):
        if name in _PLAIN or _PCI.fullmatch(name) or _ROOT_BUS.fullmatch(name):
            continue
        if _is_directory(reader, f"{path}/{name}"):
            trouble = _descend(reader, f"{path}/{name}", found, depth + 1)
            if trouble is not None:
                return trouble
    return None


def _child(reader: Reader, path: str, names: list[str]) -> Child:
    subsystem = reader.target(f"{path}/subsystem") if "subsystem" in names else ""
    subsystem = subsystem if isinstance(subsystem, str) else ""
    node = number(reader, f"{path}/dev", block=subsystem == "block") if "dev" in names else None
    return Child(path, path.rpartition("/")[2], subsystem, node)


def _is_directory(reader: Reader, path: str) -> bool:
    try:
        return reader.source.stat(path).kind is Kind.DIRECTORY
    except OSError:
        return False  # it vanished, or is none that we may see


def _parse_number(data: bytes) -> tuple[int, int]:
    found = _NUMBER.fullmatch(data)
    if found is None:
        raise ValueError(f"not a device number: {data[:20]!r}")
    return int(found[1]), int(found[2])


def resolve(reader: Reader, path: str) -> str | None:
    """Return where a link leads, ``None`` where it is none."""
    try:
        return follow(path, reader.source.readlink(path))
    except OSError:
        return None

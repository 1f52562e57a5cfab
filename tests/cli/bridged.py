"""A machine with real config spaces and resources, for the commands that decode them."""

import struct

from tests.cli.machine import MACHINE
from vfiokit.sysfs.memory import File, MemorySource
from vfiokit.testing import layout

__all__ = ["GPU", "NIC", "PORT", "SSD", "bridged", "nic_space", "path"]

PORT, GPU, NIC, SSD = "0000:00:1c.0", "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"
_NONE = (0, 0, 0)
_MEMORY, _PREFETCH, _WIDE, _IO = 0x40200, 0x2000, 0x100000, 0x40100


def nic_space(max_read: int = 2) -> bytes:
    """Build the config space of the NIC: two BARs, a ROM, power management, PCI Express, a serial number."""
    space = bytearray(4096)
    struct.pack_into("<HHHHBBBBBBBB", space, 0, 0x8086, 0x1533, 0x0406, 0x0010, 3, 0, 0, 2, 16, 0, 0, 0)
    struct.pack_into("<III", space, 0x10, 0xF7200000, 0, 0xE001)
    struct.pack_into("<I", space, 0x30, 0xF7400001)
    space[0x34] = 0x40
    space[0x40:0x44] = b"\x10\x80\x02\x00"
    struct.pack_into("<H", space, 0x48, max_read << 12 | 0x810)
    struct.pack_into("<I", space, 0x4C, 1 << 4 | 1)
    struct.pack_into("<H", space, 0x52, 1 << 4 | 1)
    space[0x80:0x84] = b"\x01\x00\x23\xc8"
    struct.pack_into("<III", space, 0x100, 1 << 16 | 3, 0x33445566, 0x00112233)
    return bytes(space)


def _port_space() -> bytes:
    space = bytearray(256)
    struct.pack_into("<HHHHBBBBBBBB", space, 0, 0x1B36, 0x000C, 0x0007, 0, 0, 0, 4, 6, 0, 0, 1, 0)
    space[0x18:0x20] = bytes([0, 2, 2, 0, 0xE0, 0xE0, 0, 0])
    struct.pack_into("<HHHH", space, 0x20, 0xF720, 0xF740, 0xFFF1, 0x0001)
    return bytes(space)


def _resource(*lines: tuple[int, int, int]) -> File:
    padded = (*lines, *([_NONE] * (17 - len(lines))))
    return File("".join(f"{a:#018x} {b:#018x} {c:#018x}\n" for a, b, c in padded).encode(), 0o644)


def path(tree: MemorySource, address: str) -> str:
    """Return the directory of a function."""
    return next(
        name.removesuffix("/uevent") for name, _ in tree.nodes() if name.endswith(f"{address}/uevent")
    )


def bridged() -> MemorySource:
    """Lay the machine out with config spaces and resources of some functions."""
    tree = layout(MACHINE)
    nic, port, gpu = path(tree, NIC), path(tree, PORT), path(tree, GPU)
    tree.add(f"{nic}/config", File(nic_space(), 0o644))
    tree.add(
        f"{nic}/resource",
        _resource(
            (0xF7200000, 0xF72FFFFF, _MEMORY),
            _NONE,
            (0xE000, 0xE01F, _IO),
            _NONE,
            _NONE,
            _NONE,
            (0xF7400000, 0xF747FFFF, _MEMORY | 0x4000),
        ),
    )
    tree.add(f"{port}/config", File(_port_space(), 0o644))
    windows = ((0xE000, 0xEFFF, _IO), (0xF7200000, 0xF74FFFFF, _MEMORY))
    tree.add(f"{port}/resource", _resource(*([_NONE] * 13), *windows))
    tree.add(
        f"{gpu}/resource",
        _resource((0xA0000000, 0xAFFFFFFF, _MEMORY | _PREFETCH | _WIDE), _NONE, (0, 0xFFF, 0x20040200)),
    )
    return tree

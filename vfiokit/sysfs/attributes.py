"""What the text of each attribute means. Every parser takes bytes and raises ValueError on others."""

import re
from functools import lru_cache

from vfiokit.address import AddressRange
from vfiokit.model.group import ReservedRegion

__all__ = [
    "boolean",
    "hexadecimal",
    "integer",
    "interrupt_remapping",
    "line",
    "node",
    "override",
    "reserved_regions",
    "uevent",
]

_REMAPPED = re.compile(rb"\bIR-(?:PCI|IO-APIC)|\bITS-(?:PCI-)?MSI|\bITS-p?MSI")
_DIRECT = re.compile(rb"(?<![-\w])(?:PCI-MSI|IO-APIC)")


def line(data: bytes) -> str:
    """Read one line of printable text, without its newline.

    >>> line(b"DMA-FQ\\n")
    'DMA-FQ'
    """
    text = data.decode("utf-8", "strict").removesuffix("\n")
    if not text.isprintable():
        raise ValueError(f"not one line of text: {data[:40]!r}")
    return text


def integer(data: bytes) -> int:
    """Read a decimal number, which may be negative."""
    if not re.fullmatch(rb"-?[0-9]{1,20}\n?", data):
        raise ValueError(f"not a number: {data[:40]!r}")
    return int(data)


def hexadecimal(data: bytes) -> int:
    """Read a hexadecimal number of at most 64 bits, with or without ``0x``.

    >>> hex(hexadecimal(b"d2008c222f0686\\n"))
    '0xd2008c222f0686'
    """
    if not re.fullmatch(rb"(?:0[xX])?[0-9a-fA-F]{1,16}\n?", data):
        raise ValueError(f"not a hexadecimal number: {data[:40]!r}")
    return int(data, 16)


def boolean(data: bytes) -> bool:
    """Read ``1``, ``0`` or a module parameter's ``Y``, ``N``."""
    try:
        return {b"1": True, b"Y": True, b"0": False, b"N": False}[data.removesuffix(b"\n")]
    except KeyError:
        raise ValueError(f"neither yes nor no: {data[:40]!r}") from None


def node(data: bytes) -> int | None:
    """Read a NUMA node; the kernel prints -1 where firmware names none."""
    number = integer(data)
    return None if number < 0 else number


def override(data: bytes) -> str | None:
    """Read ``driver_override``; unset reads as ``(null)``, or empty on newer kernels."""
    text = line(data)
    return None if text in ("(null)", "") else text


def uevent(data: bytes) -> dict[str, str]:
    """Read the ``KEY=VALUE`` lines of a device's ``uevent``; lines of another shape are left out.

    >>> uevent(b"DRIVER=nvme\\nPCI_CLASS=10802\\n")["DRIVER"]
    'nvme'
    """
    pairs = (entry.partition("=") for entry in data.decode("utf-8", "strict").splitlines())
    return {key: value for key, found, value in pairs if found}


# Most groups of a host have the same regions: parsed once, and kept once.
@lru_cache(maxsize=256)
def reserved_regions(data: bytes) -> tuple[ReservedRegion, ...]:
    """Read a group's reserved regions: a line each of first address, last address, type.

    >>> reserved_regions(b"0x00000000fee00000 0x00000000feefffff msi\\n")[0].range
    AddressRange(start=4276092928, end=4277141504)
    """
    regions = []
    for row in data.decode("ascii", "strict").splitlines():
        fields = row.split()
        if len(fields) != 3:
            raise ValueError(f"not a reserved region: {row[:60]!r}")
        start, last = (hexadecimal(field.encode()) for field in fields[:2])
        if last < start:
            raise ValueError(f"a reserved region that ends before it starts: {row[:60]!r}")
        regions.append(ReservedRegion(range=AddressRange(start, last + 1), type=fields[2]))
    return tuple(regions)


def interrupt_remapping(data: bytes) -> bool:
    """Tell from ``/proc/interrupts`` whether device interrupts pass a remapping unit.

    The chip's name says it: ``IR-PCI-MSI`` on x86, ``ITS-MSI`` on Arm.

    >>> interrupt_remapping(b" 24: 0 IR-PCI-MSI-0000:00:1f.2 0-edge ahci\\n")
    True
    """
    if _REMAPPED.search(data):
        return True
    if _DIRECT.search(data):
        return False
    raise ValueError("no interrupt chip that tells")

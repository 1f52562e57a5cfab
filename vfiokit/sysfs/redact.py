"""Taking out of a recording what identifies a machine or its owner, and nothing that an analysis needs."""

import re
from collections.abc import Callable

from vfiokit.pci.capabilities import CapabilityId, ExtendedId, extended, standard
from vfiokit.sysfs.memory import File, Link, MemorySource

__all__ = ["REDACTIONS", "redact"]

REDACTIONS = (
    "device serial numbers and the last VPD word in config space",
    "MAC addresses, also in names of interfaces",
    "values on the kernel's command line that do not bear on PCI, IOMMU or VFIO",
)
"""What :func:`redact` takes out."""

_MAC = re.compile(rb"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])")
_MAC_NAME = re.compile(rb"\b(en|wl|ww)x[0-9a-f]{12}")
_KEPT = re.compile(
    r"(?:intel_iommu|amd_iommu|iommu|iommu\.[a-z]+|pci|pcie?_[a-z_]+|vfio[-_a-z]*\.[a-z_]+|iommufd\.[a-z_]+|"
    r"modprobe\.blacklist|module_blacklist|rd\.driver\.[a-z]+|video|initcall_blacklist|intremap|nointremap|"
    r"disable_idle_d3|default_hugepagesz|hugepagesz|hugepages|hugepages[a-z_]*|quiet|ro|rw)"
)


def redact(tree: MemorySource) -> None:
    """Change a recorded tree in place; see :data:`REDACTIONS`."""
    for path, node in tuple(tree.nodes()):
        if isinstance(node, Link) and _MAC_NAME.search(path.encode()):
            tree.remove(path)
        elif isinstance(node, File):
            data = _redactor(path)(node.data)
            if data != node.data:
                tree.add(path, File(data, node.mode))


def _redactor(path: str) -> Callable[[bytes], bytes]:
    if path.endswith("/config"):
        return _config
    if path == "proc/cmdline":
        return _command_line
    if path.startswith("sys/firmware/"):
        return bytes
    return _addresses


def _config(data: bytes) -> bytes:
    space = bytearray(data)

    def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    for found in standard(read, cardbus=len(data) > 14 and data[14] & 0x7F == 2):
        if found.id == CapabilityId.VPD:
            space[found.offset + 4 : found.offset + 8] = bytes(4)
    for found in extended(read):
        if found.id == ExtendedId.DEVICE_SERIAL_NUMBER:
            space[found.offset + 4 : found.offset + 12] = bytes(8)
    return bytes(space[: len(data)])


def _command_line(data: bytes) -> bytes:
    tokens = data.decode("utf-8", "replace").rstrip("\n").split(" ")
    return " ".join(map(_token, tokens)).encode() + b"\n"


def _token(token: str) -> str:
    name, given, _ = token.partition("=")
    if _KEPT.fullmatch(name):
        return token
    return f"{name}=REDACTED" if given else "REDACTED"


def _addresses(data: bytes) -> bytes:
    data = _MAC.sub(b"00:00:00:00:00:00", data)
    return _MAC_NAME.sub(rb"\1x000000000000", data)

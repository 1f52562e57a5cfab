"""The few facts of config space that a scan needs, read a few bytes at a time.

Config reads are slow: each is a transaction to the device, and in a virtual machine a trap.
"""

from collections.abc import Callable

from vfiokit.model.device import AcsRegisters, ConfigFacts, HeaderType
from vfiokit.model.unknown import Unknown
from vfiokit.pci.capabilities import CapabilityId, ExtendedId, extended, standard

__all__ = ["NEEDS_PRIVILEGE", "config_facts"]

NEEDS_PRIVILEGE = Unknown("config space beyond 64 bytes is not readable; it needs CAP_SYS_ADMIN")
"""The value of what lies in the part of config space that the kernel hides from the unprivileged."""

_HEADER_SIZE = 64
_CONVENTIONAL_SIZE = 256

Read = Callable[[int, int], bytes]


def config_facts(read: Read) -> ConfigFacts | Unknown:
    """Decode what config space says about a function's place in the topology.

    :param read: reads at most ``size`` bytes at ``offset``.
    """
    header = read(0, _HEADER_SIZE)
    if len(header) < _HEADER_SIZE:
        return Unknown(f"config space has only {len(header)} bytes")
    if header[:4] == b"\xff\xff\xff\xff" and header[8:64] == b"\xff" * 56:
        return Unknown("config space reads as all ones: the function does not answer")
    header_type = header[0x0E] & 0x7F
    is_bridge = header_type in (HeaderType.BRIDGE, HeaderType.CARDBUS)
    port_type = _port_type(read, header)
    return ConfigFacts(
        header_type=header_type,
        multifunction=bool(header[0x0E] & 0x80),
        secondary=header[0x19] if is_bridge else None,
        subordinate=header[0x1A] if is_bridge else None,
        port_type=port_type,
        acs=port_type if isinstance(port_type, Unknown) else _acs(read, port_type),
    )


def _port_type(read: Read, header: bytes) -> int | Unknown | None:
    hidden = len(read(_HEADER_SIZE, 4)) < 4
    for found in standard(read, cardbus=header[0x0E] & 0x7F == HeaderType.CARDBUS):
        if found.id == CapabilityId.PCI_EXPRESS:
            flags = read(found.offset + 2, 2)
            return flags[0] >> 4 if len(flags) == 2 else NEEDS_PRIVILEGE
    has_list = header[0x06] & 0x10
    return NEEDS_PRIVILEGE if hidden and has_list else None


def _acs(read: Read, port_type: int | None) -> AcsRegisters | None:
    """Read the ACS capability; a function whose extended space the kernel cannot reach has none."""
    if port_type is None:
        return None
    for found in extended(read):
        if found.id == ExtendedId.ACS:
            data = read(found.offset + 4, 8).ljust(8, b"\0")
            word = [int.from_bytes(data[at : at + 2], "little") for at in (0, 2)]
            return AcsRegisters(
                capability=word[0], control=word[1], next_dword=int.from_bytes(data[4:8], "little")
            )
    return None

"""Config space that says what a function's topology facts say: the inverse of their decoding."""

from vfiokit.model.device import AcsRegisters, ConfigFacts, HeaderType, PciDevice
from vfiokit.model.unknown import Unknown, known
from vfiokit.pci.capabilities import CapabilityId, ExtendedId

__all__ = ["config_bytes"]

_HEADER_SIZE, _CONVENTIONAL_SIZE, _EXPRESS_SIZE = 0x40, 0x100, 0x1000
_EXPRESS_AT, _ACS_AT = 0x40, 0x140
_STATUS_CAP_LIST = 0x10


def config_bytes(device: PciDevice) -> bytes:
    """Return the config space of a function whose ``config`` is known.

    It has 64 bytes where the port type is unknown, as an unprivileged reader sees it, else 256 for a
    conventional function and 4096 for a PCI Express one.
    """
    facts = device.config
    assert isinstance(facts, ConfigFacts)
    space = bytearray(_EXPRESS_SIZE)
    _put_header(space, device, facts)
    if facts.port_type is None:
        return bytes(space[:_CONVENTIONAL_SIZE])
    space[0x06] |= _STATUS_CAP_LIST
    space[0x14 if facts.header_type == HeaderType.CARDBUS else 0x34] = _EXPRESS_AT
    if isinstance(facts.port_type, Unknown):
        return bytes(space[:_HEADER_SIZE])
    space[_EXPRESS_AT : _EXPRESS_AT + 4] = bytes((CapabilityId.PCI_EXPRESS, 0, facts.port_type << 4 | 2, 0))
    if isinstance(facts.acs, AcsRegisters):
        _put_acs(space, facts.acs)
    return bytes(space)


def _put_header(space: bytearray, device: PciDevice, facts: ConfigFacts) -> None:
    space[0:2] = known(device.vendor, 0xFFFF).to_bytes(2, "little")
    space[2:4] = known(device.device, 0xFFFF).to_bytes(2, "little")
    space[8] = known(device.revision, 0)
    space[9:12] = known(device.class_code, 0).to_bytes(3, "little")
    space[0x0E] = facts.header_type | (0x80 if facts.multifunction else 0)
    if facts.header_type in (HeaderType.BRIDGE, HeaderType.CARDBUS):
        space[0x18] = device.address.bus
        space[0x19] = facts.secondary or 0
        space[0x1A] = facts.subordinate or 0


def _put_acs(space: bytearray, acs: AcsRegisters) -> None:
    # A first capability that nobody asks for, so that the list has to be followed to reach ACS.
    space[0x100:0x104] = (0x0001 | 1 << 16 | _ACS_AT << 20).to_bytes(4, "little")
    space[_ACS_AT : _ACS_AT + 4] = (ExtendedId.ACS | 1 << 16).to_bytes(4, "little")
    space[_ACS_AT + 4 : _ACS_AT + 6] = acs.capability.to_bytes(2, "little")
    space[_ACS_AT + 6 : _ACS_AT + 8] = acs.control.to_bytes(2, "little")
    space[_ACS_AT + 8 : _ACS_AT + 12] = acs.next_dword.to_bytes(4, "little")

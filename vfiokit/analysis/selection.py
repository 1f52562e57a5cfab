"""From what a person writes to one function or one group: exact names only, never a part of one."""

import re

from vfiokit.address import PciAddress
from vfiokit.errors import AmbiguousSelector, CannotTell, NotFound, UsageError, VfiokitError
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Host
from vfiokit.model.unknown import known

__all__ = ["is_name", "select_device", "select_group"]

_DEVICES = "sys/bus/pci/devices"
_GROUP = re.compile(r"group:([0-9]{1,9})", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_IDS = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})", re.ASCII)
_LONG = re.compile(r"[0-9a-fA-F]{4,8}:[^:]*:[^:]*|pci_.*", re.ASCII)


def is_name(text: str) -> bool:
    """Whether a selector can only be the name of an interface or a block device.

    >>> is_name("eth0"), is_name("0000:03:00.0"), is_name("group:3")
    (True, False, False)
    """
    return _address(text) is None and not any(pattern.fullmatch(text) for pattern in (_GROUP, _NUMBER, _IDS))


def select_device(host: Host, text: str) -> PciAddress:
    """Return the one function that *text* names.

    *text* is a full or short address, ``vendor:device``, ``group:N`` of a group with one member, or the
    name of a network interface or block device (for which the host must have been scanned with names).

    :raises NotFound: if nothing matches.
    :raises AmbiguousSelector: if several do; the error lists them.
    :raises CannotTell: if the functions could not be listed.
    """
    found = _matches(host, text)
    if not found:
        raise _nothing_matches(host, text)
    if len(found) > 1:
        raise AmbiguousSelector(
            f"{len(found)} functions match", subject=text, candidates=tuple(map(str, sorted(found)))
        )
    return found[0]


def _nothing_matches(host: Host, text: str) -> VfiokitError:
    """Return the error to raise: where the functions could not be listed, nobody can tell."""
    unread = next((problem.reason for problem in host.problems if problem.path == _DEVICES), None)
    subject = text or "''"
    if unread is None:
        return NotFound(
            "no PCI function matches", operation="select", subject=subject, hint="vfiokit groups lists them"
        )
    return CannotTell(
        f"the functions could not be listed: {unread}", operation="select", subject=subject, hint=_DEVICES
    )


def select_group(host: Host, text: str) -> IommuGroup:
    """Return the group that *text* names: its number, ``group:N``, or a function in it.

    :raises NotFound: if nothing matches, or the function has no group.
    :raises AmbiguousSelector: if functions of several groups match.
    """
    number = _GROUP.fullmatch(text) or _NUMBER.fullmatch(text)
    if number:
        return host.group(int(number[number.lastindex or 0]))
    found = _matches(host, text)
    groups = {host.by_address[address].group for address in found}
    if len(groups) == 1 and isinstance(group := groups.pop(), int):
        return host.group(group)
    if len(found) > 1:
        raise AmbiguousSelector(
            f"{len(found)} functions match", subject=text, candidates=tuple(map(str, sorted(found)))
        )
    address = select_device(host, text)
    raise NotFound("it has no IOMMU group", operation="select", subject=str(address))


def _matches(host: Host, text: str) -> list[PciAddress]:
    address = _address(text)
    if address is not None:
        return _by_address(host, address, exact=bool(_LONG.fullmatch(text)))
    group = _GROUP.fullmatch(text)
    if group:
        return list(known(host.group(int(group[1])).devices, ()))
    ids = _IDS.fullmatch(text)
    if ids:
        wanted = (int(ids[1], 16), int(ids[2], 16))
        return [device.address for device in host.devices if (device.vendor, device.device) == wanted]
    return sorted({entry.address for entry in host.names if entry.name == text})


def _by_address(host: Host, address: PciAddress, *, exact: bool) -> list[PciAddress]:
    if exact:
        return [address] if address in host.by_address else []
    return [device.address for device in host.devices if device.address[1:] == address[1:]]


def _address(text: str) -> PciAddress | None:
    try:
        return PciAddress.parse(text)
    except UsageError:
        return None

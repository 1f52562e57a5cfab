"""The udev rule that sets an override at boot, and only for the function that was meant.

It needs udev and a shell and nothing else, so that it works before any file system is mounted. A function
that has a driver already is left alone: who takes it from a running host asks the rules first.
"""

import shlex
from collections.abc import Iterator

from vfiokit.address import PciAddress
from vfiokit.binding.identity import Identity

__all__ = ["rule_name", "rule_text"]

_ATTRIBUTES = (
    ("vendor", 4),
    ("device", 4),
    ("subsystem_vendor", 4),
    ("subsystem_device", 4),
    ("class_code", 6),
    ("revision", 2),
)
"""Fields of an identity and the digits that sysfs shows of them; the class is called ``class`` there."""


def rule_name(address: PciAddress) -> str:
    """Return the file's name: before 80-drivers.rules, which loads the drivers' modules."""
    return f"62-vfiokit-{address}.rules"


def rule_text(
    address: PciAddress, identity: Identity, members: tuple[PciAddress, ...], driver: str, module: str
) -> str:
    """Return the rule for one function.

    :param members: all of its IOMMU group, itself included; a group with another member is refused.
    :param module: what brings the driver.
    """
    return "\n".join(_lines(address, identity, members, driver, module)) + "\n"


def _lines(
    address: PciAddress, identity: Identity, members: tuple[PciAddress, ...], driver: str, module: str
) -> Iterator[str]:
    yield "# Made by vfiokit persist add; vfiokit persist remove takes it away."
    yield f'ACTION!="add", {_GOTO_END}'
    yield f'SUBSYSTEM!="pci", {_GOTO_END}'
    yield f'KERNEL!="{address}", {_GOTO_END}'
    yield f'ENV{{{_WHY}}}="another function is at this address"'
    for name, digits in _ATTRIBUTES:
        value = getattr(identity, name)
        if value is not None:
            attribute = "class" if name == "class_code" else name
            yield f'ATTR{{{attribute}}}!="0x{value:0{digits}x}", {_GOTO_REFUSE}'
    yield f'DEVPATH!="{_path_pattern(identity.path)}", {_GOTO_REFUSE}'
    yield f'ENV{{{_WHY}}}="its IOMMU group is not what it was"'
    yield f"PROGRAM!=\"/bin/sh -c 'cd /sys%p/iommu_group/devices && echo *'\", {_GOTO_REFUSE}"
    yield f'RESULT!="{" ".join(map(str, sorted(members)))}", {_GOTO_REFUSE}'
    yield f'ENV{{{_WHY}}}="it has a driver already"'
    yield f'DRIVER!="|{driver}", {_GOTO_REFUSE}'
    yield f'ATTR{{driver_override}}="{driver}"'
    yield f'RUN{{builtin}}+="kmod load {module}"'
    # A driver that was there before the override looks again only when it is told to.
    yield "RUN+=\"/bin/sh -c 'echo %k > /sys/bus/pci/drivers_probe'\""
    yield _GOTO_END
    yield f'LABEL="{_REFUSE}"'
    text = f"vfiokit: {address}: $env{{{_WHY}}}: not bound to {driver}"
    yield f"RUN+=\"/bin/sh -c 'echo {text} > /dev/kmsg'\""
    yield f'LABEL="{_END}"'


_WHY = "VFIOKIT_WHY"
_REFUSE, _END = "vfiokit_refuse", "vfiokit_end"
_GOTO_REFUSE = f'GOTO="{_REFUSE}"'
_GOTO_END = f'GOTO="{_END}"'


def _path_pattern(path: str) -> str:
    """Return a glob for a function's place: bus numbers below the root bus move when hardware is added.

    >>> _path_pattern("0000:00/1c.0/00.0")
    '*/pci0000:00/*:1c.0/*:00.0'
    """
    root, *hops = path.split("/")[-path.count("/") - 1 :]
    if root.count(":") == 2:
        # Behind a VMD controller the root bus hangs below a function.
        root, *hops = hops
    return "/".join(["*", f"pci{shlex.quote(root)}", *(f"*:{hop}" for hop in hops)])

"""What a function is, so that it is known again when addresses have moved."""

from dataclasses import dataclass, fields

from vfiokit.address import PciAddress
from vfiokit.binding.evidence import FunctionUse
from vfiokit.model.device import PciDevice
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown

__all__ = ["Identity", "differences", "identify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is fixed about a function; ``None`` where it could not be read.

    :ivar vendor: 16 bits, and so on for the other identifiers.
    :ivar class_code: 24 bits.
    :ivar serial: its Device Serial Number as hexadecimal digits; empty where none was read.
    :ivar path: device and function at each hop from the root bus, ``0000:00/1c.0/00.0``. Bus numbers, which
        move when hardware is added, are not in it.
    """

    vendor: int | None
    device: int | None
    subsystem_vendor: int | None
    subsystem_device: int | None
    class_code: int | None
    revision: int | None
    serial: str
    path: str


def identify(host: Host, device: PciDevice, use: FunctionUse | None) -> Identity:
    """Take down what a function is; the host must have been scanned with its revisions."""
    return Identity(
        vendor=_number(device.vendor),
        device=_number(device.device),
        subsystem_vendor=_number(device.subsystem_vendor),
        subsystem_device=_number(device.subsystem_device),
        class_code=_number(device.class_code),
        revision=_number(device.revision),
        serial=use.serial if use else "",
        path=_path(host, device),
    )


def differences(recorded: Identity, found: Identity) -> tuple[str, ...]:
    """Say what about a function is not as it was recorded.

    A serial number or a revision that either side lacks is not held against it: they need privileges.
    """
    said = []
    for field in fields(Identity):
        before, after = getattr(recorded, field.name), getattr(found, field.name)
        absent = field.name in ("serial", "revision") and not (before and after)
        if before != after and not absent:
            said.append(f"{field.name}: {_text(before)} recorded, {_text(after)} found")
    return tuple(said)


def _path(host: Host, device: PciDevice) -> str:
    hops = [each.address for each in (device, *host.upstream(device))]
    root: PciAddress = hops[-1]
    middle = "/".join(f"{hop.device:02x}.{hop.function:x}" for hop in reversed(hops))
    owner = f"{device.dma_device}/" if device.dma_device else ""
    return f"{owner}{root.domain:04x}:{root.bus:02x}/{middle}"


def _number(value: int | Unknown | None) -> int | None:
    return None if isinstance(value, Unknown) else value


def _text(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else str(value)

"""One function on a page: who it is, who has it, how it is connected, where it lies, what it can do."""

from collections.abc import Iterator, Sequence
from typing import Any

from vfiokit.model.device import PciDevice
from vfiokit.model.unknown import Unknown
from vfiokit.pci.bars import Bar
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.structure import Structure
from vfiokit.render.bars import bar_text
from vfiokit.render.config import diagnostic_lines, field_text
from vfiokit.render.config_json import bar_object, function_object
from vfiokit.render.json import device_object
from vfiokit.render.view import Names, title

__all__ = ["link_text", "show_lines", "show_object"]

_FIELDS = 10


def show_lines(device: PciDevice, space: ConfigSpace, ranges: Sequence[Bar], names: Names) -> Iterator[str]:
    """Yield the page."""
    yield title(device, names)
    yield from (f"  {name:<12} {value}" for name, value in _facts(device, space) if value)
    if ranges:
        yield "  addresses"
        yield from (f"    {bar_text(bar)}" for bar in ranges)
    structures = (*space.capabilities, *space.extended)
    if structures:
        yield "  capabilities"
        yield from (f"    {_capability(each)}" for each in structures)
    for line in diagnostic_lines(None, space):
        yield f"  {line}"


def show_object(
    device: PciDevice, space: ConfigSpace, ranges: Sequence[Bar], names: Names
) -> dict[str, Any]:
    """Return the body of the document of ``show``."""
    return {
        "device": device_object(device, names),
        "power": _power(space),
        "link": _link(space),
        "bars": [bar_object(bar) for bar in ranges],
        "config": function_object(device.address, space),
    }


def link_text(space: ConfigSpace) -> str:
    """Return speed and width of the link, now and at most; empty without a link."""
    link = _link(space)
    if not link:
        return ""
    now, most = link["now"], link["most"]
    return f"{now['speed']} x{now['width']}, at most {most['speed']} x{most['width']}"


def _facts(device: PciDevice, space: ConfigSpace) -> Iterator[tuple[str, str]]:
    express = space.find("PCIe", extended=False)
    group = device.group
    yield "driver", _shown(device.driver, "none")
    yield "IOMMU group", _shown(group, "none")
    yield "type", str(express.get("Flags.PortType")) if express else "conventional PCI"
    yield "power", _power(space) or ""
    yield "link", link_text(space)
    yield "physical", _shown(device.physfn, "")
    yield "subsystem", _subsystem(device)


def _shown(value: object, absent: str) -> str:
    return absent if value is None else str(value)


def _subsystem(device: PciDevice) -> str:
    vendor, identifier = device.subsystem_vendor, device.subsystem_device
    if isinstance(vendor, Unknown) or isinstance(identifier, Unknown):
        return ""
    return f"{vendor:04x}:{identifier:04x}" if vendor else ""


def _power(space: ConfigSpace) -> str | None:
    management = space.find("PM", extended=False)
    return str(management.get("PMCSR.State")) if management else None


def _link(space: ConfigSpace) -> dict[str, Any]:
    express = space.find("PCIe", extended=False)
    if express is None or "LnkSta" not in express.layout.by_name:
        return {}
    return {
        "now": {"speed": express.get("LnkSta.Speed"), "width": express.get("LnkSta.Width")},
        "most": {"speed": express.get("LnkCap.Speed"), "width": express.get("LnkCap.Width")},
    }


def _capability(structure: Structure) -> str:
    """Return a capability with the first of what is set in it, register by register."""
    where = f"[{structure.offset:03x}]" if structure.is_extended else f"[{structure.offset:02x}]"
    left, shown = _FIELDS, []
    for register in structure.registers:
        fields = [field_text(field) for field in register.fields() if field.raw]
        if fields and register.name != "Header":
            cut = ["…"] if len(fields) > left else []
            shown.append(" ".join([register.name, *fields[:left], *cut]))
            left -= len(fields)
        if left <= 0:
            break
    return f"{where} {structure.title}: {'; '.join(shown)}".rstrip(": ")

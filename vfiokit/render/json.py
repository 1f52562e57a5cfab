"""Documents for programs: stable keys, numbers as numbers, ``null`` with its reason beside it."""

import json
from collections.abc import Iterable
from typing import Any

from vfiokit.address import PciAddress
from vfiokit.model.device import PciDevice
from vfiokit.model.finding import Finding
from vfiokit.model.group import IommuGroup, ReservedRegion
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown
from vfiokit.render.view import GroupView, Names

__all__ = ["document", "dumps", "finding_object", "group_object", "groups_document", "plain_value"]

Object = dict[str, Any]


# Without indentation Python's encoder is the one in C, five times as fast on a host of 1,024 functions.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def dumps(value: Object) -> str:
    """Return a document as JSON text: a line for each key, and for each element of a list.

    >>> print(dumps({"schema": "vfiokit.groups/1", "groups": [{"id": 0}, {"id": 7}]}))
    {
      "schema": "vfiokit.groups/1",
      "groups": [
        {"id": 0},
        {"id": 7}
      ]
    }
    """
    lines = (f"  {_encode(key)}: {_lines(entry)}" for key, entry in value.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _lines(value: object) -> str:
    if not isinstance(value, list) or not value:
        return _encode(value)
    return "[\n" + ",\n".join(f"    {_encode(entry)}" for entry in value) + "\n  ]"


def document(command: str, source: str, **body: object) -> Object:
    """Return the frame that every document has."""
    return {"schema": f"vfiokit.{command}/1", "source": source, **body}


def groups_document(
    source: str, host: Host, groups: Iterable[GroupView], findings: tuple[Finding, ...], names: Names
) -> Object:
    """Return the document of ``groups``."""
    return document(
        "groups",
        source,
        host=_host_object(host, findings),
        groups=[group_object(view, names) for view in groups],
        ungrouped=[str(device.address) for device in host.devices if device.group is None],
        problems=[{"path": problem.path, "reason": problem.reason} for problem in host.problems],
    )


def group_object(view: GroupView, names: Names) -> Object:
    """Return a group with its functions."""
    group = view.group
    return _with_unknown(
        {
            "id": group.id,
            "type": group.type,
            "noiommu": group.is_noiommu,
            "viable": view.viable,
            "reserved_regions": _regions(group),
            "findings": [finding_object(finding) for finding in view.findings],
            "devices": [device_object(device, names) for device in view.devices],
            "others": list(group.others),
        },
        members=group.devices,
    )


def device_object(device: PciDevice, names: Names) -> Object:
    """Return what a listing says of a function."""
    vendor, identifier, code = device.vendor, device.device, device.class_code
    return _with_unknown(
        {
            "address": str(device.address),
            "vendor": vendor,
            "device": identifier,
            "subsystem_vendor": device.subsystem_vendor,
            "subsystem_device": device.subsystem_device,
            "class": code,
            "vendor_name": names.vendor(vendor) if isinstance(vendor, int) else None,
            "device_name": _device_name(names, vendor, identifier),
            "class_name": names.class_name(code >> 8) if isinstance(code, int) else None,
            "driver": device.driver,
            "driver_override": device.driver_override,
            "numa_node": device.numa_node,
            "bridge": device.is_bridge,
            "physfn": plain_value(device.physfn),
            "boot_vga": device.boot_vga,
            "vfio_device": device.vfio_device,
        }
    )


def _device_name(names: Names, vendor: int | Unknown, device: int | Unknown) -> str | None:
    return names.device(vendor, device) if isinstance(vendor, int) and isinstance(device, int) else None


def finding_object(finding: Finding) -> Object:
    """Return a finding."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "message": finding.message,
        "evidence": list(finding.evidence),
        "remedies": list(finding.remedies),
    }


def plain_value(value: object) -> object:
    """Return an address as its text, anything else as it is."""
    return str(value) if isinstance(value, PciAddress) else value


def _host_object(host: Host, findings: tuple[Finding, ...]) -> Object:
    platform = host.platform
    return _with_unknown(
        {
            "kernel": platform.kernel_release,
            "interrupt_remapping": platform.interrupt_remapping,
            "unsafe_interrupts": platform.unsafe_interrupts,
            "noiommu_mode": platform.noiommu_mode,
            "hypervisor": platform.hypervisor,
            "findings": [finding_object(finding) for finding in findings],
        }
    )


def _regions(group: IommuGroup) -> object:
    regions = group.reserved_regions
    return (
        regions
        if regions is None or isinstance(regions, Unknown)
        else [_region(region) for region in regions]
    )


def _region(region: ReservedRegion) -> Object:
    return {"start": region.range.start, "end": region.range.end, "type": region.type}


def _with_unknown(body: Object, **hidden: object) -> Object:
    """Put ``null`` where a value is unknown, and all reasons under ``unknown``."""
    reasons = {key: value.reason for key, value in {**body, **hidden}.items() if isinstance(value, Unknown)}
    if reasons:
        body = {key: None if isinstance(value, Unknown) else value for key, value in body.items()}
        body["unknown"] = reasons
    return body

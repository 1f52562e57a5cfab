"""Config space for programs: every field with name, value, meaning, place and access."""

from typing import Any

from vfiokit.address import PciAddress
from vfiokit.pci.bars import Bar
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.structure import FieldValue, RegisterValue, Structure

__all__ = ["bar_object", "function_object", "register_object", "structure_object"]

Object = dict[str, Any]


def function_object(address: PciAddress | None, space: ConfigSpace) -> Object:
    """Return a function with everything that its config space says."""
    return {
        "address": None if address is None else str(address),
        "size": space.image.limit,
        "header": structure_object(space.header),
        "capabilities": [structure_object(each) for each in space.capabilities],
        "extended": [structure_object(each) for each in space.extended],
        "diagnostics": [
            {
                "code": each.code,
                "severity": each.severity,
                "offset": each.offset,
                "message": each.message,
            }
            for each in space.diagnostics
        ],
    }


def structure_object(structure: Structure) -> Object:
    """Return a header or a capability; an unknown one has its bytes in place of registers."""
    row = structure.layout.row
    body: Object = {
        "id": structure.id if row.id >= 0 else None,
        "name": structure.name,
        "title": structure.title,
        "offset": structure.offset,
        "version": structure.version,
        "section": row.section,
        "vfio": row.view,
    }
    if not structure.is_known:
        return {**body, "raw": structure.raw.hex()}
    return {**body, "registers": [register_object(each) for each in structure.registers]}


def register_object(register: RegisterValue) -> Object:
    """Return a register with its fields."""
    return {
        "name": register.name,
        "title": register.row.title,
        "offset": register.offset,
        "size": register.row.size,
        "value": register.value,
        "vfio": register.view,
        "fields": [field_object(each) for each in register.fields()],
    }


def field_object(field: FieldValue) -> Object:
    """Return a field: its bits as a number, and what they mean."""
    return {
        "name": field.name,
        "title": field.title,
        "offset": field.offset,
        "bits": [field.high, field.low],
        "access": field.access,
        "vfio": field.view,
        "value": field.raw,
        "meaning": field.value,
        "unit": field.unit or None,
    }


def bar_object(bar: Bar) -> Object:
    """Return a range of addresses."""
    return {
        "kind": bar.kind,
        "index": bar.index,
        "io": bar.is_io,
        "width": bar.width,
        "prefetchable": bar.prefetchable,
        "address": bar.address,
        "size": bar.size,
        "size_source": bar.size_source,
        "enabled": bar.enabled,
        "marks": list(bar.marks),
        "possible_sizes": list(bar.possible),
        "disagreements": list(bar.disagreements),
    }

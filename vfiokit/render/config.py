"""Config space for people: every register on a line, its fields beside it; differences by field."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from vfiokit.address import PciAddress
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.differences import Difference
from vfiokit.pci.selection import Selected
from vfiokit.pci.structure import FieldValue, RegisterValue, Structure

__all__ = ["config_lines", "diagnostic_lines", "difference_lines", "field_text", "selected_lines"]

_WIDTH = 110
_INDENT = 34
_UNITS = {"bytes": "B"}


def config_lines(address: PciAddress | None, space: ConfigSpace) -> Iterator[str]:
    """Yield a function's header and capabilities, register by register."""
    header = space.header
    vendor, device = header.get("VendorID.VendorID"), header.get("DeviceID.DeviceID")
    name = "function" if address is None else str(address)
    yield f"{name} {vendor or 0:04x}:{device or 0:04x}"
    for structure in space.structures:
        yield from structure_lines(structure)


def structure_lines(structure: Structure) -> Iterator[str]:
    """Yield one structure: where it is and what it is, then its registers."""
    where = f"[{structure.offset:03x}]" if structure.is_extended else f"[{structure.offset:02x}]"
    version = f" v{structure.version}" if structure.is_extended else ""
    yield f"  {where} {structure.name}: {structure.title}{version}"
    if not structure.is_known:
        yield f"      id {structure.id:#06x}, not known: {structure.raw[:16].hex(' ')} …"
        return
    for register in structure.registers:
        yield from _register_lines(register)


def _register_lines(register: RegisterValue) -> Iterator[str]:
    digits = 2 * register.row.size
    head = f"      {register.offset:03x} {register.name:<18} {register.value:0{digits}x}"
    fields = " ".join(map(field_text, register.fields()))
    wrapped = textwrap.wrap(fields, _WIDTH - _INDENT - 8, break_long_words=False, break_on_hyphens=False)
    yield f"{head:<{_INDENT + 8}}{wrapped[0] if wrapped else ''}".rstrip()
    for line in wrapped[1:]:
        yield " " * (_INDENT + 8) + line


def field_text(field: FieldValue) -> str:
    """Return a field in a few letters: ``Enable+``, ``MaxPayload=256``, ``Speed=16GT/s``.

    >>> from vfiokit.pci.registers.rows import Access, View
    >>> field_text(FieldValue("Enable", "", 1, True, 0, 0, 0, Access.RW, "", View.WRITABLE))
    'Enable+'
    """
    if isinstance(field.value, bool):
        return f"{field.name}{'-+'[field.value]}"
    if isinstance(field.value, str):
        return f"{field.name}={field.value.replace(' ', '_')}"
    wide = field.high - field.low >= 12
    unit = _UNITS.get(field.unit, field.unit)
    return f"{field.name}={field.value:#x}" if wide else f"{field.name}={field.value}{unit}"


def selected_lines(address: PciAddress | None, chosen: Iterable[Selected]) -> Iterator[str]:
    """Yield what ``--only`` chose, a line each."""
    prefix = "" if address is None else f"{address} "
    for structure, register, field in chosen:
        if register is None:
            yield from structure_lines(structure)
        elif field is None:
            shown = " ".join(map(field_text, register.fields()))
            digits = 2 * register.row.size
            yield f"{prefix}{structure.name}.{register.name} {register.value:0{digits}x} {shown}".rstrip()
        else:
            value = int(field.value) if isinstance(field.value, bool) else field.value
            yield f"{prefix}{structure.name}.{register.name}.{field.name} {value}"


def diagnostic_lines(address: PciAddress | None, space: ConfigSpace) -> Iterator[str]:
    """Yield what is wrong or missing, a line each."""
    name = "" if address is None else f"{address}: "
    for each in space.diagnostics:
        yield f"{name}{each.severity}: {each.message} [{each.code}]"


def difference_lines(differences: Sequence[Difference], one: str, other: str) -> Iterator[str]:
    """Yield differences by field; both sides are named first."""
    if not differences:
        yield f"no difference between {one} and {other}"
        return
    yield f"- {one}"
    yield f"+ {other}"
    for each in differences:
        before = "absent" if each.before is None else each.before
        after = "absent" if each.after is None else each.after
        yield f"  {each.name}: {before} -> {after}"

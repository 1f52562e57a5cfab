"""What differs between two config spaces, field by field: two functions, two moments, two views."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.structure import Structure

__all__ = ["Difference", "differences"]

_Content = dict[str, int | str]


class Difference(NamedTuple):
    """One field that is not the same.

    :ivar name: ``PCIe.DevCtl.MaxPayload``; a capability that stands more than once has its number:
        ``VSEC#2``.
    :ivar before: what it holds in the first, ``None`` where it is absent.
    :ivar after: what it holds in the second, ``None`` where it is absent.
    """

    name: str
    before: int | str | None
    after: int | str | None


def differences(one: ConfigSpace, other: ConfigSpace) -> tuple[Difference, ...]:
    """Return what differs, in the order of the first, then what is in the second alone.

    A capability that is in one of them alone is one difference, not one for each of its fields.
    """
    before, after = _structures(one), _structures(other)
    found: list[Difference] = []
    for name in (*before, *(name for name in after if name not in before)):
        left, right = before.get(name), after.get(name)
        if left is None or right is None:
            found.append(Difference(name, _place(left), _place(right)))
            continue
        if left.offset != right.offset:
            found.append(Difference(f"{name} offset", _place(left), _place(right)))
        found += _fields(name, _content(left), _content(right))
    return tuple(found)


def _fields(name: str, before: _Content, after: _Content) -> Iterator[Difference]:
    for field in (*before, *(field for field in after if field not in before)):
        left, right = before.get(field), after.get(field)
        if left != right:
            yield Difference(f"{name}.{field}", left, right)


def _structures(space: ConfigSpace) -> dict[str, Structure]:
    met: Counter[str] = Counter()
    found: dict[str, Structure] = {}
    for each in space.structures:
        met[each.name] += 1
        suffix = f"#{met[each.name]}" if met[each.name] > 1 else ""
        found[each.name + suffix] = each
    return found


def _place(structure: Structure | None) -> str | None:
    return None if structure is None else f"at {structure.offset:#x}"


def _content(structure: Structure) -> _Content:
    content: _Content = {}
    if not structure.is_known:
        content["raw"] = structure.raw.hex()
    for register in structure.registers:
        if register.name == "Header":
            continue
        covered = 0
        for field in register.fields():
            value = field.value
            content[f"{register.name}.{field.name}"] = (
                value if isinstance(value, str) or field.high - field.low < 12 else f"{int(value):#x}"
            )
            covered |= (1 << field.high - field.low + 1) - 1 << field.low
        rest = register.value & ~covered
        if rest or not register.row.fields:
            content[f"{register.name}.reserved"] = f"{rest:#x}"
    return content

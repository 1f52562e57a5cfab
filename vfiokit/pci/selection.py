"""From ``CAP[.REGISTER[.FIELD]]`` to structures, registers and fields of a config space."""

from collections.abc import Iterator
from typing import NamedTuple

from vfiokit.errors import CannotTell, NotFound
from vfiokit.model.finding import Severity
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.structure import FieldValue, RegisterValue, Structure

__all__ = ["Selected", "select"]


class Selected(NamedTuple):
    """What a path leads to: a structure, a register of it, a field of that.

    :ivar structure: the structure.
    :ivar register: ``None`` for the whole structure.
    :ivar field: ``None`` for the whole register.
    """

    structure: Structure
    register: RegisterValue | None
    field: FieldValue | None


def select(space: ConfigSpace, path: str) -> tuple[Selected, ...]:
    """Return what *path* names; more than one where a capability stands twice in a list.

    A capability goes by its name or by its identifier: ``PCIe``, ``0x10``, ``ext:0x23``; names in any case.

    :raises NotFound: if the function has no such thing.
    :raises CannotTell: if capabilities are hidden, so that it may have it.
    """
    name, _, rest = path.partition(".")
    register, _, field = rest.partition(".")
    structures = [each for each in space.structures if _is_named(each, name)]
    if not structures:
        _refuse(space, name)
    found = [chosen for each in structures for chosen in _within(each, register, field)]
    if not found:
        known = ", ".join(structures[0].layout.by_name)
        raise NotFound(
            "no such register or field", operation="select", subject=path, hint=f"registers: {known}"
        )
    return tuple(found)


def _refuse(space: ConfigSpace, name: str) -> None:
    hidden = [each for each in space.diagnostics if each.severity is Severity.UNKNOWN]
    if hidden:
        raise CannotTell(hidden[0].message, operation="select", subject=name)
    known = ", ".join(dict.fromkeys(each.name for each in space.structures))
    raise NotFound("no such capability here", operation="select", subject=name, hint=f"there are {known}")


def _is_named(structure: Structure, name: str) -> bool:
    if name.casefold() == structure.name.casefold():
        return True
    extended = name.startswith("ext:")
    try:
        number = int(name.removeprefix("ext:"), 16)
    except ValueError:
        return False
    explicit = extended or name.startswith("0x")
    is_capability = structure.layout.row.id >= 0
    return explicit and is_capability and number == structure.id and structure.is_extended == extended


def _within(structure: Structure, register: str, field: str) -> Iterator[Selected]:
    if not register:
        yield Selected(structure, None, None)
        return
    for each in structure.registers:
        if each.name.casefold() != register.casefold():
            continue
        if not field:
            yield Selected(structure, each, None)
            continue
        for value in each.fields():
            if value.name.casefold() == field.casefold():
                yield Selected(structure, each, value)

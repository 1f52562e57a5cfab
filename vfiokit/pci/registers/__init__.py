"""The registers of configuration space as rows, a module for each family of capabilities.

A family is imported when the first of its capabilities is met.
"""

import importlib
from collections.abc import Iterator

from vfiokit.pci.registers.maker import Maker
from vfiokit.pci.registers.rows import Capability

__all__ = ["FAMILIES", "ONLY_MAKERS", "capabilities", "families", "makers"]

FAMILIES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "allocation": ((0x14,), (0x15, 0x24)),
    "channels": ((), (0x02, 0x08, 0x09, 0x35)),
    "cxl": ((), (0x23,)),
    "errors": ((), (0x01, 0x07, 0x1D)),
    "express": ((0x10,), ()),
    "features": (
        (0x00,),
        (0, 3, 11, 23, 26, 28, 31, 32, 33, 34, 37, 40, 41, 43, 44, 45, 47, 54, 58),
    ),
    "flit": ((), (0x32, 0x33, 0x34, 0x37)),
    "hypertransport": ((0x08,), ()),
    "interrupts": ((0x05, 0x11), ()),
    "isolation": ((), (0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x1B, 0x38)),
    "legacy": ((0x02, 0x03, 0x04, 0x06, 0x07, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x12, 0x13, 0x15), ()),
    "phy": ((), (0x19, 0x26, 0x27, 0x2A, 0x31, 0x39)),
    "power": ((0x01,), (0x04, 0x16, 0x18, 0x1E)),
    "root_complex": ((), (0x05, 0x06, 0x0A, 0x0C)),
    "security": ((), (0x2E, 0x30)),
    "vendor": ((0x09,), ()),
}
"""The identifiers, standard and extended, that each family describes."""

_MODULES = {
    (extended, number): family
    for family, lists in FAMILIES.items()
    for extended, numbers in enumerate(lists)
    for number in numbers
}
_MAKERS: dict[tuple[int, int], tuple[Maker, ...]] = {}
ONLY_MAKERS: tuple[dict[int, Maker], dict[int, Maker]] = ({}, {})
"""Makers that were met, of identifiers with one row for all functions: standard, extended."""


def makers(number: int, extended: bool) -> tuple[Maker, ...]:
    """Return the makers of an identifier's rows in the order in which they are tried, none if unknown."""
    key = (int(extended), number)
    found = _MAKERS.get(key)
    if found is None:
        found = tuple(
            Maker(row)
            for row in capabilities(_MODULES.get(key, ""))
            if row.id == number and row.extended == extended
        )
        if key in _MODULES:
            _MAKERS[key] = found
            if len(found) == 1 and not found[0].row.when:
                ONLY_MAKERS[extended][number] = found[0]
    return found


def capabilities(family: str) -> tuple[Capability, ...]:
    """Return a family's rows; none for a family that there is not."""
    if not family:
        return ()
    rows: tuple[Capability, ...] = importlib.import_module(f"{__name__}.{family}").CAPABILITIES
    return rows


def families() -> Iterator[tuple[str, tuple[Capability, ...]]]:
    """Yield every family with its rows, the headers first."""
    for family in ("header", *FAMILIES):
        yield family, capabilities(family)

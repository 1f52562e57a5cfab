"""What vfio-pci does with config space, for people: every register that is not as in the device."""

import textwrap
from collections.abc import Iterator

from vfiokit.address import PciAddress
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.structure import Structure
from vfiokit.pci.vfio_view import Deviation, deviations, is_hidden

__all__ = ["vfio_lines"]

_WIDTH = 110
_INDENT = 29


def vfio_lines(address: PciAddress | None, space: ConfigSpace) -> Iterator[str]:
    """Yield header and capabilities with the registers that vfio-pci copies, guards or acts on."""
    yield f"{'function' if address is None else address} through vfio-pci"
    for structure in space.structures:
        yield from _structure_lines(structure)


def _structure_lines(structure: Structure) -> Iterator[str]:
    where = f"[{structure.offset:03x}]" if structure.is_extended else f"[{structure.offset:02x}]"
    head = f"  {where} {structure.name}: {structure.title}"
    if is_hidden(structure):
        yield f"{head}: hidden from the list, its bytes pass both ways"
        return
    found = list(deviations(structure))
    yield head if found else f"{head}: as in the device"
    for each in found:
        first, *more = textwrap.wrap(_said(each), _WIDTH - _INDENT, break_on_hyphens=False)
        yield f"      {each.register.offset:03x} {each.register.name:<18} {first}"
        yield from (" " * _INDENT + line for line in more)


def _said(deviation: Deviation) -> str:
    return "; ".join(f"{' '.join(names)} {view}".lstrip() for view, names in deviation.views)

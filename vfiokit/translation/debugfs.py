"""The text of the kernel's own dump: ``/sys/kernel/debug/iommu/intel/…/domain_translation_struct``.

The kernel prints every present leaf with the entries on the way to it. It checks no reserved bits, and takes
bits 1:0 for presence in both stages. Before Linux 6.7 one file held all devices; since then each has its
own.

>>> text = "Device 0000:00:05.0 @0x2262000\\n" + leaf_line(0x4000200, (0, 3, 7, 0x83, 0))
>>> found = parse_tables(text)
>>> hex(found[0].root), hex(found[0].leaves[0].iova)
('0x2262000', '0x4000200000')
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vfiokit.errors import BadTable
from vfiokit.translation.audit import Mapping, coalesce
from vfiokit.translation.formats import LEVELS, level_shift
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Access
from vfiokit.translation.walk import Stage

__all__ = ["TableLeaf", "TableText", "leaf_line", "mappings", "parse_tables", "print_table", "read_leaves"]

_DEVICE = re.compile(
    r"Device (?P<device>[0-9a-f:.]+)(?: with pasid (?P<pasid>[0-9a-f]+))? @0x(?P<root>[0-9a-f]+)"
)
_LEAF = re.compile(r"0x([0-9a-f]{13}) \|((?:\s+0x[0-9a-f]{16}){3,5})")
_COLUMNS = "\t".join(
    ("IOVA_PFN".ljust(17), *(f"{name:18}" for name in ("PML5E", "PML4E", "PDPE", "PDE")), "PTE")
)


@dataclass(frozen=True, slots=True)
class TableLeaf:
    """One leaf.

    :ivar iova: address of its first byte.
    :ivar entries: the entries of levels 5 to 1, 0 where a level is not used.
    """

    iova: int
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TableText:
    """What the kernel says of one device.

    :ivar device: its address as the kernel prints it.
    :ivar pasid: ``None`` for requests without PASID.
    :ivar root: address of its table.
    """

    device: str
    pasid: int | None
    root: int
    leaves: tuple[TableLeaf, ...]


def parse_tables(text: str) -> tuple[TableText, ...]:
    """Read the file.

    :raises BadTable: at a line that is none of the kernel's.
    """
    found: list[tuple[re.Match[str], list[TableLeaf]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        head, leaf = _DEVICE.fullmatch(line.strip()), _LEAF.fullmatch(line.strip())
        if head:
            found.append((head, []))
        elif leaf and found:
            entries = [int(entry, 16) for entry in leaf[2].split()]
            # The columns below a large page are left out.
            entries += [0] * (5 - len(entries))
            found[-1][1].append(TableLeaf(int(leaf[1], 16) << 12, tuple(entries)))
        elif line.strip() and not line.startswith("IOVA_PFN"):
            raise BadTable(
                "not a line of domain_translation_struct", operation="parse", subject=f"line {number}"
            )
    return tuple(
        TableText(
            head["device"],
            int(head["pasid"], 16) if head["pasid"] else None,
            int(head["root"], 16),
            tuple(leaves),
        )
        for head, leaves in found
    )


def mappings(table: TableText) -> tuple[Mapping, ...]:
    """Return what a table maps, joined: the page sizes are told by the columns, permissions by bits 1:0."""
    return tuple(coalesce(map(_page, table.leaves)))


def _page(leaf: TableLeaf) -> Mapping:
    used = [(level, entry) for level, entry in zip((5, 4, 3, 2, 1), leaf.entries, strict=True) if entry]
    level, last = used[-1]
    span = 1 << level_shift(level)
    allowed = 3
    for _, entry in used:
        allowed &= entry
    return Mapping(leaf.iova, last & 0xFFFFFFFFFF000 & ~(span - 1), span, Access(allowed))


def print_table(table: TableText) -> str:
    """Return a table as the kernel prints it."""
    pasid = f" with pasid {table.pasid:x}" if table.pasid is not None else ""
    lines = [f"Device {table.device}{pasid} @0x{table.root:x}", _COLUMNS]
    lines += [leaf_line(leaf.iova >> 12, leaf.entries) for leaf in table.leaves]
    return "\n".join(lines) + "\n"


def leaf_line(frame: int, entries: tuple[int, ...]) -> str:
    """Return the line of a leaf at page number *frame*; the columns below a large page are left out."""
    shown = (*entries[:3], *(entry for entry in entries[3:] if entry))
    return f"0x{frame:013x} |\t" + "\t".join(f"0x{entry:016x}" for entry in shown)


def read_leaves(memory: Memory, stage: Stage) -> Iterator[TableLeaf]:
    """Yield the leaves of a table as the kernel would print them, out of memory."""
    yield from _read(memory, stage, stage.root, stage.levels, 0, {})


def _read(
    memory: Memory, stage: Stage, table: int, level: int, base: int, path: dict[int, int]
) -> Iterator[TableLeaf]:
    for slot in range(512):
        entry = memory.read64(table + 8 * slot)
        if entry is None or not entry & 3:
            continue
        here, iova = {**path, level: entry}, base + (slot << level_shift(level))
        below = stage.format.next_level(entry, level)
        if below:
            yield from _read(memory, stage, entry & 0xFFFFFFFFFF000, below, iova, here)
        else:
            yield TableLeaf(iova, tuple(here.get(each, 0) for each in reversed(LEVELS[:5])))

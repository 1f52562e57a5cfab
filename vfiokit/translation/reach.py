"""What each domain reaches, from tables in memory or from the kernel's own dump of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from vfiokit.address import PciAddress
from vfiokit.translation import debugfs
from vfiokit.translation.audit import Dump, coalesce
from vfiokit.translation.batch import dump
from vfiokit.translation.inventory import domains
from vfiokit.translation.iommu import AmdIommu, Iommu

__all__ = ["DomainReach", "reach_of_text", "reach_of_unit"]


@dataclass(frozen=True, slots=True)
class DomainReach:
    """A domain with everything that it maps.

    :ivar domain_id: what the unit tags it with; ``None`` where that is not known.
    :ivar sources: the source-ids of the requesters that share it, in order.
    :ivar tables: where its tables are, in words.
    :ivar dump: what it maps.
    """

    domain_id: int | None
    sources: tuple[int, ...]
    tables: str
    dump: Dump


def reach_of_unit(unit: Iommu | AmdIommu, sources: Iterable[int] | None = None) -> tuple[DomainReach, ...]:
    """Return the domains of a unit's tables.

    :param sources: the requesters to look at; all in the tables if not given.
    """
    found = []
    for domain in domains(unit, None if sources is None else iter(sources)):
        roots = zip(("first stage", "second stage"), domain.roots, strict=True)
        tables = ", ".join(f"{name} at {root:#x}" for name, root in roots if root)
        reached = dump(unit.memory, domain.descriptor)
        found.append(DomainReach(domain.descriptor.domain_id, domain.sources, tables, reached))
    return tuple(found)


def reach_of_text(texts: Iterable[str], sources: Iterable[int] | None = None) -> tuple[DomainReach, ...]:
    """Return the domains of the kernel's ``domain_translation_struct`` files, devices of one table together.

    :raises BadTable: if a text is none of the kernel's.
    """
    wanted = None if sources is None else frozenset(sources)
    members: dict[int, list[int]] = {}
    tables: dict[int, debugfs.TableText] = {}
    for table in (each for text in texts for each in debugfs.parse_tables(text)):
        source_id = PciAddress.parse(table.device).source_id
        if wanted is None or source_id in wanted:
            members.setdefault(table.root, []).append(source_id)
            tables[table.root] = table
    return tuple(
        DomainReach(
            None,
            tuple(sorted(set(members[root]))),
            f"table at {root:#x}",
            Dump(tuple(coalesce(debugfs.mappings(table)))),
        )
        for root, table in tables.items()
    )

"""``vfiokit mappings``: everything that domains map, or who maps one page of the host."""

from typing import Any

import click

from vfiokit.cli.common import echo_document, echo_lines
from vfiokit.cli.image import ADDRESS, SOURCE, TableOptions, audit_options
from vfiokit.render.json import document, dumps
from vfiokit.render.translation import domain_title, mapping_line, mapping_object, source_text
from vfiokit.translation.overlap import ReverseMap
from vfiokit.translation.reach import DomainReach

__all__ = ["command"]


@click.command("mappings", short_help="List what remapping tables in an image of memory map.")
@audit_options
@click.option(
    "--source", "sources", type=SOURCE, multiple=True, help="Only this requester; may be repeated."
)
@click.option("--to", "target", type=ADDRESS, help="Only who reaches this host physical address, and how.")
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
def command(sources: tuple[int, ...], target: int | None, as_json: bool, **options: Any) -> int:
    """List the runs of addresses that each domain maps, with the requesters that share it.

    With --to: the domains and addresses that lead to one host physical address; exit status 1 if none.
    """
    chosen = TableOptions(**options)
    found = chosen.reach(sources)
    if target is not None:
        return _reverse(chosen, found, target, as_json=as_json)
    if as_json:
        body = [
            {
                **_domain(domain),
                "stopped_at": domain.dump.stopped_at,
                "mappings": [mapping_object(mapping) for mapping in domain.dump.mappings],
            }
            for domain in found
        ]
        echo_document(dumps(document("mappings", chosen.subject, domains=body)))
    else:
        for domain in found:
            echo_lines([domain_title(domain), *map(mapping_line, domain.dump.mappings)])
    return 0


def _domain(domain: DomainReach) -> dict[str, object]:
    return {"domain_id": domain.domain_id, "sources": [source_text(source) for source in domain.sources]}


def _reverse(chosen: TableOptions, found: tuple[DomainReach, ...], target: int, *, as_json: bool) -> int:
    reverse = ReverseMap({index: domain.dump.mappings for index, domain in enumerate(found)})
    hits = [(found[index], iova, access) for index, iova, access in reverse.find(target)]
    if as_json:
        body = [{**_domain(domain), "iova": iova, "access": access.letters} for domain, iova, access in hits]
        echo_document(dumps(document("mappings", chosen.subject, address=target, reached_by=body)))
    else:
        echo_lines(
            f"{target:#x}  {', '.join(map(source_text, domain.sources))}  {iova:#x}  {access.letters}"
            for domain, iova, access in hits
        )
    return 0 if hits else 1

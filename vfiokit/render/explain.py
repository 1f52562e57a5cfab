"""What ``why`` says: the way to the root hop by hop, the steps that joined, causes and remedies."""

from collections.abc import Iterator
from typing import Any

from vfiokit.address import PciAddress
from vfiokit.analysis.causes import acs_text
from vfiokit.analysis.grouping import Join
from vfiokit.analysis.isolation import Effect, Explanation, Hop, Relation
from vfiokit.analysis.peers import Passage, Reach
from vfiokit.model.host import Host
from vfiokit.pci.acs_bits import acs_names
from vfiokit.render.json import Object, finding_object
from vfiokit.render.plain import finding_lines
from vfiokit.render.view import Names, title

__all__ = ["explanation_lines", "explanation_object", "relation_lines", "relation_object"]


def explanation_lines(host: Host, explanation: Explanation, names: Names) -> Iterator[str]:
    """Yield the explanation of one function."""
    yield title(host.by_address[explanation.address], names)
    yield _group_line(explanation)
    yield from _mates(host, explanation, names)
    yield ""
    yield "on the way to the root:"
    yield from (_hop_line(hop) for hop in explanation.hops)
    yield ""
    yield from _join_lines(explanation.joins, "it joined its group:", _alone(explanation))
    if explanation.findings:
        yield ""
        yield from finding_lines(explanation.findings)


def relation_lines(host: Host, relation: Relation, names: Names) -> Iterator[str]:
    """Yield what joins two functions or keeps them apart."""
    one, other = relation.one, relation.other
    yield title(host.by_address[one.address], names)
    yield f"  {_group_line(one)}"
    yield title(host.by_address[other.address], names)
    yield f"  {_group_line(other)}"
    yield ""
    yield from _join_lines(relation.joins, "what joins them, the first hop first:", _apart(relation))
    if not relation.joins:
        yield from (_hop_line(hop) for hop in _separators(relation))
    yield ""
    yield "requests from one to the other:"
    yield from (_reach_line(found) for found in (relation.there, relation.back))
    if relation.findings:
        yield ""
        yield from finding_lines(relation.findings)


def explanation_object(explanation: Explanation) -> Object:
    """Return the explanation of one function for JSON."""
    return {
        "address": str(explanation.address),
        "group": explanation.group,
        "members": _texts(explanation.members),
        "predicted": _texts(explanation.predicted),
        "agreement": explanation.agreement.name.lower().replace("_", "-"),
        "hops": [_hop_object(hop) for hop in explanation.hops],
        "joins": [_join_object(join) for join in explanation.joins],
        "findings": [finding_object(finding) for finding in explanation.findings],
    }


def relation_object(relation: Relation) -> Object:
    """Return what joins two functions or keeps them apart for JSON."""
    return {
        "same_group": relation.same_group,
        "joins": [_join_object(join) for join in relation.joins],
        "requests": [_reach_object(found) for found in (relation.there, relation.back)],
        "findings": [finding_object(finding) for finding in relation.findings],
        "functions": [explanation_object(relation.one), explanation_object(relation.other)],
    }


def _group_line(explanation: Explanation) -> str:
    if explanation.group is None:
        others = len(explanation.predicted) - 1
        shared = f"with {others} other{'s' if others != 1 else ''}" if others else "alone"
        return f"no IOMMU group; by the kernel's rules it would be {shared} in one"
    size = len(explanation.members)
    shared = "alone in it" if size == 1 else f"one of {size} in it"
    return f"group {explanation.group}, {shared}; {explanation.agreement.value}"


def _mates(host: Host, explanation: Explanation, names: Names) -> Iterator[str]:
    for address in explanation.members or explanation.predicted:
        if address != explanation.address and address in host.by_address:
            yield f"  with {title(host.by_address[address], names)}"


def _alone(explanation: Explanation) -> str:
    if len(explanation.predicted) > 1:
        return "it is the first of its group; the others joined it."
    return "nothing joins it to any other function: it has a group of its own."


def _hop_line(hop: Hop) -> str:
    return f"  {hop.address}  {hop.role}: {hop.effect.value} ({acs_text(hop.acs)})"


def _join_lines(joins: tuple[Join, ...], some: str, none: str) -> Iterator[str]:
    yield some if joins else none
    for number, join in enumerate(joins, 1):
        through = f" (through {join.via})" if join.via not in (join.address, join.other) else ""
        yield f"  {number}. {join.address} joined {join.other}{through}: {join.rule.value}"


def _apart(relation: Relation) -> str:
    if any(hop.effect is Effect.ISOLATES for hop in _separators(relation)):
        return "the kernel's rules keep them apart:"
    return "no step of the kernel's rules joins them, though nothing between them isolates:"


def _separators(relation: Relation) -> tuple[Hop, ...]:
    """Return the ports between the two, or the two themselves where there is none."""
    ways = (relation.one, relation.other)
    shared = {hop.address for hop in ways[0].hops} & {hop.address for hop in ways[1].hops}
    hops = {hop.address: hop for way in ways for hop in way.hops if hop.address not in shared}
    ports = tuple(hop for hop in hops.values() if hop.address not in (ways[0].address, ways[1].address))
    return ports or tuple(hops.values())


def _reach_line(found: Reach) -> str:
    at = f"at {found.turn} " if found.passage is not Passage.SAME else ""
    return f"  {found.source} -> {found.target}: {at}{found.passage.value}"


def _hop_object(hop: Hop) -> Object:
    return {
        "address": str(hop.address),
        "role": hop.role,
        "effect": hop.effect.name.lower(),
        "acs": {
            "isolated": hop.acs.isolated,
            "missing": list(acs_names(hop.acs.missing)),
            "basis": hop.acs.basis.name.lower(),
            "text": acs_text(hop.acs),
        },
    }


def _join_object(join: Join) -> Object:
    return {
        "address": str(join.address),
        "other": str(join.other),
        "via": str(join.via),
        "rule": join.rule.name.lower(),
        "text": join.rule.value,
    }


def _reach_object(found: Reach) -> Object:
    return {
        "source": str(found.source),
        "target": str(found.target),
        "turn": str(found.turn),
        "passage": found.passage.name.lower(),
    }


def _texts(addresses: tuple[PciAddress, ...]) -> list[Any]:
    return [str(address) for address in addresses]

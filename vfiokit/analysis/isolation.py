"""Why an IOMMU group is what it is, hop by hop, and what joins two functions or keeps them apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from vfiokit.address import PciAddress
from vfiokit.analysis.causes import join_finding, peer_findings, quirk_findings
from vfiokit.analysis.grouping import Join, Prediction, predict
from vfiokit.analysis.peers import Reach, reach
from vfiokit.analysis.platform import host_findings
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import PciDevice, PortType
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown, known
from vfiokit.pci.acs import AcsState

__all__ = ["Agreement", "Effect", "Explanation", "Hop", "Relation", "explain", "relate"]


class Effect(Enum):
    """What a function on the way to the root does to the isolation of what is below it."""

    ISOLATES = "isolates"
    LEAKS = "does not isolate"
    HIDES = "hides who sends"
    UNKNOWN = "unknown"


class Agreement(Enum):
    """How the group that the kernel formed compares with what its rules form."""

    AS_PREDICTED = "as the kernel's rules form it"
    SMALLER = "smaller than the kernel's rules form it"
    LARGER = "larger than the kernel's rules form it"
    DIFFERENT = "other than the kernel's rules form it"
    UNCERTAIN = "not to be predicted without all of config space"
    NO_GROUP = "no IOMMU formed it"


@dataclass(frozen=True, slots=True)
class Hop:
    """One function on the way from a function to the root.

    :ivar address: which.
    :ivar role: what it is there, in the specification's words.
    :ivar acs: whether it counts as isolated, and on what ground.
    :ivar effect: what it does to what is below it.
    """

    address: PciAddress
    role: str
    acs: AcsState
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why one function's group is what it is.

    :ivar address: the function.
    :ivar group: the number of its group, ``None`` without one.
    :ivar members: the group as the kernel formed it, in order of address.
    :ivar predicted: the group as the kernel's rules form it.
    :ivar agreement: how the two compare.
    :ivar hops: the way to the root, the function itself first.
    :ivar joins: how it came into its group, step by step; empty where it is the first member.
    :ivar findings: causes with their remedies, and what the groups do not show.
    """

    address: PciAddress
    group: int | None
    members: tuple[PciAddress, ...]
    predicted: tuple[PciAddress, ...]
    agreement: Agreement
    hops: tuple[Hop, ...]
    joins: tuple[Join, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """What joins two functions or keeps them apart.

    :ivar one: the first function, explained.
    :ivar other: the second function, explained.
    :ivar same_group: whether the kernel has them in one group; ``None`` where one has no group.
    :ivar joins: the steps that connect them by the kernel's rules; empty where the rules keep them apart.
    :ivar there: what becomes of a request from *one* to *other*.
    :ivar back: what becomes of a request from *other* to *one*.
    :ivar findings: causes with their remedies.
    """

    one: Explanation
    other: Explanation
    same_group: bool | None
    joins: tuple[Join, ...]
    there: Reach
    back: Reach
    findings: tuple[Finding, ...]


def explain(host: Host, address: PciAddress) -> Explanation:
    """Say why a function's group is what it is.

    :param host: a host that was scanned with config space.
    :raises NotFound: if the host has no such function.
    """
    device = host.device(address)
    topology = Topology(host)
    members = _observed(host, device)
    prediction, agreement = _agree(topology, address, _formed(host, device))
    joins = _joins(prediction, address)
    hops = tuple(_hop(topology, each) for each in (address, *topology.chain(address)))
    causes = tuple(join_finding(topology, join) for join in _joins_of_group(prediction, address))
    return Explanation(
        address=address,
        group=known(device.group, None),
        members=members,
        predicted=prediction.members(address),
        agreement=agreement,
        hops=hops,
        joins=joins,
        findings=(
            *_merge(causes),
            *_agreement_findings(host, device, agreement, members, prediction.members(address)),
            *quirk_findings(topology, [hop.address for hop in hops]),
            *peer_findings(topology, address),
            *host_findings(host),
        ),
    )


def relate(host: Host, one: PciAddress, other: PciAddress) -> Relation:
    """Say what joins two functions, or what keeps them apart.

    :param host: a host that was scanned with config space.
    :raises NotFound: if the host lacks one of them.
    """
    first, second = explain(host, one), explain(host, other)
    topology = Topology(host)
    prediction, _ = _agree(topology, one, _formed(host, host.device(one)))
    together = other in prediction.members(one)
    joins = prediction.path(one, other) if together else ()
    observed = None if first.group is None or second.group is None else first.group == second.group
    return Relation(
        one=first,
        other=second,
        same_group=observed,
        joins=joins,
        there=reach(topology, one, other),
        back=reach(topology, other, one),
        findings=_merge(tuple(join_finding(topology, join) for join in joins)),
    )


def role(topology: Topology, address: PciAddress) -> str:
    """Say what a function is in the topology, in the specification's words."""
    device = topology.host.by_address[address]
    port_type = topology.port_type(address)
    if isinstance(port_type, Unknown):
        return "bridge" if device.is_bridge else "function"
    if device.physfn is not None:
        return "virtual function"
    if port_type is None:
        return "conventional PCI bridge" if device.is_bridge else "conventional PCI function"
    return _ROLES.get(port_type, f"port of type {port_type:#x}")


_ROLES: dict[int, str] = {
    PortType.ENDPOINT: "endpoint",
    PortType.LEGACY_ENDPOINT: "legacy endpoint",
    PortType.ROOT_PORT: "root port",
    PortType.UPSTREAM_PORT: "switch upstream port",
    PortType.DOWNSTREAM_PORT: "switch downstream port",
    PortType.PCIE_TO_PCI_BRIDGE: "PCI Express to PCI bridge",
    PortType.PCI_TO_PCIE_BRIDGE: "PCI to PCI Express bridge",
    PortType.RC_INTEGRATED_ENDPOINT: "root complex integrated endpoint",
    PortType.RC_EVENT_COLLECTOR: "root complex event collector",
}


def _hop(topology: Topology, address: PciAddress) -> Hop:
    state = topology.acs(address)
    if topology.host.by_address[address].is_bridge and topology.hides_requester(address):
        effect = Effect.HIDES
    else:
        effect = {True: Effect.ISOLATES, False: Effect.LEAKS, None: Effect.UNKNOWN}[state.isolated]
    return Hop(address, role(topology, address), state, effect)


def _observed(host: Host, device: PciDevice) -> tuple[PciAddress, ...]:
    group = host.by_group.get(device.group) if isinstance(device.group, int) else None
    return known(group.devices, ()) if group else ()


def _formed(host: Host, device: PciDevice) -> tuple[PciAddress, ...]:
    """Return the members of a group that the rules formed: of none that VFIO made up."""
    group = host.by_group.get(device.group) if isinstance(device.group, int) else None
    return () if group is None or group.is_noiommu else known(group.devices, ())


def _covered(host: Host) -> frozenset[PciAddress]:
    """Return the functions the rules apply to: those with a group, or all where no IOMMU is on."""
    grouped = {
        address for group in host.groups if not group.is_noiommu for address in known(group.devices, ())
    }
    return frozenset(grouped) or frozenset(host.by_address)


def _agree(
    topology: Topology, address: PciAddress, observed: tuple[PciAddress, ...]
) -> tuple[Prediction, Agreement]:
    """Predict under each assumption and take the first that fits what the kernel did."""
    rejected: list[Prediction] = []
    for assumption in _assumptions(topology):
        prediction = _predict(topology, assumption)
        if not observed:
            return prediction, Agreement.NO_GROUP
        if prediction.members(address) == observed:
            return prediction, _weigh(topology, assumption, address, observed)
        rejected.append(prediction)
    # The first two differ in what is taken for config space that could not be read, and in nothing else.
    likeliest, rival = (prediction.members(address) for prediction in rejected[:2])
    agreement = Agreement.UNCERTAIN if likeliest != rival else _compare(set(observed), set(likeliest))
    return rejected[0], agreement


class _Assumption(NamedTuple):
    """What the rules rest on and nobody can see from outside."""

    order: tuple[PciAddress, ...]
    no_alias: bool
    unknown_isolates: bool


def _assumptions(topology: Topology) -> Iterator[_Assumption]:
    """Yield what to assume, the likeliest first."""
    for order in topology.orders:
        for no_alias in (False, True):
            for unknown_isolates in (True, False):
                yield _Assumption(order, no_alias, unknown_isolates)


def _predict(topology: Topology, assumption: _Assumption) -> Prediction:
    return predict(topology, _covered(topology.host), **assumption._asdict())


def _weigh(
    topology: Topology, assumption: _Assumption, address: PciAddress, observed: tuple[PciAddress, ...]
) -> Agreement:
    """Say what a prediction that fits is worth: nothing where config space that was not read decides it."""
    if not any(_is_hidden(device) for device in topology.host.devices):
        return Agreement.AS_PREDICTED
    rival = _predict(topology, assumption._replace(unknown_isolates=not assumption.unknown_isolates))
    fits = rival.members(address) == observed
    return Agreement.AS_PREDICTED if fits else Agreement.UNCERTAIN


def _is_hidden(device: PciDevice) -> bool:
    config = device.config
    return isinstance(config, Unknown) or Unknown in (type(config.port_type), type(config.acs))


def _compare(observed: set[PciAddress], predicted: set[PciAddress]) -> Agreement:
    if observed < predicted:
        return Agreement.SMALLER
    return Agreement.LARGER if observed > predicted else Agreement.DIFFERENT


def _joins(prediction: Prediction, address: PciAddress) -> tuple[Join, ...]:
    members = prediction.members(address)
    first = next((member for member in members if prediction.join(member) is None), address)
    return prediction.path(address, first)


def _joins_of_group(prediction: Prediction, address: PciAddress) -> tuple[Join, ...]:
    found = (prediction.join(member) for member in prediction.members(address))
    return tuple(join for join in found if join)


def _merge(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Keep one finding for each cause: many functions may be joined by the same port."""
    return tuple({(finding.code, finding.subject): finding for finding in findings}.values())


def _agreement_findings(
    host: Host,
    device: PciDevice,
    agreement: Agreement,
    members: tuple[PciAddress, ...],
    predicted: tuple[PciAddress, ...],
) -> tuple[Finding, ...]:
    row = _DISAGREEMENTS.get(agreement)
    if row is None:
        return ()
    code, severity, message, remedies = row
    return (
        Finding(
            code=code,
            severity=severity,
            subject=f"group {device.group}",
            message=message,
            evidence=(
                "the kernel's group: " + " ".join(map(str, members)),
                "by the rules: " + " ".join(map(str, predicted)),
            ),
            remedies=remedies,
        ),
    )


_DISAGREEMENTS: dict[Agreement, tuple[str, Severity, str, tuple[str, ...]]] = {
    Agreement.SMALLER: (
        "group-smaller-than-predicted",
        Severity.WARNING,
        (
            "the kernel's rules put more functions into this group: an ACS override or a patched kernel "
            "shows them apart, and nothing in the hardware isolates them"
        ),
        ("do not give members of the predicted group to different owners", "take pcie_acs_override off"),
    ),
    Agreement.LARGER: (
        "group-larger-than-predicted",
        Severity.INFO,
        (
            "the kernel put more functions together than its published rules do: ACS was changed after "
            "boot, or this kernel has stricter rules"
        ),
        ("reboot, and compare the ACS control registers before anything changes them",),
    ),
    Agreement.DIFFERENT: (
        "group-other-than-predicted",
        Severity.WARNING,
        "the kernel's group and its published rules differ",
        ("record a capture and report it",),
    ),
    Agreement.UNCERTAIN: (
        "prediction-uncertain",
        Severity.UNKNOWN,
        "the rules rest on config space that could not be read",
        ("run as root",),
    ),
}

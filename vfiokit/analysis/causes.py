"""The causes behind a group, in words, with the remedies in order of preference."""

from collections import defaultdict

from vfiokit.address import PciAddress
from vfiokit.analysis.grouping import Join, JoinRule
from vfiokit.analysis.peers import reachable_peers
from vfiokit.analysis.topology import Topology
from vfiokit.model.device import PortType
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.unknown import Unknown
from vfiokit.pci.acs import AcsBasis, AcsState
from vfiokit.pci.acs_bits import acs_names

__all__ = ["acs_text", "join_finding", "peer_findings", "quirk_findings"]

_OTHER_SLOT = "use a slot below another root port"
_FIRMWARE = "switch ACS (and ARI) on in the firmware setup, where it offers them"
_CONFIG_ACS = (
    "boot with pci=config_acs= for this port where its capability has the controls (Linux 6.11 and later)"
)
_QUIRK = "if the vendor states that the device isolates, a row in the kernel's table of devices"
_OVERRIDE = "last of all an ACS override patch: it hides the sharing, it does not remove it"
_TOGETHER = "give the whole group to one owner"

_REMEDIES: dict[JoinRule, tuple[str, ...]] = {
    JoinRule.NOT_ISOLATED: (_OTHER_SLOT, _FIRMWARE, _CONFIG_ACS, _QUIRK, _OVERRIDE),
    JoinRule.SLOT: (_TOGETHER, _FIRMWARE, _QUIRK, _OVERRIDE),
    JoinRule.BRIDGE: (_OTHER_SLOT, _TOGETHER),
    JoinRule.ALIAS: (_TOGETHER, _OTHER_SLOT),
    JoinRule.SAME_REQUESTER: (
        _TOGETHER,
        "switch the controller that owns the bus (VMD) off in the firmware setup",
    ),
}
_CODES: dict[JoinRule, str] = {
    JoinRule.NOT_ISOLATED: "port-not-isolated",
    JoinRule.SLOT: "slot-not-isolated",
    JoinRule.BRIDGE: "bridge-hides-requester",
    JoinRule.ALIAS: "identity-shared",
    JoinRule.SAME_REQUESTER: "bus-owned-by-driver",
}


def acs_text(state: AcsState) -> str:
    """Say on what ground a function counts as isolated or not.

    >>> from vfiokit.pci.acs import effective_acs
    >>> from vfiokit.pci.quirk_model import AcsIdentity
    >>> acs_text(effective_acs(AcsIdentity(0x1B36, 0x000C, PortType.ROOT_PORT), None))
    'it has no ACS capability'
    """
    if state.basis is AcsBasis.QUIRK and state.quirk is not None:
        return f"{state.quirk.subject}: {state.quirk.rule.why} ({state.quirk.source})"
    if state.basis is AcsBasis.REGISTERS:
        missing = " ".join(acs_names(state.missing))
        return f"its ACS Control register lacks {missing}" if missing else "its ACS controls are on"
    return str(state.basis.value)


def join_finding(topology: Topology, join: Join) -> Finding:
    """Turn one step of the rules into a cause that people can act on."""
    subject = join.other if join.rule in (JoinRule.NOT_ISOLATED, JoinRule.BRIDGE) else join.via
    return Finding(
        code=_CODES[join.rule],
        severity=Severity.INFO,
        subject=str(subject),
        message=_message(topology, join),
        evidence=(f"{subject}: {acs_text(topology.acs(subject))}",),
        remedies=_REMEDIES[join.rule],
    )


def _message(topology: Topology, join: Join) -> str:
    match join.rule:
        case JoinRule.NOT_ISOLATED:
            return f"{join.other} does not keep what is below it apart: {acs_text(topology.acs(join.other))}"
        case JoinRule.BRIDGE:
            return f"requests from below {join.other} carry its identity, so the IOMMU sees one device"
        case JoinRule.ALIAS:
            return f"{join.via} is known to send requests under the identity of {join.other}"
        case JoinRule.SLOT:
            why = acs_text(topology.acs(join.via))
            return f"{join.via} and {join.other} share a slot and nothing keeps them apart: {why}"
    return f"requests of {join.address} carry the identity of {join.other}"


def quirk_findings(topology: Topology, addresses: list[PciAddress]) -> tuple[Finding, ...]:
    """Say where the kernel's table of devices stands in for ACS on the way to the root."""
    states = ((address, topology.acs(address)) for address in addresses)
    return tuple(
        Finding(
            code="acs-quirk",
            severity=Severity.INFO,
            subject=str(address),
            message=f"{address} counts as {'isolated' if state.isolated else 'not isolated'} by the "
            f"kernel's table of devices, not by registers: {state.quirk.rule.why}",
            evidence=(state.quirk.source,),
        )
        for address, state in states
        if state.quirk is not None
    )


def peer_findings(topology: Topology, address: PciAddress) -> tuple[Finding, ...]:
    """Say where the kernel's grouping is weaker than the hardware makes it look."""
    if topology.host.by_address[address].is_bridge:
        return ()
    peers: dict[PciAddress, list[PciAddress]] = defaultdict(list)
    for found in reachable_peers(topology, address):
        peers[found.turn].append(found.target)
    direct = tuple(_direct(topology, address, turn, targets) for turn, targets in peers.items())
    return (*direct, *_root_complex(topology, address))


def _direct(topology: Topology, address: PciAddress, turn: PciAddress, targets: list[PciAddress]) -> Finding:
    groups = {topology.host.by_address[target].group for target in targets}
    return Finding(
        code="peer-reachable",
        severity=Severity.WARNING,
        subject=str(address),
        message=f"{address} reaches functions of other groups without passing the IOMMU: {turn} forwards "
        "requests between its peers by itself",
        evidence=(
            f"{turn}: {acs_text(topology.redirects(turn))}",
            "reached: "
            + " ".join(f"{target} (group {topology.host.by_address[target].group})" for target in targets),
        ),
        remedies=(
            f"give {_groups_text(groups)} and its own to one owner",
            _OTHER_SLOT,
            _FIRMWARE,
        ),
    )


def _groups_text(groups: set[int | Unknown | None]) -> str:
    """Name the groups; a function without one, which no IOMMU stands in front of, is named so."""
    numbers = sorted(group for group in groups if isinstance(group, int))
    named = f"group{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}" if numbers else ""
    rest = "what has no group" if len(numbers) < len(groups) else ""
    return " and ".join(filter(None, (named, rest)))


def _root_complex(topology: Topology, address: PciAddress) -> tuple[Finding, ...]:
    """Say once that the root port leaves peer requests to the root complex."""
    chain = topology.chain(address)
    if (
        not chain
        or topology.port_type(chain[-1]) != PortType.ROOT_PORT
        or topology.acs(chain[-1]).isolated is not False
    ):
        return ()
    port = chain[-1]
    return (
        Finding(
            code="root-port-without-redirect",
            severity=Severity.INFO,
            subject=str(port),
            message=f"root port {port} does not redirect requests between root ports; whether the root "
            "complex forwards them past the IOMMU is not written in config space",
            evidence=(f"{port}: {acs_text(topology.redirects(port))}",),
            remedies=("ask the platform's vendor whether root ports are isolated", _FIRMWARE),
        ),
    )

"""Effective Access Control Services: whether Linux counts a function as isolated, and on what ground.

The order of the questions is the kernel's (``pci_acs_enabled``, drivers/pci/pci.c): its table of known
devices first, then the port type, then the registers.
"""

from enum import Enum
from typing import NamedTuple

from vfiokit.model.device import AcsRegisters, PortType
from vfiokit.model.unknown import Unknown
from vfiokit.pci.acs_bits import REQUIRED_FOR_GROUPING, AcsBit
from vfiokit.pci.quirk_model import AcsCondition, AcsFacts, AcsIdentity, AcsQuirk, Verdict
from vfiokit.pci.quirks import acs_quirks

__all__ = ["AcsBasis", "AcsState", "effective_acs"]


class AcsBasis(Enum):
    """What an answer rests on."""

    QUIRK = "the kernel's table of devices"
    NOT_PCIE = "a conventional PCI function has no ACS"
    BRIDGE_TYPE = "a bridge between PCI Express and PCI, or an event collector, never counts as isolated"
    SINGLE_FUNCTION = "a single-function device has nobody to talk to past its port"
    OTHER_TYPE = "the kernel asks nothing of this port type"
    NO_CAPABILITY = "it has no ACS capability"
    REGISTERS = "its ACS Control register"
    UNREADABLE = "its config space could not be read"


class AcsState(NamedTuple):
    """Whether a function counts as isolated.

    :ivar verdict: ``ENABLED``, ``NOT_ENABLED`` or ``UNKNOWN``.
    :ivar missing: the controls that were asked for and are not in force; none where they do not apply.
    :ivar basis: what the answer rests on.
    :ivar quirk: the row that answered, for :attr:`AcsBasis.QUIRK`.
    """

    verdict: Verdict
    missing: AcsBit
    basis: AcsBasis
    quirk: AcsQuirk | None = None

    @property
    def isolated(self) -> bool | None:
        """Whether it counts as isolated; ``None`` where that cannot be told."""
        return {Verdict.ENABLED: True, Verdict.NOT_ENABLED: False}.get(self.verdict)


_MULTIFUNCTION_ONLY = (
    PortType.ENDPOINT,
    PortType.LEGACY_ENDPOINT,
    PortType.UPSTREAM_PORT,
    PortType.RC_INTEGRATED_ENDPOINT,
)
_NEVER = (PortType.PCIE_TO_PCI_BRIDGE, PortType.PCI_TO_PCIE_BRIDGE, PortType.RC_EVENT_COLLECTOR)
_PORTS = (PortType.ROOT_PORT, PortType.DOWNSTREAM_PORT)


def effective_acs(
    identity: AcsIdentity | Unknown,
    acs: AcsRegisters | Unknown | None,
    *,
    has_ivrs: bool | None = None,
    pch_workaround: bool | None = None,
    wanted: AcsBit = REQUIRED_FOR_GROUPING,
) -> AcsState:
    """Tell whether a function provides all controls in *wanted*, as Linux would.

    :param identity: who it is; unknown where its config space could not be read.
    :param acs: its ACS capability, ``None`` where it has none.
    :param has_ivrs: whether firmware has an IVRS table; ``None`` for not known.
    :param pch_workaround: whether the kernel switched on an old Intel chipset's own redirection.
    """
    if isinstance(identity, Unknown):
        return AcsState(Verdict.UNKNOWN, AcsBit(0), AcsBasis.UNREADABLE)
    facts = _facts(acs, has_ivrs, pch_workaround)
    for quirk in acs_quirks(identity):
        verdict = quirk.verdict(identity, wanted, facts)
        if verdict is not Verdict.NOT_APPLICABLE:
            missing = AcsBit(0) if verdict is Verdict.ENABLED else _missing(quirk, acs, wanted)
            return AcsState(verdict, missing, AcsBasis.QUIRK, quirk)
    return _by_type(identity, acs, wanted)


def _missing(quirk: AcsQuirk, acs: AcsRegisters | Unknown | None, wanted: AcsBit) -> AcsBit:
    if quirk.rule.condition is AcsCondition.DWORD_REGISTERS and isinstance(acs, AcsRegisters):
        return AcsBit(wanted & (acs.capability | AcsBit.EC) & ~acs.next_dword)
    return wanted & ~quirk.rule.granted


def _facts(
    acs: AcsRegisters | Unknown | None, has_ivrs: bool | None, pch_workaround: bool | None
) -> AcsFacts:
    if isinstance(acs, AcsRegisters):
        return AcsFacts(True, acs.capability, acs.next_dword, has_ivrs, pch_workaround)
    return AcsFacts(None if isinstance(acs, Unknown) else False, None, None, has_ivrs, pch_workaround)


def _by_type(identity: AcsIdentity, acs: AcsRegisters | Unknown | None, wanted: AcsBit) -> AcsState:
    port_type = identity.port_type
    if port_type is None:
        return AcsState(Verdict.NOT_ENABLED, wanted, AcsBasis.NOT_PCIE)
    if port_type in _NEVER:
        return AcsState(Verdict.NOT_ENABLED, wanted, AcsBasis.BRIDGE_TYPE)
    if port_type in _PORTS or (port_type in _MULTIFUNCTION_ONLY and identity.multifunction):
        return _by_registers(acs, wanted)
    basis = AcsBasis.SINGLE_FUNCTION if port_type in _MULTIFUNCTION_ONLY else AcsBasis.OTHER_TYPE
    return AcsState(Verdict.ENABLED, AcsBit(0), basis)


def _by_registers(acs: AcsRegisters | Unknown | None, wanted: AcsBit) -> AcsState:
    if isinstance(acs, Unknown):
        return AcsState(Verdict.UNKNOWN, AcsBit(0), AcsBasis.UNREADABLE)
    if acs is None:
        return AcsState(Verdict.NOT_ENABLED, wanted, AcsBasis.NO_CAPABILITY)
    # A control that the capability does not offer counts as hard-wired on, except egress control.
    demanded = wanted & (acs.capability | AcsBit.EC)
    missing = AcsBit(demanded & ~acs.control)
    return AcsState(Verdict.NOT_ENABLED if missing else Verdict.ENABLED, missing, AcsBasis.REGISTERS)

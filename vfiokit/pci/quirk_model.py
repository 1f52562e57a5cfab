"""The shapes of the quirk rows: what Linux knows about a device that its config space does not say.

Each row answers as the kernel function it names. Where the answer rests on something outside config
space (a firmware table, a register behind a BAR, what the kernel did at boot), the caller states it, and
what the caller does not know gives :attr:`Verdict.UNKNOWN`.
"""

from enum import Enum
from typing import NamedTuple

from vfiokit.pci.acs_bits import NO_BITS, AcsBit

__all__ = [
    "NO_FACTS",
    "AcsCondition",
    "AcsEnableQuirk",
    "AcsFacts",
    "AcsIdentity",
    "AcsQuirk",
    "AcsRule",
    "AliasShape",
    "BridgeFlag",
    "Devices",
    "IgnoredAcs",
    "Verdict",
    "device_in",
    "device_text",
    "span",
]

Devices = tuple[int | range, ...]
"""Device identifiers, singly or by range; the empty tuple is every device of the vendor."""


def span(first: int, last: int, step: int = 1) -> range:
    """Every *step*-th identifier from *first* to *last*, both included."""
    return range(first, last + 1, step)


def device_in(devices: Devices, device: int) -> bool:
    """Whether *device* is one of *devices*."""
    if not devices:
        return True
    return any(device in entry if isinstance(entry, range) else device == entry for entry in devices)


def device_text(devices: Devices) -> str:
    """Write *devices* for people: ``a110-a11f, a167``, or ``any``."""
    return ", ".join(_entry_text(entry) for entry in devices) or "any"


def _entry_text(entry: int | range) -> str:
    if isinstance(entry, int):
        return f"{entry:04x}"
    step = f" step {entry.step}" if entry.step > 1 else ""
    return f"{entry[0]:04x}-{entry[-1]:04x}{step}"


class Verdict(Enum):
    """The answer of one rule to "are these ACS controls in force?".

    The kernel has three answers, an error below zero, 0 and 1; the fourth is ours.
    """

    NOT_APPLICABLE = "not applicable"
    """The rule says nothing about this function; the next rule, then the standard one, decides."""
    NOT_ENABLED = "not enabled"
    ENABLED = "enabled"
    UNKNOWN = "unknown"
    """The rule applies, or may, and rests on a fact that the caller does not have."""


class AcsCondition(Enum):
    """What a rule asks beyond identity."""

    ALWAYS = "nothing more"
    IVRS_PRESENT = "multifunction, on a root bus, and the firmware has an IVRS table"
    PCH_WORKAROUND = "the kernel switched the chipset's own redirection on at boot"
    DWORD_REGISTERS = "the ACS Control register, read as 32 bits at capability + 8, has the bits"


class AliasShape(Enum):
    """Which requester ids beside its own a device uses; always on its own bus."""

    FUNCTION_0 = "function 0 of its slot"
    FUNCTION_1 = "function 1 of its slot"
    FIXED = "these device and function numbers"
    BOARD = "a device and function number that depends on the board"
    EVERY = "every device and function number of the bus"
    REGISTERS = "read from the device's registers"
    """Not in config space: proxy ids that a non-transparent bridge keeps behind a BAR."""


class BridgeFlag(Enum):
    """How Linux treats the requester ids that come through a bridge, against what its type says."""

    PCIE_BRIDGE_ALIAS = "a PCIe-to-PCI bridge that has no PCI Express capability"
    """Requests appear as device 0, function 0 of the secondary bus, not as the bridge."""
    BRIDGE_XLATE_ROOT = "the IOMMU sits at this bridge, not at the root"
    """No bridge from here upwards changes what the IOMMU sees."""
    PCI_BRIDGE_NO_ALIAS = "a PCIe-to-PCI bridge that passes requester ids through"
    """The functions behind it keep their own requester ids."""


class AcsIdentity(NamedTuple):
    """What the rules look at to choose themselves.

    :ivar vendor: vendor identifier; for a virtual function, that of its physical function.
    :ivar device: device identifier; for a virtual function, the VF Device ID of the SR-IOV capability.
    :ivar port_type: Device/Port Type as Linux corrects it, ``None`` for a conventional function.
    :ivar multifunction: bit 7 of Header Type; always false for a virtual function.
    :ivar on_root_bus: whether no bridge stands above it.
    """

    vendor: int
    device: int
    port_type: int | None = None
    multifunction: bool = False
    on_root_bus: bool = False


class AcsFacts(NamedTuple):
    """What else a rule may rest on; ``None`` is "not known".

    :ivar has_acs: whether the function has an ACS capability.
    :ivar capability: 16 bits at the ACS capability + 4.
    :ivar control_dword: 32 bits at the ACS capability + 8.
    :ivar has_ivrs: whether the firmware has an IVRS table, that is an AMD IOMMU.
    :ivar pch_workaround: whether the kernel logged "Intel PCH root port ACS workaround enabled" for it.
    """

    has_acs: bool | None = None
    capability: int | None = None
    control_dword: int | None = None
    has_ivrs: bool | None = None
    pch_workaround: bool | None = None


NO_FACTS = AcsFacts()
"""Nothing is known beyond identity."""


class AcsRule(NamedTuple):
    """One function of the kernel's ACS quirk table.

    :ivar function: its name in drivers/pci/quirks.c.
    :ivar why: why the device deserves it.
    :ivar granted: the controls it vouches for.
    :ivar considered: the controls it looks at; others are dropped from the question.
    :ivar condition: what it asks beyond identity.
    :ivar port_types: the Device/Port Types it accepts; empty for all, conventional functions included.
    :ivar devices: the devices it picks by itself when its table row names none.
    :ivar otherwise: its answer for devices that it does not pick.
    """

    function: str
    why: str
    granted: AcsBit = NO_BITS
    considered: int = 0xFFFF
    condition: AcsCondition = AcsCondition.ALWAYS
    port_types: tuple[int, ...] = ()
    devices: Devices = ()
    otherwise: Verdict = Verdict.NOT_APPLICABLE

    def accepts(self, identity: AcsIdentity) -> bool:
        """Whether identity alone makes the rule speak, be it to refuse."""
        if self.port_types and identity.port_type not in self.port_types:
            return False
        if self.condition is AcsCondition.IVRS_PRESENT:
            # Only southbridge functions were vouched for, and these sit on the root bus.
            return identity.multifunction and identity.on_root_bus
        return self.otherwise is not Verdict.NOT_APPLICABLE or device_in(self.devices, identity.device)


class AcsQuirk(NamedTuple):
    """One family of rows of the kernel's ACS quirk table (``pci_dev_acs_enabled``).

    :ivar vendor: vendor identifier.
    :ivar devices: device identifiers of the rows; empty where the kernel's row takes every device.
    :ivar subject: what the devices are.
    :ivar rule: the function that answers for them.
    :ivar since: the first release known to have the rows.
    """

    vendor: int
    devices: Devices
    subject: str
    rule: AcsRule
    since: str = "6.1 or earlier"

    @property
    def source(self) -> str:
        """Where the row stands in Linux."""
        return f"{self.rule.function}, drivers/pci/quirks.c, Linux {self.since}"

    def matches(self, identity: AcsIdentity) -> bool:
        """Whether the kernel's row names this function and its rule speaks about it."""
        named = identity.vendor == self.vendor and device_in(self.devices, identity.device)
        return named and self.rule.accepts(identity)

    def verdict(self, identity: AcsIdentity, wanted: int, facts: AcsFacts = NO_FACTS) -> Verdict:
        """Answer whether the function provides all controls in *wanted*, as the kernel's function does."""
        rule = self.rule
        if not self.matches(identity):
            return Verdict.NOT_APPLICABLE
        if not device_in(rule.devices, identity.device):
            return rule.otherwise
        wanted &= rule.considered
        match rule.condition:
            case AcsCondition.IVRS_PRESENT:
                return _if_present(facts.has_ivrs, _provides(wanted, rule.granted))
            case AcsCondition.PCH_WORKAROUND:
                return _after_workaround(wanted, rule.granted, facts.pch_workaround)
            case AcsCondition.DWORD_REGISTERS:
                return _if_present(facts.has_acs, _dword_registers(wanted, facts))
        return _provides(wanted, rule.granted)


def _provides(wanted: int, provided: int) -> Verdict:
    return Verdict.NOT_ENABLED if wanted & ~provided else Verdict.ENABLED


def _if_present(present: bool | None, verdict: Verdict) -> Verdict:
    if present is None:
        return Verdict.UNKNOWN
    return verdict if present else Verdict.NOT_APPLICABLE


def _after_workaround(wanted: int, granted: int, done: bool | None) -> Verdict:
    without, with_it = _provides(wanted, 0), _provides(wanted, granted)
    if done is None:
        return without if without is with_it else Verdict.UNKNOWN
    return with_it if done else without


def _dword_registers(wanted: int, facts: AcsFacts) -> Verdict:
    if facts.capability is None or facts.control_dword is None:
        return Verdict.UNKNOWN
    # A control that the capability does not offer counts as hard-wired on, except egress control.
    return _provides(wanted & (facts.capability | AcsBit.EC), facts.control_dword)


class AcsEnableQuirk(NamedTuple):
    """What Linux switches on by itself at boot where the standard registers do not do (``pci_dev_acs_ops``).

    It happens only when an IOMMU was found, and replaces the standard enabling on these ports.

    :ivar vendor: vendor identifier.
    :ivar devices: device identifiers.
    :ivar port_types: the Device/Port Types it takes.
    :ivar subject: what the devices are.
    :ivar function: the kernel's function.
    :ivar enables: the controls, or their equivalents, that are on afterwards.
    :ivar where: the registers it writes.
    :ivar visible: what of it can be seen from outside.
    :ivar enables_if_untrusted: controls added for external or untrusted ports, or with ATS off.
    :ivar since: the first release known to have it.
    """

    vendor: int
    devices: Devices
    port_types: tuple[int, ...]
    subject: str
    function: str
    enables: AcsBit
    where: str
    visible: str
    enables_if_untrusted: AcsBit = NO_BITS
    since: str = "6.1 or earlier"

    def matches(self, identity: AcsIdentity) -> bool:
        """Whether Linux does it for this function."""
        return (
            identity.vendor == self.vendor
            and identity.port_type in self.port_types
            and device_in(self.devices, identity.device)
        )


class IgnoredAcs(NamedTuple):
    """An ACS control that the device offers and Linux ignores: never switched on, never asked for.

    :ivar vendor: vendor identifier.
    :ivar devices: device identifiers.
    :ivar ignored: the controls struck from the ACS Capability register.
    :ivar subject: what the devices are.
    :ivar function: the kernel's function.
    :ivar why: the defect.
    :ivar since: the first release known to have it.
    """

    vendor: int
    devices: Devices
    ignored: AcsBit
    subject: str
    function: str
    why: str
    since: str = "6.1 or earlier"

    def matches(self, identity: AcsIdentity) -> bool:
        """Whether Linux does it for this function."""
        return identity.vendor == self.vendor and device_in(self.devices, identity.device)

"""The safety rules held against a function: what stands against it, and what of that was allowed.

There is no blanket force. What could not be told blocks like what is known to be wrong, and is allowed
by the same name. A rule is allowed for one function at a time; those that cost the running host its
root, or that the kernel would refuse anyhow, cannot be.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vfiokit.address import PciAddress
from vfiokit.binding.case import Case
from vfiokit.binding.safety_rows import RULES, Rule
from vfiokit.errors import UsageError
from vfiokit.model.finding import Severity

__all__ = ["RULES", "Allowance", "Rule", "Verdict", "judge", "parse_allowance"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """Leave to break one rule for one function."""

    rule: str
    address: PciAddress

    def __str__(self) -> str:
        return f"{self.rule}={self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A rule that stands against a function.

    :ivar severity: :attr:`Severity.UNKNOWN` where it could not be told.
    :ivar allowed: whether it was allowed by name.
    :ivar waits: whether the run waits for it to pass.
    """

    rule: str
    severity: Severity
    address: PciAddress
    message: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    allowable: bool = True
    allowed: bool = False
    waits: bool = False

    @property
    def blocks(self) -> bool:
        """Whether it keeps the plan from being carried out."""
        return self.severity in (Severity.ERROR, Severity.UNKNOWN) and not self.allowed


def judge(
    case: Case, allowed: Iterable[Allowance] = (), *, in_use_only: bool = False, waiting: bool = False
) -> tuple[Verdict, ...]:
    """Hold every rule against a function and return those that stand against it, in the table's order.

    :param allowed: what may be broken.
    :param in_use_only: hold only the rules about use by the host.
    :param waiting: whether the run will wait for what may pass by itself.
    """
    leave = {allowance.rule for allowance in allowed if allowance.address == case.device.address}
    found: list[Verdict] = []
    for rule in RULES:
        if case.action in rule.actions and (rule.in_use or not in_use_only):
            found += _verdicts(rule, case, allowed=rule.id in leave and rule.allowable)
    return tuple(replace(each, waits=each.waits and waiting and each.blocks) for each in found)


def parse_allowance(text: str) -> Allowance:
    """Read ``RULE=ADDRESS``.

    :raises UsageError: for a rule that does not exist or cannot be allowed, or what is no address.
    """
    name, _, address = text.partition("=")
    rule = next((rule for rule in RULES if rule.id == name), None)
    if rule is None:
        raise UsageError("no such rule", operation="allow", subject=name, hint="the plan names the rules")
    if not rule.allowable:
        raise UsageError("this rule cannot be allowed", operation="allow", subject=name)
    return Allowance(name, PciAddress.parse(address))


def _verdicts(rule: Rule, case: Case, *, allowed: bool) -> Iterator[Verdict]:
    """Join what a rule found, certain and unknown apart, so that a rule speaks at most twice."""
    hits = tuple(rule.check(case))
    for unknown in (False, True):
        lines = [line for hit in hits if hit.unknown is unknown for line in hit.evidence]
        if any(hit.unknown is unknown for hit in hits):
            yield Verdict(
                rule=rule.id,
                severity=Severity.UNKNOWN if unknown else rule.severity,
                address=case.device.address,
                message=f"{'it cannot be told whether ' if unknown else ''}{rule.message}",
                evidence=tuple(dict.fromkeys(lines)),
                remedy=rule.remedy,
                allowable=rule.allowable,
                allowed=allowed,
                waits=rule.waits and not unknown,
            )

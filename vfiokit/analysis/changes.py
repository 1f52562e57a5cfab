"""What happened between two scans of one host."""

from collections.abc import Iterator
from dataclasses import dataclass

from vfiokit.analysis.viability import viable
from vfiokit.model.host import Host
from vfiokit.model.unknown import known

__all__ = ["Change", "changes"]

_ATTRIBUTES = ("driver", "driver_override", "group", "vfio_device", "numa_node")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    :ivar what: ``function-added``, ``function-removed``, ``group-added``, ``group-removed``, ``members``,
        ``type``, ``viable``, or the attribute of a function that changed.
    :ivar subject: a PCI address or ``group N``.
    :ivar before: the value before; ``None`` where there was none.
    :ivar after: the value after; ``None`` where there is none.
    """

    what: str
    subject: str
    before: object = None
    after: object = None


def changes(before: Host, after: Host) -> Iterator[Change]:
    """Yield what differs, functions first, each in order of address, then groups by number."""
    yield from _functions(before, after)
    yield from _groups(before, after)


def _functions(before: Host, after: Host) -> Iterator[Change]:
    for address in sorted(before.by_address.keys() | after.by_address.keys()):
        old, new = before.by_address.get(address), after.by_address.get(address)
        if old is None or new is None:
            yield Change("function-added" if old is None else "function-removed", str(address))
            continue
        if old == new:
            continue
        for name in _ATTRIBUTES:
            values = getattr(old, name), getattr(new, name)
            if values[0] != values[1]:
                yield Change(name, str(address), *values)


def _groups(before: Host, after: Host) -> Iterator[Change]:
    for number in sorted(before.by_group.keys() | after.by_group.keys()):
        old, new = before.by_group.get(number), after.by_group.get(number)
        subject = f"group {number}"
        if old is None or new is None:
            yield Change("group-added" if old is None else "group-removed", subject)
            continue
        if old.devices != new.devices:
            yield Change(
                "members", subject, *(" ".join(map(str, known(each.devices, ()))) for each in (old, new))
            )
        if old.type != new.type:
            yield Change("type", subject, old.type, new.type)
        verdicts = viable(before, old), viable(after, new)
        if verdicts[0] != verdicts[1]:
            yield Change("viable", subject, *verdicts)

"""What is bound at boot: a file a function, with its identity and its group as they were then."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vfiokit.address import PciAddress
from vfiokit.binding.codec import decode_persisted, encode
from vfiokit.binding.evidence import Evidence
from vfiokit.binding.goal import Persisted
from vfiokit.binding.identity import differences, identify
from vfiokit.binding.places import Places
from vfiokit.binding.udev_rule import rule_name, rule_text
from vfiokit.errors import NotFound, UsageError, VfiokitError
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.host import Host
from vfiokit.model.unknown import known

__all__ = ["Shelf", "verify"]

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The configuration on disk.

    :ivar places: where it is.
    """

    places: Places

    def all(self) -> dict[PciAddress, Persisted]:
        """Return what is configured, by address.

        :raises VfiokitError: if a file cannot be read.
        """
        found = {}
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            try:
                entry = decode_persisted(path.read_text(encoding="utf-8"))
            except (OSError, UsageError) as error:
                raise VfiokitError(str(error), operation="read configuration", subject=str(path)) from error
            found[entry.address] = entry
        return found

    def add(self, entry: Persisted) -> tuple[Path, ...]:
        """Write the file and the rule of a function and return their paths."""
        return (
            _write(self._path(entry.address), json.dumps(encode(entry), indent=1) + "\n"),
            _write(self.rule_path(entry.address), entry_rule(entry)),
        )

    def add_driverctl(self, address: PciAddress, driver: str) -> Path:
        """Write the file that driverctl reads at boot; it knows addresses only."""
        return _write(self.driverctl_path(address), f"{driver}\n")

    def remove(self, address: PciAddress) -> tuple[Path, ...]:
        """Remove what is configured for a function, in either format.

        :raises NotFound: if there is nothing.
        """
        paths = (self._path(address), self.rule_path(address), self.driverctl_path(address))
        present = tuple(path for path in paths if path.exists())
        if not present:
            raise NotFound("nothing is configured for it", operation="persist remove", subject=str(address))
        for path in present:
            path.unlink()
        return present

    def rule_path(self, address: PciAddress) -> Path:
        """Return where the rule of a function is."""
        return self.places.rules / rule_name(address)

    def driverctl_path(self, address: PciAddress) -> Path:
        """Return where driverctl keeps the driver of a function."""
        return self.places.driverctl / f"pci-{address}"

    @property
    def _directory(self) -> Path:
        return self.places.config / "bind.d"

    def _path(self, address: PciAddress) -> Path:
        return self._directory / f"{address}{_SUFFIX}"


def entry_rule(entry: Persisted) -> str:
    """Return the rule that belongs to an entry."""
    return rule_text(entry.address, entry.identity, entry.members, entry.driver, entry.module)


def verify(host: Host, evidence: Evidence, entry: Persisted, rule: str | None) -> tuple[Finding, ...]:
    """Say where a host is not as it was configured; nothing where all is as it should be.

    :param rule: the text of its udev rule, ``None`` where there is none.
    """
    return tuple(_verify(host, evidence, entry, rule))


def _verify(host: Host, evidence: Evidence, entry: Persisted, rule: str | None) -> Iterator[Finding]:
    device = host.by_address.get(entry.address)
    if device is None:
        yield _finding(
            entry, "persist-absent", "there is no function at this address", _elsewhere(host, entry)
        )
        return
    changed = differences(entry.identity, identify(host, device, evidence.by_address.get(entry.address)))
    if changed:
        found = (*changed, *_elsewhere(host, entry))
        yield _finding(entry, "persist-identity", "another function is at this address", found)
        return
    group = device.group
    members = (
        known(host.by_group[group].devices, ()) if isinstance(group, int) and group in host.by_group else ()
    )
    if members != entry.members:
        said = (f"then: {_texts(entry.members)}", f"now: {_texts(members)}")
        yield _finding(entry, "persist-group", "its IOMMU group is not what it was", said)
    if rule != entry_rule(entry):
        reason = "its udev rule is missing" if rule is None else "its udev rule was changed"
        yield _finding(entry, "persist-rule", reason, ())
    if device.driver != entry.driver:
        shown = (f"driver: {device.driver or 'none'}",)
        yield _finding(entry, "persist-driver", f"it is not on {entry.driver}", shown, Severity.WARNING)


def _elsewhere(host: Host, entry: Persisted) -> tuple[str, ...]:
    """Say where a function with the same identifiers is now."""
    wanted = (entry.identity.vendor, entry.identity.device, entry.identity.subsystem_device)
    places = [
        str(device.address)
        for device in host.devices
        if (device.vendor, device.device, device.subsystem_device) == wanted
        and device.address != entry.address
    ]
    return (f"the same identifiers are at {', '.join(places)}",) if places else ()


def _finding(
    entry: Persisted, code: str, message: str, evidence: tuple[str, ...], severity: Severity = Severity.ERROR
) -> Finding:
    return Finding(
        code=code, severity=severity, subject=str(entry.address), message=message, evidence=evidence
    )


def _texts(addresses: tuple[PciAddress, ...]) -> str:
    return ", ".join(map(str, addresses)) or "none"


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        with beside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        raise VfiokitError.from_os(error, operation="write configuration", subject=str(path)) from error
    return path

"""A kernel that reacts: drivers, overrides, probes, VFIO nodes and virtual functions over a tree in memory.

It answers writes as Linux does, with the same error numbers, and what a write changes shows in the tree
that a scan reads. Faults can be put into any write. It is a :class:`vfiokit.binding.writer.Writer`.
"""

import errno
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from vfiokit.address import PciAddress
from vfiokit.binding.goal import Owner
from vfiokit.errors import WriteStuck
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.memory import File
from vfiokit.sysfs.source import os_error
from vfiokit.testing.driver_core import DEVICES, DRIVERS, DriverCore, VirtualFunctions
from vfiokit.testing.drivers import SimulatedDriver
from vfiokit.testing.faults import Crash, Fault, Killed
from vfiokit.testing.simulated_prober import SimulatedProber

__all__ = ["SimulatedKernel", "VirtualFunctions"]

_PLAIN = ("sriov_drivers_autoprobe", "d3cold_allowed", "power/control")


class SimulatedKernel(DriverCore):
    """A host whose files react to writes. Synchronization: one thread.

    :param host: what it starts as; functions that have a driver keep it.
    :param drivers: its PCI drivers, the common ones if not given.
    :param node_delay: seconds until the node of a VFIO group appears.
    :param vf_delay: seconds until virtual functions appear.
    :param vfs: the virtual functions that physical functions may have, by address.
    :ivar source: the tree; what is not a write may be changed in it freely.
    :ivar writes: every write that came, path and text, those that failed too.
    :ivar stuck: functions whose lock a write holds for ever.
    """

    def __init__(
        self,
        host: Host,
        drivers: Iterable[SimulatedDriver] | None = None,
        *,
        node_delay: float = 0.0,
        vf_delay: float = 0.0,
        vfs: dict[PciAddress, VirtualFunctions] | None = None,
    ) -> None:
        super().__init__(host, drivers, node_delay=node_delay, vf_delay=vf_delay, vfs=vfs)
        self.faults: list[Fault] = []
        self.writes: list[tuple[str, str]] = []
        self.stuck: set[PciAddress] = set()
        self.owners: dict[str, Owner] = {}
        self.prober = SimulatedProber(self.source)

    # What a Writer does.

    def write(self, path: str, text: str, limit: float) -> None:
        """Do what the kernel does with a write, or what a fault makes of it."""
        number = len(self.writes)
        self.writes.append((path, text))
        fault = next((fault for fault in self.faults if fault.strikes(number, path)), None)
        if fault is not None and not fault.lasting:
            self.faults.remove(fault)
        self._before(fault, path, text, limit)
        self._dispatch(path, text)
        if fault is not None and fault.crash is Crash.AFTER:
            raise Killed

    def load(self, module: str, limit: float) -> None:
        """Register the drivers of a module, which then take what matches."""
        self.write(f"sbin/modprobe {module}", module, limit)

    def own(self, path: str, owner: Owner) -> Owner:
        """Change the owner of a node, at least as far as anybody asks."""
        self.write(path, str(owner), 0)
        before = self.owners.get(path, Owner(0, 0, 0o600))
        new = {"uid": owner.uid, "gid": owner.gid, "mode": owner.mode}
        self.owners[path] = replace(
            before, **{key: value for key, value in new.items() if value is not None}
        )
        return before

    def viable(self, group: int) -> bool | Unknown:
        """Say whether a user may own a group, as ``VFIO_GROUP_GET_STATUS`` does."""
        if self.source.device(f"dev/vfio/{group}") is None:
            raise os_error(errno.ENOENT, f"dev/vfio/{group}")
        if self.processes.users_of(f"dev/vfio/{group}"):
            return Unknown("somebody has it open")
        return all(self._leaves_dma(address) for address in self._members(group))

    def boot_id(self) -> str:
        """Return the same until :meth:`reboot`."""
        return self.source.read("proc/sys/kernel/random/boot_id").decode().strip()

    def close(self) -> None:
        """Do nothing: it can be written to again."""

    # Faults.

    def _before(self, fault: Fault | None, path: str, text: str, limit: float) -> None:
        address = _address_in(path) or _address_in(text)
        if (fault is not None and fault.hang) or address in self.stuck:
            self.stuck.update([address] if address else [])
            self.pause(limit)
            raise WriteStuck(
                f"no answer within {limit:g} s", operation=f"write {text.strip()!r} to", subject=path
            )
        if fault is None:
            return
        if fault.crash is Crash.BEFORE:
            raise Killed
        if fault.delay:
            self.pause(fault.delay)
        if fault.errno is not None:
            raise os_error(fault.errno, path)

    # The files that react.

    def _dispatch(self, path: str, text: str) -> None:
        for pattern, action in self._FILES:
            found = pattern.fullmatch(path)
            if found:
                return action(self, found, text)
        raise os_error(errno.EACCES, path)

    def _write_override(self, found: re.Match[str], text: str) -> None:
        address = self._existing(found[1], path=found[0])
        # driver_set_override: up to the first newline; nothing before it clears the override.
        name = text.split("\n")[0]
        shown = f"{name}\n" if name else "(null)\n"
        self.source.add(f"{self._places[address]}/driver_override", File(shown.encode(), 0o644))

    def _write_bind(self, found: re.Match[str], text: str) -> None:
        driver = self._driver_named(found[1], found[0])
        address = self._known(text)
        if address is None or not driver.matches(self._devices[address], self._override(address)):
            raise os_error(errno.ENODEV, found[0])
        if self._driver(address) is not None:
            raise os_error(errno.EBUSY, found[0])
        number = self._attach(address, driver)
        if number:
            raise os_error(number, found[0])

    def _write_unbind(self, found: re.Match[str], text: str) -> None:
        driver = self._driver_named(found[1], found[0])
        address = self._known(text)
        if address is None or self._driver(address) != driver.name:
            raise os_error(errno.ENODEV, found[0])
        self._detach(address)

    def _write_probe(self, found: re.Match[str], text: str) -> None:
        address = self._known(text)
        if address is None:
            raise os_error(errno.ENODEV, found[0])
        # It succeeds whether anything was bound or not.
        self._probe(address)

    def _write_new_id(self, found: re.Match[str], text: str) -> None:
        driver = self._driver_named(found[1], found[0])
        pair = _identifiers(text, found[0])
        if pair in driver.dynamic or pair in driver.ids:
            raise os_error(errno.EEXIST, found[0])
        driver.dynamic.add(pair)
        for address in sorted(self._devices):
            if self._driver(address) is None and driver.matches(
                self._devices[address], self._override(address)
            ):
                self._attach(address, driver)

    def _write_remove_id(self, found: re.Match[str], text: str) -> None:
        driver = self._driver_named(found[1], found[0])
        pair = _identifiers(text, found[0])
        if pair not in driver.dynamic:
            raise os_error(errno.ENODEV, found[0])
        driver.dynamic.discard(pair)

    def _write_vfs(self, found: re.Match[str], text: str) -> None:
        """Change the number of virtual functions (``sriov_numvfs_store``)."""
        address = self._existing(found[1], path=found[0])
        if address not in self._sriov:
            raise os_error(errno.ENOENT, found[0])
        if not text.strip().isdigit():
            raise os_error(errno.EINVAL, found[0])
        count, path = int(text), f"{self._places[address]}/sriov_numvfs"
        present = int(self.source.read(path))
        driver = self.drivers.get(self._driver(address) or "")
        if count > self._sriov[address].total:
            raise os_error(errno.ERANGE, found[0])
        if count == present:
            return
        if driver is None or not driver.sriov:
            raise os_error(errno.ENOENT, found[0])
        if count and present:
            raise os_error(errno.EBUSY, found[0])
        self.source.add(path, File(f"{count}\n".encode(), 0o644))
        if count:
            self._later(self._vf_delay, lambda: self._add_vfs(address, count))
        else:
            self._drop_vfs(address)

    def _write_plain(self, found: re.Match[str], text: str) -> None:
        address = self._existing(found[1], path=found[0])
        self.source.add(f"{self._places[address]}/{found[2]}", File(f"{text.strip()}\n".encode(), 0o644))

    def _write_module(self, found: re.Match[str], text: str) -> None:
        drivers = [driver for driver in self.drivers.values() if driver.module == text]
        if not drivers:
            raise os_error(errno.ENOENT, text)
        for driver in drivers:
            if not driver.loaded:
                driver.loaded = True
                self._register(driver)
                for address in sorted(self._devices):
                    if self._driver(address) is None:
                        self._probe(address, (driver,))

    _FILES: tuple[tuple[re.Pattern[str], Callable[["SimulatedKernel", re.Match[str], str], None]], ...] = (
        (re.compile(rf"{DEVICES}/([^/]+)/driver_override"), _write_override),
        (re.compile(rf"{DRIVERS}/([^/]+)/bind"), _write_bind),
        (re.compile(rf"{DRIVERS}/([^/]+)/unbind"), _write_unbind),
        (re.compile("sys/bus/pci/drivers_probe"), _write_probe),
        (re.compile(rf"{DRIVERS}/([^/]+)/new_id"), _write_new_id),
        (re.compile(rf"{DRIVERS}/([^/]+)/remove_id"), _write_remove_id),
        (re.compile(rf"{DEVICES}/([^/]+)/sriov_numvfs"), _write_vfs),
        (re.compile(rf"{DEVICES}/([^/]+)/({'|'.join(_PLAIN)})"), _write_plain),
        (re.compile("sbin/modprobe (.+)"), _write_module),
        (re.compile("dev/vfio/.+"), lambda kernel, found, text: None),
    )


def _address_in(text: str) -> PciAddress | None:
    found = re.search(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", text)
    return PciAddress.parse(found[0]) if found else None


def _identifiers(text: str, path: str) -> tuple[int, int]:
    fields = text.split()
    if len(fields) < 2:
        raise os_error(errno.EINVAL, path)
    return int(fields[0], 16), int(fields[1], 16)

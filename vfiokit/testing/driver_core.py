"""The driver core of a simulated kernel: functions, the drivers that have them, what shows in the tree."""

import errno
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from vfiokit.address import PciAddress
from vfiokit.model.device import PciDevice
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Host
from vfiokit.model.unknown import known
from vfiokit.sysfs.memory import Directory, File, Link, Node
from vfiokit.sysfs.source import Kind, os_error
from vfiokit.testing.drivers import SimulatedDriver, common_drivers, first_match
from vfiokit.testing.layout import device_directories, layout
from vfiokit.testing.nodes import VfioNodes
from vfiokit.testing.processes import Processes

__all__ = ["DriverCore", "VirtualFunctions"]

DEVICES = "sys/bus/pci/devices"
DRIVERS = "sys/bus/pci/drivers"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualFunctions:
    """The virtual functions that a physical function may have (PCIe 6.0, 9.3.3).

    :ivar total: TotalVFs.
    :ivar offset: First VF Offset.
    :ivar stride: VF Stride.
    :ivar device: VF Device ID, that of the physical function if not given.
    """

    total: int
    offset: int = 0x80
    stride: int = 1
    device: int | None = None


class DriverCore:
    """Functions and drivers over a tree. Synchronization: one thread.

    :param host: what it starts as; functions that have a driver keep it.
    :param drivers: its PCI drivers, the common ones if not given.
    :param node_delay: seconds until the node of a VFIO group appears.
    :param vf_delay: seconds until virtual functions appear.
    :param vfs: the virtual functions that physical functions may have, by address.
    :ivar source: the tree.
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
        self.source = layout(host)
        self.host = host
        self.drivers = {driver.name: driver for driver in (common_drivers() if drivers is None else drivers)}
        self.processes = Processes(self.source)
        self._nodes = VfioNodes(self.source, self._later, node_delay)
        self._vf_delay = vf_delay
        self._sriov = vfs or {}
        self._devices = dict(host.by_address)
        self._places = device_directories(host)
        self._furniture: dict[tuple[PciAddress, str], list[tuple[str, Node]]] = {}
        self._time = 0.0
        self._pending: list[tuple[float, Callable[[], None]]] = []
        self._furnish()

    def now(self) -> float:
        """Return the simulated time."""
        return self._time

    def pause(self, seconds: float) -> None:
        """Let time pass, and happen what was to happen meanwhile."""
        self._time += max(seconds, 0.001)
        due = [event for event in self._pending if event[0] <= self._time]
        self._pending = [event for event in self._pending if event[0] > self._time]
        for _, action in due:
            action()

    def unplug(self, address: PciAddress) -> None:
        """Take a function out."""
        if address in self._devices:
            self._detach(address)
            place, group = self._places[address], self._devices[address].group
            self.source.remove(place)
            self.source.remove(f"{DEVICES}/{address}")
            self.source.remove(f"sys/kernel/iommu_groups/{group}/devices/{address}")
            self._devices.pop(address)

    def state(self) -> dict[str, tuple[str | None, str]]:
        """Return driver and raw override of every function, by address, byte for byte."""
        return {str(each): (self._driver(each), self._override_text(each)) for each in sorted(self._devices)}

    # Drivers and functions.

    def _probe(self, address: PciAddress, drivers: Iterable[SimulatedDriver] | None = None) -> None:
        if self._driver(address) is None:
            asked = self.drivers.values() if drivers is None else drivers
            for driver in first_match(asked, self._devices[address], self._override(address)):
                if not self._attach(address, driver):
                    return

    def _attach(self, address: PciAddress, driver: SimulatedDriver) -> int:
        """Bind a function, or return the error number that the probe ends with."""
        number = self._refusal(address, driver)
        if number:
            return number
        place = self._places[address]
        up = "../" * place.count("/")
        self.source.add(f"{place}/driver", Link(f"{up}bus/pci/drivers/{driver.name}"))
        self.source.add(
            f"{DRIVERS}/{driver.name}/{address}", Link(f"../../../../{place.removeprefix('sys/')}")
        )
        self._set_uevent(address, driver.name)
        for path, node in self._furniture.pop((address, driver.name), ()):
            self.source.add(path, node)
        if driver.vfio:
            self._nodes.add(address, place, self._devices[address].group)
        return 0

    def _refusal(self, address: PciAddress, driver: SimulatedDriver) -> int:
        device = self._devices[address]
        if driver.probe_error is not None:
            return driver.probe_error
        if driver.vfio:
            # A bridge header, or no IOMMU group.
            return errno.EINVAL if device.is_bridge or device.group is None else 0
        group = device.group
        if (
            not driver.managed_dma
            and isinstance(group, int)
            and self.processes.users_of(f"dev/vfio/{group}")
        ):
            return errno.EBUSY  # its DMA belongs to whoever has the group open
        return 0

    def _detach(self, address: PciAddress) -> None:
        name = self._driver(address)
        if name is None:
            return
        if address in self._sriov:
            self._drop_vfs(address)
        place = self._places[address]
        if self.drivers[name].vfio:
            self._nodes.remove(address, place, self._devices[address].group, self._vfio_mates(address))
        self._furniture[address, name] = self._below(place)
        self.source.remove(f"{place}/driver")
        self.source.remove(f"{DRIVERS}/{name}/{address}")
        self._set_uevent(address, None)

    def _below(self, place: str) -> list[tuple[str, Node]]:
        """Take away the devices that a driver has made below a function, and return them."""
        names = [
            name
            for name in self.source.listdir(place)
            if self.source.stat(f"{place}/{name}").kind is Kind.DIRECTORY
            and name not in ("power", "vfio-dev", "pci_bus")
            and not re.fullmatch(r"[0-9a-f]{4,8}:.*", name)
        ]
        taken = [entry for name in names for entry in self.source.below(f"{place}/{name}")]
        for name in names:
            self.source.remove(f"{place}/{name}")
        return taken

    def _vfio_mates(self, address: PciAddress) -> bool:
        """Whether another function of the group is on a VFIO driver."""
        group = self._devices[address].group
        others = [each for each in self._members(group) if each != address] if isinstance(group, int) else []
        drivers = [self.drivers.get(self._driver(each) or "") for each in others]
        return any(driver is not None and driver.vfio for driver in drivers)

    def _leaves_dma(self, address: PciAddress) -> bool:
        driver = self.drivers.get(self._driver(address) or "")
        return self._driver(address) is None or (driver is not None and driver.managed_dma)

    def _members(self, group: int) -> tuple[PciAddress, ...]:
        return tuple(sorted(each.address for each in self._devices.values() if each.group == group))

    def _driver(self, address: PciAddress) -> str | None:
        try:
            return self.source.readlink(f"{self._places[address]}/driver").rpartition("/")[2]
        except OSError:
            return None

    def _override(self, address: PciAddress) -> str | None:
        text = self._override_text(address).rstrip("\n")
        return None if text in ("(null)", "") else text

    def _override_text(self, address: PciAddress) -> str:
        return self.source.read(f"{self._places[address]}/driver_override").decode()

    def _set_uevent(self, address: PciAddress, driver: str | None) -> None:
        path = f"{self._places[address]}/uevent"
        lines = [
            line for line in self.source.read(path).decode().splitlines() if not line.startswith("DRIVER=")
        ]
        lines = ([f"DRIVER={driver}"] if driver else []) + lines
        self.source.add(path, File(("\n".join(lines) + "\n").encode(), 0o644))

    def _driver_named(self, name: str, path: str) -> SimulatedDriver:
        driver = self.drivers.get(name)
        if driver is None or not driver.loaded:
            raise os_error(errno.ENOENT, path)
        return driver

    def _existing(self, name: str, *, path: str) -> PciAddress:
        address = self._known(name)
        if address is None:
            raise os_error(errno.ENOENT, path)
        return address

    def _known(self, name: str) -> PciAddress | None:
        return next((each for each in self._devices if str(each) == name.strip()), None)

    # Virtual functions.

    def _add_vfs(self, address: PciAddress, count: int) -> None:
        physical = self._devices.get(address)
        if physical is None or int(self.source.read(f"{self._places[address]}/sriov_numvfs")) != count:
            return  # taken back before they came
        for index in range(count):
            virtual = self._virtual(physical, index)
            self._devices[virtual.address] = virtual
            self._places = device_directories(self._present())
            self._show(virtual)
            self.source.add(f"{self._places[address]}/virtfn{index}", Link(f"../{virtual.address}"))
            autoprobe = self.source.read(f"{self._places[address]}/sriov_drivers_autoprobe")
            if autoprobe.strip() != b"0":
                self._probe(virtual.address)

    def _virtual(self, physical: PciDevice, index: int) -> PciDevice:
        shape = self._sriov[physical.address]
        requester = physical.address.source_id + shape.offset + index * shape.stride
        groups = {device.group for device in self._devices.values() if isinstance(device.group, int)}
        return replace(
            physical,
            address=PciAddress.from_source_id(physical.address.domain, requester),
            device=physical.device if shape.device is None else shape.device,
            physfn=physical.address,
            driver=None,
            driver_override=None,
            vfio_device=None,
            group=max(groups, default=0) + 1 if isinstance(physical.group, int) else physical.group,
        )

    def _drop_vfs(self, address: PciAddress) -> None:
        self.source.add(f"{self._places[address]}/sriov_numvfs", File(b"0\n", 0o644))
        for index, virtual in enumerate(sorted(self._devices.values(), key=lambda each: each.address)):
            if virtual.physfn == address:
                self.unplug(virtual.address)
            self.source.remove(f"{self._places[address]}/virtfn{index}")

    def _present(self) -> Host:
        return Host(devices=tuple(sorted(self._devices.values(), key=lambda device: device.address)))

    def _show(self, device: PciDevice) -> None:
        """Lay one more function out in the tree, with its group."""
        group = self.host.by_group
        single = replace(self._present(), groups=tuple(group.values()))
        if isinstance(device.group, int) and device.group not in group:
            single = replace(
                single,
                groups=(*single.groups, IommuGroup(id=device.group, type="DMA", devices=(device.address,))),
            )
            self.host = replace(self.host, groups=single.groups)
        for path, node in layout(single).nodes():
            mine = f"/{device.address}" in path or path.startswith(f"sys/kernel/iommu_groups/{device.group}")
            if mine and not isinstance(node, Directory):
                self.source.add(path, node)
        self._furnish_function(device.address)

    # The rest of the tree.

    def _furnish(self) -> None:
        self.source.add("sys/bus/pci/drivers_probe", File(b"", 0o200))
        self.source.add("proc/sys/kernel/random/boot_id", File(b"5e0c9d1a-simulated\n"))
        self.source.add("proc/swaps", File(b"Filename\tType\tSize\tUsed\tPriority\n"))
        self.source.add("dev/vfio", Directory())
        for driver in self.drivers.values():
            if driver.loaded:
                self._register(driver)
        for device in self.host.devices:
            self._furnish_function(device.address)
            name = self._driver(device.address)
            if name is not None and name not in self.drivers:
                self.drivers[name] = SimulatedDriver(
                    name=name, ids=frozenset({(known(device.vendor, 0), known(device.device, 0))})
                )
                self._register(self.drivers[name])
            if name is not None:
                link = f"../../../../{self._places[device.address].removeprefix('sys/')}"
                self.source.add(f"{DRIVERS}/{name}/{device.address}", Link(link))
                if self.drivers[name].vfio:
                    self._nodes.add(device.address, self._places[device.address], device.group)
        self.pause(3600)

    def _furnish_function(self, address: PciAddress) -> None:
        place = self._places[address]
        device = self._devices[address]
        self._default(f"{place}/driver_override", b"(null)\n")
        self._default(f"{place}/d3cold_allowed", b"1\n")
        self._default(f"{place}/power/control", b"auto\n")
        self._default(f"{place}/modalias", f"{_modalias(device)}\n".encode())
        if address in self._sriov:
            self._default(f"{place}/sriov_numvfs", b"0\n")
            self._default(f"{place}/sriov_totalvfs", f"{self._sriov[address].total}\n".encode())
            self._default(f"{place}/sriov_drivers_autoprobe", b"1\n")

    def _default(self, path: str, data: bytes) -> None:
        try:
            self.source.stat(path)
        except OSError:
            self.source.add(path, File(data, 0o644))

    def _register(self, driver: SimulatedDriver) -> None:
        path = f"{DRIVERS}/{driver.name}"
        for name in ("bind", "unbind", "new_id"):
            self.source.add(f"{path}/{name}", File(b"", 0o200))
        if driver.module:
            self.source.add(f"{path}/module", Link(f"../../../../module/{driver.module}"))
            self.source.add(f"sys/module/{driver.module}/refcnt", File(b"0\n"))
            if driver.vfio:
                self.source.add(
                    f"sys/module/vfio_pci_core/holders/{driver.module}", Link(f"../../{driver.module}")
                )

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        if delay <= 0:
            action()
        else:
            self._pending.append((self._time + delay, action))


def _modalias(device: PciDevice) -> str:
    """Return what udev and modprobe match drivers with (``pci_uevent``)."""
    code = known(device.class_code, 0)
    subsystem = (known(device.subsystem_vendor, 0) or 0, known(device.subsystem_device, 0) or 0)
    return (
        f"pci:v{known(device.vendor, 0):08X}d{known(device.device, 0):08X}"
        f"sv{subsystem[0]:08X}sd{subsystem[1]:08X}"
        f"bc{code >> 16:02X}sc{code >> 8 & 0xFF:02X}i{code & 0xFF:02X}"
    )

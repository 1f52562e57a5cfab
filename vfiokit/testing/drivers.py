"""PCI drivers of a simulated kernel, and how Linux matches them (``pci_match_device``)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from vfiokit.model.device import PciDevice
from vfiokit.model.unknown import Unknown

__all__ = ["SimulatedDriver", "common_drivers", "vfio_driver"]


@dataclass(slots=True, kw_only=True)
class SimulatedDriver:
    """One PCI driver.

    :ivar name: as under ``/sys/bus/pci/drivers``.
    :ivar module: the module that brings it; empty for built in.
    :ivar loaded: whether it is registered.
    :ivar ids: vendor and device that it takes.
    :ivar classes: base class and subclass that it takes, 16 bits.
    :ivar override_only: whether its identifiers match only under an override: the mark of VFIO's drivers.
    :ivar vfio: whether it makes VFIO nodes, and refuses what VFIO refuses.
    :ivar managed_dma: whether a VFIO user may own the group of what it has.
    :ivar probe_error: the error number that its probe ends with, ``None`` for success.
    :ivar sriov: whether it configures virtual functions.
    :ivar dynamic: what ``new_id`` has added.
    """

    name: str
    module: str = ""
    loaded: bool = True
    ids: frozenset[tuple[int, int]] = frozenset()
    classes: frozenset[int] = frozenset()
    override_only: bool = False
    vfio: bool = False
    managed_dma: bool = False
    probe_error: int | None = None
    sriov: bool = False
    dynamic: set[tuple[int, int]] = field(default_factory=set)

    def matches(self, device: PciDevice, override: str | None) -> bool:
        """Whether Linux would let it probe a function."""
        if override is not None and override != self.name:
            return False
        if _pair(device) in self.dynamic:
            return True
        if self._knows(device) and not self.override_only:
            return True
        # Under an override the driver that it names always matches.
        return override is not None

    def _knows(self, device: PciDevice) -> bool:
        code = device.class_code
        return _pair(device) in self.ids or (not isinstance(code, Unknown) and code >> 8 in self.classes)


def vfio_driver(name: str = "vfio-pci", module: str = "vfio_pci", *, loaded: bool = True) -> SimulatedDriver:
    """Return a VFIO driver."""
    return SimulatedDriver(
        name=name, module=module, loaded=loaded, override_only=True, vfio=True, managed_dma=True
    )


def common_drivers() -> tuple[SimulatedDriver, ...]:
    """Return drivers of a common machine; each call makes new ones."""
    return (
        SimulatedDriver(name="nvme", module="nvme", classes=frozenset({0x0108}), sriov=True),
        SimulatedDriver(name="igb", module="igb", classes=frozenset({0x0200}), sriov=True),
        SimulatedDriver(name="snd_hda_intel", module="snd_hda_intel", classes=frozenset({0x0403})),
        SimulatedDriver(name="xhci_hcd", module="xhci_pci", classes=frozenset({0x0C03})),
        SimulatedDriver(name="amdgpu", module="amdgpu", classes=frozenset({0x0300, 0x0302})),
        SimulatedDriver(name="i2c-designware", module="i2c_dw", classes=frozenset({0x0C80})),
        SimulatedDriver(name="pcieport", classes=frozenset({0x0604}), managed_dma=True),
        SimulatedDriver(name="pci-stub", override_only=True, managed_dma=True),
        vfio_driver(),
    )


def first_match(
    drivers: Iterable[SimulatedDriver], device: PciDevice, override: str | None
) -> tuple[SimulatedDriver, ...]:
    """Return the loaded drivers that match, in the order in which Linux asks them."""
    return tuple(driver for driver in drivers if driver.loaded and driver.matches(device, override))


def _pair(device: PciDevice) -> tuple[int | Unknown, int | Unknown]:
    return device.vendor, device.device

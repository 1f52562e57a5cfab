"""Machines for tests of binding: a few functions in groups, with drivers."""

from vfiokit.address import PciAddress
from vfiokit.model.device import ConfigFacts, HeaderType, PciDevice, PortType
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Driver, Host, Platform

__all__ = ["GPU", "NIC", "NVME", "PORT", "workstation"]

PORT = PciAddress(0, 0, 1, 0)
"""A root port, in the group of the card below it."""
GPU = tuple(PciAddress(0, 1, 0, function) for function in range(4))
"""A graphics card of four functions: display, sound, USB, serial bus."""
NVME = PciAddress(0, 2, 0, 0)
NIC = PciAddress(0, 3, 0, 0)

_GPU_FUNCTIONS = (
    (0x1002, 0x73A5, 0x030000, "amdgpu"),
    (0x1002, 0xAB28, 0x040300, "snd_hda_intel"),
    (0x1002, 0x73A6, 0x0C0330, "xhci_hcd"),
    (0x1002, 0x73A4, 0x0C8000, "i2c-designware"),
)


def workstation() -> Host:
    """Return a machine with a four-function graphics card, an NVMe disk and a network card.

    The card shares group 14 with its root port; disk and network card have a group each.
    """
    port = _function(PORT, 0x8086, 0x4C01, 0x060400, "pcieport", group=14, bridge=True)
    gpu = [
        _function(address, *identity, group=14, parent=PORT, multifunction=True)
        for address, identity in zip(GPU, _GPU_FUNCTIONS, strict=True)
    ]
    disk = _function(NVME, 0x144D, 0xA80A, 0x010802, "nvme", group=15)
    card = _function(NIC, 0x8086, 0x10C9, 0x020000, "igb", group=16)
    devices = (port, *gpu, disk, card)
    names = sorted({device.driver for device in devices if isinstance(device.driver, str)})
    return Host(
        devices=devices,
        groups=tuple(
            IommuGroup(
                id=number,
                type="DMA",
                devices=tuple(device.address for device in devices if device.group == number),
            )
            for number in (14, 15, 16)
        ),
        drivers=tuple(Driver(name=name, module=None if name == "pcieport" else name) for name in names),
        platform=Platform(
            kernel_release="6.12.0",
            command_line="intel_iommu=on",
            hypervisor=False,
            architecture="x86",
            acpi_tables=("DMAR",),
            has_iommu_class=True,
            interrupt_remapping=True,
            unsafe_interrupts=(),
            noiommu_mode=False,
        ),
    )


def _function(
    address: PciAddress,
    vendor: int,
    device: int,
    class_code: int,
    driver: str,
    *,
    group: int,
    parent: PciAddress | None = None,
    bridge: bool = False,
    multifunction: bool = False,
) -> PciDevice:
    facts = ConfigFacts(
        header_type=HeaderType.BRIDGE if bridge else HeaderType.NORMAL,
        multifunction=multifunction,
        secondary=1 if bridge else None,
        subordinate=1 if bridge else None,
        port_type=PortType.ROOT_PORT if bridge else PortType.ENDPOINT,
    )
    return PciDevice(
        address=address,
        vendor=vendor,
        device=device,
        subsystem_vendor=vendor,
        subsystem_device=device,
        class_code=class_code,
        revision=1,
        driver=driver,
        is_bridge=bridge,
        parent=parent,
        iommu=None,
        group=group,
        config=facts,
    )

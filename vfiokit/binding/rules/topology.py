"""What a function is and where it stands."""

from collections.abc import Iterator

from vfiokit.address import PciAddress
from vfiokit.analysis.viability import Occupation, occupation
from vfiokit.binding.case import Case, Hit
from vfiokit.model.group import IommuGroup
from vfiokit.model.unknown import Unknown, known

__all__ = [
    "bridge",
    "bridge_in_the_way",
    "chipset",
    "hidden_root_bus",
    "mediated",
    "members_unknown",
    "physical_moves_too",
    "reserved_memory",
    "slot_split",
    "virtual_functions",
]

CHIPSET_CLASSES = {
    0x0600: "host bridge",
    0x0601: "ISA or LPC bridge",
    0x0500: "memory controller",
    0x0580: "memory controller",
    0x0800: "interrupt controller",
    0x0801: "DMA controller",
    0x0802: "system timer",
    0x0803: "real-time clock",
    0x0806: "IOMMU",
    0x0807: "root complex event collector",
    0x0C05: "SMBus controller",
    0x0C07: "management controller (IPMI)",
    0x1101: "performance counters",
    0x1180: "signal processing controller of the chipset",
}
"""Class and subclass of functions that a running machine needs (PCI Code and ID Assignment, 1)."""

_SERIAL = 0x0700


def bridge(case: Case) -> Iterator[Hit]:
    """Find a header other than type 0: the kernel answers EINVAL."""
    if case.device.is_bridge:
        yield Hit((f"class: {case.device.class_code:#08x}", "its header is that of a bridge"))


def chipset(case: Case) -> Iterator[Hit]:
    """Find a function that the machine itself needs."""
    code = case.device.class_code
    if isinstance(code, Unknown):
        yield Hit((f"class: {code}",), unknown=True)
    elif code >> 8 in CHIPSET_CLASSES and not case.device.is_bridge:
        yield Hit((f"class: {code:#08x} ({CHIPSET_CLASSES[code >> 8]})",))
    elif code >> 8 == _SERIAL:
        ports = {child.name for child in case.use.of("tty")}
        used = sorted(ports & set(case.evidence.environment.consoles))
        if used:
            yield Hit(tuple(f"proc/consoles: {name}" for name in used))


def virtual_functions(case: Case) -> Iterator[Hit]:
    """Find a physical function with virtual functions: without its driver they die."""
    count = case.use.vfs
    if isinstance(count, Unknown):
        yield Hit((f"sriov_numvfs: {count}",), unknown=True)
    elif count:
        yield Hit((f"sriov_numvfs: {count}",))


def physical_moves_too(case: Case) -> Iterator[Hit]:
    """Find a virtual function whose physical function moves in the same plan."""
    physical = case.device.physfn
    if not isinstance(physical, Unknown) and physical in case.moving:
        yield Hit((f"physfn: {physical}, which is to move too",))


def mediated(case: Case) -> Iterator[Hit]:
    """Find whether mediated devices live on it."""
    if case.use.mediated:
        yield Hit(tuple(f"mdev: {name}" for name in case.use.mediated))


def hidden_root_bus(case: Case) -> Iterator[Hit]:
    """Find a function below a controller whose identity its DMA carries, or that controller itself (VMD)."""
    if case.device.dma_device is not None:
        yield Hit((f"its DMA carries the identity of {case.device.dma_device}: move that one",))
    elif case.use.opens_bus:
        below = [each for each in case.host.devices if each.dma_device == case.device.address]
        yield Hit(tuple(f"behind it: {each.address} ({each.driver or 'no driver'})" for each in below))


def slot_split(case: Case) -> Iterator[Hit]:
    """Find a card of which the host keeps some functions."""
    kept = [
        each
        for each in case.host.by_slot.get(case.device.address.slot, ())
        if each.address not in case.moving
        and each.physfn is None
        and case.device.physfn is None
        and occupation(case.host, each).in_the_way
    ]
    if kept:
        yield Hit(tuple(f"stays with the host: {each.address} ({each.driver})" for each in kept))


def bridge_in_the_way(case: Case) -> Iterator[Hit]:
    """Find a bridge of the group with a driver other than the port driver: the kernel refuses the group."""
    for address in _members(case):
        device = case.host.by_address.get(address)
        if device and occupation(case.host, device) is Occupation.BRIDGE_IN_USE:
            yield Hit((f"{address} is bound to {device.driver}",))


def members_unknown(case: Case) -> Iterator[Hit]:
    """Find a group of which something could not be read, or with members that are no functions."""
    group = _group(case)
    if group is None:
        return
    if isinstance(group.devices, Unknown):
        yield Hit((f"members of group {group.id}: {group.devices}",), unknown=True)
    for address in _members(case):
        device = case.host.by_address.get(address)
        if device is None or isinstance(device.driver, Unknown):
            yield Hit(
                (f"driver of {address}: {device.driver if device else 'not to be seen'}",), unknown=True
            )
    if group.others:
        yield Hit(tuple(f"{name} is no PCI function" for name in group.others), unknown=True)


def reserved_memory(case: Case) -> Iterator[Hit]:
    """Find whether firmware demands fixed mappings for the group: VFIO refuses it."""
    group = _group(case)
    if group is None:
        return
    if isinstance(group.reserved_regions, Unknown):
        yield Hit((f"reserved_regions of group {group.id}: {group.reserved_regions}",), unknown=True)
        return
    direct = [region for region in group.reserved_regions or () if region.type == "direct"]
    if direct:
        yield Hit(tuple(f"reserved_regions: {region.range} direct" for region in direct))


def _group(case: Case) -> IommuGroup | None:
    number = case.device.group
    return case.host.by_group.get(number) if isinstance(number, int) else None


def _members(case: Case) -> tuple[PciAddress, ...]:
    group = _group(case)
    return known(group.devices, ()) if group else ()

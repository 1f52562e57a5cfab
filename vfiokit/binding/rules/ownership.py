"""Whether somebody else has a hold on a function."""

from collections.abc import Iterator

from vfiokit.binding.case import Case, Hit
from vfiokit.model.unknown import Unknown

__all__ = [
    "configured_elsewhere",
    "dead",
    "foreign_override",
    "group_open",
    "libvirt",
    "powered_down",
    "userspace_driver",
]

_USERSPACE = frozenset({"uio_pci_generic", "igb_uio", "pci-stub", "pciback", "xen-pciback"})


def group_open(case: Case) -> Iterator[Hit]:
    """Find whether a process, most likely a virtual machine, has its VFIO group or device open."""
    titles = {f"group {case.device.group}", str(case.device.vfio_device)}
    nodes = {node: title for node, title in case.evidence.vfio if title in titles}
    for handle in case.evidence.handles:
        if handle.number in nodes:
            yield Hit((f"{handle} has {nodes[handle.number]} open",))


def foreign_override(case: Case) -> Iterator[Hit]:
    """Find whether somebody else has set an override to another driver."""
    override = case.device.driver_override
    if isinstance(override, Unknown):
        yield Hit((f"driver_override: {override}",), unknown=True)
    elif (
        override is not None and override != case.override and case.device.address not in case.evidence.ours
    ):
        owner = case.use.overridden_by or ("whoever set it left no file that is known here",)
        yield Hit((f"driver_override: {override}", *owner))


def configured_elsewhere(case: Case) -> Iterator[Hit]:
    """Find whether another tool's configuration sets an override for it at boot."""
    if case.use.overridden_by and case.device.address not in case.evidence.ours:
        yield Hit(case.use.overridden_by)


def libvirt(case: Case) -> Iterator[Hit]:
    """Find whether a running libvirt domain owns it."""
    if case.device.address in case.evidence.environment.libvirt:
        yield Hit(("a running domain's hostdev in run/libvirt/qemu",))


def userspace_driver(case: Case) -> Iterator[Hit]:
    """Find whether it is on a driver for user space already."""
    if case.device.driver in _USERSPACE:
        yield Hit((f"driver: {case.device.driver}",))


def powered_down(case: Case) -> Iterator[Hit]:
    """Find whether it sleeps, or the kernel may take its power away while it idles on a VFIO driver."""
    state, cold = case.use.power_state, case.use.d3cold_allowed
    if isinstance(state, str) and state not in ("D0", "unknown"):
        yield Hit((f"power_state: {state}",))
    if cold is True and case.use.power_control == "auto":
        yield Hit(("d3cold_allowed: 1", "power/control: auto"))


def dead(case: Case) -> Iterator[Hit]:
    """Find whether its config space reads all ones."""
    if case.use.alive is False:
        yield Hit(("config: ff ff ff ff",))
    elif isinstance(case.use.alive, Unknown):
        yield Hit((f"config: {case.use.alive}",), unknown=True)

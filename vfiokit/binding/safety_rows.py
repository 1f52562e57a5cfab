"""The safety rules: a row each, with an identifier, a weight, what to do, and whether it can be allowed."""

from dataclasses import dataclass

from vfiokit.binding.case import Action, Check
from vfiokit.binding.rules import display, environment, network, ownership, storage, topology
from vfiokit.model.finding import Severity

__all__ = ["RULES", "Rule"]

_REFUSE, _WARN = Severity.ERROR, Severity.WARNING
_BIND = frozenset({Action.BIND})
_TAKE = frozenset({Action.BIND, Action.UNBIND})
_ALL = frozenset({Action.BIND, Action.UNBIND, Action.RESTORE})


@dataclass(frozen=True, slots=True)
class Rule:
    """One safety rule.

    :ivar id: its stable name, ``kebab-case``.
    :ivar severity: what it weighs when it stands against a function: an error refuses, a warning is said.
    :ivar message: what is wrong, in a few words.
    :ivar check: finds it.
    :ivar remedy: what to do.
    :ivar actions: what it bears on.
    :ivar allowable: whether it can be allowed by name.
    :ivar in_use: whether it is about use by the host, which is looked at again before the first unbind.
    :ivar waits: whether it may pass by itself within the time that a run is given to wait.
    """

    id: str
    severity: Severity
    message: str
    check: Check
    remedy: str
    actions: frozenset[Action] = _TAKE
    allowable: bool = True
    in_use: bool = False
    waits: bool = False


RULES: tuple[Rule, ...] = (
    # topology
    Rule(
        "bridge", _REFUSE, "it is a bridge", topology.bridge, "move what is behind it", _ALL, allowable=False
    ),
    Rule("chipset", _REFUSE, "the machine itself needs it", topology.chipset, "leave it to the host"),
    Rule(
        "virtual-functions",
        _REFUSE,
        "it has virtual functions, which go with its driver",
        topology.virtual_functions,
        "remove them first: vfiokit vfs SELECTOR 0",
        _ALL,
        in_use=True,
    ),
    Rule(
        "physical-function",
        _REFUSE,
        "its physical function is to move too",
        topology.physical_moves_too,
        "move one of the two",
        _ALL,
    ),
    Rule(
        "mediated",
        _REFUSE,
        "mediated devices live on it",
        topology.mediated,
        "remove them first",
        in_use=True,
    ),
    Rule(
        "hidden-root-bus",
        _REFUSE,
        "it shares one DMA identity with others (VMD)",
        topology.hidden_root_bus,
        "move the controller as a whole, or switch VMD off in the firmware setup",
    ),
    Rule(
        "slot-split",
        _WARN,
        "the host keeps other functions of the same card",
        topology.slot_split,
        "a reset of the card reaches them too",
        _BIND,
    ),
    Rule(
        "bridge-in-the-way",
        _REFUSE,
        "a bridge of its group has a driver of its own, so VFIO is refused the group",
        topology.bridge_in_the_way,
        "unbind the bridge's driver",
        _BIND,
        allowable=False,
    ),
    Rule(
        "group-unknown",
        _REFUSE,
        "its group is as it should be",
        topology.members_unknown,
        "run as root, or read the group's devices",
        _BIND,
    ),
    Rule(
        "reserved-memory",
        _REFUSE,
        "firmware demands a fixed mapping for its group, so the kernel refuses it to VFIO",
        topology.reserved_memory,
        "update the firmware, or use another slot",
        _BIND,
    ),
    # storage
    Rule(
        "storage-root",
        _REFUSE,
        "the running root or the EFI system partition is on it",
        storage.root,
        "use another disk",
        allowable=False,
        in_use=True,
    ),
    Rule("storage-mounted", _REFUSE, "it is mounted", storage.mounted, "unmount it", in_use=True),
    Rule("storage-swap", _REFUSE, "the host swaps to it", storage.swap, "swapoff", in_use=True),
    Rule(
        "storage-holder",
        _REFUSE,
        "something is stacked on it",
        storage.holders,
        "take it apart",
        in_use=True,
    ),
    Rule(
        "storage-claimed",
        _REFUSE,
        "the kernel or a process holds it exclusively",
        storage.claimed,
        "find the holder: a ZFS pool, a btrfs of several devices, an LVM or md that is being assembled",
        in_use=True,
    ),
    Rule(
        "storage-configured",
        _REFUSE,
        "the host's configuration names it",
        storage.configured,
        "take it out of the configuration first",
    ),
    Rule(
        "storage-open",
        _REFUSE,
        "a process has it open",
        storage.open_nodes,
        "end the process, or give --wait",
        in_use=True,
        waits=True,
    ),
    Rule(
        "storage-shared",
        _REFUSE,
        "it serves a file system of the host",
        storage.shared,
        "unmount it",
        in_use=True,
    ),
    Rule(
        "storage-unseen",
        _REFUSE,
        "it is mounted where we cannot look",
        storage.unseen,
        "run as root in the host's own namespaces",
        in_use=True,
    ),
    Rule(
        "storage-data",
        _WARN,
        "there is data on it",
        storage.data,
        "make sure that it is meant for the guest",
    ),
    # network
    Rule(
        "net-default-route",
        _REFUSE,
        "a default route goes through it",
        network.default_route,
        "move the route",
    ),
    Rule(
        "net-ssh",
        _REFUSE,
        "an ssh connection goes through it",
        network.ssh,
        "connect another way",
        in_use=True,
    ),
    Rule("net-stacked", _REFUSE, "an interface stands on it", network.stacked, "take it out", in_use=True),
    Rule(
        "net-address",
        _REFUSE,
        "it is up and has addresses",
        network.addresses,
        "ip link set down",
        in_use=True,
    ),
    Rule(
        "net-namespace",
        _REFUSE,
        "its interface is in another network namespace",
        network.other_namespace,
        "take it back, or end the container that has it",
        in_use=True,
    ),
    Rule(
        "net-unseen",
        _REFUSE,
        "its interface is in use elsewhere",
        network.unseen,
        "run as root",
        in_use=True,
    ),
    Rule(
        "net-rdma",
        _REFUSE,
        "a process uses it for RDMA",
        network.rdma,
        "end the process",
        in_use=True,
        waits=True,
    ),
    Rule(
        "net-root",
        _REFUSE,
        "it is a way to the root file system or to disks over the network",
        network.network_root,
        "use another interface",
        in_use=True,
    ),
    Rule("net-up", _WARN, "its interface is up", network.up, "ip link set down"),
    Rule("net-program", _WARN, "an XDP program runs on it", network.program, "detach it"),
    Rule(
        "net-bifurcated",
        _WARN,
        "its driver shares it with user space, so a rebind is mostly not what one wants",
        network.bifurcated,
        "DPDK drives it through its kernel driver",
        _BIND,
    ),
    # display, accelerators, USB, input
    Rule("boot-vga", _REFUSE, "it is the primary display", display.boot_vga, "let firmware use another one"),
    Rule(
        "framebuffer",
        _REFUSE,
        "the boot framebuffer lies in one of its BARs",
        display.framebuffer,
        "boot without it",
        _BIND,
    ),
    Rule(
        "console", _REFUSE, "it draws the host's console", display.console, "unbind the console", in_use=True
    ),
    Rule(
        "device-open",
        _REFUSE,
        "a process has it open",
        display.open_nodes,
        "end the process, or give --wait",
        in_use=True,
        waits=True,
    ),
    Rule(
        "device-held",
        _REFUSE,
        "something that no handle shows holds it",
        display.held_silently,
        "nvidia-smi -pm 0, and end nvidia-persistenced",
        in_use=True,
    ),
    Rule(
        "handles-unseen",
        _REFUSE,
        "a process has it open",
        display.handles_unseen,
        "run as root in the host's pid namespace",
        in_use=True,
    ),
    Rule("last-display", _WARN, "it is the host's last display", display.last_display, "keep a way in"),
    Rule(
        "last-input", _REFUSE, "the last keyboard or pointer is on it", display.last_input, "keep a way in"
    ),
    Rule("usb-devices", _WARN, "USB devices go with it", display.usb_devices, "move them to another port"),
    # ownership
    Rule(
        "group-open",
        _REFUSE,
        "somebody has its VFIO group or device open",
        ownership.group_open,
        "end the virtual machine, or give --wait",
        _ALL,
        in_use=True,
        waits=True,
    ),
    Rule(
        "libvirt",
        _REFUSE,
        "a running libvirt domain owns it",
        ownership.libvirt,
        "shut the domain down",
        _ALL,
    ),
    Rule(
        "foreign-override",
        _REFUSE,
        "somebody else has set a driver override",
        ownership.foreign_override,
        "take it back where it was set",
    ),
    Rule(
        "configured-elsewhere",
        _WARN,
        "another tool sets its driver at boot",
        ownership.configured_elsewhere,
        "use one tool for one function",
    ),
    Rule(
        "userspace-driver",
        _WARN,
        "it is on a driver for user space already",
        ownership.userspace_driver,
        "make sure that nobody drives it",
    ),
    Rule(
        "power",
        _WARN,
        "it sleeps, or may lose power while it idles",
        ownership.powered_down,
        "bind --keep-power writes d3cold_allowed and power/control",
    ),
    Rule("dead", _WARN, "it does not answer", ownership.dead, "reset or reseat it"),
    # environment
    Rule(
        "no-iommu",
        _REFUSE,
        "no IOMMU stands in front of it",
        environment.no_iommu,
        "switch the IOMMU on; vfiokit groups says why it is off",
        _BIND,
        allowable=False,
    ),
    Rule(
        "noiommu-mode",
        _REFUSE,
        "VFIO would give it away without an IOMMU: its DMA reaches all of memory",
        environment.noiommu_mode,
        "switch the IOMMU on",
        _BIND,
    ),
    Rule(
        "interrupts",
        _REFUSE,
        "its interrupts are not remapped, so VFIO answers EPERM",
        environment.interrupts,
        "switch interrupt remapping on; vfiokit groups says more",
        _BIND,
    ),
    Rule(
        "unsafe-interrupts",
        _WARN,
        "whoever has it can raise any interrupt of the host",
        environment.unsafe_interrupts,
        "clear the parameter once interrupts are remapped",
        _BIND,
    ),
    Rule(
        "acs-override",
        _WARN,
        "its group may be smaller than the hardware isolates",
        environment.acs_override,
        "take the override off where guests are not trusted",
        _BIND,
    ),
    Rule(
        "memlock",
        _WARN,
        "less memory may be locked than the machine has",
        environment.memlock,
        "raise the limit (ulimit -l, LimitMEMLOCK=) for whoever starts the guest",
        _BIND,
    ),
    Rule(
        "lockdown",
        _WARN,
        "the kernel is locked down",
        environment.lockdown,
        "config space and BARs cannot be written through sysfs",
        _BIND,
    ),
)
"""Every rule, in the order in which they are said."""

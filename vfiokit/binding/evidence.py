"""What the host does with its functions: frozen evidence that the safety rules judge."""

from dataclasses import dataclass, field
from functools import cached_property

from vfiokit.address import AddressRange, PciAddress
from vfiokit.model.unknown import NOT_READ, Unknown
from vfiokit.sysfs.source import DeviceNumber

__all__ = [
    "Block",
    "Catalog",
    "Child",
    "Entry",
    "Environment",
    "Evidence",
    "FunctionUse",
    "Handle",
    "Input",
    "Interface",
    "Mount",
    "Route",
    "Swap",
]


@dataclass(frozen=True, slots=True)
class Child:
    """A kernel device below a function.

    :ivar path: from the root, without links.
    :ivar name: the last name in the path.
    :ivar subsystem: ``net``, ``block``, ``drm``, ``usb`` …; empty where it has none.
    :ivar number: of its node, ``None`` without one.
    """

    path: str
    name: str
    subsystem: str
    number: DeviceNumber | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block device that rests on a function: a disk, a partition, or what is stacked on them.

    :ivar name: as under ``/sys/class/block``.
    :ivar number: ``None`` where it could not be read.
    :ivar chain: the names from the disk to it, with what each is: ``nvme0n1 > dm-0 (LVM vg-root)``.
    :ivar stacked: whether it is no disk or partition but holds one (dm, md, bcache).
    :ivar partition: whether it is a partition.
    :ivar names: all it is called by: node names below ``/dev``, identifiers as fstab writes them.
    :ivar signature: file system or partition table that was found, empty for none.
    :ivar efi: whether it is an EFI system partition by its type.
    :ivar claimed: whether the kernel refuses an exclusive open, which is to say that something holds it.
    """

    name: str
    number: DeviceNumber | None
    chain: str
    stacked: bool = False
    partition: bool = False
    names: tuple[str, ...] = ()
    signature: str = ""
    efi: bool = False
    claimed: bool | Unknown = NOT_READ


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The PCI drivers that there are.

    :ivar loaded: those registered with the kernel, with the module of each, empty for built in.
    :ivar aliases: ``vfio_pci:`` patterns of ``modules.alias`` with the module each names.
    """

    loaded: tuple[tuple[str, str], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionUse:
    """What stands on one function.

    :ivar path: its directory, from the root.
    :ivar children: kernel devices below it.
    :ivar blocks: block devices that rest on it.
    :ivar ranges: what its BARs decode.
    :ivar vfs: virtual functions that are enabled; ``None`` where it can have none.
    :ivar vfs_autoprobe: whether drivers take them as they appear.
    :ivar mediated: names of mediated devices on it.
    :ivar opens_bus: whether a root bus hangs below it (VMD).
    :ivar tags: mount tags of the shared file systems that it serves (9p, virtiofs).
    :ivar power_state: ``D0``, ``D3hot`` …
    :ivar d3cold_allowed: whether the kernel may take its power away.
    :ivar power_control: ``on`` or ``auto``.
    :ivar alive: whether config space answers with anything but ones.
    :ivar unexplained: references to its driver's module that no handle and no module explains.
    :ivar overridden_by: files of others that name an override for it.
    :ivar serial: its Device Serial Number (PCIe 6.0, 7.9.3), 16 hexadecimal digits; empty without one.
    :ivar modalias: what ``modules.alias`` is matched with.
    :ivar suppliers: functions that it needs, by device links.
    """

    address: PciAddress
    path: str
    children: tuple[Child, ...] | Unknown = ()
    blocks: tuple[Block, ...] = ()
    ranges: tuple[AddressRange, ...] | Unknown = ()
    vfs: int | Unknown | None = None
    vfs_autoprobe: bool | None = None
    mediated: tuple[str, ...] = ()
    opens_bus: bool = False
    tags: tuple[str, ...] = ()
    power_state: str | Unknown | None = None
    d3cold_allowed: bool | Unknown | None = None
    power_control: str | Unknown | None = None
    alive: bool | Unknown = True
    unexplained: int | Unknown = 0
    overridden_by: tuple[str, ...] = ()
    serial: str = ""
    modalias: str = ""
    suppliers: tuple[PciAddress, ...] = ()

    def of(self, subsystem: str) -> tuple[Child, ...]:
        """Return the devices of one subsystem below it."""
        if isinstance(self.children, Unknown):
            return ()
        return tuple(child for child in self.children if child.subsystem == subsystem)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount in some mount namespace.

    :ivar namespace: ``mnt:[4026531841]``, or the process it was read from.
    :ivar number: of the block device below it, as mountinfo says; anonymous for btrfs and the like.
    """

    namespace: str
    point: str
    type: str
    source: str
    number: DeviceNumber
    options: str = ""


@dataclass(frozen=True, slots=True)
class Swap:
    """An active swap area: its path, and the number where it is a block device."""

    path: str
    number: DeviceNumber | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A place where the host's configuration names a block device.

    :ivar file: ``etc/fstab``, ``etc/crypttab`` or ``proc/cmdline``.
    :ivar what: as written: ``UUID=…``, ``/dev/…``.
    :ivar where: the mount point or the mapping's name.
    """

    file: str
    what: str
    where: str


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface in some network namespace.

    :ivar namespace: empty for the one that vfiokit runs in.
    :ivar parent: the function it belongs to, ``None`` for a virtual one or where not known.
    :ivar up: whether it is administratively up.
    :ivar stacked: interfaces that stand on it: a bond, a bridge, VLANs, macvlans.
    :ivar addresses: its addresses of both families, without prefix.
    :ivar program: whether an XDP program runs on it.
    """

    namespace: str
    name: str
    parent: PciAddress | None = None
    up: bool = False
    carrier: bool = False
    stacked: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    program: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A route through an interface; *default* where it takes everything."""

    namespace: str
    interface: str
    destination: str
    table: int | None = None
    default: bool = False


@dataclass(frozen=True, slots=True)
class Handle:
    """A process that has a device node open."""

    pid: int
    command: str
    number: DeviceNumber
    container: str = ""

    def __str__(self) -> str:
        inside = f" in {self.container}" if self.container else ""
        return f"pid {self.pid} ({self.command}){inside}"


@dataclass(frozen=True, slots=True)
class Input:
    """A keyboard or pointer and the function it hangs on, ``None`` for another way in."""

    name: str
    address: PciAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What bears on every function.

    :ivar lockdown: the kernel's lockdown mode: ``none``, ``integrity``, ``confidentiality``.
    :ivar memlock: bytes that the process may lock, ``None`` without a limit.
    :ivar memory: bytes of memory.
    :ivar framebuffers: ranges of the boot framebuffer, with the driver that has them.
    :ivar consoles: serial consoles of the kernel.
    :ivar local_seat: whether there is a virtual console.
    :ivar libvirt: functions that running libvirt domains own.
    """

    lockdown: str | Unknown = "none"
    memlock: int | Unknown | None = None
    memory: int | Unknown = 0
    framebuffers: tuple[tuple[AddressRange, str], ...] | Unknown = ()
    console_bound: bool | Unknown = False
    consoles: tuple[str, ...] = ()
    local_seat: bool = False
    libvirt: tuple[PciAddress, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the rules look at beyond the host's model.

    :ivar functions: use of the functions that are to move, and of their mates.
    :ivar mounts: of every mount namespace that could be read.
    :ivar interfaces: of every network namespace that could be read.
    :ivar ssh: local addresses of ssh connections.
    :ivar vfio: nodes of groups and VFIO devices by their number: ``group 14``, ``vfio0``.
    :ivar ours: functions whose override vfiokit has set and recorded.
    :ivar unseen: what could not be looked into, by subject: ``mounts``, ``handles``, ``network``.
    """

    functions: tuple[FunctionUse, ...] = ()
    mounts: tuple[Mount, ...] = ()
    swaps: tuple[Swap, ...] = ()
    entries: tuple[Entry, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    ssh: tuple[str, ...] = ()
    iscsi: bool = False
    handles: tuple[Handle, ...] = ()
    inputs: tuple[Input, ...] = ()
    vfio: tuple[tuple[DeviceNumber, str], ...] = ()
    environment: Environment = field(default_factory=Environment)
    drivers: Catalog = field(default_factory=Catalog)
    ours: frozenset[PciAddress] = frozenset()
    unseen: tuple[tuple[str, str], ...] = ()

    @cached_property
    def by_address(self) -> dict[PciAddress, FunctionUse]:
        """The functions by address."""
        return {use.address: use for use in self.functions}

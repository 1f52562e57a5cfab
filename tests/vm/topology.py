"""A PCI topology as data, and the QEMU options that build it.

A topology is a tree: a bus holds slots, a slot holds functions, and a function that is a bridge or a port
holds a bus. What may sit where, and what QEMU calls it, is in KINDS; a topology that breaks those rules
cannot be constructed.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

ROOT_SLOTS = range(0x02, 0x1C)
"""Slots of the root bus that a topology may use; q35 and the lab itself have the others."""

EXTRA_BUSES = (0x40, 0x80, 0xC0)
"""Numbers of the root buses that up to three pxb-pcie open."""


class Bus(enum.Enum):
    """What a bus lets in: slots, and kinds of function."""

    ROOT = "root complex"
    EXTRA = "extra root bus of a pxb-pcie"
    LINK = "link below a root port or a downstream port"
    SWITCH = "internal bus of a switch"
    CONVENTIONAL = "conventional PCI"

    @property
    def slots(self) -> range:
        """Slot numbers that a function on this bus may have."""
        ranges = {Bus.ROOT: ROOT_SLOTS, Bus.LINK: range(1), Bus.CONVENTIONAL: range(1, 32)}
        return ranges.get(self, range(32))


class Acs(enum.Enum):
    """What a port that has ACS is left with."""

    FULL = "as QEMU and the kernel set it up"
    NO_REDIRECT = "the kernel turns request and completion redirect off (pci=disable_acs_redir=)"
    ABSENT = "no capability (disable-acs=on)"


Hops = tuple[tuple[int, int], ...]

ROOTS = frozenset({Bus.ROOT, Bus.EXTRA})
# An extra root takes bridges and ports only.
EXPRESS = frozenset({Bus.ROOT, Bus.LINK})
ANYWHERE = EXPRESS | {Bus.CONVENTIONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One device model of QEMU: where it fits, what it opens below, and what it must be told."""

    device: str
    fits: frozenset[Bus]
    below: Bus | None = None
    acs: bool = False
    """Whether it has an ACS capability, which can be taken away. In QEMU 10 only root ports have one
    (pcie-root-port and cxl-rp; ioh3420 takes the property and does nothing): no switch port, no endpoint,
    multifunction or not."""
    max_vfs: int = 0
    functions: range = range(8)
    shares_with_kin: bool = False
    """Shares a slot only with its own kind."""
    options: tuple[str, ...] = ()
    """Properties; `{n}` is a number unique in the topology, `{id}` the id, `{vfs}` the number of VFs."""
    sharing_options: tuple[str, ...] = ()
    """More of them where the slot has several functions."""
    sriov_options: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    """Devices without an address that must exist first, when there are VFs."""
    driver: str | None = None
    """The host driver that a kernel with everything built in binds to it."""


# An option ROM on a network card costs time in the firmware at every boot; `options` can give it back.
NO_ROM = "romfile="
PORT = ("chassis={n}", "slot=0")

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.device: kind
        for kind in (
            Kind(
                device="pcie-root-port",
                fits=ROOTS,
                below=Bus.LINK,
                acs=True,
                options=PORT,
                driver="pcieport",
            ),
            Kind(device="ioh3420", fits=ROOTS, below=Bus.LINK, options=PORT, driver="pcieport"),
            Kind(device="x3130-upstream", fits=frozenset({Bus.LINK}), below=Bus.SWITCH, driver="pcieport"),
            Kind(
                device="xio3130-downstream",
                fits=frozenset({Bus.SWITCH}),
                below=Bus.LINK,
                options=PORT,
                driver="pcieport",
            ),
            Kind(device="pcie-pci-bridge", fits=ROOTS | {Bus.LINK}, below=Bus.CONVENTIONAL),
            Kind(
                device="pci-bridge",
                fits=ANYWHERE,
                below=Bus.CONVENTIONAL,
                options=("chassis_nr={n}", "shpc=off"),
            ),
            Kind(device="i82801b11-bridge", fits=ROOTS, below=Bus.CONVENTIONAL),
            Kind(device="pxb-pcie", fits=frozenset({Bus.ROOT}), below=Bus.EXTRA, functions=range(1)),
            Kind(
                device="nvme",
                fits=EXPRESS,
                max_vfs=4,
                options=("serial={id}",),
                sriov_options=(
                    "subsys={id}-subsystem",
                    "sriov_max_vfs={vfs}",
                    "sriov_vq_flexible=8",
                    "sriov_vi_flexible=4",
                ),
                companions=("nvme-subsys,id={id}-subsystem,nqn={id}",),
                driver="nvme",
            ),
            # Its virtual functions are at +0x80, +0x82, ...: room for two physical functions on a link, and
            # for none on a root bus. Its ARI capability names the next function; the kernel finds no other.
            Kind(
                device="igb",
                fits=frozenset({Bus.LINK}),
                max_vfs=7,
                functions=range(2),
                shares_with_kin=True,
                options=(NO_ROM,),
                sharing_options=("x-pcie-ari-nextfn-1=on",),
                driver="igb",
            ),
            Kind(device="e1000e", fits=ANYWHERE, options=(NO_ROM,), driver="e1000e"),
            Kind(
                device="virtio-net-pci",
                fits=ANYWHERE,
                options=(NO_ROM, "disable-legacy=on"),
                driver="virtio-pci",
            ),
            Kind(
                device="virtio-rng-pci", fits=ANYWHERE, options=("disable-legacy=on",), driver="virtio-pci"
            ),
            Kind(device="qemu-xhci", fits=ANYWHERE, driver="xhci_hcd"),
            Kind(device="edu", fits=ANYWHERE),
            Kind(device="pci-testdev", fits=ANYWHERE),
            # Its memory, which is plain RAM, must be named: options=("memdev=...",).
            Kind(device="ivshmem-plain", fits=ANYWHERE),
            Kind(device="VGA", fits=ANYWHERE, options=(NO_ROM,)),
            # Needs a memory back end by the name of its function; its mailbox is hidden by vfio-pci.
            Kind(device="cxl-type3", fits=frozenset({Bus.LINK}), options=("volatile-memdev={id}-memory",)),
        )
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function: a device model, what is below it, and how it differs from the model's defaults."""

    device: str
    below: tuple[Slot, ...] = ()
    name: str = ""
    """What a test calls it; its place in the tree when empty."""
    acs: Acs = Acs.FULL
    """For a kind that has ACS."""
    vfs: int = 0
    """Virtual functions that the guest enables before the script runs."""
    options: tuple[str, ...] = ()
    """More QEMU properties, `key=value`."""

    @property
    def kind(self) -> Kind:
        return KINDS[self.device]

    @property
    def has_acs(self) -> bool:
        """Whether the guest finds an ACS capability in this function."""
        return self.kind.acs and self.acs is not Acs.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A device number on a bus, and its functions from 0 upwards."""

    number: int
    functions: tuple[Function, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a function is: its name, its root bus, and slot and function at every hop from there."""

    name: str
    function: Function
    bus_id: str
    """QEMU's id of the bus it sits on."""
    root_bus: int
    hops: Hops
    number: int
    """A number no other function of the topology has."""
    opens: int | None
    """The number of the root bus that it opens, when it is a pxb-pcie."""

    @property
    def qemu_id(self) -> str:
        """QEMU's id of the function and of the bus below it; a bare name could clash with a property."""
        return f"lab-{self.name}"

    @property
    def sysfs(self) -> str:
        """A glob for its directory in the guest, where only bus numbers are open."""
        hops = "/".join(f"*:{slot:02x}.{function}" for slot, function in self.hops)
        return f"/sys/devices/pci0000:{self.root_bus:02x}/{hops}"

    def arguments(self, *, multifunction: bool) -> list[str]:
        """Return the words of QEMU's command line that make this function."""
        slot, function = self.hops[-1]
        kind = self.function.kind
        sriov = self.function.vfs > 0
        properties = [
            *(kind.options + kind.sriov_options if sriov else kind.options),
            *(["disable-acs=on"] if self.function.acs is Acs.ABSENT else []),
            *([f"bus_nr={self.opens:#04x}"] if self.opens is not None else []),
            *(["multifunction=on", *kind.sharing_options] if multifunction else []),
            *self.function.options,
        ]
        head = f"{kind.device},id={self.qemu_id},bus={self.bus_id},addr={slot:#04x}.{function}"
        devices = [*(kind.companions if sriov else ()), ",".join([head, *properties])]
        fill = {"n": self.number, "id": self.qemu_id, "vfs": self.function.vfs}
        return [word for device in devices for word in ("-device", device.format(**fill))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A named tree of functions on the root bus of a q35 machine."""

    name: str
    slots: tuple[Slot, ...]
    arguments: tuple[str, ...] = ()
    """More words for QEMU's command line, for example drives behind an NVMe controller."""

    def __post_init__(self) -> None:
        _check_bus(self.slots, Bus.ROOT)
        if sum(slot.functions[0].kind.below is Bus.EXTRA for slot in self.slots) > len(EXTRA_BUSES):
            raise ValueError(f"topology {self.name}: more than {len(EXTRA_BUSES)} extra roots")
        names = [place.name for place in self.places()]
        if len(set(names)) < len(names):
            raise ValueError(f"topology {self.name}: a name is used twice")

    def places(self) -> tuple[Place, ...]:
        """Every function with its place, parents before children."""
        return tuple(_Walk().places(self.slots))

    def place(self, name: str) -> Place:
        """Return the place of one function by its name."""
        return next(place for place in self.places() if place.name == name)

    def qemu_arguments(self) -> list[str]:
        """Words for QEMU's command line."""
        places = self.places()
        shared = {(place.bus_id, place.hops[-1][0]) for place in places if place.hops[-1][1] > 0}
        options = (
            place.arguments(multifunction=(place.bus_id, place.hops[-1][0]) in shared) for place in places
        )
        return [*self.arguments, *(word for words in options for word in words)]

    def kernel_arguments(self) -> list[str]:
        """Words for the kernel's command line."""
        ports = [place for place in self.places() if place.function.acs is Acs.NO_REDIRECT]
        # Only root ports have ACS, and theirs are the only bus numbers that are known before the boot.
        addresses = [f"{place.root_bus:02x}:{place.hops[0][0]:02x}.{place.hops[0][1]}" for place in ports]
        return [f"pci=disable_acs_redir={';'.join(addresses)}"] if addresses else []


def single(number: int, device: str, *below: Slot, **details: object) -> Slot:
    """Make a slot with one function; the details are those of Function."""
    return Slot(number=number, functions=(Function(device=device, below=below, **details),))  # type: ignore[arg-type]


def _check_bus(slots: tuple[Slot, ...], bus: Bus) -> None:
    numbers = [slot.number for slot in slots]
    if len(set(numbers)) < len(numbers) or not set(numbers) <= set(bus.slots):
        raise ValueError(f"{bus.value}: slots {numbers} clash or do not exist")
    for slot in slots:
        _check_slot(slot)
        for number, function in enumerate(slot.functions):
            _check_function(function, number, bus)


def _check_slot(slot: Slot) -> None:
    kinds = {function.device for function in slot.functions}
    if not 1 <= len(slot.functions) <= 8:
        raise ValueError(f"slot {slot.number:#x}: {len(slot.functions)} functions")
    if len(kinds) > 1 and any(KINDS[kind].shares_with_kin for kind in kinds):
        raise ValueError(f"slot {slot.number:#x}: {', '.join(sorted(kinds))} cannot share it")
    crowded = len(slot.functions) > 1
    if crowded and any(function.vfs and not function.kind.shares_with_kin for function in slot.functions):
        raise ValueError(f"slot {slot.number:#x}: no room for virtual functions")


def _check_function(function: Function, number: int, bus: Bus) -> None:
    kind = function.kind
    if bus not in kind.fits or number not in kind.functions:
        raise ValueError(f"{kind.device} cannot be function {number} on a {bus.value}")
    if function.vfs > kind.max_vfs or (function.vfs and bus is not Bus.LINK):
        raise ValueError(f"{kind.device}: {function.vfs} virtual functions have no room here")
    if function.acs is not Acs.FULL and not kind.acs:
        raise ValueError(f"{kind.device} has no ACS to take away")
    if function.below and kind.below is None:
        raise ValueError(f"{kind.device} has no bus below it")
    if kind.below is not None:
        _check_bus(function.below, kind.below)


class _Walk:
    """One walk over a topology, handing out the numbers that must be unique."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.extra_buses = iter(EXTRA_BUSES)

    def places(
        self, slots: tuple[Slot, ...], bus_id: str = "pcie.0", root_bus: int = 0, above: Hops = ()
    ) -> Iterator[Place]:
        for slot in slots:
            for index, function in enumerate(slot.functions):
                hops = (*above, (slot.number, index))
                place = self._place(function, bus_id, root_bus, hops)
                yield place
                # A pxb-pcie is a function of the first root, what is below it hangs off a root of its own.
                deeper = (root_bus, hops) if place.opens is None else (place.opens, ())
                yield from self.places(function.below, place.qemu_id, *deeper)

    def _place(self, function: Function, bus_id: str, root_bus: int, hops: Hops) -> Place:
        path = "-".join(f"{slot:02x}.{index}" for slot, index in hops)
        prefix = f"f{root_bus:02x}-" if root_bus else "f"
        return Place(
            name=function.name or prefix + path,
            function=function,
            bus_id=bus_id,
            root_bus=root_bus,
            hops=hops,
            number=next(self.numbers),
            opens=next(self.extra_buses) if function.kind.below is Bus.EXTRA else None,
        )

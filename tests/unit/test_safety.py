"""Every safety rule: a host on which it stands against a function, with its evidence, and at rest."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from vfiokit.address import AddressRange, PciAddress
from vfiokit.binding.case import Action, Case
from vfiokit.binding.evidence import (
    Block,
    Child,
    Entry,
    Environment,
    Evidence,
    FunctionUse,
    Handle,
    Input,
    Interface,
    Mount,
    Route,
    Swap,
)
from vfiokit.binding.safety import RULES, Allowance, judge, parse_allowance
from vfiokit.errors import UsageError
from vfiokit.model.device import PciDevice
from vfiokit.model.finding import Severity
from vfiokit.model.group import IommuGroup, ReservedRegion
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.source import DeviceNumber
from vfiokit.testing.machines import GPU, NIC, NVME, PORT, workstation

ROOT = Mount("mnt:[1]", "/", "ext4", "/dev/sda1", DeviceNumber(True, 8, 1))
DISK = DeviceNumber(True, 259, 0)
CARD = DeviceNumber(False, 226, 0)
NODE = DeviceNumber(False, 243, 16)
EACCES = Unknown("Permission denied")


def block(name: str = "nvme0n1", number: DeviceNumber | None = DISK, **more: object) -> Block:
    values: dict[str, object] = {
        "chain": name,
        "names": (f"dev/{name}", "UUID=ab-cd"),
        "claimed": False,
        **more,
    }
    return Block(name, number, **values)  # type: ignore[arg-type]


def mount(point: str, number: DeviceNumber = DISK, **more: str) -> Mount:
    return Mount(
        more.get("namespace", "mnt:[1]"),
        point,
        more.get("type", "ext4"),
        more.get("source", "/dev/x"),
        number,
        more.get("options", ""),
    )


def nic(**more: object) -> Interface:
    values: dict[str, object] = {"namespace": "", "name": "eth0", "parent": NIC, **more}
    return Interface(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Scene:
    """A host in a few words: what differs from a machine at rest."""

    rule: str
    seen: str
    address: PciAddress = NVME
    device: dict[str, object] = field(default_factory=dict)
    use: dict[str, object] = field(default_factory=dict)
    evidence: dict[str, object] = field(default_factory=dict)
    host: Callable[[Host], Host] = lambda host: host
    severity: Severity | None = None
    moving: frozenset[PciAddress] = frozenset()
    action: Action = Action.BIND

    @property
    def case(self) -> Case:
        host = self.host(workstation())
        devices = tuple(
            replace(each, **self.device) if each.address == self.address else each  # type: ignore[arg-type]
            for each in host.devices
        )
        host = replace(host, devices=devices)
        use = FunctionUse(address=self.address, path="", **self.use)  # type: ignore[arg-type]
        evidence = Evidence(**{"functions": (use,), "mounts": (ROOT,), **self.evidence})  # type: ignore[arg-type]
        return Case(
            host,
            evidence,
            host.by_address[self.address],
            self.moving or frozenset({self.address}),
            self.action,
            "vfio-pci",
        )


def group(**more: object) -> Callable[[Host], Host]:
    """Change the group of the function at NIC."""

    def change(host: Host) -> Host:
        groups = tuple(replace(each, **more) if each.id == 16 else each for each in host.groups)  # type: ignore[arg-type]
        return replace(host, groups=groups)

    return change


def platform(**more: object) -> Callable[[Host], Host]:
    return lambda host: replace(host, platform=replace(host.platform, **more))  # type: ignore[arg-type]


def environment(**more: object) -> dict[str, object]:
    return {"environment": Environment(**more)}  # type: ignore[arg-type]


def with_device(device: PciDevice) -> Callable[[Host], Host]:
    return lambda host: replace(host, devices=(*host.devices, device))


DIRECT = ReservedRegion(range=AddressRange(0x1000, 0x2000), type="direct")
ADDRESSED = nic(up=True, addresses=("192.0.2.5",))
OVERLAY = mount(
    "/", DeviceNumber(True, 0, 30), type="overlay", source="root", options="rw,lowerdir=/lower,upperdir=/s/u"
)

SCENES = (
    Scene("bridge", "its header is that of a bridge", address=PORT),
    Scene("chipset", "class: 0x060100 (ISA or LPC bridge)", device={"class_code": 0x060100}),
    Scene(
        "chipset",
        "proc/consoles: ttyS4",
        device={"class_code": 0x070002},
        use={"children": (Child("x", "ttyS4", "tty"),)},
        evidence=environment(consoles=("ttyS4",)),
    ),
    Scene("chipset", "class: unknown", device={"class_code": EACCES}, severity=Severity.UNKNOWN),
    Scene("virtual-functions", "sriov_numvfs: 4", use={"vfs": 4}),
    Scene("virtual-functions", "sriov_numvfs: unknown", use={"vfs": EACCES}, severity=Severity.UNKNOWN),
    Scene(
        "physical-function",
        f"physfn: {NVME}",
        address=NIC,
        device={"physfn": NVME},
        moving=frozenset({NIC, NVME}),
    ),
    Scene("mediated", "mdev: 83b8f4f2", use={"mediated": ("83b8f4f2",)}),
    Scene("hidden-root-bus", f"the identity of {NIC}", device={"dma_device": NIC}),
    Scene("hidden-root-bus", "", use={"opens_bus": True}),
    Scene("slot-split", f"stays with the host: {GPU[1]} (snd_hda_intel)", address=GPU[0]),
    Scene(
        "bridge-in-the-way",
        f"{PORT} is bound to shpchp",
        address=GPU[0],
        host=lambda host: replace(
            host,
            devices=tuple(
                replace(each, driver="shpchp") if each.address == PORT else each for each in host.devices
            ),
        ),
    ),
    Scene(
        "group-unknown",
        "arm-smmu is no PCI function",
        address=NIC,
        host=group(others=("arm-smmu",)),
        severity=Severity.UNKNOWN,
    ),
    Scene(
        "group-unknown",
        "members of group 16",
        address=NIC,
        host=group(devices=EACCES),
        severity=Severity.UNKNOWN,
    ),
    Scene("reserved-memory", "0x1000-0x1fff direct", address=NIC, host=group(reserved_regions=(DIRECT,))),
    Scene(
        "reserved-memory",
        "reserved_regions",
        address=NIC,
        host=group(reserved_regions=EACCES),
        severity=Severity.UNKNOWN,
    ),
    Scene("storage-root", "ext4 on / in", use={"blocks": (block(),)}, evidence={"mounts": (mount("/"),)}),
    Scene(
        "storage-root",
        "on /boot/efi",
        use={"blocks": (block(),)},
        evidence={"mounts": (ROOT, mount("/boot/efi", type="vfat"))},
    ),
    Scene(
        "storage-root",
        "vfat on /boot in",
        use={"blocks": (block(),)},
        evidence={"mounts": (ROOT, mount("/boot", type="vfat"))},
    ),
    Scene("storage-root", "an EFI system partition", use={"blocks": (block("nvme0n1p1", efi=True),)}),
    Scene(
        "storage-root",
        "ext4 on /lower in",
        use={"blocks": (block(),)},
        evidence={"mounts": (OVERLAY, mount("/lower"), mount("/s", DeviceNumber(True, 0, 9)))},
    ),
    Scene("storage-root", "an overlay of /lower", use={"tags": ("root",)}, evidence={"mounts": (OVERLAY,)}),
    Scene(
        "storage-root",
        "9p root on /",
        use={"tags": ("root",)},
        evidence={"mounts": (mount("/", type="9p", source="root"),)},
    ),
    Scene(
        "storage-mounted",
        "ext4 on /data in mnt:[7]",
        use={"blocks": (block(),)},
        evidence={"mounts": (ROOT, mount("/data", namespace="mnt:[7]"))},
    ),
    Scene(
        "storage-mounted",
        "btrfs on /pool",
        use={"blocks": (block(),)},
        evidence={
            "mounts": (ROOT, mount("/pool", DeviceNumber(True, 0, 44), type="btrfs", source="/dev/nvme0n1"))
        },
    ),
    Scene(
        "storage-swap",
        "swap area dev/dm-3",
        use={"blocks": (block("dm-3", DeviceNumber(True, 254, 3)),)},
        evidence={"swaps": (Swap("dev/dm-3"),)},
    ),
    Scene(
        "storage-swap",
        "swap area dev/disk/by-id/x",
        use={"blocks": (block(),)},
        evidence={"swaps": (Swap("dev/disk/by-id/x", DISK),)},
    ),
    Scene(
        "storage-holder",
        "holders: nvme0n1 > dm-0",
        use={"blocks": (block(), block("dm-0", None, chain="nvme0n1 > dm-0", stacked=True))},
    ),
    Scene("storage-claimed", "answers EBUSY", use={"blocks": (block(claimed=True),)}),
    Scene(
        "storage-claimed",
        "Permission denied",
        use={"blocks": (block(claimed=EACCES),)},
        severity=Severity.UNKNOWN,
    ),
    Scene(
        "storage-configured",
        "etc/fstab: UUID=ab-cd /srv",
        use={"blocks": (block(),)},
        evidence={"entries": (Entry("etc/fstab", "UUID=ab-cd", "/srv"),)},
    ),
    Scene(
        "storage-configured",
        "proc/cmdline: /dev/nvme0n1 root=",
        use={"blocks": (block(),)},
        evidence={"entries": (Entry("proc/cmdline", "/dev/nvme0n1", "root="),)},
    ),
    Scene(
        "storage-configured",
        "etc/fstab: LABEL=x could not be compared",
        use={"blocks": (block(names=("dev/nvme0n1",)),)},
        evidence={"entries": (Entry("etc/fstab", "LABEL=x", "/srv"),)},
        severity=Severity.UNKNOWN,
    ),
    Scene(
        "storage-open",
        "pid 7 (dd) in container abc has nvme0n1 open",
        use={"blocks": (block(),)},
        evidence={"handles": (Handle(7, "dd", DISK, "container abc"),)},
    ),
    Scene(
        "storage-shared",
        "virtiofs share on /srv",
        use={"tags": ("share",)},
        evidence={"mounts": (ROOT, mount("/srv", type="virtiofs", source="share"))},
    ),
    Scene("storage-shared", "mount tag idle", use={"tags": ("idle",)}, severity=Severity.UNKNOWN),
    Scene(
        "storage-unseen",
        "of pid 9",
        use={"blocks": (block(),)},
        evidence={"unseen": (("mounts", "the mounts of pid 9"),)},
        severity=Severity.UNKNOWN,
    ),
    Scene("storage-data", "nvme0n1: xfs", use={"blocks": (block(signature="xfs"),)}),
    Scene(
        "net-default-route",
        "route ::/0 through eth0 table 42",
        address=NIC,
        evidence={"interfaces": (nic(),), "routes": (Route("", "eth0", "::/0", 42, default=True),)},
    ),
    Scene(
        "net-default-route",
        "through bond0",
        address=NIC,
        evidence={
            "interfaces": (nic(stacked=("bond0",)), nic(name="bond0", parent=None)),
            "routes": (Route("", "bond0", "default", 254, default=True),),
        },
    ),
    Scene(
        "net-ssh",
        "an ssh connection to 192.0.2.5",
        address=NIC,
        evidence={"interfaces": (ADDRESSED,), "ssh": ("192.0.2.5",)},
    ),
    Scene("net-stacked", "br0 on eth0", address=NIC, evidence={"interfaces": (nic(stacked=("br0",)),)}),
    Scene(
        "net-address",
        "eth0: 2001:db8::1",
        address=NIC,
        evidence={"interfaces": (nic(up=True, addresses=("fe80::1", "2001:db8::1")),)},
    ),
    Scene(
        "net-address",
        "route 198.51.100.0/24",
        address=NIC,
        evidence={"interfaces": (nic(),), "routes": (Route("", "eth0", "198.51.100.0/24", 254),)},
    ),
    Scene(
        "net-namespace",
        "eth0 in the network namespace blue",
        address=NIC,
        evidence={"interfaces": (nic(namespace="blue"),)},
    ),
    Scene(
        "net-unseen",
        "no interface of igb here",
        address=NIC,
        evidence={"unseen": (("network", "namespace of pid 9"),)},
        severity=Severity.UNKNOWN,
    ),
    Scene(
        "net-rdma",
        "pid 8 (ib_write_bw) has uverbs0 open",
        address=NIC,
        use={"children": (Child("x", "uverbs0", "infiniband_verbs", CARD),)},
        evidence={"handles": (Handle(8, "ib_write_bw", CARD),)},
    ),
    Scene(
        "net-root",
        "nfs4 server:/ on /",
        address=NIC,
        evidence={
            "mounts": (mount("/", DeviceNumber(True, 0, 3), type="nfs4", source="server:/"),),
            "interfaces": (ADDRESSED,),
        },
    ),
    Scene(
        "net-root",
        "iSCSI",
        address=NIC,
        evidence={"iscsi": True, "interfaces": (ADDRESSED,)},
    ),
    Scene(
        "net-up",
        "eth0 is up, with carrier",
        address=NIC,
        evidence={"interfaces": (nic(up=True, carrier=True),)},
    ),
    Scene(
        "net-program", "an XDP program on eth0", address=NIC, evidence={"interfaces": (nic(program=True),)}
    ),
    Scene("net-bifurcated", "driver: mlx5_core", address=NIC, device={"driver": "mlx5_core"}),
    Scene("boot-vga", "boot_vga: 1", address=GPU[0], device={"boot_vga": True}),
    Scene(
        "boot-vga",
        "boot_vga: unknown",
        address=GPU[0],
        device={"boot_vga": EACCES},
        severity=Severity.UNKNOWN,
    ),
    Scene(
        "framebuffer",
        "proc/iomem: 0xe0000000-0xe07fffff simpledrm inside a BAR",
        address=GPU[0],
        use={"ranges": (AddressRange(0xE0000000, 0xF0000000),)},
        evidence=environment(framebuffers=((AddressRange(0xE0000000, 0xE0800000), "simpledrm"),)),
    ),
    Scene(
        "framebuffer",
        "no addresses",
        address=GPU[0],
        evidence=environment(framebuffers=Unknown("no addresses")),
        severity=Severity.UNKNOWN,
    ),
    Scene(
        "console",
        "fb0",
        address=GPU[0],
        use={"children": (Child("x", "fb0", "graphics"),)},
        evidence=environment(console_bound=True),
    ),
    Scene(
        "device-open",
        "pid 5 (Xorg) has card0 open",
        address=GPU[0],
        use={"children": (Child("x", "card0", "drm", CARD),)},
        evidence={"handles": (Handle(5, "Xorg", CARD),)},
    ),
    Scene(
        "device-held",
        "2 references",
        address=GPU[0],
        device={"driver": "nvidia"},
        use={"unexplained": 2},
        severity=Severity.UNKNOWN,
    ),
    Scene(
        "handles-unseen",
        "first of them pid 1",
        evidence={"unseen": (("handles", "12 processes, the first of them pid 1"),)},
        severity=Severity.UNKNOWN,
    ),
    Scene("last-display", "no other display", address=GPU[0]),
    Scene(
        "last-input",
        "Keyboard",
        address=GPU[2],
        evidence={"inputs": (Input("A Keyboard", GPU[2]),), **environment(local_seat=True)},
    ),
    Scene(
        "usb-devices",
        "USB devices: 1-2",
        address=GPU[2],
        use={"children": (Child("x", "1-2", "usb"), Child("x", "1-2:1.0", "usb"))},
    ),
    Scene(
        "group-open",
        "pid 6 (qemu) has group 16 open",
        address=NIC,
        evidence={"vfio": ((NODE, "group 16"),), "handles": (Handle(6, "qemu", NODE),)},
    ),
    Scene("libvirt", "a running domain", evidence=environment(libvirt=(NVME,))),
    Scene("foreign-override", "driver_override: other", device={"driver_override": "other"}),
    Scene("foreign-override", "unknown", device={"driver_override": EACCES}, severity=Severity.UNKNOWN),
    Scene("configured-elsewhere", "driverctl", use={"overridden_by": ("driverctl (etc/driverctl.d/x)",)}),
    Scene("userspace-driver", "driver: uio_pci_generic", device={"driver": "uio_pci_generic"}),
    Scene("power", "d3cold_allowed: 1", use={"d3cold_allowed": True, "power_control": "auto"}),
    Scene("power", "power_state: D3hot", use={"power_state": "D3hot"}),
    Scene("dead", "ff ff ff ff", use={"alive": False}),
    Scene("dead", "Permission", use={"alive": EACCES}, severity=Severity.UNKNOWN),
    Scene("no-iommu", "it has no iommu_group", device={"group": None}),
    Scene("no-iommu", "iommu_group: unknown", device={"group": EACCES}, severity=Severity.UNKNOWN),
    Scene(
        "noiommu-mode",
        "enable_unsafe_noiommu_mode: Y",
        device={"group": None},
        host=platform(noiommu_mode=True),
    ),
    Scene("noiommu-mode", "no IOMMU stands in front", address=NIC, host=group(name="vfio-noiommu")),
    Scene("interrupts", "allow_unsafe_interrupts: N", host=platform(interrupt_remapping=False)),
    Scene("interrupts", "unknown", host=platform(interrupt_remapping=EACCES), severity=Severity.UNKNOWN),
    Scene("unsafe-interrupts", "vfio_iommu_type1", host=platform(unsafe_interrupts=("vfio_iommu_type1",))),
    Scene(
        "acs-override",
        "pcie_acs_override=downstream",
        host=platform(command_line="pcie_acs_override=downstream"),
    ),
    Scene("memlock", "65536 bytes", evidence=environment(memlock=65536, memory=1 << 30)),
    Scene("lockdown", "integrity", evidence=environment(lockdown="integrity")),
)


UNKNOWN = [scene for scene in SCENES if scene.severity is Severity.UNKNOWN]


def spoken(case: Case) -> set[str]:
    return {verdict.rule for verdict in judge(case)}


class TestRules:
    @pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.rule}: {scene.seen}")
    def test_it_stands_with_its_evidence(self, scene: Scene) -> None:
        found = [verdict for verdict in judge(scene.case) if verdict.rule == scene.rule]
        assert found, spoken(scene.case)
        assert scene.seen in "\n".join(line for verdict in found for line in verdict.evidence)
        wanted = scene.severity or next(rule.severity for rule in RULES if rule.id == scene.rule)
        assert wanted in {verdict.severity for verdict in found}

    def test_every_rule_has_a_scene(self) -> None:
        assert {scene.rule for scene in SCENES} == {rule.id for rule in RULES}

    @pytest.mark.parametrize("address", [NVME, NIC])
    def test_nothing_stands_against_a_machine_at_rest(self, address: PciAddress) -> None:
        assert spoken(Scene("", "", address=address).case) == set()

    @pytest.mark.parametrize(
        "scene", [each for each in SCENES if each.severity is Severity.UNKNOWN], ids=lambda s: s.rule
    )
    def test_what_is_unknown_blocks_whatever_the_rule_weighs(self, scene: Scene) -> None:
        assert any(verdict.blocks for verdict in judge(scene.case) if verdict.rule == scene.rule)

    @pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.rule}: {scene.seen}")
    def test_leave_is_given_by_name_for_one_function(self, scene: Scene) -> None:
        rule = next(rule for rule in RULES if rule.id == scene.rule)
        here, elsewhere = (
            Allowance(rule.id, address) for address in (scene.address, PciAddress(9, 9, 9, 0))
        )
        allowed = [verdict for verdict in judge(scene.case, {here}) if verdict.rule == rule.id]
        assert any(verdict.blocks for verdict in allowed) == (
            not rule.allowable and rule.severity is not Severity.WARNING
        )
        same = [verdict for verdict in judge(scene.case, {elsewhere}) if verdict.rule == rule.id]
        assert not any(verdict.allowed for verdict in same)


class TestWhatIsNoReason:
    """False alarms that other tools raise, or that a careless rule would."""

    def test_an_override_of_our_own(self) -> None:
        scene = Scene("", "", device={"driver_override": "other"}, evidence={"ours": frozenset({NVME})})
        assert spoken(scene.case) == set()

    def test_the_override_that_is_wanted(self) -> None:
        assert spoken(Scene("", "", device={"driver_override": "vfio-pci"}).case) == set()

    def test_an_interface_of_another_function(self) -> None:
        other = nic(parent=NVME, up=True, addresses=("192.0.2.9",))
        scene = Scene(
            "",
            "",
            address=NIC,
            evidence={"interfaces": (other,), "routes": (Route("", "eth0", "::/0", 1, default=True),)},
        )
        assert spoken(scene.case) == set()

    def test_a_route_through_an_interface_of_the_same_name_elsewhere(self) -> None:
        routes = (Route("blue", "eth0", "default", 254, default=True),)
        scene = Scene("", "", address=NIC, evidence={"interfaces": (nic(),), "routes": routes})
        assert spoken(scene.case) == set()

    def test_link_local_addresses_and_routes(self) -> None:
        routes = (Route("", "eth0", "fe80::/64", 254), Route("", "eth0", "ff00::/8", 255))
        interface = nic(up=True, addresses=("fe80::1",))
        scene = Scene("", "", address=NIC, evidence={"interfaces": (interface,), "routes": routes})
        assert spoken(scene.case) == {"net-up"}

    def test_a_mount_of_a_file_system_without_a_device(self) -> None:
        scene = Scene(
            "",
            "",
            use={"blocks": (block(),)},
            evidence={"mounts": (ROOT, mount("/run", DeviceNumber(True, 0, 5)))},
        )
        assert spoken(scene.case) == set()

    def test_a_bridge_on_the_port_driver_is_not_in_the_way(self) -> None:
        assert "bridge-in-the-way" not in spoken(Scene("", "", address=GPU[0]).case)

    def test_memory_regions_that_may_be_relaxed(self) -> None:
        regions = (replace(DIRECT, type="direct-relaxable"), replace(DIRECT, type="msi"))
        assert spoken(Scene("", "", address=NIC, host=group(reserved_regions=regions)).case) == set()

    def test_a_keyboard_elsewhere_or_no_seat(self) -> None:
        here, there = Input("A", GPU[2]), Input("B", None)
        seat = environment(local_seat=True)
        assert "last-input" not in spoken(
            Scene("", "", address=GPU[2], evidence={"inputs": (here, there), **seat}).case
        )
        assert "last-input" not in spoken(Scene("", "", address=GPU[2], evidence={"inputs": (here,)}).case)

    def test_a_second_function_of_the_card_that_moves_too(self) -> None:
        assert "slot-split" not in spoken(Scene("", "", address=GPU[0], moving=frozenset(GPU)).case)


class TestAllowances:
    def test_they_are_read(self) -> None:
        assert parse_allowance("net-up=03:00.0") == Allowance("net-up", NIC)

    @pytest.mark.parametrize(
        "text", ["net-up", "no-such=03:00.0", "storage-root=03:00.0", "=03:00.0", "net-up=", "net-up=x"]
    )
    def test_what_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_allowance(text)

    def test_what_costs_the_root_cannot_be_allowed(self) -> None:
        assert {rule.id for rule in RULES if not rule.allowable} == {
            "bridge",
            "bridge-in-the-way",
            "no-iommu",
            "storage-root",
        }

    def test_only_binding_asks_for_an_iommu(self) -> None:
        scene = Scene("", "", device={"group": None}, action=Action.UNBIND)
        assert spoken(scene.case) == set()

    def test_holders_are_waited_for_only_if_asked(self) -> None:
        scene = Scene("", "", use={"blocks": (block(),)}, evidence={"handles": (Handle(7, "dd", DISK),)})
        (verdict,) = judge(scene.case, waiting=True)
        assert verdict.waits
        (verdict,) = judge(scene.case)
        assert verdict.blocks
        assert not verdict.waits


def test_groups_without_a_listing_do_not_crash() -> None:
    scene = Scene("", "", address=NIC, host=lambda host: replace(host, groups=()))
    assert spoken(scene.case) == set()
    assert IommuGroup(id=1).devices == ()

"""Reading what a host does with its functions: trees as Linux shows them, and what is made of them."""

import pytest

from vfiokit.binding.evidence import Catalog, Evidence
from vfiokit.binding.prober import NetworkView
from vfiokit.binding.usage.read import read_evidence
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.archive import open_archive
from vfiokit.sysfs.capture import RecordingSource, pack
from vfiokit.sysfs.memory import DeviceNode, Directory, Failure, File, Link
from vfiokit.sysfs.scan import scan
from vfiokit.sysfs.source import DeviceNumber, Source
from vfiokit.testing.kernel import SimulatedKernel
from vfiokit.testing.machines import GPU, NIC, NVME, workstation


@pytest.fixture
def kernel() -> SimulatedKernel:
    return SimulatedKernel(workstation())


def place(kernel: SimulatedKernel, address: object) -> str:
    return (
        kernel.source.readlink(f"sys/bus/pci/devices/{address}").removeprefix("../../../").join(("sys/", ""))
    )


def child(kernel: SimulatedKernel, address: object, path: str, subsystem: str, number: str = "") -> str:
    """Put a kernel device below a function and return where it is."""
    full = f"{place(kernel, address)}/{path}"
    up = "../" * full.count("/")
    kernel.source.add(f"{full}/uevent", File(b""))
    kernel.source.add(f"{full}/subsystem", Link(f"{up}class/{subsystem}"))
    if number:
        kernel.source.add(f"{full}/dev", File(f"{number}\n".encode()))
    return full


def disk(kernel: SimulatedKernel) -> str:
    """Put a disk with two partitions below the NVMe function."""
    child(kernel, NVME, "nvme/nvme0", "nvme", "240:0")
    full = child(kernel, NVME, "nvme/nvme0/nvme0n1", "block", "259:0")
    kernel.source.add("sys/class/block/nvme0n1", Link(f"../../../{full}"))
    for number in (1, 2):
        part = child(kernel, NVME, f"nvme/nvme0/nvme0n1/nvme0n1p{number}", "block", f"259:{number}")
        kernel.source.add(f"{part}/partition", File(f"{number}\n".encode()))
        kernel.source.add(f"sys/class/block/nvme0n1p{number}", Link(f"../../../{part}"))
    return full


def stack(kernel: SimulatedKernel, below: str, name: str, number: str, **files: str) -> None:
    """Stack a device-mapper or md device on a block device."""
    path = f"sys/devices/virtual/block/{name}"
    kernel.source.add(f"{path}/dev", File(f"{number}\n".encode()))
    for file, text in files.items():
        kernel.source.add(f"{path}/{file.replace('_', '/')}", File(f"{text}\n".encode()))
    kernel.source.add(f"sys/class/block/{name}", Link(f"../../devices/virtual/block/{name}"))
    holder = (
        kernel.source.readlink(f"sys/class/block/{below}").removeprefix("../../../").removeprefix("../../")
    )
    holder = holder if holder.startswith("sys/") else f"sys/{holder}"
    kernel.source.add(f"{holder}/holders/{name}", Link(f"../../{name}"))


def read(kernel: SimulatedKernel, *addresses: object, source: Source | None = None) -> Evidence:
    host = scan(source or kernel.source)
    return read_evidence(source or kernel.source, host, addresses, kernel.prober)  # type: ignore[arg-type]


class TestStorage:
    def test_everything_that_rests_on_a_disk(self, kernel: SimulatedKernel) -> None:
        disk(kernel)
        stack(kernel, "nvme0n1p2", "md0", "9:0", md_level="raid1")
        stack(kernel, "md0", "dm-0", "254:0", dm_name="vg-root", dm_uuid="LVM-abc")
        stack(kernel, "dm-0", "dm-1", "254:1", dm_name="crypt", dm_uuid="CRYPT-LUKS2-def")
        (use,) = read(kernel, NVME).functions
        chains = {block.name: block.chain for block in use.blocks}
        assert (
            chains["dm-1"]
            == "nvme0n1 > nvme0n1p2 > md0 (md raid1) > dm-0 (LVM vg-root) > dm-1 (CRYPT crypt)"
        )
        assert [block.name for block in use.blocks if block.stacked] == ["md0", "dm-0", "dm-1"]
        assert "dev/mapper/crypt" in next(block for block in use.blocks if block.name == "dm-1").names

    def test_heads_of_nvme_multipath(self, kernel: SimulatedKernel) -> None:
        child(kernel, NVME, "nvme/nvme0", "nvme", "240:0")
        child(kernel, NVME, "nvme/nvme0/nvme0c0n1", "block")
        head = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
        kernel.source.add(f"{head}/nvme0", Link("../../../pci0000:02/0000:02:00.0/nvme/nvme0"))
        kernel.source.add(f"{head}/nvme0n1/dev", File(b"259:0\n"))
        kernel.source.add(
            "sys/class/nvme-subsystem/nvme-subsys0",
            Link("../../devices/virtual/nvme-subsystem/nvme-subsys0"),
        )
        kernel.source.add(
            "sys/class/block/nvme0n1", Link("../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
        )
        (use,) = read(kernel, NVME).functions
        assert DeviceNumber(True, 259, 0) in {block.number for block in use.blocks}

    def test_what_udev_knows_of_a_partition(self, kernel: SimulatedKernel) -> None:
        disk(kernel)
        text = "S:disk/by-uuid/11-22\nE:ID_FS_UUID=11-22\nE:ID_FS_TYPE=vfat\n"
        text += "E:ID_PART_ENTRY_TYPE=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n"
        kernel.source.add("run/udev/data/b259:1", File(text.encode()))
        (use,) = read(kernel, NVME).functions
        part = next(block for block in use.blocks if block.name == "nvme0n1p1")
        assert part.efi
        assert part.signature == "vfat"
        assert {"UUID=11-22", "dev/disk/by-uuid/11-22"} <= set(part.names)

    def test_mounts_of_every_namespace_once(self, kernel: SimulatedKernel) -> None:
        kernel.processes.start(
            8, "a", mounts=("9 1 8:1 / /a\\040b rw shared:3 - ext4 /dev/sda1 rw",), namespace=1
        )
        kernel.processes.start(9, "b", mounts=("9 1 8:1 / /a\\040b rw - ext4 /dev/sda1 rw",), namespace=1)
        mounts = [mount for mount in read(kernel, NVME).mounts if mount.point != "/"]
        assert [(mount.namespace, mount.point, mount.type, mount.source) for mount in mounts] == [
            ("mnt:[4026531833]", "/a b", "ext4", "/dev/sda1")
        ]

    def test_a_namespace_that_nobody_is_in(self, kernel: SimulatedKernel) -> None:
        kernel.processes.start(8, "a", mounts=("9 1 0:4 mnt:[77] /run/ns rw - nsfs nsfs rw",), namespace=1)
        assert ("mounts", "mnt:[77] is kept by a mount and no process is in it") in read(kernel, NVME).unseen

    def test_namespaces_that_may_not_be_read(self, kernel: SimulatedKernel) -> None:
        kernel.source.add("proc/8/ns/mnt", Failure(13))
        assert ("mounts", "the mount namespace of pid 8: Permission denied") in read(kernel, NVME).unseen

    def test_tables_and_swap(self, kernel: SimulatedKernel) -> None:
        kernel.source.add(
            "etc/fstab", File(b"# comment\nUUID=1 / ext4 defaults 0 1\n/dev/a\\040b /x ext4\n\nodd\n")
        )
        kernel.source.add("etc/crypttab", File(b"crypt UUID=2 none luks\n"))
        kernel.source.add("proc/cmdline", File(b"quiet root=UUID=3 resume=/dev/sda2\n"))
        kernel.source.add(
            "proc/swaps", File(b"Filename Type\n/dev/dm-1 partition 1 0 -2\n/swap\\040file file 1 0 -3\n")
        )
        kernel.source.add("dev/dm-1", DeviceNode(DeviceNumber(True, 254, 1)))
        evidence = read(kernel, NVME)
        assert [(entry.what, entry.where) for entry in evidence.entries] == [
            ("UUID=1", "/"),
            ("/dev/a b", "/x"),
            ("UUID=2", "crypt"),
            ("UUID=3", "root="),
            ("/dev/sda2", "resume="),
        ]
        assert [(swap.path, swap.number) for swap in evidence.swaps] == [
            ("dev/dm-1", DeviceNumber(True, 254, 1)),
            ("swap file", None),
        ]


class TestHandles:
    def test_a_node_is_known_by_its_number_whatever_its_path(self, kernel: SimulatedKernel) -> None:
        child(kernel, GPU[0], "drm/card0", "drm", "226:0")
        kernel.source.add("tmp/odd", DeviceNode(DeviceNumber(False, 226, 0)))
        kernel.processes.open(9, "Xorg", "tmp/odd")
        kernel.source.add("proc/9/cgroup", File(b"0::/system.slice/docker-0123456789abcdef.scope\n"))
        (handle,) = read(kernel, GPU[0]).handles
        assert str(handle) == "pid 9 (Xorg) in container 0123456789abcdef.scope"

    def test_a_block_node_of_the_same_number_is_another(self, kernel: SimulatedKernel) -> None:
        child(kernel, GPU[0], "drm/card0", "drm", "226:0")
        kernel.source.add("dev/odd", DeviceNode(DeviceNumber(True, 226, 0)))
        kernel.processes.open(9, "dd", "dev/odd")
        assert read(kernel, GPU[0]).handles == ()

    def test_a_process_that_may_not_be_looked_into(self, kernel: SimulatedKernel) -> None:
        child(kernel, GPU[0], "drm/card0", "drm", "226:0")
        kernel.source.remove("proc/1/fd")
        kernel.source.add("proc/1/fd", Failure(13))
        assert ("handles", "the handles of 1 processes, the first of them pid 1") in read(
            kernel, GPU[0]
        ).unseen

    def test_a_source_without_processes_cannot_tell(self, kernel: SimulatedKernel) -> None:
        kernel.source.remove("proc/1")
        assert ("handles", "no process is to be seen") in read(kernel, NVME).unseen

    def test_nvidias_node_is_not_in_sysfs(self, kernel: SimulatedKernel) -> None:
        information = f"proc/driver/nvidia/gpus/{GPU[0]}/information"
        kernel.source.add(information, File(b"Model: \t x\nDevice Minor: \t 3\n"))
        kernel.source.add("dev/nvidia3", DeviceNode(DeviceNumber(False, 195, 3)))
        kernel.processes.open(9, "python", "dev/nvidia3")
        assert [handle.pid for handle in read(kernel, GPU[0]).handles] == [9]


class TestNetwork:
    def test_interfaces_routes_and_addresses_from_files(self, kernel: SimulatedKernel) -> None:
        path = child(kernel, NIC, "net/eth0", "net")
        kernel.source.add("sys/class/net/eth0", Link(f"../../../{path}"))
        kernel.source.add(f"{path}/flags", File(b"0x1003\n"))
        kernel.source.add(f"{path}/carrier", File(b"1\n"))
        kernel.source.add(f"{path}/upper_bond0", Link("../../bond0"))
        kernel.source.add(f"{path}/master", Link("../../../virtual/net/bond0"))
        kernel.source.add(
            "proc/net/route",
            File(
                b"Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
                b"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n"
                b"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
            ),
        )
        kernel.source.add(
            "proc/net/fib_trie",
            File(b"Local:\n  +-- 192.0.2.0/24\n     |-- 192.0.2.9\n        /32 host LOCAL\n"),
        )
        kernel.source.add("proc/net/if_inet6", File(b"20010db8000000000000000000000001 02 40 00 80 eth0\n"))
        kernel.source.add(
            "proc/net/ipv6_route",
            File(
                b"00000000000000000000000000000000 00 00000000000000000000000000000000 "
                b"00 fe800000000000000000000000000001 "
                b"00000400 1 0 00000003 eth0\n"
                b"00000000000000000000000000000000 00 00000000000000000000000000000000 "
                b"00 00000000000000000000000000000000 "
                b"ffffffff 1 0 00200200 lo\n"
            ),
        )
        evidence = read(kernel, NIC)
        (interface,) = evidence.interfaces
        assert interface.parent == NIC
        assert interface.up
        assert interface.carrier
        assert interface.stacked == ("bond0",)
        assert set(interface.addresses) == {"192.0.2.9", "2001:db8::1"}
        assert [(route.destination, route.default) for route in evidence.routes] == [
            ("0.0.0.0/0", True),
            ("192.0.2.0/24", False),
            ("::/0", True),
        ]

    def test_whom_an_ssh_connection_talks_to(self, kernel: SimulatedKernel) -> None:
        kernel.source.add(
            "proc/net/tcp",
            File(
                b"  sl  local_address rem_address   st\n"
                b"   0: 090200C0:0016 010200C0:D431 01\n"
                b"   1: 080200C0:0016 00000000:0000 0A\n"
            ),
        )
        mapped = "0000000000000000FFFF00000A0200C0"
        kernel.source.add(
            "proc/net/tcp6", File(f"  sl  local\n   0: {mapped}:0016 {mapped}:D431 01\n".encode())
        )
        kernel.source.add("proc/77/environ", File(b"A=b\0SSH_CONNECTION=198.51.100.1 5 192.0.2.7 2222\0"))
        evidence = read_evidence(kernel.source, scan(kernel.source), (NIC,), kernel.prober, own=("77", "1"))
        assert evidence.ssh == ("192.0.2.10", "192.0.2.7", "192.0.2.9")

    def test_what_the_kernel_was_asked_goes_before_files(self, kernel: SimulatedKernel) -> None:
        kernel.prober.view = NetworkView(missed=("blue: Operation not permitted",))
        assert ("network", "blue: Operation not permitted") in read(kernel, NIC).unseen

    def test_without_a_running_kernel_the_rest_is_unknown(self, kernel: SimulatedKernel) -> None:
        kernel.prober.view = Unknown("nobody to ask")
        assert ("network", "other network namespaces and routing tables: nobody to ask") in read(
            kernel, NIC
        ).unseen


class TestTheRest:
    def test_framebuffers_consoles_and_limits(self, kernel: SimulatedKernel) -> None:
        add = kernel.source.add
        add(
            "proc/iomem",
            File(
                b"00001000-0009ffff : System RAM\n"
                b"e0000000-efffffff : 0000:01:00.0\n"
                b"  e0000000-e07e8fff : BOOTFB\n"
            ),
        )
        add("sys/class/vtconsole/vtcon1/name", File(b"(M) frame buffer device\n"))
        add("sys/class/vtconsole/vtcon1/bind", File(b"1\n"))
        add("proc/consoles", File(b"tty0 -WU (EC p ) 4:1\nttyS0 -W- (E p) 4:64\n"))
        add("sys/class/tty/tty0", Directory())
        add("sys/kernel/security/lockdown", File(b"none [integrity] confidentiality\n"))
        add(
            "proc/self/limits",
            File(b"Limit\nMax locked memory         8388608              8388608              bytes\n"),
        )
        add("proc/meminfo", File(b"MemTotal:       16384 kB\n"))
        environment = read(kernel, GPU[0]).environment
        assert environment.framebuffers == ((environment.framebuffers[0][0], "BOOTFB"),)  # type: ignore[index]
        assert environment.framebuffers[0][0].size == 0x7E9000  # type: ignore[index]
        assert environment.console_bound is True
        assert environment.consoles == ("tty0", "ttyS0")
        assert environment.local_seat
        assert environment.lockdown == "integrity"
        assert environment.memlock == 8388608
        assert environment.memory == 16384 << 10

    def test_addresses_of_iomem_need_privileges(self, kernel: SimulatedKernel) -> None:
        kernel.source.add("proc/iomem", File(b"00000000-00000000 : System RAM\n"))
        assert isinstance(read(kernel, GPU[0]).environment.framebuffers, Unknown)

    def test_keyboards_are_not_power_buttons(self, kernel: SimulatedKernel) -> None:
        text = (
            "I: Bus=0019\n"
            'N: Name="Power Button"\n'
            "S: Sysfs=/devices/LNXSYSTM:00/x\n"
            "H: Handlers=kbd event0 \n"
            "B: EV=3\n"
            "\n"
            f'N: Name="A Keyboard"\n'
            f"S: Sysfs=/devices/pci0000:00/0000:00:01.0/{GPU[2]}/usb1/1-1/input/input5\n"
            "H: Handlers=sysrq kbd event3 leds \nB: EV=120013\n\n"
            'N: Name="A Mouse"\n'
            "S: Sysfs=/devices/platform/i8042/input6\n"
            "H: Handlers=mouse0 event4 \n"
            "B: EV=17\n"
        )
        kernel.source.add("proc/bus/input/devices", File(text.encode()))
        assert [(each.name, each.address) for each in read(kernel, GPU[0]).inputs] == [
            ("A Keyboard", GPU[2]),
            ("A Mouse", None),
        ]

    def test_domains_of_libvirt(self, kernel: SimulatedKernel) -> None:
        text = (
            "<domstatus><domain><devices><hostdev mode='subsystem' type='pci' managed='yes'>\n"
            "<driver name='vfio'/>\n"
            "<source>\n<address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>\n</source></hostdev>"
        )
        kernel.source.add("run/libvirt/qemu/guest.xml", File(text.encode()))
        assert read(kernel, NIC).environment.libvirt == (NIC,)

    def test_who_else_sets_overrides(self, kernel: SimulatedKernel) -> None:
        kernel.source.add(f"etc/driverctl.d/pci-{NIC}", File(b"vfio-pci\n"))
        rule = f'KERNEL=="{NIC}", ATTR{{driver_override}}="x"\n'
        kernel.source.add("etc/udev/rules.d/10-mine.rules", File(rule.encode()))
        (use,) = read(kernel, NIC).functions
        assert use.overridden_by == (
            f"driverctl (etc/driverctl.d/pci-{NIC})",
            "a udev rule (etc/udev/rules.d/10-mine.rules)",
        )

    def test_drivers_and_the_aliases_of_modules(self, kernel: SimulatedKernel) -> None:
        kernel.source.add(
            "lib/modules/6.12.0/modules.alias",
            File(
                b"# aliases\n"
                b"alias pci:v1* one\n"
                b"alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
                b"alias xvfio_pci:a b\n"
                b"alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n"
            ),
        )
        catalog = read(kernel, NIC).drivers
        assert catalog.aliases == (
            ("vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci"),
            ("vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", "mlx5_vfio_pci"),
        )
        assert ("vfio-pci", "vfio_pci") in catalog.loaded
        assert isinstance(catalog, Catalog)

    def test_what_was_read_can_be_captured_and_read_again(self, kernel: SimulatedKernel) -> None:
        disk(kernel)
        stack(kernel, "nvme0n1p1", "dm-0", "254:0", dm_name="vg-a", dm_uuid="LVM-x")
        child(kernel, GPU[0], "drm/card0", "drm", "226:0")
        kernel.source.add("dev/dri/card0", DeviceNode(DeviceNumber(False, 226, 0)))
        kernel.processes.open(9, "Xorg", "dev/dri/card0")
        recorder = RecordingSource(kernel.source)
        host = scan(recorder)
        evidence = read_evidence(recorder, host, (NVME, GPU[0]), kernel.prober)
        assert evidence.handles
        again = open_archive(pack(recorder.tree, kernel="6.12", tool="test"), "capture")
        assert read_evidence(again, scan(again), (NVME, GPU[0]), kernel.prober) == evidence

"""The scenes of refusal, in the guest: what the host uses is not taken from it, and it is said how."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys

from scenes import (
    DEVICES,
    address,
    disk_of,
    driver,
    group,
    interface_of,
    refused,
    run_all,
    scene,
    sh,
    state,
    undone,
    vfiokit,
)

# No udev here: the tools make their nodes themselves.
os.environ["DM_DISABLE_UDEV"] = "1"
LVM = "--config 'activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0 scan_lvs=1}'"


def table_that_holds(number: int, family: str = "") -> int:
    """Return the table in which a route stands: a kernel without policy routing has the main one only."""
    return number if sh(f"ip {family} route show table {number}", check=False).strip() else 254


@scene
def a_mounted_disk() -> None:
    disk = disk_of("disk")
    sh(f"mkfs.ext4 -q -F /dev/{disk} && mkdir -p /run/mounted/a && mount /dev/{disk} /run/mounted/a")
    with undone("umount /run/mounted/a"):
        refused("disk", "storage-mounted", f"{disk}: ext4 on /run/mounted/a in mnt:[", "[storage-claimed]")


@scene
def a_disk_mounted_in_another_mount_namespace_only() -> None:
    disk = disk_of("disk")
    os.makedirs("/run/mounted/b", exist_ok=True)
    command = f"mount /dev/{disk} /run/mounted/b && echo ready && sleep 1000"
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        assert "/run/mounted/b" not in sh("cat /proc/self/mountinfo")
        refused("disk", "storage-mounted", f"{disk}: ext4 on /run/mounted/b in mnt:[")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@scene
def a_disk_with_data_that_nobody_uses_is_a_warning() -> None:
    where, disk = address("disk"), disk_of("disk")
    before = state()
    vfiokit("bind", where).expect(0, "[storage-data]", f"{disk}: ext")
    vfiokit("restore", where).expect(0)
    disk_of("disk")
    assert state() == before


@scene
def a_disk_that_fstab_names() -> None:
    disk = disk_of("disk")
    sh("cp /etc/fstab /tmp/fstab 2>/dev/null || : > /tmp/fstab")
    sh(f"echo '/dev/{disk} /srv/data ext4 noauto 0 0' >> /etc/fstab")
    with undone("cp /tmp/fstab /etc/fstab"):
        refused("disk", "storage-configured", f"etc/fstab: /dev/{disk} /srv/data")


@scene
def a_disk_that_is_swapped_to() -> None:
    disk = disk_of("disk")
    sh(f"mkswap /dev/{disk} && swapon /dev/{disk}")
    with undone(f"swapoff /dev/{disk}", f"dd if=/dev/zero of=/dev/{disk} bs=1M count=1"):
        refused("disk", "storage-swap", f"{disk}: swap area dev/{disk}")


@scene
def disks_below_md_lvm_and_luks() -> None:
    one, two = disk_of("disk2"), disk_of("disk3")
    sh(f"mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 /dev/{one} /dev/{two}")
    with undone(
        "umount /run/mounted/c",
        "cryptsetup close crypt",
        f"vgchange {LVM} -an vg",
        "mdadm --stop /dev/md0",
        f"mdadm --zero-superblock /dev/{one} /dev/{two}",
        f"for disk in {one} {two}; do dd if=/dev/zero of=/dev/$disk bs=1M count=4; done",
    ):
        sh(f"pvcreate {LVM} /dev/md0 && vgcreate {LVM} vg /dev/md0")
        sh(f"lvcreate {LVM} -y -Wn -n root -l 100%FREE vg && echo secret > /tmp/key")
        quick = "--type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000"
        sh(f"cryptsetup luksFormat -q {quick} /dev/vg/root /tmp/key")
        sh("cryptsetup open /dev/vg/root crypt --key-file /tmp/key")
        sh("mkfs.ext4 -q /dev/mapper/crypt && mkdir -p /run/mounted/c")
        sh("mount /dev/mapper/crypt /run/mounted/c")
        for name, disk in (("disk2", one), ("disk3", two)):
            chain = f"{disk} > md0 (md raid1) > dm-0 (LVM vg-root) > dm-1 (CRYPT crypt)"
            refused(
                name,
                "storage-holder",
                f"holders: {chain}",
                f"{chain}: ext4 on /run/mounted/c in mnt:[",
                "[storage-mounted]",
            )


@scene
def a_disk_that_a_process_has_open() -> None:
    disk = disk_of("disk2")
    process = subprocess.Popen(["sleep", "1000"], stdin=open(f"/dev/{disk}", "rb"))  # noqa: SIM115
    try:
        refused("disk2", "storage-open", f"pid {process.pid} (sleep) has {disk} open")
    finally:
        process.kill()
        process.wait()


@scene
def a_node_by_another_path_is_the_same_node() -> None:
    disk = disk_of("disk2")
    number = os.stat(f"/dev/{disk}").st_rdev
    os.mknod("/tmp/elsewhere", 0o60600, number)
    process = subprocess.Popen(["sleep", "1000"], stdin=open("/tmp/elsewhere", "rb"))  # noqa: SIM115
    try:
        refused("disk2", "storage-open", f"pid {process.pid} (sleep) has {disk} open")
    finally:
        process.kill()
        process.wait()
        os.unlink("/tmp/elsewhere")


@scene
def the_device_that_the_root_is_read_from() -> None:
    (shared,) = (
        os.path.basename(os.path.dirname(os.path.dirname(path)))
        for path in glob.glob(f"{DEVICES}/*/virtio*/mount_tag")
        if open(path, "rb").read().rstrip(b"\0\n") == b"root"  # noqa: SIM115
    )
    before = state()
    answer = vfiokit("bind", shared, "--with-group", "--allow", f"storage-shared={shared}")
    answer.expect(4, "[storage-root]", "mount tag root")
    assert "--allow storage-root" not in answer.err
    assert state() == before


@scene
def a_card_in_another_network_namespace() -> None:
    where, name = address("network"), interface_of("network")
    sh(f"ip netns add lab && ip link set {name} netns lab")
    with undone(f"ip netns exec lab ip link set {name} netns 1", "ip netns del lab"):
        assert glob.glob(f"{DEVICES}/{where}/net/*") == []
        refused("network", "net-namespace", f"{name} in the network namespace lab")
        sh(f"ip -n lab link set {name} up && ip -n lab addr add 192.0.2.1/24 dev {name}")
        refused("network", "net-address", f"{name} in lab: 192.0.2.1")
    interface_of("network")


@scene
def a_card_in_a_bond() -> None:
    name = interface_of("network")
    sh(f"ip link add bond7 type bond && ip link set {name} down && ip link set {name} master bond7")
    with undone("ip link del bond7"):
        refused("network", "net-stacked", f"bond7 on {name}")
        sh("ip link set bond7 up && ip addr add 198.51.100.7/24 dev bond7")
        sh("ip route add default dev bond7 table 77")
        found = f"route default (IPv4) through bond7 table {table_that_holds(77)}"
        refused("network", "net-default-route", found, "bond7: 198.51.100.7")


@scene
def a_card_in_a_bridge_or_below_a_vlan_or_macvlan() -> None:
    name = interface_of("network")
    for kind, make in (
        ("br7", f"ip link add br7 type bridge && ip link set {name} master br7"),
        ("vlan7", f"ip link add link {name} name vlan7 type vlan id 7"),
        ("macvlan7", f"ip link add link {name} name macvlan7 type macvlan"),
    ):
        sh(make)
        with undone(f"ip link del {kind}"):
            refused("network", "net-stacked", f"{kind} on {name}")


@scene
def a_card_with_the_only_ipv6_default_route() -> None:
    name = interface_of("network")
    sh(f"ip link set {name} up && ip -6 route add default dev {name} table 42")
    with undone(f"ip -6 route flush table 42; ip link set {name} down"):
        found = f"route default (IPv6) through {name} table {table_that_holds(42, '-6')}"
        refused("network", "net-default-route", found)


@scene
def a_card_that_a_process_uses_through_vfio() -> None:
    from vfio_holder import hold_device

    where = address("edu")
    vfiokit("bind", where).expect(0)
    with hold_device(where, group(where)) as holder:
        vfiokit("unbind", where).expect(4, "[group-open]", f"pid {holder}")
    vfiokit("restore", where).expect(0)


@scene
def a_foreign_override() -> None:
    where = address("network")
    sh(f"echo some-driver > {DEVICES}/{where}/driver_override && mkdir -p /etc/driverctl.d")
    sh(f"echo some-driver > /etc/driverctl.d/pci-{where}")
    with undone(f"echo > {DEVICES}/{where}/driver_override; rm /etc/driverctl.d/pci-{where}"):
        refused("network", "foreign-override", "driver_override: some-driver", "driverctl (etc/driverctl.d/")


@scene
def a_chipset_function_and_a_bridge() -> None:
    for where, rule in (("0000:00:1f.0", "chipset"), ("0000:00:00.0", "chipset")):
        before = state()
        vfiokit("bind", where, "--with-group").expect(4, f"[{rule}]")
        assert state() == before
    assert driver(address("network")) == "igb"


if __name__ == "__main__":
    run_all(sys.argv[1:])

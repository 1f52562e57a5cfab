"""``vfiokit capture``: what is recorded is the host, what is redacted is gone, what was not read is said."""

import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.machine import MACHINE, Command, Tree
from vfiokit import __version__
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.archive import MANIFEST
from vfiokit.sysfs.capture import RecordingSource, pack
from vfiokit.sysfs.memory import Directory, File, Link, MemorySource
from vfiokit.sysfs.redact import REDACTIONS, redact
from vfiokit.sysfs.roots import open_source
from vfiokit.sysfs.scan import scan
from vfiokit.testing import layout

NIC = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0"
SECRETS = ("52:54:00:ab:cd:ef", "525400abcdef", "S3CR3TSERIAL", "db-master-7", "hunter2", "00f0ba0badc0ffee")
NOBODY = 65534


def members(file: Path) -> dict[str, bytes]:
    """Return the content of every member of a capture, with Python's own archive alone."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(file.read_bytes()))) as archive:
        for each in archive.getmembers():
            stream = archive.extractfile(each) if each.isreg() else None
            found[each.name] = stream.read() if stream else each.linkname.encode()
    return found


class TestRoundTrip:
    def test_a_capture_of_a_tree_is_that_host(self, vfiokit: Command, tree: Tree, tmp_path: Path) -> None:
        file = tmp_path / "host.tar.xz"
        answer = vfiokit("capture", str(file), root=tree(MACHINE))
        assert answer.status == 0
        assert answer.out == f"{file}: 11 functions, 9 groups, {file.stat().st_size} bytes\n"
        assert replace(scan(open_source(file)), problems=()) == MACHINE

    def test_commands_say_the_same_of_the_tree_and_its_capture(
        self, vfiokit: Command, tree: Tree, tmp_path: Path
    ) -> None:
        root, file = tree(MACHINE), tmp_path / "capture.tar.xz"
        vfiokit("capture", str(file), root=root)
        for arguments in (
            ("groups",),
            ("groups", "--format", "forum"),
            ("why", "01:00.1"),
            ("why", "enp2s0"),
        ):
            one, other = vfiokit(*arguments, root=root), vfiokit(*arguments, root=file)
            assert (one.status, one.out, one.err) == (other.status, other.out, other.err)

    def test_a_capture_of_a_capture_is_the_same_bytes(
        self, vfiokit: Command, tree: Tree, tmp_path: Path
    ) -> None:
        first, second = tmp_path / "1.tar.xz", tmp_path / "2.tar.xz"
        vfiokit("capture", str(first), root=tree(MACHINE))
        vfiokit("capture", str(second), root=first)
        assert first.read_bytes() == second.read_bytes()

    def test_the_manifest_says_what_it_is(self, vfiokit: Command, tree: Tree, tmp_path: Path) -> None:
        file = tmp_path / "host.tar.xz"
        vfiokit("capture", str(file), root=tree(MACHINE))
        manifest = json.loads(members(file)[MANIFEST])
        assert manifest == {
            "format": 1,
            "tool": f"vfiokit {__version__}",
            "kernel": "6.12.0",
            "redactions": [],
            "errors": [],
        }

    def test_only_what_a_scan_reads_is_recorded(self, vfiokit: Command, tree: Tree, tmp_path: Path) -> None:
        root, file = tree(MACHINE), tmp_path / "host.tar.xz"
        (root / NIC / "private").write_text("nobody asked")
        (root / "etc").mkdir()
        (root / "etc" / "shadow").write_text("root:x")
        vfiokit("capture", str(file), root=root)
        names = members(file)
        assert not [name for name in names if name.endswith(("private", "shadow"))]
        assert f"{NIC}/uevent" in names

    def test_links_are_kept_as_links(self, vfiokit: Command, tree: Tree, tmp_path: Path) -> None:
        file = tmp_path / "host.tar.xz"
        vfiokit("capture", str(file), root=tree(MACHINE))
        assert members(file)["sys/bus/pci/devices/0000:02:00.0"] == f"../../../{NIC[4:]}".encode()


class TestErrors:
    def test_what_could_not_be_read_is_said_and_replayed(self, vfiokit: Command, tmp_path: Path) -> None:
        devices = tuple(
            replace(each, driver_override=Unknown("Permission denied")) for each in MACHINE.devices
        )
        host = replace(MACHINE, devices=devices)
        file = tmp_path / "again.tar.xz"
        answer = vfiokit("capture", str(file), root=host)
        assert answer.status == 0
        assert answer.err.count("vfiokit: not recorded: ") == 10
        assert "and 1 more; run as root" in answer.err
        assert replace(scan(open_source(file)), problems=()) == host
        assert {each["errno"] for each in json.loads(members(file)[MANIFEST])["errors"]} == {"EACCES"}

    def test_it_never_replaces_a_file_unless_told_to(
        self, vfiokit: Command, tree: Tree, tmp_path: Path
    ) -> None:
        file = tmp_path / "mine.tar.xz"
        file.write_text("precious")
        answer = vfiokit("capture", str(file), root=tree(MACHINE))
        assert (answer.status, file.read_text()) == (2, "precious")
        assert answer.error == f"vfiokit: capture {file}: it exists (--force replaces it)"
        assert vfiokit("capture", "--force", str(file), root=tree(MACHINE)).status == 0
        assert len(scan(open_source(file)).devices) == 11

    def test_a_directory_that_is_not_there_is_one_line(self, vfiokit: Command, tmp_path: Path) -> None:
        file = tmp_path / "no" / "host.tar.xz"
        answer = vfiokit("capture", str(file))
        assert (answer.status, answer.error) == (
            1,
            f"vfiokit: capture {file}: No such file or directory",
        )

    def test_a_target_that_cannot_be_replaced_leaves_nothing_behind(
        self, vfiokit: Command, tmp_path: Path
    ) -> None:
        place = tmp_path / "out"
        (place / "host.tar.xz").mkdir(parents=True)
        answer = vfiokit("capture", "--force", str(place / "host.tar.xz"))
        assert answer.status == 1
        assert "Is a directory" in answer.error
        assert [path.name for path in place.iterdir()] == ["host.tar.xz"]


def identified() -> MemorySource:
    """Return the machine's tree with serial numbers, MACs, host names and secrets in their places."""
    tree = layout(MACHINE)
    for address in (NIC, "sys/devices/pci0000:00/0000:00:1d.0/0000:03:00.0"):
        data = bytearray(tree.read(f"{address}/config", 4096))
        data[0x100:0x104] = (0x0003 | 1 << 16).to_bytes(4, "little")
        data[0x104:0x10C] = bytes.fromhex("00f0ba0badc0ffee")
        tree.add(f"{address}/config", File(bytes(data), 0o644))
    line = (
        b"BOOT_IMAGE=/vmlinuz ip=10.1.2.3::db-master-7 root=UUID=S3CR3TSERIAL pass=hunter2 iommu=pt quiet\n"
    )
    tree.add("proc/cmdline", File(line))
    tree.add(f"{NIC}/uevent", File(tree.read(f"{NIC}/uevent") + b"ID_NET_NAME=enx525400abcdef\n"))
    tree.add("sys/class/net/enx525400abcdef", Link(f"../../../{NIC}/net/enx525400abcdef"))
    tree.add("sys/class/net/eth9", Link(f"../../../{NIC}/net/eth9"))
    tree.add(
        "proc/interrupts", File(b" 24: 0 IR-PCI-MSI-0000:02:00.0 0-edge enx525400abcdef 52:54:00:ab:cd:ef\n")
    )
    return tree


class TestRedaction:
    def test_without_it_everything_is_kept(self, vfiokit: Command, tmp_path: Path) -> None:
        file = tmp_path / "all.tar.xz"
        vfiokit("capture", str(file), root=identified())
        text = "\n".join(f"{name} {data!r} {data.hex()}" for name, data in members(file).items())
        assert [secret for secret in SECRETS if secret not in text] == []

    def test_nothing_that_names_the_machine_is_left(self, vfiokit: Command, tmp_path: Path) -> None:
        file = tmp_path / "none.tar.xz"
        assert vfiokit("capture", "--redact", str(file), root=identified()).status == 0
        text = "\n".join(f"{name} {data!r} {data.hex()}" for name, data in members(file).items())
        assert [secret for secret in SECRETS if secret in text] == []
        assert json.loads(members(file)[MANIFEST])["redactions"] == list(REDACTIONS)

    def test_what_bears_on_the_iommu_is_kept(self, vfiokit: Command, tmp_path: Path) -> None:
        file = tmp_path / "kept.tar.xz"
        vfiokit("capture", "--redact", str(file), root=identified())
        read = scan(open_source(file))
        assert read.platform.command_line == (
            "BOOT_IMAGE=REDACTED ip=REDACTED root=REDACTED pass=REDACTED iommu=pt quiet"
        )
        assert read.platform.interrupt_remapping is True
        assert read.devices == MACHINE.devices
        assert read.groups == MACHINE.groups
        assert [name.name for name in read.names] == ["nvme0n1", "enp2s0", "eth9"]

    def test_redacting_twice_changes_nothing(self) -> None:
        recorder = RecordingSource(identified())
        scan(recorder)
        redact(recorder.tree)
        once = pack(recorder.tree, kernel="6", tool="test")
        redact(recorder.tree)
        assert pack(recorder.tree, kernel="6", tool="test") == once

    def test_a_vpd_word_is_taken_out(self) -> None:
        tree = MemorySource()
        data = bytearray(256)
        data[0x06], data[0x34] = 0x10, 0x40
        data[0x40:0x48] = bytes((0x03, 0, 0x04, 0x80)) + b"S3CR"
        tree.add("sys/devices/pci0000:00/0000:00:02.0/config", File(bytes(data)))
        redact(tree)
        left = tree.read("sys/devices/pci0000:00/0000:00:02.0/config")
        assert left == bytes(data).replace(b"S3CR", bytes(4))


class TestUnprivileged:
    @pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
    def test_it_records_what_it_may_and_says_what_it_may_not(self, tree: Tree, tmp_path: Path) -> None:
        host = replace(MACHINE, tables=(("DMAR", Unknown("Permission denied")),))
        root = tree(host)
        for path in (tmp_path, *tmp_path.parents):
            if path.stat().st_uid == 0 and path != Path("/") and "pytest" in str(path):
                path.chmod(0o755)
        hidden = root / NIC / "driver_override"
        hidden.chmod(0)
        out = tmp_path / "out"
        out.mkdir()
        os.chown(out, NOBODY, NOBODY)
        file = out / "host.tar.xz"
        become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        run = subprocess.run(
            [*become, sys.executable, "-m", "vfiokit", "--root", str(root), "capture", str(file)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        if "Permission denied" in run.stderr and "vfiokit" not in run.stderr:
            pytest.skip(f"the interpreter is not to be run by others: {run.stderr.strip()}")
        assert (run.returncode, run.stdout.startswith(f"{file}: 11 functions, 9 groups")) == (0, True)
        assert f"not recorded: {NIC}/driver_override: EACCES" in run.stderr
        assert "not recorded: sys/firmware/acpi/tables/DMAR: EACCES" in run.stderr
        assert file.stat().st_uid == NOBODY
        read = scan(open_source(file))
        assert read.tables == (("DMAR", Unknown("Permission denied")),)
        assert [each for each in read.devices if isinstance(each.driver_override, Unknown)]

    def test_config_space_cut_to_64_bytes_is_said(self, vfiokit: Command, tmp_path: Path) -> None:
        tree = layout(MACHINE)
        for path, node in tuple(tree.nodes()):
            if path.endswith("/config") and isinstance(node, File):
                tree.add(path, File(node.data[:64], node.mode))
        answer = vfiokit("capture", str(tmp_path / "cut.tar.xz"), root=tree)
        assert answer.status == 0
        assert "only 64 bytes of config space of 11 functions; root reads all" in answer.err


def test_an_empty_root_is_recorded_as_one(vfiokit: Command, tmp_path: Path) -> None:
    tree = MemorySource()
    tree.add("sys/bus", Directory())
    file = tmp_path / "empty.tar.xz"
    assert vfiokit("capture", str(file), root=tree).out.startswith(f"{file}: 0 functions, 0 groups")

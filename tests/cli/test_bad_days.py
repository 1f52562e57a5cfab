"""Roots that are none, trees that are odd, and hosts that change while they are read."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.machine import MACHINE, Command, Tree, at
from vfiokit.analysis.selection import select_device
from vfiokit.errors import CannotTell
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.capture import RecordingSource
from vfiokit.sysfs.directory import DirectorySource
from vfiokit.sysfs.live import LiveSource
from vfiokit.sysfs.memory import Directory, Failure, File, Link, MemorySource
from vfiokit.sysfs.scan import Part, scan
from vfiokit.sysfs.source import ATTRIBUTE_LIMIT, Source, Stat
from vfiokit.testing import hosts, layout

NIC = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0"
GROUP = "sys/kernel/iommu_groups/3"


class TestRoots:
    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            pytest.param(lambda path: None, "No such file or directory", id="absent"),
            pytest.param(lambda path: path.write_text("hello"), "not an archive", id="text"),
            pytest.param(lambda path: path.write_bytes(b""), "not an archive", id="empty file"),
            pytest.param(
                lambda path: path.mkdir(), "it has no readable sys directory", id="empty directory"
            ),
            pytest.param(
                lambda path: (path / "proc").mkdir(parents=True),
                "it has no readable sys directory",
                id="proc",
            ),
            pytest.param(os.mkfifo, "neither a directory nor a regular file", id="FIFO"),
            pytest.param(
                lambda path: path.symlink_to("/dev/null"), "neither a directory nor a regular", id="device"
            ),
            pytest.param(lambda path: path.symlink_to(path.name), "Too many levels", id="loop"),
            pytest.param(
                lambda path: path.write_bytes(b"\xfd7zXZ\0" + bytes(600)), "damaged archive", id="damaged"
            ),
        ],
    )
    @pytest.mark.parametrize("command", [("groups",), ("why", "01:00.0"), ("capture", "out.tar.xz")])
    def test_that_are_none_are_one_line_and_status_2(
        self,
        vfiokit: Command,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        make: object,
        reason: str,
        command: tuple[str, ...],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert callable(make)
        make(tmp_path / "root")
        answer = vfiokit(*command, root=tmp_path / "root")
        assert (answer.status, reason in answer.error) == (2, True)
        assert str(tmp_path / "root") in answer.error
        assert not (tmp_path / "out.tar.xz").exists()

    def test_an_example_that_does_not_ship_lists_those_that_do(self, vfiokit: Command) -> None:
        answer = vfiokit("groups", root="example:nonsense")
        assert answer.status == 2
        assert "example:nonsense: no such example (one of: " in answer.error

    def test_a_name_that_would_drive_a_terminal_is_escaped(self, vfiokit: Command) -> None:
        answer = vfiokit("groups", root="/nowhere/\x1b[2J\nx")
        assert r"\x1b[2J\nx" in answer.error

    def test_a_file_too_large_is_not_read(self, vfiokit: Command, tmp_path: Path) -> None:
        file = tmp_path / "huge.tar.xz"
        with file.open("wb") as stream:
            stream.truncate((1 << 28) + 1)
        answer = vfiokit("groups", root=file)
        assert (answer.status, "larger than 256 MiB" in answer.error) == (2, True)

    def test_a_relative_root_and_one_with_a_slash_are_the_same(
        self, vfiokit: Command, tree: Tree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = tree(MACHINE)
        monkeypatch.chdir(root.parent)
        assert vfiokit("groups", root=f"{root.name}/").out == vfiokit("groups", root=root).out


class TestTrees:
    """What may stand in a copied tree, one oddity each: the rest of the host is read all the same."""

    @pytest.mark.parametrize("path", [f"{NIC}/uevent", f"{NIC}/numa_node", f"{GROUP}/type", "proc/cpuinfo"])
    def test_a_fifo_in_place_of_an_attribute_does_not_block(
        self, vfiokit: Command, tree: Tree, path: str
    ) -> None:
        root = tree(MACHINE)
        (root / path).unlink()
        os.mkfifo(root / path)
        answer = vfiokit("groups", "--json", root=root)
        assert answer.status == 0
        assert {"path": path, "reason": "not a regular file"} in answer.json["problems"]
        assert len(answer.json["groups"]) == 9

    def test_a_fifo_in_place_of_config_space_does_not_block(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / NIC / "config").unlink()
        os.mkfifo(root / NIC / "config")
        answer = vfiokit("why", "02:00.0", root=root)
        assert "its config space could not be read" in answer.out
        assert f"{NIC}/config: not a regular file" in answer.err

    def test_an_attribute_of_a_megabyte_is_not_believed(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / GROUP / "type").write_bytes(b"D" * (1 << 20))
        (group,) = vfiokit("groups", "3", "--json", root=root).json["groups"]
        assert (group["type"], group["unknown"]["type"]) == (None, "longer than such a file can be")

    def test_an_attribute_of_just_a_page_is(self, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / NIC / "driver_override").write_bytes(b"x" * ATTRIBUTE_LIMIT)
        assert (
            scan(DirectorySource(str(root))).device(at("02:00.0")).driver_override == "x" * ATTRIBUTE_LIMIT
        )

    def test_a_link_that_leaves_the_root_is_not_followed(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        secret = root.parent / "secret"
        secret.write_text("leaked\n")
        (root / GROUP / "type").unlink()
        (root / GROUP / "type").symlink_to("../" * 12 + str(secret).lstrip("/"))
        answer = vfiokit("groups", "--json", root=root)
        assert {"path": f"{GROUP}/type", "reason": "a link leaves the root"} in answer.json["problems"]
        assert "leaked" not in answer.out

    def test_an_absolute_link_starts_at_the_root(self, tree: Tree) -> None:
        root = tree(MACHINE)
        link = root / "sys/bus/pci/devices/0000:02:00.0"
        link.unlink()
        link.symlink_to(f"/{NIC}")
        assert scan(DirectorySource(str(root))).devices == MACHINE.devices

    def test_links_in_a_circle_are_an_error(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / GROUP / "type").unlink()
        (root / GROUP / "type").symlink_to("type")
        (group,) = vfiokit("groups", "3", "--json", root=root).json["groups"]
        assert "Too many levels of symbolic links" in group["unknown"]["type"]

    def test_a_directory_in_place_of_an_attribute_is_an_error(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / GROUP / "type").unlink()
        (root / GROUP / "type").mkdir()
        (group,) = vfiokit("groups", "3", "--json", root=root).json["groups"]
        assert group["unknown"]["type"]

    def test_entries_with_odd_names_are_left_out(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        for name in ("x3", "-1", "03", "3 ", "\u0663", "3\n", "9" * 200):
            (root / "sys/kernel/iommu_groups" / name).mkdir()
        for name in ("0000:02:00.8", "0000:02:20.0", "02:00.0", "\x1b[31m", "ethernet", "0000:02:00.0 "):
            (root / "sys/bus/pci/devices" / name).mkdir()
        answer = vfiokit("groups", "--format", "plain", root=root)
        assert answer.status == 0
        assert "\x1b" not in answer.out + answer.err
        assert r"\x1b[31m: not named like a PCI function" in answer.err
        assert len(scan(DirectorySource(str(root))).devices) == 11

    def test_members_with_odd_names_are_others(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / GROUP / "devices" / "\x1b[31mevil\n").mkdir()
        answer = vfiokit("groups", "3", "--format", "plain", root=root)
        assert r"\x1b[31mevil\n" in answer.out
        assert "\x1b" not in answer.out

    def test_a_group_without_members_is_listed(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / "sys/kernel/iommu_groups/77/devices").mkdir(parents=True)
        (group,) = vfiokit("groups", "77", "--json", root=root).json["groups"]
        assert (group["devices"], group["viable"]) == ([], True)

    def test_members_that_cannot_be_listed_are_unknown(self, vfiokit: Command) -> None:
        tree = layout(MACHINE)
        tree.remove(f"{GROUP}/devices")
        tree.add(f"{GROUP}/devices", Failure(errno.EACCES))
        (group,) = (
            each for each in vfiokit("groups", "--json", root=tree).json["groups"] if each["id"] == 3
        )
        assert (group["viable"], group["unknown"]["members"]) == (None, "Permission denied")
        assert [each["code"] for each in group["findings"]] == ["members-unknown"]

    def test_functions_that_cannot_be_listed_leave_a_selector_open(self) -> None:
        tree = layout(MACHINE)
        tree.remove("sys/bus/pci/devices")
        tree.add("sys/bus/pci/devices", Failure(errno.EACCES))
        with pytest.raises(CannotTell, match="could not be listed: Permission denied") as caught:
            select_device(scan(tree), "0000:00:01.0")
        assert caught.value.exit_status == 3

    def test_a_member_that_the_bus_does_not_list_is_unknown(self, vfiokit: Command, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / "sys/bus/pci/devices/0000:02:00.0").unlink()
        out = vfiokit("groups", "3", "--format", "plain", root=root).out
        assert "cannot tell: it is in the group but could not be read" in out

    def test_uevent_of_garbage_falls_back_to_attributes(self, tree: Tree) -> None:
        root = tree(MACHINE)
        (root / NIC / "uevent").write_bytes(b"PCI_ID=zz\nPCI_CLASS\nDRIVER=igb\n=\n\n")
        for name, text in (("vendor", "0x8086\n"), ("device", "0x1533\n"), ("class", "0x020000\n")):
            (root / NIC / name).write_text(text)
        device = scan(DirectorySource(str(root))).device(at("02:00.0"))
        assert (device.vendor, device.device, device.class_code) == (0x8086, 0x1533, 0x020000)
        assert device.subsystem_vendor == Unknown("no subsystem_vendor attribute")


class TestUnanswered:
    def test_config_space_of_all_ones_is_a_function_that_does_not_answer(self, vfiokit: Command) -> None:
        tree = layout(MACHINE)
        tree.add(f"{NIC}/config", File(b"\xff" * 4096))
        answer = vfiokit("why", "02:00.0", root=tree)
        assert "its config space could not be read" in answer.out

    @pytest.mark.parametrize("size", [0, 1, 63])
    def test_config_space_that_ends_early_is_unknown(self, size: int) -> None:
        tree = layout(MACHINE)
        tree.add(f"{NIC}/config", File(tree.read(f"{NIC}/config", 4096)[:size]))
        assert scan(tree).device(at("02:00.0")).config == Unknown(f"config space has only {size} bytes")


class Vanishing:
    """A host where something goes away at the *when*-th access."""

    def __init__(self, tree: MemorySource, victims: tuple[str, ...], when: int) -> None:
        self.name = "vanishing"
        self._tree = tree
        self._victims = victims
        self._left = when

    def _tick(self) -> MemorySource:
        if self._left == 0:
            for path in self._victims:
                self._tree.remove(path)
        self._left -= 1
        return self._tree

    def read(self, path: str, limit: int = ATTRIBUTE_LIMIT) -> bytes:
        return self._tick().read(path, limit)

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        return self._tick().read_at(path, offset, size)

    def listdir(self, path: str) -> list[str]:
        return self._tick().listdir(path)

    def readlink(self, path: str) -> str:
        return self._tick().readlink(path)

    def stat(self, path: str) -> Stat:
        return self._tick().stat(path)


class TestHotUnplug:
    @given(st.integers(0, 400), st.booleans())
    def test_a_function_that_goes_while_it_is_read_takes_nothing_with_it(
        self, when: int, recorded: bool
    ) -> None:
        gone = (NIC, "sys/bus/pci/devices/0000:02:00.0", GROUP)
        source: Source = Vanishing(layout(MACHINE), gone, when)
        host = scan(RecordingSource(source) if recorded else source)
        others = [each for each in host.devices if each.address != at("02:00.0")]
        assert others == [each for each in MACHINE.devices if each.address != at("02:00.0")]
        assert [each for each in host.groups if each.id != 3] == [
            each for each in MACHINE.groups if each.id != 3
        ]
        assert {each.path.split("/")[-1] for each in host.problems} <= {"0000:02:00.0", "3"}

    @given(hosts(max_devices=6), st.data())
    def test_whatever_goes_whenever_the_rest_is_read(self, host: Host, data: st.DataObject) -> None:
        tree = layout(host)
        paths = [path for path, _ in tree.nodes() if path.startswith("sys/") and path.count("/") > 2]
        victim = data.draw(st.sampled_from(paths))
        found = scan(Vanishing(tree, (victim,), data.draw(st.integers(1, 120))), Part.ALL)
        assert {each.address for each in found.devices} <= set(host.by_address)
        assert {each.id for each in found.groups} <= set(host.by_group)

    def test_a_group_that_goes_is_noted(self) -> None:
        tree = layout(MACHINE)
        tree.remove(f"{GROUP}/devices")
        host = scan(tree)
        assert [each.id for each in host.groups] == [0, 1, 2, 4, 5, 14, 200, 4000]
        assert (GROUP, "it vanished while it was read") in [
            (each.path, each.reason) for each in host.problems
        ]

    def test_a_function_that_goes_is_noted(self) -> None:
        tree = layout(MACHINE)
        tree.remove(NIC)
        host = scan(tree)
        assert at("02:00.0") not in host.by_address
        assert (NIC, "it vanished while it was read") in [(each.path, each.reason) for each in host.problems]


class TestLive:
    def test_this_host_is_read_without_an_error(self) -> None:
        host = scan(LiveSource())
        assert host.platform.kernel_release == os.uname().release
        assert len(host.devices) == len(os.listdir("/sys/bus/pci/devices"))

    def test_a_source_tells_kinds_and_modes(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "link").symlink_to("file")
        os.mkfifo(tmp_path / "pipe", 0o600)
        inside, outside = DirectorySource(str(tmp_path)), LiveSource()
        for name, kind in (("file", "file"), ("link", "link"), ("pipe", "other")):
            assert inside.stat(name).kind == kind
            assert outside.stat(f"{str(tmp_path)[1:]}/{name}") == inside.stat(name)
        assert outside.stat(str(tmp_path)[1:]).kind == "directory"
        assert outside.readlink(f"{str(tmp_path)[1:]}/link") == "file"
        assert outside.read_at(f"{str(tmp_path)[1:]}/file", 0, 5) == b"x"

    def test_reading_is_bounded_for_long_files_too(self, tmp_path: Path) -> None:
        (tmp_path / "long").write_bytes(b"x" * 200_000)
        source = DirectorySource(str(tmp_path))
        assert len(source.read("long", 200_000)) == 200_000
        with pytest.raises(OSError, match="longer than such a file can be"):
            source.read("long", 199_999)

    def test_a_tree_without_links_is_read_too(self, tree: Tree) -> None:
        root = tree(MACHINE)
        link = root / "sys/bus/pci/devices/0000:00:00.0"
        link.unlink()
        shutil.copytree(root / "sys/devices/pci0000:00/0000:00:00.0", link, symlinks=True)
        found = scan(DirectorySource(str(root))).device(at("00:00.0"))
        assert replace(found, iommu="dmar0") == MACHINE.device(at("00:00.0"))

    def test_a_link_to_nowhere_is_noted(self) -> None:
        tree = layout(MACHINE)
        tree.add("sys/bus/pci/devices/0000:02:00.0", Link("../../../devices/nowhere"))
        tree.add("sys/devices/empty", Directory())
        host = scan(tree)
        assert "it vanished while it was read" in {each.reason for each in host.problems}

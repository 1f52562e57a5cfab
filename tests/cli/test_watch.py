"""``vfiokit watch``: changes of a tree on disk, and events that are hints and nothing more."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

import vfiokit.cli.watch as watching
from tests.cli.machine import MACHINE, Command, Tree, at, changed
from vfiokit import udev
from vfiokit.analysis.changes import Change, changes
from vfiokit.errors import NotSupported
from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.source import Source

NIC = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0"


def without(address: str) -> Host:
    """Return the machine after a function and its group have been unplugged."""
    devices = tuple(each for each in MACHINE.devices if each.address != at(address))
    number = MACHINE.by_address[at(address)].group
    return replace(
        MACHINE, devices=devices, groups=tuple(each for each in MACHINE.groups if each.id != number)
    )


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch, vfiokit: Command) -> Callable[..., Any]:
    """Run ``watch`` on this host as if it went through *states*, one at each wait."""

    def run(states: list[Host], *arguments: str) -> Any:
        left = list(states)

        class Wait:
            def __enter__(self) -> Callable[[float], bool]:
                return self.wait

            def __exit__(self, *_: object) -> None:
                left.clear()

            def wait(self, seconds: float) -> bool:
                assert seconds >= 0
                if len(left) > 1:
                    left.pop(0)
                    return True
                raise KeyboardInterrupt

        def scan(_: Source, parts: object) -> Host:
            return left[0]

        monkeypatch.setattr(watching, "_events", lambda source: Wait())
        monkeypatch.setattr(watching, "scan", scan)
        answer = vfiokit("watch", *arguments, root="/")
        assert left == []
        return answer

    return run


class TestChanges:
    def test_a_driver_that_changes_is_a_line(self, live: Callable[..., Any]) -> None:
        answer = live([MACHINE, changed("02:00.0", driver="vfio-pci")])
        assert answer.status == 130
        lines = [line.split(" ", 1)[1] for line in answer.out.splitlines()]
        assert lines == ["0000:02:00.0 driver: igb -> vfio-pci", "group 3 viable: no -> yes"]
        assert answer.err.rstrip() == "watching 11 functions in 9 groups"

    def test_json_is_an_object_a_line(self, live: Callable[..., Any]) -> None:
        answer = live([MACHINE, without("02:00.0")], "--json")
        objects = [json.loads(line) for line in answer.out.splitlines()]
        assert [list(each) for each in objects] == [
            ["schema", "time", "change", "subject", "before", "after"]
        ] * 2
        assert [(each["change"], each["subject"]) for each in objects] == [
            ("function-removed", "0000:02:00.0"),
            ("group-removed", "group 3"),
        ]
        assert {each["schema"] for each in objects} == {"vfiokit.watch/1"}

    def test_plugging_in_again_is_seen(self, live: Callable[..., Any]) -> None:
        answer = live([MACHINE, without("02:00.0"), MACHINE])
        assert [line.split(" ", 1)[1] for line in answer.out.splitlines()] == [
            "0000:02:00.0 function-removed",
            "group 3 group-removed",
            "0000:02:00.0 function-added",
            "group 3 group-added",
        ]

    def test_an_unknown_is_null(self, live: Callable[..., Any]) -> None:
        answer = live([MACHINE, changed("02:00.0", driver=Unknown("Permission denied"))], "--json")
        first = json.loads(answer.out.splitlines()[0])
        assert (first["before"], first["after"]) == ("igb", None)

    def test_a_burst_of_events_without_a_change_prints_nothing(self, live: Callable[..., Any]) -> None:
        assert live([MACHINE] * 50).out == ""

    def test_count_stops_after_so_many(self, live: Callable[..., Any]) -> None:
        answer = live([MACHINE, without("02:00.0"), MACHINE], "--count", "3")
        assert (answer.status, answer.out.count("\n")) == (0, 3)

    def test_a_timeout_of_nothing_ends_at_once(self, live: Callable[..., Any]) -> None:
        assert live([MACHINE, without("02:00.0")], "--timeout", "0").status == 0

    def test_types_and_members_are_compared(self) -> None:
        groups = (replace(MACHINE.groups[0], type="identity"), *MACHINE.groups[1:])
        assert list(changes(MACHINE, replace(MACHINE, groups=groups))) == [
            Change("type", "group 0", "DMA-FQ", "identity")
        ]
        fewer = (replace(MACHINE.groups[1], devices=MACHINE.groups[1].devices[:1]),)  # type: ignore[index]
        seen = {change.what for change in changes(MACHINE, replace(MACHINE, groups=fewer))}
        assert {"members", "group-removed"} <= seen


class TestDirectory:
    def test_an_unplugged_function_is_reported_by_the_process(self, tree: Tree) -> None:
        root = tree(MACHINE)
        options = ("--json", "--interval", "0.05", "--count", "1", "--timeout", "60")
        process = subprocess.Popen(
            [sys.executable, "-m", "vfiokit", "--root", str(root), "watch", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        assert process.stderr.readline() == "watching 11 functions in 9 groups\n"
        (root / "sys/bus/pci/devices/0000:02:00.0").unlink()
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert (json.loads(out)["change"], json.loads(out)["subject"]) == (
            "function-removed",
            "0000:02:00.0",
        )

    def test_the_sum_of_all_lines_is_the_last_state(self, tree: Tree, vfiokit: Command) -> None:
        root = tree(MACHINE)
        override = root / NIC / "driver_override"
        names = [f"driver{number}" for number in range(40)]

        def write() -> None:
            time.sleep(0.2)
            for name in names:
                override.write_text(f"{name}\n")
                time.sleep(0.002)

        writer = threading.Thread(target=write)
        writer.start()
        answer = vfiokit("watch", "--json", "--interval", "0.05", "--timeout", "2", root=root)
        writer.join()
        values = [json.loads(line) for line in answer.out.splitlines()]
        states = [(each["before"], each["after"]) for each in values]
        # Each change starts where the one before ended: nothing is lost between two scans.
        assert states[0][0] is None
        assert states[-1][1] == names[-1]
        assert all(one[1] == other[0] for one, other in pairwise(states))

    def test_a_capture_does_not_change(self, vfiokit: Command) -> None:
        answer = vfiokit("watch", "--timeout", "1")
        assert (answer.status, "a capture does not change" in answer.error) == (2, True)

    @pytest.mark.parametrize("options", [("--interval", "0"), ("--count", "0"), ("--timeout", "-1")])
    def test_numbers_out_of_range_are_wrong_usage(self, vfiokit: Command, options: tuple[str, str]) -> None:
        assert vfiokit("watch", *options, root="/").status == 2


class Monitor:
    """A stand-in for pyudev's monitor: a pipe that holds one byte for each event."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        self.broken = False

    def __del__(self) -> None:
        os.close(self._out)
        os.close(self._in)

    def fileno(self) -> int:
        return self._out

    def event(self) -> None:
        os.write(self._in, b"e")

    def poll(self, timeout: float) -> object | None:
        assert timeout == 0
        if self.broken:
            raise OSError(105, "No buffer space available")
        try:
            return os.read(self._out, 1)
        except BlockingIOError:
            return None


class TestEvents:
    @pytest.fixture
    def monitors(self, monkeypatch: pytest.MonkeyPatch) -> list[Monitor]:
        made: list[Monitor] = []

        def make(context: object, source: str) -> Monitor:
            made.append(Monitor())
            return made[-1]

        monkeypatch.setattr(udev, "_monitor", make)
        monkeypatch.setattr(udev.pyudev, "Context", object)
        return made

    def test_no_event_is_no_reason(self, monitors: list[Monitor]) -> None:
        with udev.Events() as wait:
            assert not wait(0.01)
        assert len(monitors) == 2

    def test_a_burst_is_one_reason(self, monitors: list[Monitor]) -> None:
        with udev.Events() as wait:
            for monitor in monitors:
                for _ in range(500):
                    monitor.event()
            assert wait(1)
            assert not wait(0.01)

    def test_an_overflow_is_a_reason_and_events_go_on(self, monitors: list[Monitor]) -> None:
        with udev.Events() as wait:
            monitors[0].event()
            monitors[0].broken = True
            assert wait(1)
            assert len(monitors) == 4
            monitors[2].event()
            assert wait(1)

    def test_without_udev_it_is_not_supported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> object:
            raise ImportError("No library named udev")

        monkeypatch.setattr(udev.pyudev, "Context", missing)
        with pytest.raises(NotSupported, match="No library named udev") as caught:
            udev.Events()
        assert caught.value.exit_status == 8

    def test_the_command_says_so_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, vfiokit: Command
    ) -> None:
        def missing() -> object:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(udev.pyudev, "Context", missing)
        answer = vfiokit("watch", root="/")
        assert answer.status == 8
        assert answer.error.startswith("vfiokit: watch udev events: ")

    def test_real_monitors_open_and_wait_where_the_kernel_gives_events(self) -> None:
        try:
            listening = udev.Events()
        except NotSupported as error:
            pytest.skip(f"no events here: {error}")
        with listening as wait:
            assert wait(0) in (True, False)


class TestHardwareNames:
    def test_are_taken_from_the_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        properties = {
            "PCI_ID": "8086:1533",
            "PCI_CLASS": "20000",
            "ID_VENDOR_FROM_DATABASE": "Intel Corporation",
            "ID_MODEL_FROM_DATABASE": "I210",
            "ID_PCI_SUBCLASS_FROM_DATABASE": "Ethernet controller",
        }

        class Context:
            def list_devices(self, subsystem: str) -> list[Any]:
                assert subsystem == "pci"
                odd = {"PCI_ID": "x:y", "ID_VENDOR_FROM_DATABASE": "Nobody"}
                return [type("Device", (), {"properties": each}) for each in (properties, odd, {})]

        monkeypatch.setattr(udev.pyudev, "Context", Context)
        names = udev.HardwareNames.open()
        assert names
        assert (names.vendor(0x8086), names.device(0x8086, 0x1533), names.class_name(0x0200)) == (
            "Intel Corporation",
            "I210",
            "Ethernet controller",
        )
        assert (names.vendor(1), names.device(1, 1), names.class_name(1)) == (None, None, None)

    def test_are_none_without_udev(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> object:
            raise ImportError("No library named udev")

        monkeypatch.setattr(udev.pyudev, "Context", missing)
        assert udev.HardwareNames.open() is None

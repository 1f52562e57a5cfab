"""What was recorded plays back without a kernel, and a program that goes another way is refused."""

import asyncio
import contextlib
import gc
import importlib.util
import io
import json
import os
import random
import select
from pathlib import Path
from types import ModuleType

import pytest

from vfiokit.testing.fake_device import MSIX, FakeDevice, FakeEdu
from vfiokit.testing.fake_vfio import FakeKernel
from vfiokit.testing.recording import Player, Recorder, ReplayMismatch
from vfiokit.vfio import Device, Window
from vfiokit.vfio.errors import DecodeOff, NotBound
from vfiokit.vfio.trace import TracingSystem

ADDRESS, OTHER = "0000:00:04.0", "0000:00:05.0"
ROOT = Path(__file__).parents[2]
RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.jsonl"))
both = pytest.mark.parametrize("backend", ["container", "iommufd"])


def example() -> ModuleType:
    return load(ROOT / "examples" / "edu.py")


def in_a_loop() -> ModuleType:
    """Return the program that the guest records too."""
    return load(ROOT / "tests" / "vm" / "inside" / "edu_loop.py")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(device: Device, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the example with content that is the same each time, and return what it said."""
    monkeypatch.setattr(os, "urandom", random.Random(7).randbytes)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        example().run(device)
    return output.getvalue()


def record(backend: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    kernel = FakeKernel(FakeEdu())
    recorder = Recorder(kernel, kernel.source)
    with Device.open(ADDRESS, backend=backend, system=recorder, source=recorder.source) as device:
        said = run(device, monkeypatch)
    assert kernel.left_open == []
    return recorder.dump(), said


class TestExample:
    @both
    def test_it_runs_on_the_fake(self, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
        _, said = record(backend, monkeypatch)
        assert said.splitlines() == [
            f"{ADDRESS} by {backend}: edu 1.0",
            "liveness: 0xedcba987",
            "10! = 3628800",
            "4096 bytes there and back: equal",
        ]

    @both
    def test_it_plays_back(self, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
        text, said = record(backend, monkeypatch)
        player = Player(text)
        with Device.open(ADDRESS, backend=backend, system=player, source=player.source) as device:
            assert run(device, monkeypatch) == said
        assert player.rest == 0

    @pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
    def test_a_run_on_a_real_kernel_plays_back(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        player = Player(path.read_text())
        kind, _, backend = path.stem.rpartition("-")
        address = next(
            name.rpartition("/")[2]
            for name, _ in player.source.nodes()
            if name.startswith("sys/bus/pci/devices/0")
        )
        with Device.open(address, backend=backend, system=player, source=player.source) as device:
            if kind == "edu":
                assert "there and back: equal" in run(device, monkeypatch)
            else:
                seen = in_a_loop().drive(example(), device)
                assert seen == [479001600, True, [1] * 6, False, (1, 1), (1, 1)]
        assert player.rest == 0

    def test_recordings_of_both_back_ends_are_there(self) -> None:
        stems = ["edu-container", "edu-iommufd", "loop-container", "loop-iommufd"]
        assert [path.stem for path in RECORDINGS] == stems


class TestEventLoops:
    @both
    def test_a_loop_and_select_play_back(self, backend: str) -> None:
        kernel = FakeKernel(FakeEdu())
        recorder = Recorder(kernel, kernel.source)
        with Device.open(ADDRESS, backend=backend, system=recorder, source=recorder.source) as device:
            first = in_a_loop().drive(example(), device)
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        player = Player(recorder.dump())
        with Device.open(ADDRESS, backend=backend, system=player, source=player.source) as device:
            assert in_a_loop().drive(example(), device) == first
        assert player.rest == 0
        del player, device
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
    def test_tasks_that_wait_for_three_vectors_wake_in_the_recorded_order(
        self, order: tuple[int, ...]
    ) -> None:
        """Find first who was first in the recording, though a loop takes ready descriptors as it likes."""

        async def each(device: Device, window: Window, vector: int, woken: list[int]) -> None:
            count = await device.irqs.msix[vector].eventfd().next()
            window.write32(4 * vector, count)
            woken.append(vector)

        async def all_of_them(device: Device, window: Window, fire: bool) -> list[int]:
            woken: list[int] = []
            tasks = [asyncio.create_task(each(device, window, vector, woken)) for vector in range(3)]
            for vector in order:
                await asyncio.sleep(0.01)
                if fire:
                    fake.interrupt(MSIX, vector)
            await asyncio.gather(*tasks)
            return woken

        fake = FakeDevice()
        kernel = FakeKernel(fake)
        recorder = Recorder(kernel, kernel.source)
        seen = []
        for fire in (True, False):
            system = recorder if fire else Player(recorder.dump())
            with Device.open(ADDRESS, backend="iommufd", system=system, source=system.source) as device:
                device.bus_master = True
                device.irqs.msix.enable(3)
                with device.regions[0].map() as window:
                    seen.append(asyncio.run(asyncio.wait_for(all_of_them(device, window, fire), 20)))
        assert seen == [list(order)] * 2

    def test_a_wake_up_for_nothing_is_played_too(self) -> None:
        """Wake a loop for a count of 0 as well: another thread had taken the interrupt."""
        kernel = FakeKernel(FakeDevice())
        recorder = Recorder(kernel, kernel.source)
        seen = []
        for fire in (True, False):
            system = recorder if fire else Player(recorder.dump())
            with Device.open(ADDRESS, backend="iommufd", system=system, source=system.source) as device:
                event = device.irqs.msix[0].eventfd()
                if fire:
                    kernel.devices[ADDRESS].deliver(MSIX, 0)
                assert select.select([event], [], [], 5)[0] == [event]
                if fire:
                    os.read(event.fileno(), 8)
                counts = [event.read()]
                if fire:
                    kernel.devices[ADDRESS].deliver(MSIX, 0)
                assert select.select([event], [], [], 5)[0] == [event]
                seen.append([*counts, event.read()])
        assert seen == [[0, 1]] * 2

    def test_an_eventfd_that_is_not_due_does_not_fire(self) -> None:
        kernel = FakeKernel(FakeDevice())
        recorder = Recorder(kernel, kernel.source)
        for fire in (True, False):
            system = recorder if fire else Player(recorder.dump())
            with Device.open(ADDRESS, backend="iommufd", system=system, source=system.source) as device:
                event = device.irqs.msix[0].eventfd()
                assert select.select([event], [], [], 0.02)[0] == []
                device.regions[0].syscalls().write32(0, 1)
                if fire:
                    kernel.devices[ADDRESS].deliver(MSIX, 0)
                assert select.select([event], [], [], 5)[0] == [event]
                assert event.read() == 1
                assert select.select([event], [], [], 0.02)[0] == []

    def test_another_descriptor_is_another_way(self) -> None:
        kernel = FakeKernel(FakeDevice())
        recorder = Recorder(kernel, kernel.source)
        with Device.open(ADDRESS, backend="iommufd", system=recorder, source=recorder.source) as device:
            device.irqs.msix.enable(2)[1].read()
        player = Player(recorder.dump())
        with (
            pytest.raises(ReplayMismatch, match="was recorded"),
            Device.open(ADDRESS, backend="iommufd", system=player, source=player.source) as device,
        ):
            device.irqs.msix.enable(2)[0].read()


class TestMismatch:
    def test_another_way_is_refused(self) -> None:
        kernel = FakeKernel(FakeDevice())
        recorder = Recorder(kernel, kernel.source)
        with Device.open(ADDRESS, backend="container", system=recorder, source=recorder.source) as device:
            device.regions[0].syscalls().write32(0, 1)
        player = Player(recorder.dump())
        with (
            pytest.raises(ReplayMismatch, match="was recorded"),
            Device.open(ADDRESS, backend="container", system=player, source=player.source) as device,
        ):
            device.regions[0].syscalls().write32(0, 2)

    def test_the_end_is_the_end(self) -> None:
        kernel = FakeKernel(FakeDevice())
        recorder = Recorder(kernel, kernel.source)
        kernel.source.remove(f"sys/bus/pci/devices/{ADDRESS}/driver")
        kernel.source.remove(f"sys/bus/pci/devices/{ADDRESS}/vfio-dev")
        with pytest.raises(NotBound):
            Device.open(ADDRESS, system=recorder, source=recorder.source)
        player = Player(recorder.dump())
        with pytest.raises(ReplayMismatch, match="after the end"):
            player.wait(0, None)

    def test_another_format_is_refused(self) -> None:
        with pytest.raises(ReplayMismatch, match=r"not of vfiokit\.recording/2"):
            Player(json.dumps({"schema": "vfiokit.recording/1", "nodes": []}))

    def test_errors_are_played_too(self) -> None:
        kernel = FakeKernel(FakeDevice())
        recorder = Recorder(kernel, kernel.source)

        def use(system: object, source: object) -> None:
            with Device.open(ADDRESS, backend="container", system=system, source=source) as device:
                window = device.regions[0].syscalls()
                device.config.command = 0
                for access in (lambda: window.read32(0), lambda: window.write32(0, 1)):
                    with pytest.raises(DecodeOff):
                        access()

        use(recorder, recorder.source)
        player = Player(recorder.dump())
        use(player, player.source)
        assert player.rest == 0


class TestFiles:
    def test_dma_bufs_play_back(self) -> None:
        """A descriptor that a feature gave: mapped into the other device's space, and closed."""
        owner, other = FakeDevice(), FakeDevice(OTHER, group=15)
        kernel = FakeKernel(owner, other, dma_bufs=True)
        recorder = Recorder(kernel, kernel.source)

        def use(system: object, source: object) -> list[object]:
            options = {"backend": "iommufd", "system": system, "source": source}
            with Device.open(ADDRESS, **options) as one, Device.open(OTHER, **options) as two:
                with one.features.dma_buf(0) as shared:
                    mapping = two.dma.map_file(shared)
                return [shared.size, mapping.iova, mapping.close()]

        said = use(recorder, recorder.source)
        player = Player(recorder.dump())
        assert use(player, player.source) == said
        assert player.rest == 0
        assert kernel.left_open == []


class TestTrace:
    @both
    def test_a_line_for_each_call(self, backend: str) -> None:
        kernel = FakeKernel(FakeDevice())
        stream = io.StringIO()
        tracing = TracingSystem(kernel, stream)
        with Device.open(ADDRESS, backend=backend, system=tracing, source=kernel.source) as device:
            device.dma.map(4096, iova=0x100000)
            device.regions[0].map()
            device.irqs.msix[0].eventfd().wait(0)
        lines = stream.getvalue().splitlines()
        assert all(line.startswith("vfiokit: ") and line.endswith(" us>") for line in lines)
        text = stream.getvalue()
        due = {
            "container": ("VFIO_IOMMU_MAP_DMA(", 'open("/dev/vfio/14")', f"'{ADDRESS}'"),
            "iommufd": ("IOMMU_IOAS_MAP(", 'open("/dev/iommu")', "out_devid="),
        }[backend]
        for part in (*due, "iova=0x100000", "mmap(", "wait(", "pread(", "close("):
            assert part in text, part

    def test_refusals_are_told(self) -> None:
        kernel = FakeKernel(FakeDevice(), iommufd=False)
        stream = io.StringIO()
        with pytest.raises(Exception, match="no such node"):
            Device.open(
                ADDRESS, backend="iommufd", system=TracingSystem(kernel, stream), source=kernel.source
            )
        assert 'open("/dev/iommu") = No such file or directory' in stream.getvalue()

    def test_the_environment_switches_it_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from vfiokit.vfio.system import LiveSystem, default_system

        for value, kind in (("", LiveSystem), ("0", LiveSystem), ("1", TracingSystem)):
            monkeypatch.setenv("VFIOKIT_TRACE", value)
            assert type(default_system()) is kind

"""Lifetimes in every order on the fake kernel: of what is opened, mapped or wired, nothing is left."""

import gc
import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from vfiokit.testing.fake_device import MSI, MSIX, FakeDevice
from vfiokit.testing.fake_vfio import FakeKernel
from vfiokit.vfio import AddressSpace, Device, DmaBuffer, DmaMapping, EventFd, Window, open_space
from vfiokit.vfio.errors import Busy, CallNotSupported, Closed, InUse

ADDRESSES = ("0000:00:04.0", "0000:00:04.1", "0000:00:05.0")
PAGE = 4096


class Lifetimes(RuleBasedStateMachine):
    """Two devices of one group and one of another, a space they may share, and what hangs on them."""

    backend = "container"

    devices = Bundle("devices")
    windows = Bundle("windows")
    buffers = Bundle("buffers")
    files = Bundle("files")
    events = Bundle("events")

    @initialize()
    def begin(self) -> None:
        groups = (14, 14, 15)
        self.fakes = {
            name: FakeDevice(name, group=group) for name, group in zip(ADDRESSES, groups, strict=True)
        }
        self.kernel = FakeKernel(*self.fakes.values())
        self.space: AddressSpace = open_space(
            self.backend,
            system=self.kernel,
            source=self.kernel.source,
        )
        self.open: dict[str, Device] = {}
        self.content: dict[DmaBuffer, bytes] = {}
        self.descriptors = len(os.listdir("/proc/self/fd"))

    @rule(target=devices, name=st.sampled_from(ADDRESSES), alone=st.booleans())
    def open_device(self, name: str, alone: bool) -> object:
        options: dict[str, object] = {"system": self.kernel, "source": self.kernel.source}
        options |= {"backend": self.backend} if alone else {"space": self.space}
        try:
            device = Device.open(name, **options)
        except (Busy, InUse):
            # Itself, or another function of its group in another space.
            assert self.open
            return multiple()
        assert name not in self.open or self.open[name].closed
        self.open[name] = device
        return device

    @rule(device=consumes(devices))
    def close_device(self, device: Device) -> None:
        device.close()
        device.close()
        with pytest.raises(Closed):
            device.check_open()
        assert not any(key for key in self.fakes[str(device.address)].eventfds)

    @rule(target=windows, device=devices, guarded=st.booleans())
    def map_region(self, device: Device, guarded: bool) -> object:
        if device.closed:
            return multiple()
        return device.regions[0].map(guarded=guarded)

    @rule(window=windows, value=st.integers(0, 0xFFFFFFFF), place=st.integers(0, 1023))
    def use_window(self, window: Window, value: int, place: int) -> None:
        if window.closed:
            with pytest.raises(Closed):
                window.read32(4 * place)
        else:
            window.write32(4 * place, value)
            assert window.read32(4 * place) == value

    @rule(window=consumes(windows))
    def close_window(self, window: Window) -> None:
        window.close()

    @rule(target=events, device=devices, kind=st.sampled_from(["msi", "msix"]), vector=st.integers(0, 7))
    def wire(self, device: Device, kind: str, vector: int) -> object:
        if device.closed:
            return multiple()
        chosen = getattr(device.irqs, kind)
        other = device.irqs.msi if kind == "msix" else device.irqs.msix
        if other.wired:
            with pytest.raises(InUse):
                chosen[vector % len(chosen)].eventfd()
            return multiple()
        return chosen[vector % len(chosen)].eventfd()

    @rule(device=devices, kind=st.sampled_from([MSI, MSIX]), vector=st.integers(0, 7))
    def fire(self, device: Device, kind: int, vector: int) -> None:
        if device.closed:
            return
        device.bus_master = True
        name = {MSI: "msi", MSIX: "msix"}[kind]
        wired = getattr(device.irqs, name)
        self.fakes[str(device.address)].interrupt(kind, vector)
        if vector in wired.wired:
            assert wired[vector].eventfd().read() == 1

    @rule(event=consumes(events))
    def unwire(self, event: EventFd) -> None:
        event.close()
        event.close()

    @rule(device=devices)
    def reset(self, device: Device) -> None:
        if not device.closed:
            wired = device.irqs.msix.wired
            device.reset()
            assert device.irqs.msix.wired == wired
            for vector in wired:
                device.irqs.msix[vector].trigger()
                assert device.irqs.msix[vector].eventfd().read() == 1

    @rule(target=buffers, device=devices, count=st.integers(1, 4), data=st.binary(min_size=1, max_size=8))
    def map_memory(self, device: Device, count: int, data: bytes) -> object:
        if device.closed:
            return multiple()
        buffer = device.dma.map(count * PAGE)
        buffer.view[: len(data)] = data
        self.content[buffer] = data
        return buffer

    @rule(target=files, device=devices, count=st.integers(1, 4), data=st.binary(min_size=1, max_size=8))
    def map_file(self, device: Device, count: int, data: bytes) -> object:
        if device.closed:
            return multiple()
        with os.fdopen(os.memfd_create("memory", os.MFD_CLOEXEC), "w+b") as file:
            file.write(data)
            file.truncate(count * PAGE)
            if device.backend == "container":
                with pytest.raises(CallNotSupported):
                    device.dma.map_file(file)
                return multiple()
            mapping = device.dma.map_file(file)
        device.bus_master = True
        # The descriptor is closed, and the pages are there.
        assert self.fakes[str(device.address)].dma_read(mapping.iova, len(data)) == data
        return mapping

    @rule(mapping=consumes(files))
    def unmap_file(self, mapping: DmaMapping) -> None:
        due = 0 if mapping.closed else mapping.range.size
        assert mapping.close() == due
        assert mapping.closed

    @rule(device=devices)
    def forget_memory(self, device: Device) -> None:
        if not device.closed:
            device.dma.map(PAGE)
            gc.collect(0)

    @rule(buffer=buffers, device=devices)
    def read_by_device(self, buffer: DmaBuffer, device: Device) -> None:
        if buffer.closed or device.closed or buffer not in device.dma.buffers:
            return
        device.bus_master = True
        data = self.content[buffer]
        assert self.fakes[str(device.address)].dma_read(buffer.iova, len(data)) == data

    @rule(buffer=consumes(buffers))
    def unmap_memory(self, buffer: DmaBuffer) -> None:
        due = 0 if buffer.closed else buffer.range.size
        assert buffer.close() == due
        assert bytes(buffer.view[: len(self.content[buffer])]) == self.content[buffer]

    @invariant()
    def what_is_mapped_is_what_the_kernel_has(self) -> None:
        if not hasattr(self, "open"):
            return
        for device in self.open.values():
            if not device.closed:
                fake = self.fakes[str(device.address)]
                assert fake.space is not None
                ours = {buffer.range for buffer in device.dma.buffers}
                assert ours == {mapping.range for mapping in fake.space.mappings.values()}
                assert set(device.dma._allocator.taken) == ours

    def teardown(self) -> None:
        if not hasattr(self, "open"):
            return
        for device in self.open.values():
            device.close()
        self.space.close()
        assert self.kernel.left_open == []
        assert len(os.listdir("/proc/self/fd")) < self.descriptors


class LifetimesOfIommufd(Lifetimes):
    """The same with an iommufd."""

    backend = "iommufd"


BUDGET = settings(max_examples=40, stateful_step_count=30, deadline=None)

TestContainer = Lifetimes.TestCase
TestContainer.settings = BUDGET
TestIommufd = LifetimesOfIommufd.TestCase
TestIommufd.settings = BUDGET


@pytest.mark.parametrize("backend", ["container", "iommufd"])
def test_ten_thousand_mappings_leave_nothing(backend: str) -> None:
    kernel = FakeKernel(FakeDevice())
    with Device.open(ADDRESSES[0], backend=backend, system=kernel, source=kernel.source) as device:
        device.dma.map(PAGE).close()
        before = len(os.listdir("/proc/self/fd"))
        starts = set()
        for _ in range(10_000):
            with device.dma.map(PAGE) as buffer:
                starts.add(buffer.iova)
        assert len(starts) == 1
        assert len(os.listdir("/proc/self/fd")) == before
        assert device.dma.buffers == device.dma._allocator.taken == ()
    assert kernel.left_open == []

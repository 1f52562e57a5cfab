"""DMA of the fake kernel through real tables, against a dictionary of pages; and how fast that is."""

import mmap
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfiokit.address import AddressRange, PciAddress
from vfiokit.errors import UsageError
from vfiokit.testing.fake_device import FakeDevice
from vfiokit.testing.fake_iommu import DmaFault, FakeIommu
from vfiokit.testing.fake_space import FakeSpace
from vfiokit.testing.fake_vfio import FakeKernel
from vfiokit.translation.faults import Reason
from vfiokit.vfio import Device

PAGE = 4096
PAGES = 12
WINDOW = AddressRange(0xFEE00, 0xFEF00)
"""The interrupt window, in pages."""
DEVICE, OTHER = PciAddress(0, 3, 4, 1), PciAddress(1, 3, 4, 1)
MEMORY = mmap.mmap(-1, PAGES * PAGE)

Pages = dict[int, tuple[int, bool, bool]]
"""Page of the device's addresses: page of the memory, whether it can be read, whether written."""


def start_of(memory: mmap.mmap) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


BASE = start_of(MEMORY)
places = st.one_of(
    st.integers(0, 12),
    st.integers(508, 516),
    st.integers(WINDOW.start - 3, WINDOW.end + 3),
    st.integers((1 << 27) - 4, (1 << 27) + 2),
)
steps = st.one_of(
    st.tuples(
        st.just("map"), places, st.integers(0, PAGES - 4), st.integers(0, 4), st.booleans(), st.booleans()
    ),
    st.tuples(st.just("unmap"), places, st.integers(1, 8)),
    st.tuples(st.just("read"), places, st.integers(0, PAGE - 1), st.integers(1, 3 * PAGE)),
    st.tuples(
        st.just("write"), places, st.integers(0, PAGE - 1), st.integers(1, 3 * PAGE), st.integers(0, 255)
    ),
)


class Model:
    """What the tables should say, page by page, with nothing but a dictionary."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.pages: Pages = {}
        self.starts: dict[int, int] = {}
        self.content = bytearray(PAGES * PAGE)

    def map(self, place: int, source: int, count: int, readable: bool, writable: bool) -> bool:
        pages = range(place, place + count)
        free = not any(page in self.pages or page in WINDOW for page in pages)
        fits = count > 0 and (place + count) * PAGE <= 1 << self.width and (readable or writable)
        if free and fits:
            self.pages.update({page: (source + page - place, readable, writable) for page in pages})
            self.starts[place] = count
        return free and fits

    def unmap(self, place: int, count: int) -> int | None:
        """Return how many pages went, ``None`` if a mapping would be cut."""
        wanted = range(place, place + count)
        touched = {
            start: size
            for start, size in self.starts.items()
            if start < wanted.stop and wanted.start < start + size
        }
        if any(start < wanted.start or start + size > wanted.stop for start, size in touched.items()):
            return None
        for start, size in touched.items():
            del self.starts[start]
            for page in range(start, start + size):
                del self.pages[page]
        return sum(touched.values())

    def bytes_of(self, start: int, size: int, *, write: bool) -> Iterator[int | None]:
        """Yield where each byte is in the content; ``None``, and no more, where it is blocked."""
        for at in range(start, start + size):
            source, readable, writable = self.pages.get(at // PAGE, (0, False, False))
            if not (writable if write else readable):
                yield None
                return
            yield source * PAGE + at % PAGE

    def reason(self, page: int, *, write: bool) -> Reason:
        if page in WINDOW:
            return Reason.INTERRUPT_REQUEST
        if page * PAGE >= 1 << self.width:
            return Reason.SECOND_RANGE
        if page not in self.pages:
            return Reason.SECOND_NOT_PRESENT
        return Reason.SECOND_WRITE if write else Reason.SECOND_READ


@settings(deadline=None)
@given(st.lists(steps, max_size=20))
def test_tables_say_what_a_dictionary_of_pages_says(walk: list[tuple[int, ...]]) -> None:
    iommu = FakeIommu(39)
    space, model = FakeSpace(iommu, 39), Model(39)
    iommu.attach(DEVICE, space.domain)
    MEMORY[:] = bytes(PAGES * PAGE)
    for name, place, *more in walk:
        if name == "map":
            source, count, readable, writable = more
            wanted = AddressRange(place * PAGE, (place + count) * PAGE)
            done = space.map(wanted, BASE + source * PAGE, readable=bool(readable), writable=bool(writable))
            assert (done == 0) == model.map(place, source, count, bool(readable), bool(writable))
        elif name == "unmap":
            found = space.unmap(AddressRange(place * PAGE, (place + more[0]) * PAGE))
            expected = model.unmap(place, more[0])
            assert found < 0 if expected is None else found == expected * PAGE
        else:
            transfer(iommu, model, place * PAGE + more[0], more[1], more[2] if name == "write" else None)
    assert space.pinned == len(model.pages) * PAGE
    mapped = {page: source for page, (source, _, _) in model.pages.items()}
    assert {
        leaf.iova // PAGE + index: (leaf.address - BASE) // PAGE + index
        for leaf in space.domain.leaves()
        for index in range(leaf.size // PAGE)
    } == mapped


def attempt(iommu: FakeIommu, start: int, size: int, value: int | None) -> tuple[bytes, DmaFault | None]:
    try:
        if value is None:
            return iommu.read(DEVICE, start, size), None
        iommu.write(DEVICE, start, bytes([value]) * size)
    except DmaFault as fault:
        return b"", fault
    return b"", None


def check_fault(fault: DmaFault, model: Model, iova: int, *, write: bool) -> None:
    assert (fault.iova, fault.write, fault.source) == (iova, write, "03:04.1")
    assert fault.reason == model.reason(iova // PAGE, write=write)
    record = fault.record
    assert (record is None) == (fault.reason is Reason.INTERRUPT_REQUEST)
    if record is not None:
        assert (record.source_id, record.page) == (DEVICE.source_id, iova & ~0xFFF)
        assert record.is_read is not write


def transfer(iommu: FakeIommu, model: Model, start: int, size: int, value: int | None) -> None:
    """Read or write through both, and compare content, and where and why it is blocked."""
    write = value is not None
    way = list(model.bytes_of(start, size, write=write))
    through = [at for at in way if at is not None]
    read, fault = attempt(iommu, start, size, value)
    assert (fault is not None) == (way[-1] is None)
    if fault is not None:
        check_fault(fault, model, start + len(through), write=write)
        assert fault is iommu.faults[-1]
    elif value is None:
        assert read == bytes(model.content[at] for at in through)
    if value is not None:
        for at in through:
            model.content[at] = value
    assert MEMORY[:] == model.content


def test_who_is_not_attached_reaches_nothing() -> None:
    """Not even with the same bus, device and function in another segment."""
    iommu = FakeIommu(48)
    space = FakeSpace(iommu, 48)
    space.map(AddressRange(0, PAGE), BASE, readable=True, writable=True)
    for requester, reason in ((DEVICE, Reason.ROOT_NOT_PRESENT), (OTHER, Reason.ROOT_NOT_PRESENT)):
        with pytest.raises(DmaFault) as caught:
            iommu.read(requester, 0, 4)
        assert caught.value.reason is reason
    iommu.attach(DEVICE, space.domain)
    assert len(iommu.read(DEVICE, 0, 4)) == 4
    with pytest.raises(DmaFault):
        iommu.read(OTHER, 0, 4)
    iommu.detach(DEVICE)
    with pytest.raises(DmaFault) as caught:
        iommu.read(DEVICE, 0, 4)
    assert caught.value.reason is Reason.CONTEXT_NOT_PRESENT
    assert str(caught.value) == "read by 03:04.1 at 0x0: the context entry is not present (reason 0x2)"
    assert "root entry at" in caught.value.explain()


def test_a_space_that_is_closed_gives_its_frames_back() -> None:
    iommu = FakeIommu(39)
    before = iommu.frames.free
    iommu.new_domain().release()
    # The root table of the segment stays.
    assert iommu.frames.free == before - 1
    for count in (1, 600):
        space = FakeSpace(iommu, 39)
        memory = mmap.mmap(-1, count * PAGE)
        space.map(
            AddressRange(0x40000000, 0x40000000 + count * PAGE),
            start_of(memory),
            readable=True,
            writable=True,
        )
        space.close()
        assert iommu.frames.free == before - 1


@pytest.mark.parametrize("width", [12, 58])
def test_a_width_that_no_unit_has_is_refused(width: int) -> None:
    with pytest.raises(UsageError, match=f"{width} bits"):
        FakeIommu(width)


def test_cycles_and_large_transfers_take_no_time() -> None:
    """Hold the price of the tables: a cycle of both calls, and a page of a transfer, in microseconds."""
    kernel = FakeKernel(FakeDevice())
    with Device.open("0000:00:04.0", system=kernel, source=kernel.source) as device:
        device.bus_master = True
        started = time.process_time()
        for _ in range(2000):
            device.dma.map(PAGE).close()
        cycle = (time.process_time() - started) / 2000
        with device.dma.map(4 << 20) as buffer:
            buffer.view[:] = bytes(range(256)) * (16 << 10)
            started = time.process_time()
            read = kernel.devices["0000:00:04.0"].dma_read(buffer.iova, 4 << 20)
            page = (time.process_time() - started) / 1024
            assert read == buffer.view
    assert cycle < 2e-3, f"{cycle * 1e6:.0f} us a cycle"
    assert page < 1e-3, f"{page * 1e6:.0f} us a page"

"""What builders refuse, and what memory cannot hold: each is one error, and nothing has changed."""

from array import array

import pytest

from vfiokit.address import AddressRange
from vfiokit.errors import BadTable, UsageError
from vfiokit.translation import debugfs
from vfiokit.translation.attach import AmdTables, VtdTables
from vfiokit.translation.build import Domain
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.frames import Frames
from vfiokit.translation.guest import GuestMemoryMap, Slot
from vfiokit.translation.inventory import domains, requesters
from vfiokit.translation.iommu import Iommu
from vfiokit.translation.memory import ImageMemory, SparseMemory
from vfiokit.translation.requests import Access, Fault, Request, RequestType, Translation

UNIT = VtdCapabilities(cap=0x00D2008C222F0606, ecap=0x0000000000F00F4E)


def tables(frames: int = 64) -> VtdTables:
    return VtdTables(SparseMemory(), Frames([AddressRange(0x1000, 0x1000 + frames * 0x1000)]), UNIT)


@pytest.fixture
def domain() -> Domain:
    """Make a domain with one page."""
    made = tables().new_domain(1)
    made.map(0x5000, 0x9000, 0x1000)
    return made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0x5800, 0x9000, 0x1000), "aligned"),
        ((0x6000, 0x9800, 0x1000), "aligned"),
        ((0x6000, 0x9000, 0x800), "aligned"),
        ((0x6000, 0x9000, 0), "aligned"),
        ((0x4000, 0x9000, 0x3000), "mapped"),
        ((1 << 48, 0x9000, 0x1000), "beyond"),
        ((0x6000, 1 << 52, 0x1000), "physical"),
        ((0x6000, 0x9000, 0x1000, Access.NONE), "allow"),
    ],
)
def test_refused_mappings(domain: Domain, arguments: tuple[int, ...], said: str) -> None:
    before = list(domain.leaves())
    with pytest.raises(UsageError, match=said):
        domain.map(*arguments)  # type: ignore[arg-type]
    assert list(domain.leaves()) == before


def test_unmapping_what_is_not_mapped_is_nothing(domain: Domain) -> None:
    domain.unmap(0x100000, 0x1000)
    assert len(list(domain.leaves())) == 1


def test_no_frames_left() -> None:
    small = tables(3)
    with pytest.raises(UsageError, match="no frames"):
        small.new_domain(1).map(0, 0, 0x1000)


def test_release_gives_every_frame_back() -> None:
    made = tables()
    before = made.frames.free
    domain = made.new_domain(1)
    domain.map(0, 0, 0x400000)
    domain.release()
    assert made.frames.free == before


def test_a_frame_is_given_back_once() -> None:
    frames = Frames([AddressRange(0, 0x1000)])
    frame = frames.take()
    frames.give_back(frame)
    with pytest.raises(UsageError, match="not a frame"):
        frames.give_back(frame)


@pytest.mark.parametrize("sizes", [(0x200000,), (0x1000, 0x3000), (0x1000, 0x4000)])
def test_page_sizes_that_the_format_lacks(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        tables().new_domain(1, page_sizes=sizes)


def test_first_stage_needs_scalable_mode() -> None:
    made = tables()
    with pytest.raises(UsageError, match="scalable"):
        made.attach([0x28], made.new_domain(1, first=True))


def test_detached_requesters_fault() -> None:
    made = tables()
    domain = made.new_domain(1)
    domain.map(0x1000, 0x2000, 0x1000)
    made.attach([0x28, 0x29], domain)
    made.detach(0x28)
    outcomes = [made.iommu().translate(Request(source, 0x1000)) for source in (0x28, 0x29)]
    assert [isinstance(outcome, Fault) for outcome in outcomes] == [True, False]
    assert list(requesters(made.iommu())) == [0x29]


def test_a_blocked_amd_requester_faults_and_an_invalid_one_passes() -> None:
    made = AmdTables(SparseMemory(), Frames([AddressRange(0x1000, 0x10000)]), size=2)
    made.block(0x28)
    blocked, passed = (made.iommu().translate(Request(source, 0x5000)) for source in (0x28, 0x29))
    assert isinstance(blocked, Fault)
    assert isinstance(passed, Translation)
    assert passed.address == 0x5000


def test_domains_are_told_apart_by_their_tables() -> None:
    made = tables()
    one, other = made.new_domain(1), made.new_domain(2)
    made.attach([0x28, 0x30], one)
    made.attach([0x100], other)
    assert [found.sources for found in domains(made.iommu())] == [(0x28, 0x30), (0x100,)]


@pytest.mark.parametrize(("type", "code"), [(RequestType.TRANSLATION, 0xD), (RequestType.TRANSLATED, 0xD)])
def test_ats_requests_need_their_translation_type(type: RequestType, code: int) -> None:
    made = tables()
    made.attach([0x28], made.new_domain(1))
    outcome = made.iommu().translate(Request(0x28, 0x1000, type=type))
    assert isinstance(outcome, Fault)
    assert outcome.code == code
    made.write_context(0x28, TT=1, SSPTPTR=2, AW=2)
    allowed = made.iommu().translate(Request(0x28, 0x1000, type=type))
    assert isinstance(allowed, Translation) == (type is RequestType.TRANSLATED)


@pytest.mark.parametrize(("mode", "code"), [(0, 0x31), (1, 0x30), (2, 0x30), (3, None)])
def test_translation_table_modes(mode: int, code: int | None) -> None:
    unit = Iommu(ImageMemory(bytes(0x2000)), 0x1000 | mode << 10, UNIT.cap, UNIT.ecap)
    outcome = unit.translate(Request(0x28, 0, pasid=1))
    assert isinstance(outcome, Fault)
    assert outcome.code == code


class TestMemory:
    def test_runs_may_not_overlap(self) -> None:
        with pytest.raises(UsageError, match="overlap"):
            ImageMemory.of_segments([(0, bytes(16)), (8, bytes(8))])

    def test_runs_start_at_words(self) -> None:
        with pytest.raises(UsageError, match="multiple of 8"):
            ImageMemory(bytes(8), 4)

    @pytest.mark.parametrize("address", [0, 16, 24, 1 << 64, -8])
    def test_outside_is_no_value(self, address: int) -> None:
        assert ImageMemory(bytes(15), 8).read64(address) is None

    def test_what_is_read_only(self) -> None:
        with pytest.raises(UsageError, match="written"):
            ImageMemory(bytes(8)).write64(0, 1)

    def test_any_buffer(self) -> None:
        assert ImageMemory(array("Q", [1, 2]), 0x10).read64(0x18) == 2

    def test_a_sparse_memory_and_its_image_are_one(self) -> None:
        sparse = SparseMemory()
        sparse.write64(0x5008, 7)
        image = sparse.to_image()
        image.write64(0x5010, 9)
        assert (image.read64(0x5008), sparse.read64(0x5010), list(sparse)) == (7, 9, [0x5000])


class TestGuest:
    def test_pieces_that_follow_are_one(self) -> None:
        guest = GuestMemoryMap([Slot(0x1000, 0x9000, 0x1000), Slot(0, 0x8000, 0x1000)])
        assert guest.translate(0x800, 0x1000) == (AddressRange(0x8800, 0x9800),)

    @pytest.mark.parametrize("slots", [[Slot(0, 0, 0x2000), Slot(0x1000, 0, 0x1000)], [Slot(0, 0, 0x800)]])
    def test_bad_slots(self, slots: list[Slot]) -> None:
        with pytest.raises(UsageError):
            GuestMemoryMap(slots)

    def test_a_machine_is_what_its_domain_maps(self) -> None:
        made = tables()
        domain = made.new_domain(1)
        GuestMemoryMap([Slot(0, 0x100000, 0x5000), Slot(0x100000, 0x200000, 0x1000, Access.READ)]).map_into(
            domain
        )
        assert [(page.iova, page.address) for page in domain.leaves()][-1] == (0x100000, 0x200000)


@pytest.mark.parametrize("text", ["nonsense", "0x1 | 0x2", "Device x"])
def test_debugfs_text_that_is_none(text: str) -> None:
    with pytest.raises(BadTable, match="line 1"):
        debugfs.parse_tables(text)

"""The model's laws, on drawn layouts, on raw bytes, and with one named thing flipped.

Each law is recomputed from what was drawn, by look-ups in lists, and never through a second walker.
"""

from array import array
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from vfiokit.address import AddressRange
from vfiokit.bits import mask
from vfiokit.errors import UsageError
from vfiokit.testing.translation import (
    KINDS,
    DrawnLayout,
    DrawnMapping,
    accesses,
    corruptions,
    drawn_mappings,
    layouts,
    requests,
    soups,
    units,
)
from vfiokit.translation import batch, debugfs
from vfiokit.translation.attach import VtdTables
from vfiokit.translation.audit import Mapping, coalesce, dump
from vfiokit.translation.build import Domain
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.faults import Reason
from vfiokit.translation.formats import amd_host, second_stage
from vfiokit.translation.frames import Frames
from vfiokit.translation.guest import GuestMemoryMap, Slot
from vfiokit.translation.inventory import reach
from vfiokit.translation.iommu import AmdIommu, Iommu
from vfiokit.translation.iotlb import CachedIommu, Granularity
from vfiokit.translation.memory import ImageMemory, RecordingMemory, SparseMemory, read_bytes
from vfiokit.translation.overlap import ReverseMap, overlaps
from vfiokit.translation.requests import INTERRUPT_RANGE, Access, Fault, Request, Translation
from vfiokit.translation.walk import encoded_shift

UNIT = VtdCapabilities(cap=0x00D2008C222F0606, ecap=0x0000000000F00F4A)
SOURCES = (0x28, 0x31)
PAGES = st.integers(0, 12)
ONE_STAGE = ("legacy", "second", "first", "amd")
native = pytest.mark.skipif(not batch.have_native(), reason="C = PYTHON NOT RUN: the extension is not built")
drawn = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def expected(mapped: tuple[DrawnMapping, ...], address: int) -> DrawnMapping | None:
    return next((each for each in mapped if each.iova <= address < each.iova + each.size), None)


def allowed(layout: DrawnLayout, each: DrawnMapping) -> Access:
    """Return what a mapping allows: x86-64 entries cannot forbid reads."""
    implied = Access.READ if layout.kind in ("first", "nested") else Access.NONE
    return each.access | implied


def requests_inside(layout: DrawnLayout) -> st.SearchStrategy[Request]:
    """Draw requests for what is mapped for the one who asks, if not always with that access."""
    places = [
        (member, each.iova + offset)
        for members, mapped in zip(layout.groups, layout.mapped, strict=True)
        for member in members
        for each in mapped
        for offset in each.offset_classes()
    ]
    asking = st.sampled_from(places) if places else st.nothing()
    return st.builds(lambda place, access: Request(*place, access), asking, accesses())


def sparse_domain(levels: int = 4, **options: object) -> Domain:
    frames = Frames([AddressRange(0x100000, 0x400000)])
    format = second_stage(UNIT, 48, accessed_dirty=False)
    return Domain(SparseMemory(), frames, format, levels=levels, **options)  # type: ignore[arg-type]


def lookup(domain: Domain, iova: int) -> tuple[int, Access] | None:
    """Read the table by hand, level by level, without the walker."""
    table = domain.root
    for level in range(domain.levels, 0, -1):
        entry = domain.memory.read64(table + (iova >> 12 + 9 * (level - 1) & 511) * 8)
        assert entry is not None
        if not entry & 3:
            return None
        if level == 1 or entry & 0x80:
            span = 1 << 12 + 9 * (level - 1)
            return (entry & 0xFFFFFFFFFF000 & ~(span - 1)) | iova & span - 1, Access(entry & 3)
        table = entry & 0xFFFFFFFFFF000
    return None


class TestTranslation:
    @drawn
    @given(layouts(), st.data())
    def test_what_was_mapped_comes_back(self, layout: DrawnLayout, data: st.DataObject) -> None:
        """Laws 1, 4, 8: every class of offset goes where it was mapped to; nothing else goes anywhere."""
        for group, mapped in enumerate(layout.mapped):
            for each in mapped:
                for offset in each.offset_classes():
                    address = each.iova + offset
                    if address in INTERRUPT_RANGE or each.address + offset in INTERRUPT_RANGE:
                        continue
                    outcome = layout.ask(group, address, allowed(layout, each))
                    assert isinstance(outcome, Translation)
                    assert outcome.address == each.address + offset
                    assert outcome.page_size <= each.size
            hole = data.draw(st.integers(0, (1 << 39) - 1)) & ~7
            if expected(mapped, hole) is None:
                outcome = layout.ask(group, hole)
                assert isinstance(outcome, Fault)
                assert outcome.request.address == hole

    @drawn
    @given(layouts(), st.data())
    def test_permissions_are_those_of_the_mapping(self, layout: DrawnLayout, data: st.DataObject) -> None:
        """Law 7."""
        access = data.draw(st.sampled_from((Access.READ, Access.WRITE)))
        for group, mapped in enumerate(layout.mapped):
            for each in mapped:
                if each.iova in INTERRUPT_RANGE or each.address in INTERRUPT_RANGE:
                    continue
                goes = isinstance(layout.ask(group, each.iova, access), Translation)
                assert goes == bool(allowed(layout, each) & access)

    @drawn
    @given(layouts(), st.data())
    def test_members_of_a_group_are_translated_alike(self, layout: DrawnLayout, data: st.DataObject) -> None:
        """Laws 12, 13, 14."""
        request = data.draw(requests(layout))
        for group in layout.groups:
            outcomes = {
                (getattr(found, "address", None), getattr(found, "reason", None), found.domain_id)
                for found in (
                    layout.unit.translate(Request(member, request.address, request.access))
                    for member in group
                )
            }
            assert len(outcomes) == 1

    @drawn
    @given(layouts(("legacy", "second", "first", "amd")), st.data())
    def test_removing_a_permission_adds_no_access(self, layout: DrawnLayout, data: st.DataObject) -> None:
        """Law 7, at any level."""
        request = data.draw(requests(layout))
        before = layout.unit.translate(request)
        paging = [read for read in before.reads if read.level and read.words]
        assume(paging)
        read = data.draw(st.sampled_from(paging))
        lost = data.draw(st.sampled_from((1, 2, 1 << 61, 1 << 62)))
        layout.memory.write64(read.address, read.words[0] & ~lost)
        after = layout.unit.translate(request)
        if isinstance(after, Translation):
            assert isinstance(before, Translation)
            assert not after.permissions & ~before.permissions

    @drawn
    @given(
        drawn_mappings(), st.sampled_from(((0x1000,), (0x1000, 0x200000), (0x1000, 0x200000, 0x40000000)))
    )
    def test_page_sizes_do_not_matter(
        self, mapped: tuple[DrawnMapping, ...], sizes: tuple[int, ...]
    ) -> None:
        """Law 5."""
        small = tuple(each for each in mapped if each.size <= 0x600000)
        one, other = sparse_domain(), sparse_domain(page_sizes=sizes)
        for domain in (one, other):
            for each in small:
                domain.map(each.iova, each.address, each.size, each.access)
        for each in small:
            for offset in each.offset_classes():
                assert lookup(one, each.iova + offset) == lookup(other, each.iova + offset)

    @pytest.mark.parametrize("scalable", [False, True])
    @given(address=st.integers(0, mask(64)), access=accesses())
    def test_pass_through_is_identity_and_reads_no_table(
        self, scalable: bool, address: int, access: Access
    ) -> None:
        """Law 24."""
        ecap = UNIT.ecap | 0xC80000000000 if scalable else UNIT.ecap
        unit = VtdCapabilities(cap=UNIT.cap, ecap=ecap)
        tables = VtdTables(SparseMemory(), Frames([AddressRange(0x1000, 0x10000)]), unit)
        tables.pass_through([0x28])
        outcome = tables.iommu().translate(Request(0x28, address, access))
        assert not any(read.level for read in outcome.reads)
        if address in INTERRUPT_RANGE or address >> 48:
            assert isinstance(outcome, Fault)
        else:
            assert isinstance(outcome, Translation)
            assert outcome.address == address

    @given(st.integers(39, 63), st.integers(0, mask(39)))
    def test_wide_addresses_fault_before_any_table(self, bit: int, low: int) -> None:
        """Law 23."""
        tables = VtdTables(SparseMemory(), Frames([AddressRange(0x1000, 0x10000)]), UNIT)
        domain = tables.new_domain(1, levels=3)
        tables.attach([0x28], domain)
        outcome = tables.iommu().translate(Request(0x28, 1 << bit | low))
        assert isinstance(outcome, Fault)
        assert (outcome.code, any(read.level for read in outcome.reads)) == (4, False)

    @drawn
    @given(drawn_mappings(width=38))
    def test_three_and_four_levels_agree_below_the_top(self, mapped: tuple[DrawnMapping, ...]) -> None:
        """Law 23."""
        domains = [sparse_domain(levels) for levels in (3, 4)]
        for domain in domains:
            for each in mapped:
                domain.map(each.iova, each.address, each.size, each.access)
        for each in mapped:
            assert lookup(domains[0], each.iova) == lookup(domains[1], each.iova)

    @drawn
    @given(layouts(("nested",)), st.data())
    def test_a_second_stage_of_identity_changes_nothing(
        self, layout: DrawnLayout, data: st.DataObject
    ) -> None:
        """Law 26: nested over identity is what the first stage alone says."""
        request = data.draw(requests(layout))
        nested = layout.unit.translate(request)
        found = layout.unit.describe(request)
        assume(isinstance(found, Descriptor))
        assert isinstance(found, Descriptor)
        alone = layout.unit.finish(
            request,
            Descriptor(first=found.first, domain_id=found.domain_id, width=found.width),
        )
        if request.address in INTERRUPT_RANGE:
            return
        assert isinstance(nested, Fault) == isinstance(alone, Fault)
        if isinstance(nested, Translation) and isinstance(alone, Translation):
            assert nested.address == alone.address
            assert nested.permissions == alone.permissions & Access(7)
        if isinstance(nested, Fault) and isinstance(alone, Fault):
            assert nested.reason == alone.reason

    @given(
        st.integers(0, 0xFFFFF),
        st.integers(1, 64),
        st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=4, unique=True),
    )
    def test_reserved_memory_stays_where_it_is(self, first: int, pages: int, group: list[int]) -> None:
        """Law 15: what firmware wants mapped one to one is so for every member, after attaching."""
        tables = VtdTables(SparseMemory(), Frames([AddressRange(1 << 40, 1 << 41)]), UNIT)
        domain = tables.new_domain(1)
        reserved = AddressRange(first * 0x1000, (first + pages) * 0x1000)
        assume(not reserved.overlaps(INTERRUPT_RANGE))
        domain.map(reserved.start, reserved.start, reserved.size)
        tables.attach(group, domain)
        for member in group:
            for address in (reserved.start, reserved.end - 1):
                outcome = tables.iommu().translate(Request(member, address, Access.WRITE))
                assert isinstance(outcome, Translation)
                assert outcome.address == address

    @pytest.mark.parametrize("address", [0, 8, 0x7F8, 0xFF8])
    def test_scattered_frames_read_as_one(self, address: int) -> None:
        """Law 11: contiguous addresses over scattered frames read back as the concatenation."""
        memory = ImageMemory(bytearray(0x200000))
        guest = GuestMemoryMap(
            [Slot(index * 0x1000, frame, 0x1000) for index, frame in enumerate((0x9000, 0x3000, 0x6000))]
        )
        for index, frame in enumerate((0x9000, 0x3000, 0x6000)):
            for word in range(512):
                memory.write64(frame + 8 * word, index << 32 | word)
        whole = b"".join(read_bytes(memory, frame, 0x1000) or b"" for frame in (0x9000, 0x3000, 0x6000))
        assert guest.read(memory, address, 0x2000) == whole[address : address + 0x2000]


class TestTotality:
    """Laws 2, 21, 22: any bytes, any address, any registers."""

    @settings(max_examples=120, deadline=None)
    @given(soups(), units(), st.integers(0, mask(64)), st.integers(0, 0xFFFF), accesses(), st.data())
    def test_vtd(
        self,
        soup: tuple[ImageMemory, int],
        unit: VtdCapabilities,
        address: int,
        source_id: int,
        access: Access,
        data: st.DataObject,
    ) -> None:
        memory, root = soup
        recording = RecordingMemory(memory)
        pasid = data.draw(st.none() | st.integers(0, mask(20)))
        rtaddr = root | data.draw(st.integers(0, 3)) << 10
        iommu = Iommu(recording, rtaddr, unit.cap, unit.ecap)
        outcome = iommu.translate(Request(source_id, address, access, pasid))
        assert isinstance(outcome, Fault) != isinstance(outcome, Translation)
        assert all(place % 8 == 0 for place in recording.addresses)
        # Root, context, directory and PASID entries have 2, 4, 1 and 8 words; nested walks read 35 entries.
        assert len(recording.addresses) <= 15 + 35

    @settings(max_examples=120, deadline=None)
    @given(soups(), st.integers(0, mask(64)), st.integers(0, 0xFFFF), accesses(), st.integers(0, mask(64)))
    def test_amd(
        self, soup: tuple[ImageMemory, int], address: int, source_id: int, access: Access, efr: int
    ) -> None:
        memory, root = soup
        recording = RecordingMemory(memory)
        outcome = AmdIommu(recording, root | 0x1FF, efr=efr).translate(Request(source_id, address, access))
        assert isinstance(outcome, Fault) != isinstance(outcome, Translation)
        assert len(recording.addresses) <= 4 + 6 + 3

    @settings(max_examples=100, deadline=None)
    @given(st.randoms(use_true_random=False), units(), st.integers(0, mask(64)), accesses())
    def test_memory_that_changes_while_it_is_read(
        self, chooser: Random, unit: VtdCapabilities, address: int, access: Access
    ) -> None:
        class Changing:
            reads = 0

            def read64(self, place: int) -> int | None:
                self.reads += 1
                return (
                    None if chooser.random() < 0.02 else chooser.getrandbits(64) & ~(mask(12) << 40) | 0x67
                )

        memory = Changing()
        iommu = Iommu(memory, chooser.choice((0x1000, 0x1400)), unit.cap, unit.ecap)
        outcome = iommu.translate(Request(0x28, address, access))
        assert isinstance(outcome, Fault) != isinstance(outcome, Translation)
        assert memory.reads <= 15 + 35

    @settings(max_examples=40, deadline=None)
    @given(soups(), st.integers(1, 500))
    def test_a_dump_ends_and_says_where(self, soup: tuple[ImageMemory, int], budget: int) -> None:
        memory, root = soup
        domain = sparse_domain()
        descriptor = Descriptor(second=domain.stage)
        looped = Descriptor(second=type(domain.stage)(format=domain.format, root=root, levels=4, width=48))
        for each in (descriptor, looped):
            found = dump(memory, each, budget=budget)
            assert len(found.mappings) <= budget
            if batch.have_native():
                assert batch.dump(memory, each, budget=budget) == found


class TestCorruption:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(layouts(), st.data())
    def test_reserved_bits_fault_and_ignored_bits_do_not_matter(
        self, layout: DrawnLayout, data: st.DataObject
    ) -> None:
        """Law 20: a reserved bit on the path is that structure's fault; an ignored one changes nothing."""
        request = data.draw(requests_inside(layout))
        before = layout.unit.translate(request)
        assume(isinstance(before, Translation))
        reads = [read for read in before.reads if read.level and read.words]
        assume(reads)
        read = data.draw(st.sampled_from(reads))
        first = read.structure.startswith("first")
        found = layout.unit.describe(request)
        assert isinstance(found, Descriptor)
        stage = found.first if first else found.second
        assert stage is not None
        format, word = stage.format, read.words[0]
        leaf = format.next_level(word, read.level) in (0, 7)
        reserved = (format.reserved_leaf if leaf else format.reserved_table)[read.level]
        bit = data.draw(st.sampled_from([bit for bit in range(64) if reserved >> bit & 1] or [None]))
        assume(bit is not None)
        assert bit is not None
        assume(not (leaf is False and bit == 7))
        layout.memory.write64(read.address, word | 1 << bit)
        after = layout.unit.translate(request)
        assert isinstance(after, Fault)
        assert after.reason in (Reason.FIRST_RESERVED, Reason.SECOND_RESERVED)
        assert after.level == read.level or layout.kind == "nested"
        ignored = {"second-stage": 0xBFE << 52, "first-stage": 0x7FE << 52, "host": 1 << 63}[format.name]
        layout.memory.write64(read.address, word | ignored)
        same = layout.unit.translate(request)
        assert isinstance(same, Translation)
        assert isinstance(before, Translation)
        assert same.address == before.address

    @drawn
    @given(layouts(("legacy", "second")), st.data())
    def test_fpd_changes_recording_and_never_blocking(
        self, layout: DrawnLayout, data: st.DataObject
    ) -> None:
        """Law 27."""
        request = data.draw(requests(layout))
        flipped = data.draw(corruptions(layout, request))
        if flipped is not None:
            flipped.apply(layout.memory)
        loud = layout.unit.translate(request)
        for read in loud.reads:
            if read.words and any(row.name == "FPD" for row in read.fields[0]):
                layout.memory.write64(read.address, read.words[0] | 2)
        silent = layout.unit.translate(request)
        assert isinstance(loud, Fault) == isinstance(silent, Fault)
        if isinstance(loud, Fault) and isinstance(silent, Fault):
            assert (loud.reason, loud.code) == (silent.reason, silent.code)
            assert loud.recorded or not silent.recorded
        elif isinstance(loud, Translation) and isinstance(silent, Translation):
            assert loud.address == silent.address


@native
class TestNative:
    """Law 28: C says what Python says, and reads what Python reads."""

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(layouts(), st.data())
    def test_on_layouts_with_one_thing_flipped(self, layout: DrawnLayout, data: st.DataObject) -> None:
        wanted = data.draw(st.lists(requests(layout), min_size=1, max_size=40))
        flipped = data.draw(corruptions(layout, wanted[0]))
        if flipped is not None:
            flipped.apply(layout.memory)
        self.compare(layout.unit, layout.memory, wanted)

    @settings(max_examples=120, deadline=None)
    @given(soups(), units(), st.lists(st.integers(0, mask(64)), min_size=1, max_size=40), st.data())
    def test_on_raw_bytes(
        self, soup: tuple[ImageMemory, int], unit: VtdCapabilities, addresses: list[int], data: st.DataObject
    ) -> None:
        memory, root = soup
        rtaddr = root | data.draw(st.integers(0, 1)) << 10
        iommu = Iommu(memory, rtaddr, unit.cap, unit.ecap)
        access = data.draw(accesses())
        self.compare(
            iommu, memory, [Request(data.draw(st.integers(0, 0xFFFF)), each, access) for each in addresses]
        )

    def compare(self, unit: Iommu | AmdIommu, memory: ImageMemory, wanted: list[Request]) -> None:
        sources = [request.source_id for request in wanted]
        addresses = array("Q", [request.address for request in wanted])
        access = [int(request.access) for request in wanted]
        found = batch.translate_many(unit, sources, addresses, access, native=True)
        pure = batch.translate_many(unit, sources, addresses, access, native=False)
        assert found == pure
        for request in wanted:
            outcome = unit.translate(request)
            descriptor = unit.describe(request)
            if not isinstance(descriptor, Descriptor):
                continue
            result, reads = batch.Walker(memory, descriptor).trace(request.address, request.access)
            assert reads == [read.address for read in outcome.reads if read.level]
            assert result.reason == (outcome.reason if isinstance(outcome, Fault) else 0)


class TestBuilder:
    @drawn
    @given(drawn_mappings(), st.data())
    def test_every_store_leaves_all_others_alone(
        self, mapped: tuple[DrawnMapping, ...], data: st.DataObject
    ) -> None:
        """Law 25: after each single store, what is not being changed is translated as before."""
        domain = sparse_domain()
        small = [each for each in mapped if each.size <= 0x600000]
        for each in small:
            domain.map(each.iova, each.address, each.size, each.access)
        assume(small)
        chosen = data.draw(st.sampled_from(small))
        pages = chosen.size // 0x1000
        first = data.draw(st.integers(0, pages - 1))
        count = data.draw(st.integers(1, pages - first))
        gone = AddressRange(chosen.iova + first * 0x1000, chosen.iova + (first + count) * 0x1000)
        places = [place for each in small for place in (each.iova, each.iova + each.size - 8)]
        others = [place for place in (*places, gone.start - 8, gone.end) if place >= 0 and place not in gone]
        before = {place: lookup(domain, place) for place in others}
        memory = domain.memory

        class Watching(SparseMemory):
            def read64(self, address: int) -> int | None:
                return memory.read64(address)

            def write64(self, address: int, value: int) -> None:
                assert address & ~0xFFF in domain.owned
                memory.write64(address, value)
                domain.memory = memory
                assert {place: lookup(domain, place) for place in others} == before
                domain.memory = self

            def clear_frame(self, address: int) -> None:
                assert address in domain.owned
                memory.clear_frame(address)

        if len(others) < 12:
            domain.memory = Watching()
        domain.unmap(gone.start, gone.size)
        domain.memory = memory
        assert {place: lookup(domain, place) for place in others} == before
        assert lookup(domain, gone.start) is None
        assert lookup(domain, gone.end - 8) is None

    @drawn
    @given(drawn_mappings())
    def test_unmapping_everything_returns_every_frame(self, mapped: tuple[DrawnMapping, ...]) -> None:
        domain = sparse_domain()
        for each in mapped:
            domain.map(each.iova, each.address, each.size, each.access)
        for each in mapped:
            domain.unmap(each.iova, each.size)
        assert domain.owned == {domain.root}
        assert list(domain.leaves()) == []

    @drawn
    @given(drawn_mappings((0x200000, 0x40000000)), st.data())
    def test_split_and_merge_keep_every_translation(
        self, mapped: tuple[DrawnMapping, ...], data: st.DataObject
    ) -> None:
        """Law 6."""
        assume(mapped)
        domain = sparse_domain()
        for each in mapped:
            domain.map(each.iova, each.address, each.size, each.access)
        before = {
            each.iova + offset: lookup(domain, each.iova + offset)
            for each in mapped
            for offset in each.offset_classes()
        }
        pages = list(domain.leaves())
        chosen = data.draw(st.sampled_from(mapped))
        assert domain.split(chosen.iova)
        assert {place: lookup(domain, place) for place in before} == before
        assert domain.merge(0, 1 << 48) >= 1
        assert list(domain.leaves()) == pages

    @given(st.integers(13, 38).filter(lambda shift: (shift - 12) % 9 != 0), st.integers(0, 100))
    def test_encoded_sizes_are_inverse(self, shift: int, number: int) -> None:
        """Law 32."""
        frames = Frames([AddressRange(0x100000, 0x400000)])
        size = 1 << shift
        domain = Domain(SparseMemory(), frames, amd_host(), levels=4, page_sizes=(0x1000, size))
        domain.map(number * size, size, size, page_sizes=(size,))
        (page,) = domain.leaves()
        assert (page.iova, page.address, page.size) == (number * size, size, size)
        assert encoded_shift((size - 1) >> 1 & ~0xFFF) == shift

    def test_generic_page_table_vectors(self) -> None:
        """Two literal cases of the kernel's page-table tests."""
        domain = sparse_domain()
        domain.map(0xFEF80000, 0x208B95D000, 0x20000)
        assert lookup(domain, 0xFEF9FFF8) == (0x208B97CFF8, Access.READ | Access.WRITE)
        other = sparse_domain()
        other.map(0x3FE400000, 0x3FE400000, 0x4C0600000 - 0x3FE400000)
        sizes = [page.size for page in other.leaves()]
        assert sizes == [0x200000] * 14 + [0x40000000] * 3 + [0x200000] * 3


class TestAudit:
    @drawn
    @given(layouts(ONE_STAGE))
    def test_a_dump_is_what_single_walks_say(self, layout: DrawnLayout) -> None:
        """Law 3."""
        for group, mapped in enumerate(layout.mapped):
            found = dump(layout.memory, layout.descriptor(group)).mappings
            told = coalesce(
                Mapping(
                    each.iova, each.address, each.size, allowed(layout, each) | self.execute(layout, each)
                )
                for each in mapped
            )
            assert list(found) == list(told)
            if batch.have_native():
                assert batch.dump(layout.memory, layout.descriptor(group)).mappings == found

    @staticmethod
    def execute(layout: DrawnLayout, each: DrawnMapping) -> Access:
        """Where a format has no execute permission of its own, what can be read can be executed."""
        return Access.EXECUTE if allowed(layout, each) & Access.READ else Access.NONE

    @drawn
    @given(layouts(ONE_STAGE), st.data())
    def test_reverse(self, layout: DrawnLayout, data: st.DataObject) -> None:
        """Law 29: with interior bytes of large pages."""
        domains = {group: dump(layout.memory, layout.descriptor(group)).mappings for group in range(2)}
        reverse = ReverseMap(domains)
        every = [each for mapped in layout.mapped for each in mapped]
        assume(every)
        chosen = data.draw(st.sampled_from(every))
        address = chosen.address + data.draw(st.integers(0, chosen.size - 1))
        told = {
            (group, each.iova + address - each.address)
            for group, mapped in enumerate(layout.mapped)
            for each in mapped
            if each.address <= address < each.address + each.size
        }
        assert {(group, iova) for group, iova, _ in reverse.find(address)} == told

    @drawn
    @given(layouts(ONE_STAGE), st.data())
    def test_reach_is_the_path(self, layout: DrawnLayout, data: st.DataObject) -> None:
        assume(layout.mapped[0])
        chosen = data.draw(st.sampled_from(layout.mapped[0]))
        address = chosen.address + data.draw(st.integers(0, chosen.size - 1))
        assume(address not in INTERRUPT_RANGE)
        ways = reach(layout.unit, layout.groups[0][0], address)
        assert chosen.iova + address - chosen.address in {way.request.address for way in ways}
        assert {way.address for way in ways} == {address}
        assert all(way.reads[-1].level for way in ways)

    @drawn
    @given(layouts(("legacy", "second", "first")))
    def test_debugfs_text_comes_back(self, layout: DrawnLayout) -> None:
        """Law 30."""
        for group in range(2):
            found = layout.descriptor(group)
            stage = found.first or found.second
            assert stage is not None
            leaves = tuple(debugfs.read_leaves(layout.memory, stage))
            text = debugfs.TableText("0000:00:05.0", None, stage.root, leaves)
            assert debugfs.parse_tables(debugfs.print_table(text)) == (text,)
            if layout.kind != "first":
                told = [(each.iova, each.address, each.size) for each in debugfs.mappings(text)]
                ours = dump(layout.memory, found).mappings
                assert told == [(each.iova, each.address, each.size) for each in ours]

    @drawn
    @given(layouts(ONE_STAGE, groups=3))
    def test_overlaps_equal_brute_force(self, layout: DrawnLayout) -> None:
        """Laws 9 and 10, page by page over small mappings and end by end over all."""
        domains = {group: dump(layout.memory, layout.descriptor(group)).mappings for group in range(3)}
        found = overlaps(domains)
        points = sorted(
            {each.address + end for mapped in layout.mapped for each in mapped for end in (0, each.size)}
        )
        for start in points:
            sharing = [
                (group, allowed(layout, each))
                for group, mapped in enumerate(layout.mapped)
                for each in mapped
                if each.address <= start < each.address + each.size
            ]
            told = {
                (one, other, bool((first | second) & Access.WRITE))
                for one, first in sharing
                for other, second in sharing
                if one < other
            }
            said = {(each.one, each.other, each.writable) for each in found if start in each.range}
            assert said == told


class TestCaches:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(layouts(("legacy", "second", "amd")), st.data())
    def test_stale_or_true_and_never_a_third_value(self, layout: DrawnLayout, data: st.DataObject) -> None:
        """Laws 16, 17, 18, 19."""
        cached = CachedIommu(layout.unit)
        assume(layout.mapped[0])
        chosen = data.draw(st.sampled_from(layout.mapped[0]))
        request = Request(layout.groups[0][0], chosen.iova, chosen.access)
        old = cached.translate(request)
        layout.domains[0].unmap(chosen.iova, chosen.size)
        new = layout.unit.translate(request)
        assert isinstance(new, Fault)
        stale = cached.translate(request)
        assert isinstance(stale, Fault) == isinstance(old, Fault)
        if isinstance(stale, Translation) and isinstance(old, Translation):
            assert stale.address == old.address
        domain = layout.domains[0].domain_id
        cached.invalidate_iotlb(Granularity.PAGES, domain + 7, chosen.iova)
        assert isinstance(cached.translate(request), Fault) == isinstance(old, Fault)
        cached.invalidate_iotlb(Granularity.PAGES, domain, chosen.iova)
        assert cached.translate(request) == new

    @drawn
    @given(layouts(("legacy", "second", "amd")), st.data())
    def test_without_changes_caches_cannot_be_seen(self, layout: DrawnLayout, data: st.DataObject) -> None:
        cached = CachedIommu(layout.unit)
        for request in data.draw(st.lists(requests(layout), max_size=12)):
            one, other = cached.translate(request), layout.unit.translate(request)
            assert isinstance(one, Fault) == isinstance(other, Fault)
            if isinstance(one, Translation) and isinstance(other, Translation):
                assert (one.address, one.permissions) == (other.address, other.permissions)
            if data.draw(st.booleans()):
                cached.invalidate_iotlb(data.draw(st.sampled_from(Granularity)), 1, request.address)


def test_every_kind_is_drawn() -> None:
    assert set(KINDS) == {"legacy", "second", "first", "nested", "amd"}


class Machine(RuleBasedStateMachine):
    """A unit in use: maps, unmaps, attaches, invalidations and DMA in any order, beside plain dictionaries.

    The unit may answer what is true now, or what it once answered and was never told to forget; for what it
    was told to forget, only what is true now.
    """

    def __init__(self) -> None:
        super().__init__()
        memory = SparseMemory()
        self.tables = VtdTables(memory, Frames([AddressRange(1 << 40, 1 << 41)]), UNIT)
        self.domains = [self.tables.new_domain(number) for number in (1, 2)]
        self.pages: list[dict[int, tuple[int, Access]]] = [{}, {}]
        self.attached = dict.fromkeys(SOURCES, 0)
        self.seen: dict[int, int] = {}
        self.stale: dict[tuple[int, int], tuple[int, int, Access]] = {}
        self.tables.attach(SOURCES, self.domains[0])
        self.cached = CachedIommu(self.tables.iommu())

    @rule(number=st.integers(0, 1), page=PAGES, frame=st.integers(1, 9), access=st.integers(1, 3))
    def map(self, number: int, page: int, frame: int, access: int) -> None:
        """Map one page, or be refused where one is mapped."""
        arguments = (page * 0x1000, frame * 0x1000, 0x1000, Access(access))
        if page in self.pages[number]:
            with pytest.raises(UsageError):
                self.domains[number].map(*arguments)
            return
        self.domains[number].map(*arguments)
        self.pages[number][page] = (frame, Access(access))

    @rule(number=st.integers(0, 1), page=PAGES, count=st.integers(1, 4))
    def unmap(self, number: int, page: int, count: int) -> None:
        """Unmap pages, with no invalidation."""
        self.domains[number].unmap(page * 0x1000, count * 0x1000)
        for gone in range(page, page + count):
            self.pages[number].pop(gone, None)

    @rule(source=st.sampled_from(SOURCES), number=st.integers(0, 1))
    def attach(self, source: int, number: int) -> None:
        """Give a requester a domain; its old entry may be cached."""
        self.tables.attach([source], self.domains[number])
        self.attached[source] = number

    @rule(number=st.integers(0, 1), page=PAGES, order=st.integers(0, 2))
    def invalidate_pages(self, number: int, page: int, order: int) -> None:
        """Invalidate pages of a domain."""
        self.cached.invalidate_iotlb(Granularity.PAGES, number + 1, page * 0x1000, order)
        self.forget(number, range(page >> order << order, (page >> order << order) + (1 << order)))

    @rule(number=st.integers(0, 1))
    def invalidate_domain(self, number: int) -> None:
        """Invalidate a domain."""
        self.cached.invalidate_iotlb(Granularity.DOMAIN, number + 1)
        self.forget(number, range(1 << 20))

    @rule()
    def flush(self) -> None:
        """Forget everything: requesters' entries too."""
        self.cached.flush()
        self.stale.clear()
        self.seen.clear()

    @rule(source=st.sampled_from(SOURCES), page=PAGES, write=st.booleans())
    def dma(self, source: int, page: int, write: bool) -> None:
        """Do a DMA, and judge where it goes."""
        access = Access.WRITE if write else Access.READ
        outcome = self.cached.translate(Request(source, page * 0x1000 + 8, access))
        number = self.seen.setdefault(source, self.attached[source])
        true = self.pages[number].get(page)
        old = self.stale.get((source, page))
        if old is not None and old[0] == number and old[2] & access:
            assert isinstance(outcome, Translation)
            assert outcome.address == old[1] * 0x1000 + 8
            return
        allowed = true is not None and bool(true[1] & access)
        assert isinstance(outcome, Translation) == allowed
        if isinstance(outcome, Translation) and true is not None:
            assert outcome.address == true[0] * 0x1000 + 8
            self.stale[source, page] = (number, true[0], true[1])

    def forget(self, number: int, pages: range) -> None:
        for source, page in list(self.stale):
            if self.stale[source, page][0] == number and page in pages:
                del self.stale[source, page]


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

"""Each row of the list of deviations by itself: a QEMU that stops deviating fails here, and the row goes."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.oracle.deviations import CODES_INSTEAD, needs_pinned_qemu
from tests.oracle.dma import EDU, AmdMachine, FaultRecord, VtdMachine, machine
from tests.oracle.qtest import needs_qemu
from vfiokit.address import AddressRange
from vfiokit.translation.attach import AmdTables, VtdTables
from vfiokit.translation.build import Domain
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.faults import Reason
from vfiokit.translation.frames import Frames
from vfiokit.translation.memory import ImageMemory
from vfiokit.translation.requests import Access, Fault, Request, Translation
from vfiokit.translation.vtd_rows import TranslationType

pytestmark = [pytest.mark.oracle, needs_qemu, needs_pinned_qemu]

TABLES = AddressRange(0x100000, 0x400000)
PLACE = 0x1000000


@dataclass
class Vtd:
    """A unit with one page mapped, and QEMU beside it."""

    guest: VtdMachine
    tables: VtdTables
    domain: Domain

    def record(self, address: int = 0x5000, *, write: bool = True) -> FaultRecord | None:
        return self.guest.request(self.tables.rtaddr, address, 8, write=write)

    def reason(self, address: int = 0x5000, access: Access = Access.WRITE) -> Reason | None:
        outcome = self.tables.iommu().translate(Request(EDU.source_id, address, access))
        return outcome.reason if isinstance(outcome, Fault) else None

    def word(self, structure: str, index: int = 0) -> tuple[int, int]:
        """Return where a word of an entry on the path lies, and what it is."""
        outcome = self.tables.iommu().translate(Request(EDU.source_id, 0x5000, Access.WRITE))
        read = next(read for read in outcome.reads if read.structure == structure)
        return read.address + 8 * index, read.words[index]


def vtd(unit: str) -> Iterator[Vtd]:
    with machine(unit) as guest:
        assert isinstance(guest, VtdMachine)
        capabilities = VtdCapabilities(cap=guest.register(guest.CAP), ecap=guest.register(guest.ECAP))
        tables = VtdTables(ImageMemory(guest.memory), Frames([TABLES]), capabilities)
        domain = tables.new_domain(1, first=capabilities.scalable_mode and capabilities.first_stage)
        domain.map(0x5000, PLACE, 0x1000)
        tables.attach([EDU], domain)
        guest.load(bytes(range(1, 251)) * 16)
        found = Vtd(guest, tables, domain)
        assert found.record() is None
        assert found.reason() is None
        yield found
        del tables, domain, found


@pytest.fixture
def legacy() -> Iterator[Vtd]:
    """Give a legacy unit."""
    yield from vtd("intel-iommu")


@pytest.fixture
def second() -> Iterator[Vtd]:
    """Give a scalable-mode unit with second-stage tables."""
    yield from vtd("intel-iommu,x-scalable-mode=on")


@pytest.fixture
def first() -> Iterator[Vtd]:
    """Give a scalable-mode unit with first-stage tables."""
    yield from vtd("intel-iommu,x-scalable-mode=on,x-flts=on")


def test_what_passes_through_has_no_width(legacy: Vtd) -> None:
    legacy.tables.write_context(EDU, TT=TranslationType.PASS_THROUGH, AW=2)
    assert legacy.reason(1 << 50) is Reason.BEYOND_UNIT_WIDTH
    assert legacy.record(1 << 50) is None


def test_scalable_entries_have_legacy_numbers(second: Vtd) -> None:
    second.tables.detach(EDU)
    record = second.record()
    assert second.reason() is Reason.CONTEXT_NOT_PRESENT
    assert record is not None
    assert record.reason == CODES_INSTEAD[Reason.CONTEXT_NOT_PRESENT]


def test_second_stage_faults_have_legacy_numbers(second: Vtd) -> None:
    record = second.record(0x9000)
    assert second.reason(0x9000) is Reason.SECOND_NOT_PRESENT
    assert record is not None
    assert record.reason == 5


@pytest.mark.parametrize("structure", ["PASID directory entry", "PASID entry"])
def test_reserved_bits_of_pasid_structures(second: Vtd, structure: str) -> None:
    where, word = second.word(structure, 0)
    second.tables.memory.write64(where, word | 1 << 10)
    assert second.reason() in (Reason.PASID_DIRECTORY_RESERVED, Reason.PASID_RESERVED)
    assert second.record() is None


def test_pgtt_is_judged_before_presence(second: Vtd) -> None:
    where, _ = second.word("PASID entry")
    second.tables.memory.write64(where, 0)
    record = second.record()
    assert second.reason() is Reason.PASID_NOT_PRESENT
    assert record is not None
    assert record.reason == 0x5B


def test_fpd_of_the_directory_is_not_heeded(second: Vtd) -> None:
    where, _ = second.word("PASID directory entry")
    second.tables.memory.write64(where, 2)
    outcome = second.tables.iommu().translate(Request(EDU.source_id, 0x5000))
    assert isinstance(outcome, Fault)
    assert not outcome.recorded
    assert second.record() is not None


def test_rid_pasid_is_heeded_and_not_offered(second: Vtd) -> None:
    assert not second.tables.capabilities.fields["RPS"]
    where, word = second.word("scalable-mode context entry", 1)
    second.tables.memory.write64(where, word | 5)
    assert second.reason() is None
    assert second.record() is not None


def test_canonical_by_the_second_stage_s_width(first: Vtd) -> None:
    first.domain.map(1 << 40, PLACE, 0x1000)
    assert first.record(1 << 40) is None
    where, word = first.word("PASID entry")
    first.tables.memory.write64(where, word & ~(7 << 2) | 1 << 2)
    record = first.record(1 << 40)
    assert first.reason(1 << 40) is None
    assert record is not None
    assert record.reason == 0x80


def test_dirty_is_not_set_where_accessed_is(first: Vtd) -> None:
    where, word = first.word("first-stage entry")
    leaf = first.domain.root
    for level in (4, 3, 2):
        leaf = (first.tables.memory.read64(leaf + (0x5000 >> 12 + 9 * (level - 1) & 511) * 8) or 0) & ~0xFFF
    where = leaf + 8 * 5
    word = first.tables.memory.read64(where) or 0
    first.tables.memory.write64(where, word & ~(1 << 6) | 1 << 5)
    assert first.record() is None
    assert (first.tables.memory.read64(where) or 0) >> 5 & 3 == 1
    first.tables.memory.write64(where, word & ~(3 << 5))
    assert first.record() is None
    assert (first.tables.memory.read64(where) or 0) >> 5 & 3 == 3


@dataclass
class Amd:
    """An AMD-Vi unit with one page mapped."""

    guest: AmdMachine
    tables: AmdTables
    domain: Domain

    def lands(self, address: int) -> bool:
        """Whether QEMU lets a write through to the mapped page."""
        self.guest.memory[PLACE : PLACE + 0x1000] = bytes(0x1000)
        commands = self.guest.enable(self.tables.device_table)
        self.guest.wait(self.guest.batch([*commands, *self.guest.dma(address, 8, 8, write=True)])[-1])
        return any(self.guest.memory[PLACE : PLACE + 0x1000])

    def passes(self, address: int) -> bool:
        """Whether the model lets it through."""
        outcome = self.tables.iommu().translate(Request(EDU.source_id, address, Access.WRITE))
        return isinstance(outcome, Translation)

    def entry(self, level: int, address: int = 0x5000) -> tuple[int, int]:
        """Return where the entry of a level lies, and what it is."""
        outcome = self.tables.iommu().translate(Request(EDU.source_id, address, Access.WRITE))
        read = next(read for read in outcome.reads if read.level == level)
        return read.address, read.words[0]


@pytest.fixture
def amd() -> Iterator[Amd]:
    """Give an AMD-Vi unit."""
    with machine("amd-iommu,pt=off,intremap=off") as guest:
        assert isinstance(guest, AmdMachine)
        tables = AmdTables(ImageMemory(guest.memory), Frames([TABLES]), size=2)
        domain = tables.new_domain(1)
        domain.map(0x5000, PLACE, 0x1000)
        tables.attach([EDU], domain)
        guest.load(bytes(range(1, 251)) * 16)
        found = Amd(guest, tables, domain)
        assert found.lands(0x5000)
        yield found
        del tables, domain, found


def test_a_page_without_pr_passes(amd: Amd) -> None:
    where, word = amd.entry(1)
    amd.tables.memory.write64(where, word & ~1)
    assert (amd.passes(0x5000), amd.lands(0x5000)) == (False, True)


def test_reserved_bits_of_entries_are_not_checked(amd: Amd) -> None:
    where, word = amd.entry(1)
    amd.tables.memory.write64(where, word | 1 << 55)
    assert (amd.passes(0x5000), amd.lands(0x5000)) == (False, True)


def test_skipped_address_bits_are_not_checked(amd: Amd) -> None:
    top, _ = amd.entry(4)
    _, last = amd.entry(2)
    amd.tables.memory.write64(top, last)
    assert (amd.passes(0x5000), amd.lands(0x5000)) == (True, True)
    skipped = 0x5000 | 1 << 30
    assert (amd.passes(skipped), amd.lands(skipped)) == (False, True)


@pytest.mark.parametrize(("index", "bit"), [(0, 52), (1, 8), (3, 5)])
def test_device_table_bits_that_qemu_alone_wants_zero(amd: Amd, index: int, bit: int) -> None:
    where = amd.tables.table + EDU.source_id * 32 + 8 * index
    amd.tables.memory.write64(where, (amd.tables.memory.read64(where) or 0) | 1 << bit)
    assert (amd.passes(0x5000), amd.lands(0x5000)) == (True, False)

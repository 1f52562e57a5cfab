"""Random layouts, random corruption aimed at what a request reads, and QEMU asked about each request.

The test keeps an image of its own beside QEMU's memory. The model walks the image, QEMU walks its memory,
and at the end of each batch both must be equal byte by byte: the data that was written, the accessed and
dirty bits that were set, and nothing else.
"""

import mmap
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.oracle.deviations import (
    AMD_RESERVED_IN_QEMU,
    AMD_UNCHECKED,
    CODES_INSTEAD,
    PASID_STRUCTURES,
    VTD_UNCHECKED,
)
from tests.oracle.dma import EDU, MEMORY_SIZE, AmdMachine, FaultRecord, Machine, VtdMachine
from vfiokit.address import AddressRange
from vfiokit.bits import Field, mask
from vfiokit.translation.amdvi import DEVICE_TABLE_ENTRY
from vfiokit.translation.attach import AmdTables, VtdTables
from vfiokit.translation.build import Domain
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.faults import VTD_LEGACY, VTD_SCALABLE, Reason
from vfiokit.translation.frames import Frames
from vfiokit.translation.iommu import AmdIommu, Iommu
from vfiokit.translation.memory import ImageMemory
from vfiokit.translation.requests import Access, Fault, Outcome, Request, Translation
from vfiokit.translation.vtd_rows import PASID_ENTRY, SCALABLE_CONTEXT_ENTRY, PagingMode, TranslationType

__all__ = ["Fuzz", "Layout", "amd_layout", "legacy_layout", "scalable_layout"]

TABLES = AddressRange(0x100000, 0x900000)
PAGES = AddressRange(0x1000000, 0x3E00000)
UNREADABLE = AddressRange(0xA0000, 0x100000)
"""Video memory and firmware: QEMU sees other bytes there than the file has."""
DEVICES = AddressRange(0x80000000, 1 << 32)
TAGS = 256
FIRST_STAGE_DIRTY = 1 << 6


@dataclass(slots=True)
class Layout:
    """Tables in an image, and what asks.

    :ivar unit: the model's unit.
    :ivar addresses: what is mapped, one address in each page.
    """

    unit: Iommu | AmdIommu
    addresses: list[int]
    source_id: int = EDU.source_id


@dataclass(slots=True)
class Fuzz:
    """One session with a machine.

    :ivar seen: how often each outcome was compared.
    :ivar deviations: how often each row of the list explained a difference.
    :ivar disagreements: what nothing explains, in words.
    """

    machine: Machine
    random: random.Random
    image: bytearray = field(default_factory=lambda: bytearray(MEMORY_SIZE))
    seen: Counter[str] = field(default_factory=Counter)
    deviations: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)
    tags: int = 0x7A60_0000_0000_0000

    @property
    def compared(self) -> int:
        """Requests compared so far."""
        return self.seen.total()

    def run(self, layout: Layout, cases: int) -> None:
        """Compare *cases* requests on one layout."""
        if isinstance(self.machine, AmdMachine):
            commands = AmdMachine.INVALIDATE_ALL
            self.image[AmdMachine.COMMANDS : AmdMachine.COMMANDS + len(commands)] = commands
        # A read that is blocked gives zeros, so no page may be zero.
        self.image[PAGES.start : PAGES.end] = self.random.randbytes(0x1000) * (PAGES.size >> 12)
        self.machine.memory[:] = self.image
        for start in range(0, cases, TAGS):
            self._batch(layout, min(TAGS, cases - start))

    def _batch(self, layout: Layout, count: int) -> None:
        """Compare as many requests as the device's buffer has room for tags."""
        tags = [self._tag() for _ in range(2 * TAGS)]
        self.machine.load(b"".join(tag.to_bytes(8, "little") for tag in tags))
        expected = {}
        for slot in range(count):
            address, access = self._aim(layout)
            undo = self._corrupt(layout, address, access) if self.random.random() < 0.75 else []
            outcome = layout.unit.translate(Request(layout.source_id, address, access))
            read = self._one(layout, outcome, slot, tags)
            if read is not None:
                expected[slot] = read
            for where, word in reversed(undo):
                self._store(where, word)
        self._finish(expected, tags)

    def _finish(self, expected: dict[int, int], tags: list[int]) -> None:
        buffer = self.machine.dump()
        for slot, word in expected.items():
            got = int.from_bytes(buffer[8 * slot : 8 * slot + 8], "little")
            if got != word:
                self.disagreements.append(f"slot {slot}: read {got:#x}, the model {word:#x}")
        if self.image != self.machine.memory:
            where = _first_difference(self.image, self.machine.memory)
            here, there = (
                bytes(each[where : where + 8])[::-1].hex() for each in (self.image, self.machine.memory)
            )
            self.disagreements.append(f"memory at {where:#x}: model {here}, QEMU {there}")
            self.machine.memory[:] = self.image

    def _one(self, layout: Layout, outcome: Outcome, slot: int, tags: list[int]) -> int | None:
        """Compare one request; return the word that the device must have read, if it was to read one."""
        request = outcome.request
        write = bool(request.access & Access.WRITE)
        if self._untouchable(outcome) or self._unchecked(layout, outcome):
            return None
        word, place = None, None
        if isinstance(outcome, Translation) and outcome.address + 8 <= MEMORY_SIZE:
            place = outcome.address
            if write:
                self.image[place : place + 8] = tags[slot + TAGS].to_bytes(8, "little")
            else:
                word = int.from_bytes(self.image[place : place + 8], "little")
        for update in outcome.updates:
            if update.bits == FIRST_STAGE_DIRTY and isinstance(layout.unit, Iommu):
                self.deviations["D is not set where A is"] += 1
                continue
            found = int.from_bytes(self.image[update.address : update.address + 8], "little")
            self.image[update.address : update.address + 8] = (found | update.bits).to_bytes(8, "little")
        record = self._ask(layout, request, 8 * (slot + TAGS if write else slot), write=write)
        self._compare(layout, outcome, record)
        return word

    def _ask(self, layout: Layout, request: Request, slot: int, *, write: bool) -> FaultRecord | None:
        if isinstance(self.machine, VtdMachine):
            assert isinstance(layout.unit, Iommu)
            rtaddr = layout.unit.unit.rtaddr
            return self.machine.request(rtaddr, request.address, slot, write=write)
        assert isinstance(self.machine, AmdMachine)
        assert isinstance(layout.unit, AmdIommu)
        commands = self.machine.enable(layout.unit.unit.device_table)
        self.machine.wait(
            self.machine.batch([*commands, *self.machine.dma(request.address, slot, 8, write=write)])[-1]
        )
        return None

    def _compare(self, layout: Layout, outcome: Outcome, record: FaultRecord | None) -> None:
        name = outcome.reason.name if isinstance(outcome, Fault) else "TRANSLATED"
        self.seen[name] += 1
        if isinstance(self.machine, AmdMachine):
            return
        wanted = self._allowed(layout, outcome)
        if record not in wanted:
            path = ", ".join(
                f"{read.structure} {' '.join(f'{word:x}' for word in read.words)}" for read in outcome.reads
            )
            asked = f"{outcome.request.access.letters} {outcome.request.address:#x}"
            self.disagreements.append(f"{name} {asked}: QEMU {record}, the model {wanted}; {path}")

    def _allowed(self, layout: Layout, outcome: Outcome) -> tuple[FaultRecord | None, ...]:
        """Return what QEMU may record: what the model says, or what a row of the list says instead."""
        if isinstance(outcome, Translation):
            return (None,)
        code, recorded, request = outcome.code, outcome.recorded, outcome.request
        codes = (code,)
        if outcome.reason is Reason.BEYOND_UNIT_WIDTH:
            self.deviations["no width check of what passes through"] += 1
            return (None,)
        if layout.unit.faults is not VTD_LEGACY:
            codes, recorded = self._scalable(outcome, codes, recorded)
        return tuple(
            FaultRecord(each, request.source_id, request.address & ~0xFFF, not request.access & Access.WRITE)
            if each is not None and recorded
            else None
            for each in codes
        )

    def _scalable(
        self, outcome: Fault, codes: tuple[int | None, ...], recorded: bool
    ) -> tuple[tuple[int | None, ...], bool]:
        if outcome.reason in CODES_INSTEAD or outcome.reason >= Reason.SECOND_RANGE:
            self.deviations[f"other code: {outcome.reason.name}"] += 1
            write = bool(outcome.request.access & Access.WRITE)
            instead = CODES_INSTEAD.get(outcome.reason) or VTD_LEGACY.code(outcome.reason, write=write)
            return (instead,), recorded
        if outcome.reason in PASID_STRUCTURES:
            # While it reads these, QEMU knows only the context entry's FPD.
            context = next(read for read in outcome.reads if read.structure == SCALABLE_CONTEXT_ENTRY.name)
            heeded = bool(context.decode()["FPD"]) and outcome.reason in VTD_SCALABLE.qualified
            if recorded is heeded:
                self.deviations["FPD of the PASID structures"] += 1
            recorded = not heeded
        if outcome.reason is Reason.PASID_NOT_PRESENT:
            self.deviations["PGTT before P"] += 1
            codes = (*codes, VTD_SCALABLE.codes[Reason.PASID_INVALID])
        return codes, recorded

    def _untouchable(self, outcome: Outcome) -> bool:
        """Whether a case reaches what is not memory in QEMU, or its devices' registers."""
        places = [read.address for read in outcome.reads]
        if isinstance(outcome, Translation):
            places.append(outcome.address)
        return any(place in UNREADABLE or place in DEVICES for place in places)

    def _unchecked(self, layout: Layout, outcome: Outcome) -> bool:
        """Whether QEMU does not make the check that blocks: what it does instead is nobody's rule."""
        unchecked = AMD_UNCHECKED if isinstance(layout.unit, AmdIommu) else VTD_UNCHECKED
        if isinstance(outcome, Fault) and outcome.reason in unchecked:
            self.deviations[f"no check: {outcome.reason.name}"] += 1
            return True
        entry = next((read for read in outcome.reads if read.structure == DEVICE_TABLE_ENTRY.name), None)
        if entry is not None and any(map(int.__and__, entry.words, AMD_RESERVED_IN_QEMU)):
            self.deviations["device table entry bits reserved in QEMU alone"] += 1
            return True
        if _is_absent_page(layout, outcome):
            self.deviations["a page without PR"] += 1
            return True
        entry = next((read for read in outcome.reads if read.structure == PASID_ENTRY.name), None)
        if entry is not None and entry.words:
            fields = entry.decode()
            if fields["PGTT"] == PagingMode.FIRST_STAGE and fields["AW"] != 2:
                self.deviations["canonical by the second stage's width"] += 1
                return True
        return False

    def _aim(self, layout: Layout) -> tuple[int, Access]:
        chance, address = self.random.random(), self.random.choice(layout.addresses)
        if chance < 0.1:
            address ^= 1 << self.random.randrange(12, 64)
        elif chance < 0.15:
            address = self.random.getrandbits(64)
        address = address & ~0xFFF | self.random.randrange(0, 0x1000, 8)
        return address, self.random.choice((Access.READ, Access.WRITE))

    def _corrupt(self, layout: Layout, address: int, access: Access) -> list[tuple[int, int]]:
        """Change one or two words that the request reads, and return what they were."""
        undo = []
        for _ in range(self.random.choice((1, 1, 1, 2))):
            outcome = layout.unit.translate(Request(layout.source_id, address, access))
            reads = [read for read in outcome.reads if read.words]
            if not reads:
                break
            # Half of the time one of the last four, which are paging entries where there are any.
            read = self.random.choice(reads[-4:] if self.random.random() < 0.5 else reads)
            index = self.random.choice((0, 0, *range(len(read.words))))
            where, word, fields = read.address + 8 * index, read.words[index], read.fields[index]
            undo.append((where, word))
            self._store(where, self._flip(word, fields, named=0.9 if "PASID" in read.structure else 0.45))
        return undo

    def _flip(self, word: int, fields: tuple[Field, ...], *, named: float) -> int:
        chance = self.random.random()
        if chance < named and fields:
            # A named field: what undirected noise misses.
            row = self.random.choice(fields)
            low, width = row.low, row.width
            if width <= 8:
                return word ^ self.random.randint(1, mask(width)) << low
            return word ^ 1 << low + self.random.randrange(width)
        if chance < 0.93:
            return word ^ 1 << self.random.randrange(64)
        return self.random.choice((0, self.random.getrandbits(64)))

    def _store(self, where: int, word: int) -> None:
        data = word.to_bytes(8, "little")
        self.image[where : where + 8] = data
        self.machine.memory[where : where + 8] = data

    def _tag(self) -> int:
        self.tags += 1
        return self.tags


def _first_difference(one: bytearray, other: mmap.mmap) -> int:
    """Return the address of the first word that differs."""
    step = 0x1000
    block = next(at for at in range(0, MEMORY_SIZE, step) if one[at : at + step] != other[at : at + step])
    return next(at for at in range(block, block + step, 8) if one[at : at + 8] != other[at : at + 8])


def _is_absent_page(layout: Layout, outcome: Outcome) -> bool:
    """Whether a page lacks PR and nothing else: QEMU's AMD-Vi looks at PR of pointers alone."""
    if not isinstance(layout.unit, AmdIommu) or not isinstance(outcome, Fault):
        return False
    last = outcome.reads[-1].words[0] if outcome.reads and outcome.reads[-1].words else 0
    return outcome.reason is Reason.SECOND_NOT_PRESENT and last != 0 and last >> 9 & 7 in (0, 7)


def _random_pages(chooser: random.Random, domain: Domain, count: int, sizes: list[int]) -> list[int]:
    """Map *count* pages at clustered addresses, and return an address in each."""
    found: list[int] = []
    width = domain.width - (1 if domain.format.canonical else 0)
    clusters = [chooser.randrange(1 << min(width, 48)) & ~mask(30) for _ in range(3)] + [0]
    while len(found) < count:
        size = chooser.choice(sizes)
        iova = (chooser.choice(clusters) + chooser.randrange(1 << 23)) & ~(size - 1)
        room = PAGES.size // size or 1
        address = (PAGES.start + chooser.randrange(room) * size) & ~(size - 1)
        access = chooser.choice((Access.READ, Access.WRITE, Access.READ | Access.WRITE))
        try:
            domain.map(iova, address, size, access, page_sizes=sorted({size, 0x1000}))
        except ValueError:
            continue
        found.append(iova + chooser.randrange(0, size, 8))
    return found


def legacy_layout(image: bytearray, chooser: random.Random, capabilities: VtdCapabilities) -> Layout:
    """Draw a legacy layout: any depth that the unit has, any translation type, neighbours on the bus."""
    image[:] = bytes(len(image))
    tables = VtdTables(ImageMemory(image), Frames([TABLES]), capabilities, scalable=False)
    levels = chooser.choice(capabilities.page_table_levels)
    domain = tables.new_domain(chooser.randrange(1, 0x10000), levels=levels)
    addresses = _random_pages(chooser, domain, 12, [0x1000, 0x1000, 0x200000, 0x40000000])
    tables.attach([EDU, EDU.source_id ^ 8, 0x0100], domain)
    if chooser.random() < 0.06:
        tables.write_context(
            EDU,
            TT=TranslationType.PASS_THROUGH,
            AW=levels - 2,
            FPD=chooser.randrange(2),
        )
    return Layout(tables.iommu(), addresses)


def scalable_layout(image: bytearray, chooser: random.Random, capabilities: VtdCapabilities) -> Layout:
    """Draw a scalable-mode layout with the stage that the unit offers."""
    image[:] = bytes(len(image))
    tables = VtdTables(ImageMemory(image), Frames([TABLES]), capabilities, scalable=True)
    first = capabilities.first_stage
    domain = tables.new_domain(chooser.randrange(1, 0x10000), first=first)
    sizes = [0x1000, 0x1000, 0x200000] + ([] if first and not capabilities.fields["FS1GP"] else [0x40000000])
    addresses = _random_pages(chooser, domain, 12, sizes)
    pasid = chooser.choice((0, chooser.randrange(1, 256)))
    tables.attach([EDU, EDU.source_id ^ 8], domain, pasid=pasid)
    context = tables.context_address(EDU)
    assert context is not None
    # RID_PASID, in the second word.
    tables.memory.write64(context + 8, pasid)
    if chooser.random() < 0.06:
        tables.write_pasid(EDU, pasid, PGTT=PagingMode.PASS_THROUGH, AW=2)
    return Layout(tables.iommu(), addresses)


def amd_layout(image: bytearray, chooser: random.Random) -> Layout:
    """Draw an AMD-Vi layout: three to five levels, natural and encoded page sizes."""
    image[:] = bytes(len(image))
    tables = AmdTables(ImageMemory(image), Frames([TABLES]), size=2)
    sizes = [0x1000, 0x4000, 0x10000, 0x200000, 0x400000, 0x40000000]
    domain = tables.new_domain(
        chooser.randrange(0x10000) & ~0x100, levels=chooser.choice((3, 4, 5)), page_sizes=sizes
    )
    addresses = _random_pages(chooser, domain, 12, sizes)
    tables.attach([EDU], domain, access=chooser.choice((Access.READ, Access.WRITE, Access(3), Access(3))))
    return Layout(tables.iommu(), addresses)


def layouts(fuzz: Fuzz, kind: str, capabilities: VtdCapabilities | None) -> Iterator[Layout]:
    """Yield layouts of one kind without end."""
    while True:
        if kind == "amd":
            yield amd_layout(fuzz.image, fuzz.random)
            continue
        assert capabilities is not None
        draw = legacy_layout if kind == "legacy" else scalable_layout
        yield draw(fuzz.image, fuzz.random, capabilities)

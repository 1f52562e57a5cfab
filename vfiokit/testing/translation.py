"""Hypothesis strategies for remapping: groups and domains, raw bytes, and one named thing flipped.

Undirected noise misses half of the mistakes that a walker can have: most flips land in address bits. So
:func:`corruptions` flips one field or one reserved bit, by name, of an entry that a request really reads.
"""

from dataclasses import dataclass, field

from hypothesis import strategies as st

from vfiokit.address import AddressRange
from vfiokit.bits import mask
from vfiokit.translation.attach import AmdTables, VtdTables
from vfiokit.translation.build import Domain
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.frames import Frames
from vfiokit.translation.iommu import AmdIommu, Iommu
from vfiokit.translation.memory import ImageMemory
from vfiokit.translation.requests import Access, Outcome, Request

__all__ = [
    "KINDS",
    "Corruption",
    "DrawnLayout",
    "DrawnMapping",
    "accesses",
    "corruptions",
    "drawn_mappings",
    "layouts",
    "requests",
    "soups",
    "units",
]

CAP_5_LEVELS = 0x11D2008C22380E06
"""39, 48 and 57 bits, 2 MiB and 1 GiB pages in both stages, 5-level first stage."""
ECAP_LEGACY = 0x0000000000F00F4A
ECAP_SCALABLE = 0x0002_C904_C4F0_0F4A
"""Both stages, nesting, PASIDs of 20 bits, RID_PASID, execute and supervisor requests."""

KINDS = ("legacy", "second", "first", "nested", "amd")
TABLES = AddressRange(0x10000, 0x100000)
MEMORY_SIZE = 0x100000
PAGE = 0x1000
SIZES = {"amd": (PAGE, 0x4000, 0x200000, 0x800000, 0x40000000)}
DEFAULT_SIZES = (PAGE, 0x200000, 0x40000000)
POINTED_TO, MOST_MAPPED = 1 << 38, 3 * 0x40000000
"""Above all addresses that mappings point to, and the bytes of the largest: three pages of the largest."""


@dataclass(frozen=True, slots=True)
class DrawnMapping:
    """A mapping that was drawn: what the domain was told."""

    iova: int
    address: int
    size: int
    access: Access

    def offset_classes(self) -> tuple[int, ...]:
        """Return the offsets of the first, a middle and the last word."""
        return 0, self.size // 2 & ~7, self.size - 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLayout:
    """Tables in memory, and what they were built from.

    :ivar kind: one of :data:`KINDS`.
    :ivar image: the memory.
    :ivar unit: the unit that walks it.
    :ivar groups: the source-ids of each group; each group has the domain of the same place.
    :ivar domains: the domains, and *mapped* what each was told to map.
    """

    kind: str
    image: bytearray = field(repr=False)
    unit: Iommu | AmdIommu = field(repr=False)
    groups: tuple[tuple[int, ...], ...]
    domains: tuple[Domain, ...]
    mapped: tuple[tuple[DrawnMapping, ...], ...]
    tables: VtdTables | AmdTables = field(repr=False)

    @property
    def memory(self) -> ImageMemory:
        """The memory, as the unit has it."""
        memory = self.unit.memory
        assert isinstance(memory, ImageMemory)
        return memory

    def ask(self, group: int, address: int, access: Access = Access.READ) -> Outcome:
        """Translate a request of the first member of a group."""
        return self.unit.translate(Request(self.groups[group][0], address, access))

    def descriptor(self, group: int) -> Descriptor:
        """Return how requests of a group are translated."""
        found = self.unit.describe(Request(self.groups[group][0], 0))
        assert isinstance(found, Descriptor)
        return found


@dataclass(frozen=True, slots=True)
class Corruption:
    """One word changed.

    :ivar what: the entry and the field or bit, in words.
    """

    address: int
    before: int
    after: int
    what: str

    def apply(self, memory: ImageMemory) -> None:
        """Change the word."""
        memory.write64(self.address, self.after)

    def undo(self, memory: ImageMemory) -> None:
        """Change it back."""
        memory.write64(self.address, self.before)


def accesses() -> st.SearchStrategy[Access]:
    """Draw what a request may want: reading, writing, both at once, executing."""
    return st.sampled_from((Access.READ, Access.WRITE, Access.READ | Access.WRITE, Access.EXECUTE))


def units() -> st.SearchStrategy[VtdCapabilities]:
    """Draw capabilities of VT-d units: any registers at all."""
    word = st.integers(0, mask(64))
    known = st.sampled_from((0x00D2008C222F0606, 0x00D2008C22260206, CAP_5_LEVELS))
    return st.builds(
        VtdCapabilities, cap=known | word, ecap=st.sampled_from((ECAP_LEGACY, ECAP_SCALABLE)) | word
    )


@st.composite
def drawn_mappings(
    draw: st.DrawFn, sizes: tuple[int, ...] = DEFAULT_SIZES, *, width: int = 39, most: int = 6
) -> tuple[DrawnMapping, ...]:
    """Draw mappings that do not overlap, in clusters so that they share tables."""
    found: list[DrawnMapping] = []
    spots = st.integers(0, 8) | st.integers(508, 520) | st.integers(0, (1 << width - 12) - 1)
    for _ in range(draw(st.integers(0, most))):
        page = draw(st.sampled_from(sizes))
        size = page * draw(st.integers(1, 3 if page > PAGE else 9))
        iova = draw(spots) * PAGE & ~(page - 1)
        address = draw(st.integers(0, POINTED_TO // PAGE - 1)) * PAGE & ~(page - 1)
        access = draw(st.sampled_from((Access.READ, Access.WRITE, Access.READ | Access.WRITE)))
        clash = any(iova < each.iova + each.size and each.iova < iova + size for each in found)
        if not clash and iova + size <= 1 << width:
            found.append(DrawnMapping(iova, address, size, access))
    return tuple(sorted(found, key=lambda each: each.iova))


@st.composite
def layouts(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, *, groups: int = 2) -> DrawnLayout:
    """Draw groups with a domain each, of one kind of tables."""
    kind = draw(st.sampled_from(kinds))
    image = bytearray(MEMORY_SIZE)
    memory = ImageMemory(image)
    tables = _tables(kind, memory)
    members = draw(st.lists(st.integers(0, 0xFFF), min_size=groups, max_size=3 * groups, unique=True))
    parts = tuple(tuple(members[index::groups]) for index in range(groups))
    domains: list[Domain] = []
    mapped: list[tuple[DrawnMapping, ...]] = []
    for index, group in enumerate(parts):
        domain = _domain(draw, kind, tables, index + 1)
        width = min(39, domain.width - (1 if domain.format.canonical else 0))
        wanted = draw(drawn_mappings(SIZES.get(kind, DEFAULT_SIZES), width=width))
        for each in wanted:
            access = each.access | Access.READ if domain.format.canonical else each.access
            domain.map(each.iova, each.address, each.size, access)
        _attach(kind, tables, group, domain)
        domains.append(domain)
        mapped.append(wanted)
    return DrawnLayout(
        kind=kind,
        image=image,
        unit=tables.iommu(),
        groups=parts,
        domains=tuple(domains),
        mapped=tuple(mapped),
        tables=tables,
    )


def requests(layout: DrawnLayout) -> st.SearchStrategy[Request]:
    """Draw requests near what is mapped, and anywhere."""
    members = [member for group in layout.groups for member in group]
    near = [
        each.iova + offset
        for mapped in layout.mapped
        for each in mapped
        for offset in (*each.offset_classes(), each.size, -8)
    ]
    inside = st.sampled_from(near) if near else st.nothing()
    address = inside | st.integers(0, (1 << 40) - 1) | st.integers(0, mask(64))
    return st.builds(
        Request,
        source_id=st.sampled_from(members) | st.integers(0, 0xFFFF),
        address=address.map(lambda each: each & mask(64)),
        access=accesses(),
    )


@st.composite
def corruptions(draw: st.DrawFn, layout: DrawnLayout, request: Request) -> Corruption | None:
    """Draw one named field changed, or one bit flipped, in an entry that *request* reads."""
    reads = [read for read in layout.unit.translate(request).reads if read.words]
    if not reads:
        return None
    read = draw(st.sampled_from(reads))
    index = draw(st.integers(0, len(read.words) - 1))
    word, fields = read.words[index], read.fields[index]
    place = f"{read.structure} at {read.address:#x}, word {index}"
    by_name: bool = draw(st.booleans())
    if fields and by_name:
        row = draw(st.sampled_from(fields))
        content = draw(st.integers(0, mask(row.width)))
        return Corruption(read.address + 8 * index, word, row.put(word, content), f"{place}: {row.name}")
    bit = draw(st.integers(0, 63))
    return Corruption(read.address + 8 * index, word, word ^ 1 << bit, f"{place}: bit {bit}")


@st.composite
def soups(draw: st.DrawFn) -> tuple[ImageMemory, int]:
    """Draw a small memory of raw bytes in which every pointer tends to point back into it, and a root."""
    frames = draw(st.integers(1, 4))
    length = frames * PAGE - draw(st.sampled_from((0, 0, 1, 8, 0x7FC)))
    pattern = draw(st.lists(st.integers(0, mask(64)), min_size=1, max_size=24))
    inside = draw(st.booleans())
    words = [word & ~(mask(40) << 12) | (word >> 12) % frames << 12 if inside else word for word in pattern]
    data = b"".join(word.to_bytes(8, "little") for word in words)
    image = (data * (length // len(data) + 1))[:length]
    start = draw(st.sampled_from((0, 0, PAGE, 8)))
    return ImageMemory(image, start), draw(st.integers(0, frames)) * PAGE


def _tables(kind: str, memory: ImageMemory) -> VtdTables | AmdTables:
    frames = Frames([TABLES])
    if kind == "amd":
        return AmdTables(memory, frames, size=32)
    ecap = ECAP_LEGACY if kind == "legacy" else ECAP_SCALABLE
    return VtdTables(
        memory,
        frames,
        VtdCapabilities(cap=CAP_5_LEVELS, ecap=ecap),
        scalable=kind != "legacy",
        host_address_width=46,
    )


def _domain(draw: st.DrawFn, kind: str, tables: VtdTables | AmdTables, number: int) -> Domain:
    if isinstance(tables, AmdTables):
        return tables.new_domain(number, levels=draw(st.integers(3, 6)), page_sizes=SIZES["amd"])
    if kind in ("first", "nested"):
        return tables.new_domain(number, first=True, levels=draw(st.sampled_from((4, 5))))
    return tables.new_domain(number, levels=draw(st.sampled_from((3, 4, 5))))


def _attach(kind: str, tables: VtdTables | AmdTables, group: tuple[int, ...], domain: Domain) -> None:
    if kind != "nested":
        tables.attach(group, domain)
        return
    assert isinstance(tables, VtdTables)
    # Identity for the whole memory and for all that mappings point to: what a guest's IOMMU stands on.
    second = tables.new_domain(domain.domain_id, levels=4)
    second.map(0, 0, POINTED_TO + MOST_MAPPED)
    tables.attach_nested(group, domain, second)

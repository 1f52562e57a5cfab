"""Many addresses at once: arrays in, columns out, through the walker in C where it is built.

One call for each address costs as much as the walk itself; a batch costs the walks alone, with many of them
under way at a time, so that their cache misses overlap. All checks are made, and the interpreter's lock is
released. Without the extension the Python walker gives the same columns.

>>> from array import array
>>> from vfiokit.translation.iommu import Iommu
>>> from vfiokit.translation.memory import ImageMemory
>>> unit = Iommu(ImageMemory(bytes(4096)), rtaddr=0, cap=0x00d2008c222f0606, ecap=0x0000000000f00f4a)
>>> found = translate_many(unit, 0x28, array("Q", [0x1000, 0x2000]))
>>> [Reason(reason).name for reason in found.reasons]
['ROOT_NOT_PRESENT', 'ROOT_NOT_PRESENT']
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vfiokit.errors import UsageError
from vfiokit.translation.audit import ENTRY_BUDGET, Dump, Mapping
from vfiokit.translation.audit import dump as dump_in_python
from vfiokit.translation.descriptor import Descriptor, Refusal
from vfiokit.translation.faults import Reason
from vfiokit.translation.formats import RadixFormat
from vfiokit.translation.iommu import AmdIommu, Iommu
from vfiokit.translation.memory import ImageMemory, Memory, SparseMemory
from vfiokit.translation.requests import INTERRUPT_RANGE, Access, Fault, Outcome, Request
from vfiokit.translation.walk import Stage

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Columns", "Walker", "dump", "have_native", "translate_many"]

_FIRST_ROOM = 4096


@dataclass(frozen=True, slots=True)
class Columns:
    """The outcome of each address, in their order; every column has the buffer protocol.

    :ivar addresses: host physical, 64 bits; 0 for a fault.
    :ivar reasons: a :class:`~vfiokit.translation.faults.Reason` each, 0 where it goes through.
    :ivar permissions: what the path allows, as :class:`~vfiokit.translation.requests.Access`.
    :ivar shifts: page sizes as powers of two; 0 for a fault.
    :ivar levels: of the entry that ended the walk.
    """

    addresses: "array[int]"
    reasons: bytearray
    permissions: bytearray
    shifts: bytearray
    levels: bytearray

    @classmethod
    def of_length(cls, count: int) -> "Columns":
        """Make columns for *count* outcomes; :func:`translate_many` can fill the same again and again."""
        return cls(array("Q", bytes(8 * count)), *(bytearray(count) for _ in range(4)))

    def __len__(self) -> int:
        return len(self.addresses)

    def put(self, index: int, outcome: Outcome) -> None:
        """Store an outcome of the Python walker."""
        self.levels[index] = outcome.level
        if isinstance(outcome, Fault):
            self.addresses[index] = self.permissions[index] = self.shifts[index] = 0
            self.reasons[index] = outcome.reason
            return
        self.addresses[index], self.reasons[index] = outcome.address, 0
        self.permissions[index] = outcome.permissions
        self.shifts[index] = outcome.page_size.bit_length() - 1


def have_native() -> bool:
    """Whether the extension is built."""
    from vfiokit import _native

    return _native.available()


def translate_many(
    unit: Iommu | AmdIommu,
    source_id: int | Sequence[int],
    addresses: "Buffer",
    access: Access | Sequence[int] = Access.READ,
    *,
    pasid: int | None = None,
    privileged: bool = False,
    out: Columns | None = None,
    native: bool | None = None,
) -> Columns:
    """Translate many addresses.

    :param source_id: of all requests, or of each; runs of equal ones are looked up once.
    :param addresses: any buffer of 64-bit integers: an array, a memoryview, numpy, or bytes of them.
    :param access: of all requests, or of each. Whether they execute must be the same for all of a run.
    :param out: columns to fill, of the same length; new ones if not given.
    :param native: whether to use the extension; if it is there, if not given.
    :raises UsageError: if lengths differ, or *addresses* is no such buffer.
    :raises NotSupported: if the extension is asked for and not built.
    """
    wanted = _words(addresses)
    columns = Columns.of_length(len(wanted)) if out is None else out
    accesses = None if isinstance(access, int) else bytes(access)
    sources = [source_id] if isinstance(source_id, int) else list(source_id)
    lengths = {len(columns), len(wanted)} | ({len(accesses)} if accesses is not None else set())
    if len(lengths) > 1 or len(sources) not in (1, len(wanted)):
        raise UsageError("columns of different lengths", operation="translate")
    use = have_native() if native is None else native
    memory = _image(unit.memory) if use else None
    for start, end, source in _runs(sources, len(wanted)):
        part = _Part(
            wanted, accesses, Access(access) if isinstance(access, int) else None, columns, start, end
        )
        for first, last, request in part.requests(source, pasid, privileged):
            found = unit.describe(request)
            if isinstance(found, Refusal):
                part.refuse(first, last, found, pasid)
            elif memory is not None:
                part.walk(first, last, Walker(memory, found, interrupts=pasid is None), request)
            else:
                part.walk_in_python(first, last, unit, request)
    return columns


def dump(memory: Memory, descriptor: Descriptor, *, budget: int = ENTRY_BUDGET) -> Dump:
    """Collect what a requester's tables map, as :func:`vfiokit.translation.audit.dump` does, at speed."""
    one_stage = (descriptor.first is None) != (descriptor.second is None)
    image = _image(memory)
    if not one_stage or image is None or not have_native():
        return dump_in_python(memory, descriptor, budget=budget)
    return Walker(image, descriptor).dump(budget)


class Walker:
    """The walker in C over one descriptor.

    :param memory: an image; it must stay as it is mapped while the walker lives.
    :param interrupts: whether the interrupt range is taken out of the addresses: for requests without PASID.
    """

    def __init__(self, memory: ImageMemory, descriptor: Descriptor, *, interrupts: bool = True) -> None:
        from vfiokit._native import ffi, lib

        self._ffi, self._lib = ffi, lib
        whole = [segment for segment in memory.segments if segment.span.size]
        self._kept = [ffi.from_buffer("uint8_t[]", segment.data) for segment in whole]
        self._segments = ffi.new("struct vfiokit_segment[]", max(1, len(whole)))
        for each, segment, data in zip(self._segments, whole, self._kept, strict=False):
            each.start, each.size, each.data = segment.start, segment.span.size, data
        self._walker = walker = ffi.new("struct vfiokit_walker *")
        walker.segments, walker.number_of_segments = self._segments, len(whole)
        for name in ("first", "second"):
            stage = getattr(descriptor, name)
            if stage is not None:
                _fill_stage(getattr(walker, name), stage)
        walker.width, walker.permissions = descriptor.width, descriptor.permissions
        walker.privileged, walker.interrupts = descriptor.privileged, descriptor.interrupts
        walker.interrupt_requests = interrupts

    @property
    def parameters(self) -> memoryview:
        """The walker's structure as C has it: what a harness outside of Python is given."""
        return memoryview(self._ffi.buffer(self._walker))

    def walk(
        self,
        addresses: memoryview,
        accesses: bytes | None,
        access: int,
        columns: Columns,
        start: int,
        *,
        interleaved: bool = True,
    ) -> None:
        """Walk *addresses* and store the outcomes in *columns* from *start* on."""
        ffi = self._ffi
        function = self._lib.vfiokit_walk_many if interleaved else self._lib.vfiokit_walk_plain
        count = len(addresses)
        if not count:
            return
        tables = (columns.reasons, columns.permissions, columns.shifts, columns.levels)
        function(
            self._walker,
            ffi.from_buffer("uint64_t[]", addresses),
            ffi.NULL if accesses is None else ffi.from_buffer("uint8_t[]", accesses),
            access,
            count,
            ffi.from_buffer("uint64_t[]", memoryview(columns.addresses)[start : start + count]),
            *(ffi.from_buffer("uint8_t[]", memoryview(each)[start : start + count]) for each in tables),
        )

    def trace(self, address: int, access: Access, *, room: int = 64) -> tuple[Any, list[int]]:
        """Walk once and return the result as C has it, and the addresses of the entries read."""
        ffi = self._ffi
        result, reads = ffi.new("struct vfiokit_result *"), ffi.new("uint64_t[]", room)
        count = self._lib.vfiokit_walk_trace(self._walker, address, access, result, reads, room)
        return result, list(reads[0 : min(count, room)])

    def dump(self, budget: int) -> Dump:
        """Collect everything that is mapped."""
        ffi, room = self._ffi, _FIRST_ROOM
        while True:
            runs = ffi.new("struct vfiokit_mapping[]", room)
            left, stopped = ffi.new("int64_t *", budget), ffi.new("uint64_t *")
            count = self._lib.vfiokit_dump(self._walker, runs, room, left, stopped)
            if count <= room:
                break
            room = count
        words = memoryview(ffi.buffer(runs)).cast("B").cast("Q")[: 4 * count]
        rows = zip(words[0::4], words[1::4], words[2::4], words[3::4], strict=True)
        found = tuple(Mapping(iova, address, size, Access(access)) for iova, address, size, access in rows)
        return Dump(found, stopped[0] if left[0] < 0 else None)


@dataclass(frozen=True, slots=True)
class _Part:
    """A run of requests of one source-id."""

    addresses: memoryview
    accesses: bytes | None
    access: Access | None
    columns: Columns
    start: int
    end: int

    def requests(
        self, source_id: int, pasid: int | None, privileged: bool
    ) -> Iterator[tuple[int, int, Request]]:
        """Yield runs that share a descriptor: of the access, only execution matters to it."""
        if self.accesses is None:
            assert self.access is not None
            yield self.start, self.end, Request(source_id, 0, self.access, pasid, privileged)
            return
        executes = [byte & Access.EXECUTE for byte in self.accesses[self.start : self.end]]
        for first, last, execute in _runs(executes, len(executes)):
            access = Access(execute) or Access.READ
            yield self.start + first, self.start + last, Request(source_id, 0, access, pasid, privileged)

    def refuse(self, start: int, end: int, refusal: Refusal, pasid: int | None) -> None:
        """Store the same refusal for all, but for what is an interrupt."""
        columns = self.columns
        for index in range(start, end):
            interrupt = pasid is None and self.addresses[index] in INTERRUPT_RANGE
            columns.reasons[index] = Reason.INTERRUPT_REQUEST if interrupt else refusal.reason
            columns.addresses[index] = columns.permissions[index] = 0
            columns.shifts[index] = columns.levels[index] = 0

    def walk(self, start: int, end: int, walker: Walker, request: Request) -> None:
        """Walk in C."""
        accesses = None if self.accesses is None else self.accesses[start:end]
        walker.walk(self.addresses[start:end], accesses, request.access, self.columns, start)

    def walk_in_python(self, start: int, end: int, unit: Iommu | AmdIommu, request: Request) -> None:
        """Walk in Python."""
        for index in range(start, end):
            access = request.access if self.accesses is None else Access(self.accesses[index])
            asked = Request(
                request.source_id, self.addresses[index], access, request.pasid, request.privileged
            )
            self.columns.put(index, unit.translate(asked))


def _fill_stage(target: Any, stage: Stage) -> None:
    format: RadixFormat = stage.format
    for name in ("present", "read", "write", "execute", "no_execute", "user", "accessed", "dirty"):
        setattr(target, name, getattr(format, name))
    target.reserved_table, target.reserved_leaf = list(format.reserved_table), list(format.reserved_leaf)
    target.leaf_levels, target.rule, target.reasons = format.leaf_levels, format.rule, format.reasons
    target.canonical, target.write_protected = format.canonical, stage.write_protected
    target.root, target.granted = stage.root, stage.granted
    target.levels, target.width = stage.levels, stage.width


def _image(memory: Memory) -> ImageMemory | None:
    if isinstance(memory, SparseMemory):
        return memory.to_image()
    return memory if isinstance(memory, ImageMemory) else None


def _words(buffer: "Buffer") -> memoryview:
    view = memoryview(buffer)
    if view.ndim == 1 and view.itemsize == 8 and view.format in ("Q", "L", "<Q", "@Q", "=Q", "q", "l"):
        return view.cast("B").cast("Q")
    if view.ndim == 1 and view.itemsize == 1 and view.nbytes % 8 == 0:
        return view.cast("B").cast("Q")
    raise UsageError("not a buffer of 64-bit integers", operation="translate", subject=str(view.format))


def _runs(values: Sequence[int], count: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and value of runs of equal values; one value stands for all."""
    if len(values) == 1:
        yield 0, count, values[0]
        return
    start = 0
    for index in range(1, count + 1):
        if index == count or values[index] != values[start]:
            yield start, index, values[start]
            start = index

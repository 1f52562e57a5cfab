"""Physical memory as the walkers see it: aligned 64-bit reads that are inside an image or are ``None``.

An image may be truncated, have holes, start anywhere and change while it is read. None of that is an error
here: a word that is not wholly in it has no value, and the walk that needed it ends in a fault.

>>> ImageMemory(bytes.fromhex("0310000000000000")).read64(0)
4099
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vfiokit.address import AddressRange
from vfiokit.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "FRAME_SIZE",
    "ImageMemory",
    "Memory",
    "RecordingMemory",
    "Segment",
    "SparseMemory",
    "WritableMemory",
    "read_bytes",
]

FRAME_SIZE = 0x1000
"""Bytes of a table, and of the smallest page."""

_ZEROS = memoryview(bytes(FRAME_SIZE)).cast("Q")


class Memory(Protocol):
    """What can be walked."""

    def read64(self, address: int) -> int | None:
        """Return the little-endian 64-bit word at *address*, a multiple of 8; ``None`` outside."""
        ...


class WritableMemory(Memory, Protocol):
    """What tables can be built in."""

    def write64(self, address: int, value: int) -> None:
        """Store a 64-bit word at *address*, a multiple of 8.

        :raises UsageError: if there is no memory.
        """
        ...

    def clear_frame(self, address: int) -> None:
        """Fill the frame at *address*, a multiple of 4096, with zeros.

        :raises UsageError: if there is no memory.
        """
        ...


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of physical memory.

    :ivar start: the physical address of its first byte, a multiple of 8.
    :ivar data: its bytes; a writable buffer where tables are to be built.
    """

    start: int
    data: memoryview

    @property
    def span(self) -> AddressRange:
        """The addresses of its whole words: what is left over at the end cannot be read as one."""
        return AddressRange(self.start, self.start + len(self.data) // 8 * 8)


class ImageMemory:
    """Memory in one buffer or several: a raw image, a mapped file, the RAM of a virtual machine.

    :param data: the bytes from *start* on, any contiguous buffer; it is not copied.
    :param start: the physical address of the first byte, a multiple of 8.
    """

    def __init__(self, data: "Buffer" = b"", start: int = 0) -> None:
        self._add((Segment(start, _bytes_view(data)),) if len(memoryview(data)) else ())

    @classmethod
    def of_segments(cls, segments: Iterable[tuple[int, "Buffer"]]) -> "ImageMemory":
        """Build a memory of several runs, each its start and its bytes.

        :raises UsageError: if two runs overlap or a start is not a multiple of 8.
        """
        memory = cls()
        memory._add(tuple(Segment(start, _bytes_view(data)) for start, data in segments))
        return memory

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The runs in order of address."""
        return self._segments

    def read64(self, address: int) -> int | None:
        """Return the word at *address*, or ``None`` if any of it lies outside."""
        for start, end, words in self._words:
            if start <= address < end:
                return words[address - start >> 3]
        return None

    def write64(self, address: int, value: int) -> None:
        """Store a word.

        :raises UsageError: if there is no memory, or none that can be written.
        """
        for start, end, words in self._words:
            if start <= address < end and not words.readonly:
                words[address - start >> 3] = value
                return
        raise UsageError("no memory that can be written", operation="write", subject=hex(address))

    def clear_frame(self, address: int) -> None:
        """Fill a frame with zeros.

        :raises UsageError: if not all of it is memory that can be written.
        """
        for start, end, words in self._words:
            if start <= address and address + FRAME_SIZE <= end and not words.readonly:
                words[address - start >> 3 : address - start + FRAME_SIZE >> 3] = _ZEROS
                return
        raise UsageError("no memory that can be written", operation="write", subject=hex(address))

    def _add(self, segments: tuple[Segment, ...]) -> None:
        self._segments = tuple(sorted(segments, key=lambda segment: segment.start))
        for segment in self._segments:
            if segment.start < 0 or segment.start % 8:
                raise UsageError("memory must start at a multiple of 8", subject=hex(segment.start))
        for below, above in zip(self._segments, self._segments[1:], strict=False):
            if below.start + len(below.data) > above.start:
                raise UsageError("runs of memory overlap", subject=hex(above.start))
        self._words = tuple(
            (
                segment.span.start,
                segment.span.end,
                segment.data[: len(segment.data) // 8 * 8].cast("Q"),
            )
            for segment in self._segments
        )


class SparseMemory:
    """Memory that exists where it was written, frame by frame: for tables built from nothing."""

    def __init__(self) -> None:
        self._frames: dict[int, memoryview] = {}

    def __iter__(self) -> Iterator[int]:
        """Yield the addresses of the frames there are, in order."""
        return iter(sorted(frame * FRAME_SIZE for frame in self._frames))

    def read64(self, address: int) -> int | None:
        """Return the word at *address*, or ``None`` if its frame was never written."""
        frame = self._frames.get(address >> 12)
        return None if frame is None else frame[(address & 0xFFF) >> 3]

    def write64(self, address: int, value: int) -> None:
        """Store a word; its frame comes to be, filled with zeros."""
        frame = self._frames.get(address >> 12)
        if frame is None:
            frame = self._frames[address >> 12] = memoryview(bytearray(FRAME_SIZE)).cast("Q")
        frame[(address & 0xFFF) >> 3] = value

    def clear_frame(self, address: int) -> None:
        """Fill a frame with zeros."""
        self.write64(address, 0)
        self._frames[address >> 12][:] = _ZEROS

    def to_image(self) -> ImageMemory:
        """Return the same bytes as an image; what is written to either is in both."""
        return ImageMemory.of_segments(
            (frame * FRAME_SIZE, data.cast("B")) for frame, data in self._frames.items()
        )


@dataclass(slots=True)
class RecordingMemory:
    """Memory that remembers what was read: for tests of what a walk touches.

    :ivar inner: the memory.
    :ivar addresses: every address read, in order.
    """

    inner: Memory
    addresses: list[int] = field(default_factory=list)

    def read64(self, address: int) -> int | None:
        """Read from the inner memory, and remember the address."""
        self.addresses.append(address)
        return self.inner.read64(address)


def read_bytes(memory: Memory, address: int, size: int) -> bytes | None:
    """Return *size* bytes at any *address*, or ``None`` if any of them lies outside."""
    first = address & ~7
    words = [memory.read64(place) for place in range(first, address + size, 8)]
    if None in words:
        return None
    data = b"".join(word.to_bytes(8, "little") for word in words if word is not None)
    return data[address - first : address - first + size]


def _bytes_view(data: "Buffer") -> memoryview:
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")

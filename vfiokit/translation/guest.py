"""The memory of a virtual machine: RAM slots and holes, from guest-physical to host-physical in one call.

>>> guest = GuestMemoryMap([Slot(0, 0x100000000, 0x80000000), Slot(0x100000000, 0x200000000, 0x1000)])
>>> [str(piece) for piece in guest.translate(0x7ffff000, 0x2000)]
Traceback (most recent call last):
    ...
vfiokit.errors.UsageError: translate 0x80000000: no memory of the guest (in a hole)
>>> [str(piece) for piece in guest.holes]
['0x80000000-0xffffffff']
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from vfiokit.address import AddressRange
from vfiokit.bits import is_aligned
from vfiokit.errors import UsageError
from vfiokit.translation.audit import Mapping
from vfiokit.translation.build import Domain
from vfiokit.translation.memory import FRAME_SIZE, Memory, read_bytes
from vfiokit.translation.requests import Access

__all__ = ["GuestMemoryMap", "Slot"]


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A run of the guest's RAM that lies one byte after another in the host.

    :ivar start: the guest-physical address of its first byte.
    :ivar address: the host physical address of that byte.
    :ivar size: in bytes.
    :ivar access: what the guest's devices may do with it; a ROM is ``READ``.
    """

    start: int
    address: int
    size: int
    access: Access = Access.READ | Access.WRITE

    @property
    def end(self) -> int:
        """The first guest-physical address behind it."""
        return self.start + self.size


class GuestMemoryMap:
    """All slots of a virtual machine.

    :param slots: in any order.
    :raises UsageError: if two overlap, or one is not aligned to 4 KiB.
    """

    def __init__(self, slots: Iterable[Slot]) -> None:
        self.slots = tuple(sorted(slots))
        for slot in self.slots:
            if not slot.size or not is_aligned(slot.start | slot.address | slot.size, FRAME_SIZE):
                raise UsageError("not aligned to 4 KiB", operation="slot", subject=hex(slot.start))
        for below, above in zip(self.slots, self.slots[1:], strict=False):
            if below.end > above.start:
                raise UsageError("slots overlap", operation="slot", subject=hex(above.start))

    @classmethod
    def of_mappings(cls, mappings: Iterable[Mapping]) -> "GuestMemoryMap":
        """Build the map of a machine from what its domain maps: the whole of it is the guest's memory."""
        return cls(Slot(each.iova, each.address, each.size, each.access) for each in mappings)

    @property
    def size(self) -> int:
        """Bytes of RAM."""
        return sum(slot.size for slot in self.slots)

    @property
    def holes(self) -> tuple[AddressRange, ...]:
        """What lies between the slots."""
        pairs = zip(self.slots, self.slots[1:], strict=False)
        return tuple(
            AddressRange(below.end, above.start) for below, above in pairs if below.end < above.start
        )

    def translate(self, start: int, size: int) -> tuple[AddressRange, ...]:
        """Return the host physical ranges behind *size* bytes of the guest, in order.

        :raises UsageError: if any of them is in a hole: a guest's memory has no half answers.
        """
        pieces: list[AddressRange] = []
        end = start + size
        while start < end:
            slot = self._slot(start)
            if slot is None:
                raise UsageError(
                    "no memory of the guest", operation="translate", subject=hex(start), hint="in a hole"
                )
            stop = min(end, slot.end)
            first = slot.address + start - slot.start
            if pieces and pieces[-1].end == first:
                first = pieces.pop().start
            pieces.append(AddressRange(first, slot.address + stop - slot.start))
            start = stop
        return tuple(pieces)

    def read(self, memory: Memory, start: int, size: int) -> bytes | None:
        """Return the guest's bytes from the host's memory; ``None`` where that memory does not hold them."""
        found = [read_bytes(memory, piece.start, piece.size) for piece in self.translate(start, size)]
        return None if None in found else b"".join(piece for piece in found if piece is not None)

    def map_into(self, domain: Domain) -> None:
        """Map the whole guest, guest-physical address for IOVA: what device assignment does."""
        for slot in self.slots:
            domain.map(slot.start, slot.address, slot.size, slot.access)

    def _slot(self, address: int) -> Slot | None:
        index = bisect_right(self.slots, address, key=lambda slot: slot.start) - 1
        found = self.slots[index] if index >= 0 else None
        return found if found is not None and address < found.end else None

"""Frames for tables: who owns which, so that none is lost, given twice or used after it was freed."""

from collections.abc import Iterable

from vfiokit.address import AddressRange
from vfiokit.bits import align_down, align_up
from vfiokit.errors import UsageError
from vfiokit.translation.memory import FRAME_SIZE

__all__ = ["Frames"]


class Frames:
    """Hands out 4 KiB frames, the lowest free one first.

    :param ranges: where they may lie; what is not a whole frame at the ends is left out.

    >>> frames = Frames([AddressRange(0x1000, 0x3000)])
    >>> hex(frames.take()), hex(frames.take()), frames.free
    ('0x1000', '0x2000', 0)
    """

    def __init__(self, ranges: Iterable[AddressRange]) -> None:
        self._ranges = [
            (align_up(each.start, FRAME_SIZE), align_down(each.end, FRAME_SIZE)) for each in ranges
        ]
        self._returned: list[int] = []
        self._taken: set[int] = set()

    @property
    def taken(self) -> frozenset[int]:
        """The addresses of the frames that are in use."""
        return frozenset(self._taken)

    @property
    def free(self) -> int:
        """How many frames are left."""
        return sum(max(0, end - start) // FRAME_SIZE for start, end in self._ranges) + len(self._returned)

    def take(self, count: int = 1) -> int:
        """Take *count* frames that lie one after another, and return the address of the first.

        :raises UsageError: if there are none left.
        """
        if count == 1 and self._returned:
            frame = self._returned.pop()
            self._taken.add(frame)
            return frame
        for index, (start, end) in enumerate(self._ranges):
            if end - start >= count * FRAME_SIZE:
                self._ranges[index] = (start + count * FRAME_SIZE, end)
                self._taken.update(range(start, start + count * FRAME_SIZE, FRAME_SIZE))
                return start
        raise UsageError("no frames left", operation="allocate", subject=f"{count} frames for tables")

    def give_back(self, frame: int) -> None:
        """Return a frame.

        :raises UsageError: if it is not in use.
        """
        if frame not in self._taken:
            raise UsageError("not a frame in use", operation="free", subject=hex(frame))
        self._taken.remove(frame)
        self._returned.append(frame)

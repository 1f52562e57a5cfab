"""Bit fields and alignment, the arithmetic under every register and table."""

from dataclasses import dataclass

__all__ = ["Field", "align_down", "align_up", "is_aligned", "mask"]


def mask(width: int) -> int:
    """Return *width* low bits set.

    >>> hex(mask(12))
    '0xfff'
    """
    return (1 << width) - 1


def align_down(value: int, alignment: int) -> int:
    """Round *value* down to a multiple of *alignment*, a power of two.

    >>> hex(align_down(0x1fff, 0x1000))
    '0x1000'
    """
    return value & ~(alignment - 1)


def align_up(value: int, alignment: int) -> int:
    """Round *value* up to a multiple of *alignment*, a power of two.

    >>> hex(align_up(0x1001, 0x1000))
    '0x2000'
    """
    return (value + alignment - 1) & ~(alignment - 1)


def is_aligned(value: int, alignment: int) -> bool:
    """Whether *value* is a multiple of *alignment*, a power of two."""
    return not value & (alignment - 1)


@dataclass(frozen=True, slots=True)
class Field:
    """A named run of bits in a register.

    :ivar name: the specification's name.
    :ivar low: the lowest bit, from 0.
    :ivar width: the number of bits, at least 1.
    :ivar meaning: what it says, one phrase.

    >>> Field("MGAW", 16, 6).get(0xd2008c222f0686)
    47
    """

    name: str
    low: int
    width: int = 1
    meaning: str = ""

    @property
    def mask(self) -> int:
        """The field's bits in place."""
        return mask(self.width) << self.low

    def get(self, value: int) -> int:
        """Extract the field from a register's *value*."""
        return (value >> self.low) & mask(self.width)

    def put(self, value: int, content: int) -> int:
        """Return *value* with the field set to *content*.

        :raises ValueError: if *content* does not fit.
        """
        if content >> self.width:
            raise ValueError(f"{self.name}: {content:#x} does not fit in {self.width} bits")
        return (value & ~self.mask) | (content << self.low)

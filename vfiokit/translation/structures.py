"""Entries of fixed layout as data: the words of each, and from them what is reserved."""

from dataclasses import dataclass

from vfiokit.bits import Field, mask
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Read

__all__ = ["Entry", "Structure", "read_entry"]


@dataclass(frozen=True, slots=True)
class Structure:
    """The layout of an entry.

    :ivar name: the specification's name.
    :ivar words: the named fields of each 64-bit word; the rest of the word is reserved.
    :ivar ignored: bits of each word that are neither named nor reserved; shorter than *words* for none.
    """

    name: str
    words: tuple[tuple[Field, ...], ...]
    ignored: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of an entry."""
        return 8 * len(self.words)

    def reserved(self, word: int, host_address_width: int) -> int:
        """Return the reserved bits of a word: what has no name, and address bits that the host lacks."""
        named = 0
        for field in self.words[word]:
            # A field that reaches the top from bit 12 is an address.
            is_address = field.low == 12 and field.width == 52
            named |= field.mask & mask(host_address_width) if is_address else field.mask
        ignored = self.ignored[word] if word < len(self.ignored) else 0
        return mask(64) & ~named & ~ignored


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that was read.

    :ivar structure: its layout.
    :ivar words: its words.
    """

    structure: Structure
    words: tuple[int, ...]

    def __getitem__(self, name: str) -> int:
        """Return the content of a field."""
        for word, fields in zip(self.words, self.structure.words, strict=False):
            for field in fields:
                if field.name == name:
                    return field.get(word)
        raise KeyError(name)

    def address(self, name: str) -> int:
        """Return an address field as an address."""
        return self[name] << 12

    def has_reserved(self, host_address_width: int) -> bool:
        """Whether any reserved bit is set."""
        return any(
            word & self.structure.reserved(index, host_address_width)
            for index, word in enumerate(self.words)
        )


def read_entry(memory: Memory, structure: Structure, address: int, reads: list[Read]) -> Entry | None:
    """Read an entry whole, note that in *reads*, and return it; ``None`` if it lies outside memory."""
    words = [memory.read64(address + 8 * index) for index in range(len(structure.words))]
    known = tuple(word for word in words if word is not None)
    complete = len(known) == len(words)
    reads.append(Read(structure.name, address, known if complete else (), structure.words))
    return Entry(structure, known) if complete else None

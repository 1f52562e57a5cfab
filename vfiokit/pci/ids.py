"""Names from a pci.ids text, found by search: nothing is parsed that nobody asked for.

The format: a vendor's line starts with four hexadecimal digits, its devices follow on lines that start
with a tab; classes are the same with ``C`` and two digits.
"""

import re
from typing import Protocol

__all__ = ["PciIds"]

_LINE_WITH_NAME = re.compile(rb"[^\n]*")
_NEXT_BLOCK = re.compile(rb"\n[^\t#\n]")


class _Buffer(Protocol):
    def find(self, sub: bytes, start: int = ..., end: int = ..., /) -> int: ...
    def __len__(self) -> int: ...


class PciIds:
    """Looks names up in the text of a pci.ids.

    :param text: the file's bytes or a memory map of them; it must start with a comment or an empty line,
        as every released pci.ids does.

    >>> names = PciIds(b"#\\n8086  Intel Corporation\\n\\t1237  440FX\\nC 06  Bridge\\n\\t04  PCI bridge\\n")
    >>> names.vendor(0x8086), names.device(0x8086, 0x1237), names.class_name(0x0604)
    ('Intel Corporation', '440FX', 'PCI bridge')
    """

    def __init__(self, text: "_Buffer") -> None:
        self._text = text
        self._blocks: dict[bytes, tuple[int, int, str] | None] = {}
        self._names: dict[tuple[bytes, bytes], str | None] = {}

    def vendor(self, vendor: int) -> str | None:
        """Return a vendor's name."""
        block = self._block(b"\n%04x  " % vendor)
        return block[2] if block else None

    def device(self, vendor: int, device: int) -> str | None:
        """Return a device's name."""
        return self._within(b"\n%04x  " % vendor, b"\n\t%04x  " % device)

    def class_name(self, code: int) -> str | None:
        """Return the name of a base class and subclass, 16 bits; else that of the base class."""
        base = b"\nC %02x  " % (code >> 8)
        found = self._within(base, b"\n\t%02x  " % (code & 0xFF))
        block = self._block(base)
        return found or (block[2] if block else None)

    def _within(self, block_key: bytes, key: bytes) -> str | None:
        if (block_key, key) not in self._names:
            self._names[block_key, key] = self._search(block_key, key)
        return self._names[block_key, key]

    def _search(self, block_key: bytes, key: bytes) -> str | None:
        block = self._block(block_key)
        at = self._text.find(key, block[0], block[1]) if block else -1
        return self._rest_of_line(at + len(key)) if at >= 0 else None

    def _block(self, key: bytes) -> tuple[int, int, str] | None:
        """Return where a block starts after its first line, where it ends, and its name."""
        if key not in self._blocks:
            at = self._text.find(key)
            self._blocks[key] = None if at < 0 else self._measure(at + len(key))
        return self._blocks[key]

    def _measure(self, name_at: int) -> tuple[int, int, str]:
        name = self._rest_of_line(name_at)
        start = self._text.find(b"\n", name_at)
        start = len(self._text) if start < 0 else start
        following = _NEXT_BLOCK.search(self._text, start)  # type: ignore[call-overload]
        return start, following.start() + 1 if following else len(self._text), name

    def _rest_of_line(self, at: int) -> str:
        found = _LINE_WITH_NAME.match(self._text, at)  # type: ignore[call-overload]
        return str(found[0].decode("utf-8", "replace")).strip()

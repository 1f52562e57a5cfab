"""A config space: its header, its capabilities, their registers and fields, typed and by name.

>>> space = ConfigSpace(bytes.fromhex("8680d70c" + "00" * 60))
>>> hex(space.header.VendorID.VendorID), space.capabilities
('0x8086', ())
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, NamedTuple

from vfiokit.errors import UsageError
from vfiokit.pci.capabilities import (
    CapabilityId,
    Found,
    Hazard,
    extended_in,
    plain_extended,
    plain_standard,
    standard_in,
)
from vfiokit.pci.diagnostics import Diagnostic, examine, walked
from vfiokit.pci.image import BytesImage, Image
from vfiokit.pci.registers import ONLY_MAKERS, makers
from vfiokit.pci.registers.header import CARDBUS, NORMAL, TO_PCI, UNKNOWN
from vfiokit.pci.registers.layout import Layout
from vfiokit.pci.registers.maker import Maker
from vfiokit.pci.registers.rows import Capability, Facts, Register
from vfiokit.pci.structure import Structure

__all__ = ["ConfigSpace", "Decoded"]

_NO_FACTS = Facts()
_HEADERS = tuple(map(Maker, (NORMAL, TO_PCI, CARDBUS)))
_UNKNOWN_HEADER = Maker(UNKNOWN)
_HEADER_SIZE = 0x40
_CONVENTIONAL_SIZE = 0x100
_EMPTY = (b"\0\0\0\0", b"\xff\xff\xff\xff")
_BAR_COUNTS = (6, 2, 1)
_BARS = Struct("<6I")
_MOST_LANES = 32
_UNKNOWN: dict[tuple[int, bool], Maker] = {}


class Decoded(NamedTuple):
    """One structure, decoded at once.

    :ivar layout: which registers and fields it has here; ``layout.fields`` names the values.
    :ivar offset: where it starts, in bytes.
    :ivar values: every field, typed, in the order of ``layout.fields``.
    """

    layout: Layout
    offset: int
    values: tuple[Any, ...]


_new = tuple.__new__
"""Makes a named tuple without a call in Python."""


class ConfigSpace:
    """The config space of one function; nothing is read before it is asked for.

    Nothing that bytes can say raises: what is wrong is in :attr:`diagnostics`, an unknown capability is its
    bytes. Synchronization: one user at a time.

    :param source: its bytes, or an image that fetches them.
    :param first: whether it is device 0, function 0, which decides what some registers mean.
    :raises UsageError: if not even the vendor and device identifiers can be read.
    """

    __slots__ = ("_extended", "_facts", "_hazards", "_standard", "first", "image")

    def __init__(self, source: bytes | bytearray | Image, *, first: bool = True) -> None:
        self.image: Image = BytesImage(bytes(source)) if isinstance(source, bytes | bytearray) else source
        self.first = first
        self._facts: Facts | None = None
        self._standard: list[Found] | None = None
        self._extended: list[Found] | None = None
        self._hazards: list[Diagnostic] = []
        self.image.ensure(0, _HEADER_SIZE)
        if self.image.limit < 4:
            raise UsageError(
                f"it has only {self.image.limit} bytes",
                operation="decode",
                subject="config space",
                hint="there are 64, 256 or 4096",
            )

    @classmethod
    def from_hex(cls, text: str) -> "ConfigSpace":
        """Read hexadecimal digits, with or without white space.

        :raises UsageError: if *text* is anything else.
        """
        try:
            data = bytes.fromhex(text)
        except ValueError as error:
            raise UsageError("no hexadecimal bytes", operation="parse", subject="config space") from error
        return cls(data)

    @property
    def header_type(self) -> int:
        """Bits 6:0 of the Header Type register; 0 if it cannot be read."""
        return self.image.data[0x0E] & 0x7F if self.image.limit > 0x0E else 0

    @property
    def is_gone(self) -> bool:
        """Whether it reads as all ones: the function does not answer.

        A virtual function has no identifiers of its own, but a header type.
        """
        data, end = self.image.data, min(self.image.limit, _HEADER_SIZE)
        return data[:4] == b"\xff\xff\xff\xff" and data[4:end].strip(b"\xff") == b""

    @property
    def header(self) -> Structure:
        """The header, whose layout its type decides."""
        return Structure(self, 0, 0, self._layout(self._header_maker(), 0))

    @property
    def capabilities(self) -> tuple[Structure, ...]:
        """The standard capabilities in list order, duplicates kept."""
        return tuple(self.structure_at(each, extended=False) for each in self.standard_list())

    @property
    def extended(self) -> tuple[Structure, ...]:
        """The extended capabilities in list order, duplicates kept.

        There are none without a PCI Express or PCI-X capability, nor where the space beyond 256 bytes is the
        header again.
        """
        return tuple(self.structure_at(each, extended=True) for each in self.extended_list())

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The header, the standard and the extended capabilities."""
        return (self.header, *self.capabilities, *self.extended)

    def standard_list(self) -> list[Found]:
        """Return identifier and offset of the standard capabilities, in list order."""
        if self._standard is None:
            image = self.image
            cardbus = self.header_type == 2
            found = plain_standard(image.data, image.limit, cardbus=cardbus) if image.is_complete else None
            if found is None:
                report = self._report(extended=False)
                found = list(standard_in(image.data, image.ensure, cardbus=cardbus, report=report))
            self._standard = [] if found and self.is_gone else found
        return self._standard

    def extended_list(self) -> list[Found]:
        """Return identifier and offset of the extended capabilities, in list order."""
        if self._extended is None:
            image, found = self.image, None
            if self.may_be_extended and not self.is_aliased:
                found = plain_extended(image.data, image.limit) if image.is_complete else None
                if found is None:
                    report = self._report(extended=True)
                    found = list(extended_in(image.data, image.ensure, report=report))
            self._extended = found or []
        return self._extended

    @property
    def may_be_extended(self) -> bool:
        """Whether a capability says that there may be space beyond 256 bytes."""
        for number, _ in self.standard_list():
            if number in (CapabilityId.PCI_EXPRESS, CapabilityId.PCI_X):
                return True
        return False

    @property
    def is_aliased(self) -> bool:
        """Whether the space beyond 256 bytes is the header again: some chipsets ignore the upper bits."""
        if not self.image.ensure(_CONVENTIONAL_SIZE, 4):
            return False
        data = self.image.data
        return data[0x100:0x104] == data[0:4] and data[0:4] not in _EMPTY

    @property
    def facts(self) -> Facts:
        """What conditions of rows may ask of the function."""
        if self._facts is None:
            self._facts = self._gather()
        return self._facts

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything that is wrong or missing, by offset."""
        found = examine(self, self.structures)
        return tuple(sorted({*found, *self._hazards}, key=lambda each: (each.offset, each.code)))

    def find(self, wanted: str | int, *, extended: bool | None = None) -> Structure | None:
        """Return the first capability of that name or identifier, ``None`` if there is none.

        :param extended: which list to look in; ``None`` for both.
        """
        return next(self.find_all(wanted, extended=extended), None)

    def find_all(self, wanted: str | int, *, extended: bool | None = None) -> Iterator[Structure]:
        """Yield the capabilities of that name or identifier."""
        if not extended:
            yield from (each for each in self.capabilities if wanted in (each.id, each.name))
        if extended is not False:
            yield from (each for each in self.extended if wanted in (each.id, each.name))

    def vsec(self, vendor: int, number: int) -> Structure | None:
        """Return a vendor-specific extended capability; its identifier belongs to the function's vendor."""
        if self.facts.vendor != vendor:
            return None
        return next((each for each in self.find_all("VSEC") if each.get("Head.ID") == number), None)

    def dvsec(self, vendor: int, number: int) -> Structure | None:
        """Return a designated vendor-specific extended capability."""
        for each in self.find_all(0x23, extended=True):
            if each.get("Head1.Vendor") == vendor and each.get("Head2.ID") == number:
                return each
        return None

    def owner(self, offset: int) -> tuple[Structure, str] | None:
        """Return the structure and the register that a byte belongs to, ``None`` for nobody's."""
        for structure in self.structures:
            for placed in structure.layout.registers:
                if 0 <= offset - structure.offset - placed.offset < placed.row.size:
                    return structure, placed.name
        return None

    def decode(self) -> list[Decoded]:
        """Decode everything at once: the header, then the capabilities in list order."""
        image = self.image
        data, limit = image.data, image.limit
        layout = self._layout(self._header_maker(), 0)
        decoded = [Decoded(layout, 0, layout.decode(data, 0))]
        facts = self.facts if image.is_complete else None
        for extended, found in ((False, self.standard_list()), (True, self.extended_list())):
            only = ONLY_MAKERS[extended]
            for number, offset in found:
                maker = only.get(number) or self._maker(number, offset, extended=extended)
                if facts is not None:
                    layout = maker.layout(data, offset, limit, facts)
                else:
                    layout = self._layout(maker, offset)
                decoded.append(_new(Decoded, (layout, offset, layout.decode(data, offset))))
        return decoded

    def text_of(self, structure: Structure) -> str:
        """Return what lspci prints of a structure, after its place."""
        maker = (
            self._header_maker()
            if structure.layout.row.id < 0
            else self._maker(structure.id, structure.offset, extended=structure.is_extended)
        )
        image = self.image
        return maker.text(structure.layout, image.data, structure.offset, image.limit, self.facts)

    def read(self, offset: int, size: int) -> bytes:
        """Return *size* bytes at *offset*, fewer where they cannot be read."""
        self.image.ensure(offset, size)
        return bytes(self.image.data[offset : min(offset + size, self.image.limit)])

    def structure_at(self, found: Found, *, extended: bool) -> Structure:
        """Return what a list says is there."""
        maker = self._maker(found.id, found.offset, extended=extended)
        return Structure(self, found.id, found.offset, self._layout(maker, found.offset))

    def _header_maker(self) -> Maker:
        kind = self.header_type
        return _HEADERS[kind] if kind < len(_HEADERS) else _UNKNOWN_HEADER

    def _maker(self, number: int, offset: int, *, extended: bool) -> Maker:
        found = makers(number, extended)
        if len(found) == 1:
            return found[0]
        image = self.image
        for maker in found:
            image.ensure(offset, maker.match_needs)
            if maker.matches(image.data, offset, image.limit, self.facts):
                return maker
        return _unknown_maker(number, extended=extended)

    def _layout(self, maker: Maker, offset: int) -> Layout:
        image, facts = self.image, self.facts if maker.asks else _NO_FACTS
        if image.is_complete:
            return maker.layout(image.data, offset, image.limit, facts)
        image.ensure(offset, maker.needs)
        if maker.row.walk is not None:
            _ensure_walk(image, maker, offset, facts)
        layout = maker.layout(image.data, offset, image.limit, facts)
        # Not all(): what is there is fetched even if something else is not.
        if False not in [image.ensure(offset + start, size) for start, size in layout.runs]:
            return layout
        return maker.layout(image.data, offset, image.limit, facts)

    def _gather(self) -> Facts:
        image, data = self.image, self.image.data
        port, lanes = -1, 0
        for number, offset in self.standard_list():
            if number == CapabilityId.PCI_EXPRESS and image.ensure(offset, 4):
                # Flags at 2, Link Capabilities at 12 (PCIe 6.0, 7.5.3).
                port = data[offset + 2] >> 4
                wide = image.ensure(offset + 12, 2)
                lanes = (
                    min((data[offset + 12] | data[offset + 13] << 8) >> 4 & 0x3F, _MOST_LANES) if wide else 0
                )
        kind = self.header_type
        return Facts(
            kind,
            port,
            data[0] | data[1] << 8,
            data[2] | data[3] << 8,
            _has_memory(data, kind) if image.limit >= _HEADER_SIZE else False,
            self.first,
            0 if port in (9, 10) else lanes,
        )

    def _report(self, *, extended: bool) -> Callable[[Hazard, int], None]:
        def report(hazard: Hazard, offset: int) -> None:
            self._hazards.append(walked(self, hazard, offset, extended=extended))

        return report


def _ensure_walk(image: Image, maker: Maker, offset: int, facts: Facts) -> None:
    """Fetch a capability whose length only its own content says, a step at a time.

    What was not fetched is zero, which makes it no longer than it is.
    """
    size = 16
    while image.ensure(offset, size):
        needed = maker.layout(image.data, offset, image.limit, facts).size
        if needed <= size:
            return
        size = needed


def _has_memory(data: bytes | bytearray, kind: int) -> bool:
    """Whether a BAR is one of memory; a 64-bit one in the last place is none."""
    count = _BAR_COUNTS[kind] if kind < len(_BAR_COUNTS) else 0
    words = _BARS.unpack_from(data, 0x10)
    index = 0
    while index < count:
        low = words[index]
        if not low or low == 0xFFFFFFFF:
            index += 1
            continue
        wide = low & 7 == 4
        if not low & 1 and (not wide or index + 1 < count):
            return True
        index += 1 + wide
    return False


def _unknown_maker(number: int, *, extended: bool) -> Maker:
    maker = _UNKNOWN.get((number, extended))
    if maker is None:
        maker = _UNKNOWN[number, extended] = Maker(_unknown(number, extended=extended))
    return maker


def _unknown(number: int, *, extended: bool) -> Capability:
    """Return the row of a capability that there is no row for: its bytes."""
    if extended:
        text = f"Extended Capability ID {number:#x}\n"
        return Capability(
            id=number, name=f"Unknown{number:04x}", title="Unknown", extended=True, text=(text,)
        )
    word = Register("Word", 2, 2)
    text = f"Capability ID {number:#x} [{{Word:04x}}]\n"
    return Capability(
        id=number, name=f"Unknown{number:02x}", title="Unknown", registers=(word,), text=(text,)
    )

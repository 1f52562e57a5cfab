"""A config space: its header, its capabilities, their registers and fields, typed and by the specification's names.

>>> space = ConfigSpace(bytes.fromhex("8680d70c" + "00" * 60))
>>> hex(space.header.VendorID.VendorID), space.capabilities
('0x8086', ())
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from vfiokit.errors import UsageError
from vfiokit.pci.capabilities import CapabilityId, Found, Hazard, extended, standard
from vfiokit.pci.diagnostics import Code, Diagnostic, examine, walked
from vfiokit.pci.image import BytesImage, Image
from vfiokit.pci.registers import makers
from vfiokit.pci.registers.compiled import Maker, Variant
from vfiokit.pci.registers.header import CARDBUS, NORMAL, TO_PCI, UNKNOWN
from vfiokit.pci.registers.rows import Capability, Facts, Register
from vfiokit.pci.structure import Structure

__all__ = ["ConfigSpace", "Decoded"]

_HEADERS = tuple(map(Maker, (NORMAL, TO_PCI, CARDBUS)))
_UNKNOWN_HEADER = Maker(UNKNOWN)
_HEADER_SIZE = 0x40
_CONVENTIONAL_SIZE = 0x100
_BAR_COUNTS = (6, 2, 1)
_UNKNOWN: dict[tuple[int, bool], Maker] = {}


class Decoded(NamedTuple):
    """One structure, decoded at once.

    :ivar variant: which registers and fields it has here; ``variant.fields`` names the values.
    :ivar offset: where it starts, in bytes.
    :ivar values: every field, typed, in the order of ``variant.fields``.
    """

    variant: Variant
    offset: int
    values: tuple[Any, ...]


class ConfigSpace:
    """The config space of one function; nothing is read before it is asked for.

    Nothing that bytes can say raises: what is wrong is in :attr:`diagnostics`, an unknown capability is its bytes.
    Synchronization: one user at a time.

    :param source: its bytes, or an image that fetches them.
    :param first: whether it is device 0, function 0, which decides what some registers mean.
    :raises UsageError: if not even the vendor and device identifiers can be read.
    """

    __slots__ = ("_capabilities", "_extended", "_facts", "_hazards", "first", "image")

    def __init__(self, source: bytes | Image, *, first: bool = True) -> None:
        self.image: Image = BytesImage(bytes(source)) if isinstance(source, bytes | bytearray) else source
        self.first = first
        self._facts: Facts | None = None
        self._capabilities: tuple[Structure, ...] | None = None
        self._extended: tuple[Structure, ...] | None = None
        self._hazards: list[Diagnostic] = []
        if not self.image.ensure(0, 4) and self.image.limit < 4:
            raise UsageError(
                f"only {self.image.limit} bytes",
                operation="decode",
                subject="config space",
                hint="it has 64, 256 or 4096",
            )
        self.image.ensure(0, _HEADER_SIZE)

    @classmethod
    def from_hex(cls, text: str) -> "ConfigSpace":
        """Read hexadecimal digits, with or without white space.

        :raises UsageError: if *text* is anything else.
        """
        try:
            return cls(bytes.fromhex(text))
        except ValueError as error:
            raise UsageError("no hexadecimal bytes", operation="parse", subject="config space") from error

    @property
    def header_type(self) -> int:
        """Bits 6:0 of the Header Type register; 0 if it cannot be read."""
        return self.image.data[0x0E] & 0x7F if self.image.limit > 0x0E else 0

    @property
    def is_gone(self) -> bool:
        """Whether it reads as all ones: the function does not answer."""
        data = self.image.data[: min(self.image.limit, _HEADER_SIZE)]
        # A virtual function has no identifiers of its own, but a header type.
        return data == b"\xff" * len(data)

    @property
    def header(self) -> Structure:
        """The header, whose layout its type decides."""
        kind = self.header_type
        maker = _HEADERS[kind] if kind < len(_HEADERS) else _UNKNOWN_HEADER
        return self._structure(maker, 0, 0)

    @property
    def capabilities(self) -> tuple[Structure, ...]:
        """The standard capabilities in list order, duplicates kept."""
        if self._capabilities is None:
            found = standard(self.read, cardbus=self.header_type == 2, report=self._report(extended=False))
            self._capabilities = tuple(self._structures(found, extended=False)) if not self.is_gone else ()
        return self._capabilities

    @property
    def extended(self) -> tuple[Structure, ...]:
        """The extended capabilities in list order, duplicates kept.

        There are none without a PCI Express or PCI-X capability, nor where the space beyond 256 bytes is the header again.
        """
        if self._extended is None:
            self._extended = ()
            if self.facts and self.may_be_extended and not self.is_aliased:
                found = extended(self.read, report=self._report(extended=True))
                self._extended = tuple(self._structures(found, extended=True))
        return self._extended

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The header, the standard and the extended capabilities."""
        return (self.header, *self.capabilities, *self.extended)

    @property
    def may_be_extended(self) -> bool:
        """Whether a capability says that there may be space beyond 256 bytes."""
        return any(each.id in (CapabilityId.PCI_EXPRESS, CapabilityId.PCI_X) for each in self.capabilities)

    @property
    def is_aliased(self) -> bool:
        """Whether the space beyond 256 bytes is the header again: some chipsets ignore the upper address bits."""
        if not self.image.ensure(_CONVENTIONAL_SIZE, 4):
            return False
        data = self.image.data
        return data[0x100:0x104] == data[0:4] and data[0:4] not in (b"\0\0\0\0", b"\xff\xff\xff\xff")

    @property
    def facts(self) -> Facts:
        """What conditions of rows may ask of the function."""
        if self._facts is None:
            self._facts = self._gather()
        return self._facts

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything that is wrong or missing, by offset."""
        structures = self.structures
        return tuple(sorted({*self._hazards, *examine(self, structures)}, key=lambda each: each.offset))

    def find(self, wanted: str | int, *, extended: bool | None = None) -> Structure | None:
        """Return the first capability of that name or identifier, ``None`` if there is none.

        :param extended: which list to look in; ``None`` for both.
        """
        return next(self.find_all(wanted, extended=extended), None)

    def find_all(self, wanted: str | int, *, extended: bool | None = None) -> Iterator[Structure]:
        """Yield the capabilities of that name or identifier."""
        lists = (self.capabilities if not extended else (), self.extended if extended is not False else ())
        for each in (each for found in lists for each in found):
            if wanted in (each.id, each.name):
                yield each

    def vsec(self, vendor: int, number: int) -> Structure | None:
        """Return a vendor-specific extended capability: its identifier belongs to the function's vendor."""
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
            for placed in structure.variant.registers:
                if 0 <= offset - structure.offset - placed.offset < placed.row.size:
                    return structure, placed.name
        return None

    def decode(self) -> list[Decoded]:
        """Decode everything at once."""
        data = self.image.data
        return [
            Decoded(each.variant, each.offset, each.variant.decode(data, each.offset))
            for each in self.structures
        ]

    def read(self, offset: int, size: int) -> bytes:
        """Return *size* bytes at *offset*, fewer where they cannot be read."""
        self.image.ensure(offset, size)
        return bytes(self.image.data[offset : min(offset + size, self.image.limit)])

    def structure_at(self, found: Found, *, extended: bool) -> Structure:
        """Return what a list says is there."""
        maker = self._maker(found.id, found.offset, extended=extended)
        return self._structure(maker, found.id, found.offset)

    def _structures(self, found: Iterable[Found], *, extended: bool) -> Iterator[Structure]:
        for each in found:
            yield self.structure_at(each, extended=extended)

    def _maker(self, number: int, offset: int, *, extended: bool) -> Maker:
        image, facts = self.image, self._known_facts()
        for maker in makers(number, extended):
            image.ensure(offset, maker.match_needs)
            if maker.matches(image.data, offset, image.limit, facts):
                return maker
        key = (number, extended)
        if key not in _UNKNOWN:
            _UNKNOWN[key] = Maker(_unknown(number, extended=extended))
        return _UNKNOWN[key]

    def _structure(self, maker: Maker, number: int, offset: int) -> Structure:
        image, facts = self.image, self._known_facts()
        image.ensure(offset, maker.needs)
        if maker.row.walk is not None:
            _ensure_walk(image, maker, offset, facts)
        variant = maker.variant(image.data, offset, image.limit, facts)
        if not image.ensure(offset, variant.size):
            variant = maker.variant(image.data, offset, image.limit, facts)
        return Structure(self, number, offset, variant)

    def _known_facts(self) -> Facts:
        """Return the facts; those of the header alone while the standard list is walked."""
        if self._facts is not None:
            return self._facts
        data, limit = self.image.data, self.image.limit
        kind = self.header_type
        vendor, device = (int.from_bytes(data[at : at + 2], "little") for at in (0, 2))
        return Facts(kind, -1, vendor, device, _has_memory(bytes(data[:limit]), kind), self.first)

    def _gather(self) -> Facts:
        facts = self._known_facts()
        for each in self.capabilities:
            if each.name == "PCIe" and "Flags" in each.variant.by_name:
                width = each.get("LnkCap.Width")
                facts = facts._replace(port=each.raw_field("Flags.PortType"), lanes=min(int(width or 0), 32))
        return facts

    def _report(self, *, extended: bool) -> Callable[[Hazard, int], None]:
        def report(hazard: Hazard, offset: int) -> None:
            self._hazards.append(walked(self, hazard, offset, extended=extended))

        return report


def _ensure_walk(image: Image, maker: Maker, offset: int, facts: Facts) -> None:
    """Fetch a capability whose length only its own content says, a step at a time."""
    size = 16
    while image.ensure(offset, size):
        needed = maker.variant(image.data, offset, offset + size, facts).size
        if needed <= size:
            return
        size = needed


def _has_memory(data: bytes, kind: int) -> bool:
    count = _BAR_COUNTS[kind] if kind < len(_BAR_COUNTS) else 0
    index = 0
    while index < count:
        bar = int.from_bytes(data[0x10 + 4 * index : 0x14 + 4 * index], "little")
        index += 1
        if bar in (0, 0xFFFFFFFF) or bar & 1:
            continue
        if bar & 6 != 4:
            return True
        if index < count:
            return True
    return False


def _unknown(number: int, *, extended: bool) -> Capability:
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

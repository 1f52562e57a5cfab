"""One structure of a config space: its registers and fields by name, and what to write to change one."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from vfiokit.errors import UsageError
from vfiokit.pci.image import Image
from vfiokit.pci.registers.layout import Layout, Placed
from vfiokit.pci.registers.rows import Access, Capability, Field, Register, View

__all__ = ["FieldValue", "RegisterValue", "Structure", "WritePlan"]

_LETTERS = {1: "b", 2: "w", 4: "l"}


class Space(Protocol):
    """What a structure is in."""

    image: Image


class FieldValue(NamedTuple):
    """A field and what it holds.

    :ivar name: what accessors call it.
    :ivar title: the specification's words.
    :ivar raw: its bits.
    :ivar value: typed: a flag, a meaning, a number.
    :ivar offset: of its register in the space, in bytes.
    :ivar high: its highest bit in the register.
    :ivar low: its lowest bit.
    :ivar access: what software may do with it.
    :ivar unit: of a number, or empty.
    :ivar view: what vfio-pci does with it.
    """

    name: str
    title: str
    raw: int
    value: int | str | bool
    offset: int
    high: int
    low: int
    access: Access
    unit: str
    view: View


class WritePlan(NamedTuple):
    """What to write so that some fields change, and nothing else does.

    The new content of the register is ``old & ~mask | value``: fields that change, write-1-to-clear fields
    as 0 unless they are to be cleared, RsvdZ bits as 0; everything else is kept.

    :ivar offset: of the register in the space, in bytes.
    :ivar width: bytes to write.
    :ivar value: the bits to write, within *mask*.
    :ivar mask: the bits that do not keep their content.
    :ivar before: the register as it was read.
    """

    offset: int
    width: int
    value: int
    mask: int
    before: int

    @property
    def content(self) -> int:
        """The whole register as it is to be written."""
        return self.before & ~self.mask | self.value

    def setpci(self, address: str) -> str:
        """Return the command that does it, which keeps what it does not name from a fresh read."""
        digits = 2 * self.width
        change = f"{self.value:0{digits}x}:{self.mask:0{digits}x}"
        return f"setpci -s {address} {self.offset:x}.{_LETTERS[self.width]}={change}"


class RegisterValue:
    """A register and what it holds; its fields are attributes.

    :ivar name: what accessors call it.
    :ivar offset: in the space, in bytes.
    :ivar value: its content.
    :ivar row: the row that describes it.
    """

    __slots__ = ("_capability", "name", "offset", "row", "value")

    def __init__(self, name: str, offset: int, row: Register, value: int, capability: Capability) -> None:
        self.name = name
        self.offset = offset
        self.row = row
        self.value = value
        self._capability = capability

    @property
    def view(self) -> View:
        """What vfio-pci does with it; some fields may differ."""
        return self._capability.view_of(self.row)

    def __getattr__(self, name: str) -> int | str | bool:
        for field in self.row.fields:
            if field.name == name:
                return field.value(self.value)
        raise AttributeError(f"{self.name} has no field {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(field.name for field in self.row.fields)]

    def __int__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"<{self.name} at {self.offset:#x}: {self.value:#0{2 + 2 * self.row.size}x}>"

    def fields(self) -> Iterator[FieldValue]:
        """Yield every field, lowest first."""
        for field in self.row.fields:
            yield FieldValue(
                field.name,
                field.title,
                field.raw(self.value),
                field.value(self.value),
                self.offset,
                field.low + field.width - 1,
                field.low,
                self.row.access_of(field),
                field.unit,
                self._capability.view_of(self.row, field),
            )

    def plan(self, **changes: int | str | bool) -> WritePlan:
        """Return what to write so that the named fields have the given values.

        A write-1-to-clear field is cleared by ``True``.

        :raises UsageError: if there is no such field, it cannot be written, or the value means nothing.
        """
        value, mask = 0, self._cleared() | self._zeroed()
        for name, wanted in changes.items():
            field = self._writable(name)
            try:
                raw = field.encode(wanted)
            except ValueError as error:
                raise UsageError(str(error), operation="plan", subject=self.name) from error
            value |= raw << field.low
            mask |= field.mask
        return WritePlan(self.offset, self.row.size, value, mask, self.value)

    def _writable(self, name: str) -> Field:
        try:
            field = self.row.field(name)
        except KeyError:
            known = ", ".join(field.name for field in self.row.fields) or "none"
            raise UsageError(
                f"no field {name}", operation="plan", subject=self.name, hint=f"fields: {known}"
            ) from None
        access = self.row.access_of(field)
        if not access.writable:
            raise UsageError(
                f"{name} is {access}", operation="plan", subject=self.name, hint="it cannot be written"
            )
        return field

    def _cleared(self) -> int:
        return sum(field.mask for field in self.row.fields if self.row.access_of(field).clears)

    def _zeroed(self) -> int:
        if self.row.reserved is not Access.RSVDZ:
            return 0
        return (1 << 8 * self.row.size) - 1 & ~sum(field.mask for field in self.row.fields)


class Structure:
    """A header or a capability of one function; its registers are attributes.

    :ivar id: the identifier in its list; 0 for the header.
    :ivar offset: where it starts, in bytes.
    :ivar layout: which registers it has here.
    """

    __slots__ = ("_space", "id", "layout", "offset")

    def __init__(self, space: Space, number: int, offset: int, layout: Layout) -> None:
        self._space = space
        self.id = number
        self.offset = offset
        self.layout = layout

    @property
    def name(self) -> str:
        """What accessors and selectors call it."""
        return self.layout.row.name

    @property
    def title(self) -> str:
        """The specification's name."""
        return self.layout.row.title

    @property
    def is_extended(self) -> bool:
        """Whether it stands in the extended list."""
        return self.layout.row.extended

    @property
    def is_known(self) -> bool:
        """Whether there is a row for its identifier."""
        return not self.name.startswith("Unknown")

    @property
    def version(self) -> int | None:
        """The version of an extended capability."""
        return self._space.image.data[self.offset + 2] & 0xF if self.is_extended else None

    @property
    def size(self) -> int:
        """Bytes to the end of its last register."""
        return self.layout.size

    @property
    def raw(self) -> bytes:
        """Its bytes, as far as they can be read; of an unknown one up to the end of its region."""
        image = self._space.image
        end = self.offset + self.size if self.is_known else (0x100, 0x1000)[self.is_extended]
        image.ensure(self.offset, end - self.offset)
        return bytes(image.data[self.offset : min(end, image.limit)])

    @property
    def registers(self) -> Iterator[RegisterValue]:
        """Every register, in order of offset."""
        for placed in self.layout.registers:
            yield self._register(placed)

    def register(self, name: str) -> RegisterValue:
        """Return a register by name.

        :raises KeyError: if there is none here.
        """
        return self._register(self.layout.by_name[name])

    def get(self, name: str) -> int | str | bool | None:
        """Return a field's value by ``Register.Field``, ``None`` if there is none here."""
        register, _, field = name.partition(".")
        placed = self.layout.by_name.get(register)
        if placed is None:
            return None
        return next(
            (each.value(self._value(placed)) for each in placed.row.fields if each.name == field), None
        )

    def raw_field(self, name: str) -> int:
        """Return the bits of a field by ``Register.Field``.

        :raises KeyError: if there is none here.
        """
        register, _, field = name.partition(".")
        placed = self.layout.by_name[register]
        return placed.row.field(field).raw(self._value(placed))

    def __getattr__(self, name: str) -> RegisterValue:
        placed = self.layout.by_name.get(name)
        if placed is None:
            raise AttributeError(f"{self.name} has no register {name!r}")
        return self._register(placed)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.layout.by_name]

    def __repr__(self) -> str:
        return f"<{self.name} at {self.offset:#x}>"

    def _register(self, placed: Placed) -> RegisterValue:
        at, row = self.offset + placed.offset, self.layout.row
        return RegisterValue(placed.name, at, placed.row, self._value(placed), row)

    def _value(self, placed: Placed) -> int:
        start = self.offset + placed.offset
        return int.from_bytes(self._space.image.data[start : start + placed.row.size], "little")

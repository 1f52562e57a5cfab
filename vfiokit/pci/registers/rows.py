"""The kinds of row that describe configuration space: capabilities, registers, fields.

A row is data alone. From the rows come the typed accessors, the eager decoder, the documents, lspci's text,
the write plans, the reference page and the lints. Conditions and counts are expressions over the fields of
the same capability (``Flags.Slot``) and over the facts of the function (:data:`FACTS`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

__all__ = [
    "FACTS",
    "Access",
    "Block",
    "Capability",
    "Facts",
    "Field",
    "Need",
    "Place",
    "Register",
    "View",
]


class Access(StrEnum):
    """What software may do with a field (PCIe 6.0, 7.4)."""

    RO = "RO"
    RW = "RW"
    RW1C = "RW1C"
    RWS = "RWS"
    ROS = "ROS"
    RW1CS = "RW1CS"
    HWINIT = "HwInit"
    RSVDP = "RsvdP"
    RSVDZ = "RsvdZ"

    @property
    def writable(self) -> bool:
        """Whether a write can change it."""
        return self in (Access.RW, Access.RWS, Access.RW1C, Access.RW1CS)

    @property
    def clears(self) -> bool:
        """Whether writing 1 clears it, so that a write that must leave it alone writes 0."""
        return self in (Access.RW1C, Access.RW1CS)


class View(StrEnum):
    """What vfio-pci lets user space do with it (drivers/vfio/pci/vfio_pci_config.c).

    ``read-only`` is read from the device, and writes are dropped; ``writable`` is read from the device and
    written to it; ``virtual`` is a copy that the driver keeps, and no write reaches the device; ``fixed`` is
    a copy that no write changes either; ``trapped`` makes the driver act on a write, in a way of its own;
    ``hidden`` is left out of the list, while its bytes stay within reach.
    """

    READ = "read-only"
    WRITABLE = "writable"
    VIRTUAL = "virtual"
    FIXED = "fixed"
    TRAPPED = "trapped"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Field:
    """A run of bits of a register.

    :ivar name: what accessors and documents call it.
    :ivar low: the lowest bit, from 0.
    :ivar width: the number of bits.
    :ivar access: what software may do with it; ``None`` for what its register says.
    :ivar title: the specification's words, where they say more than the name.
    :ivar label: what lspci calls it, where that is another name.
    :ivar values: the meaning of each content; ``None`` as a key stands for all others.
    :ivar unit: of a number: ``bytes``, ``ns``.
    :ivar shift: a number is the content shifted left by so many bits.
    :ivar bias: a number is the content plus this.
    :ivar view: what vfio-pci does with it; ``None`` for what it does with the register.
    """

    name: str
    low: int
    width: int = 1
    access: Access | None = None
    title: str = ""
    label: str = ""
    values: Mapping[Any, int | str] | None = None
    unit: str = ""
    shift: int = 0
    bias: int = 0
    view: View | None = None

    @property
    def mask(self) -> int:
        """The field's bits in place."""
        return (1 << self.width) - 1 << self.low

    @property
    def shown(self) -> str:
        """What lspci calls it."""
        return self.label or self.name

    def raw(self, register: int) -> int:
        """Return the field's content in a register's value."""
        return register >> self.low & (1 << self.width) - 1

    def number(self, register: int) -> int:
        """Return the field as a number of its unit."""
        return (self.raw(register) << self.shift) + self.bias

    def value(self, register: int) -> int | str | bool:
        """Return the field typed: a flag, a meaning, or a number."""
        raw = self.raw(register)
        if self.values is not None:
            return self.values.get(raw, self.values.get(None, raw))
        return bool(raw) if self.width == 1 else self.number(register)

    def encode(self, value: int | str | bool) -> int:
        """Return the content that means *value*.

        :raises ValueError: if nothing means it.
        """
        if self.values is not None:
            for raw, meaning in self.values.items():
                if meaning == value and raw is not None:
                    return int(raw)
            known = ", ".join(str(meaning) for raw, meaning in self.values.items() if raw is not None)
            raise ValueError(f"{self.name}: {value!r} is none of {known}")
        if isinstance(value, str):
            raise ValueError(f"{self.name}: {value!r} is not a number")
        raw, rest = divmod(int(value) - self.bias, 1 << self.shift)
        if rest or not 0 <= raw < 1 << self.width:
            raise ValueError(f"{self.name}: {value} does not fit in {self.width} bits")
        return raw


@dataclass(frozen=True, slots=True)
class Register:
    """A register of 1, 2, 4 or 8 bytes.

    :ivar offset: from the capability's start, in bytes; from the block's for one that repeats.
    :ivar access: of its fields, unless they say otherwise.
    :ivar when: the condition under which it exists; empty for always.
    :ivar view: what vfio-pci does with it; ``None`` for what the capability says.
    :ivar reserved: what a write does with bits without a field.
    """

    name: str
    offset: int
    size: int
    fields: tuple[Field, ...] = ()
    access: Access = Access.RO
    title: str = ""
    when: str = ""
    view: View | None = None
    reserved: Access = Access.RSVDP

    @property
    def end(self) -> int:
        """Offset after the last byte."""
        return self.offset + self.size

    def field(self, name: str) -> Field:
        """Return a field by name.

        :raises KeyError: if there is none.
        """
        for each in self.fields:
            if each.name == name:
                return each
        raise KeyError(name)

    def access_of(self, field: Field) -> Access:
        """Return what software may do with one of its fields."""
        return field.access or self.access


class Place(NamedTuple):
    """Where one of a run of blocks lies.

    :ivar block: which of the capability's blocks.
    :ivar label: what tells it from its neighbours: ``0``, ``2_1``.
    :ivar offset: from the capability's start, in bytes.
    """

    block: int
    label: str
    offset: int


@dataclass(frozen=True, slots=True)
class Need:
    """A place in lspci's text that needs bytes: where they cannot be read it says *otherwise* and stops.

    :ivar size: bytes, or an expression for them.
    :ivar goes_on: whether only the block stops, and the next one is tried.
    """

    offset: int
    size: int | str
    otherwise: str = ""
    goes_on: bool = False

    @property
    def condition(self) -> str:
        """What must hold, of one whose size is an expression."""
        return f"{self.offset} + {self.size} <= room" if isinstance(self.size, str) else ""


Text = tuple["str | tuple[str, str] | Need | None", ...]
"""lspci's text: pieces, pieces with a condition, what must be readable; ``None`` stands for the blocks.

In a piece, ``{Reg.Field}`` is a number, or ``+`` or ``-`` for a flag; ``{Reg.Field:08x}`` a number in a
format;
``{Reg.Field=}`` the meaning; ``{Reg|A B}`` flags with labels; ``{name(Reg.Field, Reg)}`` what a function of
:mod:`vfiokit.pci.registers.wording` makes of contents.
"""


@dataclass(frozen=True, slots=True)
class Block:
    """Registers that repeat.

    :ivar name: goes before the names of its registers, with the number of the repetition.
    :ivar offset: of the first, from the capability's start, in bytes.
    :ivar stride: from one to the next, in bytes.
    :ivar count: how many: an expression.
    :ivar first: the number of the first.
    """

    name: str
    registers: tuple[Register, ...]
    offset: int = 0
    stride: int = 0
    count: str = ""
    text: Text = ()
    first: int = 0


Walk = Callable[[bytes | bytearray, int, int], "tuple[Place, ...]"]
"""Finds blocks that do not repeat evenly: of a space, a start, and the end of what is readable."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Capability:
    """One capability structure.

    :ivar id: its identifier in the list.
    :ivar name: what accessors and selectors call it.
    :ivar title: the specification's name.
    :ivar extended: whether it stands in the extended list.
    :ivar section: where the specification describes it.
    :ivar when: tells it from others with the same identifier.
    :ivar view: what vfio-pci does with it.
    :ivar reserved: bytes without a register: start and size.
    :ivar rests_on: what the facts rest on, where it is not the specification's text.
    :ivar text: what lspci prints after the place of the capability.
    :ivar walk: finds the blocks, where they do not repeat evenly.
    """

    id: int
    name: str
    title: str
    extended: bool = False
    section: str = ""
    when: str = ""
    view: View = View.HIDDEN
    registers: tuple[Register, ...] = ()
    blocks: tuple[Block, ...] = ()
    walk: Walk | None = None
    reserved: tuple[tuple[int, int], ...] = ()
    rests_on: str = ""
    text: Text = ()

    def view_of(self, register: Register, field: Field | None = None) -> View:
        """Return what vfio-pci does with a register of this, or with one of its fields."""
        if self.view is View.HIDDEN:
            return View.HIDDEN
        return (field and field.view) or register.view or self.view

    def register(self, name: str) -> Register:
        """Return a register that does not repeat, by name.

        :raises KeyError: if there is none.
        """
        for each in self.registers:
            if each.name == name:
                return each
        raise KeyError(name)


class Facts(NamedTuple):
    """What conditions may ask of the function.

    :ivar header: header type.
    :ivar port: device/port type, -1 for a conventional function.
    :ivar vendor: vendor identifier.
    :ivar device: device identifier.
    :ivar memory: whether it has a memory BAR.
    :ivar first: whether it is device 0, function 0.
    :ivar lanes: its maximum link width.
    """

    header: int = 0
    port: int = -1
    vendor: int = 0xFFFF
    device: int = 0xFFFF
    memory: bool = False
    first: bool = True
    lanes: int = 0


FACTS = (*Facts._fields, "version", "room")
"""The names of facts; ``version`` is that of an extended capability, ``room`` what is readable, in bytes."""

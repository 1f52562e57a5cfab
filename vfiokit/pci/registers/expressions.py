"""From the rows' conditions and counts to functions of a space, a place in it and the facts of the function.

An expression is Python over ``Register.Field``, the content of a field of the same capability, over
``Register.all``, the content of a whole register, over facts and over the names of port types.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from vfiokit.pci.registers.rows import FACTS, Capability, Facts, Register

__all__ = ["PORT_NAMES", "answers", "content", "key", "referenced"]

PORT_NAMES = {
    "ENDPOINT": 0,
    "LEGACY_ENDPOINT": 1,
    "ROOT_PORT": 4,
    "UPSTREAM_PORT": 5,
    "DOWNSTREAM_PORT": 6,
    "PCIE_TO_PCI_BRIDGE": 7,
    "PCI_TO_PCIE_BRIDGE": 8,
    "RC_ENDPOINT": 9,
    "EVENT_COLLECTOR": 10,
}
"""Port types that expressions may name (PCIe 6.0, 7.5.3.2)."""

_REFERENCE = re.compile(r"\b([A-Z]\w*)\.(\w+)\b")
_NAME = re.compile(r"\b[a-z_]+\b")
_KEY_BITS = 16
_LOCAL = {"version": "s[b+2]&15", "room": "l-b"}

Function = Callable[[bytes | bytearray, int, Facts, int], Any]
"""Of a space, a capability's start, facts, and the end of what is readable."""


def referenced(text: str) -> tuple[tuple[str, str], ...]:
    """Return the registers and fields that an expression names.

    >>> referenced("Flags.Slot and port == ROOT_PORT")
    (('Flags', 'Slot'),)
    """
    return tuple((match[1], match[2]) for match in _REFERENCE.finditer(text))


def content(register: Register, start: str, mask: int) -> str:
    """Return an expression for some bits of a register in a space ``s``, in place."""
    parts = []
    for byte in range(register.size):
        bits = mask >> 8 * byte & 0xFF
        if bits:
            one = f"s[{start}+{register.offset + byte}]" + ("" if bits == 0xFF else f"&{bits}")
            parts.append(f"({one})<<{8 * byte}" if byte else f"({one})")
    return "(" + "|".join(parts or ["0"]) + ")"


def answers(row: Capability, expressions: Sequence[str], result: str) -> tuple[int, Function]:
    """Build a function that returns *result*, which is made of the expressions.

    :return: how many bytes of the capability it looks at, and the function.
    """
    registers = {each.name: each for each in row.registers}

    def put(match: re.Match[str]) -> str:
        register = registers[match[1]]
        if match[2] == "all":
            return content(register, "b", (1 << 8 * register.size) - 1)
        field = register.field(match[2])
        return f"({content(register, 'b', field.mask)}>>{field.low})"

    used = [name for text in expressions for name in _NAME.findall(text) if name in FACTS]
    return _bytes_of(row, expressions), _function(row, used, _REFERENCE.sub(put, result))


def key(row: Capability, expressions: Sequence[str]) -> Function | None:
    """Build a function that returns something that decides all expressions, and is cheaper than they are.

    :return: ``None`` if there is no expression, or no such thing that is small.
    """
    masks: dict[str, int] = {}
    registers = {each.name: each for each in row.registers}
    for name, field in (pair for text in expressions for pair in referenced(text)):
        whole = (1 << 8 * registers[name].size) - 1
        masks[name] = masks.get(name, 0) | (whole if field == "all" else registers[name].field(field).mask)
    used = [name for text in expressions for name in _NAME.findall(text) if name in FACTS]
    terms = [content(registers[name], "b", mask) for name, mask in masks.items()] + sorted({*used})
    if not terms or sum(mask.bit_count() for mask in masks.values()) > _KEY_BITS:
        return None
    return _function(row, used, terms[0] if len(terms) == 1 else f"({', '.join(terms)})")


def _bytes_of(row: Capability, expressions: Sequence[str]) -> int:
    names = {name for text in expressions for name, _ in referenced(text)}
    version = 4 if any("version" in _NAME.findall(text) for text in expressions) else 0
    return max((each.end for each in row.registers if each.name in names), default=version)


def _function(row: Capability, used: Sequence[str], result: str) -> Function:
    lines = [f"    {name} = f.{name}" for name in sorted({*used} - {*_LOCAL})]
    lines += [f"    {name} = {source}" for name, source in _LOCAL.items() if name in used]
    source = "\n".join(["def answer(s, b, f, l):", *lines, f"    return {result}", ""])
    names: dict[str, Any] = dict(PORT_NAMES)
    exec(compile(source, f"<{row.name}>", "exec"), names)
    function: Function = names["answer"]
    return function

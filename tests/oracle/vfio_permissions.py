"""What vfio-pci's own source says of every bit: its permission tables, read from the kernel's C."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.vm.kernel import cache_directory, installed_source

__all__ = ["Permissions", "Tables", "tables"]

_TREE = "linux-source-6.12"
_FILES = ("include/uapi/linux/pci_regs.h", "drivers/vfio/pci/vfio_pci_config.c")
_DEFINE = re.compile(r"^#define\s+(\w+)\s+(\S.*?)\s*(?:/\*.*)?$", re.M)
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_FUNCTION = re.compile(r"^static int (?:__init )?(init_pci\w*_perm)\([^)]*\)\n\{\n(.*?)^\}", re.M | re.S)
_SET = re.compile(r"p_set([bwd])\(perm, ([^,]+), (.*), ([^,]+)\)")
_LENGTHS = re.compile(r"(pci_(?:ext_)?cap_length)\[.*?\] = \{(.*?)^\};", re.M | re.S)
_LENGTH = re.compile(r"\[(\w+)\]\s*=\s*(\w+)")
_INSTALLED = re.compile(r"(init_pci\w*_perm)\(&(e?cap)_perms\[(\w+)\]\)")
_RAW = re.compile(r"(e?cap)_perms\[(\w+)\]\.writefn = vfio_raw_config_write")
_SIZES = {"b": 1, "w": 2, "d": 4}
VARIABLE = 0xFF


@dataclass
class Permissions:
    """Two masks over the bytes of a capability: what is a copy of the driver's, and what may be written.

    :ivar acts: whether the driver has a function of its own for writes.
    :ivar raw: whether every write goes to the device.
    """

    copied: dict[int, int] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)
    acts: bool = False
    raw: bool = False

    def bits(self, offset: int, size: int) -> tuple[int, int]:
        """Return both masks of *size* bytes."""
        place = range(offset, offset + size)
        return tuple(  # type: ignore[return-value]
            int.from_bytes(bytes(mask.get(at, 0) for at in place), "little")
            for mask in (self.copied, self.written)
        )


@dataclass(frozen=True)
class Tables:
    """Lengths and permissions, by whether the capability is extended and by its identifier.

    A length is 0 for a capability that is left out of the list, and ``VARIABLE`` where the driver reads it
    from the device.
    """

    lengths: Mapping[tuple[bool, int], int]
    permissions: Mapping[tuple[bool, int], Permissions]
    message: Callable[[int], Permissions]
    """Of MSI, by the content of its flags."""


def tables() -> Tables:
    """Read them of the source that the lab's kernel is built from.

    :raises Unavailable: if it is not on this machine.
    """
    header, source = map(_COMMENT.sub, ("", ""), _sources())
    return _parse(header, source)


def _sources() -> list[str]:
    """Return both files, unpacked once for each archive: it takes 20 seconds."""
    source = installed_source()
    kept = cache_directory() / "vfio-pci" / source.version
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=kept.parent))
        names = [f"{_TREE}/{name}" for name in _FILES]
        command = ["tar", "-xf", str(source.archive), "-C", str(fresh), "--strip-components=1", *names]
        subprocess.run([*command, "--occurrence=1"], check=True)
        try:
            os.rename(fresh, kept)
        except OSError:
            # Another worker was faster.
            shutil.rmtree(fresh)
            if not kept.exists():
                raise
    return [(kept / name).read_text() for name in _FILES]


def _parse(header: str, source: str) -> Tables:
    names = dict(_DEFINE.findall(header)) | dict(_DEFINE.findall(source))

    def number(text: str) -> int:
        return _evaluate(text, names)

    bodies = dict(_FUNCTION.findall(source))
    permissions = {}
    for name, kind, identifier in _INSTALLED.findall(source):
        permissions[kind == "ecap", number(identifier)] = _permissions(bodies[name], number, 0)
    for kind, identifier in _RAW.findall(source):
        permissions[kind == "ecap", number(identifier)] = Permissions(raw=True)
    lengths = {
        ("ext" in table, number(identifier)): number(length)
        for table, body in _LENGTHS.findall(source)
        for identifier, length in _LENGTH.findall(body)
    }
    message = bodies["init_pci_cap_msi_perm"]
    return Tables(lengths, permissions, lambda flags: _permissions(message, number, flags))


def _evaluate(text: str, names: Mapping[str, str]) -> int:
    """Return the value of a C expression of constants."""
    text = re.sub(r"\(u(?:8|16|32)\)", "", text)

    def known(match: re.Match[str]) -> str:
        word = match[0]
        if word[0].isdigit():
            return str(int(re.sub(r"[uUlL]+$", "", word), 0))
        return str(_evaluate(names[word], names))

    return int(eval(re.sub(r"\w+", known, text), {"__builtins__": {}}, {}))


def _permissions(body: str, number: Callable[[str], int], flags: int) -> Permissions:
    """Carry out the function that fills a table: assignments, calls, and conditions on the flags."""
    found = Permissions(acts="perm->writefn" in body)
    variables: dict[str, int] = {}

    def value(text: str) -> int:
        return variables[text] if text in variables else number(text)

    for statement in _statements(body, number, flags):
        if match := re.fullmatch(r"(\w+) = (.*)", statement):
            variables[match[1]] = number(match[2])
        elif match := _SET.fullmatch(statement):
            size = _SIZES[match[1]]
            for mask, text in ((found.copied, match[3]), (found.written, match[4])):
                content = value(text.strip()) & ((1 << 8 * size) - 1)
                offset = number(match[2])
                mask.update(enumerate(content.to_bytes(size, "little"), offset))
        else:
            assert "p_set" not in statement, statement
    return found


def _statements(body: str, number: Callable[[str], int], flags: int) -> Iterator[str]:
    """Yield the statements that are reached."""
    reached, left = [True], False
    for part in re.split(r"(?<=[;{}])", " ".join(body.split())):
        text = part.strip()
        if match := re.search(r"if \(flags & (\w+)\) \{$", text):
            reached.append(reached[-1] and bool(flags & number(match[1])))
        elif text == "else {":
            reached.append(reached[-1] and not left)
        elif text == "}":
            left = reached.pop()
        elif reached[-1]:
            yield text.rstrip(";")


def classes(permissions: Permissions, offset: int, size: int, mask: int) -> set[tuple[bool, bool]]:
    """Return what the bits of a mask are: whether copied, and whether written, each combination once."""
    copied, written = permissions.bits(offset, size)
    return {
        (bool(copied >> bit & 1), bool(written >> bit & 1)) for bit in range(8 * size) if mask >> bit & 1
    }

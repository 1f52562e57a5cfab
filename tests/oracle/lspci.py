"""What the installed lspci says of a dump: capabilities by offset, and the values in each line."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["Said", "needs_lspci", "run_lspci", "said", "values"]

needs_lspci = pytest.mark.skipif(
    shutil.which("lspci") is None, reason="no lspci (apt-get install pciutils): nothing was compared with it"
)
_FUNCTION = re.compile(r"\n(?=(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] )")
_CAPABILITY = re.compile(r"\tCapabilities: \[([0-9a-f]+)(?: v([0-9a-f]+))?\] (.*)")
_LABEL = re.compile(r"^\t+ *([A-Z][\w#/ ]*?):")
_FLAG = re.compile(r"(?<![\w./-])([A-Za-z][\w.]*)([+-])(?![\w])")
_NUMBER = re.compile(r"(?<![\w./-])([A-Za-z]\w*)(?:=| (?=[0-9]))([^\s,;]+)")


class Said(NamedTuple):
    """One capability in lspci's words.

    :ivar offset: where it is.
    :ivar version: of an extended one, or empty.
    :ivar lines: its text: the first line after its place, then those below it.
    """

    offset: int
    version: str
    lines: tuple[str, ...]


@cache
def version() -> str:
    """Return the version of the installed lspci."""
    run = subprocess.run(["lspci", "--version"], capture_output=True, text=True, check=True)
    return run.stdout.split()[-1]


def run_lspci(dump: str, directory: Path) -> list[str]:
    """Return the text of each function of a dump, as ``lspci -n -vvv -F`` prints it."""
    file = directory / "drawn.dump"
    file.write_text(dump)
    command = ["lspci", "-n", "-vvv", "-F", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return _FUNCTION.split(run.stdout)


def said(text: str) -> list[Said]:
    """Return the capabilities in one function's text."""
    found: list[tuple[int, str, list[str]]] = []
    for line in text.splitlines():
        head = _CAPABILITY.match(line)
        if head:
            found.append((int(head[1], 16), head[2] or "", [head[3]]))
        elif found and line.startswith("\t\t"):
            found[-1][2].append(line)
    return [Said(offset, version, tuple(lines)) for offset, version, lines in found]


def values(lines: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield flags and values in a capability's lines: the label of the line, the name, sign or value."""
    label = ""
    for line in lines[1:]:
        head = _LABEL.match(line)
        label = head[1] if head else label
        rest = line[head.end() :] if head else line
        for name, sign in _FLAG.findall(rest):
            yield label, name, sign
        for name, number in _NUMBER.findall(rest):
            yield label, f"{name}=", number

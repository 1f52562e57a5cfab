"""Shell completion as the shells ask for it: through click's protocol, and by a Bash with our script."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vfiokit.address import PciAddress
from vfiokit.model.device import PciDevice
from vfiokit.model.group import IommuGroup
from vfiokit.model.host import Host
from vfiokit.testing import layout, write_tree

ADDRESSES = ("0000:00:02.0", "0000:3b:00.0", "0000:3b:00.1", "0001:3b:00.0", "10000:e1:00.0")
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a host with functions in three domains, one group each."""
    addresses = [PciAddress.parse(text) for text in ADDRESSES]
    host = Host(
        devices=tuple(
            PciDevice(address=address, vendor=0x8086, device=0x10FB, class_code=0x020000, group=number)
            for number, address in enumerate(addresses)
        ),
        groups=tuple(IommuGroup(id=number, devices=(address,)) for number, address in enumerate(addresses)),
    )
    directory = tmp_path_factory.mktemp("host")
    write_tree(layout(host), directory)
    return directory


def ask(shell: str, words: str, word: str) -> list[str]:
    """Ask click for completions and return its answer's lines."""
    environment = {
        **ENVIRONMENT,
        "_VFIOKIT_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": word,
    }
    answer = subprocess.run(
        [sys.executable, "-m", "vfiokit"], env=environment, capture_output=True, text=True, check=True
    )
    return [line for line in answer.stdout.splitlines() if line]


def bash(root: Path, line: str) -> list[str]:
    """Run our script and its function in Bash, with the line split as readline splits it."""
    words = [word for word in re.split(r"(:+)|\s+", line) if word] + ([""] if line.endswith(" ") else [])
    script = f"""
        eval "$(_VFIOKIT_COMPLETE=bash_source vfiokit)"
        COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
        COMP_LINE=$1 COMP_POINT=${{#1}} COMP_CWORD={len(words) - 1}
        shift
        COMP_WORDS=("$@")
        _vfiokit_completion vfiokit
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    answer = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", line, *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stderr == ""
    return answer.stdout.splitlines()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("0000:3b", ["0000:3b:00.0", "0000:3b:00.1"]),
        ("1", ["10000:e1:00.0"]),
        ("3b:", ["3b:00.0", "3b:00.1"]),
        ("group:4", ["group:4"]),
        ("ffff", []),
        ("", [*ADDRESSES, *(f"group:{number}" for number in range(5))]),
    ],
)
def test_bash_is_given_whole_selectors(root: Path, word: str, expected: list[str]) -> None:
    answer = ask("bash", f"vfiokit --root {root} groups {word}", word)
    assert answer == [f"plain,{text}" for text in expected]


@pytest.mark.parametrize("command", ["groups", "why", "why 0000:00:02.0", "groups --json"])
def test_every_place_for_a_selector_completes(root: Path, command: str) -> None:
    assert ask("bash", f"vfiokit --root {root} {command} 0001", "0001") == ["plain,0001:3b:00.0"]


def test_zsh_and_fish_are_given_the_same(root: Path) -> None:
    line = f"vfiokit --root {root} why 0000:3b:00.1"
    assert ask("zsh", line, "4") == ["plain", "0000:3b:00.1", "_"]
    assert ask("fish", line, "0000:3b:00.1") == ["plain,0000:3b:00.1"]


def test_a_root_that_is_none_completes_to_nothing(tmp_path: Path) -> None:
    assert ask("bash", f"vfiokit --root {tmp_path}/none why 0", "0") == []


def test_commands_complete() -> None:
    assert ask("bash", "vfiokit w", "w") == ["plain,watch", "plain,why"]


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(
    ("typed", "replies"),
    [
        ("0000:3", ["3b:00.0", "3b:00.1"]),
        ("0000:3b:", ["00.0", "00.1"]),
        ("3b", ["3b:00.0", "3b:00.1"]),
        ("group:3", ["3"]),
        ("10000", ["10000:e1:00.0"]),
    ],
)
def test_bash_replaces_what_follows_the_last_colon(root: Path, typed: str, replies: list[str]) -> None:
    assert bash(root, f"vfiokit --root {root} groups {typed}") == replies


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_tab_completes_an_address_at_a_prompt(root: Path) -> None:
    """Type into an interactive Bash, press Tab, and run what stands there then."""
    setup = (
        'PS1=; eval "$(_VFIOKIT_COMPLETE=bash_source vfiokit)"; bind "set bell-style none"; echo rea""dy\n'
    )
    terminal, inner = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        env={**ENVIRONMENT, "TERM": "dumb"},
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    )
    try:
        os.write(terminal, setup.encode())
        read_until(terminal, b"ready\r\n")
        os.write(terminal, f"vfiokit --root {root} groups --format forum 0000:0\t".encode())
        read_until(terminal, b"0000:00:02.0 ")
        os.write(terminal, b"; echo status $?\n")
        seen = read_until(terminal, b"status 0")
    finally:
        shell.kill()
        shell.wait()
        os.close(inner)
        os.close(terminal)
    assert b"IOMMU Group 0:" in seen
    assert b"IOMMU Group 1:" not in seen


def read_until(terminal: int, wanted: bytes, seconds: float = 60.0) -> bytes:
    """Read a terminal until *wanted* has come; fail with what came instead."""
    seen = b""
    end = time.monotonic() + seconds
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{wanted!r} did not come: {seen!r}"
        seen += os.read(terminal, 4096)
    return seen

"""The ``console`` blocks of the documentation: run, compared with what the page shows, written anew.

``python -m tests.repo.consoles docs/tutorial/*.md`` replaces the output that the pages show by what the
commands print now. A block that shows ``...`` and still matches is left as it is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PCI_IDS = Path(__file__).parent / "pci.ids"
_BLOCK = re.compile(r"^```\{?(?:code-block\} )?console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """One command and what the page shows below it."""

    command: str
    output: str

    def matches(self, output: str) -> bool:
        """Whether *output* is what the page shows; ``...`` there stands for anything."""
        pattern = ".*".join(map(re.escape, self.output.split("...")))
        return re.fullmatch(pattern, output, re.DOTALL) is not None

    def __str__(self) -> str:
        return "$ " + self.command.replace("\n", "\n> ") + "\n" + self.output


def pages() -> list[Path]:
    """Return every page that shows commands with their output."""
    found = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("[a-z]*/**/*.md"))]
    return [page for page in found if page.is_file() and _BLOCK.search(page.read_text())]


def steps(text: str) -> list[Step]:
    """Return the commands of a page, in order."""
    return [step for block in _BLOCK.finditer(text) for step in _steps_of(block[1])]


def run(todo: list[Step], directory: Path) -> Iterator[str]:
    """Run a page's commands, one after the other in one directory, and yield what each prints."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "VFIOKIT_PCI_IDS": str(PCI_IDS),
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }
    status = 0
    for step in todo:
        done = subprocess.run(
            ["bash", "--norc", "-c", f"(exit {status})\n{step.command}"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        status = done.returncode
        yield done.stdout


def renewed(text: str) -> str:
    """Return a page's text with the output that its commands print now."""
    with tempfile.TemporaryDirectory() as directory:
        todo = steps(text)
        printed = iter(list(run(todo, Path(directory))))

    def renew(block: re.Match[str]) -> str:
        shown = "".join(str(_renew(step, next(printed))) for step in _steps_of(block[1]))
        return block[0].replace(block[1], shown)

    return _BLOCK.sub(renew, text)


def _renew(step: Step, output: str) -> Step:
    return step if step.matches(output) else Step(step.command, output)


def _steps_of(block: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        more = 1
        while more < len(lines) and lines[more].startswith("> "):
            more += 1
        command = "".join(lines[:more]).replace("\n> ", "\n").rstrip("\n")
        yield Step(command, "".join(lines[more:]))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(renewed(page.read_text()))

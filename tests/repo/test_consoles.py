"""Every command that the documentation shows with its output prints that output."""

from pathlib import Path

import pytest

from tests.repo.consoles import CHECKOUT, Step, pages, renewed, run, steps
from vfiokit import __version__


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_page_shows_what_its_commands_print(page: Path, tmp_path: Path) -> None:
    todo = steps(page.read_text())
    for step, output in zip(todo, run(todo, tmp_path), strict=True):
        assert step.matches(output), f"{page.name}: this is printed now:\n{Step(step.command, output)}"


def test_the_tutorial_is_among_the_pages() -> None:
    names = {str(page.relative_to(CHECKOUT)) for page in pages()}
    assert "docs/tutorial/first-look.md" in names


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("one\n", "one\n", True),
        ("one\n", "one\ntwo\n", False),
        ("one\n...\nthree\n", "one\ntwo\nthree\n", True),
        ("one ... three\n", "one 2 three\n", True),
        ("a.c\n", "abc\n", False),
    ],
)
def test_what_matches(shown: str, printed: str, expected: bool) -> None:
    assert Step("true", shown).matches(printed) is expected


def test_a_page_is_renewed_where_it_is_wrong_and_nowhere_else() -> None:
    shown = "$ printf 'a\\nb\\n'\na\n...\n$ false\n$ echo $? \\\n> end\n0 end\n"
    page = f"# T\n\n```console\n{shown}```\n\n```sh\n$ x\n```\n"
    assert renewed(page) == page.replace("0 end", "1 end")


def test_pages_run_in_a_shell_that_finds_the_command(tmp_path: Path) -> None:
    (version,) = run([Step("vfiokit --version", "")], tmp_path)
    assert version == f"vfiokit {__version__}\n"

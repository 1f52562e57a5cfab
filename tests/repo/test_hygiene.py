"""What no file of the repository may hold: a machine's paths, a registry's address, an inside name."""

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

# Each pattern keeps one letter in brackets, so that this file does not match itself.
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.}])/(?:roo[t]|hom[e]/[a-z]\w*|wor[k]|mn[t]|tm[p]/wt)/",
    "a choice of package index": r"(?i)\b(?:extra-)?index-ur[l]\b|\btrusted-hos[t]\b|/simpl[e]/",
    "a host of a package registry": r"(?i)\b(?:(?:pypi|pythonhoste[d])\.or[g]|npmjs\.co[m]|crates\.i[o])\b",
    "a name from inside a network": r"https?://(?:[\w-]+\.)*[\w-]+\.(?:interna[l]|loca[l]|la[n]|cor[p])\b",
    "a bare address with a port": r"https?://\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KE[Y]-----",
}


def tracked() -> list[Path]:
    """Return the files under version control, and those that would be with the next commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("no checkout: the files under version control are not known")
    found = (CHECKOUT / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in found if path.is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    hits = [
        f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "ignore").splitlines(), 1)
        if pattern.search(line)
    ]
    assert hits == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path of one machine", "see /wor" + "k/here"),
        ("a path of one machine", '"/hom' + "e/anna/x"),
        ("a choice of package index", "pip install --index-ur" + "l=x"),
        ("a host of a package registry", "files.python" + "hosted.org"),
        ("a name from inside a network", "https" + "://cache.build.interna" + "l/x"),
        ("a bare address with a port", "http" + "://10.0.0.1:8080"),
    ],
)
def test_the_patterns_find_what_they_are_for(what: str, text: str) -> None:
    assert re.search(FORBIDDEN[what], text)


def test_no_large_or_binary_file_but_captures() -> None:
    for path in tracked():
        if path.suffix != ".xz":
            assert b"\0" not in path.read_bytes()[:8192], path
        assert path.stat().st_size < 1 << 20, path

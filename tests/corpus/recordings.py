"""Where recordings of real machines are, which are no part of the project."""

import os
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def corpus(folder: str) -> Path:
    """Return a folder of the corpus; it need not exist."""
    named = os.environ.get("VFIOKIT_CORPUS")
    return (Path(named) if named else CHECKOUT.parent / "shared" / "corpus") / folder


def paths(folder: str, pattern: str) -> list[Path]:
    """Return the files of a folder, in order of name."""
    return sorted(corpus(folder).glob(pattern))


def files(folder: str, pattern: str) -> list[Any]:
    """Return the files of a folder as parameters, or one that skips loudly."""
    found = paths(folder, pattern)
    if not found:
        reason = f"{corpus(folder)} has no {pattern}: real recordings were NOT compared"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [pytest.param(path, id=path.name) for path in found]

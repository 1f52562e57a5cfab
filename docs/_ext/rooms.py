"""A page of reference for each room of the library: new modules and rooms appear by themselves."""

import inspect
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import vfiokit

__all__ = ["setup"]

_PAGES = Path("reference", "library")
_NOT_LIBRARY = ("vfiokit.__main__", "vfiokit.cli", "vfiokit.render")


def write_pages(app: Sphinx) -> None:
    """Write the pages that changed and remove those whose room is gone."""
    directory = Path(app.srcdir, _PAGES)
    pages = {directory / f"{room}.rst": _page(room, names) for room, names in _rooms().items()}
    for stale in set(directory.glob("vfiokit*.rst")) - pages.keys():
        stale.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _rooms() -> dict[str, list[str]]:
    """Return each room's public modules: a room is a package, and what lies at the top is one together."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for found in pkgutil.walk_packages(vfiokit.__path__, "vfiokit."):
        private = any(part.startswith("_") for part in found.name.split("."))
        if private or found.name.startswith(_NOT_LIBRARY):
            continue
        top = found.name.split(".")[1]
        rooms[f"vfiokit.{top}" if found.ispkg or found.name.count(".") > 1 else "vfiokit"].append(found.name)
    return rooms


def _page(room: str, names: list[str]) -> str:
    return "\n".join(_lines(room, names)) + "\n"


def _lines(room: str, names: list[str]) -> Iterator[str]:
    yield from (room, "=" * len(room), "")
    if room not in names:
        yield from (f".. automodule:: {room}", "   :no-members:", "")
    for name in names:
        yield from _module(name, is_room=name == room)


def _module(name: str, *, is_room: bool) -> Iterator[str]:
    if is_room:
        # What a room's own file re-exports is described where it is defined.
        yield from (f".. automodule:: {name}", "   :no-members:", "")
        return
    yield from (name, "-" * len(name), "", f".. automodule:: {name}", "")


def keep(_app: Sphinx, what: str, name: str, obj: Any, skip: bool, _options: Any) -> bool | None:
    """Show every member of an enumeration, and no field of a named tuple twice."""
    if isinstance(obj, Enum):
        return False
    if type(obj).__name__ == "_tuplegetter" or inspect.ismemberdescriptor(obj):
        return True
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for sources."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-skip-member", keep)
    return {"parallel_read_safe": True}

"""The one place where the C extension is imported: ``from vfiokit._native import ffi, lib``.

The extension is loaded at the first use of either name, so that what opens no device works where it was not
built.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vfiokit.errors import NotSupported

if TYPE_CHECKING:
    from vfiokit._native._ffi import ffi, lib

__all__ = ["available", "ffi", "lib"]


def available() -> bool:
    """Whether the extension is built and loads."""
    try:
        _load()
    except NotSupported:
        return False
    return True


def __getattr__(name: str) -> Any:
    if name not in ("ffi", "lib"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _load()
    globals().update(ffi=module.ffi, lib=module.lib)
    return globals()[name]


def _load() -> Any:
    try:
        return import_module("vfiokit._native._ffi")
    except ImportError as error:
        raise NotSupported(
            f"the C extension is not usable: {error}",
            operation="load",
            subject="vfiokit._native._ffi",
            hint="build it with a C compiler at hand: pip install . or pip install -e .",
        ) from error

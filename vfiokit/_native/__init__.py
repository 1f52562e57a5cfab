"""The one place where the C extensions are imported: ``from vfiokit._native import ffi, lib, quick``.

They are loaded at the first use of a name, so that what opens no device works where they were not built.
``ffi`` and ``lib`` are cffi's; ``quick`` is for what is called so often that cffi's cost would be the most.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vfiokit.errors import NotSupported

if TYPE_CHECKING:
    from vfiokit._native import _quick as quick
    from vfiokit._native._ffi import ffi, lib

__all__ = ["available", "ffi", "lib", "quick"]


def available() -> bool:
    """Whether the extensions are built and load."""
    try:
        _load("_ffi")
        _load("_quick")
    except NotSupported:
        return False
    return True


def __getattr__(name: str) -> Any:
    if name in ("ffi", "lib"):
        module = _load("_ffi")
        globals().update(ffi=module.ffi, lib=module.lib)
    elif name == "quick":
        globals()[name] = _load("_quick")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def _load(name: str) -> Any:
    try:
        return import_module(f"vfiokit._native.{name}")
    except ImportError as error:
        raise NotSupported(
            f"the C extension is not usable: {error}",
            operation="load",
            subject=f"vfiokit._native.{name}",
            hint="build it with a C compiler at hand: pip install . or pip install -e .",
        ) from error

"""Describe the extension to cffi: every ``*.cdef`` and every ``*.c`` of this folder, one module.

Run by setuptools through ``cffi_modules``, never imported by the package. A new part is three files:
``part.h`` and ``part.c``, and ``part.cdef`` with what Python may call. Nothing has to be listed here.
"""

from pathlib import Path

from cffi import FFI

__all__ = ["builder"]

# setuptools takes paths below the project's root only; the folder comes by the same way.
_FOLDER = Path(__file__).parent
_ROOT = _FOLDER.resolve().parents[1]
_RELATIVE = _FOLDER.resolve().relative_to(_ROOT)


def builder() -> FFI:
    """Put the declarations together and say what to compile."""
    ffi = FFI()
    for declarations in _names("*.cdef"):
        ffi.cdef((_FOLDER / declarations).read_text())
    headers = _names("*.h")
    ffi.set_source(
        "vfiokit._native._ffi",
        "".join(f'#include "{header}"\n' for header in headers),
        sources=[str(_RELATIVE / source) for source in _names("*.c")],
        depends=[str(_RELATIVE / header) for header in headers],
        include_dirs=[str(_RELATIVE)],
        extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
        py_limited_api=True,
    )
    return ffi


def _names(pattern: str) -> list[str]:
    # _ffi.c is what cffi writes in an editable build.
    return sorted(path.name for path in _FOLDER.glob(pattern) if not path.name.startswith("_"))

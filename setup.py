"""The C extensions and the tag of their wheel; everything else is in pyproject.toml."""

from setuptools import Extension, setup

QUICK = Extension(
    "vfiokit._native._quick",
    ["vfiokit/_native/_quick.c"],
    depends=["vfiokit/_native/access.h"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
    py_limited_api=True,
)

setup(
    cffi_modules=["vfiokit/_native/build.py:builder"],
    ext_modules=[QUICK],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

"""The C extension and the tag of its wheel; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["vfiokit/_native/build.py:builder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

"""What the guest tests share: the kernels, and how they skip.

VFIOKIT_LAB says what to do where the lab cannot run: `auto` (the default) skips and says so at the end
of the run, `require` fails, `off` skips all of it. The newest kernel is used where `make lab-newest` built
it, since no test builds that one: VFIOKIT_LAB_NEWEST=require fails without it, `off` leaves it alone.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable

import pytest

from .asked import ask
from .guests import Report
from .initramfs import find_busybox
from .kernel import Kernel, Unavailable, newest_kernel, small_kernel, stock_kernel

LAB = os.environ.get("VFIOKIT_LAB", "auto")
LAB_NEWEST = os.environ.get("VFIOKIT_LAB_NEWEST", "auto")
PROGRAMS = ("qemu-system-x86_64", "setpriv")


@pytest.fixture(scope="session")
def small() -> Kernel:
    """Return the small kernel, built first where it is not in the cache."""
    return _kernel(small_kernel)


@pytest.fixture(scope="session")
def stock() -> Kernel:
    """Return the distribution's kernel."""
    return _kernel(stock_kernel)


@pytest.fixture(scope="session")
def newest() -> Kernel:
    """Return the newest kernel, where it was built ahead."""
    return _kernel(_newest, LAB_NEWEST)


def _newest() -> Kernel:
    if LAB_NEWEST == "off":
        raise Unavailable("VFIOKIT_LAB_NEWEST=off")
    return newest_kernel()


@pytest.fixture(scope="session")
def named(small: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Report]:
    """Return what a named topology's guest said; it boots when it is first asked for."""
    return functools.cache(lambda name: ask(small, name, tmp_path_factory.mktemp(name)))


def _kernel(find: Callable[[], Kernel], wish: str = LAB) -> Kernel:
    try:
        _check_machine()
        return find()
    except Unavailable as error:
        if wish == "require":
            raise
        pytest.skip(f"guest lab: {error}")


@functools.cache
def _check_machine() -> None:
    if LAB == "off":
        raise Unavailable("VFIOKIT_LAB=off")
    for program in PROGRAMS:
        if not shutil.which(program):
            raise Unavailable(f"no {program}: run tools/install-test-deps")
    if find_busybox() is None:
        raise Unavailable("no statically linked busybox: run tools/install-test-deps")

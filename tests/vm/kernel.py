"""Kernels for the guest lab: those built here from packaged sources, and the distribution's stock one.

`python -m tests.vm.kernel` builds ahead what the tests would otherwise build at their first need;
`python -m tests.vm.kernel newest` builds the one that tests use where it is, and never build.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

HERE = Path(__file__).parent
TOOLS = ("make", "gcc", "flex", "bison", "bc", "tar", "xz")


class Unavailable(Exception):
    """Something the lab needs is not on this machine; the message is one line."""


class BuildError(Exception):
    """A kernel could not be built from what is on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel image, and its modules where it has any."""

    name: str
    image: Path
    modules: Path | None = None
    """The directory lib/modules/RELEASE."""


def cache_directory() -> Path:
    """Where the lab keeps what it builds: never in the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vfiokit" / "lab"


def stock_kernel() -> Kernel:
    """Return the distribution's own kernel, as tools/install-test-deps unpacked it."""
    images = sorted((cache_directory() / "stock").glob("[!.]*/boot/vmlinuz-*"), key=_version_key)
    if not images:
        raise Unavailable("no stock kernel in the cache: run tools/install-test-deps")
    image = images[-1]
    release = image.name.removeprefix("vmlinuz-")
    modules = next(image.parent.parent.glob(f"**/lib/modules/{release}"))
    if not (modules / "modules.dep").exists():
        raise Unavailable(f"stock kernel {release} has no modules.dep: run tools/install-test-deps")
    return Kernel(name="stock", image=image, modules=modules)


def _version_key(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A kernel's source as the distribution packs it."""

    archive: Path
    version: str


def installed_source() -> Source:
    """Return the source of the small kernel, which is an installed package."""
    archive = Path("/usr/src/linux-source-6.12.tar.xz")
    if not archive.exists():
        raise Unavailable(f"no {archive}: run tools/install-test-deps")
    query = ["dpkg-query", "-W", "-f", "${Version}", "linux-source-6.12"]
    version = subprocess.run(query, capture_output=True, text=True, check=True).stdout.replace(":", "_")
    return Source(archive=archive, version=version)


def newest_source() -> Source:
    """Return the newest source that tools/install-test-deps --newest-kernel unpacked into the cache."""
    archives = (cache_directory() / "source").glob("[!.]*/usr/src/linux-source-*.tar.xz")
    # linux-source-7.3_7.3.4-1_all/usr/src/linux-source-7.3.tar.xz
    found = sorted(archives, key=lambda path: _version_key(path.parents[2]))
    if not found:
        raise Unavailable("no newest kernel in the cache: make lab-newest builds it")
    return Source(archive=found[-1], version=found[-1].parents[2].name.split("_")[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a kernel is built.

    :ivar configuration: the fragment that says all that is not off.
    :ivar source: finds the source, or raises :class:`Unavailable`.
    """

    name: str
    configuration: Path
    source: Callable[[], Source]

    def directory(self) -> Path:
        """Return the kernel's place in the cache: the source's version and the configuration's hash."""
        configuration = hashlib.sha256(self.configuration.read_bytes()).hexdigest()[:16]
        return cache_directory() / "kernel" / f"{self.source().version}-{configuration}"


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe(name="small", configuration=HERE / "small-kernel.config", source=installed_source),
            Recipe(name="newest", configuration=HERE / "newest-kernel.config", source=newest_source),
        )
    }
)


def built_kernel(recipe: Recipe) -> Kernel:
    """Return a kernel from the cache, built first where it is not there yet (minutes)."""
    directory = recipe.directory()
    with _locked(directory.with_name(f"{directory.name}.lock")):
        if not (directory / "bzImage").exists():
            _require_tools(recipe)
            _build(recipe, directory)
    return Kernel(name=recipe.name, image=directory / "bzImage")


def cached_kernel(recipe: Recipe) -> Kernel:
    """Return a kernel that was built before; this never builds."""
    image = recipe.directory() / "bzImage"
    if not image.exists():
        raise Unavailable(f"no {recipe.name} kernel in the cache: make lab-{recipe.name} builds it")
    return Kernel(name=recipe.name, image=image)


def small_kernel() -> Kernel:
    """Return the small kernel, built first where it is not there yet."""
    return built_kernel(RECIPES["small"])


def newest_kernel() -> Kernel:
    """Return the newest kernel, if somebody built it."""
    return cached_kernel(RECIPES["newest"])


def _require_tools(recipe: Recipe) -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise Unavailable(
            f"the {recipe.name} kernel cannot be built without {', '.join(missing)}:"
            " run tools/install-test-deps"
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(recipe: Recipe, directory: Path) -> None:
    """Unpack, configure and compile next to the final place, and move there only what a boot needs."""
    work = directory.with_name(f"{directory.name}.building")
    # The lock is ours, so whatever is here was left by a build that was killed.
    shutil.rmtree(work, ignore_errors=True)
    result = work / "result"
    result.mkdir(parents=True)
    try:
        with (result / "build.log").open("wb") as log:
            _compile(recipe, work, result, _Steps(recipe.name, log.fileno()))
        os.rename(result, directory)
    except subprocess.CalledProcessError as error:
        raise BuildError(_failure(error, result / "build.log")) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _compile(recipe: Recipe, work: Path, result: Path, steps: _Steps) -> None:
    tree = work / "tree"
    tree.mkdir()
    steps.run("unpacking the source", _unpack(recipe), tree)
    configure = ["make", "allnoconfig", f"KCONFIG_ALLCONFIG={recipe.configuration}"]
    steps.run("configuring", configure, tree)
    check_configuration(recipe.configuration.read_text(), (tree / ".config").read_text())
    jobs = len(os.sched_getaffinity(0))
    steps.run(f"compiling with {jobs} jobs (minutes)", ["make", f"-j{jobs}", "bzImage"], tree)
    shutil.copy(tree / "arch/x86/boot/bzImage", result)
    shutil.copy(tree / ".config", result / "config")


def _unpack(recipe: Recipe) -> list[str]:
    return ["tar", "-xf", str(recipe.source().archive), "--strip-components=1"]


def check_configuration(wanted: str, got: str) -> None:
    """Raise where an option of the fragment was dropped: an unmet dependency makes no noise in kconfig."""
    options = {line for line in wanted.splitlines() if re.fullmatch(r"CONFIG_\w+=y", line)}
    lost = sorted(options - set(got.splitlines()))
    if lost:
        raise BuildError(f"the kernel's configuration lost {', '.join(lost)}")


class _Steps:
    """Runs the commands of a build with their output in a log, telling on stderr what takes the time."""

    def __init__(self, name: str, log: int) -> None:
        self.name, self.log = name, log

    def run(self, label: str, command: list[str], directory: Path) -> None:
        started = time.monotonic()
        print(f"{self.name} kernel: {label} ...", end=" ", file=sys.stderr, flush=True)
        environment = {
            **os.environ,
            "LC_ALL": "C",
            "KBUILD_BUILD_USER": "lab",
            "KBUILD_BUILD_HOST": "vfiokit",
        }
        # make passes its own job server and flags down to a recipe that calls us.
        for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
            environment.pop(name, None)
        subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            check=True,
            env=environment,
        )
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _failure(error: subprocess.CalledProcessError, log: Path) -> str:
    last = log.read_text(errors="replace").splitlines()[-20:]
    return f"{error.cmd[0]} failed with {error.returncode}; the end of its output:\n" + "\n".join(last)


def main() -> int:
    arguments = argparse.ArgumentParser(
        description="Build a kernel of the guest lab, if it is not there yet."
    )
    arguments.add_argument("name", nargs="?", choices=tuple(RECIPES), default="small")
    name = arguments.parse_args().name
    started = time.monotonic()
    try:
        kernel = built_kernel(RECIPES[name])
    except (Unavailable, BuildError) as error:
        print(f"{name} kernel: {error}", file=sys.stderr)
        return 1
    print(f"{name} kernel: {kernel.image} ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

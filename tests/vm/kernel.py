"""Kernels for the guest lab: the small one, built here from the distribution's source, and its stock one.

`python -m tests.vm.kernel` builds ahead what the tests would otherwise build at their first need.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = Path(__file__).parent / "small-kernel.config"
SOURCE = Path("/usr/src/linux-source-6.12.tar.xz")
SOURCE_PACKAGE = "linux-source-6.12"
TOOLS = ("make", "gcc", "flex", "bison", "bc", "tar", "xz")


class Unavailable(Exception):
    """Something the lab needs is not on this machine; the message is one line."""


class BuildError(Exception):
    """The small kernel could not be built from what is on this machine."""


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


def small_kernel() -> Kernel:
    """Return the small kernel from the cache, built first where it is not there yet (minutes)."""
    directory = small_kernel_directory()
    with _locked(directory.with_name(f"{directory.name}.lock")):
        if not (directory / "bzImage").exists():
            _require_tools()
            _build(directory)
    return Kernel(name="small", image=directory / "bzImage")


def small_kernel_directory() -> Path:
    """Its place in the cache: the source's version and the configuration's hash."""
    if not SOURCE.exists():
        raise Unavailable(f"no {SOURCE}: run tools/install-test-deps")
    configuration = hashlib.sha256(CONFIGURATION.read_bytes()).hexdigest()[:16]
    return cache_directory() / "kernel" / f"{_source_version()}-{configuration}"


def _source_version() -> str:
    query = ["dpkg-query", "-W", "-f", "${Version}", SOURCE_PACKAGE]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.replace(":", "_")


def _require_tools() -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise Unavailable(
            f"cannot build the small kernel without {', '.join(missing)}: run tools/install-test-deps"
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(directory: Path) -> None:
    """Unpack, configure and compile next to the final place, and move there only what a boot needs."""
    work = directory.with_name(f"{directory.name}.building")
    # The lock is ours, so whatever is here was left by a build that was killed.
    shutil.rmtree(work, ignore_errors=True)
    result = work / "result"
    result.mkdir(parents=True)
    try:
        with (result / "build.log").open("wb") as log:
            _compile(work, result, _Steps(log.fileno()))
        os.rename(result, directory)
    except subprocess.CalledProcessError as error:
        raise BuildError(_failure(error, result / "build.log")) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _compile(work: Path, result: Path, steps: _Steps) -> None:
    tree = work / "tree"
    tree.mkdir()
    steps.run("unpacking the source", ["tar", "-xf", str(SOURCE), "--strip-components=1"], tree)
    configure = ["make", "allnoconfig", f"KCONFIG_ALLCONFIG={CONFIGURATION}"]
    steps.run("configuring", configure, tree)
    check_configuration(CONFIGURATION.read_text(), (tree / ".config").read_text())
    jobs = len(os.sched_getaffinity(0))
    steps.run(f"compiling with {jobs} jobs (minutes)", ["make", f"-j{jobs}", "bzImage"], tree)
    shutil.copy(tree / "arch/x86/boot/bzImage", result)
    shutil.copy(tree / ".config", result / "config")


def check_configuration(wanted: str, got: str) -> None:
    """Raise where an option of the fragment was dropped: an unmet dependency makes no noise in kconfig."""
    options = {line for line in wanted.splitlines() if re.fullmatch(r"CONFIG_\w+=y", line)}
    lost = sorted(options - set(got.splitlines()))
    if lost:
        raise BuildError(f"the kernel's configuration lost {', '.join(lost)}")


class _Steps:
    """Runs the commands of a build with their output in a log, telling on stderr what takes the time."""

    def __init__(self, log: int) -> None:
        self.log = log

    def run(self, label: str, command: list[str], directory: Path) -> None:
        started = time.monotonic()
        print(f"small kernel: {label} ...", end=" ", file=sys.stderr, flush=True)
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
    started = time.monotonic()
    try:
        kernel = small_kernel()
    except (Unavailable, BuildError) as error:
        print(f"small kernel: {error}", file=sys.stderr)
        return 1
    print(f"small kernel: {kernel.image} ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

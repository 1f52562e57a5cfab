"""The start-up budget: what the listing commands may not load, counted in whole processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.machine import MACHINE, Tree
from vfiokit.sysfs.capture import pack
from vfiokit.testing import layout

NEVER = ("rich", "pyudev", "numpy", "asyncio", "_cffi_backend", "cffi", "hypothesis", "pytest")
ARCHIVES = ("tarfile", "lzma", "_lzma", "bz2", "_bz2", "gzip", "tempfile")
DECODERS = ("vfiokit.acpi", "vfiokit.translation", "vfiokit.testing", "vfiokit._native", "vfiokit.udev")


def loaded(*arguments: str, status: tuple[int, ...] = (0,)) -> set[str]:
    """Run the command and return the modules that it imported."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "vfiokit", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in status
    rows = (line.split("|") for line in run.stderr.splitlines() if line.startswith("import time:"))
    return {row[-1].strip() for row in rows}


def of(names: tuple[str, ...], modules: set[str]) -> set[str]:
    """Return the modules that are one of *names* or inside one."""
    return {each for each in modules if any(f"{each}.".startswith(f"{name}.") for name in names)}


def test_version_loads_next_to_nothing() -> None:
    modules = loaded("--version")
    assert "vfiokit.cli" in modules
    assert of((*NEVER, *ARCHIVES, *DECODERS, "vfiokit.analysis", "vfiokit.render", "json"), modules) == set()


def test_a_listing_loads_neither_renderer_nor_decoders_nor_archives(tree: Tree) -> None:
    modules = loaded("--root", str(tree(MACHINE)), "groups", "--json")
    assert "vfiokit.sysfs.scan" in modules
    assert of((*NEVER, *ARCHIVES, *DECODERS), modules) == set()


def test_a_listing_of_this_host_keeps_to_the_same_budget() -> None:
    modules = loaded("groups", "--json", status=(0, 3, 8))
    assert of((*NEVER, *ARCHIVES, *DECODERS), modules) == set()


def test_only_a_capture_loads_the_archive(tmp_path: Path) -> None:
    file = tmp_path / "host.tar.xz"
    file.write_bytes(pack(layout(MACHINE), kernel="6.12", tool="test"))
    modules = loaded("--root", str(file), "groups", "--json")
    assert {"tarfile", "lzma"} <= modules
    assert of((*NEVER, *DECODERS), modules) == set()


def test_the_library_imports_nothing_heavy() -> None:
    code = "import sys, vfiokit; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(run.stdout.split())
    assert of((*NEVER, *ARCHIVES, *DECODERS, "click", "vfiokit.cli", "vfiokit.analysis"), modules) == set()


def test_every_public_name_is_there_and_documented() -> None:
    import vfiokit

    for name in vfiokit.__all__:
        assert getattr(vfiokit, name).__doc__, name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = vfiokit.nonsense

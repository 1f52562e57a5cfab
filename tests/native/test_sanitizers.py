"""The C part under AddressSanitizer and UBSan: the same tests, with an extension built for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"
TESTS = (
    "tests/native/test_mmio.py",
    "tests/native/test_extension.py",
    "tests/native/test_quick.py",
    "tests/unit/test_vfio_calls.py",
    "tests/unit/test_vfio_device.py",
    "tests/unit/test_vfio_recording.py",
)

RUNNER = """
import importlib.util, sys
for name, path in zip(("_ffi", "_quick"), sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(f"vfiokit._native.{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"vfiokit._native.{name}"] = module
    spec.loader.exec_module(module)
"""


def gcc_library(name: str) -> str:
    """Find a runtime library of the compiler's."""
    said = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


@pytest.fixture(scope="module")
def extensions(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build the extensions with the sanitizers, and return their paths."""
    if shutil.which("gcc") is None or "/" not in gcc_library("libasan.so"):
        pytest.skip("no gcc with its sanitizers")
    directory = tmp_path_factory.mktemp("sanitized")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    native = directory / "vfiokit" / "_native"
    shutil.copytree(ROOT / "vfiokit" / "_native", native, ignore=ignored)
    shutil.copy(ROOT / "setup.py", directory)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=directory,
        env={**os.environ, "CFLAGS": FLAGS, "LDFLAGS": "-fsanitize=address,undefined"},
        capture_output=True,
        check=True,
    )
    return [str(native / f"{name}.abi3.so") for name in ("_ffi", "_quick")]


def run(extensions: list[str], script: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{gcc_library('libasan.so')} {gcc_library('libubsan.so')}",
        # Python's own arenas would hide what lies between objects; leaks of the interpreter are no finding.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    return subprocess.run(
        [sys.executable, "-c", RUNNER + script, *extensions],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tests_pass(extensions: list[str]) -> None:
    script = (
        f"import pytest; sys.exit(pytest.main(['-q', '-x', '-s', '-p', 'no:cacheprovider', *{TESTS!r}]))"
    )
    ended = run(extensions, script)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert " passed" in ended.stdout


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        # A window that is said to be larger than the memory below it.
        ("window.over(memory, 4096); window.read32(512)", "buffer-overflow"),
        ("window.over(memory + 1, 16); window.read32(0)", "misaligned"),
    ],
)
def test_a_mistake_would_be_found(extensions: list[str], mistake: str, said: str) -> None:
    script = (
        "from vfiokit._native import ffi\n"
        "from vfiokit.vfio.mapped import MappedWindow\n"
        "memory = ffi.new('uint8_t[64]'); window = MappedWindow('memory')\n" + mistake
    )
    ended = run(extensions, script)
    assert ended.returncode != 0
    assert said in ended.stderr

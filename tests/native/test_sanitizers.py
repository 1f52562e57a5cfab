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
    "tests/unit/test_vfio_device.py",
    "tests/unit/test_vfio_recording.py",
)

RUNNER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("vfiokit._native._ffi", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["vfiokit._native._ffi"] = module
spec.loader.exec_module(module)
"""

BUILDER = """
import runpy
builder = runpy.run_path("vfiokit/_native/build.py")["builder"]
print(builder().compile(tmpdir="."))
"""


def gcc_library(name: str) -> str:
    """Find a runtime library of the compiler's."""
    said = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the extension with the sanitizers, and return its path."""
    if shutil.which("gcc") is None or "/" not in gcc_library("libasan.so"):
        pytest.skip("no gcc with its sanitizers")
    directory = tmp_path_factory.mktemp("sanitized")
    # The sources are named from the project's root, and the result is written beside them.
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "vfiokit" / "_native", directory / "vfiokit" / "_native", ignore=ignored)
    environment = {**os.environ, "CFLAGS": FLAGS, "LDFLAGS": "-fsanitize=address,undefined"}
    built = subprocess.run(
        [sys.executable, "-c", BUILDER],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return built.stdout.splitlines()[-1]


def run(extension: str, script: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{gcc_library('libasan.so')} {gcc_library('libubsan.so')}",
        # Python's own arenas would hide what lies between objects; leaks of the interpreter are no finding.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    return subprocess.run(
        [sys.executable, "-c", RUNNER + script, extension],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tests_pass(extension: str) -> None:
    script = (
        f"import pytest; sys.exit(pytest.main(['-q', '-x', '-s', '-p', 'no:cacheprovider', *{TESTS!r}]))"
    )
    ended = run(extension, script)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert " passed" in ended.stdout


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        # A window that is said to be larger than the memory below it.
        (
            "lib.vfiokit_window_over(window, memory, 4096); lib.vfiokit_read32(window, 512)",
            "buffer-overflow",
        ),
        ("lib.vfiokit_window_over(window, memory + 1, 16); lib.vfiokit_read32(window, 0)", "misaligned"),
    ],
)
def test_a_mistake_would_be_found(extension: str, mistake: str, said: str) -> None:
    script = (
        "from vfiokit._native import ffi, lib\n"
        "memory = ffi.new('uint8_t[64]'); window = ffi.new('struct vfiokit_window *')\n" + mistake
    )
    ended = run(extension, script)
    assert ended.returncode != 0
    assert said in ended.stderr

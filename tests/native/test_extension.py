"""The extension loads, answers with -errno, and its absence is explained."""

import errno
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from vfiokit import _native
from vfiokit._native import ffi, lib

ROOT = Path(__file__).parents[2]


class TestShim:
    def test_a_wrong_descriptor_is_an_errno(self) -> None:
        assert lib.vfiokit_ioctl_value(-1, 0, 0) == -errno.EBADF

    def test_a_request_for_another_kind_of_file_is_an_errno(self) -> None:
        with open("/dev/null") as file:
            assert lib.vfiokit_ioctl(file.fileno(), termios.TIOCGWINSZ, ffi.new("char[64]")) == -errno.ENOTTY

    def test_an_answer_comes_through_the_pointer(self) -> None:
        with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
            process.wait()
            assert process.stdout is not None
            waiting = ffi.new("int *", -1)
            assert lib.vfiokit_ioctl(process.stdout.fileno(), termios.FIONREAD, waiting) == 0
            assert waiting[0] == 0


class TestImport:
    def test_it_is_there(self) -> None:
        assert _native.available()

    def test_other_names_are_attribute_errors(self) -> None:
        with pytest.raises(AttributeError, match="nothing"):
            _native.nothing  # noqa: B018

    def test_without_it_the_error_says_how_to_build(self) -> None:
        script = """
import sys
sys.modules["vfiokit._native._ffi"] = None
import vfiokit
from vfiokit import _native
from vfiokit.errors import NotSupported
assert not _native.available()
try:
    from vfiokit._native import lib
except NotSupported as error:
    assert error.exit_status == 8
    print(error)
"""
        said = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert "pip install" in said.stdout

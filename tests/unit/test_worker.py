"""The process that writes, and the locks that it keeps: with real files, pipes and processes."""

import errno
import os
import signal
from pathlib import Path

import pytest

from vfiokit.binding.locks import hold
from vfiokit.binding.worker import Worker
from vfiokit.errors import Locked, VfiokitError, WriteStuck


class TestWriting:
    def test_it_writes_what_is_there_and_says_what_is_not(self, tmp_path: Path) -> None:
        worker = Worker()
        (tmp_path / "file").write_text("before")
        worker.write(str(tmp_path / "file"), "x", 5)
        with pytest.raises(OSError, match="No such file") as caught:
            worker.write(str(tmp_path / "absent"), "x", 5)
        assert caught.value.errno == errno.ENOENT
        assert not (tmp_path / "absent").exists()
        worker.write("/dev/null", "x", 5)
        with pytest.raises(OSError, match="No space left"):
            worker.write("/dev/full", "x", 5)
        worker.close()
        assert (tmp_path / "file").read_text() == "xefore"

    def test_it_starts_again_after_its_end(self, tmp_path: Path) -> None:
        worker = Worker()
        for text in ("a", "b"):
            worker.write("/dev/null", text, 5)
            worker.close()
        worker.close()

    def test_a_write_that_does_not_return_is_left_behind(self, tmp_path: Path) -> None:
        # A pipe without a reader keeps its writer in the kernel, as a driver's removal may.
        os.mkfifo(tmp_path / "pipe")
        worker = Worker()
        with pytest.raises(WriteStuck, match=r"no answer within 0\.2 s: pid [0-9]+ is in the kernel"):
            worker.write(str(tmp_path / "pipe"), "x", 0.2)
        worker.write("/dev/null", "others go on", 5)
        worker.close()
        # When the kernel lets go, what was written comes, and the process ends by itself.
        assert (tmp_path / "pipe").read_text() == "x"
        os.wait()

    def test_a_process_that_was_killed_is_an_error(self) -> None:
        worker = Worker()
        worker.write("/dev/null", "x", 5)
        os.kill(worker._pid, signal.SIGKILL)
        with pytest.raises(OSError):  # noqa: PT011
            worker.write("/dev/null", "x", 5)
        worker.write("/dev/null", "x", 5)
        worker.close()


class TestLocks:
    def test_groups_are_apart_and_the_tool_is_one(self, tmp_path: Path) -> None:
        with (
            hold(tmp_path, [1, None], 0),
            pytest.raises(Locked, match=f"lock tool: held by pid {os.getpid()}"),
            hold(tmp_path, [2], 0),
        ):
            pass
        with hold(tmp_path, [2], 0), hold(tmp_path / "other", [2], 0):
            pass

    def test_what_is_stuck_keeps_its_group_and_nothing_else(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        worker = Worker()
        with hold(tmp_path, [1], 0), pytest.raises(WriteStuck):
            worker.write(str(tmp_path / "pipe"), "x", 0.2)
        with hold(tmp_path, [2], 0):
            pass
        with pytest.raises(Locked, match="lock group 1: held by pid"), hold(tmp_path, [1], 0.1):
            pass
        assert (tmp_path / "pipe").read_text() == "x"
        os.wait()
        with hold(tmp_path, [1], 1):
            pass

    def test_a_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(VfiokitError, match="run as root"), hold(tmp_path / "file", [1], 0):
            pass

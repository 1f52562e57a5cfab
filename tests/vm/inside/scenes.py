"""What the scenes of the guest share: commands, a plain look at the kernel, telling how a scene went.

The plain look shares no code with the package: it is what the package is held against.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import io
import json
import os
import struct
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

DEVICES = "/sys/bus/pci/devices"
VFIO_GROUP_GET_STATUS = (0x3B << 8) | (100 + 3)

Scene = Callable[[], None]
SCENES: list[Scene] = []


def scene(function: Scene) -> Scene:
    """Register a scene; they run in the order in which they stand."""
    SCENES.append(function)
    return function


def run_all(names: list[str]) -> None:
    """Run the scenes that are named, in that order, or all, and write down how each went."""
    known = {function.__name__: function for function in SCENES}
    results = {}
    for function in [known[name] for name in names] or SCENES:
        started = time.monotonic()
        try:
            function()
            results[function.__name__] = ""
        except BaseException:
            results[function.__name__] = traceback.format_exc()
        print(f"{function.__name__}: {time.monotonic() - started:.1f} s", flush=True)
        with open("scenes.json", "w", encoding="utf-8") as file:
            json.dump(results, file)


@dataclass(frozen=True)
class Answer:
    """What a command printed and ended with."""

    status: int
    out: str
    err: str

    def expect(self, status: int, *texts: str) -> Answer:
        """Fail unless it ended so, with these texts somewhere in its output."""
        whole = f"status {self.status}\n{self.out}{self.err}"
        assert self.status == status, whole
        for text in texts:
            assert text in self.out + self.err, f"no {text!r} in\n{whole}"
        return self

    def document(self) -> dict[str, object]:
        """Return the JSON document that it printed."""
        return dict(json.loads(self.out))


def vfiokit(*arguments: str) -> Answer:
    """Run a command of vfiokit in this process."""
    from vfiokit.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(arguments))
    return Answer(status, out.getvalue(), err.getvalue())


def sh(command: str, *, check: bool = True) -> str:
    """Run a shell command and return what it printed."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def address(name: str) -> str:
    """Return the address of a function of the topology by its name."""
    rows = [row.split(" ", 1) for row in os.environ["VFIOKIT_LAB_PLACES"].splitlines()]
    (path,) = glob.glob(dict(rows)[name])
    return os.path.basename(path)


def driver(where: str) -> str | None:
    """Return the driver of a function."""
    try:
        return os.path.basename(os.readlink(f"{DEVICES}/{where}/driver"))
    except FileNotFoundError:
        return None


def override(where: str) -> str:
    """Return the raw text of an override."""
    return read(f"{DEVICES}/{where}/driver_override")


def group(where: str) -> str:
    """Return the number of a function's group."""
    return os.path.basename(os.readlink(f"{DEVICES}/{where}/iommu_group"))


def read(path: str) -> str:
    """Return a file's text."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path: str, text: str) -> int:
    """Write to a file that is there; return the error number, 0 for none."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno or 0
    return 0


def state() -> dict[str, tuple[str | None, str]]:
    """Return driver and override of every function."""
    return {name: (driver(name), override(name)) for name in sorted(os.listdir(DEVICES))}


def viable(number: str) -> bool:
    """Ask the kernel about a group, with our own hands."""
    node = os.open(f"/dev/vfio/{number}", os.O_RDWR)
    try:
        answer = fcntl.ioctl(node, VFIO_GROUP_GET_STATUS, struct.pack("=II", 8, 0))
    finally:
        os.close(node)
    return bool(struct.unpack("=II", answer)[1] & 1)


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def disk_of(name: str) -> str:
    """Return the block device of an NVMe function, once it is there."""
    pattern = f"{DEVICES}/{address(name)}/nvme/nvme*/nvme*n1"
    wait_for(lambda: glob.glob(pattern))
    return os.path.basename(glob.glob(pattern)[0])


def interface_of(name: str) -> str:
    """Return the network interface of a function, once it is there."""
    pattern = f"{DEVICES}/{address(name)}/net/*"
    wait_for(lambda: glob.glob(pattern))
    return os.path.basename(glob.glob(pattern)[0])


@contextlib.contextmanager
def undone(*commands: str) -> Iterator[None]:
    """Run shell commands when the block ends, whatever happened."""
    try:
        yield
    finally:
        for command in commands:
            sh(command, check=False)


def refused(name: str, rule: str, *texts: str) -> None:
    """Fail unless binding a function is refused by a rule, with evidence, and nothing has changed."""
    before = state()
    vfiokit("bind", address(name)).expect(4, f"[{rule}]", *texts)
    assert state() == before

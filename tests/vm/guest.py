"""Run one Python script in a guest: QEMU, a kernel, an IOMMU, a topology, the host's own files.

The guest's root is this host's root, read over 9p below an overlay, so that a script finds the same
Python, the same packages and the same checkout under the same paths, and may write anywhere without
leaving a trace. One directory is shared for writing: what the script puts there stays.
"""

from __future__ import annotations

import compileall
import contextlib
import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from .initramfs import initramfs
from .kernel import Kernel
from .topology import Topology

CHECKOUT = Path(__file__).resolve().parents[2]
QEMU = "qemu-system-x86_64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Iommu:
    """An emulated IOMMU: QEMU's device and what the kernel's command line says about it."""

    device: str = ""
    append: str = ""


IOMMUS: Mapping[str, Iommu] = MappingProxyType(
    {
        "intel": Iommu(device="intel-iommu,intremap=on,caching-mode=on,aw-bits=48", append="intel_iommu=on"),
        "intel-noremap": Iommu(
            device="intel-iommu,intremap=off,caching-mode=on,aw-bits=48", append="intel_iommu=on"
        ),
        "intel-39": Iommu(
            device="intel-iommu,intremap=on,caching-mode=on,aw-bits=39", append="intel_iommu=on"
        ),
        "intel-scalable": Iommu(
            device="intel-iommu,intremap=on,caching-mode=on,aw-bits=48,x-scalable-mode=on",
            append="intel_iommu=on,sm_on",
        ),
        "intel-off": Iommu(device="intel-iommu,intremap=on,caching-mode=on", append="intel_iommu=off"),
        # With interrupt remapping on, the guest panics under QEMU's own instruction emulation.
        "amd": Iommu(device="amd-iommu,intremap=off"),
        "virtio": Iommu(device="virtio-iommu-pci,addr=0x1d.0"),
        "none": Iommu(),
    }
)
"""The IOMMUs by name; intel-39 has the narrow addresses that many desktops have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestResult:
    """What came back from a guest whose script ran to its end."""

    exit_code: int
    output: str
    """The script's standard output and error."""
    console: str
    """The serial console and the kernel's log."""
    seconds: float

    def check(self) -> GuestResult:
        """Return this result if the script succeeded, else fail with everything the guest said."""
        if self.exit_code:
            raise AssertionError(
                f"the script ended with {self.exit_code}\n{report(self.output, self.console)}"
            )
        return self


class GuestError(Exception):
    """The guest did not get to the end of its script; the message ends with output and console."""

    def __init__(self, reason: str, output: str, console: str) -> None:
        super().__init__(f"{reason}\n{report(output, console)}")
        self.output = output
        self.console = console


class GuestTimeout(GuestError):
    """The guest took too long and was killed."""


def report(output: str, console: str) -> str:
    """Return what a guest said, fit to stand in a test's failure."""
    return f"---- script ----\n{output.rstrip()}\n---- console ----\n{console.rstrip()}"


def run_guest(
    kernel: Kernel,
    topology: Topology,
    script: Path,
    *arguments: str,
    iommu: str | Iommu = "intel",
    out_dir: Path,
    env: Mapping[str, str] | None = None,
    append: str = "",
    memory: str = "1G",
    cpus: int = 1,
    timeout: float = 180.0,
) -> GuestResult:
    """Boot the topology, run the script as root with this Python, and return when the guest is off.

    The working directory of the script is `out_dir`, by the same path as on the host; VFIOKIT_LAB_PLACES
    maps the names of the topology's functions to sysfs globs, a line each. `append` goes to the kernel's
    command line.

    :raises GuestTimeout: after `timeout` seconds; QEMU is dead then.
    :raises GuestError: when the guest stopped without an exit code, for example by a panic.
    """
    chosen = IOMMUS[iommu] if isinstance(iommu, str) else iommu
    out = out_dir.resolve()
    lab = out / ".lab"
    shutil.rmtree(lab, ignore_errors=True)
    lab.mkdir(parents=True)
    files = _lab_files(kernel, topology, [sys.executable, str(script), *arguments], env or {}, out)
    compile_ahead()
    started = time.monotonic()
    with tempfile.NamedTemporaryFile(prefix="vfiokit-lab-") as archive:
        archive.write(initramfs(kernel, files))
        archive.flush()
        command = [
            *_machine(memory, cpus, chosen, out, lab),
            *topology.qemu_arguments(),
            *("-kernel", str(kernel.image), "-initrd", archive.name),
            *("-append", " ".join([KERNEL_ARGUMENTS, chosen.append, *topology.kernel_arguments(), append])),
        ]
        timed_out = _run(command, lab, timeout)
    return _result(lab, time.monotonic() - started, timeout if timed_out else None)


@functools.cache
def compile_ahead() -> None:
    """Compile what the guests import: each would do it anew, slowly, and could not keep the result."""
    for directory in (CHECKOUT / "vfiokit", CHECKOUT / "tests/vm/inside"):
        compileall.compile_dir(directory, quiet=2)


# On a busy machine the emulated timer may miss the ticks that the kernel waits for, and it panics over them.
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 oops=panic no_timer_check"


def _machine(memory: str, cpus: int, iommu: Iommu, out: Path, lab: Path) -> list[str]:
    """Return QEMU's options without kernel and topology; the lab's devices come after the topology's."""
    root = "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
    shared = f"local,id=out,path={_comma(out)},security_model=none,multidevs=remap"
    return [
        *(QEMU, "-accel", "tcg", "-machine", "q35", "-cpu", "max", "-m", memory, "-smp", str(cpus)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-serial", f"file:{_comma(lab / 'serial.log')}"),
        *(("-device", iommu.device) if iommu.device else ()),
        *("-fsdev", root, "-device", "virtio-9p-pci,fsdev=root,mount_tag=root,addr=0x1e.0,multifunction=on"),
        *("-fsdev", shared, "-device", "virtio-9p-pci,fsdev=out,mount_tag=out,addr=0x1e.1,multifunction=on"),
    ]


def _comma(path: Path) -> str:
    """Return a path as QEMU's option parser wants it."""
    return str(path).replace(",", ",,")


def _lab_files(
    kernel: Kernel, topology: Topology, command: Sequence[str], env: Mapping[str, str], out: Path
) -> dict[str, str]:
    """Return the files that the guest's shell scripts read."""
    places = topology.places()
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{system}",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "VFIOKIT_LAB_OUT": str(out),
        "VFIOKIT_LAB_PLACES": "".join(f"{place.name} {place.sysfs}\n" for place in places),
        **env,
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    modules = shlex.quote(str(kernel.modules or ""))
    return {
        "settings": f"LAB_OUT={shlex.quote(str(out))}\nLAB_MODULES={modules}\n",
        "command": f"{exports}exec {shlex.join(command)}\n",
        "vfs": "".join(f"{place.function.vfs} {place.sysfs}\n" for place in places if place.function.vfs),
    }


def _run(command: Sequence[str], lab: Path, timeout: float) -> bool:
    """Run QEMU to its end; true when it had to be killed."""
    with (lab / "qemu.log").open("wb") as log, _process(command, log.fileno()) as process:
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return True
    return False


@contextlib.contextmanager
def _process(command: Sequence[str], log: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a group of its own, which does not outlive the block, nor us."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The leader may be gone with others of its group still there.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _result(lab: Path, seconds: float, timeout: float | None) -> GuestResult:
    output = _text(lab / "output.log")
    console = "".join(_text(lab / name) for name in ("qemu.log", "serial.log", "kernel.log"))
    if timeout is not None:
        raise GuestTimeout(f"the guest was killed after {timeout:g} s", output, console)
    status = _text(lab / "status").strip()
    if not status:
        raise GuestError(f"the guest stopped after {seconds:.1f} s without an exit code", output, console)
    return GuestResult(exit_code=int(status), output=output, console=console, seconds=seconds)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""

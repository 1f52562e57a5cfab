"""What the checks of VFIO in a guest share: binding, running them, and writing down how each ended."""

import contextlib
import ctypes
import importlib.util
import json
import os
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

sys.path.insert(0, os.path.dirname(__file__))

import observe

from vfiokit.vfio import Device

ROOT = Path(__file__).resolve().parents[3]
DEVICES = Path("/sys/bus/pci/devices")
BACKENDS = ("container", "iommufd")
NEWEST = os.environ.get("VFIOKIT_LAB_KERNEL") == "newest"
"""Whether the host says that this is the newest kernel, with all that the small one has not."""

Check = Callable[[str], None]


def names(checks: Sequence[Check]) -> list[str]:
    """List what the host asks about: each check on each back end."""
    return [f"{check.__name__}[{backend}]" for check in checks for backend in BACKENDS]


def bind(*functions: str, driver: str = "vfio-pci") -> None:
    """Give functions of the topology to a driver."""
    for name in functions:
        observe.give(address(name), driver)


def address(name: str) -> str:
    """Return the address the guest gave to a function of the topology."""
    return observe.places().get(name, name)


@contextlib.contextmanager
def virtual_function(backend: str) -> Iterator[tuple[str, str]]:
    """Give the network card a virtual function, bound to VFIO, and yield its address and its token."""
    token, count = str(uuid.uuid4()), DEVICES / address("network") / "sriov_numvfs"
    with Device.open(address("network"), backend=backend) as physical:
        physical.features.set_vf_token(token)
        count.write_text("1")
        try:
            virtual = os.path.basename(os.readlink(count.parent / "virtfn0"))
            bind(virtual)
            yield virtual, token
        finally:
            count.write_text("0")


def example(name: str) -> ModuleType:
    """Load one of the programs in examples/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kernel_log() -> str:
    """Read all that the kernel has said."""
    with open("/dev/kmsg", "rb", buffering=0) as file:
        os.set_blocking(file.fileno(), False)
        lines = []
        while True:
            try:
                lines.append(os.read(file.fileno(), 8192).decode(errors="replace"))
            except BlockingIOError:
                return "".join(lines)
            except BrokenPipeError:
                continue


Error = TypeVar("Error", bound=BaseException)


def refused(kind: type[Error], action: Callable[..., object], *arguments: Any, **options: Any) -> Error:
    """Call what must be refused, and return the error."""
    try:
        opened = action(*arguments, **options)
    except kind as error:
        return error
    # What was opened against expectation would hold up every check that follows.
    if hasattr(opened, "close"):
        opened.close()
    raise AssertionError(f"no {kind.__name__}")


def in_child(action: Callable[[], object]) -> int:
    """Run something in a forked process; its exit code, or minus the signal it died of."""
    child = os.fork()
    if not child:
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


IPC_LOCK, SYS_RAWIO = 14, 17


def drop_ipc_lock() -> None:
    """Take CAP_IPC_LOCK from this process."""
    drop(IPC_LOCK)


def drop(capability: int) -> None:
    """Take a capability below 32 from this process (capset, version 3: two sets of 32)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for which in (0, 1):
        data[which] &= ~(1 << capability)
    assert libc.capset(header, data) == 0


def state() -> dict[str, int]:
    """Read what a leak would change: descriptors, locked and pinned memory of this process."""
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "locked": int(rows["VmLck"].split()[0]),
        "pinned": int(rows["VmPin"].split()[0]),
    }


def run(checks: Sequence[Check], only: str = "", backends: Sequence[str] = BACKENDS) -> None:
    """Run every check on every back end, and write results.json: how each ended, and in how many seconds."""
    results: dict[str, dict[str, object]] = {}
    for check in checks:
        for backend in backends:
            name = f"{check.__name__}[{backend}]"
            if only and only not in name:
                continue
            started = time.monotonic()
            try:
                check(backend)
                outcome = "ok"
            except BaseException:
                outcome = traceback.format_exc()
            took = time.monotonic() - started
            results[name] = {"outcome": outcome, "seconds": round(took, 2)}
            print(f"{name}: {outcome} ({took:.1f} s)", flush=True)
            # A guest that dies later has at least told what it knew.
            Path("results.json").write_text(json.dumps(results, indent=1))

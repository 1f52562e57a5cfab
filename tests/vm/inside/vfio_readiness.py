"""Check what the readiness benchmark says of a device, and of one that is not bound."""

import functools
import json
import subprocess
import sys
from typing import Any

from vfio_lab import ROOT, address, bind

from vfiokit.vfio.errors import NotBound

SIZES = ("4 KiB", "2048 KiB", "1048576 KiB")


def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "readiness.py"), address(name), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@functools.cache
def report() -> dict[str, Any]:
    """Measure edu once; both back ends are in it."""
    done = run("edu", "--json", "--size", "8", "--guest", "64")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def readiness_is_measured(backend: str) -> None:
    found = report()
    assert found["schema"] == "vfiokit.readiness/1"
    assert found["address"] == address("edu")
    facts = found["backends"][backend]
    for name in ("open", "close", "config_read", "interrupt"):
        assert 0 < facts[name] < 60, (name, facts)
    assert 0 < facts["register_read"]["mapped"] < facts["register_read"]["guarded"] < 1
    # edu on the root bus has no reset.
    assert facts["reset"] is None
    assert tuple(facts["map"]) == SIZES
    small = facts["map"]["4 KiB"]
    assert 0 < small["unmap"] < 600
    assert 0 < small["map"] < 600
    # The guest has no page of 1 GiB to give, and that is said.
    assert "raise vm.nr_hugepages for pages of 1073741824 bytes" in facts["map"]["1048576 KiB"]
    lines = [line for line in found["summary"] if line.startswith(f"{backend}: ")]
    assert f"{backend}: a guest of 64 GiB in pages of 4 KiB will take about " in lines[0]
    assert lines[-1] == f"{backend}: the device has no reset of its own"


def readiness_of_what_is_not_bound(backend: str) -> None:
    """Say how to bind it, in either form of output; no back end has been chosen by then."""
    bind("edu", driver="none")
    try:
        done = run("edu", *(("--json",) if backend == "iommufd" else ()))
    finally:
        bind("edu")
    assert done.returncode == NotBound.exit_status, done
    assert done.stdout == ""
    assert f"vfiokit bind {address('edu')}" in done.stderr


CHECKS = [readiness_is_measured, readiness_of_what_is_not_bound]

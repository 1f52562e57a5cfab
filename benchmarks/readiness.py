"""What a host will be like for a guest with a device: readiness.py ADDRESS [--json] [--guest GIB].

Seconds to map a guest's memory for each page size and back end, how long a reset takes, what configuration
space, registers and interrupts cost, how long opening and closing take. The device must be bound to VFIO; it
is reset.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import peer

from vfiokit.address import PageSize
from vfiokit.bits import align_up
from vfiokit.errors import VfiokitError
from vfiokit.vfio import Device
from vfiokit.vfio.errors import NoSuchInterrupt, NotBound, ResetNotSupported

SCHEMA = "vfiokit.readiness/1"
ROUNDS = 5
GIB = 1 << 30

Facts = dict[str, object]


def main() -> int:
    """Measure on every back end that there is, and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("address")
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--guest", type=float, default=800, help="GiB of the guest to foretell")
    arguments.add_argument("--size", type=int, default=1024, help="MiB to map")
    chosen = arguments.parse_args()
    found: dict[str, Facts] = {}
    for backend in ("container", "iommufd"):
        try:
            found[backend] = measure(chosen.address, backend, chosen.size << 20)
        except NotBound as error:
            print(f"{error}\n{how_to_bind(chosen.address)}", file=sys.stderr)
            return error.exit_status
        except VfiokitError as error:
            found[backend] = {"absent": str(error)}
    report = {
        "schema": SCHEMA,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "address": chosen.address,
        "backends": found,
        "summary": summary(found, chosen.guest),
    }
    print(json.dumps(report, indent=1) if chosen.json else text(report))
    return 0


def measure(address: str, backend: str, size: int) -> Facts:
    """Measure one back end; times are medians in seconds."""
    opened = [times(address, backend) for _ in range(ROUNDS)]
    with Device.open(address, backend=backend) as device:
        return {
            "open": statistics.median(pair[0] for pair in opened),
            "close": statistics.median(pair[1] for pair in opened),
            "config_read": median(partial(device.config.read32, 0), 1000),
            "register_read": register(device),
            "interrupt": interrupt(device),
            "reset": reset(device),
            "map": mapping(device, size),
        }


def times(address: str, backend: str) -> tuple[float, float]:
    """Open and close once."""
    started = time.perf_counter()
    device = Device.open(address, backend=backend)
    middle = time.perf_counter()
    device.close()
    return middle - started, time.perf_counter() - middle


def median(action: Callable[[], object], number: int) -> float:
    """Time one of many; the median of the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(number):
            action()
        rounds.append((time.perf_counter() - started) / number)
    return statistics.median(rounds)


def register(device: Device) -> Facts | None:
    """Time a read of the first memory BAR, by mapping and by system call; its first register is read."""
    region = next((region for region in device.regions if region.index < 6 and region.info.mappable), None)
    if region is None:
        return None
    with region.map() as mapped, region.map(guarded=True) as guarded:
        return {
            "mapped": median(partial(mapped.read32, 0), 1000),
            "guarded": median(partial(guarded.read32, 0), 1000),
        }


def interrupt(device: Device) -> float | None:
    """Time from a software trigger to the handler."""
    try:
        kind = device.irqs.best()
    except NoSuchInterrupt:
        return None
    with kind[0].eventfd() as event:

        def once() -> None:
            kind[0].trigger()
            event.wait(1)
            if kind.name == "intx":
                kind[0].unmask()

        return median(once, 200)


def reset(device: Device) -> float | None:
    """Time a reset of the function, ``None`` without one."""
    try:
        return median(device.reset, 1)
    except ResetNotSupported:
        return None


def mapping(device: Device, size: int) -> dict[str, object]:
    """Time mapping and unmapping, in seconds for each GiB, by page size; a reason where it could not be."""
    found: dict[str, object] = {}
    for page in PageSize:
        name = f"{page.value >> 10} KiB"
        try:
            found[name] = one_mapping(device, size, None if page is PageSize.SIZE_4K else page)
        except VfiokitError as error:
            found[name] = str(error)
    return found


def one_mapping(device: Device, size: int, huge: PageSize | None) -> Facts:
    """Allocate, map and unmap, twice: the first has the kernel find the memory, too."""
    taken = []
    size = align_up(size, huge or PageSize.SIZE_4K)
    for _ in range(2):
        started = time.perf_counter()
        buffer = device.dma.map(size, huge=huge) if huge else device.dma.map(peer.small_pages(size))
        middle = time.perf_counter()
        buffer.close()
        taken.append((middle - started, time.perf_counter() - middle))
        # Its view keeps the memory, and a pool of huge pages is small.
        del buffer
    scale = GIB / size
    return {"map": min(pair[0] for pair in taken) * scale, "unmap": min(pair[1] for pair in taken) * scale}


def summary(found: dict[str, Facts], guest: float) -> list[str]:
    """Say in words what it means for a guest."""
    lines = []
    for backend, facts in found.items():
        if "absent" in facts:
            lines.append(f"{backend}: not here: {facts['absent']}")
            continue
        pages = facts["map"]
        assert isinstance(pages, dict)
        for page, result in pages.items():
            if isinstance(result, dict):
                start, stop = result["map"] * guest, result["unmap"] * guest
                lines.append(
                    f"{backend}: a guest of {guest:g} GiB in pages of {page} will take about {words(start)} "
                    f"to start and {words(stop)} to stop, for mapping its memory alone"
                )
        slow = facts["reset"]
        lines.append(
            f"{backend}: the device has no reset of its own"
            if slow is None
            else f"{backend}: a reset takes {words(float(slow))}"  # type: ignore[arg-type]
        )
    return lines


def words(seconds: float) -> str:
    """Say a time as a person would.

    >>> words(0.0021), words(75), words(4000)
    ('2.1 ms', '1 min 15 s', '1 h 7 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def text(report: dict[str, object]) -> str:
    """Write the report for people."""
    lines = [f"{report['address']} on Linux {report['kernel']}"]
    backends = report["backends"]
    assert isinstance(backends, dict)
    for backend, facts in backends.items():
        lines += [f"  {backend:10} {name:14} {json.dumps(value)}" for name, value in facts.items()]
    said = report["summary"]
    assert isinstance(said, list)
    return "\n".join([*lines, "", *said])


def how_to_bind(address: str) -> str:
    """Say how to get there, and back."""
    return (
        f"To measure it: sudo vfiokit bind {address}, and afterwards: sudo vfiokit restore {address}; "
        f"what else would move and what stands against it, vfiokit plan bind {address} says"
    )


if __name__ == "__main__":
    sys.exit(main())

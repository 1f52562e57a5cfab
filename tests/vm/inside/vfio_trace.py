"""Make known accesses to two devices, and write down which; QEMU's trace of them is compared on the host.

edu takes accesses of 4 and 8 bytes; the I/O ports that VGA shows in a BAR take 1 and 2.
"""

import json
import sys
from pathlib import Path

from vfio_lab import BACKENDS, address, bind

from vfiokit.vfio import Device, Window

Access = tuple[str, str, int, int]
"""Device, read or write, offset in the BAR, bytes."""


def accesses(window: Window, device: str, start: int, widths: tuple[int, ...]) -> list[Access]:
    """Make one access of each kind, and say which are due."""
    due: list[Access] = []
    for width in widths:
        getattr(window, f"read{8 * width}")(start)
        getattr(window, f"write{8 * width}")(start, 0x11)
        due += [(device, "read", start, width), (device, "write", start, width)]
        if width >= 4:
            getattr(window, f"doorbell{8 * width}")(start, 0x22)
            due.append((device, "write", start, width))
        window.read_block(start, 8 * width, width=width)
        window.write_block(start, bytes(8 * width), width=width)
        steps = range(start, start + 8 * width, width)
        due += [(device, "read", at, width) for at in steps]
        due += [(device, "write", at, width) for at in steps]
    return due


def halves(window: Window, device: str, start: int) -> list[Access]:
    """Make 64-bit accesses by halves."""
    window.read64_lo_hi(start)
    window.read64_hi_lo(start)
    window.write64_lo_hi(start, 1)
    window.write64_hi_lo(start, 1)
    orders = (("read", 0, 4), ("read", 4, 0), ("write", 0, 4), ("write", 4, 0))
    return [(device, what, start + half, 4) for what, *both in orders for half in both]


def main() -> None:
    bind("edu", "display")
    due: list[Access] = []
    bases = {}
    for backend in BACKENDS:
        for guarded in (False, True):
            with (
                Device.open(address("edu"), backend=backend) as edu,
                edu.regions[0].map(guarded=guarded) as window,
            ):
                assert window.mode == ("syscall" if guarded else "mmap")
                due += accesses(window, "edu-mmio", 0x80, (4, 8))
                due += halves(window, "edu-mmio", 0x80)
            with (
                Device.open(address("display"), backend=backend) as vga,
                vga.regions[2].map(guarded=guarded) as window,
            ):
                due += accesses(window, "vga ioports remapped", 0x410, (1, 2))
    for name, key, bar in (("edu", "edu-mmio", 0), ("display", "vga ioports remapped", 2)):
        rows = Path(f"/sys/bus/pci/devices/{address(name)}/resource").read_text().splitlines()
        bases[key] = int(rows[bar].split()[0], 16)
    Path("due.json").write_text(json.dumps({"due": due, "bases": bases}))
    print(len(due), "accesses", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Decode every function of the guest, beside the installed lspci, the kernel's own table and VFIO.

`read` changes nothing and leaves lspci.txt, what lspci prints of the live machine, where there is one;
ours.txt, what `config --format lspci` does; bars.json, what `bars --json` does; resources.json, the kernel's
lines; reads.json, the bytes that a full decode reads of each. `give` gives functions to VFIO and leaves
regions.json, what VFIO says of them, by address.
"""

import fcntl
import os
import shutil
import struct
import subprocess

import observe
from report import run

from vfiokit.address import PciAddress
from vfiokit.sysfs.function import FunctionFiles
from vfiokit.sysfs.live import LiveSource

# linux/vfio.h: _IO(VFIO_TYPE, VFIO_BASE + n)
SET_IOMMU, GROUP_SET_CONTAINER, GROUP_GET_DEVICE_FD, GET_REGION_INFO = (
    (0x3B << 8) | (100 + n) for n in (2, 4, 6, 8)
)
TYPE1_IOMMU = 1
REGION_INFO = struct.Struct("=IIIIQQ")
REGIONS = 9


def read() -> None:
    """Write down what can be read of every function."""
    if shutil.which("lspci"):
        with open("lspci.txt", "wb") as file:
            subprocess.run(["lspci", "-D", "-n", "-vvv"], stdout=file, check=True)
    run("ours.txt", ("config", "--all", "--format", "lspci"))
    run("bars.json", ("bars", "--json"))
    addresses = observe.listing(observe.DEVICES)
    observe.write_json("resources.json", {each: resource(each) for each in addresses})
    observe.write_json("reads.json", {each: reads(each) for each in addresses})


def give(names: list[str]) -> None:
    """Write down the regions of functions, each of which must be alone in its group."""
    observe.write_json("regions.json", {each: regions(each) for each in map(observe.address_of, names)})


def resource(address: str) -> list[list[int]]:
    """Return the kernel's lines: start, end, flags."""
    text = observe.read(f"{observe.DEVICES}/{address}/resource") or ""
    return [[int(word, 16) for word in line.split()] for line in text.splitlines()]


def reads(address: str) -> int:
    """Return how many bytes of a function a full decode reads."""
    space = FunctionFiles(LiveSource(), PciAddress.parse(address)).config()
    space.decode()
    return sum(size for _, size in space.image.log)  # type: ignore[attr-defined]


def regions(address: str) -> list[int | None]:
    """Give a function to VFIO and return the sizes of its regions, ``None`` for those that there are not."""
    observe.give(address, "vfio-pci")
    group = observe.link(f"{observe.DEVICES}/{address}/iommu_group")
    container, node = (os.open(f"/dev/vfio/{name}", os.O_RDWR) for name in ("vfio", group))
    fcntl.ioctl(node, GROUP_SET_CONTAINER, struct.pack("=i", container))
    fcntl.ioctl(container, SET_IOMMU, TYPE1_IOMMU)
    device = fcntl.ioctl(node, GROUP_GET_DEVICE_FD, bytearray(address.encode() + b"\0"), True)
    sizes = [region(device, index) for index in range(REGIONS)]
    for descriptor in (device, node, container):
        os.close(descriptor)
    return sizes


def region(device: int, index: int) -> int | None:
    """Return the size of one region."""
    asked = REGION_INFO.pack(REGION_INFO.size, 0, index, 0, 0, 0)
    try:
        answer = fcntl.ioctl(device, GET_REGION_INFO, asked)
    except OSError:
        return None
    return int(REGION_INFO.unpack(answer)[4])

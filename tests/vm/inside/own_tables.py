"""Let edu devices do DMA through VFIO inside the guest, and hold still while the host reads its memory.

Stand-alone: plain ioctls, so that it shares no code with what it judges. Writes state.json with what was
mapped and what the devices did, copies the kernel's debugfs dump, then waits for the file `go`.
"""

import ctypes
import fcntl
import glob
import json
import mmap
import os
import shutil
import struct
import time

DEVICES = "/sys/bus/pci/devices"
DEBUGFS = "/sys/kernel/debug/iommu/intel"

# linux/vfio.h: _IO(VFIO_TYPE, VFIO_BASE + n)
BASE = (0x3B << 8) | 100
SET_IOMMU, GET_STATUS, SET_CONTAINER, GET_DEVICE_FD = BASE + 2, BASE + 3, BASE + 4, BASE + 6
GET_REGION_INFO, MAP_DMA = BASE + 8, BASE + 13
TYPE1V2_IOMMU = 3
MAP_READ, MAP_WRITE = 1, 2
CONFIG_REGION = 7

EDU_SOURCE, EDU_DESTINATION, EDU_COUNT, EDU_COMMAND = 0x80, 0x88, 0x90, 0x98
EDU_BUFFER, EDU_START, EDU_TO_MEMORY = 0x40000, 1, 2
PAGE, LARGE = 0x1000, 0x200000


def main() -> None:
    write("/proc/sys/vm/nr_hugepages", "4")
    places = locations()
    state: dict[str, object] = {"places": places, "domains": []}
    keep = []
    for number, names in enumerate((("first",), ("second",), ("pair0", "pair1"))):
        domain, kept = one_container(number, [places[name] for name in names])
        keep.append(kept)
        state["domains"].append(domain)  # type: ignore[attr-defined]
    copy_debugfs(list(places.values()))
    with open("state.json", "w", encoding="utf-8") as file:
        json.dump(state, file)
    with open("ready", "w", encoding="utf-8") as file:
        file.write("ready\n")
    end = time.monotonic() + 120
    while not os.path.exists("go") and time.monotonic() < end:
        time.sleep(0.05)
    faults(places, keep[0])
    time.sleep(0.5)


def one_container(number: int, members: list[str]) -> tuple[dict[str, object], list[object]]:
    """Give functions of one group to a container of their own, map memory, and let them write."""
    for address in members:
        bind(address)
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    name = os.path.basename(os.readlink(f"{DEVICES}/{members[0]}/iommu_group"))
    group = os.open(f"/dev/vfio/{name}", os.O_RDWR)
    fcntl.ioctl(group, SET_CONTAINER, struct.pack("=i", container))
    fcntl.ioctl(container, SET_IOMMU, TYPE1V2_IOMMU)
    small, large, scattered = mmap.mmap(-1, 3 * PAGE), huge_page(), mmap.mmap(-1, 16 * PAGE)
    for index in range(16):
        scattered[index * PAGE : index * PAGE + 8] = bytes([number + 1, index]) * 4
    start = 0x4000000000 + number * 0x40000000
    mapped = [
        (0x1000, small, MAP_READ),
        (start, large, MAP_READ | MAP_WRITE),
        (start + 0x10000000, scattered, MAP_READ | MAP_WRITE),
    ]
    for iova, memory, flags in mapped:
        map_dma(container, iova, memory, flags)
    tag = bytes(range(number * 16 + 1, number * 16 + 17))
    small[:16] = tag
    wrote = []
    kept: list[object] = [container, group, small, large, scattered]
    for index, address in enumerate(members):
        edu = Edu(group, address)
        kept.append(edu)
        edu.copy(0x1000, start + 0x1000 * index + 0x100, len(tag))
        edu.copy(0x1000, start + 0x10000000 + 5 * PAGE + 0x40 * (index + 1), len(tag))
        wrote += [start + 0x1000 * index + 0x100, start + 0x10000000 + 5 * PAGE + 0x40 * (index + 1)]
        found = large[0x1000 * index + 0x100 : 0x1000 * index + 0x100 + len(tag)]
        assert found == tag, (address, found, tag)
    body = {
        "members": members,
        "mapped": [[iova, len(memory), flags] for iova, memory, flags in mapped],
        "scattered": [start + 0x10000000, 16],
        "tag": tag.hex(),
        "wrote": wrote,
        "number": number,
    }
    return body, kept


class Edu:
    """The device's registers by its VFIO file."""

    def __init__(self, group: int, address: str) -> None:
        self.file = fcntl.ioctl(group, GET_DEVICE_FD, ctypes.create_string_buffer(address.encode()))
        offset = self.region(CONFIG_REGION)
        os.pwrite(self.file, struct.pack("<H", 0x6), offset + 4)
        self.base = self.region(0)

    def region(self, index: int) -> int:
        info = bytearray(struct.pack("=IIIIQQ", 32, 0, index, 0, 0, 0))
        fcntl.ioctl(self.file, GET_REGION_INFO, info)
        return int(struct.unpack("=IIIIQQ", info)[5])

    def copy(self, source: int, destination: int, count: int) -> None:
        self.transfer(source, EDU_BUFFER, count, EDU_START)
        self.transfer(EDU_BUFFER, destination, count, EDU_START | EDU_TO_MEMORY)

    def transfer(self, source: int, destination: int, count: int, command: int) -> None:
        for register, value in (
            (EDU_SOURCE, source),
            (EDU_DESTINATION, destination),
            (EDU_COUNT, count),
            (EDU_COMMAND, command),
        ):
            os.pwrite(self.file, struct.pack("<Q", value), self.base + register)
        while struct.unpack("<Q", os.pread(self.file, 8, self.base + EDU_COMMAND))[0] & EDU_START:
            time.sleep(0.01)


def faults(places: dict[str, str], kept: list[object]) -> None:
    """Write where nothing is mapped, and where only reads are allowed: the kernel logs both."""
    (edu,) = (each for each in kept if isinstance(each, Edu))
    edu.transfer(EDU_BUFFER, 0x7000, 8, EDU_START | EDU_TO_MEMORY)
    time.sleep(0.2)
    edu.transfer(EDU_BUFFER, 0x2000, 8, EDU_START | EDU_TO_MEMORY)
    time.sleep(0.2)
    edu.transfer(0x9000, EDU_BUFFER, 8, EDU_START)


def map_dma(container: int, iova: int, memory: mmap.mmap, flags: int) -> None:
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(container, MAP_DMA, struct.pack("=IIQQQ", 32, flags, start, iova, len(memory)))


def huge_page() -> mmap.mmap:
    """One page of 2 MiB of the host's, so that the kernel can use one entry for it."""
    return mmap.mmap(-1, LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)


def bind(address: str) -> None:
    path = f"{DEVICES}/{address}"
    write(f"{path}/driver_override", "vfio-pci")
    write("/sys/bus/pci/drivers_probe", address)
    assert os.path.basename(os.readlink(f"{path}/driver")) == "vfio-pci"


def copy_debugfs(addresses: list[str]) -> None:
    os.makedirs("debugfs", exist_ok=True)
    for name in ("iommu_regset", "dmar_translation_struct"):
        shutil.copyfile(f"{DEBUGFS}/{name}", f"debugfs/{name}")
    for address in addresses:
        path = f"{DEBUGFS}/{address}/domain_translation_struct"
        if os.path.exists(path):
            shutil.copyfile(path, f"debugfs/{address}")


def locations() -> dict[str, str]:
    rows = [row.split(" ", 1) for row in os.environ["VFIOKIT_LAB_PLACES"].splitlines()]
    return {name: os.path.basename(glob.glob(pattern)[0]) for name, pattern in rows}


def write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()

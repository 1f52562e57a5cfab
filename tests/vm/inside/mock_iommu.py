"""The kernel's mock IOMMU (CONFIG_IOMMUFD_TEST): devices that are not there, and what they are made to do.

Plain ioctl and struct, since none of this is an interface: drivers/iommu/iommufd/iommufd_test.h of the
kernel that is tested.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vfiokit._native.calls import Calls
from vfiokit.vfio.system import LiveSystem

IOMMU_TEST_CMD = 0x3BA0
_SIZE, _UNION = 72, 16

(
    ADD_RESERVED,
    MOCK_DOMAIN,
    MD_CHECK_MAP,
    MD_CHECK_REFS,
    CREATE_ACCESS,
    DESTROY_ACCESS_PAGES,
    ACCESS_PAGES,
    ACCESS_RW,
    SET_TEMP_MEMORY_LIMIT,
    MOCK_DOMAIN_REPLACE,
    ACCESS_REPLACE_IOAS,
    MOCK_DOMAIN_FLAGS,
    DIRTY,
    MD_CHECK_IOTLB,
    TRIGGER_IOPF,
    DEV_CHECK_CACHE,
    TRIGGER_VEVENT,
) = range(1, 18)

WITHOUT_DIRTY, WITH_PASID = 1, 4
APERTURE = 1 << 24
REGISTER, DEFAULT_IOTLB, DEFAULT_CACHE = 0xDEADBEEF, 0xBADBEEF, 0xBADDAD
HW_INFO_TYPE, HWPT_DATA, INVALIDATE, VIOMMU = 0xFEEDBEEF, 0xDEAD, 0xDEADBEEF, 0xDEADBEEF
VEVENTQ, HW_QUEUE = 0xBEEFBEEF, 0xDEADBEEF


@dataclass(frozen=True)
class Mock:
    """A mock device on an iommufd.

    :ivar handle: the selftest's object, which replaces page tables and is destroyed to unplug the device.
    :ivar table: the page table it was attached to.
    :ivar device: what a driver's bind gives, and calls take.
    """

    handle: int
    table: int
    device: int


class Bench:
    """An iommufd with an address space, for calls on mock devices."""

    def __init__(self) -> None:
        self.fd = os.open("/dev/iommu", os.O_RDWR | os.O_CLOEXEC)
        self.calls = Calls(LiveSystem())
        self.ioas = self.calls.iommu_ioas_alloc(self.fd)

    def plug(self, flags: int = 0, table: int | None = None) -> Mock:
        """Make a mock device and attach it."""
        payload = struct.pack("=4I", 0, 0, 0, flags)
        answer = self.command(MOCK_DOMAIN_FLAGS, self.ioas if table is None else table, payload)
        handle, attached, device = struct.unpack_from("=3I", answer)
        return Mock(handle, attached, device)

    def replace(self, mock: Mock, table: int) -> None:
        """Attach a device to another page table or space."""
        self.command(MOCK_DOMAIN_REPLACE, mock.handle, struct.pack("=I", table))

    def check_map(self, table: int, iova: int, address: int, length: int) -> None:
        """Have the kernel compare what the page table says with the pages of this process; else EINVAL."""
        self.command(MD_CHECK_MAP, table, struct.pack("=3Q", iova, length, address))

    def check_pins(self, address: int, length: int, pins: int) -> None:
        """Have the kernel count how often the pages are pinned; else EIO."""
        self.command(MD_CHECK_REFS, 0, struct.pack("=2QI", length, address, pins))

    def write_pages(self, table: int, iova: int, bitmap: bytes, page_size: int, address: int) -> int:
        """Pretend that the device wrote the pages of a bitmap, which lies at *address*; say how many."""
        payload = struct.pack("=4x4xQQQQQ", iova, 8 * len(bitmap) * page_size, page_size, address, 0)
        return int(struct.unpack_from("=Q", self.command(DIRTY, table, payload), 40)[0])

    def iotlb(self, table: int, number: int, value: int) -> None:
        """Have the kernel compare an entry of a nested table's cache; else EINVAL."""
        self.command(MD_CHECK_IOTLB, table, struct.pack("=2I", number, value))

    def cache(self, device: int, number: int, value: int) -> None:
        """Have the kernel compare an entry of a device's cache; else EINVAL."""
        self.command(DEV_CHECK_CACHE, device, struct.pack("=2I", number, value))

    def page_request(self, device: int, *, pasid: int, group: int, access: int, address: int) -> None:
        """Let the device ask for a page."""
        self.command(TRIGGER_IOPF, 0, struct.pack("=4IQ", device, pasid, group, access, address))

    def event(self, device: int) -> None:
        """Let the device's virtual IOMMU report an event."""
        self.command(TRIGGER_VEVENT, 0, struct.pack("=I", device))

    def command(self, operation: int, identity: int, payload: bytes = b"") -> bytes:
        """Make the selftest's call and return its union."""
        request = bytearray(_SIZE)
        struct.pack_into("=4I", request, 0, _SIZE, operation, identity, 0)
        request[_UNION : _UNION + len(payload)] = payload
        fcntl.ioctl(self.fd, IOMMU_TEST_CMD, request, True)
        return bytes(request[_UNION:])


@contextmanager
def bench() -> Iterator[Bench]:
    """Give a bench and close its iommufd, which destroys all that was made on it."""
    made = Bench()
    try:
        yield made
    finally:
        os.close(made.fd)

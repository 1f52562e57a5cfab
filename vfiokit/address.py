"""PCI addresses and ranges of memory: parsed, ordered, printed one way."""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from vfiokit.errors import UsageError

__all__ = ["AddressRange", "PageSize", "PciAddress"]

_SHAPE = re.compile(r"(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])", re.ASCII)
_LIBVIRT = re.compile(r"pci_([0-9a-fA-F]{4,8})_([0-9a-fA-F]{2})_([0-9a-fA-F]{2})_([0-7])", re.ASCII)


class PciAddress(NamedTuple):
    """Domain, bus, device and function of one PCI function.

    Domains have up to 32 bits: a VMD controller or a virtual root starts at 0x10000.
    Addresses order as the kernel lists them, by domain, bus, device, function.

    >>> str(PciAddress.parse("3:0.1"))
    '0000:03:00.1'
    >>> PciAddress.parse("10000:e1:00.0").domain
    65536
    """

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> "PciAddress":
        """Read ``[DOMAIN:]BUS:DEVICE.FUNCTION`` or libvirt's ``pci_DDDD_BB_DD_F``.

        A missing domain is domain 0.

        :raises UsageError: if *text* is no PCI address.
        """
        found = _SHAPE.fullmatch(text) or _LIBVIRT.fullmatch(text)
        if found is None or int(found[3], 16) > 0x1F:
            raise UsageError(
                "not a PCI address", operation="parse", subject=repr(text), hint="like 0000:03:00.0"
            )
        return cls(int(found[1] or "0", 16), int(found[2], 16), int(found[3], 16), int(found[4]))

    @property
    def source_id(self) -> int:
        """The 16-bit requester identity: bus 15:8, device 7:3, function 2:0 (PCIe 2.2.6.2)."""
        return self.bus << 8 | self.device << 3 | self.function

    @property
    def devfn(self) -> int:
        """Device and function in eight bits, as the kernel keeps them."""
        return self.device << 3 | self.function

    @property
    def slot(self) -> tuple[int, int, int]:
        """Domain, bus and device: what the functions of one slot share."""
        return self[:3]

    @classmethod
    def from_source_id(cls, domain: int, source_id: int) -> "PciAddress":
        """Build the address whose :attr:`source_id` is *source_id*."""
        return cls(domain, source_id >> 8, source_id >> 3 & 0x1F, source_id & 7)

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function:x}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@dataclass(frozen=True, slots=True, order=True)
class AddressRange:
    """A half-open range of addresses, ``start <= address < end``, in bytes.

    >>> AddressRange(0x1000, 0x3000).size
    8192
    >>> 0x3000 in AddressRange(0x1000, 0x3000)
    False
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise UsageError(f"range {self.start:#x}..{self.end:#x} is not ordered")

    @property
    def size(self) -> int:
        """Bytes in the range."""
        return self.end - self.start

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end

    def overlaps(self, other: "AddressRange") -> bool:
        """Whether any address lies in both; an empty range overlaps nothing."""
        return max(self.start, other.start) < min(self.end, other.end)

    def __str__(self) -> str:
        return f"{self.start:#x}-{self.end - 1:#x}" if self.size else f"{self.start:#x}-empty"


class PageSize(IntEnum):
    """The page sizes of x86 IOMMU tables, in bytes."""

    SIZE_4K = 1 << 12
    SIZE_2M = 1 << 21
    SIZE_1G = 1 << 30

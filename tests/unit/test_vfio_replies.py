"""Replies of the kernel: what is right is read, what lies is an error."""

import struct

import pytest

from vfiokit.address import AddressRange, PciAddress
from vfiokit.vfio.errors import BadReply
from vfiokit.vfio.replies import (
    DeviceFlags,
    IrqFlags,
    RegionFlags,
    capability_chain,
    device_info,
    hot_reset_info,
    iova_ranges,
    region_info,
    type1_info,
)


def header(identity: int, following: int, payload: bytes = b"") -> bytes:
    return struct.pack("=HHI", identity, 1, following) + payload


def region(*, flags: int = 0xF, size: int = 0x10000, offset: int = 0, chain: bytes = b"") -> bytes:
    first = 32 if chain else 0
    return struct.pack("=4IQQ", 32 + len(chain), flags, 2, first, size, offset) + chain


def sparse(*areas: tuple[int, int], count: int | None = None, following: int = 0) -> bytes:
    number = len(areas) if count is None else count
    pairs = b"".join(struct.pack("=QQ", *area) for area in areas)
    return header(1, following, struct.pack("=II", number, 0) + pairs)


class TestFlags:
    def test_they_are_the_headers(self) -> None:
        from vfiokit._native import lib

        for prefix, kind in (
            ("VFIO_DEVICE_FLAGS_", DeviceFlags),
            ("VFIO_REGION_INFO_FLAG_", RegionFlags),
            ("VFIO_IRQ_INFO_", IrqFlags),
        ):
            for flag in kind:
                assert getattr(lib, f"{prefix}{flag.name}") == flag.value


class TestRegions:
    def test_without_capabilities(self) -> None:
        info = region_info(region(flags=7))
        assert (info.index, info.size) == (2, 0x10000)
        assert info.mappable == (AddressRange(0, 0x10000),)
        assert region_info(region(flags=3)).mappable == ()
        assert region_info(region(flags=7, size=0)).mappable == ()

    def test_parts_that_can_be_mapped(self) -> None:
        info = region_info(region(chain=sparse((0x8000, 0x8000), (0, 0x1000))))
        assert info.mappable == (AddressRange(0, 0x1000), AddressRange(0x8000, 0x10000))
        assert region_info(region(chain=sparse())).mappable == ()

    def test_type_and_msix(self) -> None:
        second = 32 + 16
        chain = header(2, second, struct.pack("=II", 0x80008086, 1)) + header(3, 0)
        info = region_info(region(chain=chain))
        assert info.type == (0x80008086, 1)
        assert info.msix_mappable

    def test_an_unknown_capability_stays_raw(self) -> None:
        info = region_info(region(chain=header(77, 0, b"abcd")))
        assert [(part.id, part.version, part.data) for part in info.capabilities] == [(77, 1, b"abcd")]

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "0 bytes where 40|0 bytes where 32"),
            (region()[:31], "31 bytes where 32"),
            (region(chain=header(1, 32, bytes(8))), "loop"),
            (region(chain=header(1, 44, bytes(8))), "a capability at offset 0x2c"),
            (region(chain=header(1, 35, bytes(8))), "a capability at offset 0x23"),
            (region(chain=header(1, 0)), "0 bytes where 8"),
            (region(chain=sparse((0, 16), count=1000)), "1000 mappable parts"),
            (region(chain=sparse((0, 0x20000))), "leaves a region"),
            (region(chain=sparse((0, 0x2000), (0x1000, 0x2000))), "overlap"),
            (region(offset=(1 << 64) - 4096), "leaves the descriptor"),
            (region(chain=header(2, 0)), "0 bytes where 8"),
        ],
    )
    def test_a_lie_is_an_error(self, data: bytes, said: str) -> None:
        with pytest.raises(BadReply, match=said):
            region_info(data)


class TestOthers:
    def test_a_device(self) -> None:
        info = device_info(struct.pack("=6I", 24, 3, 9, 5, 0, 0))
        assert info.flags == DeviceFlags.RESET | DeviceFlags.PCI
        assert (info.num_regions, info.num_irqs, info.capabilities) == (9, 5, ())

    def test_an_iommu(self) -> None:
        ranges = struct.pack("=II4Q", 2, 0, 0, 0xFEDFFFFF, 0xFEF00000, (1 << 39) - 1)
        left = header(3, 0, struct.pack("=I", 65535))
        chain = header(1, 24 + 8 + len(ranges), ranges) + left
        info = type1_info(struct.pack("=IIQII", 24 + len(chain), 3, 0x40201000, 24, 0) + chain)
        assert info.ranges == (AddressRange(0, 0xFEE00000), AddressRange(0xFEF00000, 1 << 39))
        assert (info.page_sizes, info.available) == (0x40201000, 65535)
        bare = type1_info(struct.pack("=IIQI", 20, 1, 0x1000, 0))
        assert (bare.ranges, bare.available) == (None, None)

    def test_dirty_tracking(self) -> None:
        chain = header(2, 0, struct.pack("=IIQQ", 0, 0, 0x1000, 1 << 28))
        info = type1_info(struct.pack("=IIQII", 24 + len(chain), 2, 0, 24, 0) + chain)
        assert (info.dirty_page_sizes, info.max_dirty_bitmap, info.page_sizes) == (0x1000, 1 << 28, 0)

    def test_a_hot_reset(self) -> None:
        rows = struct.pack("=IHBBIHBB", 7, 0, 2, 0x08, 0xFFFFFFFF, 1, 3, 0x11)
        flags, found = hot_reset_info(struct.pack("=3I", 28, 1, 2) + rows)
        assert flags == 1
        assert [(row.address, row.owner) for row in found] == [
            (PciAddress(0, 2, 1, 0), 7),
            (PciAddress(1, 3, 2, 1), -1),
        ]
        with pytest.raises(BadReply, match="3 functions"):
            hot_reset_info(struct.pack("=3I", 28, 1, 3) + rows)

    def test_ranges(self) -> None:
        assert iova_ranges(b"") == ()
        assert iova_ranges(struct.pack("=QQ", 0, (1 << 64) - 1)) == (AddressRange(0, 1 << 64),)
        for pairs, said in (((5, 4), "a range from"), ((0, 9, 9, 12), "overlap")):
            with pytest.raises(BadReply, match=said):
                iova_ranges(struct.pack(f"={len(pairs)}Q", *pairs))
        with pytest.raises(BadReply, match="no whole number"):
            iova_ranges(bytes(17))

    def test_an_empty_chain(self) -> None:
        assert capability_chain(bytes(64), 0) == ()

"""Whatever the bytes: a reply is read or is a BadReply, and what is read stays inside it."""

import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vfiokit.vfio.errors import BadReply
from vfiokit.vfio.events import page_requests, virtual_events
from vfiokit.vfio.replies import (
    capability_chain,
    device_info,
    hot_reset_info,
    iova_ranges,
    region_info,
    type1_info,
)

small = st.integers(0, 200)


def headers(first: int, *, size: int = 192) -> st.SearchStrategy[bytes]:
    """Draw replies with headers scattered in them whose links go anywhere, most of them inside."""
    places = st.lists(st.tuples(st.integers(0, size // 4 - 2), st.integers(0, 5), small), max_size=8)

    def build(rows: list[tuple[int, int, int]]) -> bytes:
        data = bytearray(size)
        for place, identity, following in rows:
            struct.pack_into("=HHI", data, 4 * place, identity, 1, following)
        return bytes(data)

    return places.map(build)


@given(headers(0), small)
def test_a_chain_ends_and_stays_inside(data: bytes, first: int) -> None:
    try:
        chain = capability_chain(data, first)
    except BadReply:
        return
    assert len(chain) <= len(data) // 4
    assert sum(len(part.data) for part in chain) <= len(data) * max(len(chain), 1)
    assert all(part.data in data for part in chain)


@given(st.binary(max_size=256) | headers(0))
def test_no_reply_raises_anything_else(data: bytes) -> None:
    for read in (device_info, region_info, type1_info, hot_reset_info, iova_ranges, page_requests):
        try:
            read(data)
        except BadReply:
            continue


@given(st.binary(max_size=256), st.integers(0, 64))
def test_events_end_and_account_for_every_byte(data: bytes, size: int) -> None:
    try:
        events = virtual_events(data, size)
    except BadReply:
        return
    assert sum(8 + len(event.data) for event in events) == len(data)
    assert all(len(event.data) == (0 if event.lost else size) for event in events)


@given(
    flags=st.integers(0, 15),
    size=st.integers(0, 1 << 20),
    areas=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 16)), max_size=4),
    lie=st.integers(-2, 2),
    cut=st.integers(0, 40),
)
def test_mappable_parts_lie_in_the_region(
    flags: int, size: int, areas: list[tuple[int, int]], lie: int, cut: int
) -> None:
    count = max(0, len(areas) + lie)
    body = struct.pack("=HHIII", 1, 1, 0, count, 0) + b"".join(struct.pack("=QQ", *area) for area in areas)
    data = struct.pack("=4IQQ", 32 + len(body), flags, 0, 32, size, 0) + body
    try:
        info = region_info(data[: len(data) - cut])
    except BadReply:
        return
    assert all(0 <= part.start < part.end <= size for part in info.mappable)
    assert all(one.end <= two.start for one, two in pairwise(info.mappable))


@given(st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1)), max_size=5))
def test_ranges_are_in_order_and_apart(pairs: list[tuple[int, int]]) -> None:
    data = b"".join(struct.pack("=QQ", *pair) for pair in pairs)
    try:
        ranges = iova_ranges(data)
    except BadReply:
        return
    assert len(ranges) == len(pairs)
    assert all(one.end <= two.start for one, two in pairwise(ranges))

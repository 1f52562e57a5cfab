"""Interrupt remapping: each check with its number, each format with its fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.interrupts import (
    Interrupt,
    InterruptFault,
    InterruptReason,
    InterruptRemapping,
    Message,
    remappable_message,
)
from vfiokit.translation.memory import ImageMemory, SparseMemory

CAP, ECAP = 0x00D2008C222F0606 | 1 << 59, 0x0000000000F00F5A
SOURCE = 0xF0F8
FIFTH = remappable_message(5)


def remapping(low: int, high: int = 0, *, irta: int = 0x1007, **options: Any) -> InterruptRemapping:
    memory = SparseMemory()
    memory.write64(0x1000 + 16 * 5, low)
    memory.write64(0x1000 + 16 * 5 + 8, high)
    unit = VtdCapabilities(cap=CAP, ecap=ECAP)
    return InterruptRemapping(memory=memory, irta=irta, capabilities=unit, **options)


def reason(low: int, high: int = 0, message: Message = FIFTH, **options: Any) -> int:
    found = remapping(low, high, **options).remap(SOURCE, message)
    assert isinstance(found, InterruptFault)
    return found.reason


def test_remapped() -> None:
    found = remapping(0x0000_0300_0041_0031).remap(SOURCE, remappable_message(5))
    assert isinstance(found, Interrupt)
    assert (found.vector, found.destination, found.level_triggered, found.delivery_mode) == (
        0x41,
        3,
        True,
        1,
    )


def test_x2apic_destinations_have_32_bits() -> None:
    found = remapping(0x12345678_00410001, irta=0x1807).remap(SOURCE, remappable_message(5))
    assert isinstance(found, Interrupt)
    assert found.destination == 0x12345678


def test_posted() -> None:
    low, high = 0x12345 << 38 | 0x41 << 16 | 1 << 15 | 1 << 14 | 1, 0x7 << 32
    found = remapping(low, high).remap(SOURCE, remappable_message(5))
    assert isinstance(found, Interrupt)
    assert (found.vector, found.posted_descriptor, found.urgent) == (0x41, 0x7 << 32 | 0x12345 << 6, True)


@pytest.mark.parametrize(
    ("low", "high", "message", "expected"),
    [
        (0, 0, remappable_message(5), InterruptReason.NOT_PRESENT),
        (0x410001 | 1 << 24, 0, remappable_message(5), InterruptReason.RESERVED),
        (0x410001, 1 << 20, remappable_message(5), InterruptReason.RESERVED),
        (0x410001, 3 << 18, remappable_message(5), InterruptReason.RESERVED),
        (0x410001 | 1 << 32, 0, remappable_message(5), InterruptReason.RESERVED),
        (0x410001, 1 << 18, remappable_message(5), InterruptReason.SOURCE_NOT_VERIFIED),
        (0x410001, 0, remappable_message(256), InterruptReason.INDEX_BEYOND_TABLE),
        (0x410001, 0, Message(0xFEE00010, 1), InterruptReason.REQUEST_RESERVED),
        (0x410001, 0, Message(0xFEE00000, 0x41), InterruptReason.COMPATIBILITY_BLOCKED),
    ],
)
def test_each_check_has_its_number(low: int, high: int, message: Message, expected: InterruptReason) -> None:
    assert reason(low, high, message) == expected


def test_a_table_outside_memory() -> None:
    unit = VtdCapabilities(cap=CAP, ecap=ECAP)
    found = InterruptRemapping(memory=ImageMemory(b""), irta=0x1007, capabilities=unit).remap(
        0, remappable_message(0)
    )
    assert isinstance(found, InterruptFault)
    assert found.reason == InterruptReason.UNREADABLE


@pytest.mark.parametrize(
    ("svt_sq_sid", "passes"),
    [
        (1 << 18 | SOURCE, True),
        (1 << 18 | 1 << 16 | SOURCE ^ 4, True),
        (1 << 18 | 1 << 16 | SOURCE ^ 2, False),
        (1 << 18 | 2 << 16 | SOURCE ^ 6, True),
        (1 << 18 | 3 << 16 | SOURCE ^ 7, True),
        (1 << 18 | 3 << 16 | SOURCE ^ 8, False),
        (2 << 18 | 0xF0F0, True),
        (2 << 18 | 0xE0FF, True),
        (2 << 18 | 0x00EF, False),
    ],
)
def test_source_verification(svt_sq_sid: int, passes: bool) -> None:
    found = remapping(0x410001, svt_sq_sid).remap(SOURCE, remappable_message(5))
    assert isinstance(found, Interrupt) == passes


def test_fpd_silences() -> None:
    found = remapping(2).remap(SOURCE, remappable_message(5))
    assert isinstance(found, InterruptFault)
    assert not found.recorded


def test_compatibility_format_where_it_is_allowed() -> None:
    found = remapping(0, compatibility_allowed=True).remap(0, Message(0xFEE03004, 0x4131))
    assert isinstance(found, Interrupt)
    assert (found.vector, found.destination, found.logical, found.remapped) == (0x31, 3, True, False)


@given(st.integers(0, 0xFFFF), st.none() | st.integers(0, 0xFF))
def test_a_message_names_its_entry(handle: int, subhandle: int | None) -> None:
    message = remappable_message(handle, subhandle=subhandle)
    assert message.remappable
    assert message.index == handle + (subhandle or 0)


@given(st.binary(max_size=64), st.integers(0, 0xFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFF))
def test_any_bytes_any_message(data: bytes, low: int, word: int, source: int) -> None:
    unit = VtdCapabilities(cap=CAP, ecap=ECAP)
    found = InterruptRemapping(memory=ImageMemory(data), irta=0xF, capabilities=unit).remap(
        source, Message(0xFEE00000 | low, word)
    )
    assert isinstance(found, Interrupt) != isinstance(found, InterruptFault)

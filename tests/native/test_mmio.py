"""Accessors on plain memory: values, edges, errors; and what closing, forking and a fence do."""

import mmap
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfiokit._native import ffi, lib, quick
from vfiokit.address import AddressRange
from vfiokit.errors import VfioError
from vfiokit.vfio.errors import Closed, Misaligned, OutOfBounds, ReadOnly
from vfiokit.vfio.mapped import MappedWindow
from vfiokit.vfio.sparse import SparseWindow
from vfiokit.vfio.syscall import SyscallWindow
from vfiokit.vfio.system import LiveSystem
from vfiokit.vfio.window import Window

SIZE = 8192
WIDTHS = (1, 2, 4, 8)


def memory_file(content: bytes) -> int:
    fd = os.memfd_create("memory", os.MFD_CLOEXEC)
    os.write(fd, content)
    return fd


def mapped(fd: int, size: int = SIZE, *, writable: bool = True, offset: int = 0) -> Window:
    return LiveSystem().map(fd, offset, size, writable=writable, keep_on_fork=False, subject="memory")


def sparse(fd: int) -> Window:
    """Open a page by mapping, a page by system calls."""
    rest = SyscallWindow(LiveSystem(), fd, 0, SIZE, "memory")
    return SparseWindow(((AddressRange(0, 4096), mapped(fd, 4096)),), rest)


KINDS = {
    "mapped": mapped,
    "syscall": lambda fd: SyscallWindow(LiveSystem(), fd, 0, SIZE, "memory"),
    "sparse": sparse,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
class TestValues:
    def test_a_read_is_little_endian(self, kind: str) -> None:
        content = os.urandom(SIZE)
        fd = memory_file(content)
        with KINDS[kind](fd) as window:
            for width, letter in zip(WIDTHS, "BHIQ", strict=True):
                read = getattr(window, f"read{8 * width}")
                for offset in range(0, SIZE, 8 * 61 // width * width):
                    assert read(offset) == struct.unpack_from(f"<{letter}", content, offset)[0]
                assert read(SIZE - width) == struct.unpack_from(f"<{letter}", content, SIZE - width)[0]
        os.close(fd)

    def test_a_write_changes_its_bytes_alone(self, kind: str) -> None:
        content = bytearray(os.urandom(SIZE))
        fd = memory_file(content)
        with KINDS[kind](fd) as window:
            for width in WIDTHS:
                for offset in (0, 64, 4096, SIZE - width):
                    data = os.urandom(width)
                    getattr(window, f"write{8 * width}")(offset, int.from_bytes(data, "little"))
                    content[offset : offset + width] = data
            window.doorbell32(128, 0x01020304)
            window.doorbell64(136, 0x0102030405060708)
            struct.pack_into("<IxxxxQ", content, 128, 0x01020304, 0x0102030405060708)
            content[132:136] = os.pread(fd, 4, 132)
            assert os.pread(fd, SIZE, 0) == content
        os.close(fd)

    def test_all_ones_is_a_value(self, kind: str) -> None:
        fd = memory_file(b"\xff" * SIZE)
        with KINDS[kind](fd) as window:
            for width in WIDTHS:
                assert getattr(window, f"read{8 * width}")(0) == (1 << 8 * width) - 1
                getattr(window, f"write{8 * width}")(0, (1 << 8 * width) - 1)
        os.close(fd)

    def test_blocks_are_their_bytes(self, kind: str) -> None:
        content = bytearray(os.urandom(SIZE))
        fd = memory_file(content)
        with KINDS[kind](fd) as window:
            for width in WIDTHS:
                for start, length in ((0, 0), (0, 64), (4096 - 32, 64), (SIZE - 128, 128)):
                    assert window.read_block(start, length, width=width) == content[start : start + length]
                    data = os.urandom(length)
                    window.write_block(start, data, width=width)
                    content[start : start + length] = data
            assert os.pread(fd, SIZE, 0) == content
        os.close(fd)


@every_kind
class TestRefusals:
    def test_outside_the_region(self, kind: str) -> None:
        fd = memory_file(bytes(SIZE))
        with KINDS[kind](fd) as window:
            for width in WIDTHS:
                for offset in (SIZE, SIZE - width + 1, -width, -1, 1 << 62, -(1 << 62)):
                    with pytest.raises((OutOfBounds, Misaligned)):
                        getattr(window, f"read{8 * width}")(offset)
                    with pytest.raises((OutOfBounds, Misaligned)):
                        getattr(window, f"write{8 * width}")(offset, 0)
            for start, length in ((SIZE, 8), (0, SIZE + 8), (-8, 8), (8, -8)):
                with pytest.raises(OutOfBounds):
                    window.read_block(start, length, width=8)
            with pytest.raises(OutOfBounds, match="leaves"):
                window.write_block(SIZE - 8, bytes(16), width=8)
            with pytest.raises(OutOfBounds, match="a width of 3"):
                window.read_block(0, 3, width=3)
        assert os.pread(fd, SIZE, 0) == bytes(SIZE)
        os.close(fd)

    def test_misaligned(self, kind: str) -> None:
        fd = memory_file(bytes(SIZE))
        with KINDS[kind](fd) as window:
            for width in WIDTHS[1:]:
                for offset in range(1, width):
                    with pytest.raises(Misaligned, match=f"aligned to {width}"):
                        getattr(window, f"read{8 * width}")(offset)
                    with pytest.raises(Misaligned):
                        window.read_block(offset, width, width=width)
                with pytest.raises(Misaligned):
                    window.read_block(0, width + 1, width=width)
        os.close(fd)

    def test_a_value_that_does_not_fit(self, kind: str) -> None:
        fd = memory_file(bytes(SIZE))
        with KINDS[kind](fd) as window:
            for width in WIDTHS:
                for value in (1 << 8 * width, -1):
                    with pytest.raises(OutOfBounds, match=f"does not fit in {8 * width} bits"):
                        getattr(window, f"write{8 * width}")(0, value)
        os.close(fd)

    def test_after_close(self, kind: str) -> None:
        fd = memory_file(bytes(SIZE))
        window = KINDS[kind](fd)
        window.close()
        window.close()
        assert window.closed
        for use in (
            lambda: window.read8(0),
            lambda: window.read64(0),
            lambda: window.write32(0, 1),
            lambda: window.read_block(0, 8, width=8),
            lambda: window.write_block(0, bytes(8), width=4),
        ):
            with pytest.raises(Closed):
                use()
        os.close(fd)


class TestMapping:
    def test_a_read_only_one_cannot_be_written(self) -> None:
        fd = memory_file(bytes(SIZE))
        with mapped(fd, writable=False) as window:
            assert window.read32(0) == 0
            for write in (
                lambda: window.write8(0, 1),
                lambda: window.write64(0, 1),
                lambda: window.doorbell32(0, 1),
                lambda: window.write_block(0, bytes(8), width=8),
            ):
                with pytest.raises(ReadOnly, match="cannot be written"):
                    write()
        os.close(fd)

    def test_what_the_kernel_refuses_is_an_error(self) -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            mapped(-1)
        fd = memory_file(bytes(SIZE))
        for size, offset in ((0, 0), (SIZE, 1), ((1 << 64) - 1, 0)):
            with pytest.raises(OSError, match="Invalid argument"):
                mapped(fd, size, offset=offset)
        os.close(fd)

    @pytest.mark.parametrize("size", [2 << 20, (2 << 20) + 4096, 1 << 30])
    def test_a_large_one_is_aligned_for_huge_pages(self, size: int) -> None:
        fd = os.memfd_create("large", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        with mapped(fd, size) as window:
            assert isinstance(window, MappedWindow)
            window.write64(size - 8, 42)
            maps = Path("/proc/self/maps").read_text()
            line = next(row for row in maps.splitlines() if "memfd:large" in row)
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            assert end - start == size
            assert start % min(1 << size.bit_length() - 1, 1 << 30) == 0
        assert "memfd:large" not in Path("/proc/self/maps").read_text()
        os.close(fd)

    def test_a_piece_below_a_page_is_bounded(self) -> None:
        fd = memory_file(bytes(4096))
        with mapped(fd, 256) as window:
            window.write32(252, 7)
            with pytest.raises(OutOfBounds):
                window.write32(256, 7)
        assert os.pread(fd, 4, 256) == bytes(4)
        os.close(fd)

    def test_a_child_has_none_of_it(self) -> None:
        fd = memory_file(bytes(SIZE))
        with mapped(fd):
            child = os.fork()
            if not child:
                with open("/proc/self/maps") as maps:
                    os._exit("memfd:memory" in maps.read())
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.close(fd)

    def test_reading_into_memory_makes_no_copy(self) -> None:
        content = os.urandom(SIZE)
        fd = memory_file(content)
        target = mmap.mmap(-1, SIZE)
        with mapped(fd) as window:
            assert isinstance(window, MappedWindow)
            window.read_into(0, memoryview(target), width=4)
        assert target[:] == content
        os.close(fd)


class TestFences:
    def test_they_return(self) -> None:
        lib.vfiokit_release_fence()
        lib.vfiokit_acquire_fence()


@given(
    size=st.integers(0, 64),
    offset=st.integers(-70, 140) | st.integers(-(1 << 63), (1 << 63) - 1),
    width=st.sampled_from(WIDTHS),
)
def test_the_check_is_the_definition(size: int, offset: int, width: int) -> None:
    """Hold the C arithmetic, which must not overflow, against arithmetic that cannot."""
    memory = ffi.new("uint8_t[64]")
    window = MappedWindow("memory")
    window.over(memory, size)
    allowed = size > 0 and offset >= 0 and offset + width <= size and offset % width == 0
    assert done(lambda: getattr(window, f"read{8 * width}")(offset)) == allowed
    assert done(lambda: getattr(window, f"write{8 * width}")(offset, 1)) == allowed
    lowest = offset if allowed else None
    assert [at for at in range(64) if memory[at]] == ([] if lowest is None else [lowest])
    for length in (0, width, size, 1 << 63):
        inside = size > 0 and 0 <= offset <= size - length
        good = inside and offset % width == 0 and length % width == 0
        target = ffi.new("uint8_t[128]")
        if length <= 128:
            assert (lib.vfiokit_copy_out(window._window, offset, target, length, width) == 0) == good
        elif not good:
            assert lib.vfiokit_copy_out(window._window, offset, target, length, width) != 0


def done(access: Callable[[], object]) -> bool:
    try:
        access()
    except VfioError:
        return False
    return True


class TestArguments:
    """What the C accessors do with arguments that no type checker would let through."""

    @every_kind
    def test_no_number_is_a_type_error(self, kind: str) -> None:
        fd = memory_file(bytes(SIZE))
        with KINDS[kind](fd) as window:
            for use in (
                lambda: window.read32("0"),  # type: ignore[arg-type]
                lambda: window.read32(None),  # type: ignore[arg-type]
                lambda: window.read32(1.0),  # type: ignore[arg-type]
                window.read32,  # type: ignore[call-arg]
                lambda: window.read32(offset=0),  # type: ignore[call-arg]
                lambda: window.write32(0),  # type: ignore[call-arg]
                lambda: window.write32(0, 1, 2),  # type: ignore[call-arg]
                lambda: window.write32("0", 1),  # type: ignore[arg-type]
            ):
                with pytest.raises(TypeError):
                    use()
        assert os.pread(fd, SIZE, 0) == bytes(SIZE)
        os.close(fd)

    def test_a_value_is_an_integer(self) -> None:
        fd = memory_file(bytes(SIZE))
        with mapped(fd) as window:
            for wrong in ("1", 1.0, None):
                with pytest.raises(TypeError):
                    window.write32(0, wrong)  # type: ignore[arg-type]
            window.write8(0, True)
            window.write16(2, Index(7))  # type: ignore[arg-type]
            assert window.read8(Index(0)) == 1  # type: ignore[arg-type]
            assert window.read16(2) == 7
            for huge in (1 << 64, -(1 << 64), 1 << 200):
                with pytest.raises(OutOfBounds, match="leaves"):
                    window.read8(huge)
                with pytest.raises(OutOfBounds, match="does not fit"):
                    window.write64(0, huge)
        os.close(fd)

    def test_a_refusal_that_raises_nothing_is_found(self) -> None:
        class Mute(MappedWindow):
            def _refuse(self, offset: int, width: int, value: int | None) -> NoReturn:
                return None  # type: ignore[misc]

        with pytest.raises(SystemError, match="_refuse"):
            Mute("memory").read32(0)

    def test_the_bare_accessors_have_no_memory(self) -> None:
        with pytest.raises(AttributeError, match="_refuse"):
            quick.Accessors().read32(0)

    def test_an_object_is_given_back(self) -> None:
        before = sys.getrefcount(quick.Accessors)
        for _ in range(100):
            quick.Accessors()
        assert abs(sys.getrefcount(quick.Accessors) - before) < 10


class Index:
    """Something that is an integer by __index__ alone, as NumPy's are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

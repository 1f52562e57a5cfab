"""An exchange of numbers with an ioctl: packed and read as the struct module does it.

The kernel is stood in for by a library that is loaded before the C library: its ioctl keeps the request,
and turns every bit of the structure over, or refuses.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from vfiokit._native import ffi, lib, quick
from vfiokit._native.base_calls import BaseCalls
from vfiokit._native.table import BY_NAME

ROOT = Path(__file__).parents[2]

STANDIN = """
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>

/* The request says how many bytes to turn over, or, from 1000 on, which errno to fail with. */
int ioctl(int fd, unsigned long request, ...)
{
    static int interrupted;
    va_list list;
    uint8_t *at;

    va_start(list, request);
    at = va_arg(list, uint8_t *);
    va_end(list);
    if (request >= 1000 && (request != 1000 + EINTR || interrupted++ % 3 < 2)) {
        errno = request - 1000;
        return -1;
    }
    for (unsigned long i = 0; i < request && i < 128; i++)
        at[i] = ~at[i];
    return 0;
}
"""

SCRIPT = """
import errno, json, random, struct, sys
from vfiokit._native import quick

class Calls:
    def __init__(self):
        self.asked, self.refusals = [], []
    def _describe(self, name):
        self.asked.append(name)
        return int(name.split()[0]), name.split()[1].encode()
    def _refused(self, *what):
        self.refusals.append(what)
        raise ValueError("refused")

calls, random = Calls(), random.Random(7)
compared = 0
for _ in range(3000):
    codes, size = "", 0
    for _ in range(random.randint(1, 16)):
        letter = random.choice([each for each in "BHIQiq" if size % struct.calcsize("=" + each) == 0])
        codes, size = codes + letter, size + struct.calcsize("=" + letter)
    given = []
    for letter in codes:
        bits = 8 * struct.calcsize("=" + letter)
        least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if letter.islower() else (0, (1 << bits) - 1)
        given.append(random.choice([least, most, 0, random.randint(least, most)]))
    given = given[: random.randint(0, len(given))]
    whole = given + [0] * (len(codes) - len(given))
    turned = bytes(each ^ 0xFF for each in struct.pack("=" + codes, *whole))
    got = quick.exchange(calls, f"{size} {codes}", 3, *given)
    assert got == struct.unpack("=" + codes, turned), (codes, given, got)
    index = random.randrange(-len(codes), len(codes))
    assert quick.ask(calls, f"{size} {codes}", index, 3, *given) == got[index], (codes, given, index)
    assert quick.tell(calls, f"{size} {codes}", 3, *given) is None
    compared += 1
for index in (-2, 1, 1 << 40):
    try:
        quick.ask(calls, "4 I", index, 3, 1)
    except IndexError as error:
        assert f"no member {index} of 1" in str(error)
    else:
        raise AssertionError(index)
assert len(set(calls.asked)) == len(calls.asked)  # each is asked for once

for number in (errno.EINVAL, errno.EBUSY, errno.ENOTTY):
    for how, words in ((quick.exchange, ()), (quick.ask, (0,)), (quick.tell, ())):
        calls.refusals.clear()
        try:
            how(calls, f"{1000 + number} I", *words, 4, 1)
        except ValueError:
            pass
        assert calls.refusals == [(f"{1000 + number} I", 4, number)]
# An interrupted call is made again, twice here.
assert quick.exchange(calls, f"{1000 + errno.EINTR} I", 4, 0) == (0xFFFFFFFF,)
print(json.dumps(compared))
"""


def stand_in(directory: Path) -> Path:
    source, library = directory / "standin.c", directory / "standin.so"
    source.write_text(STANDIN)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


@pytest.mark.skipif(
    shutil.which("gcc") is None or "LD_PRELOAD" in os.environ, reason="no compiler, or another library first"
)
def test_members_are_packed_as_struct_packs_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "LD_PRELOAD": str(stand_in(tmp_path))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == 3000


class Wrong:
    """What a caller may say of a call, and what a refusal may do."""

    def __init__(self, shape: Any = (0, b"I")) -> None:
        self.shape = shape

    def _describe(self, name: str) -> Any:
        return self.shape

    def _refused(self, name: str, fd: int, errno: int) -> NoReturn:
        return None  # type: ignore[misc]


class Index:
    """An integer by __index__ alone, as NumPy's are: cffi takes them."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class TestIndexable:
    def test_a_member_may_be_anything_with_an_index(self) -> None:
        waiting = {}

        class Waiting(Wrong):
            def _refused(self, name: str, fd: int, errno: int) -> NoReturn:
                waiting[name] = errno
                raise OSError(errno, name)

        for codes in (b"I", b"Q", b"i", b"q"):
            with pytest.raises(OSError, match="indexed"):
                quick.tell(Waiting((0, codes)), f"indexed {codes!r}", Index(-1), Index(7))  # type: ignore[arg-type]
        assert set(waiting.values()) == {errno.EBADF}


class TestWrongUse:
    @pytest.mark.parametrize(
        ("shape", "members", "error"),
        [
            ((0, b"I"), (1 << 32,), OverflowError),
            ((0, b"I"), (-1,), OverflowError),
            ((0, b"i"), (1 << 31,), OverflowError),
            ((0, b"i"), (-(1 << 31) - 1,), OverflowError),
            ((0, b"Q"), (1 << 64,), OverflowError),
            ((0, b"q"), (1 << 63,), OverflowError),
            ((0, b"I"), ("1",), TypeError),
            ((0, b"I"), (1.0,), TypeError),
            ((0, b"I"), (1, 2), TypeError),
            ((0, b"x"), (1,), ValueError),
            ((0, b"BI"), (1, 2), ValueError),
            ((0, b"B" * 17), (), ValueError),
            ((0, "I"), (), TypeError),
            ((0,), (), TypeError),
            ([0, b"I"], (), TypeError),
            (("0", b"I"), (), TypeError),
        ],
    )
    def test_it_is_an_error_and_no_call(self, shape: Any, members: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            quick.exchange(Wrong(shape), f"wrong {shape} {members}", -1, *members)

    def test_too_few_words(self) -> None:
        with pytest.raises(TypeError, match="at least 3"):
            quick.exchange(Wrong(), "few")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="at least 3"):
            quick.tell(Wrong(), "few")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="at least 4"):
            quick.ask(Wrong(), "few", 0)  # type: ignore[call-arg]

    def test_no_index(self) -> None:
        with pytest.raises(TypeError):
            quick.ask(Wrong(), "no index", "0", -1)  # type: ignore[arg-type]

    @pytest.mark.parametrize("fd", [1 << 31, 1 << 32, -(1 << 31) - 1, 1 << 64])
    def test_a_descriptor_is_not_cut_to_its_low_bits(self, fd: int) -> None:
        for use in (lambda: quick.tell(Wrong(), "cut", fd), lambda: quick.ask(Wrong(), "cut", 0, fd)):
            with pytest.raises(OverflowError, match="does not fit in 32 bits"):
                use()

    def test_no_descriptor(self) -> None:
        with pytest.raises(TypeError):
            quick.exchange(Wrong(), "no descriptor", "3")  # type: ignore[arg-type]

    def test_a_refusal_that_raises_nothing_is_found(self) -> None:
        with pytest.raises(SystemError, match="_refused"):
            quick.exchange(Wrong(), "mute", -1)

    def test_without_a_description(self) -> None:
        with pytest.raises(AttributeError, match="_describe"):
            quick.exchange(object(), "nobody", -1)  # type: ignore[arg-type]


NATIVE = ROOT / "vfiokit" / "_native"
EXCHANGED = sorted(
    {
        name
        for path in NATIVE.glob("*_calls.py")
        for name in re.findall(r'_(?:exchange|ask|tell)\(\s*"(\w+)"', path.read_text())
    }
)


class Nobody:
    """A kernel that must not be asked."""

    def ioctl(self, fd: int, call: object, argument: object) -> int:
        raise AssertionError

    ioctl_value = ioctl


@pytest.mark.parametrize("name", EXCHANGED)
def test_a_description_is_the_compilers(name: str) -> None:
    """Offsets that follow from the letters are those of the compiler, for every call that is exchanged."""
    struct = f"struct {BY_NAME[name].struct}"
    request, codes = BaseCalls(Nobody())._describe(name)
    assert request == getattr(lib, name)
    offset = 0
    for code, (member, field) in zip(codes.decode(), ffi.typeof(struct).fields, strict=False):
        assert ffi.offsetof(struct, member) == offset
        width = ffi.sizeof(field.type)
        assert width == {"B": 1, "H": 2, "I": 4, "Q": 8, "i": 4, "q": 8}[code]
        assert (int(ffi.cast(field.type, -1)) < 0) == code.islower()
        offset += width
    assert offset == ffi.sizeof(struct)


def test_a_structure_with_more_than_numbers_has_no_description() -> None:
    for name in ("IOMMU_GET_HW_INFO", "VFIO_EEH_PE_OP"):
        with pytest.raises(ValueError, match="more than numbers"):
            BaseCalls(Nobody())._describe(name)

"""Mutated config spaces by the million: nothing that bytes can say raises, no walk is longer than the space.

    python -m tests.property.fuzz_config [--spaces N] [--seed SEED]

Seeds are spaces built from the register table, and recorded ones if the corpus is there; each is hit in some
bytes, in a pointer, or cut. The first failure is printed with the bytes that made it.
"""

import argparse
import random
import sys
import time
import traceback
from collections.abc import Iterator

from tests.corpus.recordings import paths
from vfiokit.address import PciAddress
from vfiokit.pci.bars import bars
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.dump import parse_dump
from vfiokit.pci.image import SparseImage
from vfiokit.pci.lspci import lspci_text
from vfiokit.render.config import config_lines
from vfiokit.render.config_json import function_object
from vfiokit.testing.config_spaces import all_rows, fill

ADDRESS = PciAddress(0, 0, 0, 0)
MOST_STANDARD = (0x100 - 0x40) // 4
MOST_EXTENDED = (0x1000 - 0x100) // 4
DRAWN = 40
"""Seeds built from the table."""


def built(random: random.Random) -> bytes:
    """Build a space with every byte drawn and capabilities of the table in their lists."""
    space = bytearray(random.randbytes(0x100) + bytes(0xF00))
    space[6] |= 0x10
    space[0x0E] = random.choice((0, 0, 1, 2, 0x80))
    space[0:4] = random.choice((b"\x86\x80\x34\x12", b"\xf4\x1a\x41\x10", b"\xde\x10\x35\x23"))
    place(random, space, extended=False)
    place(random, space, extended=True)
    return bytes(space)


def place(random: random.Random, space: bytearray, *, extended: bool) -> None:
    """Put capabilities one after the other and link them."""
    rows = all_rows(extended=extended)
    at, end = (0x100, 0x1000) if extended else (0x40, 0x100)
    link = None if extended else 0x14 if space[0x0E] & 0x7F == 2 else 0x34
    if not extended:
        rows = (*rows, *(row for row in rows if row.id in (7, 0x10) for _ in range(8)))
    while at < end:
        size = random.randrange(12, 60, 4)
        content = fill(random.choice(rows), random.randbytes(size), random.randrange(4))[: size + 4]
        space[at : min(at + len(content), end)] = content[: end - at]
        if not extended:
            assert link is not None
            space[link] = at
            link = at + 1
            if link >= end - 1:
                break
            space[link] = 0
        else:
            space[at + 2] &= 0x0F
            space[at + 3] = 0
            if link is not None:
                space[link + 2] = space[link + 2] & 0x0F | (at & 0xF) << 4
                space[link + 3] = at >> 4
            link = at
        at += len(content) + 3 & ~3


def mutated(random: random.Random, seed: bytes) -> bytes:
    """Hit a space: some bytes anywhere, the pointers, a run of ones or zeros, its length."""
    space = bytearray(seed)
    for _ in range(random.choice((0, 1, 1, 2, 4, 16))):
        space[random.randrange(len(space))] = random.choice((0, 0xFF, random.randrange(256)))
    kind = random.randrange(12)
    if kind == 0:
        space[random.choice((0x34, 0x14, 0x0E, 6))] = random.randrange(256)
    elif kind == 1:
        start = random.randrange(len(space))
        size = random.randrange(1, 64)
        space[start : start + size] = random.choice((b"\0", b"\xff")) * len(space[start : start + size])
    elif kind == 2:
        del space[random.randrange(4, len(space) + 1) :]
    elif kind == 3:
        del space[random.choice((64, 128, 256)) :]
    return bytes(space)


def seeds(random: random.Random) -> list[bytes]:
    """Return what is mutated."""
    recorded = [each.data for path in paths("pciutils", "*.dump") for each in parse_dump(path.read_bytes())]
    return [built(random) for _ in range(DRAWN)] + recorded


def check(data: bytes, number: int) -> None:
    """Do with a space everything that can be done; the slower things less often.

    :raises AssertionError: if a walk is too long, or what is read sparsely differs.
    """
    space = ConfigSpace(data)
    decoded = space.decode()
    assert len(space.standard_list()) <= MOST_STANDARD
    assert len(space.extended_list()) <= MOST_EXTENDED
    lspci_text(ADDRESS, space)
    assert all(each.offset < 0x1000 for each in space.diagnostics)
    if number % 8 == 0:
        sparse = ConfigSpace(SparseImage(lambda offset, size: data[offset : offset + size]))
        if len(data) % 4 == 0 and len(data) in (64, 256, 4096):
            assert [each.values for each in sparse.decode()] == [each.values for each in decoded]
    if number % 16 == 0:
        bars(space)
        function_object(ADDRESS, space)
        for _ in config_lines(ADDRESS, space):
            pass


def run(spaces: int, seed: int) -> Iterator[tuple[int, float]]:
    """Check that many spaces; now and then yield how many were, and the seconds for the slowest so far."""
    chosen = random.Random(seed)
    pool = seeds(chosen)
    slowest = 0.0
    for number in range(spaces):
        data = mutated(chosen, chosen.choice(pool))
        started = time.process_time()
        try:
            check(data, number)
        except Exception:
            traceback.print_exc()
            sys.exit(f"space {number} of seed {seed}: {data.hex()}")
        slowest = max(slowest, time.process_time() - started)
        if number % 10_000 == 9_999:
            yield number + 1, slowest
    yield spaces, slowest


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--spaces", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for done, slowest in run(arguments.spaces, arguments.seed):
        print(f"{done} spaces, no exception; the slowest took {slowest * 1e3:.0f} ms", flush=True)


if __name__ == "__main__":
    main()

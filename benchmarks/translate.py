"""Time walks, dumps and the overlap report, each beside what it has to beat.

Tables of 2, 32 and 256 MiB (1, 16 and 128 GiB in pages of 4 KiB), random addresses. The batch walker
against a plain loop in C of the same source, one walk after another, and against the pure Python walker.
Ratios of one run are what counts: absolute figures change with the machine.
"""

import random
import sys
import time
from array import array
from collections.abc import Callable

from vfiokit.translation import batch
from vfiokit.translation.audit import Mapping
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.formats import second_stage
from vfiokit.translation.memory import ImageMemory
from vfiokit.translation.overlap import overlaps
from vfiokit.translation.requests import Access, Request
from vfiokit.translation.stages import Path, translate_stages
from vfiokit.translation.walk import Stage

UNIT = VtdCapabilities(cap=0x00D2008C222F0606, ecap=0x0000000000F00F4A)
GIB, PAGE = 1 << 30, 1 << 12
WALKS, PURE_WALKS, ROUNDS = 2_000_000, 20_000, 3
DOMAINS, DOMAIN_SIZE = 64, 16 * GIB


def build(size: int, *, scattered: bool) -> tuple[ImageMemory, Descriptor]:
    """Lay out four-level tables that map *size* bytes in 4 KiB pages, by arithmetic on arrays."""
    pages, tables = size // PAGE, size // PAGE // 512
    leaves_at, upper_at = 4 * PAGE, 4 * PAGE + tables * PAGE
    uppers = (tables + 511) // 512
    words = array("Q", bytes(upper_at + uppers * PAGE))
    words[512] = 2 * PAGE | 3
    order = list(range(tables))
    if scattered:
        random.Random(1).shuffle(order)
    for index, place in enumerate(order):
        first = leaves_at // 8 + place * 512
        start = (1 << 40) + index * 512 * PAGE | 3
        words[first : first + 512] = array("Q", range(start, start + 512 * PAGE, PAGE))
        words[upper_at // 8 + index] = leaves_at + place * PAGE | 3
    for index in range(uppers):
        words[2 * 512 + index] = upper_at + index * PAGE | 3
    format = second_stage(UNIT, 48, accessed_dirty=False)
    assert pages == tables * 512
    stage = Stage(format=format, root=PAGE, levels=4, width=48)
    return ImageMemory(words), Descriptor(second=stage, domain_id=1)


def best(function: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the shortest of some runs, in seconds of processor time: others may use the machine too."""
    took = []
    for _ in range(rounds):
        started = time.thread_time()
        function()
        took.append(time.thread_time() - started)
    return min(took)


def walks(size: int) -> None:
    memory, descriptor = build(size, scattered=True)
    chooser = random.Random(2)
    addresses = array("Q", (chooser.randrange(size) for _ in range(WALKS)))
    view, columns = memoryview(addresses), batch.Columns.of_length(WALKS)
    walker = batch.Walker(memory, descriptor, interrupts=False)

    def run(interleaved: bool) -> None:
        walker.walk(view, None, Access.READ, columns, 0, interleaved=interleaved)

    many = WALKS / best(lambda: run(True))
    assert columns.addresses[0] == (1 << 40) + addresses[0]
    assert not any(columns.reasons)
    plain = WALKS / best(lambda: run(False))
    pure = PURE_WALKS / best(lambda: python(memory, descriptor, addresses[:PURE_WALKS]))
    print(
        f"walks, {size // 512 >> 20:3d} MiB of tables: batch {many / 1e6:6.1f} M/s, "
        f"plain C {plain / 1e6:5.1f} M/s, Python {pure / 1e3:6.1f} k/s: "
        f"{many / plain:.1f} times plain C, {many / pure:.0f} times Python"
    )


def python(memory: ImageMemory, descriptor: Descriptor, addresses: "array[int]") -> None:
    for address in addresses:
        translate_stages(memory, descriptor, Request(0, address), Path())


def dumps(size: int) -> None:
    memory, descriptor = build(size, scattered=False)
    took = best(lambda: batch.dump(memory, descriptor))
    found = batch.dump(memory, descriptor)
    assert [each.size for each in found.mappings] == [size]
    speed = size // PAGE / took / 1e6
    print(f"dump of {size // GIB} GiB in 4 KiB pages: {took:.3f} s, {speed:.0f} M entries/s")


def report() -> None:
    """Overlaps of domains with 2 MiB pages on frames in random order, two of which share some."""
    chooser, large = random.Random(3), 2 << 20
    domains: dict[int, list[Mapping]] = {}
    for number in range(DOMAINS):
        places = list(range(DOMAIN_SIZE // large))
        chooser.shuffle(places)
        base = number * DOMAIN_SIZE - (large * 4 if number == 1 else 0)
        domains[number] = [
            Mapping(index * large, base + place * large, large, Access.READ | Access.WRITE)
            for index, place in enumerate(places)
        ]
    took = best(lambda: overlaps(domains), 2)
    assert sum(each.range.size for each in overlaps(domains)) == 4 * large
    size = DOMAIN_SIZE // GIB
    print(f"overlaps of {DOMAINS} domains of {size} GiB in scattered 2 MiB pages: {took:.2f} s")


def main() -> int:
    if not batch.have_native():
        print("the C extension is not built: nothing to compare", file=sys.stderr)
        return 3
    for size in (GIB, 16 * GIB, 128 * GIB):
        walks(size)
    dumps(128 * GIB)
    report()
    return 0


if __name__ == "__main__":
    sys.exit(main())

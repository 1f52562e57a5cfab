"""How long config space takes to decode, beside lspci for the same bytes.

    python -m benchmarks.config_decode [--functions N] [--rounds N] [--corpus DIRECTORY]

Processor time, medians of rounds, one run. Spaces are those of recorded machines where a directory with
dumps is given or VFIOKIT_CORPUS names one, else spaces that are drawn from the register table. lspci reads
a dump as a process of its own; ours is measured in this process, and as a process where it says so.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vfiokit.address import PciAddress
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.dump import Dumped, format_dump, parse_dump
from vfiokit.pci.ids import PciIds
from vfiokit.pci.image import EXTENDED_SIZE, SparseImage
from vfiokit.pci.lspci import lspci_text

DUMPED = 4096
PCI_IDS = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
Space = bytes


def spaces(corpus: Path) -> list[Dumped]:
    """Return every function of the recorded dumps; drawn ones where there are none."""
    found = [
        each for file in sorted(corpus.glob("pciutils/*.dump")) for each in parse_dump(file.read_bytes())
    ]
    if not found:
        from tests.property.fuzz_config import built

        chosen = random.Random(1)
        found = [Dumped(PciAddress(0, 0, 0, 0), built(chosen)) for _ in range(40)]
    return found


def renamed(functions: list[Dumped], count: int) -> list[Dumped]:
    """Return *count* functions with addresses of their own and these contents in turn."""
    return [
        Dumped(
            PciAddress(0, number >> 8, number >> 3 & 31, number & 7), functions[number % len(functions)].data
        )
        for number in range(count)
    ]


def each(function: Callable[[Space], object], chosen: list[Space], rounds: int) -> float:
    """Return the processor time of one call in microseconds; the compiled functions are made before."""
    for space in chosen:
        function(space)
    times = []
    for _ in range(rounds):
        started = time.process_time()
        for space in chosen:
            function(space)
        times.append((time.process_time() - started) / len(chosen) * 1e6)
    return statistics.median(times)


def once(function: Callable[[], object], rounds: int) -> float:
    """Return the processor time of one call in milliseconds."""
    function()
    times = []
    for _ in range(rounds):
        started = time.process_time()
        function()
        times.append((time.process_time() - started) * 1e3)
    return statistics.median(times)


def process(command: list[str], rounds: int) -> float:
    """Return the processor time of a whole process in milliseconds; the first one is not counted."""
    # As a user's Python does it: compiled modules are kept.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times = []
    for number in range(rounds + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if number:
            times.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3)
    return statistics.median(times)


def everything(data: Space) -> object:
    """Every field, typed."""
    return ConfigSpace(data).decode()


def header_and_lists(data: Space) -> object:
    """Header, and the lists of capabilities."""
    space = ConfigSpace(data)
    return space.header, space.standard_list(), space.extended_list()


def bytes_read(data: Space) -> int:
    """Return what a full decode reads of a function that is read on demand."""
    image = SparseImage(lambda offset, size: data[offset : offset + size])
    ConfigSpace(image).decode()
    return sum(size for _, size in image.log)


def objects(text: bytes) -> list[object]:
    """Decode every function of a dump."""
    return [ConfigSpace(function.data).decode() for function in parse_dump(text)]


def texts(text: bytes) -> str:
    """Return lspci's text of every function of a dump."""
    return "".join(lspci_text(one.address, ConfigSpace(one.data)) for one in parse_dump(text))


def single(functions: list[Dumped], rounds: int) -> None:
    """Print what one function costs."""
    chosen = [function.data for function in functions if len(function.data) == EXTENDED_SIZE]
    capabilities = statistics.mean(len(ConfigSpace(data).structures) - 1 for data in chosen)
    fields = statistics.mean(sum(len(one.values) for one in ConfigSpace(data).decode()) for data in chosen)
    print(
        f"{len(chosen)} spaces of 4 KiB, on average {capabilities:.1f} capabilities and {fields:.0f} fields"
    )
    print(f"  all fields, typed           {each(everything, chosen, rounds):8.1f} µs")
    print(f"  header and lists            {each(header_and_lists, chosen, rounds):8.1f} µs")
    reads = [bytes_read(data) for data in chosen]
    print(f"  bytes read for all fields   {statistics.mean(reads):8.0f}, at most {max(reads)}")


def whole(functions: list[Dumped], rounds: int) -> None:
    """Print what a dump costs, beside lspci."""
    count = len(functions)
    with tempfile.TemporaryDirectory(prefix="vfiokit-bench-") as directory:
        file = Path(directory, "host.dump")
        file.write_text(format_dump(functions))
        content = file.read_bytes()
        try:
            its = process(["lspci", "-n", "-vvv", "-F", str(file)], rounds)
        except subprocess.CalledProcessError as error:
            # lspci 3.9 dies of some drawn spaces; those of recorded machines it reads.
            print(f"a dump of {count} functions: lspci ended with {error.returncode}; name a --corpus")
            return
        ours = [sys.executable, "-m", "vfiokit", "config", "--dump", str(file), "--format", "lspci"]
        rows = {
            "lspci -n -vvv -F": its,
            "to objects": once(lambda: objects(content), rounds),
            "to lspci's text": once(lambda: texts(content), rounds),
            "config --format lspci": process(ours, rounds),
        }
    print(f"a dump of {count} functions, {len(content) >> 20} MiB")
    for name, milliseconds in rows.items():
        print(f"  {name:24} {milliseconds:11.0f} ms {milliseconds / its:8.2f}")


def names(rounds: int) -> None:
    """Print what one name costs, the file opened for it."""
    file = next((path for path in map(Path, PCI_IDS) if path.is_file()), None)
    if file is not None:
        found = once(lambda: PciIds(file.read_bytes()).device(0x8086, 0x1533), rounds)
        print(f"a name from pci.ids          {found:11.2f} ms")


def start(rounds: int) -> None:
    """Print what an import costs more than an interpreter that imports nothing."""
    bare = process([sys.executable, "-c", ""], rounds)
    for module in ("vfiokit.pci", "vfiokit.pci.config"):
        loaded = process([sys.executable, "-c", f"import {module}"], rounds)
        print(f"import {module:22} {loaded - bare:11.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--functions", type=int, default=DUMPED)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--corpus", type=Path, default=Path(os.environ.get("VFIOKIT_CORPUS", ".")))
    arguments = parser.parse_args()
    functions = spaces(arguments.corpus)
    single(functions, arguments.rounds)
    whole(renamed(functions, arguments.functions), arguments.rounds)
    names(arguments.rounds)
    start(arguments.rounds)


if __name__ == "__main__":
    main()

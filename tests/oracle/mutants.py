"""Mistakes of one line in the walker, each of which QEMU must find: ``python -m tests.oracle.mutants``.

Each runs in a copy of the package, against a QEMU of the kind of tables that it concerns, until the first
disagreement. A mistake that survives fails the run: then the requests that are drawn are not aimed well
enough.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
REQUESTS = 6000
KILLED, SURVIVED = 42, 0
"""Exit statuses of a hunt; any other is a mistake of the mutant itself, and fails the run."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One line changed.

    :ivar file: below ``vfiokit/translation``.
    :ivar old: what stands in it exactly once.
    :ivar kind: of the tables that it concerns.
    """

    name: str
    file: str
    old: str
    new: str
    kind: str = "legacy"


MUTANTS = (
    Mutant(
        "wrong index width", "walk.py", "level_shift(level) & 0x1FF) * 8", "level_shift(level) & 0xFF) * 8"
    ),
    Mutant("entries of 4 bytes", "walk.py", "& 0x1FF) * 8", "& 0x1FF) * 4"),
    Mutant("no range check", "walk.py", "if not stage.admits(address):", "if False:"),
    Mutant(
        "range one bit wider",
        "walk.py",
        "address >> (self.width - 1 if",
        "address >> (self.width if",
        "first-stage",
    ),
    Mutant("range by width + 1", "walk.py", "else self.width)", "else self.width + 1)"),
    Mutant("no presence check", "walk.py", "if not entry & format.present:", "if False:", "first-stage"),
    Mutant("presence by read alone", "formats.py", "present=0b11", "present=0b01"),
    Mutant(
        "no permission check", "walk.py", "if demand.required & ~entry or", "if False and demand.required or"
    ),
    Mutant(
        "permission of leaves alone",
        "walk.py",
        "if demand.required & ~entry or",
        "if below in (0, 7) and demand.required & ~entry or",
    ),
    Mutant(
        "reserved before permission",
        "walk.py",
        "    if not entry & format.present:\n",
        "    if entry & (format.reserved_leaf if below in (0, 7) else format.reserved_table)[level]:\n"
        "        return Check.RESERVED\n    if not entry & format.present:\n",
    ),
    Mutant("no reserved bits", "walk.py", "if entry & reserved[level]:", "if False:"),
    Mutant(
        "reserved bits of leaves for tables",
        "walk.py",
        "else format.reserved_table\n",
        "else format.reserved_leaf\n",
    ),
    Mutant("top table like any other", "walk.py", "top = level == stage.levels", "top = False"),
    Mutant("read taken for write", "walk.py", "if lacking & format.write:", "if lacking & format.read:"),
    Mutant(
        "user check dropped",
        "walk.py",
        "required = 0 if privileged else format.user",
        "required = 0",
        "first-stage",
    ),
    Mutant(
        "write check dropped", "walk.py", "            required |= format.write", "            required |= 0"
    ),
    Mutant(
        "page offset one bit short",
        "walk.py",
        "offset = address & mask(shift)",
        "offset = address & mask(shift - 1)",
    ),
    Mutant(
        "large pages not aligned",
        "formats.py",
        "return 0 if level == 1 or (",
        "return 0 if level == 1 or level == 9 or False and (",
    ),
    Mutant("address too narrow", "formats.py", "ADDRESS = mask(52)", "ADDRESS = mask(25)"),
    Mutant("wide addresses not reserved", "formats.py", "leaf = [beyond | transient", "leaf = [transient"),
    Mutant(
        "transient bit not reserved",
        "formats.py",
        "transient = 0 if unit.device_iotlb else 1 << 62",
        "transient = 0",
    ),
    Mutant("snoop bit not reserved", "formats.py", "else 1 << 11\n", "else 0\n"),
    Mutant(
        "page bits not reserved",
        "formats.py",
        "| snoop | mask(level_shift(max(level, 1))) & ~mask(12)",
        "| snoop",
    ),
    Mutant(
        "page size bit at the top allowed",
        "formats.py",
        "beyond | (PAGE_SIZE_BIT if level > 1 else 0) for",
        "beyond for",
        "first-stage",
    ),
    Mutant("accessed bits not set", "walk.py", "touch(Update(where, bits & ~entry))", "pass", "first-stage"),
    Mutant(
        "dirty on every level",
        "walk.py",
        "if leaf and demand.access & Access.WRITE else 0",
        "if demand.access & Access.WRITE else 0",
        "first-stage",
    ),
    Mutant("encoded size twice too large", "walk.py", "return 13 + (", "return 14 + (", "amd"),
    Mutant(
        "device table permissions ignored",
        "walk.py",
        "if demand.required & ~stage.granted:",
        "if False:",
        "amd",
    ),
    Mutant(
        "FPD only if present",
        "vtd.py",
        'self.silent = bool(context["FPD"])\n        '
        'self._present(context["P"], Reason.CONTEXT_NOT_PRESENT)\n        self.domain_id',
        'self._present(context["P"], Reason.CONTEXT_NOT_PRESENT)\n        '
        'self.silent = bool(context["FPD"])\n        self.domain_id',
    ),
    Mutant(
        "address width not checked",
        "vtd.py",
        "if levels not in unit.page_table_levels or not offered[type]:",
        "if not offered[type]:",
    ),
    Mutant(
        "upper half of a bus by the wrong bit",
        "vtd.py",
        "if source_id & 0x80 else",
        "if source_id & 0x20 else",
        "second-stage",
    ),
    Mutant("PASID index of 5 bits", "vtd.py", "(pasid & 0x3F) * 64", "(pasid & 0x1F) * 64", "second-stage"),
)


def main() -> int:
    """Run every mutant and say which lived."""
    if len(sys.argv) > 1:
        return hunt(sys.argv[1])
    wanted = os.environ.get("VFIOKIT_MUTANTS", "")
    survivors = []
    for mutant in (each for each in MUTANTS if wanted in each.name):
        started = time.monotonic()
        killed = run(mutant)
        print(
            f"{'killed ' if killed else 'SURVIVED'} {mutant.kind:13} {mutant.name} "
            f"({time.monotonic() - started:.1f} s)",
            flush=True,
        )
        survivors += [] if killed else [mutant.name]
    print(f"{len(MUTANTS)} mutants, {len(survivors)} survived")
    return 1 if survivors else 0


def run(mutant: Mutant) -> bool:
    """Run the oracle on a copy of the package with *mutant* in it; whether it was found."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        shutil.copytree(CHECKOUT / "vfiokit", copy / "vfiokit", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "tests").symlink_to(CHECKOUT / "tests")
        file = copy / "vfiokit/translation" / mutant.file
        source = file.read_text()
        assert mutant.old in source, f"{mutant.name}: {mutant.old!r} is not in {mutant.file}"
        file.write_text(source.replace(mutant.old, mutant.new))
        command = [sys.executable, "-m", "tests.oracle.mutants", mutant.kind]
        environment = {**os.environ, "PYTHONPATH": directory, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    if done.returncode not in (KILLED, SURVIVED):
        raise AssertionError(f"{mutant.name}: {done.stderr[-1500:]}")
    return done.returncode == KILLED


def hunt(kind: str) -> int:
    """Compare until the first disagreement; an exception of the mutated model is one too."""
    from tests.oracle.deviations import OFFERED_ANYWAY
    from tests.oracle.dma import VtdMachine, machine
    from tests.oracle.fuzz import Fuzz, layouts
    from tests.oracle.test_translation import UNITS
    from vfiokit.translation.capabilities import VtdCapabilities

    with machine(UNITS[kind]) as guest:
        fuzz = Fuzz(guest, random.Random(f"mutants {kind}"))
        capabilities = None
        if isinstance(guest, VtdMachine):
            capabilities = VtdCapabilities(
                cap=guest.register(guest.CAP), ecap=guest.register(guest.ECAP) | OFFERED_ANYWAY
            )
        try:
            for layout in layouts(fuzz, kind, capabilities):
                fuzz.run(layout, 256)
                if fuzz.disagreements or fuzz.compared >= REQUESTS:
                    break
        except Exception as error:
            print(f"the model failed: {error!r}", file=sys.stderr)
            return KILLED
    return KILLED if fuzz.disagreements else SURVIVED


if __name__ == "__main__":
    sys.exit(main())

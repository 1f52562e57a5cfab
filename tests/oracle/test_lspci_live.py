"""Config spaces drawn from the register table: the installed lspci reads the same out of them.

lspci knows fewer capabilities the older it is; of those that both know, every flag and value that both print
has to be the same. Where lspci is wrong the case is named here.
"""

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.lspci import Said, needs_lspci, run_lspci, said, values
from vfiokit.address import PciAddress
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.dump import Dumped, format_dump
from vfiokit.pci.image import BytesImage, Origin
from vfiokit.pci.lspci import lspci_text
from vfiokit.testing.config_spaces import DrawnSpace, all_rows, broken_spaces, config_spaces

pytestmark = [pytest.mark.oracle, needs_lspci]

ABORTING = frozenset({(False, 0x14), (True, 0x23)})
"""lspci 3.9 ends in the middle of the dump over an Enhanced Allocation entry or a CXL DVSEC that is shorter
than it expects."""
KNOWN = frozenset((row.extended, row.id) for kind in (False, True) for row in all_rows(extended=kind))
DIFFERENT = {
    ("Data Object Exchange", "DOESta", "Error"): "lspci 3.9 takes the bit of the interrupt status",
}
"""Where the versions of lspci differ or lspci is wrong: first line, label, name."""


def ours(function: Dumped) -> str:
    """Return our text of one function."""
    image = BytesImage(function.data, Origin.DUMP)
    return lspci_text(function.address, ConfigSpace(image, first=function.address.devfn == 0))


def both(drawn: list[DrawnSpace]) -> list[tuple[list[Said], list[Said]]]:
    """Let lspci and us read one dump of some spaces."""
    dumped = [
        Dumped(PciAddress(0, number >> 5, number & 31, 0), each.data) for number, each in enumerate(drawn)
    ]
    with TemporaryDirectory() as directory:
        texts = run_lspci(format_dump(dumped), Path(directory))
    assert len(texts) == len(dumped)
    return [(said(text), said(ours(each))) for text, each in zip(texts, dumped, strict=True)]


def compare(its: Said, own: Said) -> int:
    """Compare what both print of one capability, and return how much that was."""
    one, other = defaultdict(list), defaultdict(list)
    for label, name, value in values(its.lines):
        one[label, name].append(value)
    for label, name, value in values(own.lines):
        other[label, name].append(value)
    title = own.lines[0].split(" <")[0]
    shared = one.keys() & other.keys()
    for label, name in shared:
        if (title, label, name) not in DIFFERENT:
            assert one[label, name] == other[label, name], (own.offset, title, label, name)
    return len(shared)


@given(st.lists(config_spaces(known=KNOWN - ABORTING), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_reads_the_same_capabilities_and_fields(drawn: list[DrawnSpace]) -> None:
    for each, (its, own) in zip(drawn, both(drawn), strict=True):
        placed = [offset for _, offset in (*each.capabilities, *each.extended)]
        assert [one.offset for one in own] == placed
        assert [one[:2] for one in its] == [one[:2] for one in own]
        for one, other in zip(its, own, strict=True):
            compare(one, other)


def is_readable(drawn: DrawnSpace) -> bool:
    """Whether lspci reads the space to its end: nothing in it makes it abort."""
    rows = (*drawn.capabilities, *drawn.extended)
    space = ConfigSpace(drawn.data)
    found = {(False, each.id) for each in space.standard_list()}
    found |= {(True, each.id) for each in space.extended_list()}
    return not found & ABORTING and len(drawn.data) in (64, 256, 4096) and bool(rows)


@given(st.lists(broken_spaces().filter(is_readable), min_size=1, max_size=12))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_finds_the_same_in_broken_lists(drawn: list[DrawnSpace]) -> None:
    for its, own in both(drawn):
        assert [one.offset for one in its] == [one.offset for one in own]


def test_every_drawn_row_is_compared(tmp_path: Path) -> None:
    """What both know is compared somewhere: count the capabilities with a shared value, content all ones."""
    from vfiokit.testing.config_spaces import fill

    compared = 0
    for extended in (False, True):
        for number, row in enumerate(all_rows(extended=extended)):
            if (extended, row.id) in ABORTING:
                continue
            space = bytearray(4096)
            space[0:4] = b"\x86\x80\x34\x12"
            space[6] = 0x10
            space[0x34] = 0x40
            at = 0x100 if extended else 0x50
            space[0x40:0x50] = b"\x10\x00\x02\x00" + bytes(12)
            if not extended:
                space[0x41] = at
            content = fill(row, bytes([0xFF, 0x5A][number % 2] for _ in range(60)))
            space[at : at + len(content)] = content
            space[at + (3 if extended else 1)] = 0
            if extended:
                space[at + 2] &= 0xF
            dumped = Dumped(PciAddress(0, 0, 0, 0), bytes(space))
            (text,) = run_lspci(format_dump([dumped]), tmp_path)
            its, own = said(text), said(ours(dumped))
            assert [one[:2] for one in its] == [one[:2] for one in own], row.name
            compared += any(
                compare(one, other) for one, other in zip(its, own, strict=True) if one.offset == at
            )
    assert compared >= 20

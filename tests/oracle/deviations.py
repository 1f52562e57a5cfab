"""What QEMU 10.0 does otherwise than the specifications, one row each; the model does not imitate it.

A row either says what QEMU records instead, or takes the case out of the comparison. Every row names a case
that :mod:`tests.oracle.test_deviations` runs by itself: a QEMU that stops deviating makes that test fail,
and the row goes. Other versions of QEMU are not compared: their list is not known.
"""

import re
import shutil
import subprocess
from functools import cache

import pytest

from tests.oracle.qtest import QEMU
from vfiokit.bits import mask
from vfiokit.translation.faults import Reason

__all__ = [
    "AMD_RESERVED_IN_QEMU",
    "AMD_UNCHECKED",
    "CODES_INSTEAD",
    "OFFERED_ANYWAY",
    "PASID_STRUCTURES",
    "PINNED",
    "VTD_UNCHECKED",
    "needs_pinned_qemu",
    "qemu_version",
]

PINNED = (10, 0)
"""The version that the rows were found with."""


@cache
def qemu_version() -> tuple[int, int]:
    """Return QEMU's major and minor version, zeros if it is not installed."""
    path = shutil.which(QEMU)
    if path is None:
        return 0, 0
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


needs_pinned_qemu = pytest.mark.skipif(
    qemu_version() != PINNED,
    reason=f"ORACLE NOT RUN: QEMU {qemu_version()[0]}.{qemu_version()[1]} is not the {PINNED[0]}.{PINNED[1]}"
    " whose deviations are known",
)

CODES_INSTEAD = {
    Reason.ROOT_UNREADABLE: 0x8,
    Reason.ROOT_NOT_PRESENT: 0x1,
    Reason.ROOT_RESERVED: 0xA,
    Reason.CONTEXT_UNREADABLE: 0x9,
    Reason.CONTEXT_NOT_PRESENT: 0x2,
    Reason.CONTEXT_RESERVED: 0xB,
}
"""In scalable mode QEMU records these with their legacy numbers."""

VTD_UNCHECKED = frozenset({Reason.PASID_DIRECTORY_RESERVED, Reason.PASID_RESERVED, Reason.RID_PASID_INVALID})
"""QEMU goes on where the specification blocks, in scalable mode."""

AMD_UNCHECKED = frozenset(
    {Reason.SECOND_SKIPPED, Reason.SECOND_LEVEL, Reason.SECOND_SIZE, Reason.SECOND_RESERVED}
)
"""QEMU's AMD-Vi goes on where the specification blocks."""

PASID_STRUCTURES = frozenset(
    {
        Reason.PASID_DIRECTORY_UNREADABLE,
        Reason.PASID_DIRECTORY_NOT_PRESENT,
        Reason.PASID_UNREADABLE,
        Reason.PASID_NOT_PRESENT,
        Reason.PASID_INVALID,
    }
)
"""QEMU heeds the FPD of neither PASID structure where these fail, and judges PGTT before it looks at P."""

OFFERED_ANYWAY = 1 << 49
"""QEMU heeds RID_PASID without offering it (ECAP.RPS)."""

AMD_RESERVED_IN_QEMU = (1 << 7 | 3 << 52, 1 << 8, 0xF << 52 | 1 << 59, mask(64))
"""Bits of each word of a device table entry that QEMU wants zero, though they have a meaning."""

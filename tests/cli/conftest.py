"""Fixtures of the command's tests: names that every machine has, commands, trees on disk."""

from pathlib import Path

import pytest

from tests.cli.machine import MACHINE, Command, Tree
from vfiokit.model.host import Host
from vfiokit.testing import layout, write_tree

_NAMES = """#
8086  Intel Corporation
\t1533  I210 Gigabit Network Connection
144d  Samsung Electronics Co Ltd
\ta808  NVMe SSD Controller SM981
C 01  Mass storage controller
\t08  Non-Volatile memory controller
C 02  Network controller
\t00  Ethernet controller
C 03  Display controller
\t00  VGA compatible controller
C 06  Bridge
\t04  PCI bridge
"""


@pytest.fixture(autouse=True)
def pci_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a pci.ids of our own and let commands use it, whatever the system has."""
    path = tmp_path / "pci.ids"
    path.write_text(_NAMES)
    monkeypatch.setenv("VFIOKIT_PCI_IDS", str(path))
    return path


@pytest.fixture
def vfiokit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run commands in this process."""
    return Command(capsys, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write hosts as trees on disk."""

    def write(host: Host = MACHINE) -> Path:
        root = tmp_path / f"root{len(list(tmp_path.iterdir()))}"
        write_tree(layout(host), root)
        return root

    return write

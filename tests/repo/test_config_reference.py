"""The reference says what `config`, `bars` and `show` print: keys, codes, registers."""

import re
from pathlib import Path

import pytest

from tests.cli.bridged import GPU, NIC, PORT, bridged
from tests.cli.machine import Command
from tests.repo.test_reference import DOCUMENTED, REFERENCE, codes_in, keys, paths, tables
from vfiokit.pci.diagnostics import Code
from vfiokit.pci.registers import FAMILIES
from vfiokit.pci.registers.rows import View

FUNCTION = frozenset({"device", "bars[]", "config"})
STRUCTURES = re.compile(r"^functions\[\]\.(?:header|capabilities\[\]|extended\[\])(?=\.)")


@pytest.fixture
def vfiokit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    return Command(capsys, tmp_path)


def test_every_diagnostic_is_documented() -> None:
    assert {code.value for code in Code} <= DOCUMENTED.keys()


def test_every_family_is_in_the_reference() -> None:
    page = (REFERENCE / "registers.md").read_text()
    assert re.findall(r"\{vfiokit-registers\} (\w+)", page)[0] == "header"
    assert set(re.findall(r"\{vfiokit-registers\} (\w+)", page)) == {"header", *FAMILIES}


def test_what_vfio_makes_of_a_field_is_documented() -> None:
    words = {
        code
        for _, title, rows in tables("vfio-config.md")
        if title == "View"
        for row in rows
        for code in codes_in(row[0])
    }
    assert words == set(View)
    assert "{vfiokit-views}" in (REFERENCE / "vfio-config.md").read_text()


def test_keys_of_config_are_documented(vfiokit: Command) -> None:
    seen = set()
    root = bridged()
    for given in (
        ("--all",),
        ("--from", "86803315" + "00" * 2 + "1000" + "00" * 44 + "40" + "00" * 11 + "7e0000"),
    ):
        document = vfiokit("config", *given, "--json", root=root).json
        seen |= {STRUCTURES.sub("S", path) for path in paths(document, frozenset())}
    empty = {"functions[].extended[]", "functions[].capabilities[]"}
    assert {path for path in seen if path not in empty} == keys("config")


def test_keys_of_bars_are_documented(vfiokit: Command) -> None:
    document = vfiokit("bars", NIC, PORT, GPU, "--json", root=bridged()).json
    lists = {"functions[].bars[].possible_sizes[]", "functions[].bars[].disagreements[]", "conflicts[]"}
    lists |= {"needs.unknown[]", "functions[].bars[].marks[]"}
    assert set(paths(document, frozenset())) | lists == keys("bars")


def test_keys_of_show_are_documented(vfiokit: Command) -> None:
    document = vfiokit("show", NIC, "--json", root=bridged()).json
    assert set(paths(document, FUNCTION)) == keys("show")

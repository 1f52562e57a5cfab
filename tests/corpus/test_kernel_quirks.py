"""The quirk rows against the kernel's own source, read by another method: regular expressions over quirks.c.

Needs a source package of the distribution, ``linux-source-6.12`` or another release that the rows were read
from. Reading two members out of it takes some seconds, so their text is kept in the user's cache directory.
"""

import hashlib
import os
import re
import tarfile
import tempfile
from pathlib import Path

import pytest

from vfiokit.pci.quirk_alias_rows import BRIDGE_QUIRKS, DMA_ALIAS_QUIRKS
from vfiokit.pci.quirk_model import Devices
from vfiokit.pci.quirk_rows import ACS_ENABLE_QUIRKS, ACS_QUIRKS, ACS_RULES

RELEASES = ("6.1", "6.12", "7.3")
DEFAULT = "6.12"
MEMBERS = ("drivers/pci/quirks.c", "include/linux/pci_ids.h")
ANY = 0xFFFF
"""``PCI_ANY_ID`` as the kernel compares it, in 16 bits."""

Row = tuple[int, int, str]


def _archive(release: str) -> Path:
    return Path(f"/usr/src/linux-source-{release}.tar.xz")


INSTALLED = [release for release in RELEASES if _archive(release).exists()]


@pytest.fixture(scope="module", params=INSTALLED or [DEFAULT])
def release(request: pytest.FixtureRequest) -> str:
    """Return a release whose source is installed."""
    if not INSTALLED:
        pytest.skip(
            f"{_archive(DEFAULT)} is not installed: the quirk rows were NOT compared with the kernel's"
        )
    return str(request.param)


@pytest.fixture(scope="module")
def sources(release: str) -> dict[str, str]:
    """Return the two files, by path."""
    archive = _archive(release)
    cache = _cache_directory(archive)
    if not all((cache / Path(member).name).exists() for member in MEMBERS):
        _extract(archive, cache)
    return {member: (cache / Path(member).name).read_text() for member in MEMBERS}


def _cache_directory(archive: Path) -> Path:
    state = archive.stat()
    key = hashlib.sha256(f"{archive}:{state.st_size}:{state.st_mtime_ns}".encode()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "vfiokit" / "kernel-sources" / f"{archive.name.partition('.tar')[0]}-{key}"


def _extract(path: Path, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    wanted = set(MEMBERS)
    with tarfile.open(path, "r|xz") as archive:
        for entry in archive:
            member = entry.name.partition("/")[2]
            if member in wanted:
                stream = archive.extractfile(entry)
                assert stream is not None
                _write(cache / Path(member).name, stream.read())
                wanted.remove(member)
            if not wanted:
                return
    raise AssertionError(f"{path} has no {', '.join(sorted(wanted))}")


def _write(path: Path, content: bytes) -> None:
    # Several test processes may fill the cache at once; a rename shows either nothing or all of it.
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


@pytest.fixture(scope="module")
def code(sources: dict[str, str]) -> str:
    """quirks.c without comments."""
    return re.sub(r"/\*.*?\*/", "", sources["drivers/pci/quirks.c"], flags=re.DOTALL)


@pytest.fixture(scope="module")
def names(sources: dict[str, str]) -> dict[str, int]:
    """Return the constants of pci_ids.h."""
    found = re.findall(r"#define\s+(PCI_\w+)\s+(0x[0-9a-fA-F]+)\b", sources["include/linux/pci_ids.h"])
    return {name: int(value, 16) for name, value in found} | {"PCI_ANY_ID": ANY}


def _number(text: str, names: dict[str, int]) -> int:
    return int(text, 16) if text.startswith("0x") else names[text]


def _has(release: str, since: str) -> bool:
    """Whether a row that came *since* should be in *release*: ``after 6.12`` is not in 6.12 or before."""
    found = re.match(r"after (\d+)\.(\d+)", since)
    return found is None or (int(found[1]), int(found[2])) < tuple(map(int, release.split(".")))


def _listed(devices: Devices) -> set[int]:
    if not devices:
        return {ANY}
    return {device for entry in devices for device in (entry if isinstance(entry, range) else (entry,))}


def _body(code: str, name: str) -> str:
    found = re.search(rf"^static [\w ]*?\*?\s*{name}\(.*?^}}", code, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    return found[0]


def _table(code: str, name: str) -> str:
    found = re.search(rf"\b{name}\[\] = \{{(.*?)\n\}};", code, re.DOTALL)
    assert found is not None, name
    return found[1]


def _kernel_acs(code: str, names: dict[str, int]) -> list[Row]:
    rows = re.findall(r"\{\s*(\w+),\s*(\w+),\s*(pci_quirk_\w+)\s*\}", _table(code, "pci_dev_acs_enabled"))
    return [(_number(vendor, names), _number(device, names), function) for vendor, device, function in rows]


def test_acs_rows_are_those_of_the_kernel(release: str, code: str, names: dict[str, int]) -> None:
    kernel = _kernel_acs(code, names)
    ours = [
        (quirk.vendor, device, quirk.rule.function)
        for quirk in ACS_QUIRKS
        if _has(release, quirk.since)
        for device in _listed(quirk.devices)
    ]
    assert len(kernel) > 100
    assert sorted(ours) == sorted(kernel)


def test_rules_that_meet_stand_in_the_order_of_the_kernel(code: str, names: dict[str, int]) -> None:
    def order(rows: list[tuple[int, str]]) -> dict[int, list[str]]:
        functions: dict[int, list[str]] = {}
        for vendor, function in rows:
            known = functions.setdefault(vendor, [])
            if function not in known:
                known.append(function)
        return functions

    kernel = order([(vendor, function) for vendor, _, function in _kernel_acs(code, names)])
    assert order([(quirk.vendor, quirk.rule.function) for quirk in ACS_QUIRKS]) == kernel


def _cases(code: str) -> set[int]:
    found: set[int] = set()
    for first, last in re.findall(r"case\s+(0x[0-9a-fA-F]+)(?:\s*\.\.\.\s*(0x[0-9a-fA-F]+))?\s*:", code):
        found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def test_devices_that_the_rules_pick_themselves(code: str) -> None:
    kernel = {
        "pci_quirk_cavium_acs": _cases(_body(code, "pci_quirk_cavium_acs_match")),
        "pci_quirk_zhaoxin_pcie_ports_acs": _cases(_body(code, "pci_quirk_zhaoxin_pcie_ports_acs")),
        "pci_quirk_intel_spt_pch_acs": _cases(_body(code, "pci_quirk_intel_spt_pch_acs_match")),
        "pci_quirk_wangxun_nic_acs": _cases(_body(code, "pci_quirk_wangxun_nic_acs")),
        "pci_quirk_intel_pch_acs": {
            int(device, 16)
            for device in re.findall(r"0x[0-9a-f]{4}", _table(code, "pci_quirk_intel_pch_acs_ids"))
        },
    }
    assert {rule.function: _listed(rule.devices) for rule in ACS_RULES if rule.devices} == kernel


def test_granted_controls(code: str) -> None:
    bits = {"SV": 0x01, "TB": 0x02, "RR": 0x04, "CR": 0x08, "UF": 0x10, "EC": 0x20, "DT": 0x40}
    for rule in ACS_RULES:
        body = _body(code, rule.function)
        masks = re.findall(r"pci_acs_ctrl_enabled\(acs_flags,\s*([^)]*)\)", body)
        masks += re.findall(r"acs_flags &= ~\(([^)]*)\)", body)
        granted = max(sum(bits[bit] for bit in re.findall(r"PCI_ACS_(\w+)", mask)) for mask in masks)
        assert int(rule.granted) == granted, rule.function


def test_port_types_that_the_rules_accept(code: str) -> None:
    numbers = {"ROOT_PORT": 4, "DOWNSTREAM": 6, "RC_END": 9}
    for rule in ACS_RULES:
        body = _body(code, rule.function)
        matcher = re.search(r"(\w+_match)\(dev\)", body)
        body += _body(code, matcher[1]) if matcher else ""
        named = {numbers[name] for name in re.findall(r"PCI_EXP_TYPE_(\w+)", body)}
        assert set(rule.port_types) == named, rule.function


def test_enabling_functions(code: str) -> None:
    functions = re.findall(r"\.enable_acs = (\w+)", _table(code, "pci_dev_acs_ops"))
    assert [row.function for row in ACS_ENABLE_QUIRKS] == functions


def _kernel_fixups(code: str, names: dict[str, int], hook: str) -> set[Row]:
    """Every fixup that names *hook*, directly or through a macro of its own."""
    rows = re.findall(r"^DECLARE_PCI_FIXUP_\w+\(\s*(\w+),\s*(\w+),[^;]*?\b(\w+)\);", code, re.MULTILINE)
    found = {(_number(vendor, names), _number(device, names), name) for vendor, device, name in rows}
    macros = re.findall(
        r"#define (\w+)\(vid\) \\\s*DECLARE_PCI_FIXUP_\w+\((\w+), vid, \\\s*[^;]*?\b(\w+)\)\s*$",
        code,
        re.MULTILINE,
    )
    for macro, vendor, name in macros:
        uses = re.findall(rf"^{macro}\((\w+)\);", code, re.MULTILINE)
        found |= {(_number(vendor, names), _number(device, names), name) for device in uses}
    return {row for row in found if row[2] == hook}


def _hooks(code: str, pattern: str) -> set[str]:
    """Return the functions whose body has *pattern*."""
    bodies = re.findall(
        r"^static void (\w+)\(struct pci_dev \*\w+\)\n\{\n(.*?)^\}", code, re.DOTALL | re.MULTILINE
    )
    return {name for name, body in bodies if re.search(pattern, body)}


def test_dma_alias_rows_are_those_of_the_kernel(release: str, code: str, names: dict[str, int]) -> None:
    hooks = _hooks(code, r"\bpci_add_dma_alias\(")
    assert len(hooks) > 5
    kernel = {row for hook in hooks for row in _kernel_fixups(code, names, hook)}
    ours = {
        (row.vendor, device, row.function)
        for row in DMA_ALIAS_QUIRKS
        if _has(release, row.since)
        for device in _listed(row.devices)
    }
    assert ours == kernel


def test_boards_with_a_fixed_alias(code: str, names: dict[str, int]) -> None:
    rows = re.findall(
        r"PCI_DEVICE_SUB\((\w+),\s*(\w+),\s*(\w+),\s*(\w+)\),\s*\.driver_data = PCI_DEVFN\((\d+), (\d+)\)",
        _table(code, "fixed_dma_alias_tbl"),
    )
    kernel = {
        (*(_number(word, names) for word in ids), int(slot) << 3 | int(function))
        for *ids, slot, function in rows
    }
    ours = {
        (row.vendor, device, *board)
        for row in DMA_ALIAS_QUIRKS
        for board in row.boards
        for device in _listed(row.devices)
    }
    assert ours == kernel


def test_bridge_rows_are_those_of_the_kernel(release: str, code: str, names: dict[str, int]) -> None:
    flags = (
        r"PCI_DEV_FLAG_PCIE_BRIDGE_ALIAS|PCI_DEV_FLAGS_BRIDGE_XLATE_ROOT|PCI_DEV_FLAGS_PCI_BRIDGE_NO_ALIAS"
    )
    hooks = _hooks(code, flags)
    kernel = {row for hook in hooks for row in _kernel_fixups(code, names, hook)}
    ours = {
        (row.vendor, device, row.function)
        for row in BRIDGE_QUIRKS
        if _has(release, row.since)
        for device in _listed(row.devices)
    }
    assert ours == kernel

"""The reference says what the code does: finding codes, keys of documents, exit statuses."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.repo.consoles import CHECKOUT
from vfiokit import errors
from vfiokit.analysis.changes import changes
from vfiokit.analysis.grouping import JoinRule
from vfiokit.analysis.isolation import explain, relate
from vfiokit.analysis.platform import host_findings
from vfiokit.analysis.units import describe_units
from vfiokit.analysis.viability import group_findings
from vfiokit.cli import main
from vfiokit.model.finding import Severity
from vfiokit.model.host import Host
from vfiokit.sysfs.archive import MANIFEST
from vfiokit.sysfs.capture import pack
from vfiokit.sysfs.roots import example_names
from vfiokit.testing import hosts, layout

REFERENCE = CHECKOUT / "docs" / "reference"
PACKAGE = CHECKOUT / "vfiokit"
Table = tuple[str, str, list[list[str]]]


def tables(page: str) -> Iterator[Table]:
    """Yield the tables of a page: what they stand below, their first column's title, their rows."""
    above = ""
    rows: list[list[str]] = []
    for line in [*(REFERENCE / page).read_text().splitlines(), ""]:
        if line.startswith("| "):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif rows:
            yield above, rows[0][0], rows[2:]
            rows = []
        if line.startswith(("## ", "With ")):
            above = line.removeprefix("## ")
    assert not rows


def codes_in(text: str) -> list[str]:
    return re.findall("`([^`]+)`", text)


DOCUMENTED = {
    code: row[1]
    for page in sorted(REFERENCE.glob("*.md"))
    for _, title, rows in tables(page.name)
    if title == "Code"
    for row in rows
    for code in codes_in(row[0])
}


def keys(above: str) -> set[str]:
    """Return the documented keys of one kind of document."""
    (found,) = (
        {codes_in(row[0])[0] for row in rows}
        for at, title, rows in tables("json.md")
        if (at, title) == (above, "Key")
    )
    return found


def paths(value: object, leaves: frozenset[str], at: str = "") -> Iterator[str]:
    """Yield the path of every key in a document; what is described elsewhere, *leaves*, is not entered."""
    if at in leaves:
        yield at
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, leaves, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        yield from (path for inner in value for path in paths(inner, leaves, f"{at}[]"))
    else:
        yield at


LEAVES = frozenset(
    {"findings[]", "host.findings[]", "groups[].findings[]", "host.unknown", "groups[].unknown"}
    | {"groups[].devices[].unknown"}
)


@settings(max_examples=40)
@given(hosts())
def test_every_finding_is_documented_with_its_severity(host: Host) -> None:
    found = [*host_findings(host), *describe_units(host).findings]
    found += [each for group in host.groups for each in group_findings(host, group)]
    for device in host.devices:
        found += explain(host, device.address).findings
    for finding in found:
        assert finding.severity.value == DOCUMENTED[finding.code]


def test_every_documented_code_is_in_the_code_and_the_other_way_round() -> None:
    literals: set[str] = set()
    given_as_code: set[str] = set()
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                literals.add(node.value)
            if isinstance(node, ast.keyword) and node.arg == "code":
                parts = ast.walk(node.value)
                given_as_code |= {
                    part.value
                    for part in parts
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
    assert DOCUMENTED.keys() - literals == set()
    assert {code for code in given_as_code if "-" in code} - DOCUMENTED.keys() == set()


def test_severities_are_documented() -> None:
    (rows,) = (rows for _, title, rows in tables("findings.md") if title == "Severity")
    assert {codes_in(row[0])[0] for row in rows} == {severity.value for severity in Severity}


@pytest.fixture
def documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> "Documents":
    return Documents(tmp_path / "drawn.tar.xz", capsys)


class Documents:
    """What the commands print with ``--json`` for a drawn host, by way of a capture of it."""

    def __init__(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file = file
        self._capsys = capsys

    def __call__(self, host: Host, *arguments: str) -> object:
        self._file.write_bytes(pack(layout(host), kernel="drawn", tool="test"))
        main(["--root", str(self._file), *arguments, "--json"])
        return json.loads(self._capsys.readouterr().out)


def test_keys_of_groups_are_documented(documents: Documents) -> None:
    seen: set[str] = set()

    @settings(max_examples=30, derandomize=True, database=None)
    @given(hosts())
    def collect(host: Host) -> None:
        seen.update(paths(documents(host, "groups"), LEAVES))

    collect()
    seen.update(paths(documents(Host(), "groups"), LEAVES))
    # A list that could not be read is null.
    assert seen - {"groups[].reserved_regions"} == keys("groups")


def test_keys_of_why_are_documented(documents: Documents) -> None:
    seen: set[str] = set()
    seen_of_two: set[str] = set()

    @settings(max_examples=25, derandomize=True, database=None)
    @given(hosts().filter(lambda host: host.devices))
    def collect(host: Host) -> None:
        ends = str(host.devices[0].address), str(host.devices[-1].address)
        seen.update(paths(documents(host, "why", ends[1]), LEAVES))
        leaves = LEAVES | {"joins[]", "functions[]"}
        seen_of_two.update(paths(documents(host, "why", *ends), leaves))

    collect()
    assert seen == keys("why") | {"schema", "source"}
    # Few drawn pairs share a group; the next test looks at those that do.
    assert seen_of_two | {"joins[]", "findings[]"} == keys("With two selectors:")


def test_joins_of_two_functions_are_those_of_one(documents: Documents) -> None:
    seen: set[str] = set()

    @settings(max_examples=20, derandomize=True, database=None)
    @given(hosts(by_the_rules=True, readable=True))
    def collect(host: Host) -> None:
        for group in host.groups:
            assert isinstance(group.devices, tuple)
            if len(group.devices) > 1 and not seen:
                one, other = group.devices[0], group.devices[-1]
                if relate(host, one, other).joins:
                    seen.update(paths(documents(host, "why", str(one), str(other)), LEAVES))

    collect()
    joins = {path for path in seen if path.startswith("joins[]")}
    assert joins
    assert joins == {path for path in keys("why") if path.startswith("joins[]")}


@settings(max_examples=30)
@given(hosts(max_devices=8), hosts(max_devices=8))
def test_changes_are_documented(before: Host, after: Host) -> None:
    (rows,) = (rows for _, title, rows in tables("json.md") if title == "Change")
    documented = {name for row in rows for name in codes_in(row[0])}
    assert {change.what for change in changes(before, after)} <= documented


def test_keys_of_watch_are_documented() -> None:
    from vfiokit.analysis.changes import Change
    from vfiokit.cli.watch import _json_line

    line = json.loads(_json_line(Change("driver", "0000:00:02.0", "nvme", None)))
    assert set(line) == keys("watch")


@settings(max_examples=10)
@given(st.data())
def test_the_manifest_is_documented(data: st.DataObject) -> None:
    import io
    import tarfile

    host = data.draw(hosts(max_devices=6))
    archive = pack(layout(host), kernel="6.12", tool="test", redactions=("one",))
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:xz") as members:
        assert members.getnames()[0] == MANIFEST
        stream = members.extractfile(MANIFEST)
        assert stream is not None
        manifest = json.load(stream)
    seen = set(paths(manifest, frozenset()))
    without_errors = {key for key in keys("capture manifest") if not key.startswith("errors[]")}
    assert seen in (without_errors, keys("capture manifest"))


def test_every_example_is_documented() -> None:
    (rows,) = (rows for _, title, rows in tables("examples.md") if title == "Example")
    assert {codes_in(row[0])[0] for row in rows} == set(example_names())


def test_steps_of_grouping_are_quoted_as_they_are_worded() -> None:
    page = (CHECKOUT / "docs" / "explanation" / "grouping.md").read_text()
    quoted = {" ".join(text.split()) for text in codes_in(page)}
    assert {rule.value for rule in JoinRule} <= quoted


def test_every_exit_status_is_documented() -> None:
    (rows,) = (rows for _, title, rows in tables("exit-status.md") if title == "Status")
    documented = {int(row[0]) for row in rows}
    named = (getattr(errors, name) for name in errors.__all__)
    raised = {each.exit_status for each in named if isinstance(each, type)}
    assert raised <= documented
    assert set(range(9)) <= documented

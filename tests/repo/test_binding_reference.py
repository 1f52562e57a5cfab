"""The pages about binding say what the code does: rules, documents, findings."""

import json
from pathlib import Path

import pytest

from tests.repo.test_reference import codes_in, keys, paths, tables
from vfiokit.binding.case import Action
from vfiokit.binding.safety import RULES
from vfiokit.cli import main
from vfiokit.model.finding import Severity
from vfiokit.sysfs.capture import pack
from vfiokit.testing import layout, workstation

OBJECTS = frozenset(
    {"plan.goal.owner", "plan.moves[].identity", "plan.moves[].before", "plan.moves[].after"}
)


def test_every_rule_is_on_its_page_as_it_is() -> None:
    _, _, rows = next(tables("safety-rules.md"))
    weights = {Severity.ERROR: "refuses", Severity.WARNING: "warns"}
    assert [(codes_in(row[0])[0], *row[1:4]) for row in rows] == [
        (
            rule.id,
            weights[rule.severity],
            rule.message,
            ", ".join(action.value for action in Action if action in rule.actions),
        )
        for rule in RULES
    ]
    notes = {codes_in(row[0])[0]: row[4] if len(row) > 4 else "" for row in rows}
    for rule in RULES:
        assert ("cannot be allowed" in notes[rule.id]) == (not rule.allowable)
        assert ("looked at twice" in notes[rule.id]) == rule.in_use
        assert ("can be waited for" in notes[rule.id]) == rule.waits


def test_a_plan_has_the_keys_that_are_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "host.tar.xz"
    file.write_bytes(pack(layout(workstation()), kernel="6.12", tool="test"))
    main(["--root", str(file), "plan", "bind", "1:0.0", "--allow", "1:0.1", "--owner", "0", "--json"])
    document = json.loads(capsys.readouterr().out)
    found = {path for path in paths(document, OBJECTS) if not path.startswith("plan.goal.owner.")}
    assert found - keys("plan") == set()
    # What is empty in this plan shows no elements.
    assert keys("plan") - found <= {
        "plan.moves[].suppliers[]",
        "plan.goal.allowed[]",
        "plan.verdicts[].evidence[]",
    }

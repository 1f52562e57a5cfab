"""The schema of `config --json`: every document fits it, and what is broken does not."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from vfiokit.cli import main
from vfiokit.sysfs.roots import example_names


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run the command and return the document that it prints."""
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def validator(capsys: pytest.CaptureFixture[str]) -> Any:
    schema = printed(capsys, "config", "--schema")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", example_names())
def test_every_function_of_the_examples_fits(
    name: str, validator: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    document = printed(capsys, "--root", f"example:{name}", "config", "--all", "--json")
    assert document["functions"]
    assert list(validator.iter_errors(document)) == []


def test_a_capability_that_nobody_knows_fits(validator: Any, capsys: pytest.CaptureFixture[str]) -> None:
    space = bytearray(256)
    space[:4], space[6], space[0x34] = b"\x86\x80\x34\x12", 0x10, 0x40
    space[0x40] = 0x7E
    document = printed(capsys, "config", "--from", space.hex(), "--json")
    assert "raw" in document["functions"][0]["capabilities"][0]
    assert list(validator.iter_errors(document)) == []


@pytest.mark.parametrize("key", ["name", "offset", "vfio", "registers"])
def test_a_structure_without_a_key_does_not(
    key: str, validator: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    document = printed(capsys, "--root", "example", "config", "02:00.0", "--json")
    del document["functions"][0]["header"][key]
    assert list(validator.iter_errors(document))

"""Binding in a guest, with the real kernel as the judge: each scene is told by its own traceback."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

from .binding_lab import INSIDE, binding_topology, run_scenes
from .kernel import Kernel
from .topology import single

pytestmark = pytest.mark.vm

Results = Mapping[str, str]


def scenes_of(script: str) -> list[str]:
    """Return the names of a script's scenes, without running it."""
    tree = ast.parse((INSIDE / script).read_text())
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(mark, ast.Name) and mark.id == "scene" for mark in node.decorator_list)
    ]


def check(results: Results, name: str) -> None:
    """Fail with the traceback of a scene, or where it did not run."""
    if results.get(name, "it did not run"):
        pytest.fail(results.get(name, "it did not run"), pytrace=False)


@pytest.fixture(scope="module")
def moved(small: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("binding")
    return run_scenes(small, "binding.py", out, binding_topology(out))


@pytest.fixture(scope="module")
def kept(small: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("refusals")
    return run_scenes(small, "refusals.py", out, binding_topology(out))


@pytest.mark.parametrize("name", scenes_of("binding.py"))
def test_moving(moved: Results, name: str) -> None:
    check(moved, name)


@pytest.mark.parametrize("name", scenes_of("refusals.py"))
def test_refusing(kept: Results, name: str) -> None:
    check(kept, name)


def test_the_simulation_agrees_with_the_kernel(small: Kernel, tmp_path: Path) -> None:
    results = run_scenes(small, "agreement.py", tmp_path, binding_topology(tmp_path, disks=1))
    check(results, "a_random_sequence_of_writes_leaves_the_same_state")


@pytest.fixture(scope="module")
def booted(small: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Boot three times: configure, come back to the same hardware, come back to other hardware."""
    out = tmp_path_factory.mktemp("reboot")
    same = binding_topology(out, disks=1)
    card = single(2, "pcie-root-port", single(0, "e1000e"))
    other = binding_topology(out, disks=1, before=(card,), edu=2)
    results: dict[str, str] = {}
    for topology, name in zip((same, same, other), scenes_of("reboot.py"), strict=True):
        results |= run_scenes(small, "reboot.py", out, topology, name)
    return results


@pytest.mark.parametrize("name", scenes_of("reboot.py"))
def test_rebooting(booted: Results, name: str) -> None:
    check(booted, name)


# The small kernel has one table of routes only.
ROUTES = ("a_card_in_a_bond", "a_card_with_the_only_ipv6_default_route")


@pytest.fixture(scope="module")
def modular(stock: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("modules")
    names = (*ROUTES, *scenes_of("modules.py"))
    return run_scenes(stock, "stock.py", out, binding_topology(out, disks=1), *names)


@pytest.mark.parametrize("name", scenes_of("modules.py"))
def test_modules(modular: Results, name: str) -> None:
    check(modular, name)


@pytest.mark.parametrize("name", ROUTES)
def test_routes_of_other_tables(modular: Results, name: str) -> None:
    check(modular, name)

"""For every test: Hypothesis without a clock, guests marked, and a loud word on whatever did not run."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.vm.boots import boot_of, forgotten

# Scripts for the guest: they import each other as scripts do, and only there.
collect_ignore_glob = ["vm/inside/*"]

# A loaded machine is no failure: neither a slow example nor slow drawing says anything about the code.
_PROFILE = settings(deadline=None, suppress_health_check=(HealthCheck.too_slow,), print_blob=True)
settings.register_profile("vfiokit", _PROFILE)
# The same change gets the same answer; new examples are for those who can look at what they find.
settings.register_profile("vfiokit-ci", _PROFILE, derandomize=True)
_chosen = "vfiokit-ci" if os.environ.get("CI") else "vfiokit"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _chosen))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Send the tests that look at one boot to one worker, and all others to whichever is free."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Boots(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return boot_of(nodeid) or nodeid

    return Boots(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that boot guests, and begin with them: what is long must not start last."""
    for item in items:
        if item.nodeid.startswith("tests/vm/test_"):
            item.add_marker(pytest.mark.vm)
            if forgotten(item.nodeid, getattr(item, "fixturenames", [])):
                raise pytest.UsageError(f"{item.nodeid}: tests/vm/boots.py must say which boot it looks at")
    items.sort(key=lambda item: item.get_closest_marker("vm") is None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say at the end, where it is read, how much was skipped and why."""
    reports = terminalreporter.stats.get("skipped", ())
    reasons = Counter(_reason(report) for report in reports)
    if reasons:
        terminalreporter.section("NOT RUN HERE", sep="!", red=True)
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count:5} x {reason}")


def _reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return str(text).removeprefix("Skipped: ")

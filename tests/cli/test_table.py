"""The table: everything that is to be said is there whole, at any width of a terminal."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vfiokit.model.host import Host
from vfiokit.render.table import print_groups
from vfiokit.render.view import NoNames, device_marks, group_view
from vfiokit.testing import hosts


@settings(max_examples=40, suppress_health_check=(HealthCheck.function_scoped_fixture,))
@given(host=hosts(max_devices=10), width=st.integers(60, 200))
def test_table_says_all_and_fits(
    host: Host, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    views = [group_view(host, group) for group in host.groups]
    print_groups(views, NoNames())
    printed = capsys.readouterr().out
    assert all(len(line) <= width for line in printed.splitlines())
    firsts = [line.split()[0] for line in printed.splitlines() if re.match(r"  [0-9a-f]+:", line)]
    assert firsts == [str(device.address) for view in views for device in view.devices]
    letters = "".join(printed.split())
    for view in views:
        heading = f"group {view.group.id} {view.type} {view.verdict}"
        assert "".join(heading.split()) in letters


def test_wide_table_shows_each_function_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "250")

    @settings(max_examples=20)
    @given(hosts(max_devices=10))
    def check(host: Host) -> None:
        views = [group_view(host, group) for group in host.groups]
        print_groups(views, NoNames())
        lines = capsys.readouterr().out.splitlines()
        for device in (device for view in views for device in view.devices):
            (line,) = (line for line in lines if line.split()[:1] == [str(device.address)])
            assert ", ".join(device_marks(device)) in line

    check()

"""`watch` in a guest: what it reports is what happened, even where most events were lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .guest import run_guest
from .kernel import Kernel
from .named import ROOT_PORTS

SCRIPT = Path(__file__).parent / "inside/watch.py"


def test_watch_reports_drivers_hot_plug_and_loses_nothing_in_a_burst(small: Kernel, tmp_path: Path) -> None:
    run_guest(small, ROOT_PORTS, SCRIPT, "edu", "disk", out_dir=tmp_path).check()
    drivers = changes(tmp_path / "drivers.jsonl")
    assert ("driver", None, "vfio-pci") in drivers
    assert ("driver", "nvme", "vfio-pci") in drivers or ("driver", None, "vfio-pci") in drivers
    assert ("viable", False, True) in drivers
    assert ("function-removed", None, None) in changes(tmp_path / "unplug.jsonl")
    assert ("function-added", None, None) in changes(tmp_path / "plug.jsonl")
    assert any(json.loads((tmp_path / "drops.json").read_text())), "the burst did not overflow the buffer"
    assert ("driver", "vfio-pci", None) in changes(tmp_path / "burst.jsonl")


def changes(path: Path) -> list[tuple[Any, ...]]:
    """Return what changed, from what, to what."""
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    assert {document["schema"] for document in documents} == {"vfiokit.watch/1"}
    return [tuple(document[key] for key in ("change", "before", "after")) for document in documents]

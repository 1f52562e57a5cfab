"""One boot for all that is asked of a guest, and what the kernel and vfiokit each said of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vfiokit import Host, PciAddress, Unknown, open_source, scan

from .guest import Iommu, run_guest
from .kernel import Kernel
from .topology import Topology

REPORT = Path(__file__).parent / "inside/report.py"

Partition = set[frozenset[str]]


@dataclass(frozen=True)
class Report:
    """What report.py left of one guest, and a script that adds to it.

    :ivar directory: where its files are.
    """

    directory: Path

    def json(self, name: str) -> Any:
        """Return one of its documents."""
        return json.loads(self.text(name))

    def text(self, name: str) -> str:
        """Return one of its files."""
        return (self.directory / name).read_text()

    @cached_property
    def kernel(self) -> dict[str, Any]:
        """Return what the plain observer read of /sys."""
        found: dict[str, Any] = self.json("groups.json")
        return found

    @cached_property
    def host(self) -> Host:
        """Return the guest as its capture tells it."""
        return scan(open_source(self.capture))

    @property
    def capture(self) -> Path:
        """Return where the capture is."""
        return self.directory / "host.tar.xz"

    @property
    def groups(self) -> Partition:
        """Return the groups that the kernel formed."""
        return {frozenset(group["devices"]) for group in self.kernel["groups"].values()}

    @property
    def grouped(self) -> frozenset[PciAddress]:
        """Return the functions that the kernel put into any group."""
        return frozenset(PciAddress.parse(address) for group in self.groups for address in group)

    @property
    def places(self) -> Mapping[str, str]:
        """Return the topology's names and the addresses that the guest gave them."""
        found: dict[str, str] = self.kernel["places"]
        return found


def boot(
    kernel: Kernel,
    topology: Topology,
    out: Path,
    *steps: str,
    iommu: str | Iommu = "intel",
    append: str = "",
    script: Path = REPORT,
) -> Report:
    """Boot a guest, let it report, and return what it said."""
    result = run_guest(kernel, topology, script, *steps, iommu=iommu, out_dir=out, append=append)
    result.check()
    return Report(out)


def without_groups(host: Host) -> Host:
    """Return a host of which only topology, config space and firmware tables are left."""
    blank = Unknown("hidden from the rules")
    devices = tuple(replace(device, group=blank, driver=blank, iommu=blank) for device in host.devices)
    return replace(host, groups=(), devices=devices, units=(), drivers=(), names=())

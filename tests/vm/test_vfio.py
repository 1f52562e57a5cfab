"""Handles on a real kernel, on both back ends, against QEMU's edu, NVMe and igb: one boot for all checks."""

import json
import re
import socket
from pathlib import Path

import pytest

from .guest import run_guest
from .kernel import Kernel
from .topology import Function, Slot, Topology, single

INSIDE = Path(__file__).parent / "inside"
DISK = 128 << 20
SHARED = ("subsys=subsystem", "sriov_max_vfs=1", "sriov_vq_flexible=4", "sriov_vi_flexible=2")
MODULES = ("vfio_edu", "vfio_raw", "vfio_nvme", "vfio_config", "vfio_slot", "vfio_readiness")

pytestmark = pytest.mark.vm


def checks() -> list[str]:
    """List the checks by the names under which the guest reports them."""
    sources = [(INSIDE / f"{name}.py").read_text() for name in MODULES]
    names = [
        name for text in sources for name in re.findall(r"^def (\w+)\(backend: str\) -> None", text, re.M)
    ]
    return [f"{name}[{backend}]" for name in names for backend in ("container", "iommufd")]


def pair(number: int, device: str, *names: str) -> Slot:
    """Make a slot with two functions."""
    return Slot(number=number, functions=tuple(Function(device=device, name=name) for name in names))


def topology(disk: Path, security: int) -> Topology:
    """Lay out what the checks drive.

    :param security: a port on which somebody listens: with it NVMe has a mailbox, which vfio-pci hides.
    """
    bridge = single(5, "pcie-pci-bridge", single(1, "edu", name="first"), single(2, "edu", name="second"))
    return Topology(
        name="vfio",
        slots=(
            single(2, "edu", name="edu"),
            single(
                3,
                "pcie-root-port",
                single(0, "nvme", name="disk", options=("drive=content", f"spdm_port={security}")),
            ),
            single(4, "pcie-root-port", single(0, "igb", name="network")),
            bridge,
            single(6, "pcie-root-port", single(0, "cxl-type3", name="memory")),
            single(8, "pcie-pci-bridge", pair(1, "e1000e", "left", "right")),
            single(9, "pcie-root-port", pair(0, "igb", "lan0", "lan1"), options=("x-speed=2_5",)),
            single(10, "pcie-root-port", pair(0, "e1000e", "fast0", "fast1")),
            single(
                7,
                "pcie-root-port",
                single(0, "nvme", name="shared", options=(*SHARED, f"spdm_port={security}")),
            ),
        ),
        arguments=(
            *("-drive", f"file={disk},format=raw,if=none,id=content"),
            *("-device", "nvme-subsys,id=subsystem,nqn=lab"),
            *("-object", "memory-backend-ram,id=lab-memory-memory,size=256M"),
        ),
    )


@pytest.fixture(scope="module")
def results(small: Kernel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Boot once, run every check, and return how each ended."""
    return boot(small, tmp_path_factory.mktemp("vfio"))


def boot(kernel: Kernel, out: Path) -> dict[str, dict[str, object]]:
    """Run every check on a kernel; the guest is told which."""
    disk = out / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK)
    with socket.create_server(("127.0.0.1", 0)) as security:
        run_guest(
            *(kernel, topology(disk, security.getsockname()[1]), INSIDE / "vfio_checks.py"),
            out_dir=out,
            env={"VFIOKIT_LAB_KERNEL": kernel.name},
            append="vfio_pci.enable_sriov=1",
            timeout=900,
        ).check()
    found: dict[str, dict[str, object]] = json.loads((out / "results.json").read_text())
    return found


@pytest.mark.parametrize("name", checks())
def test_the_guest_agrees(results: dict[str, dict[str, object]], name: str) -> None:
    assert results[name]["outcome"] == "ok", results[name]["outcome"]


def test_no_check_is_forgotten(results: dict[str, dict[str, object]]) -> None:
    assert set(results) == set(checks())


@pytest.mark.parametrize(
    ("what", "iommu", "append"),
    [
        ("remapping", "intel-noremap", "iommufd.allow_unsafe_interrupts=0"),
        ("noiommu", "none", "vfio.enable_unsafe_noiommu_mode=1"),
    ],
)
def test_an_unusual_platform(small: Kernel, tmp_path: Path, what: str, iommu: str, append: str) -> None:
    boot_unusual(small, tmp_path, what, iommu, append)


def boot_unusual(kernel: Kernel, out: Path, what: str, iommu: str, append: str) -> None:
    """Run vfio_unusual.py on a platform that lacks something."""
    run_guest(
        *(kernel, Topology(name=what, slots=(single(2, "edu", name="edu"),)), INSIDE / "vfio_unusual.py"),
        what,
        iommu=iommu,
        append=append,
        out_dir=out,
    ).check()

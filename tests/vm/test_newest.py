"""The newest packaged kernel: what the small one is asked, and all that only the newest has.

It is used where `make lab-newest` has built it. Three boots: the checks of test_vfio.py, the same scripts;
iommufd with real copying devices and with the kernel's mock IOMMU; a machine without an IOMMU.
"""

import json
import re
from pathlib import Path

import pytest

from . import test_vfio
from .guest import run_guest
from .kernel import Kernel
from .topology import Topology, single

INSIDE = Path(__file__).parent / "inside"
SCRIPTS = {"iommu": ("newest_files", "newest_mock"), "noiommu": ("newest_noiommu",)}

Results = dict[str, dict[str, object]]


def checks(which: str) -> list[str]:
    """List the checks of a boot by the names under which the guest reports them."""
    text = "".join((INSIDE / f"{name}.py").read_text() for name in SCRIPTS[which])
    return [f"{name}[iommufd]" for name in re.findall(r"^def (\w+)\(_: str\) -> None", text, re.M)]


def topology(which: str, disk: Path) -> Topology:
    """Give the device that copies, and with an IOMMU two whose BARs it copies from and to."""
    copying = single(2, "edu", name="edu", options=("dma_mask=0xffffffffffffffff",))
    if which == "noiommu":
        return Topology(name=which, slots=(copying,))
    return Topology(
        name=which,
        slots=(
            single(2, "edu", name="edu"),
            single(3, "pcie-root-port", single(0, "nvme", name="disk", options=("drive=content",))),
            single(4, "ivshmem-plain", name="memory", options=("memdev=peer",)),
        ),
        arguments=(
            *("-drive", f"file={disk},format=raw,if=none,id=content"),
            *("-object", "memory-backend-ram,id=peer,size=64K,share=on"),
        ),
    )


@pytest.fixture(scope="module")
def same(newest: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Ask the newest kernel all that test_vfio.py asks the small one."""
    return test_vfio.boot(newest, tmp_path_factory.mktemp("vfio"))


@pytest.fixture(scope="module", params=sorted(SCRIPTS))
def own(
    request: pytest.FixtureRequest, newest: Kernel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Results]:
    """Run the checks that are for the newest kernel alone."""
    which: str = request.param
    out = tmp_path_factory.mktemp(which)
    disk = out / "disk.img"
    with disk.open("wb") as file:
        file.truncate(1 << 20)
    run_guest(
        *(newest, topology(which, disk), INSIDE / "newest_checks.py", which),
        iommu={"iommu": "intel", "noiommu": "none"}[which],
        append="vfio.enable_unsafe_noiommu_mode=1" if which == "noiommu" else "",
        out_dir=out,
        timeout=600,
    ).check()
    found: Results = json.loads((out / "results.json").read_text())
    return which, found


@pytest.mark.parametrize("name", test_vfio.checks())
def test_what_the_small_kernel_does_this_one_does(same: Results, name: str) -> None:
    assert same[name]["outcome"] == "ok", same[name]["outcome"]


def test_no_check_is_forgotten(own: tuple[str, Results]) -> None:
    which, results = own
    assert set(results) == set(checks(which))


@pytest.mark.parametrize("own", ["iommu"], indirect=True)
@pytest.mark.parametrize("name", checks("iommu"))
def test_with_an_iommu(own: tuple[str, Results], name: str) -> None:
    assert own[1][name]["outcome"] == "ok", own[1][name]["outcome"]


@pytest.mark.parametrize("own", ["noiommu"], indirect=True)
@pytest.mark.parametrize("name", checks("noiommu"))
def test_without_an_iommu(own: tuple[str, Results], name: str) -> None:
    assert own[1][name]["outcome"] == "ok", own[1][name]["outcome"]


def test_without_interrupt_remapping(newest: Kernel, tmp_path: Path) -> None:
    test_vfio.boot_unusual(
        newest, tmp_path, "remapping", "intel-noremap", "iommufd.allow_unsafe_interrupts=0"
    )

"""The tables that a live Linux built, read in the guest's memory from outside, against what its devices did.

The guest binds edu devices through VFIO, maps pages of every kind and lets the devices write; the host
walks the tables in the guest's RAM and must find the devices' bytes where they lead. The kernel judges too:
its own dump of each domain equals ours entry by entry, and it logs the faults that the model predicts.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.vm.guest import GuestResult, run_guest
from tests.vm.guest import Iommu as LabIommu
from tests.vm.kernel import Kernel
from tests.vm.topology import Function, Slot, Topology, single
from vfiokit.address import PciAddress
from vfiokit.translation import debugfs
from vfiokit.translation.audit import dump
from vfiokit.translation.descriptor import Descriptor
from vfiokit.translation.iommu import Iommu
from vfiokit.translation.memory import ImageMemory, read_bytes
from vfiokit.translation.overlap import overlaps
from vfiokit.translation.requests import Access, Fault, Request, Translation

pytestmark = pytest.mark.vm

SCRIPT = Path(__file__).parent / "inside/own_tables.py"
MEMORY = 512 << 20
WIDE = ("dma_mask=0xffffffffffffffff",)
UNITS = {
    "legacy": LabIommu(device="intel-iommu,intremap=on,caching-mode=on,aw-bits=48", append="intel_iommu=on"),
    "second-stage": LabIommu(
        device="intel-iommu,intremap=on,caching-mode=on,aw-bits=48,x-scalable-mode=on",
        append="intel_iommu=on,sm_on",
    ),
    "first-stage": LabIommu(
        device="intel-iommu,intremap=on,aw-bits=48,x-scalable-mode=on,x-flts=on",
        append="intel_iommu=on,sm_on",
    ),
}


def topology(memory: Path) -> Topology:
    """Three groups: two devices alone, and a slot of two functions that nothing keeps apart."""
    backend = f"memory-backend-file,id=ram,size={MEMORY},mem-path={memory},share=on"
    return Topology(
        name="own-tables",
        slots=(
            single(4, "edu", name="first", options=WIDE),
            single(5, "edu", name="second", options=WIDE),
            Slot(
                number=6,
                functions=tuple(
                    Function(device="edu", name=f"pair{index}", options=WIDE) for index in range(2)
                ),
            ),
        ),
        arguments=("-object", backend, "-machine", "memory-backend=ram"),
    )


@dataclass(frozen=True)
class Snapshot:
    """A guest's memory while its devices held still, and what the guest says of itself."""

    kind: str
    directory: Path
    memory: ImageMemory
    unit: Iommu
    domains: list[dict[str, Any]]
    result: GuestResult

    def source(self, address: str) -> int:
        return PciAddress.parse(address).source_id

    def descriptor(self, address: str) -> Descriptor:
        found = self.unit.describe(Request(self.source(address), 0))
        assert isinstance(found, Descriptor), found
        return found


@pytest.fixture(scope="module", params=UNITS)
def snapshot(
    request: pytest.FixtureRequest, small: Kernel, tmp_path_factory: pytest.TempPathFactory
) -> Snapshot:
    """Boot once for each kind of tables."""
    kind = request.param
    directory = tmp_path_factory.mktemp(kind)
    memory = directory / "memory"
    results: list[GuestResult | BaseException] = []

    def boot() -> None:
        try:
            results.append(
                run_guest(
                    small, topology(memory), SCRIPT, iommu=UNITS[kind], out_dir=directory, memory="512M"
                )
            )
        except BaseException as error:
            results.append(error)

    guest = threading.Thread(target=boot)
    guest.start()
    while not (directory / "ready").exists() and guest.is_alive():
        time.sleep(0.1)
    image = memory.read_bytes() if memory.exists() else b""
    (directory / "go").touch()
    guest.join()
    (result,) = results
    if isinstance(result, BaseException):
        raise result
    result.check()
    registers = dict(re.findall(r"(\w+)\s+0x[0-9a-f]+\s+(0x[0-9a-f]+)", _text(directory, "iommu_regset")))
    held = ImageMemory(image)
    cap, ecap, rtaddr = (int(registers[name], 16) for name in ("CAP", "ECAP", "RTADDR"))
    memory.unlink()
    state = json.loads((directory / "state.json").read_text())
    return Snapshot(kind, directory, held, Iommu(held, rtaddr, cap, ecap), state["domains"], result)


def _text(directory: Path, name: str) -> str:
    return (directory / "debugfs" / name).read_text()


def test_bytes_are_where_the_tables_lead(snapshot: Snapshot) -> None:
    for domain in snapshot.domains:
        tag = bytes.fromhex(str(domain["tag"]))
        for member in domain["members"]:
            for iova in domain["wrote"]:
                request = Request(snapshot.source(str(member)), int(str(iova)), Access.WRITE)
                outcome = snapshot.unit.translate(request)
                assert isinstance(outcome, Translation), outcome
                assert read_bytes(snapshot.memory, outcome.address, len(tag)) == tag


def test_scattered_pages_hold_what_the_guest_put_there(snapshot: Snapshot) -> None:
    for domain in snapshot.domains:
        start, count = (int(str(each)) for each in domain["scattered"])
        for index in range(count):
            request = Request(snapshot.source(str(domain["members"][0])), start + index * 0x1000)
            outcome = snapshot.unit.translate(request)
            assert isinstance(outcome, Translation)
            wanted = bytes([int(str(domain["number"])) + 1, index]) * 4
            assert read_bytes(snapshot.memory, outcome.address, 8) == wanted


def test_a_huge_page_is_one_entry(snapshot: Snapshot) -> None:
    iova = int(str(snapshot.domains[0]["mapped"][1][0]))
    outcome = snapshot.unit.translate(Request(snapshot.source(str(snapshot.domains[0]["members"][0])), iova))
    assert isinstance(outcome, Translation)
    assert outcome.page_size == 0x200000


def test_everything_mapped_and_nothing_else(snapshot: Snapshot) -> None:
    for domain in snapshot.domains:
        found = dump(snapshot.memory, snapshot.descriptor(str(domain["members"][0]))).mappings
        told = sorted((row[0], row[1]) for row in domain["mapped"])
        joined: list[tuple[int, int]] = []
        for each in found:
            if joined and sum(joined[-1]) == each.iova:
                joined[-1] = joined[-1][0], joined[-1][1] + each.size
            else:
                joined.append((each.iova, each.size))
        assert joined == told


def test_domains_of_two_containers_are_disjoint(snapshot: Snapshot) -> None:
    reach = {
        index: dump(snapshot.memory, snapshot.descriptor(str(domain["members"][0]))).mappings
        for index, domain in enumerate(snapshot.domains)
    }
    assert all(reach.values())
    assert overlaps(reach) == []


def test_members_of_a_group_share_a_domain(snapshot: Snapshot) -> None:
    one, other = (snapshot.descriptor(str(member)) for member in snapshot.domains[2]["members"])
    assert (one.first, one.second, one.domain_id) == (other.first, other.second, other.domain_id)


def test_the_stage_is_the_one_the_unit_offers(snapshot: Snapshot) -> None:
    found = snapshot.descriptor(str(snapshot.domains[0]["members"][0]))
    assert (found.first is not None) == (snapshot.kind == "first-stage")
    assert (found.second is None) == (snapshot.kind == "first-stage")


def test_the_kernel_s_dump_equals_ours(snapshot: Snapshot) -> None:
    compared = 0
    for domain in snapshot.domains:
        for member in domain["members"]:
            (table,) = debugfs.parse_tables(_text(snapshot.directory, str(member)))[:1]
            found = snapshot.descriptor(str(member))
            stage = found.first or found.second
            assert stage is not None
            assert table.root == stage.root
            ours = tuple(debugfs.read_leaves(snapshot.memory, stage))
            assert ours == table.leaves
            assert debugfs.print_table(table) == _text(snapshot.directory, str(member))
            compared += len(ours)
    assert compared > 60


def test_faults_are_those_that_the_kernel_logs(snapshot: Snapshot) -> None:
    logged = re.findall(
        r"\[DMA (Read|Write) (?:NO_PASID|PASID 0x0)\] Request device \[([0-9a-f:.]+)\]"
        r" fault addr (0x[0-9a-f]+)"
        r" \[fault reason (0x[0-9a-f]+)\]",
        snapshot.result.console,
    )
    found = {(int(address, 16), what == "Write"): int(code, 16) for what, _, address, code in logged}
    source = snapshot.source(str(snapshot.domains[0]["members"][0]))
    for address, access in ((0x7000, Access.WRITE), (0x2000, Access.WRITE), (0x9000, Access.READ)):
        outcome = snapshot.unit.translate(Request(source, address, access))
        assert isinstance(outcome, Fault)
        code = found[address, access is Access.WRITE]
        assert code in (outcome.code, _legacy(outcome))
        if snapshot.kind != "second-stage":
            assert code == outcome.code


def _legacy(outcome: Fault) -> int:
    """QEMU records the second stage's faults in scalable mode with the numbers of legacy mode."""
    return 5 if outcome.request.access & Access.WRITE else 6

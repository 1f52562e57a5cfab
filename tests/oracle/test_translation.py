"""The model and QEMU's units on the same bytes: random requests, corrupted tables, caches, bridges.

``make oracle-fuzz N=1000000`` asks as many; a seed that found something is a test of its own.
"""

import os
import random
from collections.abc import Iterator

import pytest

from tests.oracle.deviations import OFFERED_ANYWAY, needs_pinned_qemu
from tests.oracle.dma import EDU, VtdMachine, machine
from tests.oracle.fuzz import Fuzz, layouts
from tests.oracle.qtest import needs_qemu
from vfiokit.address import AddressRange, PciAddress
from vfiokit.translation.attach import VtdTables
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.frames import Frames
from vfiokit.translation.iotlb import CachedIommu, Granularity
from vfiokit.translation.memory import ImageMemory
from vfiokit.translation.requests import Access, Fault, Outcome, Request

pytestmark = [pytest.mark.oracle, needs_qemu, needs_pinned_qemu]

UNITS = {
    "legacy": "intel-iommu",
    "legacy-39": "intel-iommu,aw-bits=39",
    "second-stage": "intel-iommu,x-scalable-mode=on",
    "first-stage": "intel-iommu,x-scalable-mode=on,x-flts=on",
    "amd": "amd-iommu,pt=off,intremap=off",
}
REQUESTS = {"legacy": 6000, "legacy-39": 3000, "second-stage": 4500, "first-stage": 4500, "amd": 3000}
"""Requests of each kind: 21,000 in all."""
WANTED = int(os.environ.get("VFIOKIT_ORACLE_REQUESTS", "0"))
SEED = int(os.environ.get("VFIOKIT_ORACLE_SEED", "20251125"))


@pytest.mark.parametrize("kind", UNITS)
def test_no_disagreement(kind: str) -> None:
    wanted = WANTED // len(UNITS) + 1 if WANTED else REQUESTS[kind]
    with machine(UNITS[kind]) as guest:
        fuzz = Fuzz(guest, random.Random(f"{SEED} {kind}"))
        capabilities = None
        if isinstance(guest, VtdMachine):
            capabilities = VtdCapabilities(
                cap=guest.register(guest.CAP), ecap=guest.register(guest.ECAP) | OFFERED_ANYWAY
            )
        for layout in layouts(fuzz, kind.removesuffix("-39"), capabilities):
            fuzz.run(layout, 768)
            if fuzz.compared >= wanted or fuzz.disagreements:
                break
    print(f"\n{kind}: {fuzz.compared} requests, {dict(fuzz.seen)}, explained: {dict(fuzz.deviations)}")
    assert not fuzz.disagreements, "\n".join(fuzz.disagreements[:5])
    assert fuzz.compared >= wanted


class Bench:
    """A unit with one domain, QEMU beside the model with its caches."""

    def __init__(self, guest: VtdMachine) -> None:
        self.guest = guest
        self.memory = ImageMemory(guest.memory)
        cap, ecap = guest.register(guest.CAP), guest.register(guest.ECAP)
        self.tables = VtdTables(
            self.memory,
            Frames([AddressRange(0x100000, 0x400000)]),
            VtdCapabilities(cap=cap, ecap=ecap),
            scalable=False,
        )
        self.domain = self.tables.new_domain(7)
        self.tables.attach([EDU], self.domain)
        self.model = CachedIommu(self.tables.iommu())
        guest.load(bytes(range(256)) * 16)
        guest.batch(guest.set_root(self.tables.rtaddr))

    def ask(self, address: int, access: Access) -> tuple[Outcome, bool, int | None]:
        """Ask both; return the model's outcome, whether QEMU blocked, and where its bytes landed."""
        outcome = self.model.translate(Request(EDU.source_id, address, access))
        write = bool(access & Access.WRITE)
        self.guest.memory[0x1000000:0x1800000] = bytes(0x800000)
        record = self.guest.request(None, address, 0x100 + 8, write=write)
        landed = self.guest.memory[0x1000000:0x1800000].find(bytes(range(8, 16)))
        return outcome, record is not None, landed + 0x1000000 if landed >= 0 else None

    def agree(self, address: int, access: Access = Access.WRITE) -> Outcome:
        """Ask both and return what they agree on."""
        outcome, blocked, landed = self.ask(address, access)
        assert isinstance(outcome, Fault) == blocked
        if access & Access.WRITE:
            assert landed == (None if isinstance(outcome, Fault) else outcome.address)
        return outcome


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a unit to try caches on."""
    with machine(UNITS["legacy"]) as guest:
        assert isinstance(guest, VtdMachine)
        made = Bench(guest)
        yield made
        del made


class TestCaches:
    """What stays visible after a change, and which invalidation ends it (VT-d 6.5)."""

    def test_what_is_not_present_is_not_cached(self, bench: Bench) -> None:
        assert isinstance(bench.agree(0x5000), Fault)
        bench.domain.map(0x5000, 0x1000000, 0x1000)
        assert not isinstance(bench.agree(0x5000), Fault)

    def test_an_unmapped_page_stays_until_it_is_invalidated(self, bench: Bench) -> None:
        bench.domain.map(0x5000, 0x1000000, 0x1000)
        bench.agree(0x5000)
        bench.domain.unmap(0x5000, 0x1000)
        assert not isinstance(bench.agree(0x5000), Fault)
        self.invalidate(bench, Granularity.PAGES, 7, 0x5000)
        assert isinstance(bench.agree(0x5000), Fault)

    def test_a_remapped_page_keeps_its_old_place(self, bench: Bench) -> None:
        bench.domain.map(0x5000, 0x1000000, 0x1000)
        bench.agree(0x5000)
        bench.domain.unmap(0x5000, 0x1000)
        bench.domain.map(0x5000, 0x1200000, 0x1000)
        stale = bench.agree(0x5008)
        assert not isinstance(stale, Fault)
        assert stale.address == 0x1000008

    def test_another_domain_s_invalidation_changes_nothing(self, bench: Bench) -> None:
        bench.domain.map(0x5000, 0x1000000, 0x1000)
        bench.agree(0x5000)
        bench.domain.unmap(0x5000, 0x1000)
        self.invalidate(bench, Granularity.PAGES, 8, 0x5000)
        assert not isinstance(bench.agree(0x5000), Fault)
        self.invalidate(bench, Granularity.DOMAIN, 8)
        assert not isinstance(bench.agree(0x5000), Fault)

    @pytest.mark.parametrize("granularity", [Granularity.DOMAIN, Granularity.GLOBAL])
    def test_wider_invalidations(self, bench: Bench, granularity: Granularity) -> None:
        bench.domain.map(0x5000, 0x1000000, 0x1000)
        bench.agree(0x5000)
        bench.domain.unmap(0x5000, 0x1000)
        self.invalidate(bench, granularity, 7)
        assert isinstance(bench.agree(0x5000), Fault)

    def test_one_page_drops_the_large_page_around_it(self, bench: Bench) -> None:
        bench.domain.map(0x200000, 0x1000000, 0x200000)
        bench.agree(0x200000)
        bench.domain.unmap(0x200000, 0x200000)
        assert not isinstance(bench.agree(0x2FF000), Fault)
        self.invalidate(bench, Granularity.PAGES, 7, 0x27F000)
        assert isinstance(bench.agree(0x2FF000), Fault)

    def test_more_permission_needs_no_invalidation_after_a_fault(self, bench: Bench) -> None:
        bench.domain.map(0x5000, 0x1000000, 0x1000, Access.READ)
        assert isinstance(bench.agree(0x5000), Fault)
        bench.domain.unmap(0x5000, 0x1000)
        bench.domain.map(0x5000, 0x1000000, 0x1000)
        assert not isinstance(bench.agree(0x5000), Fault)

    def test_a_context_entry_stays_until_the_context_cache_is_invalidated(self, bench: Bench) -> None:
        bench.domain.map(0x5000, 0x1000000, 0x1000)
        bench.agree(0x5000)
        other = bench.tables.new_domain(9)
        other.map(0x5000, 0x1300000, 0x1000)
        bench.tables.attach([EDU], other)
        self.invalidate(bench, Granularity.GLOBAL, 0)
        stale = bench.agree(0x5000)
        assert not isinstance(stale, Fault)
        assert stale.address == 0x1000000
        bench.guest.invalidate_context()
        bench.model.invalidate_context()
        self.invalidate(bench, Granularity.GLOBAL, 0)
        fresh = bench.agree(0x5000)
        assert not isinstance(fresh, Fault)
        assert fresh.address == 0x1300000

    @pytest.mark.parametrize("seed", range(3))
    def test_a_session_in_any_order(self, bench: Bench, seed: int) -> None:
        """Map, unmap, change domains, invalidate in every way and do DMA: the same answer at every step."""
        chooser = random.Random(seed)
        domains = [bench.domain, bench.tables.new_domain(9)]
        numbers, mapped = (7, 9), [set[int](), set[int]()]
        seen = {"fault": 0, "stale": 0, "fresh": 0}
        for _ in range(250):
            which, page, step = chooser.randrange(2), chooser.randrange(6), chooser.randrange(10)
            if step < 3 and page not in mapped[which]:
                frame = 0x1000000 + chooser.randrange(64) * 0x1000
                domains[which].map(page * 0x1000, frame, 0x1000)
                mapped[which].add(page)
            elif step < 4:
                domains[which].unmap(page * 0x1000, 0x1000)
                mapped[which].discard(page)
            elif step < 5:
                granularity = chooser.choice(list(Granularity))
                self.invalidate(bench, granularity, numbers[which], page * 0x1000)
            elif step < 6 and chooser.random() < 0.3:
                bench.tables.attach([EDU], domains[which])
                bench.guest.invalidate_context()
                bench.model.invalidate_context()
                self.invalidate(bench, Granularity.GLOBAL, 0)
            else:
                outcome = bench.agree(page * 0x1000)
                true = bench.model.unit.translate(outcome.request)
                places = [getattr(each, "address", None) for each in (outcome, true)]
                kind = "fault" if places[0] is None else "fresh" if places[0] == places[1] else "stale"
                seen[kind] += 1
        assert all(seen.values()), seen

    def invalidate(self, bench: Bench, granularity: Granularity, domain: int, address: int = 0) -> None:
        bench.guest.invalidate_iotlb(granularity, domain, address)
        bench.model.invalidate_iotlb(granularity, domain, address)


BRIDGES = {
    "root bus": ((), (), PciAddress(0, 0, 5, 0), "00:05.0"),
    "root port": (
        ("pcie-root-port,id=rp,chassis=1,addr=8",),
        (("00:08.0", 1, 1),),
        PciAddress(0, 1, 0, 0),
        "01:00.0",
    ),
    "PCIe-to-PCI bridge": (
        ("pcie-pci-bridge,id=rp,addr=8",),
        (("00:08.0", 1, 1),),
        PciAddress(0, 1, 3, 0),
        "01:00.0",
    ),
    "conventional bridge": (
        ("pci-bridge,id=rp,chassis_nr=1,shpc=off,addr=8",),
        (("00:08.0", 1, 1),),
        PciAddress(0, 1, 4, 0),
        "00:08.0",
    ),
    "PCIe-to-PCI bridge below a root port": (
        ("pcie-root-port,id=top,chassis=1,addr=8", "pcie-pci-bridge,id=rp,bus=top"),
        (("00:08.0", 1, 2), ("01:00.0", 2, 2)),
        PciAddress(0, 2, 2, 0),
        "02:00.0",
    ),
    "conventional bridge below a PCIe-to-PCI bridge": (
        ("pcie-pci-bridge,id=top,addr=8", "pci-bridge,id=rp,bus=top,chassis_nr=2,shpc=off,addr=1"),
        (("00:08.0", 1, 2), ("01:01.0", 2, 2)),
        PciAddress(0, 2, 2, 0),
        "01:00.0",
    ),
}
"""What is plugged, how buses are numbered, where the device is, and what the unit sees."""


@pytest.mark.parametrize("name", BRIDGES)
def test_source_id_behind_bridges(name: str) -> None:
    """A fault record shows the identity under which a request reached the unit."""
    bridges, buses, place, seen = BRIDGES[name]
    options = [word for bridge in bridges for word in ("-device", bridge)]
    if bridges:
        options += ["-device", f"edu,dma_mask=0xffffffffffffffff,bus=rp,addr={place.device:#x}"]
    with machine(UNITS["legacy"], *options, device=None if bridges else place) as guest:
        assert isinstance(guest, VtdMachine)
        for bridge, secondary, subordinate in buses:
            address = PciAddress.parse(bridge)
            guest.guest.number_bus(address, secondary, subordinate)
            guest.guest.config_write(address, 0x20, 0xFEA0FEA0)
            guest.guest.config_write(address, 0x04, 0x6)
        guest.plug(place)
        record = guest.request(0x100000, 0x5000, 0, write=True)
    assert record is not None
    assert record.source_id == PciAddress.parse(seen).source_id

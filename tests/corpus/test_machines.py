"""Real machines, recorded by others: they open with ``--root``, and what is read is what their files say.

They are data beside the checkout, in ``../shared/corpus`` or where ``VFIOKIT_CORPUS`` points, and no part
of it.
"""

import os
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

from vfiokit.analysis.isolation import Agreement, explain
from vfiokit.cli import main
from vfiokit.model.device import ConfigFacts
from vfiokit.model.host import Host
from vfiokit.sysfs.config import NEEDS_PRIVILEGE
from vfiokit.sysfs.roots import open_source
from vfiokit.sysfs.scan import scan

CHECKOUT = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("VFIOKIT_CORPUS", CHECKOUT.parent / "shared" / "corpus"))


class Machine(NamedTuple):
    """A recording and what is known of it."""

    file: str
    functions: int
    domains: tuple[int, ...]
    bridges: int
    nodes: frozenset[int | None]
    drivers: frozenset[str]
    virtual: bool


MACHINES = (
    Machine(
        "hwloc/2pa-pcidomain32bits.tar.bz2",
        9,
        (0, 0x10000),
        0,
        frozenset({None}),
        frozenset({"ata_piix", "uhci_hcd", "piix4_smbus", "cirrus", "virtio-pci"}),
        True,
    ),
    Machine(
        "hwloc/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2",
        137,
        (0,),
        9,
        frozenset({0, 1, None}),
        frozenset({"nvme", "mlx4_core", "pcieport", "igb", "ahci", "mic"}),
        False,
    ),
    Machine(
        "hwloc/40intel64-2g2n4c+pcilocality.tar.bz2",
        37,
        (0,),
        14,
        frozenset({2, None}),
        frozenset({"bnx2", "megaraid_sas", "pcieport", "ib_qib"}),
        False,
    ),
    Machine(
        "h200/guest-sysfs.tar.xz",
        7,
        (0,),
        0,
        frozenset({None}),
        frozenset({"nvidia", "virtio-pci"}),
        True,
    ),
)

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(), reason=f"SKIPPED LOUDLY: no corpus of real machines at {CORPUS}; set VFIOKIT_CORPUS"
)


@pytest.fixture(params=MACHINES, ids=lambda machine: machine.file, scope="module")
def machine(request: pytest.FixtureRequest) -> Machine:
    """Return each machine whose recording is there."""
    found: Machine = request.param
    if not (CORPUS / found.file).is_file():
        pytest.skip(f"SKIPPED LOUDLY: the corpus has no {found.file}")
    return found


@pytest.fixture(scope="module")
def host(machine: Machine) -> Host:
    """Read a machine."""
    return scan(open_source(CORPUS / machine.file))


@pytest.fixture(scope="module")
def texts(machine: Machine) -> dict[tuple[str, str], str]:
    """Return the attributes of each function as the archive's own reader gives them."""
    found: dict[tuple[str, str], str] = {}
    with tarfile.open(CORPUS / machine.file) as archive:
        for member in archive:
            at = re.search(r"/([0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])/(\w+)$", member.name)
            if at and member.isreg() and at[2] in ("vendor", "device", "class", "subsystem_vendor"):
                stream = archive.extractfile(member)
                found[at[1], at[2]] = stream.read().decode().strip() if stream else ""
    return found


class TestScan:
    def test_reads_without_an_error(self, host: Host) -> None:
        assert host.problems == ()

    def test_finds_every_function(self, host: Host, machine: Machine) -> None:
        assert len(host.devices) == machine.functions
        assert tuple(sorted({device.address.domain for device in host.devices})) == machine.domains
        assert [device.address for device in host.devices] == sorted(host.by_address)

    def test_reads_the_identifiers_that_the_files_hold(
        self, host: Host, texts: dict[tuple[str, str], str]
    ) -> None:
        for device in host.devices:
            for name, value in (
                ("vendor", device.vendor),
                ("device", device.device),
                ("class", device.class_code),
                ("subsystem_vendor", device.subsystem_vendor),
            ):
                text = texts.get((str(device.address), name))
                assert text is None or value == int(text, 16), (device.address, name)

    def test_sees_what_is_known_of_the_machine(self, host: Host, machine: Machine) -> None:
        assert sum(device.is_bridge for device in host.devices) == machine.bridges
        assert {device.numa_node for device in host.devices} == machine.nodes
        assert machine.drivers <= {device.driver for device in host.devices}
        assert host.platform.hypervisor is machine.virtual

    def test_every_parent_is_a_bridge_whose_secondary_bus_it_is_on(self, host: Host) -> None:
        for device in host.devices:
            if device.parent is not None:
                bridge = host.by_address[device.parent]
                assert isinstance(bridge.config, ConfigFacts)
                assert bridge.config.secondary == device.address.bus

    def test_names_belong_to_functions_of_the_machine(self, host: Host) -> None:
        assert all(name.address in host.by_address for name in host.names)


class TestCommands:
    @pytest.mark.parametrize("style", ["json", "plain", "forum", "table"])
    def test_groups_says_that_there_is_no_iommu(
        self, machine: Machine, style: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status = main(["--root", str(CORPUS / machine.file), "groups", "--format", style])
        assert status == 8
        assert "--root example" in capsys.readouterr().err

    def test_why_explains_every_function(self, host: Host, machine: Machine) -> None:
        for device in host.devices:
            explanation = explain(host, device.address)
            assert explanation.agreement is Agreement.NO_GROUP
            assert device.address in explanation.predicted
            assert explanation.hops[0].address == device.address
            config = device.config
            assert isinstance(config, ConfigFacts)
            if machine.file.startswith("hwloc"):
                # hwloc keeps the 64 bytes that anybody may read.
                assert config.port_type in (None, NEEDS_PRIVILEGE)


def test_the_passed_through_gpu_is_what_lspci_lists() -> None:
    listed = CORPUS / "h200" / "guest-sysfs.lspci"
    if not listed.is_file():
        pytest.skip(f"SKIPPED LOUDLY: no {listed}")
    rows = re.findall(
        r"^([0-9a-f:.]+) ([0-9a-f]{4}): ([0-9a-f]{4}):([0-9a-f]{4})", listed.read_text(), re.MULTILINE
    )
    host = scan(open_source(CORPUS / "h200" / "guest-sysfs.tar.xz"))
    found = [
        (str(each.address)[5:], f"{each.class_code >> 8:04x}", f"{each.vendor:04x}", f"{each.device:04x}")
        for each in host.devices
        if isinstance(each.class_code, int) and isinstance(each.vendor, int) and isinstance(each.device, int)
    ]
    assert found == rows

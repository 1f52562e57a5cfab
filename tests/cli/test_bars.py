"""``vfiokit bars`` and ``vfiokit show``: what they print, and their exit statuses."""

import pytest

from tests.cli.bridged import GPU, NIC, PORT, bridged, path
from tests.cli.machine import Command
from vfiokit.sysfs.memory import File, MemorySource

BAR_KEYS = ["kind", "index", "io", "width", "prefetchable", "address", "size", "size_source", "enabled"]
BAR_KEYS += ["marks", "possible_sizes", "disagreements"]


@pytest.fixture
def root() -> MemorySource:
    return bridged()


class TestBars:
    def test_a_line_for_each_range(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("bars", NIC, root=root)
        assert answer.status == 0
        assert [" ".join(line.split()) for line in answer.out.splitlines()] == [
            NIC,
            "BAR 0 0xf7200000 1M (kernel), 32-bit memory non-prefetchable",
            "BAR 2 0xe000 32 (kernel), 32-bit I/O [off]",
            "ROM 0xf7400000 512K (kernel), 32-bit memory non-prefetchable",
        ]

    def test_windows_of_a_bridge(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("bars", PORT, root=root)
        assert answer.status == 0
        assert [line.split()[0] for line in answer.out.splitlines()[1:]] == ["I/O", "memory", "prefetchable"]
        assert "closed" in answer.out.splitlines()[-1]

    def test_without_a_selector_all_functions_that_have_some(
        self, vfiokit: Command, root: MemorySource
    ) -> None:
        answer = vfiokit("bars", root=root)
        shown = [line for line in answer.out.splitlines() if not line.startswith(" ")]
        assert {NIC, PORT, GPU} <= set(shown)

    def test_what_a_virtual_machine_needs(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("bars", NIC, "--sum", root=root)
        lines = [" ".join(line.split()) for line in answer.out.splitlines()]
        assert lines[0] == "I/O ports 32"
        assert lines[1] == "memory below 4G 1536K, a window of 2M aligned to 1M"

    def test_json(self, vfiokit: Command, root: MemorySource) -> None:
        document = vfiokit("bars", NIC, "--json", root=root).json
        assert list(document) == ["schema", "source", "functions", "needs", "conflicts"]
        assert document["schema"] == "vfiokit.bars/1"
        for bar in document["functions"][0]["bars"]:
            assert list(bar) == BAR_KEYS
        assert document["needs"]["io"] == 32

    def test_ranges_that_overlap(self, vfiokit: Command, root: MemorySource) -> None:
        gpu = path(root, GPU)
        line = "0x00000000f7280000 0x00000000f737ffff 0x0000000000040200\n"
        root.add(f"{gpu}/resource", File((line + "0x0 0x0 0x0\n" * 12).encode(), 0o644))
        config = bytearray(64)
        config[:8] = b"\xde\x10\x81\x1b\x02\x00\x00\x00"
        config[0x10:0x14] = (0xF7280000).to_bytes(4, "little")
        root.add(f"{gpu}/config", File(bytes(config), 0o644))
        answer = vfiokit("bars", root=root)
        assert answer.status == 1
        assert f"conflict: BAR 0 of {NIC} at 0xf7200000 overlaps BAR 0 of {GPU} at 0xf7280000" in answer.err

    def test_a_register_that_disagrees_with_the_kernel(self, vfiokit: Command, root: MemorySource) -> None:
        nic = path(root, NIC)
        line = "0x00000000f7300000 0x00000000f73fffff 0x0000000000040200\n"
        root.add(f"{nic}/resource", File((line + "0x0 0x0 0x0\n" * 12).encode(), 0o644))
        answer = vfiokit("bars", NIC, root=root)
        assert answer.status == 1
        assert "disagreement: " in answer.out

    @pytest.mark.parametrize("lines", [7, 11, 13, 17, 18])
    def test_the_number_of_lines_decides_nothing(
        self, vfiokit: Command, root: MemorySource, lines: int
    ) -> None:
        before = vfiokit("bars", NIC, root=root).out
        name = f"{path(root, NIC)}/resource"
        text = root.read(name, 4096).decode().splitlines(keepends=True)
        padded = (text + ["0x0000000000000000 0x0000000000000000 0x0000000000000000\n"] * 18)[:lines]
        root.add(name, File("".join(padded).encode(), 0o644))
        assert vfiokit("bars", NIC, root=root).out == before

    def test_who_is_not_there(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("bars", "0000:77:00.0", root=root)
        assert answer.status == 2
        assert answer.error


class TestShow:
    def test_a_page(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("show", NIC, root=root)
        assert answer.status == 0
        lines = [" ".join(line.split()) for line in answer.out.splitlines()]
        assert lines[0].startswith(f"{NIC} Ethernet controller")
        for line in ("driver igb", "IOMMU group 3", "type Endpoint", "power D0"):
            assert line in lines
        assert "link 2.5GT/s x1, at most 2.5GT/s x1" in lines
        assert any(line.startswith("BAR 0 0xf7200000 1M") for line in lines)
        assert any(line.startswith("[40] PCI Express") for line in lines)

    def test_json(self, vfiokit: Command, root: MemorySource) -> None:
        document = vfiokit("show", NIC, "--json", root=root).json
        assert list(document) == ["schema", "source", "device", "power", "link", "bars", "config"]
        assert document["schema"] == "vfiokit.show/1"
        assert document["link"]["now"] == {"speed": "2.5GT/s", "width": 1}
        assert document["config"]["address"] == NIC

    def test_by_the_name_of_its_interface(self, vfiokit: Command, root: MemorySource) -> None:
        assert vfiokit("show", "enp2s0", root=root).out == vfiokit("show", NIC, root=root).out

    def test_who_is_not_there(self, vfiokit: Command, root: MemorySource) -> None:
        answer = vfiokit("show", "eth7", root=root)
        assert answer.status == 2
        assert answer.error

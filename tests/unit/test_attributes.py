"""The text of attributes, as kernels of several architectures print it."""

import pytest

from vfiokit.address import AddressRange
from vfiokit.model.host import Platform
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs import attributes
from vfiokit.sysfs.memory import Directory, File, MemorySource
from vfiokit.sysfs.scan import Part, scan

REMAPPED = (
    b"  24:  0  0  IR-PCI-MSI-0000:00:1f.2    0-edge      ahci[0000:00:1f.2]\n",
    b" 120:  7  0  IR-PCI-MSIX-0000:01:00.0  16-edge      nvme0q16\n",
    b"   9:  0  4  IR-IO-APIC    9-fasteoi   acpi\n",
    b" 147:  0  0  IR-PCI-MSI 327680-edge      xhci_hcd\n",
    # AMD's units send their own events as plain messages, past themselves.
    b"   1:  9  0  IR-IO-APIC   1-edge  i8042\n  26:  0  0  PCI-MSI 2048-edge  AMD-Vi\n",
    b"  54:  1  0   ITS-MSI 524288 Edge      nvme0q0\n",
    b"  54:  1  0   ITS-PCI-MSIX-0000:01:00.0   0 Edge      nvme0q0\n",
    b"  12:  1  0   ITS-pMSI 1 Edge  arm-smmu-v3-evtq\n",
)
DIRECT = (
    b"  24:  0  0  PCI-MSI-0000:00:1f.2    0-edge      ahci[0000:00:1f.2]\n",
    b"   9:  0  4   IO-APIC    9-fasteoi   acpi\n",
    b"  26:  0  0  PCI-MSI 2048-edge  AMD-Vi\n",
)
SILENT = (
    b"",
    b" NMI:  0  0  Non-maskable interrupts\n",
    b"  24:  0  0  GICv2m-PCI-MSI-0000:00:01.0  0 Edge  virtio\n",
    b"  48:  0  xen-pirq    -msi       ahci\n",
    b"  10:  0  SiFive PLIC  10 Edge  virtio0\n",
)


class TestInterrupts:
    @pytest.mark.parametrize("text", REMAPPED)
    def test_a_chip_that_remaps_is_found(self, text: bytes) -> None:
        assert attributes.interrupt_remapping(text)

    @pytest.mark.parametrize("text", DIRECT)
    def test_a_chip_that_does_not_is_found(self, text: bytes) -> None:
        assert not attributes.interrupt_remapping(text)

    @pytest.mark.parametrize("text", SILENT)
    def test_others_do_not_tell(self, text: bytes) -> None:
        with pytest.raises(ValueError, match="no interrupt chip"):
            attributes.interrupt_remapping(text)


def platform(**files: bytes) -> Platform:
    """Read the platform of a tree with these files below ``proc``."""
    tree = MemorySource()
    tree.add("sys", Directory())
    tree.add("sys/bus", Directory())
    for name, content in files.items():
        tree.add(f"proc/{name}", File(content))
    return scan(tree, Part.LISTING).platform


class TestProcessor:
    @pytest.mark.parametrize(
        ("text", "architecture", "hypervisor"),
        [
            (b"vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor vmx\n", "x86", True),
            (b"vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm\n", "x86", False),
            (
                b"vendor_id\t: x\nmodel name\t: hypervisor\nflags\t\t: fpu\nbugs\t\t: hypervisor\n",
                "x86",
                False,
            ),
            (b"Features\t: fp asimd\nCPU implementer\t: 0x41\n", "arm", None),
            (b"processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdc\n", "riscv", None),
            (b"cpu\t\t: POWER9\n", "", None),
        ],
    )
    def test_what_proc_cpuinfo_tells(self, text: bytes, architecture: str, hypervisor: bool | None) -> None:
        found = platform(cpuinfo=text)
        assert found.architecture == architecture
        if hypervisor is None:
            assert isinstance(found.hypervisor, Unknown)
        else:
            assert found.hypervisor is hypervisor

    def test_an_absent_proc_is_unknown_throughout(self) -> None:
        found = platform()
        for name in ("kernel_release", "command_line", "hypervisor", "architecture", "interrupt_remapping"):
            assert isinstance(getattr(found, name), Unknown), name


class TestOddText:
    @pytest.mark.parametrize(
        ("parse", "text"),
        [
            (attributes.line, b"two\nlines\n"),
            (attributes.line, b"\xff\xfe\n"),
            (attributes.line, b"bell\x07\n"),
            (attributes.integer, b"1.5\n"),
            (attributes.integer, b"\n"),
            (attributes.integer, b"9" * 21),
            (attributes.hexadecimal, b"0x\n"),
            (attributes.hexadecimal, b"f" * 17),
            (attributes.boolean, b"yes\n"),
            (attributes.boolean, b""),
            (attributes.node, b"none\n"),
            (attributes.reserved_regions, b"0x0 0xfff\n"),
            (attributes.reserved_regions, b"0xfff 0x0 direct\n"),
            (attributes.reserved_regions, b"0x0 0xfffff000000000000 direct\n"),
            (attributes.reserved_regions, b"\xff\n"),
        ],
    )
    def test_is_a_value_error_that_quotes_it(self, parse: object, text: bytes) -> None:
        assert callable(parse)
        with pytest.raises(ValueError, match=r".+"):
            parse(text)

    def test_override_is_unset_in_two_ways(self) -> None:
        assert [attributes.override(text) for text in (b"(null)\n", b"\n", b"vfio-pci\n")] == [
            None,
            None,
            "vfio-pci",
        ]

    def test_a_reserved_region_may_reach_the_top(self) -> None:
        (region,) = attributes.reserved_regions(b"0xfee00000 0xffffffffffffffff msi\n")
        assert region.range == AddressRange(0xFEE00000, 1 << 64)

    def test_no_node_is_none(self) -> None:
        assert (attributes.node(b"-1\n"), attributes.node(b"3\n")) == (None, 3)

"""Units as sysfs shows them: the texts of several kernels, read into the same registers."""

import pytest

from vfiokit.model.iommu import IommuKind, IommuUnit
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.memory import Directory, Failure, File, Link, MemorySource
from vfiokit.sysfs.scan import Part, scan

INTEL, AMD = "intel-iommu", "amd-iommu"


def read_unit(name: str, files: dict[str, bytes | int]) -> IommuUnit:
    """Read one unit with these attributes; a number is the error that reading one gives."""
    tree = MemorySource()
    tree.add(f"sys/class/iommu/{name}", Link(f"../../devices/virtual/iommu/{name}"))
    tree.add(f"sys/devices/virtual/iommu/{name}/devices", Directory())
    for path, content in files.items():
        node = Failure(content) if isinstance(content, int) else File(content)
        tree.add(f"sys/devices/virtual/iommu/{name}/{path}", node)
    (unit,) = scan(tree, Part.UNITS).units
    return unit


class TestRegisters:
    def test_intel_version_is_two_decimal_numbers(self) -> None:
        assert read_unit("dmar0", {f"{INTEL}/version": b"1:10\n"}).register("version") == 0x1A

    @pytest.mark.parametrize(
        "text",
        [b"246577efa2254afa:10\n", b"10:246577efa2254afa\n"],
        ids=["EFR first, since 6.12", "EFR2 first, before"],
    )
    def test_amd_features_are_two_registers_in_either_order(self, text: bytes) -> None:
        unit = read_unit("ivhd0", {f"{AMD}/cap": b"190b640f\n", f"{AMD}/features": text})
        assert unit.kind is IommuKind.AMD
        assert unit.registers == (("cap", 0x190B640F), ("features", 0x246577EFA2254AFA), ("features2", 0x10))

    def test_amd_features_of_old_kernels_are_one_register(self) -> None:
        unit = read_unit("ivhd0", {f"{AMD}/features": b"f77ef22294ada\n"})
        assert (unit.register("features"), unit.register("features2")) == (0xF77EF22294ADA, 0)

    @pytest.mark.parametrize(
        "text", [b"", b"\n", b"0x10\n", b"g\n", b"1:2:3\n", b"-1\n", b"1" * 17, b"\xff\n", b"1\n2\n"]
    )
    def test_other_text_is_unknown_with_its_reason(self, text: bytes) -> None:
        unit = read_unit("ivhd0", {f"{AMD}/features": text})
        assert [type(value) for _, value in unit.registers] == [Unknown, Unknown]
        assert unit.register("features") is None

    def test_what_may_not_be_read_is_unknown(self) -> None:
        unit = read_unit("dmar0", {f"{INTEL}/cap": 13, f"{INTEL}/ecap": b"f00f4a\n"})
        assert unit.registers == (("cap", Unknown("Permission denied")), ("ecap", 0xF00F4A))


class TestKinds:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("dmar12", IommuKind.INTEL),
            ("ivhd0", IommuKind.AMD),
            ("smmu3.0x0000000009050000", IommuKind.ARM),
            ("arm-smmu.0.auto", IommuKind.ARM),
            ("virtio0", IommuKind.VIRTIO),
            ("riscv-iommu.0", IommuKind.OTHER),
        ],
    )
    def test_follow_from_the_name(self, name: str, kind: IommuKind) -> None:
        assert read_unit(name, {}).kind is kind

    def test_units_are_in_order_of_number(self) -> None:
        tree = MemorySource()
        for name in ("dmar10", "dmar2", "dmar0"):
            tree.add(f"sys/class/iommu/{name}", Link(f"../../devices/virtual/iommu/{name}"))
        assert [unit.name for unit in scan(tree, Part.UNITS).units] == ["dmar0", "dmar2", "dmar10"]

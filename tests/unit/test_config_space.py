"""The library's view of a config space: accessors, lists, write plans, and every hazard by its code."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given

from vfiokit.address import PciAddress
from vfiokit.errors import UsageError
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.diagnostics import Code
from vfiokit.pci.dump import Dumped, format_dump, parse_dump
from vfiokit.pci.image import BytesImage, Origin, SparseImage
from vfiokit.pci.lspci import lspci_text
from vfiokit.pci.structure import Structure
from vfiokit.testing.config_spaces import DrawnSpace, broken_spaces, config_spaces

EXPRESS = 0x40
DEVICE_CONTROL = EXPRESS + 8
POWER = 0x80
AER = 0x100
SERIAL = 0x140


def written(size: int = 4096) -> bytearray:
    """Build a NIC: power management, PCI Express, AER, a serial number."""
    space = bytearray(size)
    struct.pack_into("<HHHHBBBBBBBB", space, 0, 0x8086, 0x1533, 0x0406, 0x0010, 3, 0, 0, 2, 16, 0, 0, 0)
    struct.pack_into("<I", space, 0x10, 0xF7200000)
    space[0x34] = EXPRESS
    if size > 64:
        space[EXPRESS : EXPRESS + 2] = bytes([0x10, POWER])
        struct.pack_into("<H", space, EXPRESS + 2, 2)
        struct.pack_into("<H", space, DEVICE_CONTROL, 0x2810)
        struct.pack_into("<H", space, DEVICE_CONTROL + 2, 0x0009)
        space[POWER : POWER + 2] = bytes([0x01, 0])
        struct.pack_into("<H", space, POWER + 2, 0xC823)
    if size > 256:
        struct.pack_into("<I", space, AER, 2 << 16 | 1 | SERIAL << 20)
        struct.pack_into("<III", space, SERIAL, 1 << 16 | 3, 0x33445566, 0x00112233)
    return space


def space(size: int = 4096, **changed: bytes) -> ConfigSpace:
    """Return that NIC with bytes changed: ``at_40=b"..."``."""
    data = written(size)
    for place, content in changed.items():
        at = int(place.removeprefix("at_"), 16)
        data[at : at + len(content)] = content
    return ConfigSpace(bytes(data))


def codes(space: ConfigSpace) -> set[Code]:
    return {each.code for each in space.diagnostics}


class TestAccess:
    def test_fields_are_typed_by_name(self) -> None:
        nic = space()
        assert nic.header.VendorID.VendorID == 0x8086
        assert nic.header.Command.BusMaster is True
        express = nic.find("PCIe")
        assert express is not None
        assert express.DevCtl.MaxReadReq == 512
        assert int(express.DevCtl) == 0x2810
        assert express.get("DevCtl.MaxPayload") == 128
        assert express.get("DevCtl.Nonsense") is None
        assert express.get("Nonsense.MaxPayload") is None
        assert express.raw_field("DevCtl.MaxReadReq") == 2

    def test_lists_keep_order_and_duplicates(self) -> None:
        nic = space(at_81=b"\x90", at_90=b"\x01\x00")
        assert [(each.name, each.offset) for each in nic.capabilities] == [
            ("PCIe", EXPRESS),
            ("PM", POWER),
            ("PM", 0x90),
        ]
        assert [each.id for each in nic.extended] == [1, 3]
        assert [each.offset for each in nic.find_all("PM")] == [POWER, 0x90]

    def test_finds_by_name_and_by_identifier_in_either_list(self) -> None:
        nic = space()
        assert getattr(nic.find(0x10), "offset", None) == EXPRESS
        assert getattr(nic.find(1, extended=True), "offset", None) == AER
        assert getattr(nic.find(1, extended=False), "offset", None) == POWER
        assert getattr(nic.find("DSN"), "offset", None) == SERIAL
        assert nic.find("MSIX") is None

    def test_an_unknown_capability_is_its_bytes(self) -> None:
        nic = space(at_80=b"\x7e\x00\x34\x12", at_140=b"\xfe\x7f\x01\x00")
        unknown = nic.find(0x7E)
        assert unknown is not None
        assert not unknown.is_known
        assert unknown.raw[:4] == b"\x7e\x00\x34\x12"
        assert len(unknown.raw) == 0x100 - POWER
        far = nic.find(0x7FFE)
        assert far is not None
        assert (far.version, len(far.raw)) == (1, 4096 - SERIAL)

    def test_vendor_specific_ones_by_owner_and_number(self) -> None:
        vendor = b"\x0b\x00\x01\x00" + struct.pack("<I", 0x0C << 20 | 1 << 16 | 0x42) + bytes(4)
        nic = space(at_140=vendor)
        assert nic.vsec(0x8086, 0x42) is not None
        assert nic.vsec(0x8086, 0x43) is None
        assert nic.vsec(0x10DE, 0x42) is None
        designated = b"\x23\x00\x01\x00" + struct.pack("<IH", 0x10 << 20 | 0x1E98, 7) + bytes(6)
        nic = space(at_140=designated)
        found = nic.dvsec(0x1E98, 7)
        assert found is not None
        assert found.offset == SERIAL
        assert nic.dvsec(0x1E98, 9) is None

    def test_owner_of_a_byte(self) -> None:
        nic = space()
        assert _owner(nic, 0x06) == ("Header", "Status")
        assert _owner(nic, DEVICE_CONTROL + 1) == ("PCIe", "DevCtl")
        assert _owner(nic, 0xF0) is None

    def test_a_structure_lists_what_it_has(self) -> None:
        express = space().find("PCIe")
        assert express is not None
        assert "DevCtl" in dir(express)
        assert "MaxReadReq" in dir(express.DevCtl)
        assert {field.name for field in express.DevSta.fields()} >= {"CorrErr", "TransPend"}
        with pytest.raises(AttributeError, match="Nonsense"):
            _ = express.Nonsense
        with pytest.raises(AttributeError, match="Nonsense"):
            _ = express.DevCtl.Nonsense
        with pytest.raises(KeyError):
            express.register("Nonsense")

    def test_hexadecimal_digits(self) -> None:
        assert ConfigSpace.from_hex(" 86 80\n33 15").header.VendorID.VendorID == 0x8086
        with pytest.raises(UsageError):
            ConfigSpace.from_hex("8g")
        with pytest.raises(UsageError):
            ConfigSpace.from_hex("86 80 33")


def _owner(space: ConfigSpace, offset: int) -> tuple[str, str] | None:
    found = space.owner(offset)
    return None if found is None else (found[0].name, found[1])


class TestPlans:
    def test_a_changed_field_keeps_the_rest(self) -> None:
        plan = space().find("PCIe").DevCtl.plan(MaxReadReq=4096)  # type: ignore[union-attr]
        assert (plan.offset, plan.width, plan.value, plan.mask) == (DEVICE_CONTROL, 2, 0x5000, 0x7000)
        assert plan.content == 0x5810
        assert plan.setpci("01:00.0") == "setpci -s 01:00.0 48.w=5000:7000"

    def test_what_is_cleared_by_one_is_written_as_zero(self) -> None:
        status = space().find("PCIe").DevSta  # type: ignore[union-attr]
        assert status.CorrErr is True
        assert status.UnsupReq is True
        plan = status.plan(CorrErr=True)
        assert plan.content & 0xF == 0x1
        assert plan.mask & 0xF == 0xF
        assert not status.plan().content & 0xF

    def test_what_cannot_be_written_is_refused(self) -> None:
        express = space().find("PCIe")
        assert express is not None
        for register, changes in (
            ("DevCtl", {"Nonsense": 1}),
            ("DevCtl", {"MaxReadReq": 100}),
            ("DevCap", {"MaxPayload": 256}),
        ):
            with pytest.raises(UsageError):
                express.register(register).plan(**changes)

    @given(config_spaces())
    def test_a_plan_for_what_is_there_changes_nothing_else(self, drawn: DrawnSpace) -> None:
        space = ConfigSpace(drawn.data)
        for structure in space.structures:
            for register in structure.registers:
                _check_plans(structure, register.name)


def _check_plans(structure: Structure, name: str) -> None:
    register = structure.register(name)
    cleared = sum(
        (1 << field.high + 1) - (1 << field.low) for field in register.fields() if field.access.clears
    )
    for field in register.fields():
        if field.access.writable and not field.access.clears:
            try:
                plan = register.plan(**{field.name: field.value})
            except UsageError:
                # A reserved content has no meaning to write.
                assert register.row.field(field.name).values is not None
                continue
            assert plan.content & ~plan.mask == register.value & ~plan.mask
            assert not plan.content & cleared
            assert register.row.field(field.name).value(plan.content) == field.value


class TestHazards:
    """What makes others hang, abort or lie."""

    def test_a_sound_space_has_none(self) -> None:
        assert codes(space()) == set()

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"at_81": b"\x40"}, Code.LIST_LOOP),
            ({"at_41": b"\x40"}, Code.LIST_LOOP),
            ({"at_81": b"\x10"}, Code.POINTER_IN_HEADER),
            ({"at_34": b"\x10"}, Code.POINTER_IN_HEADER),
            ({"at_80": b"\xff\xff"}, Code.LIST_BROKEN),
            ({"at_41": b"\x82"}, Code.LIST_MISALIGNED),
            ({"at_142": b"\x01\x08"}, Code.POINTER_BELOW_EXTENDED),
            ({"at_142": b"\x01\x10"}, Code.EXTENDED_LOOP),
            ({"at_140": b"\xff\xff\xff\xff"}, Code.EXTENDED_BROKEN),
            ({"at_142": b"\x11\x14"}, Code.EXTENDED_MISALIGNED),
            ({"at_140": b"\xff\xff"}, Code.ID_ONES),
            ({"at_142": b"\x00\x00"}, Code.VERSION_ZERO),
            ({"at_100": b"\x86\x80\x33\x15"}, Code.ALIASED),
            ({"at_0e": b"\x05"}, Code.UNKNOWN_HEADER),
            ({"at_0": b"\xff" * 4096}, Code.GONE),
            ({"at_24": b"\x04\x00\x00\xf0"}, Code.BROKEN_64BIT_BAR),
            ({"at_80": b"\x11\x00\x00\x00\x07\x00\x00\x00\x07\x00\x00\x00"}, Code.MSIX_OUTSIDE_BAR),
            ({"at_140": b"\x15\x00\x01\x00" + bytes(12)}, Code.REBAR_COUNT),
            ({"at_80": b"\x14\x00\x02\x00\x00\x00\x00\x00"}, Code.EA_ENTRY),
            ({"at_41": b"\x42"}, Code.LIST_MISALIGNED),
        ],
    )
    def test_is_a_diagnostic_with_a_code(self, changed: dict[str, bytes], code: Code) -> None:
        broken = space(**changed)
        assert code in codes(broken)
        _say_everything(broken)

    @pytest.mark.parametrize("number", [0, 2, 3, 4, 5, 7, 8, 9, 10, 0x1234])
    def test_a_short_cxl_dvsec_is_cut_not_read_on(self, number: int) -> None:
        short = b"\x23\x00\x01\x00" + struct.pack("<IH", 0x0C << 20 | 0x1E98, number) + bytes(2)
        broken = space(at_140=short)
        _say_everything(broken)
        assert broken.find(0x23, extended=True) is not None

    @pytest.mark.parametrize("kind", range(10))
    def test_a_short_virtio_capability(self, kind: int) -> None:
        broken = space(at_0=b"\xf4\x1a\x41\x10", at_80=bytes([9, 0, 4, kind]))
        _say_everything(broken)
        assert broken.find(9, extended=False) is not None

    def test_a_long_virtio_capability_of_shared_memory(self) -> None:
        content = bytes([9, 0, 24, 8, 2, 1, 0, 0]) + struct.pack("<IIII", 0x1000, 0x2000, 1, 2)
        shared = space(at_0=b"\xf4\x1a\x41\x10", at_80=content).find(9, extended=False)
        assert shared is not None
        assert shared.size == 24

    def test_an_entry_that_says_it_has_no_size_ends_nothing(self) -> None:
        broken = space(at_80=b"\x14\x00\x3f\x00" + bytes(0x7C))
        _say_everything(broken)
        entries = [name for name in dir(broken.find("EA")) if name.startswith("Entry")]
        assert len(entries) >= 30


def _say_everything(space: ConfigSpace) -> None:
    """Do with it all that the commands do; nothing may raise, nothing may be endless."""
    from vfiokit.pci.bars import bars
    from vfiokit.render.config import config_lines
    from vfiokit.render.config_json import function_object

    address = PciAddress(0, 0, 0, 0)
    assert len(space.standard_list()) <= 48
    assert len(space.extended_list()) <= 960
    space.decode()
    assert lspci_text(address, space).endswith("\n")
    assert list(config_lines(address, space))
    assert function_object(address, space)
    assert isinstance(bars(space), tuple)


class TestWhyBytesAreMissing:
    """The kernel's view for the unprivileged, a truncated dump and a plain function are told apart."""

    def test_the_kernel_shows_the_unprivileged_a_header(self) -> None:
        seen = ConfigSpace(BytesImage(bytes(written(64)), Origin.KERNEL))
        assert codes(seen) == {Code.UNPRIVILEGED}

    def test_a_dump_of_the_header_alone(self) -> None:
        seen = ConfigSpace(BytesImage(bytes(written(64)), Origin.DUMP))
        assert codes(seen) == {Code.HEADER_ONLY}

    def test_a_truncated_dump(self) -> None:
        seen = ConfigSpace(BytesImage(bytes(written(4096)[:0x102]), Origin.DUMP))
        assert Code.TRUNCATED in codes(seen)

    def test_a_function_without_capabilities(self) -> None:
        data = written(64)
        data[6] = 0
        for origin in Origin:
            assert codes(ConfigSpace(BytesImage(bytes(data), origin))) <= {Code.HEADER_ONLY}
        whole = data + bytes(192)
        assert codes(ConfigSpace(BytesImage(bytes(whole), Origin.KERNEL))) == set()

    def test_the_first_bytes_alone(self) -> None:
        for size in range(4, 64):
            _say_everything(ConfigSpace(bytes(written()[:size])))


class TestDumps:
    def test_a_domain_of_eight_digits(self) -> None:
        text = format_dump([Dumped(PciAddress(0x10000, 1, 2, 3), bytes(written(256)))])
        assert text.startswith("10000:01:02.3 ")
        (found,) = parse_dump(text.replace("10000:01", "00010000:01").encode())
        assert found.address == PciAddress(0x10000, 1, 2, 3)

    @given(config_spaces())
    def test_is_read_back(self, drawn: DrawnSpace) -> None:
        one = Dumped(PciAddress(0, 3, 4, 5), drawn.data)
        assert list(parse_dump(format_dump([one]).encode())) == [one]

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text.upper().replace("FUNCTION", "function"),
            lambda text: text.replace("\n10: ", "\n\tKernel driver in use: igb\n10: "),
            lambda text: text.replace("\n00: ", "\n\tRegion 0: Memory at f7200000\n00: "),
            lambda text: "noise 1.2 3.4\n\n" + text.rstrip("\n"),
            lambda text: text.replace("\n\n", "  \n \n"),
        ],
    )
    @pytest.mark.parametrize("size", [64, 256, 4096])
    def test_in_the_ways_they_come(self, change: Callable[[str], str], size: int) -> None:
        one = Dumped(PciAddress(0, 3, 4, 5), bytes(written(size)))
        assert list(parse_dump(change(format_dump([one])).encode())) == [one]

    def test_a_line_that_is_not_whole_is_left_out(self) -> None:
        one = Dumped(PciAddress(0, 3, 4, 5), bytes(written(256)))
        text = format_dump([one])
        (found,) = parse_dump(text[: text.index("\na0: ") + 10].encode())
        assert found.data[:0xA0] == one.data[:0xA0]
        assert len(found.data) in (0xA0, 0xA2)

    def test_a_broken_function_does_not_hide_the_others(self) -> None:
        good = [Dumped(PciAddress(0, 0, number, 0), bytes(written(256))) for number in (1, 3)]
        text = format_dump(good[:1]) + "00:02.0 broken\n00: zz\n10: 00\n\n" + format_dump(good[1:])
        found = {each.address: each.data for each in parse_dump(text.encode())}
        assert {each.address: each.data for each in good}.items() <= found.items()


class TestSparse:
    @given(config_spaces())
    def test_reads_what_is_decoded_and_nothing_twice(self, drawn: DrawnSpace) -> None:
        image = SparseImage(lambda offset, size: drawn.data[offset : offset + size])
        sparse, whole = ConfigSpace(image), ConfigSpace(drawn.data)
        assert [each.values for each in sparse.decode()] == [each.values for each in whole.decode()]
        dwords = [dword for offset, size in image.log for dword in range(offset, offset + size, 4)]
        assert len(dwords) == len(set(dwords))
        owned = {
            byte & ~3
            for each in whole.structures
            for placed in each.layout.registers
            for byte in range(each.offset + placed.offset, each.offset + placed.offset + placed.row.size)
        }
        beyond = {dword for dword in dwords if dword >= 0x40} - owned
        assert len(beyond) <= 2 + len(whole.structures), beyond

    def test_the_identity_costs_the_header_alone(self) -> None:
        data = written()
        image = SparseImage(lambda offset, size: bytes(data[offset : offset + size]))
        assert ConfigSpace(image).header.VendorID.VendorID == 0x8086
        assert image.log == [(0, 64)]


@given(broken_spaces())
def test_nothing_that_is_broken_raises(drawn: DrawnSpace) -> None:
    broken = ConfigSpace(drawn.data)
    _say_everything(broken)
    assert all(each.message for each in broken.diagnostics)

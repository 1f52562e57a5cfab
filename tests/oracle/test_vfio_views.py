"""What the rows say of vfio-pci, against the permission tables of its own source."""

import pytest

from tests.oracle.vfio_permissions import VARIABLE, Permissions, Tables, classes, tables
from tests.vm.conftest import LAB
from tests.vm.kernel import Unavailable
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.registers import families
from vfiokit.pci.registers.header import NORMAL
from vfiokit.pci.registers.layout import EXTENDED_HEADER, STANDARD_HEADER
from vfiokit.pci.registers.rows import Capability, Field, Register, View

MSI = 0x05
ROWS = [row for name, rows in families() for row in rows if name != "header"]
ALL = [NORMAL, *ROWS]
IDS = [f"{'extended-' if row.extended else ''}{row.id:#x}-{row.name}" for row in ALL]
BY_BITS: dict[tuple[bool, bool], set[View]] = {
    (False, False): {View.READ, View.TRAPPED},
    (False, True): {View.WRITABLE},
    (True, False): {View.FIXED},
    (True, True): {View.VIRTUAL, View.TRAPPED},
}
"""By whether a bit is a copy of the driver's, and whether it may be written."""
ACTED_ON = {
    ("Header", "Command", "DisINTx"),
    ("PM", "PMCSR", "State"),
    ("VPD", "Address", "Address"),
    ("VPD", "Address", "Flag"),
    ("VPD", "Data", "Data"),
    ("PCIe", "DevCtl", "MaxReadReq"),
    ("PCIe", "DevCtl", "FLReset"),
    ("AF", "Ctrl", "FLR"),
    *(("MSI", "Flags", name) for name in ("Enable", "Capable", "Enabled", "Address64")),
}
"""What the functions for writes act on: vfio_basic_, _pm_, _vpd_, _exp_, _af_ and _msi_config_write."""


@pytest.fixture(scope="session")
def kernel() -> Tables:
    """Return the tables, or skip where the lab's source is not on this machine."""
    try:
        return tables()
    except Unavailable as error:
        if LAB == "require":
            raise
        pytest.skip(f"kernel source: {error}")


def of_ports_alone(register: Register) -> bool:
    """Whether a bridge alone has it, which vfio-pci does not take (vfio_pci_core_register_device)."""
    return "Flags.Slot" in register.when


def expected(permissions: Permissions, length: int, offset: int, size: int, mask: int) -> set[View]:
    """Return what one field may be called."""
    if permissions.raw or offset >= length:
        return {View.WRITABLE}
    kinds = classes(permissions, offset, size, mask)
    assert len(kinds) == 1, "bits of one field are treated differently"
    views = BY_BITS[kinds.pop()]
    return views if permissions.acts else views - {View.TRAPPED}


def fields(register: Register) -> list[tuple[Field | None, int]]:
    """Return the fields with their masks; a register without any as a whole."""
    whole = (1 << 8 * register.size) - 1
    return [(field, field.mask) for field in register.fields] or [(None, whole)]


@pytest.mark.parametrize("row", ALL, ids=IDS)
def test_every_field_is_called_what_the_kernel_makes_of_it(kernel: Tables, row: Capability) -> None:
    key = row.extended, max(row.id, 0)
    length = kernel.lengths.get(key, 0)
    # A header's identifier is that of no capability: the null capability has it too.
    if not length or (row.id == 0 and row.name == "Null"):
        assert row.view is View.HIDDEN
        return
    assert row.view is not View.HIDDEN
    if row.id == MSI or "header == 1" in row.when:
        return
    permissions = kernel.permissions.get(key, Permissions())
    end = 1 << 12 if length == VARIABLE else length
    for register in row.registers:
        # Version 2 of the structure ends at 0x34, where only a port goes on.
        if of_ports_alone(register):
            continue
        for field, mask in fields(register):
            wanted = expected(permissions, end, register.offset, register.size, mask)
            assert row.view_of(register, field) in wanted, f"{register.name}.{field and field.name}"
    for block in row.blocks:
        for register in block.registers:
            assert row.view_of(register) is (View.WRITABLE if permissions.raw else View.READ)


@pytest.mark.parametrize("flags", [0, 0x80, 0x100, 0x180], ids=hex)
def test_message_interrupts_in_each_of_their_lengths(kernel: Tables, flags: int) -> None:
    content = bytearray(256)
    content[0x00:0x02] = b"\x34\x12"
    content[0x06], content[0x34] = 0x10, 0x40
    content[0x40:0x44] = bytes([MSI, 0, *flags.to_bytes(2, "little")])
    found = ConfigSpace(bytes(content)).find("MSI")
    assert found is not None
    permissions = kernel.message(flags)
    # vfio_msi_cap_len: 10 bytes, 4 more for a long address, 10 more for masks.
    length = 10 + 4 * bool(flags & 0x80) + 10 * bool(flags & 0x100)
    seen = set()
    for register in found.registers:
        if register.name == "Header":
            continue
        seen.add(register.name)
        for field in register.fields():
            place = register.offset - found.offset
            mask = ((1 << field.high + 1) - 1) & ~((1 << field.low) - 1)
            wanted = expected(permissions, length, place, register.row.size, mask)
            assert field.view in wanted, f"{register.name}.{field.name}"
    assert ("Mask64" in seen) == (flags == 0x180)


def test_the_head_of_every_capability_has_a_pointer_of_the_drivers(kernel: Tables) -> None:
    """vfio_cap_init and vfio_ecap_init rewrite it; the identifier of a standard one is the device's."""
    pointers = {key: permissions.bits(1, 1)[0] for key, permissions in kernel.permissions.items()}
    assert {key for key, mask in pointers.items() if mask == 0xFF} >= {(False, 1), (False, 3), (False, 0x10)}
    assert STANDARD_HEADER.field("Next").view is View.FIXED
    assert STANDARD_HEADER.field("CapID").view is None
    assert EXTENDED_HEADER.view is View.FIXED
    assert kernel.permissions[True, 1].bits(0, 4) == (0xFFFFFFFF, 0)


def test_nothing_else_is_acted_on() -> None:
    trapped = {
        (row.name, register.name, field.name)
        for row in ALL
        for register in row.registers
        for field in register.fields
        if row.view_of(register, field) is View.TRAPPED
    }
    assert trapped == ACTED_ON


def test_the_reader_of_the_source_is_not_blind(kernel: Tables) -> None:
    assert kernel.permissions[False, 1].bits(4, 2) == (0x8100, 0x7EFC)
    assert kernel.permissions[False, 0x10].bits(8, 2) == (0xF0E0, 0xFDFF)
    assert kernel.lengths[False, 0x11] == 12
    assert kernel.lengths[True, 0x1B] == 0
    assert kernel.message(0x180).bits(0x10, 4) == (0, 0xFFFFFFFF)
    assert kernel.message(0x80).bits(0x0C, 2) == (0xFFFF, 0xFFFF)

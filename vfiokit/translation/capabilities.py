"""What a remapping unit says that it can do, by meaning: VT-d's CAP and ECAP, AMD-Vi's header, EFR and EFR2.

The numbers come from ``/sys/class/iommu``, below ``dmar*/intel-iommu`` and ``ivhd*/amd-iommu``; the rows are
those of :mod:`vfiokit.translation.capability_rows`.

>>> VtdCapabilities(cap=0x00d2008c222f0606, ecap=0x0000000000f00f4a).page_table_levels
(3, 4)
"""

from dataclasses import dataclass

from vfiokit.address import PageSize
from vfiokit.errors import UsageError
from vfiokit.translation.capability_rows import (
    AMD_CAPABILITY_HEADER,
    AMD_EFR,
    AMD_EFR2,
    VTD_CAP,
    VTD_ECAP,
    VTD_VER,
    decode,
)

__all__ = [
    "AMD_CAPABILITY_HEADER",
    "AMD_EFR",
    "AMD_EFR2",
    "VTD_CAP",
    "VTD_ECAP",
    "VTD_VER",
    "AmdCapabilities",
    "VtdCapabilities",
    "decode",
    "parse_amd_features",
    "parse_register",
    "parse_vtd_version",
]


def parse_register(text: str) -> int:
    """Read a register as sysfs prints it: hexadecimal without ``0x``, at most 64 bits.

    :raises UsageError: if *text* is no such number.

    >>> hex(parse_register("d2008c222f0606"))
    '0xd2008c222f0606'
    """
    digits = text.strip()
    if not 0 < len(digits) <= 16 or not set(digits) <= _HEXADECIMAL:
        raise UsageError("not a hexadecimal register", operation="parse", subject=repr(text[:40]))
    return int(digits, 16)


def parse_vtd_version(text: str) -> int:
    """Read ``intel-iommu/version``, which the kernel prints as ``major:minor``, back into VER_REG.

    :raises UsageError: if *text* is no pair of decimal numbers below 16.

    >>> hex(parse_vtd_version("6:0"))
    '0x60'
    """
    major, colon, minor = text.strip().partition(":")
    if not colon or not all(part.isascii() and part.isdigit() and int(part) < 16 for part in (major, minor)):
        raise UsageError("not a VT-d version", operation="parse", subject=repr(text[:40]), hint="like 1:0")
    return VTD_VER[1].put(VTD_VER[0].put(0, int(minor)), int(major))


def parse_amd_features(text: str) -> tuple[int, int]:
    """Read ``amd-iommu/features`` as EFR and EFR2.

    Linux printed EFR alone, then EFR2 before EFR (commit 1e98a35da49e), and in 6.12 prints EFR first. So the
    larger is EFR: units with an EFR2 have bits above 31 in EFR, and EFR2 has none there so far.

    :raises UsageError: if *text* is neither one hexadecimal number nor two with a colon.

    >>> [hex(register) for register in parse_amd_features("10:246577efa2254afa")]
    ['0x246577efa2254afa', '0x10']
    """
    registers = [parse_register(part) for part in text.split(":")]
    if len(registers) > 2:
        raise UsageError("more than two registers", operation="parse", subject=repr(text[:40]))
    return max(registers), min(registers) if len(registers) == 2 else 0


_CAP_ROWS = {row.name: row for row in VTD_CAP}
_ECAP_ROWS = {row.name: row for row in VTD_ECAP}
_HEXADECIMAL = set("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True, kw_only=True)
class VtdCapabilities:
    """CAP_REG and ECAP_REG of one VT-d unit, by what they mean."""

    cap: int
    ecap: int

    @property
    def fields(self) -> dict[str, int]:
        """Every field of CAP, then of ECAP, by name: no name is in both."""
        return decode(VTD_CAP, self.cap) | decode(VTD_ECAP, self.ecap)

    def field(self, name: str) -> int:
        """Return one of the fields: walks ask for a few, again and again.

        :raises KeyError: if neither register has it.
        """
        row = _CAP_ROWS.get(name)
        return _ECAP_ROWS[name].get(self.ecap) if row is None else row.get(self.cap)

    @property
    def guest_address_width(self) -> int:
        """Bits of the widest address that a device may use."""
        return self.field("MGAW") + 1

    @property
    def page_table_levels(self) -> tuple[int, ...]:
        """Depths that second-stage tables may have, least first: 3 for 39 bits, 4 for 48, 5 for 57."""
        return tuple(bit + 2 for bit in range(5) if self.field("SAGAW") >> bit & 1)

    @property
    def number_of_domains(self) -> int:
        """Domains that the unit can tell apart."""
        return 1 << (4 + 2 * self.field("ND"))

    @property
    def second_stage_page_sizes(self) -> tuple[PageSize, ...]:
        """Page sizes of second-stage tables, least first."""
        large = (PageSize.SIZE_2M, PageSize.SIZE_1G)
        return (
            PageSize.SIZE_4K,
            *(size for bit, size in enumerate(large) if self.field("SSLPS") >> bit & 1),
        )

    @property
    def fault_recording_offset(self) -> int:
        """Offset of the first fault recording register from the unit's base, in bytes."""
        return 16 * self.field("FRO")

    @property
    def number_of_fault_records(self) -> int:
        """Fault recording registers, 16 bytes each."""
        return self.field("NFR") + 1

    @property
    def iotlb_offset(self) -> int:
        """Offset of the IOTLB registers from the unit's base, in bytes."""
        return 16 * self.field("IRO")

    @property
    def pasid_bits(self) -> int:
        """Bits of a PASID that the unit takes, 0 without PASID support."""
        return self.field("PSS") + 1 if self.field("PASID") else 0

    @property
    def caching_mode(self) -> bool:
        """Whether every mapping needs an invalidation, even of what was not present."""
        return bool(self.field("CM"))

    @property
    def coherent_walks(self) -> bool:
        """Whether walks see what the processor wrote without a flush."""
        return bool(self.field("C"))

    @property
    def device_iotlb(self) -> bool:
        """Whether devices may cache translations (ATS)."""
        return bool(self.field("DT"))

    @property
    def interrupt_remapping(self) -> bool:
        """Whether the unit can remap interrupts."""
        return bool(self.field("IR"))

    @property
    def pass_through(self) -> bool:
        """Whether the unit can leave a function untranslated."""
        return bool(self.field("PT"))

    @property
    def posted_interrupts(self) -> bool:
        """Whether interrupts can be posted to virtual processors."""
        return bool(self.field("PI"))

    @property
    def queued_invalidation(self) -> bool:
        """Whether invalidations go through a queue in memory."""
        return bool(self.field("QI"))

    @property
    def scalable_mode(self) -> bool:
        """Whether the unit has PASID-granular tables."""
        return bool(self.field("SMTS"))

    @property
    def first_stage(self) -> bool:
        """Whether first-stage tables can be used."""
        return bool(self.scalable_mode and self.field("FSTS"))

    @property
    def second_stage(self) -> bool:
        """Whether second-stage tables can be used: always in legacy mode, by SSTS in scalable mode."""
        return bool(not self.scalable_mode or self.field("SSTS"))

    @property
    def nested(self) -> bool:
        """Whether first-stage tables can lie in addresses of a second stage."""
        return bool(self.scalable_mode and self.field("NEST"))

    @property
    def snoop_control(self) -> bool:
        """Whether entries can force snooping: what VFIO needs to promise coherent DMA."""
        return bool(self.field("SC"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdCapabilities:
    """The capability header and extended features of one AMD-Vi unit, by what they mean.

    :ivar cap: the capability header, which sysfs calls ``cap``.
    :ivar efr: 0 where the header's EFRSup is clear.
    """

    cap: int
    efr: int = 0
    efr2: int = 0

    @property
    def fields(self) -> dict[str, int]:
        """Every field of the header, EFR and EFR2, by name: no name is in two."""
        header = decode(AMD_CAPABILITY_HEADER, self.cap)
        return header | decode(AMD_EFR, self.efr) | decode(AMD_EFR2, self.efr2)

    @property
    def host_translation_levels(self) -> int | None:
        """Depth that host tables can have; ``None`` for the reserved encoding."""
        return _levels(self.fields["HATS"])

    @property
    def guest_translation_levels(self) -> int | None:
        """Depth that guest tables can have; ``None`` without guest translation or if reserved."""
        return _levels(self.fields["GATS"]) if self.guest_translation else None

    @property
    def pasid_bits(self) -> int:
        """Bits of a PASID that the unit takes, 0 without guest translation."""
        return self.fields["PASmax"] + 1 if self.guest_translation else 0

    @property
    def number_of_domains(self) -> int:
        """Domains that the unit can tell apart: the device table entry has 16 bits for it."""
        return 1 << 16

    @property
    def device_iotlb(self) -> bool:
        """Whether devices may cache translations (ATS)."""
        return bool(self.fields["IotlbSup"])

    @property
    def guest_translation(self) -> bool:
        """Whether the unit walks guest (x86-64) tables by PASID."""
        return bool(self.fields["GTSup"])

    @property
    def guest_virtual_apic(self) -> bool:
        """Whether interrupts can go to virtual processors; wide interrupt entries come with it."""
        return bool(self.fields["GASup"])

    @property
    def host_access_tracking(self) -> bool:
        """Whether the unit sets accessed bits in host tables."""
        return bool(self.fields["HASup"])

    @property
    def host_dirty_tracking(self) -> bool:
        """Whether the unit sets dirty bits in host tables."""
        return bool(self.fields["HDSup"])

    @property
    def page_requests(self) -> bool:
        """Whether devices may ask for pages (PRI)."""
        return bool(self.fields["PPRSup"])

    @property
    def secure_nested_paging(self) -> bool:
        """Whether the unit checks SNP's reverse map."""
        return bool(self.fields["SNPSup"])

    @property
    def x2apic(self) -> bool:
        """Whether interrupts can reach x2APIC ids."""
        return bool(self.fields["XTSup"])


def _levels(encoded: int) -> int | None:
    return None if encoded == 3 else 4 + encoded

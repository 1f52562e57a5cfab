"""The bits of the ACS Capability and Control registers (PCIe 6.0, 7.7.11)."""

from enum import IntFlag

__all__ = ["NO_BITS", "REQUIRED_FOR_GROUPING", "AcsBit", "acs_names"]


class AcsBit(IntFlag):
    """One control of Access Control Services; the same position in both registers where it is one bit wide.

    The short names are those of ``lspci`` and the kernel. The two memory-target controls are fields of
    two bits in the Control register alone.

    >>> AcsBit.SV | AcsBit.RR == 0x05
    True
    """

    SOURCE_VALIDATION = 0x0001
    TRANSLATION_BLOCKING = 0x0002
    P2P_REQUEST_REDIRECT = 0x0004
    P2P_COMPLETION_REDIRECT = 0x0008
    UPSTREAM_FORWARDING = 0x0010
    P2P_EGRESS_CONTROL = 0x0020
    DIRECT_TRANSLATED_P2P = 0x0040
    IO_REQUEST_BLOCKING = 0x0080
    DSP_MEMORY_TARGET = 0x0300
    USP_MEMORY_TARGET = 0x0C00
    UNCLAIMED_REQUEST_REDIRECT = 0x1000

    SV = SOURCE_VALIDATION
    TB = TRANSLATION_BLOCKING
    RR = P2P_REQUEST_REDIRECT
    CR = P2P_COMPLETION_REDIRECT
    UF = UPSTREAM_FORWARDING
    EC = P2P_EGRESS_CONTROL
    DT = DIRECT_TRANSLATED_P2P


NO_BITS = AcsBit(0)
"""No control at all."""

REQUIRED_FOR_GROUPING = AcsBit.SV | AcsBit.RR | AcsBit.CR | AcsBit.UF
"""What Linux demands before it calls a function isolated (``REQ_ACS_FLAGS``, drivers/iommu/iommu.c)."""

_SHORT = (
    ("SV", AcsBit.SV),
    ("TB", AcsBit.TB),
    ("RR", AcsBit.RR),
    ("CR", AcsBit.CR),
    ("UF", AcsBit.UF),
    ("EC", AcsBit.EC),
    ("DT", AcsBit.DT),
    ("IORB", AcsBit.IO_REQUEST_BLOCKING),
    ("DSP-MT", AcsBit.DSP_MEMORY_TARGET),
    ("USP-MT", AcsBit.USP_MEMORY_TARGET),
    ("URRC", AcsBit.UNCLAIMED_REQUEST_REDIRECT),
)


def acs_names(bits: int) -> tuple[str, ...]:
    """Name the controls in *bits*, lowest first; bits without a name are left out.

    >>> acs_names(REQUIRED_FOR_GROUPING)
    ('SV', 'RR', 'CR', 'UF')
    """
    return tuple(name for name, bit in _SHORT if bits & bit)

"""The capability registers of remapping units as rows: VT-d VER, CAP, ECAP; AMD-Vi header, EFR, EFR2.

Names are the specifications'. Positions were compared between Linux 6.12's driver headers and the register
headers of VirtualBox's emulated units; CAP and ECAP were read live from QEMU too. A row that rests on one of
them, or on others, says so.
"""

from vfiokit.bits import Field

__all__ = ["AMD_CAPABILITY_HEADER", "AMD_EFR", "AMD_EFR2", "VTD_CAP", "VTD_ECAP", "VTD_VER", "decode"]

VTD_VER = (
    Field("MIN", 0, 4, "minor version"),
    Field("MAX", 4, 4, "major version"),
)
"""VER_REG, 32 bits (VT-d 11.4.1)."""

VTD_CAP = (
    Field("ND", 0, 3, "domain ids have 4 + 2 * ND bits"),
    Field("AFL", 3, 1, "advanced fault logging"),
    Field("RWBF", 4, 1, "write buffers need an explicit flush"),
    Field("PLMR", 5, 1, "protected low memory region"),
    Field("PHMR", 6, 1, "protected high memory region"),
    Field("CM", 7, 1, "caching mode: entries that are not present may be cached"),
    Field("SAGAW", 8, 5, "page-table depths: bit n for n + 2 levels"),
    Field("MGAW", 16, 6, "widest guest address, bits less one"),
    Field("ZLR", 22, 1, "zero-length reads of write-only pages"),
    Field("FRO", 24, 10, "offset of the fault recording registers, in 16 bytes"),
    Field("SSLPS", 34, 4, "second-stage large pages: bit 0 for 2 MiB, bit 1 for 1 GiB"),
    Field("PSI", 39, 1, "page-selective invalidation"),
    Field("NFR", 40, 8, "number of fault recording registers, less one"),
    Field("MAMV", 48, 6, "largest address mask of an invalidation"),
    Field("DWD", 54, 1, "write draining"),
    Field("DRD", 55, 1, "read draining"),
    Field("FS1GP", 56, 1, "first-stage 1 GiB pages"),
    Field("PI", 59, 1, "posted interrupts"),
    Field("FS5LP", 60, 1, "first-stage 5-level paging"),
    Field("ECMDS", 61, 1, "enhanced commands"),  # Linux alone
    Field("ESIRTPS", 62, 1, "setting the interrupt table pointer invalidates too"),
    Field("ESRTPS", 63, 1, "setting the root table pointer invalidates too"),
)
"""CAP_REG, 64 bits (VT-d 11.4.2)."""

VTD_ECAP = (
    Field("C", 0, 1, "page-table walks snoop processor caches"),
    Field("QI", 1, 1, "queued invalidation"),
    Field("DT", 2, 1, "device TLBs"),
    Field("IR", 3, 1, "interrupt remapping"),
    Field("EIM", 4, 1, "extended interrupt mode: x2APIC ids"),
    Field("PT", 6, 1, "pass-through"),
    Field("SC", 7, 1, "snoop control"),
    Field("IRO", 8, 10, "offset of the IOTLB registers, in 16 bytes"),
    Field("MHMV", 20, 4, "largest handle mask of an interrupt invalidation"),
    Field("MTS", 25, 1, "memory types in entries"),
    Field("NEST", 26, 1, "nested translation"),
    Field("PRS", 29, 1, "page requests"),
    Field("ERS", 30, 1, "execute requests"),
    Field("SRS", 31, 1, "supervisor requests"),
    Field("NWFS", 33, 1, "no-write flag"),
    Field("EAFS", 34, 1, "extended accessed flag"),
    Field("PSS", 35, 5, "PASID bits less one"),
    Field("PASID", 40, 1, "requests with PASID"),
    Field("DIT", 41, 1, "device TLB invalidation throttle"),
    Field("PDS", 42, 1, "page request draining"),
    Field("SMTS", 43, 1, "scalable mode"),
    Field("VCS", 44, 1, "virtual commands"),  # VirtualBox alone
    Field("SSADS", 45, 1, "second-stage accessed and dirty bits"),
    Field("SSTS", 46, 1, "second-stage translation in scalable mode"),
    Field("FSTS", 47, 1, "first-stage translation"),
    Field("SMPWCS", 48, 1, "scalable-mode walks snoop processor caches"),
    Field("RPS", 49, 1, "RID_PASID"),
    Field("PMS", 51, 1, "performance monitoring"),  # Linux alone
    Field("ADMS", 52, 1, "abort-DMA mode"),  # VirtualBox alone
    Field("RPRIVS", 53, 1, "RID_PRIV"),  # VirtualBox alone
)
"""ECAP_REG, 64 bits (VT-d 11.4.3)."""

AMD_CAPABILITY_HEADER = (
    Field("CapId", 0, 8, "0x0f, a secure device"),  # VirtualBox alone
    Field("CapPtr", 8, 8, "offset of the next capability"),  # VirtualBox alone
    Field("CapType", 16, 3, "3, an IOMMU"),  # VirtualBox alone
    Field("CapRev", 19, 5, "revision of the capability block"),  # VirtualBox alone
    Field("IotlbSup", 24, 1, "devices may cache translations"),
    Field("HtTunnel", 25, 1, "HyperTransport tunnel translation"),  # VirtualBox alone
    Field("NpCache", 26, 1, "entries that are not present may be cached"),
    Field("EFRSup", 27, 1, "the extended feature register exists"),
    Field("CapExt", 28, 1, "the second miscellaneous register exists"),  # VirtualBox alone
)
"""The IOMMU capability header, 32 bits (AMD-Vi 3.2.1)."""

AMD_EFR = (
    Field("PreFSup", 0, 1, "prefetch command"),
    Field("PPRSup", 1, 1, "peripheral page requests"),
    Field("XTSup", 2, 1, "x2APIC"),
    Field("NXSup", 3, 1, "no-execute protection"),
    Field("GTSup", 4, 1, "guest translation"),
    Field("IASup", 6, 1, "invalidate-all command"),
    Field("GASup", 7, 1, "guest virtual APIC"),
    Field("HESup", 8, 1, "hardware error registers"),
    Field("PCSup", 9, 1, "performance counters"),
    Field("HATS", 10, 2, "host tables have up to 4 + HATS levels; 3 is reserved"),  # VirtualBox and FreeBSD
    Field("GATS", 12, 2, "guest tables have up to 4 + GATS levels; 3 is reserved"),
    Field("GLXSup", 14, 2, "GCR3 tables have up to 1 + GLXSup levels; 3 is reserved"),
    Field("SmiFSup", 16, 2, "SMI filter"),  # VirtualBox alone
    Field("SmiFRC", 18, 3, "SMI filter registers, as a power of two"),  # VirtualBox alone
    Field("GAMSup", 21, 3, "guest virtual APIC modes"),
    Field("DualPprLogSup", 24, 2, "second page request log"),  # VirtualBox alone
    Field("DualEventLogSup", 28, 2, "second event log"),  # VirtualBox alone
    Field("PASmax", 32, 5, "PASID bits less one"),
    Field("USSup", 37, 1, "user and supervisor protection"),  # VirtualBox alone
    Field("DevTblSegSup", 38, 2, "device table segments, as a power of two"),  # VirtualBox and FreeBSD
    Field("PprOvrflwEarlySup", 40, 1, "early warning of page request log overflow"),  # VirtualBox alone
    Field("PprAutoRspSup", 41, 1, "automatic response to page requests"),  # VirtualBox alone
    Field("MarcSup", 42, 2, "memory access routing and control"),  # VirtualBox alone
    Field("BlkStopMrkSup", 44, 1, "blocking of stop markers"),  # VirtualBox alone
    Field("PerfOptSup", 45, 1, "performance optimization"),  # VirtualBox alone
    Field("MsiCapMmioSup", 46, 1, "MSI capability in the register space"),
    Field("GIoSup", 48, 1, "guest I/O protection"),
    Field("HASup", 49, 1, "hardware sets the accessed bit of host entries"),
    Field("EPHSup", 50, 1, "enhanced page request handling"),
    Field("AttrFWSup", 51, 1, "attribute forwarding"),  # VirtualBox alone
    Field("HDSup", 52, 1, "hardware sets the dirty bit of host entries"),
    Field("InvIotlbTypeSup", 54, 1, "typed IOTLB invalidation"),  # VirtualBox alone
    Field("GAUpdateDisSup", 61, 1, "guest accessed-bit updates can be disabled"),  # VirtualBox alone
    Field("ForcePhyDestSup", 62, 1, "remapped interrupts can be forced physical"),  # VirtualBox alone
    Field("SNPSup", 63, 1, "secure nested paging"),  # Linux alone
)
"""The extended feature register, 64 bits (AMD-Vi 3.4.9)."""

AMD_EFR2 = (
    Field("SEVSNPIOSup", 1, 1, "trusted I/O for SEV-SNP guests"),  # Linux alone
    Field("GCR3TRPMode", 3, 1, "the GCR3 pointer may be guest-physical"),  # Linux alone
    Field("SNPAVICSup", 5, 3, "guest virtual APIC modes with SNP"),  # Linux alone
    Field("NumIntRemapSup", 8, 2, "1 for 2048 interrupts per function"),  # later Linux and QEMU
    Field("HtRangeIgnore", 11, 1, "the HyperTransport range is translated too"),  # Linux alone
)
"""The second extended feature register, 64 bits (AMD-Vi 3.4.9)."""


def decode(rows: tuple[Field, ...], value: int) -> dict[str, int]:
    """Return the content of each field in *value*, by the specification's name, in the order of the rows.

    >>> decode(VTD_VER, 0x10)
    {'MIN': 0, 'MAX': 1}
    """
    return {row.name: row.get(value) for row in rows}

"""Every call of VFIO and iommufd as one row: what calls, tracing, the fake and the documentation read.

Pure data: it needs neither the extension nor a kernel. A test compares the numbers with the compiler's.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = ["BY_NAME", "CALLS", "FEATURES", "Argument", "Call", "Feature", "Kind", "Pointer"]


class Kind(Enum):
    """The descriptor a call is made on; one number means different calls on different kinds."""

    CONTAINER = "container"
    GROUP = "group"
    DEVICE = "device"
    MIGRATION = "migration data"
    IOMMUFD = "iommufd"


class Argument(Enum):
    """What stands in the third argument of ioctl(2)."""

    NONE = "none"
    VALUE = "a number, by value"
    FD = "a pointer to a descriptor"
    STRING = "a string"
    STRUCT = "a pointer to a structure"


@dataclass(frozen=True, slots=True)
class Pointer:
    """A member that points at memory which the call reads or writes.

    :ivar field: the member's name; ``data`` parts are named by their structure, ``vfio_bitmap.data``.
    :ivar length: the member that says how much there is.
    :ivar unit: bytes that one of *length* stands for.
    :ivar writes: whether the kernel writes there.
    """

    field: str
    length: str
    unit: int = 1
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One ioctl.

    :ivar name: the kernel's name for the request.
    :ivar number: the request's low byte: all are ``_IO(';', number)``, which carries no size.
    :ivar kind: the descriptor it is made on.
    :ivar meaning: one phrase.
    :ivar since: the Linux release that brought it.
    :ivar argument: what is passed.
    :ivar struct: the structure's name, empty without one.
    :ivar least: the fewest bytes of it that every kernel with the call accepts, 0 without one.
    :ivar pointers: what its members point at.
    """

    name: str
    number: int
    kind: Kind
    meaning: str
    since: str
    argument: Argument = Argument.NONE
    struct: str = ""
    least: int = 0
    pointers: tuple[Pointer, ...] = ()

    @property
    def size_field(self) -> str:
        """The member that carries the structure's size: VFIO says ``argsz``, iommufd ``size``."""
        return "size" if self.kind is Kind.IOMMUFD else "argsz"


@dataclass(frozen=True, slots=True)
class Feature:
    """One index of ``VFIO_DEVICE_FEATURE``.

    :ivar name: the kernel's name.
    :ivar index: the number in the low 16 bits of the flags.
    :ivar operations: which of ``get`` and ``set`` it knows.
    :ivar struct: what follows the header, empty for nothing.
    :ivar size: its bytes, without a trailing array.
    """

    name: str
    index: int
    operations: tuple[str, ...]
    meaning: str
    since: str
    struct: str = ""
    size: int = 0
    pointers: tuple[Pointer, ...] = ()


def _struct(
    kind: Kind,
    name: str,
    number: int,
    struct: str,
    least: int,
    since: str,
    meaning: str,
    *pointers: Pointer,
) -> Call:
    return Call(name, number, kind, meaning, since, Argument.STRUCT, struct, least, pointers)


def _plain(
    kind: Kind, name: str, number: int, since: str, meaning: str, argument: Argument = Argument.NONE
) -> Call:
    return Call(name, number, kind, meaning, since, argument)


_C, _G, _D, _M, _I = Kind.CONTAINER, Kind.GROUP, Kind.DEVICE, Kind.MIGRATION, Kind.IOMMUFD

CALLS: tuple[Call, ...] = (
    _plain(_C, "VFIO_GET_API_VERSION", 0x64, "3.6", "version of the interface, 0"),
    _plain(
        _C, "VFIO_CHECK_EXTENSION", 0x65, "3.6", "whether the container knows an extension", Argument.VALUE
    ),
    _plain(_C, "VFIO_SET_IOMMU", 0x66, "3.6", "choose the IOMMU's model", Argument.VALUE),
    _struct(
        _C, "VFIO_IOMMU_GET_INFO", 0x70, "vfio_iommu_type1_info", 16, "3.6", "page sizes, ranges, limits"
    ),
    _struct(
        *(_C, "VFIO_IOMMU_MAP_DMA", 0x71, "vfio_iommu_type1_dma_map", 32, "3.6", "map memory for DMA"),
    ),
    _struct(
        *(_C, "VFIO_IOMMU_UNMAP_DMA", 0x72, "vfio_iommu_type1_dma_unmap", 24, "3.6", "unmap memory"),
        Pointer("vfio_bitmap.data", "vfio_bitmap.size", writes=True),
    ),
    _plain(_C, "VFIO_IOMMU_ENABLE", 0x73, "3.10", "switch DMA on (POWER)"),
    _plain(_C, "VFIO_IOMMU_DISABLE", 0x74, "3.10", "switch DMA off (POWER)"),
    _struct(
        *(
            _C,
            "VFIO_IOMMU_DIRTY_PAGES",
            0x75,
            "vfio_iommu_type1_dirty_bitmap",
            8,
            "5.8",
            "log what is written",
        ),
        Pointer("vfio_bitmap.data", "vfio_bitmap.size", writes=True),
    ),
    _struct(
        *(_C, "VFIO_IOMMU_SPAPR_TCE_GET_INFO", 0x70, "vfio_iommu_spapr_tce_info", 16, "3.10"),
        "DMA windows (POWER)",
    ),
    _struct(
        *(_C, "VFIO_IOMMU_SPAPR_REGISTER_MEMORY", 0x75, "vfio_iommu_spapr_register_memory", 24, "4.2"),
        "pin memory (POWER)",
    ),
    _struct(
        *(_C, "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY", 0x76, "vfio_iommu_spapr_register_memory", 24, "4.2"),
        "unpin memory (POWER)",
    ),
    _struct(
        *(_C, "VFIO_IOMMU_SPAPR_TCE_CREATE", 0x77, "vfio_iommu_spapr_tce_create", 40, "4.2"),
        "open a DMA window (POWER)",
    ),
    _struct(
        *(_C, "VFIO_IOMMU_SPAPR_TCE_REMOVE", 0x78, "vfio_iommu_spapr_tce_remove", 16, "4.2"),
        "close a DMA window (POWER)",
    ),
    _struct(_C, "VFIO_EEH_PE_OP", 0x79, "vfio_eeh_pe_op", 12, "3.17", "error handling (POWER)"),
    _struct(_G, "VFIO_GROUP_GET_STATUS", 0x67, "vfio_group_status", 8, "3.6", "viable, in a container"),
    _plain(_G, "VFIO_GROUP_SET_CONTAINER", 0x68, "3.6", "put the group into a container", Argument.FD),
    _plain(_G, "VFIO_GROUP_UNSET_CONTAINER", 0x69, "3.6", "take the group out of its container"),
    _plain(_G, "VFIO_GROUP_GET_DEVICE_FD", 0x6A, "3.6", "open a device of the group", Argument.STRING),
    _struct(
        _D,
        "VFIO_DEVICE_GET_INFO",
        0x6B,
        "vfio_device_info",
        16,
        "3.6",
        "flags, number of regions, interrupts",
    ),
    _struct(
        _D, "VFIO_DEVICE_GET_REGION_INFO", 0x6C, "vfio_region_info", 32, "3.6", "size, offset, capabilities"
    ),
    _struct(_D, "VFIO_DEVICE_GET_IRQ_INFO", 0x6D, "vfio_irq_info", 16, "3.6", "flags and number of vectors"),
    _struct(_D, "VFIO_DEVICE_SET_IRQS", 0x6E, "vfio_irq_set", 20, "3.6", "wire, mask, unmask, trigger"),
    _plain(_D, "VFIO_DEVICE_RESET", 0x6F, "3.6", "reset the function"),
    _struct(
        *(_D, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", 0x70, "vfio_pci_hot_reset_info", 12, "3.12"),
        "the functions that a bus reset touches",
    ),
    _struct(
        _D, "VFIO_DEVICE_PCI_HOT_RESET", 0x71, "vfio_pci_hot_reset", 12, "3.12", "reset the bus or slot"
    ),
    _struct(
        *(_D, "VFIO_DEVICE_QUERY_GFX_PLANE", 0x72, "vfio_device_gfx_plane_info", 60, "4.16"),
        "the plane that a virtual display shows",
    ),
    _plain(
        *(_D, "VFIO_DEVICE_GET_GFX_DMABUF", 0x73, "4.16", "that plane as a dma-buf"), argument=Argument.FD
    ),
    _struct(
        _D,
        "VFIO_DEVICE_IOEVENTFD",
        0x74,
        "vfio_device_ioeventfd",
        32,
        "4.17",
        "write a register on an event",
    ),
    _struct(_D, "VFIO_DEVICE_FEATURE", 0x75, "vfio_device_feature", 8, "5.7", "probe, get or set a feature"),
    _struct(
        *(
            _D,
            "VFIO_DEVICE_BIND_IOMMUFD",
            0x76,
            "vfio_device_bind_iommufd",
            16,
            "6.6",
            "give the device to an iommufd",
        ),
        Pointer("token_uuid_ptr", "", 16),
    ),
    _struct(
        *(_D, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", 0x77, "vfio_device_attach_iommufd_pt", 12, "6.6"),
        "attach it to an address space or page table",
    ),
    _struct(
        *(_D, "VFIO_DEVICE_DETACH_IOMMUFD_PT", 0x78, "vfio_device_detach_iommufd_pt", 8, "6.6"),
        "detach it: its DMA is blocked",
    ),
    _struct(_M, "VFIO_MIG_GET_PRECOPY_INFO", 0x79, "vfio_precopy_info", 24, "6.2", "what is left to copy"),
    _struct(_I, "IOMMU_DESTROY", 0x80, "iommu_destroy", 8, "6.2", "destroy an object"),
    _struct(_I, "IOMMU_IOAS_ALLOC", 0x81, "iommu_ioas_alloc", 12, "6.2", "make an address space"),
    _struct(
        *(
            _I,
            "IOMMU_IOAS_ALLOW_IOVAS",
            0x82,
            "iommu_ioas_allow_iovas",
            24,
            "6.2",
            "ranges that must stay usable",
        ),
        Pointer("allowed_iovas", "num_iovas", 16),
    ),
    _struct(
        *(_I, "IOMMU_IOAS_COPY", 0x83, "iommu_ioas_copy", 40, "6.2"),
        "the same mapping in another space, pinned once",
    ),
    _struct(
        *(
            _I,
            "IOMMU_IOAS_IOVA_RANGES",
            0x84,
            "iommu_ioas_iova_ranges",
            32,
            "6.2",
            "usable ranges and alignment",
        ),
        Pointer("allowed_iovas", "num_iovas", 16, writes=True),
    ),
    _struct(_I, "IOMMU_IOAS_MAP", 0x85, "iommu_ioas_map", 40, "6.2", "map memory for DMA"),
    _struct(_I, "IOMMU_IOAS_UNMAP", 0x86, "iommu_ioas_unmap", 24, "6.2", "unmap memory"),
    _struct(_I, "IOMMU_OPTION", 0x87, "iommu_option", 24, "6.2", "get or set an option"),
    _struct(
        _I, "IOMMU_VFIO_IOAS", 0x88, "iommu_vfio_ioas", 12, "6.2", "the space behind the container emulation"
    ),
    _struct(
        *(_I, "IOMMU_HWPT_ALLOC", 0x89, "iommu_hwpt_alloc", 40, "6.6", "make a page table"),
        Pointer("data_uptr", "data_len"),
    ),
    _struct(
        *(_I, "IOMMU_GET_HW_INFO", 0x8A, "iommu_hw_info", 40, "6.6", "the IOMMU's registers and abilities"),
        Pointer("data_uptr", "data_len", writes=True),
    ),
    _struct(
        *(_I, "IOMMU_HWPT_SET_DIRTY_TRACKING", 0x8B, "iommu_hwpt_set_dirty_tracking", 16, "6.7"),
        "switch logging of written pages",
    ),
    _struct(
        *(
            _I,
            "IOMMU_HWPT_GET_DIRTY_BITMAP",
            0x8C,
            "iommu_hwpt_get_dirty_bitmap",
            48,
            "6.7",
            "the written pages",
        ),
        # The bitmap's length follows from length and page_size; the recorder computes it.
        Pointer("data", "bitmap", writes=True),
    ),
    _struct(
        *(
            _I,
            "IOMMU_HWPT_INVALIDATE",
            0x8D,
            "iommu_hwpt_invalidate",
            32,
            "6.8",
            "flush a nested table's caches",
        ),
        Pointer("data_uptr", "invalidations"),
    ),
    _struct(
        _I, "IOMMU_FAULT_QUEUE_ALLOC", 0x8E, "iommu_fault_alloc", 16, "6.11", "a queue of page requests"
    ),
    _struct(_I, "IOMMU_IOAS_MAP_FILE", 0x8F, "iommu_ioas_map_file", 40, "6.13", "map a memfd or dma-buf"),
    _struct(
        *(_I, "IOMMU_VIOMMU_ALLOC", 0x90, "iommu_viommu_alloc", 32, "6.13", "a virtual IOMMU"),
        Pointer("data_uptr", "data_len", writes=True),
    ),
    _struct(
        _I, "IOMMU_VDEVICE_ALLOC", 0x91, "iommu_vdevice_alloc", 24, "6.13", "a device behind a virtual IOMMU"
    ),
    _struct(
        *(_I, "IOMMU_IOAS_CHANGE_PROCESS", 0x92, "iommu_ioas_change_process", 8, "6.13"),
        "charge pinned memory to this process",
    ),
    _struct(_I, "IOMMU_VEVENTQ_ALLOC", 0x93, "iommu_veventq_alloc", 32, "6.15", "events of a virtual IOMMU"),
    _struct(
        _I, "IOMMU_HW_QUEUE_ALLOC", 0x94, "iommu_hw_queue_alloc", 40, "6.17", "a hardware queue for a guest"
    ),
    _struct(
        *(_I, "IOMMU_IOAS_NOIOMMU_GET_PA", 0x95, "iommu_ioas_noiommu_get_pa", 40, "7.3"),
        "the physical address behind a mapping",
    ),
)

BY_NAME: dict[str, Call] = {call.name: call for call in CALLS}

_GET, _SET = ("get",), ("set",)

FEATURES: tuple[Feature, ...] = (
    Feature("PCI_VF_TOKEN", 0, _SET, "token that virtual functions are opened with", "5.7", size=16),
    Feature(
        "MIGRATION", 1, _GET, "which migration states exist", "5.18", "vfio_device_feature_migration", 8
    ),
    Feature(
        *("MIG_DEVICE_STATE", 2, ("get", "set"), "the migration state", "5.18"),
        struct="vfio_device_feature_mig_state",
        size=8,
    ),
    Feature("LOW_POWER_ENTRY", 3, _SET, "let the device sleep", "6.1"),
    Feature(
        *("LOW_POWER_ENTRY_WITH_WAKEUP", 4, _SET, "sleep, and say when it wakes", "6.1"),
        struct="vfio_device_low_power_entry_with_wakeup",
        size=8,
    ),
    Feature("LOW_POWER_EXIT", 5, _SET, "wake the device", "6.1"),
    Feature(
        *("DMA_LOGGING_START", 6, _SET, "the device logs what it writes", "6.1"),
        struct="vfio_device_feature_dma_logging_control",
        size=24,
        pointers=(Pointer("ranges", "num_ranges", 16),),
    ),
    Feature("DMA_LOGGING_STOP", 7, _SET, "stop logging", "6.1"),
    Feature(
        *("DMA_LOGGING_REPORT", 8, _GET, "what it wrote", "6.1"),
        struct="vfio_device_feature_dma_logging_report",
        size=32,
        pointers=(Pointer("bitmap", "bitmap", writes=True),),
    ),
    Feature(
        *("MIG_DATA_SIZE", 9, _GET, "estimated bytes to stop and copy", "6.2"),
        struct="vfio_device_feature_mig_data_size",
        size=8,
    ),
    Feature(
        *("BUS_MASTER", 10, _SET, "bus mastering of a CDX device", "6.7"),
        struct="vfio_device_feature_bus_master",
        size=4,
    ),
    Feature("DMA_BUF", 11, _GET, "part of a region as a dma-buf", "6.19", "vfio_device_feature_dma_buf", 16),
    Feature("MIG_PRECOPY_INFOv2", 12, _SET, "flags in the pre-copy answer", "7.2"),
    Feature(
        *("ZPCI_ERROR", 13, _GET, "a pending PCI error on s390", "7.3"),
        struct="vfio_device_feature_zpci_err",
        size=8,
        pointers=(Pointer("data", "", 0, writes=True),),
    ),
)

"""What the extension offers; a test compares these names with the built module's."""

from collections.abc import Iterator
from typing import Any, Protocol

CData = Any
"""A C object: its fields are what the header says, which no type checker knows."""

class _FFI(Protocol):
    """The part of cffi's FFI object that a built module has and this package uses."""

    NULL: CData
    error: type[Exception]

    def new(self, ctype: str, init: object = ...) -> CData: ...
    def cast(self, ctype: str, value: object) -> CData: ...
    def sizeof(self, ctype: object) -> int: ...
    def offsetof(self, ctype: str, *fields: str) -> int: ...
    def typeof(self, ctype: object) -> Any: ...
    def addressof(self, cdata: CData, *fields: str) -> CData: ...
    def buffer(self, cdata: CData, size: int = ...) -> Any: ...
    def from_buffer(self, *arguments: object, require_writable: bool = ...) -> CData: ...
    def string(self, cdata: CData) -> bytes: ...
    def memmove(self, destination: object, source: object, size: int) -> None: ...
    def release(self, cdata: CData) -> None: ...
    def list_types(self) -> tuple[list[str], list[str], list[str]]: ...

class _Lib(Protocol):
    """The C functions and constants."""

    # shim
    def vfiokit_ioctl(self, fd: int, request: int, argument: CData) -> int: ...
    def vfiokit_ioctl_value(self, fd: int, request: int, argument: int) -> int: ...

    # mmio
    def vfiokit_window_map(
        self, window: CData, fd: int, offset: int, size: int, writable: int, keep_on_fork: int
    ) -> int: ...
    def vfiokit_window_over(self, window: CData, base: CData, size: int) -> None: ...
    def vfiokit_window_unmap(self, window: CData) -> int: ...
    def vfiokit_copy_out(
        self, window: CData, offset: int, memory: CData, length: int, width: int
    ) -> int: ...
    def vfiokit_copy_in(self, window: CData, offset: int, memory: CData, length: int, width: int) -> int: ...
    def vfiokit_release_fence(self) -> None: ...
    def vfiokit_acquire_fence(self) -> None: ...
    # walk
    def vfiokit_walk_many(self, walker: CData, *columns: object) -> None: ...
    def vfiokit_walk_plain(self, walker: CData, *columns: object) -> None: ...
    def vfiokit_walk_trace(
        self, walker: CData, address: int, access: int, result: CData, reads: CData, room: int
    ) -> int: ...
    def vfiokit_dump(
        self, walker: CData, runs: CData, room: int, budget: CData, stopped_at: CData
    ) -> int: ...
    def __dir__(self) -> Iterator[str]: ...

    # vfio, iommufd
    VFIO_GET_API_VERSION: int
    VFIO_CHECK_EXTENSION: int
    VFIO_SET_IOMMU: int
    VFIO_GROUP_GET_STATUS: int
    VFIO_GROUP_SET_CONTAINER: int
    VFIO_GROUP_UNSET_CONTAINER: int
    VFIO_GROUP_GET_DEVICE_FD: int
    VFIO_DEVICE_GET_INFO: int
    VFIO_DEVICE_GET_REGION_INFO: int
    VFIO_DEVICE_GET_IRQ_INFO: int
    VFIO_DEVICE_SET_IRQS: int
    VFIO_DEVICE_RESET: int
    VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: int
    VFIO_DEVICE_PCI_HOT_RESET: int
    VFIO_DEVICE_QUERY_GFX_PLANE: int
    VFIO_DEVICE_GET_GFX_DMABUF: int
    VFIO_DEVICE_IOEVENTFD: int
    VFIO_DEVICE_FEATURE: int
    VFIO_DEVICE_BIND_IOMMUFD: int
    VFIO_DEVICE_ATTACH_IOMMUFD_PT: int
    VFIO_DEVICE_DETACH_IOMMUFD_PT: int
    VFIO_MIG_GET_PRECOPY_INFO: int
    VFIO_IOMMU_GET_INFO: int
    VFIO_IOMMU_MAP_DMA: int
    VFIO_IOMMU_UNMAP_DMA: int
    VFIO_IOMMU_ENABLE: int
    VFIO_IOMMU_DISABLE: int
    VFIO_IOMMU_DIRTY_PAGES: int
    VFIO_IOMMU_SPAPR_TCE_GET_INFO: int
    VFIO_IOMMU_SPAPR_REGISTER_MEMORY: int
    VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY: int
    VFIO_IOMMU_SPAPR_TCE_CREATE: int
    VFIO_IOMMU_SPAPR_TCE_REMOVE: int
    VFIO_EEH_PE_OP: int
    IOMMU_DESTROY: int
    IOMMU_IOAS_ALLOC: int
    IOMMU_IOAS_ALLOW_IOVAS: int
    IOMMU_IOAS_COPY: int
    IOMMU_IOAS_IOVA_RANGES: int
    IOMMU_IOAS_MAP: int
    IOMMU_IOAS_UNMAP: int
    IOMMU_OPTION: int
    IOMMU_VFIO_IOAS: int
    IOMMU_HWPT_ALLOC: int
    IOMMU_GET_HW_INFO: int
    IOMMU_HWPT_SET_DIRTY_TRACKING: int
    IOMMU_HWPT_GET_DIRTY_BITMAP: int
    IOMMU_HWPT_INVALIDATE: int
    IOMMU_FAULT_QUEUE_ALLOC: int
    IOMMU_IOAS_MAP_FILE: int
    IOMMU_VIOMMU_ALLOC: int
    IOMMU_VDEVICE_ALLOC: int
    IOMMU_IOAS_CHANGE_PROCESS: int
    IOMMU_VEVENTQ_ALLOC: int
    IOMMU_HW_QUEUE_ALLOC: int
    IOMMU_IOAS_NOIOMMU_GET_PA: int
    VFIO_API_VERSION: int
    VFIO_TYPE1_IOMMU: int
    VFIO_SPAPR_TCE_IOMMU: int
    VFIO_TYPE1v2_IOMMU: int
    VFIO_DMA_CC_IOMMU: int
    VFIO_EEH: int
    VFIO_TYPE1_NESTING_IOMMU: int
    VFIO_SPAPR_TCE_v2_IOMMU: int
    VFIO_NOIOMMU_IOMMU: int
    VFIO_UNMAP_ALL: int
    VFIO_UPDATE_VADDR: int
    VFIO_GROUP_FLAGS_VIABLE: int
    VFIO_GROUP_FLAGS_CONTAINER_SET: int
    VFIO_DEVICE_FLAGS_RESET: int
    VFIO_DEVICE_FLAGS_PCI: int
    VFIO_DEVICE_FLAGS_PLATFORM: int
    VFIO_DEVICE_FLAGS_AMBA: int
    VFIO_DEVICE_FLAGS_CCW: int
    VFIO_DEVICE_FLAGS_AP: int
    VFIO_DEVICE_FLAGS_FSL_MC: int
    VFIO_DEVICE_FLAGS_CAPS: int
    VFIO_DEVICE_FLAGS_CDX: int
    VFIO_DEVICE_INFO_CAP_ZPCI_BASE: int
    VFIO_DEVICE_INFO_CAP_ZPCI_GROUP: int
    VFIO_DEVICE_INFO_CAP_ZPCI_UTIL: int
    VFIO_DEVICE_INFO_CAP_ZPCI_PFIP: int
    VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP: int
    VFIO_PCI_ATOMIC_COMP32: int
    VFIO_PCI_ATOMIC_COMP64: int
    VFIO_PCI_ATOMIC_COMP128: int
    VFIO_REGION_INFO_FLAG_READ: int
    VFIO_REGION_INFO_FLAG_WRITE: int
    VFIO_REGION_INFO_FLAG_MMAP: int
    VFIO_REGION_INFO_FLAG_CAPS: int
    VFIO_REGION_INFO_CAP_SPARSE_MMAP: int
    VFIO_REGION_INFO_CAP_TYPE: int
    VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: int
    VFIO_REGION_INFO_CAP_NVLINK2_SSATGT: int
    VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD: int
    VFIO_REGION_TYPE_PCI_VENDOR_TYPE: int
    VFIO_REGION_TYPE_PCI_VENDOR_MASK: int
    VFIO_REGION_TYPE_GFX: int
    VFIO_REGION_TYPE_CCW: int
    VFIO_REGION_TYPE_MIGRATION_DEPRECATED: int
    VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION: int
    VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG: int
    VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG: int
    VFIO_REGION_SUBTYPE_NVIDIA_NVLINK2_RAM: int
    VFIO_REGION_SUBTYPE_IBM_NVLINK2_ATSD: int
    VFIO_REGION_SUBTYPE_GFX_EDID: int
    VFIO_REGION_SUBTYPE_CCW_ASYNC_CMD: int
    VFIO_REGION_SUBTYPE_CCW_SCHIB: int
    VFIO_REGION_SUBTYPE_CCW_CRW: int
    VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED: int
    VFIO_IRQ_INFO_EVENTFD: int
    VFIO_IRQ_INFO_MASKABLE: int
    VFIO_IRQ_INFO_AUTOMASKED: int
    VFIO_IRQ_INFO_NORESIZE: int
    VFIO_IRQ_SET_DATA_NONE: int
    VFIO_IRQ_SET_DATA_BOOL: int
    VFIO_IRQ_SET_DATA_EVENTFD: int
    VFIO_IRQ_SET_ACTION_MASK: int
    VFIO_IRQ_SET_ACTION_UNMASK: int
    VFIO_IRQ_SET_ACTION_TRIGGER: int
    VFIO_PCI_BAR0_REGION_INDEX: int
    VFIO_PCI_BAR1_REGION_INDEX: int
    VFIO_PCI_BAR2_REGION_INDEX: int
    VFIO_PCI_BAR3_REGION_INDEX: int
    VFIO_PCI_BAR4_REGION_INDEX: int
    VFIO_PCI_BAR5_REGION_INDEX: int
    VFIO_PCI_ROM_REGION_INDEX: int
    VFIO_PCI_CONFIG_REGION_INDEX: int
    VFIO_PCI_VGA_REGION_INDEX: int
    VFIO_PCI_NUM_REGIONS: int
    VFIO_PCI_INTX_IRQ_INDEX: int
    VFIO_PCI_MSI_IRQ_INDEX: int
    VFIO_PCI_MSIX_IRQ_INDEX: int
    VFIO_PCI_ERR_IRQ_INDEX: int
    VFIO_PCI_REQ_IRQ_INDEX: int
    VFIO_PCI_NUM_IRQS: int
    VFIO_PCI_HOT_RESET_FLAG_DEV_ID: int
    VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED: int
    VFIO_PCI_DEVID_OWNED: int
    VFIO_PCI_DEVID_NOT_OWNED: int
    VFIO_GFX_PLANE_TYPE_PROBE: int
    VFIO_GFX_PLANE_TYPE_DMABUF: int
    VFIO_GFX_PLANE_TYPE_REGION: int
    VFIO_DEVICE_IOEVENTFD_8: int
    VFIO_DEVICE_IOEVENTFD_16: int
    VFIO_DEVICE_IOEVENTFD_32: int
    VFIO_DEVICE_IOEVENTFD_64: int
    VFIO_DEVICE_FEATURE_MASK: int
    VFIO_DEVICE_FEATURE_GET: int
    VFIO_DEVICE_FEATURE_SET: int
    VFIO_DEVICE_FEATURE_PROBE: int
    VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: int
    VFIO_DEVICE_FEATURE_MIGRATION: int
    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: int
    VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: int
    VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: int
    VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: int
    VFIO_DEVICE_FEATURE_DMA_LOGGING_START: int
    VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP: int
    VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: int
    VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: int
    VFIO_DEVICE_FEATURE_BUS_MASTER: int
    VFIO_DEVICE_FEATURE_DMA_BUF: int
    VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: int
    VFIO_DEVICE_FEATURE_ZPCI_ERROR: int
    VFIO_MIGRATION_STOP_COPY: int
    VFIO_MIGRATION_P2P: int
    VFIO_MIGRATION_PRE_COPY: int
    VFIO_DEVICE_STATE_ERROR: int
    VFIO_DEVICE_STATE_STOP: int
    VFIO_DEVICE_STATE_RUNNING: int
    VFIO_DEVICE_STATE_STOP_COPY: int
    VFIO_DEVICE_STATE_RESUMING: int
    VFIO_DEVICE_STATE_RUNNING_P2P: int
    VFIO_DEVICE_STATE_PRE_COPY: int
    VFIO_DEVICE_STATE_PRE_COPY_P2P: int
    VFIO_DEVICE_FEATURE_CLEAR_MASTER: int
    VFIO_DEVICE_FEATURE_SET_MASTER: int
    VFIO_PRECOPY_INFO_REINIT: int
    VFIO_DEVICE_BIND_FLAG_TOKEN: int
    VFIO_DEVICE_ATTACH_PASID: int
    VFIO_DEVICE_DETACH_PASID: int
    VFIO_IOMMU_INFO_PGSIZES: int
    VFIO_IOMMU_INFO_CAPS: int
    VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: int
    VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION: int
    VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL: int
    VFIO_DMA_MAP_FLAG_READ: int
    VFIO_DMA_MAP_FLAG_WRITE: int
    VFIO_DMA_MAP_FLAG_VADDR: int
    VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP: int
    VFIO_DMA_UNMAP_FLAG_ALL: int
    VFIO_DMA_UNMAP_FLAG_VADDR: int
    VFIO_IOMMU_DIRTY_PAGES_FLAG_START: int
    VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP: int
    VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP: int
    VFIO_IOMMU_SPAPR_INFO_DDW: int
    VFIO_EEH_PE_DISABLE: int
    VFIO_EEH_PE_ENABLE: int
    VFIO_EEH_PE_UNFREEZE_IO: int
    VFIO_EEH_PE_UNFREEZE_DMA: int
    VFIO_EEH_PE_GET_STATE: int
    VFIO_EEH_PE_RESET_DEACTIVATE: int
    VFIO_EEH_PE_RESET_HOT: int
    VFIO_EEH_PE_RESET_FUNDAMENTAL: int
    VFIO_EEH_PE_CONFIGURE: int
    VFIO_EEH_PE_INJECT_ERR: int
    VFIO_EEH_PE_STATE_NORMAL: int
    VFIO_EEH_PE_STATE_RESET: int
    VFIO_EEH_PE_STATE_STOPPED: int
    VFIO_EEH_PE_STATE_STOPPED_DMA: int
    VFIO_EEH_PE_STATE_UNAVAIL: int
    IOMMU_IOAS_MAP_FIXED_IOVA: int
    IOMMU_IOAS_MAP_WRITEABLE: int
    IOMMU_IOAS_MAP_READABLE: int
    IOMMU_OPTION_RLIMIT_MODE: int
    IOMMU_OPTION_HUGE_PAGES: int
    IOMMU_OPTION_OP_SET: int
    IOMMU_OPTION_OP_GET: int
    IOMMU_VFIO_IOAS_GET: int
    IOMMU_VFIO_IOAS_SET: int
    IOMMU_VFIO_IOAS_CLEAR: int
    IOMMU_HWPT_ALLOC_NEST_PARENT: int
    IOMMU_HWPT_ALLOC_DIRTY_TRACKING: int
    IOMMU_HWPT_FAULT_ID_VALID: int
    IOMMU_HWPT_ALLOC_PASID: int
    IOMMU_HWPT_DATA_NONE: int
    IOMMU_HWPT_DATA_VTD_S1: int
    IOMMU_HWPT_DATA_ARM_SMMUV3: int
    IOMMU_HWPT_DATA_AMD_GUEST: int
    IOMMU_VTD_S1_SRE: int
    IOMMU_VTD_S1_EAFE: int
    IOMMU_VTD_S1_WPE: int
    IOMMU_HW_INFO_TYPE_NONE: int
    IOMMU_HW_INFO_TYPE_INTEL_VTD: int
    IOMMU_HW_INFO_TYPE_ARM_SMMUV3: int
    IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV: int
    IOMMU_HW_INFO_TYPE_AMD: int
    IOMMU_HW_CAP_DIRTY_TRACKING: int
    IOMMU_HW_CAP_PCI_PASID_EXEC: int
    IOMMU_HW_CAP_PCI_PASID_PRIV: int
    IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED: int
    IOMMU_HW_INFO_FLAG_INPUT_TYPE: int
    IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17: int
    IOMMU_HWPT_DIRTY_TRACKING_ENABLE: int
    IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR: int
    IOMMU_HWPT_INVALIDATE_DATA_VTD_S1: int
    IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3: int
    IOMMU_VTD_INV_FLAGS_LEAF: int
    IOMMU_PGFAULT_FLAGS_PASID_VALID: int
    IOMMU_PGFAULT_FLAGS_LAST_PAGE: int
    IOMMU_PGFAULT_PERM_READ: int
    IOMMU_PGFAULT_PERM_WRITE: int
    IOMMU_PGFAULT_PERM_EXEC: int
    IOMMU_PGFAULT_PERM_PRIV: int
    IOMMUFD_PAGE_RESP_SUCCESS: int
    IOMMUFD_PAGE_RESP_INVALID: int
    IOMMU_VIOMMU_TYPE_DEFAULT: int
    IOMMU_VIOMMU_TYPE_ARM_SMMUV3: int
    IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV: int
    IOMMU_VEVENTQ_TYPE_DEFAULT: int
    IOMMU_VEVENTQ_TYPE_ARM_SMMUV3: int
    IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV: int
    IOMMU_VEVENTQ_FLAG_LOST_EVENTS: int
    IOMMU_HW_QUEUE_TYPE_DEFAULT: int
    IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV: int

ffi: _FFI
lib: _Lib

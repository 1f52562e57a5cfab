/*
 * The kernel's interface to VFIO and iommufd as of Linux 7.3, whatever headers this machine has.
 *
 * The installed headers are not included: Debian 12's know neither iommufd nor the character device of a VFIO device,
 * structures have grown since (bind, attach, page table), and no preprocessor can ask for an enumerator or a
 * member. tests/native/test_abi.py holds every line against the headers that there are.
 */
#ifndef VFIOKIT_UAPI_COMPAT_H
#define VFIOKIT_UAPI_COMPAT_H

#include <stdint.h>
#include <sys/ioctl.h>

/* Requests carry no size and no direction: a structure says its size in its first word. */
#define VFIOKIT_REQUEST(number) _IO(';', number)

/* VFIO: requests. One number means different calls on different kinds of descriptor. */
#define VFIO_GET_API_VERSION VFIOKIT_REQUEST(100)
#define VFIO_CHECK_EXTENSION VFIOKIT_REQUEST(101)
#define VFIO_SET_IOMMU VFIOKIT_REQUEST(102)
#define VFIO_GROUP_GET_STATUS VFIOKIT_REQUEST(103)
#define VFIO_GROUP_SET_CONTAINER VFIOKIT_REQUEST(104)
#define VFIO_GROUP_UNSET_CONTAINER VFIOKIT_REQUEST(105)
#define VFIO_GROUP_GET_DEVICE_FD VFIOKIT_REQUEST(106)
#define VFIO_DEVICE_GET_INFO VFIOKIT_REQUEST(107)
#define VFIO_DEVICE_GET_REGION_INFO VFIOKIT_REQUEST(108)
#define VFIO_DEVICE_GET_IRQ_INFO VFIOKIT_REQUEST(109)
#define VFIO_DEVICE_SET_IRQS VFIOKIT_REQUEST(110)
#define VFIO_DEVICE_RESET VFIOKIT_REQUEST(111)
#define VFIO_DEVICE_GET_PCI_HOT_RESET_INFO VFIOKIT_REQUEST(112)
#define VFIO_DEVICE_PCI_HOT_RESET VFIOKIT_REQUEST(113)
#define VFIO_DEVICE_QUERY_GFX_PLANE VFIOKIT_REQUEST(114)
#define VFIO_DEVICE_GET_GFX_DMABUF VFIOKIT_REQUEST(115)
#define VFIO_DEVICE_IOEVENTFD VFIOKIT_REQUEST(116)
#define VFIO_DEVICE_FEATURE VFIOKIT_REQUEST(117)
#define VFIO_DEVICE_BIND_IOMMUFD VFIOKIT_REQUEST(118)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT VFIOKIT_REQUEST(119)
#define VFIO_DEVICE_DETACH_IOMMUFD_PT VFIOKIT_REQUEST(120)
#define VFIO_MIG_GET_PRECOPY_INFO VFIOKIT_REQUEST(121)
#define VFIO_IOMMU_GET_INFO VFIOKIT_REQUEST(112)
#define VFIO_IOMMU_MAP_DMA VFIOKIT_REQUEST(113)
#define VFIO_IOMMU_UNMAP_DMA VFIOKIT_REQUEST(114)
#define VFIO_IOMMU_ENABLE VFIOKIT_REQUEST(115)
#define VFIO_IOMMU_DISABLE VFIOKIT_REQUEST(116)
#define VFIO_IOMMU_DIRTY_PAGES VFIOKIT_REQUEST(117)
#define VFIO_IOMMU_SPAPR_TCE_GET_INFO VFIOKIT_REQUEST(112)
#define VFIO_IOMMU_SPAPR_REGISTER_MEMORY VFIOKIT_REQUEST(117)
#define VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY VFIOKIT_REQUEST(118)
#define VFIO_IOMMU_SPAPR_TCE_CREATE VFIOKIT_REQUEST(119)
#define VFIO_IOMMU_SPAPR_TCE_REMOVE VFIOKIT_REQUEST(120)
#define VFIO_EEH_PE_OP VFIOKIT_REQUEST(121)

/* Extensions and IOMMU types of a container */
#define VFIO_API_VERSION 0
#define VFIO_TYPE1_IOMMU 1
#define VFIO_SPAPR_TCE_IOMMU 2
#define VFIO_TYPE1v2_IOMMU 3
#define VFIO_DMA_CC_IOMMU 4
#define VFIO_EEH 5
#define VFIO_TYPE1_NESTING_IOMMU 6
#define VFIO_SPAPR_TCE_v2_IOMMU 7
#define VFIO_NOIOMMU_IOMMU 8
#define VFIO_UNMAP_ALL 9
#define VFIO_UPDATE_VADDR 10

/* vfio_group_status.flags */
#define VFIO_GROUP_FLAGS_VIABLE (1u << 0)
#define VFIO_GROUP_FLAGS_CONTAINER_SET (1u << 1)

/* vfio_device_info.flags */
#define VFIO_DEVICE_FLAGS_RESET (1u << 0)
#define VFIO_DEVICE_FLAGS_PCI (1u << 1)
#define VFIO_DEVICE_FLAGS_PLATFORM (1u << 2)
#define VFIO_DEVICE_FLAGS_AMBA (1u << 3)
#define VFIO_DEVICE_FLAGS_CCW (1u << 4)
#define VFIO_DEVICE_FLAGS_AP (1u << 5)
#define VFIO_DEVICE_FLAGS_FSL_MC (1u << 6)
#define VFIO_DEVICE_FLAGS_CAPS (1u << 7)
#define VFIO_DEVICE_FLAGS_CDX (1u << 8)

/* Capabilities of vfio_device_info */
#define VFIO_DEVICE_INFO_CAP_ZPCI_BASE 1
#define VFIO_DEVICE_INFO_CAP_ZPCI_GROUP 2
#define VFIO_DEVICE_INFO_CAP_ZPCI_UTIL 3
#define VFIO_DEVICE_INFO_CAP_ZPCI_PFIP 4
#define VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP 5
#define VFIO_PCI_ATOMIC_COMP32 (1u << 0)
#define VFIO_PCI_ATOMIC_COMP64 (1u << 1)
#define VFIO_PCI_ATOMIC_COMP128 (1u << 2)

/* vfio_region_info.flags and capabilities */
#define VFIO_REGION_INFO_FLAG_READ (1u << 0)
#define VFIO_REGION_INFO_FLAG_WRITE (1u << 1)
#define VFIO_REGION_INFO_FLAG_MMAP (1u << 2)
#define VFIO_REGION_INFO_FLAG_CAPS (1u << 3)
#define VFIO_REGION_INFO_CAP_SPARSE_MMAP 1
#define VFIO_REGION_INFO_CAP_TYPE 2
#define VFIO_REGION_INFO_CAP_MSIX_MAPPABLE 3
#define VFIO_REGION_INFO_CAP_NVLINK2_SSATGT 4
#define VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD 5

/* Types and subtypes of device-specific regions */
#define VFIO_REGION_TYPE_PCI_VENDOR_TYPE (1u << 31)
#define VFIO_REGION_TYPE_PCI_VENDOR_MASK 0xffffu
#define VFIO_REGION_TYPE_GFX 1
#define VFIO_REGION_TYPE_CCW 2
#define VFIO_REGION_TYPE_MIGRATION_DEPRECATED 3
#define VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION 1
#define VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG 2
#define VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG 3
#define VFIO_REGION_SUBTYPE_NVIDIA_NVLINK2_RAM 1
#define VFIO_REGION_SUBTYPE_IBM_NVLINK2_ATSD 1
#define VFIO_REGION_SUBTYPE_GFX_EDID 1
#define VFIO_REGION_SUBTYPE_CCW_ASYNC_CMD 1
#define VFIO_REGION_SUBTYPE_CCW_SCHIB 2
#define VFIO_REGION_SUBTYPE_CCW_CRW 3
#define VFIO_REGION_SUBTYPE_MIGRATION_DEPRECATED 1

/* vfio_irq_info.flags and vfio_irq_set.flags */
#define VFIO_IRQ_INFO_EVENTFD (1u << 0)
#define VFIO_IRQ_INFO_MASKABLE (1u << 1)
#define VFIO_IRQ_INFO_AUTOMASKED (1u << 2)
#define VFIO_IRQ_INFO_NORESIZE (1u << 3)
#define VFIO_IRQ_SET_DATA_NONE (1u << 0)
#define VFIO_IRQ_SET_DATA_BOOL (1u << 1)
#define VFIO_IRQ_SET_DATA_EVENTFD (1u << 2)
#define VFIO_IRQ_SET_ACTION_MASK (1u << 3)
#define VFIO_IRQ_SET_ACTION_UNMASK (1u << 4)
#define VFIO_IRQ_SET_ACTION_TRIGGER (1u << 5)

/* Fixed indexes of vfio-pci */
#define VFIO_PCI_BAR0_REGION_INDEX 0
#define VFIO_PCI_BAR1_REGION_INDEX 1
#define VFIO_PCI_BAR2_REGION_INDEX 2
#define VFIO_PCI_BAR3_REGION_INDEX 3
#define VFIO_PCI_BAR4_REGION_INDEX 4
#define VFIO_PCI_BAR5_REGION_INDEX 5
#define VFIO_PCI_ROM_REGION_INDEX 6
#define VFIO_PCI_CONFIG_REGION_INDEX 7
#define VFIO_PCI_VGA_REGION_INDEX 8
#define VFIO_PCI_NUM_REGIONS 9
#define VFIO_PCI_INTX_IRQ_INDEX 0
#define VFIO_PCI_MSI_IRQ_INDEX 1
#define VFIO_PCI_MSIX_IRQ_INDEX 2
#define VFIO_PCI_ERR_IRQ_INDEX 3
#define VFIO_PCI_REQ_IRQ_INDEX 4
#define VFIO_PCI_NUM_IRQS 5

/* vfio_pci_hot_reset_info.flags */
#define VFIO_PCI_HOT_RESET_FLAG_DEV_ID (1u << 0)
#define VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED (1u << 1)
#define VFIO_PCI_DEVID_OWNED 0
#define VFIO_PCI_DEVID_NOT_OWNED (-1)

/* vfio_device_gfx_plane_info.flags */
#define VFIO_GFX_PLANE_TYPE_PROBE (1u << 0)
#define VFIO_GFX_PLANE_TYPE_DMABUF (1u << 1)
#define VFIO_GFX_PLANE_TYPE_REGION (1u << 2)

/* vfio_device_ioeventfd.flags */
#define VFIO_DEVICE_IOEVENTFD_8 (1u << 0)
#define VFIO_DEVICE_IOEVENTFD_16 (1u << 1)
#define VFIO_DEVICE_IOEVENTFD_32 (1u << 2)
#define VFIO_DEVICE_IOEVENTFD_64 (1u << 3)

/* vfio_device_feature.flags */
#define VFIO_DEVICE_FEATURE_MASK 0xffffu
#define VFIO_DEVICE_FEATURE_GET (1u << 16)
#define VFIO_DEVICE_FEATURE_SET (1u << 17)
#define VFIO_DEVICE_FEATURE_PROBE (1u << 18)

/* Device features */
#define VFIO_DEVICE_FEATURE_PCI_VF_TOKEN 0
#define VFIO_DEVICE_FEATURE_MIGRATION 1
#define VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE 2
#define VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY 3
#define VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP 4
#define VFIO_DEVICE_FEATURE_LOW_POWER_EXIT 5
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_START 6
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP 7
#define VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT 8
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9
#define VFIO_DEVICE_FEATURE_BUS_MASTER 10
#define VFIO_DEVICE_FEATURE_DMA_BUF 11
#define VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 12
#define VFIO_DEVICE_FEATURE_ZPCI_ERROR 13

/* Migration */
#define VFIO_MIGRATION_STOP_COPY (1u << 0)
#define VFIO_MIGRATION_P2P (1u << 1)
#define VFIO_MIGRATION_PRE_COPY (1u << 2)
#define VFIO_DEVICE_STATE_ERROR 0
#define VFIO_DEVICE_STATE_STOP 1
#define VFIO_DEVICE_STATE_RUNNING 2
#define VFIO_DEVICE_STATE_STOP_COPY 3
#define VFIO_DEVICE_STATE_RESUMING 4
#define VFIO_DEVICE_STATE_RUNNING_P2P 5
#define VFIO_DEVICE_STATE_PRE_COPY 6
#define VFIO_DEVICE_STATE_PRE_COPY_P2P 7
#define VFIO_DEVICE_FEATURE_CLEAR_MASTER 0
#define VFIO_DEVICE_FEATURE_SET_MASTER 1
#define VFIO_PRECOPY_INFO_REINIT (1u << 0)

/* vfio_device_bind_iommufd.flags and vfio_device_attach_iommufd_pt.flags */
#define VFIO_DEVICE_BIND_FLAG_TOKEN (1u << 0)
#define VFIO_DEVICE_ATTACH_PASID (1u << 0)
#define VFIO_DEVICE_DETACH_PASID (1u << 0)

/* vfio_iommu_type1_info.flags and capabilities */
#define VFIO_IOMMU_INFO_PGSIZES (1u << 0)
#define VFIO_IOMMU_INFO_CAPS (1u << 1)
#define VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE 1
#define VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION 2
#define VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL 3

/* Flags of type1 map, unmap and dirty tracking */
#define VFIO_DMA_MAP_FLAG_READ (1u << 0)
#define VFIO_DMA_MAP_FLAG_WRITE (1u << 1)
#define VFIO_DMA_MAP_FLAG_VADDR (1u << 2)
#define VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP (1u << 0)
#define VFIO_DMA_UNMAP_FLAG_ALL (1u << 1)
#define VFIO_DMA_UNMAP_FLAG_VADDR (1u << 2)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_START (1u << 0)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP (1u << 1)
#define VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP (1u << 2)

/* POWER */
#define VFIO_IOMMU_SPAPR_INFO_DDW (1u << 0)
#define VFIO_EEH_PE_DISABLE 0
#define VFIO_EEH_PE_ENABLE 1
#define VFIO_EEH_PE_UNFREEZE_IO 2
#define VFIO_EEH_PE_UNFREEZE_DMA 3
#define VFIO_EEH_PE_GET_STATE 4
#define VFIO_EEH_PE_RESET_DEACTIVATE 5
#define VFIO_EEH_PE_RESET_HOT 6
#define VFIO_EEH_PE_RESET_FUNDAMENTAL 7
#define VFIO_EEH_PE_CONFIGURE 8
#define VFIO_EEH_PE_INJECT_ERR 9
#define VFIO_EEH_PE_STATE_NORMAL 0
#define VFIO_EEH_PE_STATE_RESET 1
#define VFIO_EEH_PE_STATE_STOPPED 2
#define VFIO_EEH_PE_STATE_STOPPED_DMA 4
#define VFIO_EEH_PE_STATE_UNAVAIL 5

struct vfio_info_cap_header {
	uint16_t id;
	uint16_t version;
	uint32_t next;
};
_Static_assert(sizeof(struct vfio_info_cap_header) == 8, "vfio_info_cap_header");

struct vfio_group_status {
	uint32_t argsz;
	uint32_t flags;
};
_Static_assert(sizeof(struct vfio_group_status) == 8, "vfio_group_status");

struct vfio_device_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
	uint32_t cap_offset;
	uint32_t pad;
};
_Static_assert(sizeof(struct vfio_device_info) == 24, "vfio_device_info");

struct vfio_device_info_cap_pci_atomic_comp {
	struct vfio_info_cap_header header;
	uint32_t flags;
	uint32_t reserved;
};
_Static_assert(sizeof(struct vfio_device_info_cap_pci_atomic_comp) == 16, "vfio_device_info_cap_pci_atomic_comp");

struct vfio_region_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t cap_offset;
	uint64_t size;
	uint64_t offset;
};
_Static_assert(sizeof(struct vfio_region_info) == 32, "vfio_region_info");

struct vfio_region_sparse_mmap_area {
	uint64_t offset;
	uint64_t size;
};
_Static_assert(sizeof(struct vfio_region_sparse_mmap_area) == 16, "vfio_region_sparse_mmap_area");

struct vfio_region_info_cap_sparse_mmap {
	struct vfio_info_cap_header header;
	uint32_t nr_areas;
	uint32_t reserved;
	struct vfio_region_sparse_mmap_area areas[];
};
_Static_assert(sizeof(struct vfio_region_info_cap_sparse_mmap) == 16, "vfio_region_info_cap_sparse_mmap");

struct vfio_region_info_cap_type {
	struct vfio_info_cap_header header;
	uint32_t type;
	uint32_t subtype;
};
_Static_assert(sizeof(struct vfio_region_info_cap_type) == 16, "vfio_region_info_cap_type");

struct vfio_irq_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};
_Static_assert(sizeof(struct vfio_irq_info) == 16, "vfio_irq_info");

struct vfio_irq_set {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t start;
	uint32_t count;
	uint8_t data[];
};
_Static_assert(sizeof(struct vfio_irq_set) == 20, "vfio_irq_set");

struct vfio_pci_dependent_device {
	uint32_t group_id;
	uint16_t segment;
	uint8_t bus;
	uint8_t devfn;
};
_Static_assert(sizeof(struct vfio_pci_dependent_device) == 8, "vfio_pci_dependent_device");

struct vfio_pci_hot_reset_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t count;
	struct vfio_pci_dependent_device devices[];
};
_Static_assert(sizeof(struct vfio_pci_hot_reset_info) == 12, "vfio_pci_hot_reset_info");

struct vfio_pci_hot_reset {
	uint32_t argsz;
	uint32_t flags;
	uint32_t count;
	int32_t group_fds[];
};
_Static_assert(sizeof(struct vfio_pci_hot_reset) == 12, "vfio_pci_hot_reset");

struct vfio_device_gfx_plane_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t drm_plane_type;
	uint32_t drm_format;
	uint64_t drm_format_mod;
	uint32_t width;
	uint32_t height;
	uint32_t stride;
	uint32_t size;
	uint32_t x_pos;
	uint32_t y_pos;
	uint32_t x_hot;
	uint32_t y_hot;
	uint32_t region_index;
	uint32_t reserved;
};
_Static_assert(sizeof(struct vfio_device_gfx_plane_info) == 64, "vfio_device_gfx_plane_info");

struct vfio_device_ioeventfd {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset;
	uint64_t data;
	int32_t fd;
	uint32_t reserved;
};
_Static_assert(sizeof(struct vfio_device_ioeventfd) == 32, "vfio_device_ioeventfd");

struct vfio_device_feature {
	uint32_t argsz;
	uint32_t flags;
	uint8_t data[];
};
_Static_assert(sizeof(struct vfio_device_feature) == 8, "vfio_device_feature");

struct vfio_device_bind_iommufd {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
	uint64_t token_uuid_ptr;
};
_Static_assert(sizeof(struct vfio_device_bind_iommufd) == 24, "vfio_device_bind_iommufd");

struct vfio_device_attach_iommufd_pt {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pt_id;
	uint32_t pasid;
};
_Static_assert(sizeof(struct vfio_device_attach_iommufd_pt) == 16, "vfio_device_attach_iommufd_pt");

struct vfio_device_detach_iommufd_pt {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pasid;
};
_Static_assert(sizeof(struct vfio_device_detach_iommufd_pt) == 12, "vfio_device_detach_iommufd_pt");

struct vfio_device_feature_migration {
	uint64_t flags;
};
_Static_assert(sizeof(struct vfio_device_feature_migration) == 8, "vfio_device_feature_migration");

struct vfio_device_feature_mig_state {
	uint32_t device_state;
	int32_t data_fd;
};
_Static_assert(sizeof(struct vfio_device_feature_mig_state) == 8, "vfio_device_feature_mig_state");

struct vfio_precopy_info {
	uint32_t argsz;
	uint32_t flags;
	uint64_t initial_bytes;
	uint64_t dirty_bytes;
};
_Static_assert(sizeof(struct vfio_precopy_info) == 24, "vfio_precopy_info");

struct vfio_device_low_power_entry_with_wakeup {
	int32_t wakeup_eventfd;
	uint32_t reserved;
};
_Static_assert(sizeof(struct vfio_device_low_power_entry_with_wakeup) == 8, "vfio_device_low_power_entry_with_wakeup");

struct vfio_device_feature_dma_logging_control {
	uint64_t page_size;
	uint32_t num_ranges;
	uint32_t __reserved;
	uint64_t ranges;
};
_Static_assert(sizeof(struct vfio_device_feature_dma_logging_control) == 24, "vfio_device_feature_dma_logging_control");

struct vfio_device_feature_dma_logging_range {
	uint64_t iova;
	uint64_t length;
};
_Static_assert(sizeof(struct vfio_device_feature_dma_logging_range) == 16, "vfio_device_feature_dma_logging_range");

struct vfio_device_feature_dma_logging_report {
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	uint64_t bitmap;
};
_Static_assert(sizeof(struct vfio_device_feature_dma_logging_report) == 32, "vfio_device_feature_dma_logging_report");

struct vfio_device_feature_mig_data_size {
	uint64_t stop_copy_length;
};
_Static_assert(sizeof(struct vfio_device_feature_mig_data_size) == 8, "vfio_device_feature_mig_data_size");

struct vfio_device_feature_bus_master {
	uint32_t op;
};
_Static_assert(sizeof(struct vfio_device_feature_bus_master) == 4, "vfio_device_feature_bus_master");

struct vfio_region_dma_range {
	uint64_t offset;
	uint64_t length;
};
_Static_assert(sizeof(struct vfio_region_dma_range) == 16, "vfio_region_dma_range");

struct vfio_device_feature_dma_buf {
	uint32_t region_index;
	uint32_t open_flags;
	uint32_t flags;
	uint32_t nr_ranges;
	struct vfio_region_dma_range dma_ranges[];
};
_Static_assert(sizeof(struct vfio_device_feature_dma_buf) == 16, "vfio_device_feature_dma_buf");

struct vfio_device_feature_zpci_err {
	uint64_t data;
};
_Static_assert(sizeof(struct vfio_device_feature_zpci_err) == 8, "vfio_device_feature_zpci_err");

struct vfio_iommu_type1_info {
	uint32_t argsz;
	uint32_t flags;
	uint64_t iova_pgsizes;
	uint32_t cap_offset;
	uint32_t pad;
};
_Static_assert(sizeof(struct vfio_iommu_type1_info) == 24, "vfio_iommu_type1_info");

struct vfio_iova_range {
	uint64_t start;
	uint64_t end;
};
_Static_assert(sizeof(struct vfio_iova_range) == 16, "vfio_iova_range");

struct vfio_iommu_type1_info_cap_iova_range {
	struct vfio_info_cap_header header;
	uint32_t nr_iovas;
	uint32_t reserved;
	struct vfio_iova_range iova_ranges[];
};
_Static_assert(sizeof(struct vfio_iommu_type1_info_cap_iova_range) == 16, "vfio_iommu_type1_info_cap_iova_range");

struct vfio_iommu_type1_info_cap_migration {
	struct vfio_info_cap_header header;
	uint32_t flags;
	uint64_t pgsize_bitmap;
	uint64_t max_dirty_bitmap_size;
};
_Static_assert(sizeof(struct vfio_iommu_type1_info_cap_migration) == 32, "vfio_iommu_type1_info_cap_migration");

struct vfio_iommu_type1_info_dma_avail {
	struct vfio_info_cap_header header;
	uint32_t avail;
};
_Static_assert(sizeof(struct vfio_iommu_type1_info_dma_avail) == 12, "vfio_iommu_type1_info_dma_avail");

struct vfio_iommu_type1_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t vaddr;
	uint64_t iova;
	uint64_t size;
};
_Static_assert(sizeof(struct vfio_iommu_type1_dma_map) == 32, "vfio_iommu_type1_dma_map");

struct vfio_bitmap {
	uint64_t pgsize;
	uint64_t size;
	uint64_t data;
};
_Static_assert(sizeof(struct vfio_bitmap) == 24, "vfio_bitmap");

struct vfio_iommu_type1_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t iova;
	uint64_t size;
	uint8_t data[];
};
_Static_assert(sizeof(struct vfio_iommu_type1_dma_unmap) == 24, "vfio_iommu_type1_dma_unmap");

struct vfio_iommu_type1_dirty_bitmap {
	uint32_t argsz;
	uint32_t flags;
	uint8_t data[];
};
_Static_assert(sizeof(struct vfio_iommu_type1_dirty_bitmap) == 8, "vfio_iommu_type1_dirty_bitmap");

struct vfio_iommu_type1_dirty_bitmap_get {
	uint64_t iova;
	uint64_t size;
	struct vfio_bitmap bitmap;
};
_Static_assert(sizeof(struct vfio_iommu_type1_dirty_bitmap_get) == 40, "vfio_iommu_type1_dirty_bitmap_get");

struct vfio_iommu_spapr_tce_ddw_info {
	uint64_t pgsizes;
	uint32_t max_dynamic_windows_supported;
	uint32_t levels;
};
_Static_assert(sizeof(struct vfio_iommu_spapr_tce_ddw_info) == 16, "vfio_iommu_spapr_tce_ddw_info");

struct vfio_iommu_spapr_tce_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t dma32_window_start;
	uint32_t dma32_window_size;
	struct vfio_iommu_spapr_tce_ddw_info ddw;
};
_Static_assert(sizeof(struct vfio_iommu_spapr_tce_info) == 32, "vfio_iommu_spapr_tce_info");

struct vfio_iommu_spapr_register_memory {
	uint32_t argsz;
	uint32_t flags;
	uint64_t vaddr;
	uint64_t size;
};
_Static_assert(sizeof(struct vfio_iommu_spapr_register_memory) == 24, "vfio_iommu_spapr_register_memory");

struct vfio_iommu_spapr_tce_create {
	uint32_t argsz;
	uint32_t flags;
	uint32_t page_shift;
	uint32_t __resv1;
	uint64_t window_size;
	uint32_t levels;
	uint32_t __resv2;
	uint64_t start_addr;
};
_Static_assert(sizeof(struct vfio_iommu_spapr_tce_create) == 40, "vfio_iommu_spapr_tce_create");

struct vfio_iommu_spapr_tce_remove {
	uint32_t argsz;
	uint32_t flags;
	uint64_t start_addr;
};
_Static_assert(sizeof(struct vfio_iommu_spapr_tce_remove) == 16, "vfio_iommu_spapr_tce_remove");

struct vfio_eeh_pe_err {
	uint32_t type;
	uint32_t func;
	uint64_t addr;
	uint64_t mask;
};
_Static_assert(sizeof(struct vfio_eeh_pe_err) == 24, "vfio_eeh_pe_err");

struct vfio_eeh_pe_op {
	uint32_t argsz;
	uint32_t flags;
	uint32_t op;
	struct vfio_eeh_pe_err err;
};
_Static_assert(sizeof(struct vfio_eeh_pe_op) == 40, "vfio_eeh_pe_op");

/* iommufd: requests */
#define IOMMU_DESTROY VFIOKIT_REQUEST(0x80)
#define IOMMU_IOAS_ALLOC VFIOKIT_REQUEST(0x81)
#define IOMMU_IOAS_ALLOW_IOVAS VFIOKIT_REQUEST(0x82)
#define IOMMU_IOAS_COPY VFIOKIT_REQUEST(0x83)
#define IOMMU_IOAS_IOVA_RANGES VFIOKIT_REQUEST(0x84)
#define IOMMU_IOAS_MAP VFIOKIT_REQUEST(0x85)
#define IOMMU_IOAS_UNMAP VFIOKIT_REQUEST(0x86)
#define IOMMU_OPTION VFIOKIT_REQUEST(0x87)
#define IOMMU_VFIO_IOAS VFIOKIT_REQUEST(0x88)
#define IOMMU_HWPT_ALLOC VFIOKIT_REQUEST(0x89)
#define IOMMU_GET_HW_INFO VFIOKIT_REQUEST(0x8a)
#define IOMMU_HWPT_SET_DIRTY_TRACKING VFIOKIT_REQUEST(0x8b)
#define IOMMU_HWPT_GET_DIRTY_BITMAP VFIOKIT_REQUEST(0x8c)
#define IOMMU_HWPT_INVALIDATE VFIOKIT_REQUEST(0x8d)
#define IOMMU_FAULT_QUEUE_ALLOC VFIOKIT_REQUEST(0x8e)
#define IOMMU_IOAS_MAP_FILE VFIOKIT_REQUEST(0x8f)
#define IOMMU_VIOMMU_ALLOC VFIOKIT_REQUEST(0x90)
#define IOMMU_VDEVICE_ALLOC VFIOKIT_REQUEST(0x91)
#define IOMMU_IOAS_CHANGE_PROCESS VFIOKIT_REQUEST(0x92)
#define IOMMU_VEVENTQ_ALLOC VFIOKIT_REQUEST(0x93)
#define IOMMU_HW_QUEUE_ALLOC VFIOKIT_REQUEST(0x94)
#define IOMMU_IOAS_NOIOMMU_GET_PA VFIOKIT_REQUEST(0x95)

/* iommu_ioas_map.flags */
#define IOMMU_IOAS_MAP_FIXED_IOVA (1u << 0)
#define IOMMU_IOAS_MAP_WRITEABLE (1u << 1)
#define IOMMU_IOAS_MAP_READABLE (1u << 2)

/* iommu_option */
#define IOMMU_OPTION_RLIMIT_MODE 0
#define IOMMU_OPTION_HUGE_PAGES 1
#define IOMMU_OPTION_OP_SET 0
#define IOMMU_OPTION_OP_GET 1
#define IOMMU_VFIO_IOAS_GET 0
#define IOMMU_VFIO_IOAS_SET 1
#define IOMMU_VFIO_IOAS_CLEAR 2

/* iommu_hwpt_alloc */
#define IOMMU_HWPT_ALLOC_NEST_PARENT (1u << 0)
#define IOMMU_HWPT_ALLOC_DIRTY_TRACKING (1u << 1)
#define IOMMU_HWPT_FAULT_ID_VALID (1u << 2)
#define IOMMU_HWPT_ALLOC_PASID (1u << 3)
#define IOMMU_HWPT_DATA_NONE 0
#define IOMMU_HWPT_DATA_VTD_S1 1
#define IOMMU_HWPT_DATA_ARM_SMMUV3 2
#define IOMMU_HWPT_DATA_AMD_GUEST 3
#define IOMMU_VTD_S1_SRE (1u << 0)
#define IOMMU_VTD_S1_EAFE (1u << 1)
#define IOMMU_VTD_S1_WPE (1u << 2)

/* iommu_hw_info */
#define IOMMU_HW_INFO_TYPE_NONE 0
#define IOMMU_HW_INFO_TYPE_INTEL_VTD 1
#define IOMMU_HW_INFO_TYPE_ARM_SMMUV3 2
#define IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV 3
#define IOMMU_HW_INFO_TYPE_AMD 4
#define IOMMU_HW_CAP_DIRTY_TRACKING (1u << 0)
#define IOMMU_HW_CAP_PCI_PASID_EXEC (1u << 1)
#define IOMMU_HW_CAP_PCI_PASID_PRIV (1u << 2)
#define IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED (1u << 3)
#define IOMMU_HW_INFO_FLAG_INPUT_TYPE (1u << 0)
#define IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 (1u << 0)

/* Dirty tracking */
#define IOMMU_HWPT_DIRTY_TRACKING_ENABLE 1
#define IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR 1

/* Invalidation */
#define IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 0
#define IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 1
#define IOMMU_VTD_INV_FLAGS_LEAF (1u << 0)

/* Page faults */
#define IOMMU_PGFAULT_FLAGS_PASID_VALID (1u << 0)
#define IOMMU_PGFAULT_FLAGS_LAST_PAGE (1u << 1)
#define IOMMU_PGFAULT_PERM_READ (1u << 0)
#define IOMMU_PGFAULT_PERM_WRITE (1u << 1)
#define IOMMU_PGFAULT_PERM_EXEC (1u << 2)
#define IOMMU_PGFAULT_PERM_PRIV (1u << 3)
#define IOMMUFD_PAGE_RESP_SUCCESS 0
#define IOMMUFD_PAGE_RESP_INVALID 1

/* Virtual IOMMUs */
#define IOMMU_VIOMMU_TYPE_DEFAULT 0
#define IOMMU_VIOMMU_TYPE_ARM_SMMUV3 1
#define IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV 2
#define IOMMU_VEVENTQ_TYPE_DEFAULT 0
#define IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 1
#define IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV 2
#define IOMMU_VEVENTQ_FLAG_LOST_EVENTS (1u << 0)
#define IOMMU_HW_QUEUE_TYPE_DEFAULT 0
#define IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV 1

struct iommu_destroy {
	uint32_t size;
	uint32_t id;
};
_Static_assert(sizeof(struct iommu_destroy) == 8, "iommu_destroy");

struct iommu_ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_ioas_id;
};
_Static_assert(sizeof(struct iommu_ioas_alloc) == 12, "iommu_ioas_alloc");

struct iommu_iova_range {
	uint64_t start;
	uint64_t last;
};
_Static_assert(sizeof(struct iommu_iova_range) == 16, "iommu_iova_range");

struct iommu_ioas_iova_ranges {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas;
	uint32_t __reserved;
	uint64_t allowed_iovas;
	uint64_t out_iova_alignment;
};
_Static_assert(sizeof(struct iommu_ioas_iova_ranges) == 32, "iommu_ioas_iova_ranges");

struct iommu_ioas_allow_iovas {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas;
	uint32_t __reserved;
	uint64_t allowed_iovas;
};
_Static_assert(sizeof(struct iommu_ioas_allow_iovas) == 24, "iommu_ioas_allow_iovas");

struct iommu_ioas_map {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	uint32_t __reserved;
	uint64_t user_va;
	uint64_t length;
	uint64_t iova;
};
_Static_assert(sizeof(struct iommu_ioas_map) == 40, "iommu_ioas_map");

struct iommu_ioas_map_file {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	int32_t fd;
	uint64_t start;
	uint64_t length;
	uint64_t iova;
};
_Static_assert(sizeof(struct iommu_ioas_map_file) == 40, "iommu_ioas_map_file");

struct iommu_ioas_copy {
	uint32_t size;
	uint32_t flags;
	uint32_t dst_ioas_id;
	uint32_t src_ioas_id;
	uint64_t length;
	uint64_t dst_iova;
	uint64_t src_iova;
};
_Static_assert(sizeof(struct iommu_ioas_copy) == 40, "iommu_ioas_copy");

struct iommu_ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	uint64_t iova;
	uint64_t length;
};
_Static_assert(sizeof(struct iommu_ioas_unmap) == 24, "iommu_ioas_unmap");

struct iommu_option {
	uint32_t size;
	uint32_t option_id;
	uint16_t op;
	uint16_t __reserved;
	uint32_t object_id;
	uint64_t val64;
};
_Static_assert(sizeof(struct iommu_option) == 24, "iommu_option");

struct iommu_vfio_ioas {
	uint32_t size;
	uint32_t ioas_id;
	uint16_t op;
	uint16_t __reserved;
};
_Static_assert(sizeof(struct iommu_vfio_ioas) == 12, "iommu_vfio_ioas");

struct iommu_hwpt_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t pt_id;
	uint32_t out_hwpt_id;
	uint32_t __reserved;
	uint32_t data_type;
	uint32_t data_len;
	uint64_t data_uptr;
	uint32_t fault_id;
	uint32_t __reserved2;
};
_Static_assert(sizeof(struct iommu_hwpt_alloc) == 48, "iommu_hwpt_alloc");

struct iommu_hwpt_vtd_s1 {
	uint64_t flags;
	uint64_t pgtbl_addr;
	uint32_t addr_width;
	uint32_t __reserved;
};
_Static_assert(sizeof(struct iommu_hwpt_vtd_s1) == 24, "iommu_hwpt_vtd_s1");

struct iommu_hwpt_arm_smmuv3 {
	uint64_t ste[2];
};
_Static_assert(sizeof(struct iommu_hwpt_arm_smmuv3) == 16, "iommu_hwpt_arm_smmuv3");

struct iommu_hwpt_amd_guest {
	uint64_t dte[4];
};
_Static_assert(sizeof(struct iommu_hwpt_amd_guest) == 32, "iommu_hwpt_amd_guest");

struct iommu_hw_info {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t data_len;
	uint64_t data_uptr;
	uint32_t out_data_type;
	uint8_t out_max_pasid_log2;
	uint8_t __reserved[3];
	uint64_t out_capabilities;
};
_Static_assert(sizeof(struct iommu_hw_info) == 40, "iommu_hw_info");

struct iommu_hw_info_vtd {
	uint32_t flags;
	uint32_t __reserved;
	uint64_t cap_reg;
	uint64_t ecap_reg;
};
_Static_assert(sizeof(struct iommu_hw_info_vtd) == 24, "iommu_hw_info_vtd");

struct iommu_hw_info_arm_smmuv3 {
	uint32_t flags;
	uint32_t __reserved;
	uint32_t idr[6];
	uint32_t iidr;
	uint32_t aidr;
};
_Static_assert(sizeof(struct iommu_hw_info_arm_smmuv3) == 40, "iommu_hw_info_arm_smmuv3");

struct iommu_hw_info_tegra241_cmdqv {
	uint32_t flags;
	uint8_t version;
	uint8_t log2vcmdqs;
	uint8_t log2vsids;
	uint8_t __reserved;
};
_Static_assert(sizeof(struct iommu_hw_info_tegra241_cmdqv) == 8, "iommu_hw_info_tegra241_cmdqv");

struct iommu_hw_info_amd {
	uint64_t efr;
	uint64_t efr2;
};
_Static_assert(sizeof(struct iommu_hw_info_amd) == 16, "iommu_hw_info_amd");

struct iommu_hwpt_set_dirty_tracking {
	uint32_t size;
	uint32_t flags;
	uint32_t hwpt_id;
	uint32_t __reserved;
};
_Static_assert(sizeof(struct iommu_hwpt_set_dirty_tracking) == 16, "iommu_hwpt_set_dirty_tracking");

struct iommu_hwpt_get_dirty_bitmap {
	uint32_t size;
	uint32_t hwpt_id;
	uint32_t flags;
	uint32_t __reserved;
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	uint64_t data;
};
_Static_assert(sizeof(struct iommu_hwpt_get_dirty_bitmap) == 48, "iommu_hwpt_get_dirty_bitmap");

struct iommu_hwpt_invalidate {
	uint32_t size;
	uint32_t hwpt_id;
	uint64_t data_uptr;
	uint32_t data_type;
	uint32_t entry_len;
	uint32_t entry_num;
	uint32_t __reserved;
};
_Static_assert(sizeof(struct iommu_hwpt_invalidate) == 32, "iommu_hwpt_invalidate");

struct iommu_hwpt_vtd_s1_invalidate {
	uint64_t addr;
	uint64_t npages;
	uint32_t flags;
	uint32_t __reserved;
};
_Static_assert(sizeof(struct iommu_hwpt_vtd_s1_invalidate) == 24, "iommu_hwpt_vtd_s1_invalidate");

struct iommu_viommu_arm_smmuv3_invalidate {
	uint64_t cmd[2];
};
_Static_assert(sizeof(struct iommu_viommu_arm_smmuv3_invalidate) == 16, "iommu_viommu_arm_smmuv3_invalidate");

struct iommu_fault_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_fault_id;
	uint32_t out_fault_fd;
};
_Static_assert(sizeof(struct iommu_fault_alloc) == 16, "iommu_fault_alloc");

struct iommu_hwpt_pgfault {
	uint32_t flags;
	uint32_t dev_id;
	uint32_t pasid;
	uint32_t grpid;
	uint32_t perm;
	uint32_t __reserved;
	uint64_t addr;
	uint32_t length;
	uint32_t cookie;
};
_Static_assert(sizeof(struct iommu_hwpt_pgfault) == 40, "iommu_hwpt_pgfault");

struct iommu_hwpt_page_response {
	uint32_t cookie;
	uint32_t code;
};
_Static_assert(sizeof(struct iommu_hwpt_page_response) == 8, "iommu_hwpt_page_response");

struct iommu_viommu_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t type;
	uint32_t dev_id;
	uint32_t hwpt_id;
	uint32_t out_viommu_id;
	uint32_t data_len;
	uint32_t __reserved;
	uint64_t data_uptr;
};
_Static_assert(sizeof(struct iommu_viommu_alloc) == 40, "iommu_viommu_alloc");

struct iommu_viommu_tegra241_cmdqv {
	uint64_t out_vintf_mmap_offset;
	uint64_t out_vintf_mmap_length;
};
_Static_assert(sizeof(struct iommu_viommu_tegra241_cmdqv) == 16, "iommu_viommu_tegra241_cmdqv");

struct iommu_vdevice_alloc {
	uint32_t size;
	uint32_t viommu_id;
	uint32_t dev_id;
	uint32_t out_vdevice_id;
	uint64_t virt_id;
};
_Static_assert(sizeof(struct iommu_vdevice_alloc) == 24, "iommu_vdevice_alloc");

struct iommu_ioas_change_process {
	uint32_t size;
	uint32_t __reserved;
};
_Static_assert(sizeof(struct iommu_ioas_change_process) == 8, "iommu_ioas_change_process");

struct iommu_veventq_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t viommu_id;
	uint32_t type;
	uint32_t veventq_depth;
	uint32_t out_veventq_id;
	uint32_t out_veventq_fd;
	uint32_t __reserved;
};
_Static_assert(sizeof(struct iommu_veventq_alloc) == 32, "iommu_veventq_alloc");

struct iommufd_vevent_header {
	uint32_t flags;
	uint32_t sequence;
};
_Static_assert(sizeof(struct iommufd_vevent_header) == 8, "iommufd_vevent_header");

struct iommu_vevent_arm_smmuv3 {
	uint64_t evt[4];
};
_Static_assert(sizeof(struct iommu_vevent_arm_smmuv3) == 32, "iommu_vevent_arm_smmuv3");

struct iommu_vevent_tegra241_cmdqv {
	uint64_t lvcmdq_err_map[2];
};
_Static_assert(sizeof(struct iommu_vevent_tegra241_cmdqv) == 16, "iommu_vevent_tegra241_cmdqv");

struct iommu_hw_queue_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t viommu_id;
	uint32_t type;
	uint32_t index;
	uint32_t out_hw_queue_id;
	uint64_t nesting_parent_iova;
	uint64_t length;
};
_Static_assert(sizeof(struct iommu_hw_queue_alloc) == 40, "iommu_hw_queue_alloc");

struct iommu_ioas_noiommu_get_pa {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	uint32_t __reserved;
	uint64_t iova;
	uint64_t length;
	uint64_t out_phys;
};
_Static_assert(sizeof(struct iommu_ioas_noiommu_get_pa) == 40, "iommu_ioas_noiommu_get_pa");

#endif

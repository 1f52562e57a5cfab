"""Typed calls, those first that few kernels answer: what they put into their structures, and take out."""

import errno
import os
from typing import Any

import pytest

from vfiokit._native import ffi, lib
from vfiokit._native.calls import Calls
from vfiokit._native.table import CALLS, FEATURES, Argument, Call
from vfiokit.errors import VfioError


class Echo:
    """A kernel that notes each structure, fills what the test says, and gives one answer."""

    def __init__(self, answer: int = 0, pointed: bytes = b"", **written: int) -> None:
        self.answer, self.written, self.pointed = answer, written, pointed
        self.seen: dict[str, int] = {}
        self.name = ""
        self.raw = b""

    def ioctl(self, fd: int, call: Call, argument: Any) -> int:
        self.name = call.name
        if call.argument is Argument.STRUCT:
            cdata = ffi.cast(f"struct {call.struct} *", argument)
            size = getattr(cdata, call.size_field)
            assert size >= call.least, (call.name, size)
            self.raw = bytes(ffi.buffer(ffi.cast("char *", argument), size))
            for field, kind in ffi.typeof(cdata[0]).fields:
                if kind.type.kind == "primitive":
                    self.seen[field] = int(getattr(cdata, field))
            for field, value in self.written.items():
                setattr(cdata, field, value)
        return self.answer

    def ioctl_value(self, fd: int, call: Call, value: int) -> int:
        self.name = call.name
        self.seen["value"] = value
        return self.answer


def made(kernel: Echo, method: str, *arguments: object, **options: object) -> Any:
    return getattr(Calls(kernel), method)(3, *arguments, **options)


@pytest.mark.parametrize(
    ("method", "options", "written", "result", "seen"),
    [
        (
            "vfio_iommu_spapr_register_memory",
            {"vaddr": 4096, "size": 8192},
            {},
            None,
            {"vaddr": 4096, "size": 8192},
        ),
        ("vfio_iommu_spapr_unregister_memory", {"vaddr": 4096, "size": 1}, {}, None, {"argsz": 24}),
        (
            "vfio_iommu_spapr_tce_create",
            {"page_shift": 16, "window_size": 1 << 30, "levels": 1},
            {"start_addr": 1 << 59},
            1 << 59,
            {"page_shift": 16, "window_size": 1 << 30, "levels": 1},
        ),
        ("vfio_iommu_spapr_tce_remove", {"start": 1 << 59}, {}, None, {"start_addr": 1 << 59}),
        ("vfio_mig_get_precopy_info", {}, {"initial_bytes": 5, "dirty_bytes": 6}, (0, 5, 6), {"argsz": 24}),
        (
            "iommu_ioas_noiommu_get_pa",
            {"ioas": 2, "iova": 4096, "length": 1 << 20},
            {"out_phys": 1 << 32, "length": 8192},
            (1 << 32, 8192),
            {"size": 40, "ioas_id": 2, "iova": 4096, "length": 1 << 20},
        ),
        (
            "iommu_ioas_map_file",
            {"ioas": 2, "file": 9, "start": 4096, "length": 8192, "iova": None, "flags": 6},
            {"iova": 1 << 20},
            1 << 20,
            {"fd": 9, "start": 4096, "flags": 6},
        ),
        (
            "iommu_ioas_map_file",
            {"ioas": 2, "file": 9, "start": 0, "length": 8192, "iova": 0x5000, "flags": 6},
            {},
            0x5000,
            {"flags": 7, "iova": 0x5000},
        ),
        (
            "iommu_vdevice_alloc",
            {"viommu": 1, "device": 2, "virtual_id": 3},
            {"out_vdevice_id": 7},
            7,
            {"virt_id": 3},
        ),
        (
            "iommu_hw_queue_alloc",
            {"viommu": 1, "type": 1, "index": 2, "iova": 4096, "length": 8192},
            {"out_hw_queue_id": 8},
            8,
            {"size": 40, "index": 2, "nesting_parent_iova": 4096, "length": 8192},
        ),
        (
            "iommu_veventq_alloc",
            {"viommu": 1, "type": 1, "depth": 64},
            {"out_veventq_id": 5, "out_veventq_fd": 6},
            (5, 6),
            {"veventq_depth": 64},
        ),
        (
            "iommu_viommu_alloc",
            {"type": 1, "device": 2, "hwpt": 3},
            {"out_viommu_id": 4},
            (4, b""),
            {"size": 32},
        ),
        (
            "iommu_viommu_alloc",
            {"type": 2, "device": 2, "hwpt": 3, "data": bytes(16)},
            {"out_viommu_id": 4},
            (4, bytes(16)),
            {"size": 40, "data_len": 16},
        ),
        ("iommu_ioas_change_process", {}, {}, None, {"size": 8}),
        ("iommu_vfio_ioas", {"operation": 1, "ioas": 6}, {}, 6, {"op": 1}),
        ("iommu_fault_queue_alloc", {}, {"out_fault_id": 1, "out_fault_fd": 2}, (1, 2), {"size": 16}),
        ("iommu_hwpt_alloc", {"device": 1, "parent": 2}, {"out_hwpt_id": 3}, 3, {"size": 40, "pt_id": 2}),
        (
            "iommu_hwpt_alloc",
            {"device": 1, "parent": 2, "fault_queue": 9, "data_type": 1, "data": bytes(24)},
            {"out_hwpt_id": 3},
            3,
            {"size": 48, "fault_id": 9, "flags": 4, "data_len": 24},
        ),
        (
            "iommu_hwpt_invalidate",
            {"hwpt": 1, "data_type": 0, "entry_size": 24, "entries": bytes(48)},
            {"entry_num": 1},
            1,
            {"entry_num": 2, "entry_len": 24},
        ),
        ("iommu_hwpt_set_dirty_tracking", {"hwpt": 1, "on": True}, {}, None, {"flags": 1, "hwpt_id": 1}),
        (
            "vfio_device_attach_iommufd_pt",
            {"table": 4, "pasid": 17},
            {"pt_id": 5},
            5,
            {"argsz": 16, "flags": 1, "pasid": 17},
        ),
        ("vfio_device_detach_iommufd_pt", {"pasid": 17}, {}, None, {"argsz": 12, "flags": 1, "pasid": 17}),
    ],
)
def test_a_call_says_what_it_was_told(
    method: str, options: dict[str, object], written: dict[str, int], result: object, seen: dict[str, int]
) -> None:
    kernel = Echo(**written)
    assert made(kernel, method, **options) == result
    assert {name: kernel.seen[name] for name in seen} == seen


class TestFeatures:
    @pytest.mark.parametrize(
        ("method", "arguments", "index", "flag", "payload"),
        [
            ("vfio_device_feature_pci_vf_token", (bytes(range(16)),), 0, "SET", bytes(range(16))),
            ("vfio_device_feature_low_power_entry", (), 3, "SET", b""),
            ("vfio_device_feature_low_power_entry_with_wakeup", (9,), 4, "SET", b"\x09" + bytes(7)),
            ("vfio_device_feature_low_power_exit", (), 5, "SET", b""),
            ("vfio_device_feature_dma_logging_stop", (), 7, "SET", b""),
            ("vfio_device_feature_mig_precopy_infov2", (), 12, "SET", b""),
            ("vfio_device_feature_migration", (), 1, "GET", bytes(8)),
            ("vfio_device_feature_mig_data_size", (), 9, "GET", bytes(8)),
        ],
    )
    def test_payloads(
        self, method: str, arguments: tuple[object, ...], index: int, flag: str, payload: bytes
    ) -> None:
        kernel = Echo()
        made(kernel, method, *arguments)
        assert kernel.seen["flags"] == index | getattr(lib, f"VFIO_DEVICE_FEATURE_{flag}")
        assert kernel.raw[8:] == payload

    def test_bus_mastering_of_cdx(self) -> None:
        kernel = Echo()
        made(kernel, "vfio_device_feature_bus_master", on=True)
        assert kernel.raw[8:] == b"\x01\0\0\0"

    def test_migration_states(self) -> None:
        kernel = Echo()
        assert made(kernel, "vfio_device_feature_mig_device_state", 3) == (3, None)
        assert kernel.raw[8:12] == b"\x03\0\0\0"
        assert made(kernel, "vfio_device_feature_mig_device_state") == (0, None)
        assert kernel.seen["flags"] & lib.VFIO_DEVICE_FEATURE_GET

    def test_logging_of_dma(self) -> None:
        kernel = Echo()
        assert (
            made(kernel, "vfio_device_feature_dma_logging_start", 4096, [(0, 8192), (1 << 20, 4096)]) == 4096
        )
        assert kernel.raw[8:20] == bytes((0, 16, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0))
        report = made(
            kernel, "vfio_device_feature_dma_logging_report", iova=0, length=65 * 4096, page_size=4096
        )
        assert report == bytes(16)

    def test_a_dma_buf(self) -> None:
        kernel = Echo(answer=11)
        assert made(kernel, "vfio_device_feature_dma_buf", 2, [(0, 4096), (8192, 4096)]) == 11
        assert len(kernel.raw) == 8 + 16 + 2 * 16
        assert kernel.raw[8:12] == b"\x02\0\0\0"
        assert int.from_bytes(kernel.raw[12:16], "little") == os.O_RDWR | os.O_CLOEXEC

    def test_an_error_of_s390(self) -> None:
        assert made(Echo(), "vfio_device_feature_zpci_error", 64) == bytes(64)

    def test_probing_asks_for_the_operations(self) -> None:
        kernel = Echo()
        for feature in FEATURES:
            operations = dict.fromkeys(feature.operations, True)
            assert made(kernel, "vfio_device_feature_probe", feature.index, **operations) == 0
            assert kernel.seen["flags"] & lib.VFIO_DEVICE_FEATURE_PROBE
        assert made(Echo(answer=-25), "vfio_device_feature_probe", 1, get=True) == 25


class TestPower:
    def test_windows(self) -> None:
        windows = made(
            Echo(flags=1, dma32_window_start=0, dma32_window_size=1 << 30), "vfio_iommu_spapr_tce_get_info"
        )
        assert windows[:2] == (0, 1 << 30)

    def test_error_handling(self) -> None:
        kernel = Echo(answer=4)
        assert made(kernel, "vfio_eeh_pe_op", lib.VFIO_EEH_PE_GET_STATE) == 4
        assert kernel.seen["op"] == 4


class TestProtocols:
    def test_a_reply_that_never_fits_ends(self) -> None:
        class Growing(Echo):
            def ioctl(self, fd: int, call: Call, argument: Any) -> int:
                cdata = ffi.cast(f"struct {call.struct} *", argument)
                cdata.argsz *= 2
                return 0

        with pytest.raises(VfioError, match="bytes of reply"):
            made(Growing(), "vfio_device_get_info")

    def test_a_list_of_ranges_that_never_fits_ends(self) -> None:
        class Growing(Echo):
            def ioctl(self, fd: int, call: Call, argument: Any) -> int:
                cdata = ffi.cast(f"struct {call.struct} *", argument)
                cdata.num_iovas *= 4
                return -errno.EMSGSIZE

        with pytest.raises(VfioError, match="the kernel speaks of"):
            made(Growing(), "iommu_ioas_iova_ranges", 1)

    def test_a_hot_reset_list_may_grow_between_two_calls(self) -> None:
        class Growing(Echo):
            count = 1

            def ioctl(self, fd: int, call: Call, argument: Any) -> int:
                cdata = ffi.cast(f"struct {call.struct} *", argument)
                self.count = min(self.count + 1, 4)
                cdata.count = self.count
                return 0 if cdata.argsz >= 12 + 8 * self.count else -errno.ENOSPC

        assert len(made(Growing(), "vfio_device_get_pci_hot_reset_info")) == 12 + 8 * 4

    @pytest.mark.parametrize(
        ("left", "said"), [(1, "(1 of 3 requests were handled)"), (0, "(0 of 3"), (3, "Invalid argument")]
    )
    def test_invalidations_say_how_far_they_came(self, left: int, said: str) -> None:
        kernel = Echo(-errno.EINVAL, entry_num=left)
        with pytest.raises(VfioError) as caught:
            made(kernel, "iommu_hwpt_invalidate", 1, data_type=0, entry_size=8, entries=bytes(24))
        assert said in str(caught.value)
        assert ("handled" in str(caught.value)) == (left < 3)

    def test_every_call_refused_names_itself(self) -> None:
        calls = Calls(Echo(answer=-errno.EPERM))
        calls.subjects[3] = "group 14"
        with pytest.raises(VfioError) as caught:
            calls.vfio_group_get_status(3)
        assert str(caught.value) == "VFIO_GROUP_GET_STATUS for group 14: Operation not permitted"
        assert caught.value.errno == errno.EPERM

    def test_the_table_is_whole(self) -> None:
        assert len(CALLS) == 56
        assert len(FEATURES) == 14

    def test_numbers_by_value(self) -> None:
        kernel = Echo(answer=1)
        assert made(kernel, "vfio_check_extension", 3) == 1
        assert kernel.seen == {"value": 3}
        with pytest.raises(VfioError, match="VFIO_SET_IOMMU for descriptor 3"):
            made(Echo(answer=-1), "vfio_set_iommu", 3)

"""Calls on a device's descriptor, however it was opened."""

from collections.abc import Sequence
from typing import Any

from vfiokit._native import ffi, lib
from vfiokit._native.base_calls import BaseCalls, address_of, sized
from vfiokit._native.table import BY_NAME
from vfiokit.errors import VfioError

__all__ = ["DeviceCalls"]

_WIDTHS = {1: "VFIO_DEVICE_IOEVENTFD_8", 2: "VFIO_DEVICE_IOEVENTFD_16", 4: "VFIO_DEVICE_IOEVENTFD_32"}
_ENOSPC = 28
_DATA_NONE = 1


class DeviceCalls(BaseCalls):
    """The device."""

    def vfio_device_get_info(self, fd: int) -> bytes:
        """Return ``struct vfio_device_info`` and its capabilities."""
        return self._reply("VFIO_DEVICE_GET_INFO", fd)

    def vfio_device_get_region_info(self, fd: int, index: int) -> bytes:
        """Return ``struct vfio_region_info`` and its capabilities; EINVAL where there is no region."""
        return self._reply("VFIO_DEVICE_GET_REGION_INFO", fd, index=index)

    def vfio_device_get_irq_info(self, fd: int, index: int) -> tuple[int, int]:
        """Return flags and number of vectors of a kind of interrupt."""
        _, flags, _, count = self._exchange("VFIO_DEVICE_GET_IRQ_INFO", fd, 16, 0, index)
        return flags, count

    def vfio_device_set_irqs(
        self, fd: int, *, index: int, action: int, start: int = 0, count: int = 1
    ) -> None:
        """Mask, unmask or trigger *count* vectors from *start*; with none and trigger, disable the kind.

        :param action: one of ``VFIO_IRQ_SET_ACTION_*``.
        """
        self._tell("VFIO_DEVICE_SET_IRQS", fd, 20, _DATA_NONE | action, index, start, count)

    def vfio_device_set_irqs_bool(
        self, fd: int, *, index: int, action: int, start: int, chosen: Sequence[bool]
    ) -> None:
        """Act on those vectors from *start* that are chosen."""
        argument = ffi.new("struct vfio_irq_set *", {"data": bytes(chosen)})
        self._set_irqs(fd, argument, lib.VFIO_IRQ_SET_DATA_BOOL | action, index, start, len(chosen))

    def vfio_device_set_irqs_eventfd(
        self, fd: int, *, index: int, action: int, start: int, eventfds: Sequence[int]
    ) -> None:
        """Wire vectors from *start* to eventfds; -1 leaves one unwired.

        :raises VfioError: also when fewer vectors are to be had, saying how many.
        """
        data = bytes(ffi.buffer(ffi.new("int32_t[]", list(eventfds))))
        argument = ffi.new("struct vfio_irq_set *", {"data": data})
        flags = lib.VFIO_IRQ_SET_DATA_EVENTFD | action
        had = self._set_irqs(fd, argument, flags, index, start, len(eventfds))
        # pci_alloc_irq_vectors: a positive answer is the number that could have been had.
        if had > 0:
            raise VfioError(
                f"only {had} vectors can be had",
                operation="VFIO_DEVICE_SET_IRQS",
                subject=f"for {self.subjects.get(fd, f'descriptor {fd}')}",
                errno=_ENOSPC,
            )

    def vfio_device_reset(self, fd: int) -> None:
        """Reset the function; EINVAL where no way of resetting works, EAGAIN while its lock is taken."""
        self._do("VFIO_DEVICE_RESET", fd)

    def vfio_device_get_pci_hot_reset_info(self, fd: int) -> bytes:
        """Return ``struct vfio_pci_hot_reset_info`` with every function that the reset touches."""
        fixed = ffi.sizeof("struct vfio_pci_hot_reset_info")
        count = 0
        for _ in range(16):
            memory = ffi.new("char[]", fixed + 8 * count)
            argument = ffi.cast("struct vfio_pci_hot_reset_info *", memory)
            argument.argsz = len(memory)
            call = BY_NAME["VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"]
            answer = self.kernel.ioctl(fd, call, argument)
            # The list is a snapshot: it may have grown since the count was given.
            if answer != -_ENOSPC:
                break
            count = argument.count
        if answer < 0:
            self._refused(call.name, fd, -answer)
        return bytes(ffi.buffer(memory))

    def vfio_device_pci_hot_reset(self, fd: int, groups: Sequence[int]) -> None:
        """Reset the bus or slot.

        :param groups: a descriptor of each group that owns a function of the list, once each; none for a
            device that was opened through its own node.
        """
        argument = ffi.new("struct vfio_pci_hot_reset *", {"group_fds": list(groups)})
        argument.argsz = ffi.sizeof("struct vfio_pci_hot_reset") + 4 * len(groups)
        argument.count = len(groups)
        self._do("VFIO_DEVICE_PCI_HOT_RESET", fd, argument)

    def vfio_device_query_gfx_plane(self, fd: int, flags: int, plane_type: int = 0) -> bytes:
        """Return ``struct vfio_device_gfx_plane_info`` of a virtual display."""
        info = sized("vfio_device_gfx_plane_info", flags=flags, drm_plane_type=plane_type)
        self._do("VFIO_DEVICE_QUERY_GFX_PLANE", fd, info)
        return bytes(ffi.buffer(info))

    def vfio_device_get_gfx_dmabuf(self, fd: int, identity: int) -> int:
        """Return a descriptor for a plane's memory."""
        return self._do("VFIO_DEVICE_GET_GFX_DMABUF", fd, ffi.new("uint32_t *", identity))

    def vfio_device_ioeventfd(self, fd: int, *, offset: int, width: int, value: int, eventfd: int) -> None:
        """Let the kernel write *value* when an eventfd fires; with -1, stop it.

        :param offset: into the device's descriptor, as a region's offset is.
        :param width: of the write, in bytes: 1, 2, 4 or 8.
        """
        flags = getattr(lib, _WIDTHS.get(width, "VFIO_DEVICE_IOEVENTFD_64"))
        argument = sized("vfio_device_ioeventfd", flags=flags, offset=offset, data=value, fd=eventfd)
        self._do("VFIO_DEVICE_IOEVENTFD", fd, argument)

    def vfio_device_bind_iommufd(self, fd: int, iommufd: int, token: bytes | None = None) -> int:
        """Give the device to an iommufd and return the object that stands for it.

        :param token: the 16 bytes of a virtual function's token.
        """
        told = 16 if token is None else 24
        argument = sized("vfio_device_bind_iommufd", told=told, iommufd=iommufd)
        memory = ffi.new("uint8_t[16]", token or bytes(16))
        if token is not None:
            argument.flags = lib.VFIO_DEVICE_BIND_FLAG_TOKEN
            argument.token_uuid_ptr = address_of(memory)
        self._do("VFIO_DEVICE_BIND_IOMMUFD", fd, argument)
        return int(argument.out_devid)

    def vfio_device_attach_iommufd_pt(self, fd: int, table: int, pasid: int | None = None) -> int:
        """Attach the device to an address space or page table; return the page table it now uses."""
        told = 12 if pasid is None else 16
        argument = sized("vfio_device_attach_iommufd_pt", told=told, pt_id=table)
        if pasid is not None:
            argument.flags, argument.pasid = lib.VFIO_DEVICE_ATTACH_PASID, pasid
        self._do("VFIO_DEVICE_ATTACH_IOMMUFD_PT", fd, argument)
        return int(argument.pt_id)

    def vfio_device_detach_iommufd_pt(self, fd: int, pasid: int | None = None) -> None:
        """Detach the device: its DMA is blocked."""
        argument = sized("vfio_device_detach_iommufd_pt", told=8 if pasid is None else 12)
        if pasid is not None:
            argument.flags, argument.pasid = lib.VFIO_DEVICE_DETACH_PASID, pasid
        self._do("VFIO_DEVICE_DETACH_IOMMUFD_PT", fd, argument)

    def _set_irqs(self, fd: int, argument: Any, flags: int, index: int, start: int, count: int) -> int:
        argument.argsz = ffi.sizeof(argument[0])
        argument.flags, argument.index, argument.start, argument.count = flags, index, start, count
        return self._do("VFIO_DEVICE_SET_IRQS", fd, argument)

"""Calls on ``/dev/iommu`` about address spaces: what is mapped where."""

from collections.abc import Sequence

from vfiokit._native import ffi, lib
from vfiokit._native.base_calls import BaseCalls, address_of, sized
from vfiokit._native.table import BY_NAME
from vfiokit.errors import VfioError

__all__ = ["IoasCalls"]

_EMSGSIZE = 90
_RANGES_LIMIT = 1 << 16


class IoasCalls(BaseCalls):
    """Address spaces (IOAS) and the objects of an iommufd."""

    def iommu_destroy(self, fd: int, identity: int) -> None:
        """Destroy an object; EBUSY while another uses it."""
        self._tell("IOMMU_DESTROY", fd, 8, identity)

    def iommu_ioas_alloc(self, fd: int) -> int:
        """Make an address space and return its identity."""
        return self._ask("IOMMU_IOAS_ALLOC", -1, fd, 12)

    def iommu_ioas_allow_iovas(self, fd: int, ioas: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Say which (first, last) addresses must stay usable, in place of what was said before."""
        memory = ffi.new("struct iommu_iova_range[]", list(ranges))
        where = address_of(memory) if ranges else 0
        self._tell("IOMMU_IOAS_ALLOW_IOVAS", fd, 24, ioas, len(ranges), 0, where)

    def iommu_ioas_iova_ranges(self, fd: int, ioas: int) -> tuple[bytes, int]:
        """Return an array of ``struct iommu_iova_range`` and the alignment that mappings need."""
        count = 16
        while count <= _RANGES_LIMIT:
            memory = ffi.new("struct iommu_iova_range[]", count)
            argument = sized("iommu_ioas_iova_ranges", "size", ioas_id=ioas, num_iovas=count)
            argument.allowed_iovas = address_of(memory)
            answer = self.kernel.ioctl(fd, BY_NAME["IOMMU_IOAS_IOVA_RANGES"], argument)
            if answer < 0 and answer != -_EMSGSIZE:
                self._refused("IOMMU_IOAS_IOVA_RANGES", fd, -answer)
            if argument.num_iovas <= count:
                return bytes(ffi.buffer(memory, 16 * argument.num_iovas)), argument.out_iova_alignment
            count = argument.num_iovas
        raise VfioError(f"the kernel speaks of {count} ranges", operation="IOMMU_IOAS_IOVA_RANGES")

    def iommu_ioas_map(
        self, fd: int, ioas: int, *, vaddr: int, length: int, iova: int | None, flags: int
    ) -> int:
        """Map memory of this process and return its IOVA.

        :param iova: where, or ``None`` to let the kernel choose.
        :param flags: ``IOMMU_IOAS_MAP_READABLE`` and ``IOMMU_IOAS_MAP_WRITEABLE``.
        """
        flags |= 0 if iova is None else lib.IOMMU_IOAS_MAP_FIXED_IOVA
        return self._ask("IOMMU_IOAS_MAP", -1, fd, 40, flags, ioas, 0, vaddr, length, iova or 0)

    def iommu_ioas_map_file(
        self, fd: int, ioas: int, *, file: int, start: int, length: int, iova: int | None, flags: int
    ) -> int:
        """Map part of a memfd or of a device's dma-buf and return its IOVA."""
        flags |= 0 if iova is None else lib.IOMMU_IOAS_MAP_FIXED_IOVA
        return self._ask("IOMMU_IOAS_MAP_FILE", -1, fd, 40, flags, ioas, file, start, length, iova or 0)

    def iommu_ioas_copy(
        self,
        fd: int,
        *,
        source: int,
        destination: int,
        source_iova: int,
        length: int,
        iova: int | None,
        flags: int,
    ) -> int:
        """Map into one space what another has mapped, pinned once; return its IOVA there."""
        flags |= 0 if iova is None else lib.IOMMU_IOAS_MAP_FIXED_IOVA
        asked = (destination, source, length, iova or 0, source_iova)
        return self._ask("IOMMU_IOAS_COPY", -2, fd, 40, flags, *asked)

    def iommu_ioas_unmap(self, fd: int, ioas: int, *, iova: int, length: int) -> int:
        """Unmap what lies wholly in the range and return its bytes; 0 to 2**64-1 is everything."""
        return self._ask("IOMMU_IOAS_UNMAP", -1, fd, 24, ioas, iova, length)

    def iommu_option_get(self, fd: int, option: int, identity: int = 0) -> int:
        """Return an option's value."""
        return self._ask("IOMMU_OPTION", -1, fd, 24, option, lib.IOMMU_OPTION_OP_GET, 0, identity)

    def iommu_option_set(self, fd: int, option: int, value: int, identity: int = 0) -> None:
        """Set an option: how pinned memory is charged, or whether a space uses huge pages."""
        self._tell("IOMMU_OPTION", fd, 24, option, lib.IOMMU_OPTION_OP_SET, 0, identity, value)

    def iommu_vfio_ioas(self, fd: int, operation: int, ioas: int = 0) -> int:
        """Get, set or clear the space that the container emulation uses; return its identity."""
        _, used, _, _ = self._exchange("IOMMU_VFIO_IOAS", fd, 12, ioas, operation)
        return used

    def iommu_ioas_change_process(self, fd: int) -> None:
        """Charge the memory that is mapped from files to this process.

        EINVAL while other memory is mapped; and, though it is done, where pins are counted by process and
        the process that had them is dead (Linux 7.3).
        """
        self._tell("IOMMU_IOAS_CHANGE_PROCESS", fd, 8)

    def iommu_ioas_noiommu_get_pa(self, fd: int, ioas: int, iova: int, length: int) -> tuple[int, int]:
        """Return the physical address behind a mapping, and how many bytes run on from it."""
        *_, run, physical = self._exchange("IOMMU_IOAS_NOIOMMU_GET_PA", fd, 40, 0, ioas, 0, iova, length)
        return physical, run

"""The fake kernel's IOMMU: a VT-d unit whose tables are built in memory and walked for every DMA.

What the fake maps is written into second-stage tables, context entries say which requester has which, and
each access of a device goes through the reference walker. So a driver's mistake ends as on a real machine:
in a fault with a requester, an address and a reason. Host physical addresses are this process's own.

>>> iommu = FakeIommu()
>>> iommu.translate(PciAddress(0, 0, 4, 0), 0x1000, write=True).message
'the root entry is not present'
"""

import ctypes
import itertools
from collections.abc import Iterator

from vfiokit.address import AddressRange, PciAddress
from vfiokit.errors import UsageError
from vfiokit.translation.attach import VtdTables
from vfiokit.translation.build import Domain
from vfiokit.translation.capabilities import VtdCapabilities
from vfiokit.translation.explain import explain_outcome
from vfiokit.translation.fault_record import VtdFaultRecord
from vfiokit.translation.faults import Reason
from vfiokit.translation.frames import Frames
from vfiokit.translation.iommu import Iommu
from vfiokit.translation.memory import SparseMemory
from vfiokit.translation.requests import Access, Fault, Outcome, Request

__all__ = ["DmaFault", "FakeIommu"]

_TABLES = AddressRange(0x100000, 1 << 40)
"""Where tables lie: in a memory of their own, which no DMA reaches."""
_HOST_WIDTH = 52
_DEPTHS = {3: 39, 4: 48, 5: 57}
"""Levels of a second-stage table, and the bits that they translate (VT-d 9.3)."""
_CAP = 0x00D2_0084_0000_0000
"""CAP_REG without widths: pages of 4 KiB and 2 MiB, as a unit of a workstation says."""
_DOMAINS = 1 << 16


class DmaFault(Exception):
    """A device's access that the IOMMU blocked.

    :ivar fault: what was asked, and the check that failed; its reads are the entries on the way.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        what = "write" if self.write else "read"
        code = "" if fault.code is None else f" (reason {fault.code:#x})"
        super().__init__(f"{what} by {self.source} at {self.iova:#x}: {fault.message}{code}")

    @property
    def iova(self) -> int:
        """Where."""
        return self.fault.request.address

    @property
    def write(self) -> bool:
        """Whether it would have written."""
        return bool(self.fault.request.access & Access.WRITE)

    @property
    def source(self) -> str:
        """Who: bus, device and function, as the unit sees them."""
        return str(PciAddress.from_source_id(0, self.fault.request.source_id))[5:]

    @property
    def reason(self) -> Reason:
        """Why."""
        return self.fault.reason

    @property
    def record(self) -> VtdFaultRecord | None:
        """What software would read of it; ``None`` for what the unit keeps silent about."""
        return VtdFaultRecord.of(self.fault)

    def explain(self) -> str:
        """Return every entry that was read, its fields, and the check that ended it."""
        return explain_outcome(self.fault)


class FakeIommu:
    """A unit for each PCI segment, in legacy mode, over one memory.

    :param width: bits of the addresses that it translates.
    :ivar memory: what the tables lie in.
    :ivar frames: the frames that they are made of.
    :ivar faults: every access that was blocked, in order.
    """

    def __init__(self, width: int = 39) -> None:
        levels = next((depth for depth, bits in _DEPTHS.items() if bits >= width), 0)
        if not levels or width < 13:
            raise UsageError("no width of an IOMMU", operation="make", subject=f"{width} bits")
        self.memory, self.frames = SparseMemory(), Frames([_TABLES])
        # MGAW is the width less one, SAGAW has a bit for each depth.
        self.capabilities = VtdCapabilities(
            cap=_CAP | (width - 1) << 16 | 1 << 8 + levels - 2, ecap=0xF00F4A
        )
        self.faults: list[DmaFault] = []
        self._levels = levels
        self._units: dict[int, tuple[VtdTables, Iommu]] = {}
        self._numbers = itertools.count()

    def new_domain(self) -> Domain:
        """Make an empty domain."""
        tables, _ = self._unit(0)
        return tables.new_domain(next(self._numbers) % (_DOMAINS - 1) + 1, levels=self._levels)

    def attach(self, requester: PciAddress, domain: Domain) -> None:
        """Give a requester a domain."""
        self._unit(requester.domain)[0].attach([requester], domain)

    def detach(self, requester: PciAddress) -> None:
        """Take a requester's entry away, so that all it asks for is blocked."""
        self._unit(requester.domain)[0].detach(requester)

    def translate(self, requester: PciAddress, iova: int, *, write: bool) -> Outcome:
        """Translate one request."""
        access = Access.WRITE if write else Access.READ
        return self._unit(requester.domain)[1].translate(Request(requester.source_id, iova, access))

    def read(self, requester: PciAddress, iova: int, size: int) -> bytes:
        """Read memory as a device does.

        :raises DmaFault: where it is blocked.
        """
        return b"".join(
            ctypes.string_at(address, length)
            for address, length in self._pieces(requester, iova, size, write=False)
        )

    def write(self, requester: PciAddress, iova: int, data: bytes) -> None:
        """Write memory as a device does.

        :raises DmaFault: where it is blocked; what lies in pages before is written.
        """
        done = 0
        for address, length in self._pieces(requester, iova, len(data), write=True):
            ctypes.memmove(address, data[done : done + length], length)
            done += length

    def _pieces(
        self, requester: PciAddress, iova: int, size: int, *, write: bool
    ) -> Iterator[tuple[int, int]]:
        """Yield the runs of memory behind a range, one for each page that is walked."""
        end = iova + size
        while iova < end:
            outcome = self.translate(requester, iova, write=write)
            if isinstance(outcome, Fault):
                fault = DmaFault(outcome)
                self.faults.append(fault)
                raise fault
            length = min(end - iova, outcome.page_size - iova % outcome.page_size)
            yield outcome.address, length
            iova += length

    def _unit(self, segment: int) -> tuple[VtdTables, Iommu]:
        """Return the unit of a segment: source-ids are those of one alone."""
        if segment not in self._units:
            tables = VtdTables(
                self.memory, self.frames, self.capabilities, scalable=False, host_address_width=_HOST_WIDTH
            )
            self._units[segment] = tables, tables.iommu()
        return self._units[segment]

"""A remapping unit over a memory: every request becomes exactly one of a translation or a fault.

>>> from vfiokit.translation.memory import SparseMemory
>>> unit = Iommu(SparseMemory(), rtaddr=0x1000, cap=0x00d2008c222f0606, ecap=0x0000000000f00f4a)
>>> unit.translate(Request(source_id=0x28, address=0x5000)).message
'the root entry lies outside memory'
"""

from dataclasses import dataclass

from vfiokit.translation.amdvi import AmdUnit
from vfiokit.translation.capabilities import AmdCapabilities, VtdCapabilities
from vfiokit.translation.descriptor import Descriptor, Refusal
from vfiokit.translation.faults import AMD_FAULTS, VTD_LEGACY, VTD_SCALABLE, FaultTable, Reason
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import (
    INTERRUPT_RANGE,
    Access,
    Fault,
    Outcome,
    Request,
    RequestType,
    Translation,
)
from vfiokit.translation.stages import Path, translate_stages
from vfiokit.translation.vtd import VtdUnit
from vfiokit.translation.vtd_rows import TranslationTableMode
from vfiokit.translation.walk import Blocked

__all__ = ["AmdIommu", "Iommu"]


@dataclass(slots=True)
class _Unit:
    """What the architectures share: from a descriptor to an outcome."""

    memory: Memory

    def describe(self, request: Request) -> Descriptor | Refusal:
        """Find the stages that a request goes through: everything before the page tables."""
        raise NotImplementedError

    @property
    def faults(self) -> FaultTable:
        """The numbers of this unit's faults, and which can be silenced."""
        raise NotImplementedError

    def translate(self, request: Request) -> Outcome:
        """Translate one request.

        Reads of memory are bounded: the entries on the way, each once. Nothing is written: what hardware
        would set is in the outcome's ``updates``.
        """
        if _is_interrupt(request):
            return Fault(request=request, reason=Reason.INTERRUPT_REQUEST, code=None, recorded=False)
        found = self.describe(request)
        if isinstance(found, Refusal):
            return self._fault(
                request, Blocked(found.reason), found.silent, found.domain_id, Path(list(found.reads))
            )
        return self.finish(request, found)

    def explain(self, request: Request) -> str:
        """Translate one request and say in words what was read, and which check ended it."""
        from vfiokit.translation.explain import explain_outcome

        return explain_outcome(self.translate(request))

    def finish(self, request: Request, descriptor: Descriptor) -> Outcome:
        """Translate a request whose descriptor is known: everything from the page tables on."""
        path = Path(list(descriptor.reads))
        try:
            leaf = translate_stages(self.memory, descriptor, request, path)
            if descriptor.interrupts and leaf.address in INTERRUPT_RANGE:
                raise Blocked(Reason.OUTPUT_IN_INTERRUPT_RANGE, leaf.level)
        except Blocked as blocked:
            return self._fault(request, blocked, descriptor.silent, descriptor.domain_id, path)
        return Translation(
            request=request,
            address=leaf.address,
            page_size=1 << leaf.shift,
            level=leaf.level,
            permissions=leaf.permissions,
            domain_id=descriptor.domain_id,
            reads=tuple(path.reads),
            updates=tuple(path.updates),
        )

    def _fault(
        self, request: Request, blocked: Blocked, silent: bool, domain_id: int | None, path: "Path"
    ) -> Fault:
        return Fault(
            request=request,
            reason=blocked.reason,
            code=self.faults.code(blocked.reason, write=bool(request.access & Access.WRITE)),
            recorded=self.faults.recorded(blocked.reason, disabled=silent),
            level=blocked.level,
            domain_id=domain_id,
            reads=tuple(path.reads),
            updates=tuple(path.updates),
        )


class Iommu(_Unit):
    """A VT-d unit.

    :param memory: what its tables lie in.
    :param rtaddr: RTADDR_REG.
    :param cap: CAP_REG.
    :param ecap: ECAP_REG.
    :param host_address_width: bits of host physical addresses, as the DMAR table says; if not given, as many
        as the unit's widest guest address.
    """

    __slots__ = ("unit",)

    def __init__(
        self, memory: Memory, rtaddr: int, cap: int, ecap: int, *, host_address_width: int | None = None
    ) -> None:
        super().__init__(memory)
        capabilities = VtdCapabilities(cap=cap, ecap=ecap)
        width = min(52, host_address_width or capabilities.guest_address_width)
        self.unit = VtdUnit(rtaddr=rtaddr, capabilities=capabilities, host_address_width=width)

    @property
    def capabilities(self) -> VtdCapabilities:
        """What the unit offers."""
        return self.unit.capabilities

    def describe(self, request: Request) -> Descriptor | Refusal:
        """Find the stages that a request goes through: everything before the page tables."""
        return self.unit.describe(self.memory, request)

    @property
    def faults(self) -> FaultTable:
        """The numbers of this unit's faults, and which can be silenced."""
        return VTD_LEGACY if self.unit.mode is TranslationTableMode.LEGACY else VTD_SCALABLE


class AmdIommu(_Unit):
    """An AMD-Vi unit.

    :param memory: what its tables lie in.
    :param device_table: the device table base register (MMIO offset 0).
    :param efr: the extended feature register.
    """

    __slots__ = ("unit",)

    def __init__(self, memory: Memory, device_table: int, *, efr: int = 0) -> None:
        super().__init__(memory)
        self.unit = AmdUnit(device_table=device_table, capabilities=AmdCapabilities(cap=0, efr=efr))

    @property
    def capabilities(self) -> AmdCapabilities:
        """What the unit offers."""
        return self.unit.capabilities

    def describe(self, request: Request) -> Descriptor | Refusal:
        """Find the stages that a request goes through: everything before the page tables."""
        return self.unit.describe(self.memory, request)

    @property
    def faults(self) -> FaultTable:
        """The numbers of this unit's faults, and which can be silenced."""
        return AMD_FAULTS


def _is_interrupt(request: Request) -> bool:
    untranslated = request.type is RequestType.UNTRANSLATED
    return request.pasid is None and untranslated and request.address in INTERRUPT_RANGE

"""What a requester's entries amount to: the stages that its requests go through, and how faults are told."""

from dataclasses import dataclass

from vfiokit.bits import mask
from vfiokit.translation.faults import Reason
from vfiokit.translation.requests import Access, Read
from vfiokit.translation.walk import Stage

__all__ = ["Descriptor", "Refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """How requests of one source-id and PASID are translated. Without any stage they pass as they are.

    :ivar first: the first stage, of x86-64 tables.
    :ivar second: the second stage; with a first stage too, that one's tables and pages lie in its input.
    :ivar domain_id: what the unit tags translations with; ``None`` where the entry has none.
    :ivar silent: whether faults from here on are blocked and not recorded.
    :ivar width: bits of the addresses that pass where no stage translates.
    :ivar permissions: what passes where no stage translates.
    :ivar privileged: whether every request counts as privileged.
    :ivar interrupts: whether the interrupt range is taken out of the addresses and the results.
    :ivar reads: the entries read to find out.
    """

    first: Stage | None = None
    second: Stage | None = None
    domain_id: int | None = None
    silent: bool = False
    width: int = 64
    permissions: Access = Access.READ | Access.WRITE | Access.EXECUTE
    privileged: bool = False
    interrupts: bool = True
    reads: tuple[Read, ...] = ()

    @property
    def passes_through(self) -> bool:
        """Whether nothing is translated."""
        return self.first is None and self.second is None

    def admits(self, address: int) -> bool:
        """Whether an address passes where no stage translates."""
        return not address & ~mask(self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a requester has no descriptor.

    :ivar reason: the check that failed.
    :ivar silent: whether the entry at which it failed, or one before, has fault processing disabled.
    :ivar domain_id: as far as it was known.
    :ivar reads: the entries read.
    """

    reason: Reason
    silent: bool = False
    domain_id: int | None = None
    reads: tuple[Read, ...] = ()

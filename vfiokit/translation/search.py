"""What every architecture's way from a requester to its tables keeps, and how it ends."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vfiokit.translation.descriptor import Descriptor, Refusal
from vfiokit.translation.memory import Memory
from vfiokit.translation.requests import Read, Request
from vfiokit.translation.walk import Blocked

__all__ = ["Search"]

_Unit = TypeVar("_Unit")


@dataclass
class Search(ABC, Generic[_Unit]):
    """One way from a unit's table, with what is known on it so far.

    :ivar silent: whether a fault from here on is blocked and not recorded.
    :ivar domain_id: the domain, once an entry has named it.
    :ivar reads: the entries read, in order.
    """

    unit: _Unit
    memory: Memory
    request: Request
    silent: bool = False
    domain_id: int | None = None
    reads: list[Read] = field(default_factory=list)

    @abstractmethod
    def run(self) -> Descriptor:
        """Go the way.

        :raises Blocked: where a check fails.
        """

    def result(self) -> Descriptor | Refusal:
        """Go the way, and return where it led or why it ended."""
        try:
            return self.run()
        except Blocked as blocked:
            return Refusal(
                reason=blocked.reason,
                silent=self.silent,
                domain_id=self.domain_id,
                reads=tuple(self.reads),
            )

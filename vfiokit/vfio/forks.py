"""What a forked child must not keep: the devices of its parent.

An open descriptor in a child holds the device after its parent has closed it, and the group stays busy. So
a child closes its copies and its handles say that they are closed. A child that is to have a device opens
it itself.
"""

import os
import weakref
from typing import Protocol

__all__ = ["register"]


class Forgettable(Protocol):
    """A handle with descriptors."""

    def forget(self) -> None:
        """Close this process's copies of descriptors, without a call that would reach the device."""
        ...


_live: "weakref.WeakSet[Forgettable]" = weakref.WeakSet()


def register(handle: Forgettable) -> None:
    """Have a handle's descriptors closed in every child."""
    _live.add(handle)


def _in_child() -> None:
    for handle in list(_live):
        handle.forget()


os.register_at_fork(after_in_child=_in_child)

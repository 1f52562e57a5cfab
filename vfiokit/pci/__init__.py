"""PCI and PCI Express configuration space: pure functions over bytes.

>>> from vfiokit.pci import ConfigSpace
>>> ConfigSpace.from_hex("8680 3315" + "00" * 60).header.DeviceID.DeviceID
5427
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vfiokit.pci.config import ConfigSpace
    from vfiokit.pci.dump import parse_dump
    from vfiokit.pci.image import SparseImage
    from vfiokit.pci.lspci import lspci_text

__all__ = ["ConfigSpace", "SparseImage", "lspci_text", "parse_dump"]

# A listing needs none of the tables.
_LATER = {
    "ConfigSpace": "vfiokit.pci.config",
    "SparseImage": "vfiokit.pci.image",
    "lspci_text": "vfiokit.pci.lspci",
    "parse_dump": "vfiokit.pci.dump",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)

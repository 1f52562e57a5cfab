"""Which PCI drivers the kernel has, and which its modules would bring."""

from vfiokit.binding.evidence import Catalog
from vfiokit.binding.usage.children import listing
from vfiokit.sysfs import attributes
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import FILE_LIMIT

__all__ = ["read_catalog"]

_DRIVERS = "sys/bus/pci/drivers"
_PREFIX = b"alias vfio_pci:"


def read_catalog(reader: Reader) -> Catalog:
    """Read the registered drivers and the ``vfio_pci:`` aliases of this kernel's modules."""
    loaded = []
    for name in listing(reader, _DRIVERS):
        module = reader.target(f"{_DRIVERS}/{name}/module")
        loaded.append((name, module if isinstance(module, str) else ""))
    release = reader.value("proc/sys/kernel/osrelease", attributes.line)
    aliases = reader.value(f"lib/modules/{release}/modules.alias", _aliases, FILE_LIMIT)
    return Catalog(loaded=tuple(loaded), aliases=aliases if isinstance(aliases, tuple) else ())


def _aliases(data: bytes) -> tuple[tuple[str, str], ...]:
    # Thousands of lines, a handful of them ours: look for those before splitting any.
    found = []
    at = data.find(_PREFIX)
    while at >= 0:
        end = data.find(b"\n", at)
        fields = data[at : end if end >= 0 else len(data)].decode("utf-8", "replace").split()
        if len(fields) == 3 and (at == 0 or data[at - 1 : at] == b"\n"):
            found.append((fields[1], fields[2]))
        at = data.find(_PREFIX, at + 1)
    return tuple(found)

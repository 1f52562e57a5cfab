"""Which driver a function goes to: the best VFIO variant driver, and what its module is called."""

import re
from fnmatch import fnmatchcase

from vfiokit.analysis.viability import VFIO_DRIVERS
from vfiokit.binding.evidence import Catalog
from vfiokit.errors import UsageError

__all__ = [
    "DEFAULT_DRIVER",
    "NO_DRIVER",
    "best_module",
    "check_name",
    "driver_of_module",
    "find_driver",
    "module_of_driver",
]

DEFAULT_DRIVER = "vfio-pci"
NO_DRIVER = "none"
"""An override that no driver is called by: nothing binds."""

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}", re.ASCII)
_BUS = "pci:"
_VFIO_BUS = "vfio_pci:"


def best_module(catalog: Catalog, modalias: str) -> str | None:
    """Return the module of the most particular VFIO driver for a function, ``None`` where none is known.

    The alias with the fewest wildcards is the most particular: a variant driver names vendor and device
    where ``vfio_pci`` takes all.

    >>> catalog = Catalog(aliases=(("vfio_pci:v*d*", "vfio_pci"), ("vfio_pci:v000015B3d*", "mlx5_vfio_pci")))
    >>> best_module(catalog, "pci:v000015B3d0000101E")
    'mlx5_vfio_pci'
    """
    if not modalias.startswith(_BUS):
        return None
    wanted = _VFIO_BUS + modalias.removeprefix(_BUS)
    fitting = [
        (pattern.count("*"), module) for pattern, module in catalog.aliases if fnmatchcase(wanted, pattern)
    ]
    return min(fitting)[1] if fitting else None


def driver_of_module(catalog: Catalog, module: str) -> str:
    """Return the name that a module's driver registers by: ``vfio_pci`` brings ``vfio-pci``.

    >>> driver_of_module(Catalog(), "vfio_pci"), driver_of_module(Catalog(), "mlx5_vfio_pci")
    ('vfio-pci', 'mlx5_vfio_pci')
    """
    for driver, owner in catalog.loaded:
        if owner == module:
            return driver
    return _by_spelling(catalog, module) or module


def module_of_driver(catalog: Catalog, driver: str) -> str | None:
    """Return the module to load for a driver, ``None`` where the kernel has the driver already.

    >>> module_of_driver(Catalog(), "vfio-pci")
    'vfio_pci'
    """
    return None if driver in dict(catalog.loaded) else driver.replace("-", "_")


def check_name(name: str) -> str:
    """Return the name of a driver or a module: it stands in paths, and in udev's rules.

    :raises UsageError: if it can be none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("no name of a driver", operation="bind", subject=repr(name), hint="like vfio-pci")
    return name


def find_driver(catalog: Catalog, name: str) -> str:
    """Return the driver that somebody means by a driver's or a module's name.

    :raises UsageError: if no driver can be called so.
    """
    check_name(name)
    return name if name in dict(catalog.loaded) else _by_spelling(catalog, name) or name


def _by_spelling(catalog: Catalog, name: str) -> str | None:
    """Find a driver whose name differs in dashes and underscores only."""
    plain = name.replace("-", "_")
    known = sorted({*dict(catalog.loaded), *VFIO_DRIVERS})
    return next((each for each in known if each.replace("-", "_") == plain), None)

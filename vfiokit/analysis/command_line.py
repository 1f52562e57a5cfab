"""The kernel's command line, token by token, as the kernel reads it."""

from collections.abc import Iterator

from vfiokit.model.host import Host
from vfiokit.model.unknown import Unknown

__all__ = ["options", "tokens"]


def tokens(host: Host, name: str) -> tuple[str, ...]:
    """Return the tokens that give *name* a value or stand alone, in order; none where the line is unknown.

    What follows ``--`` is for init. In names, the kernel takes ``-`` and ``_`` for the same.

    >>> from vfiokit.model.host import Platform
    >>> tokens(Host(platform=Platform(command_line="ro pci=noaer iommu=pt -- pci=no")), "pci")
    ('pci=noaer',)
    """
    return tuple(token for token in _all(host) if _same(token.partition("=")[0], name))


def options(host: Host, name: str) -> tuple[str, ...]:
    """Return the values that *name* is given, lists taken apart, in order.

    >>> from vfiokit.model.host import Platform
    >>> options(Host(platform=Platform(command_line="intel_iommu=on,sm_on intel_iommu=off")), "intel_iommu")
    ('on', 'sm_on', 'off')
    """
    return tuple(
        value for token in tokens(host, name) for value in token.partition("=")[2].split(",") if value
    )


def _all(host: Host) -> Iterator[str]:
    line = host.platform.command_line
    for token in () if isinstance(line, Unknown) else line.split():
        if token == "--":
            return
        yield token.replace('"', "")


def _same(one: str, other: str) -> bool:
    return one.replace("-", "_") == other.replace("-", "_")

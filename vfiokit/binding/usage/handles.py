"""Who has which device node open: every process, by the node's number, never by its path."""

import errno
import re

from vfiokit.binding.evidence import Handle
from vfiokit.binding.usage.children import listing
from vfiokit.model.unknown import Unknown
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import FILE_LIMIT, DeviceNumber

__all__ = ["process_ids", "read_handles"]

_GONE = frozenset({errno.ENOENT, errno.ESRCH})
_CONTAINER = re.compile(
    r"(?:docker|crio|libpod|cri-containerd|machine-qemu)[-/]([^/\n]{1,40})|/lxc/([^/\n]{1,40})"
)


def process_ids(reader: Reader) -> list[str]:
    """Return the processes, first those that were there first."""
    names = [name for name in listing(reader, "proc") if name.isdigit()]
    return sorted(names, key=int)


def read_handles(
    reader: Reader, pids: list[str], wanted: frozenset[DeviceNumber], own: str = ""
) -> tuple[tuple[Handle, ...], tuple[str, ...]]:
    """Find the processes that have a wanted node open, and say into which none could be looked.

    :param own: this process, whose handles do not count.
    """
    found: list[Handle] = []
    hidden: list[str] = []
    if not wanted:
        return (), ()
    for pid in pids:
        numbers = _open(reader, pid) if pid != own else set()
        if isinstance(numbers, Unknown):
            hidden.append(pid)
            continue
        found += [_handle(reader, pid, number) for number in sorted(numbers & wanted)]
    missed = (
        (f"the handles of {len(hidden)} processes, the first of them pid {hidden[0]}",) if hidden else ()
    )
    return tuple(found), missed


def _open(reader: Reader, pid: str) -> set[DeviceNumber] | Unknown:
    source, directory = reader.source, f"proc/{pid}/fd"
    try:
        names = source.listdir(directory)
    except OSError as error:
        return set() if error.errno in _GONE else Unknown(error.strerror or "unreadable")
    numbers = set()
    for name in names:
        try:
            number = source.device(f"{directory}/{name}")
        except OSError:
            continue  # closed meanwhile, or a socket or pipe, which leads to no path
        if number is not None:
            numbers.add(number)
    return numbers


def _handle(reader: Reader, pid: str, number: DeviceNumber) -> Handle:
    command = reader.value(f"proc/{pid}/comm", _text)
    groups = reader.value(f"proc/{pid}/cgroup", _text, FILE_LIMIT)
    inside = _CONTAINER.search(groups) if isinstance(groups, str) else None
    return Handle(
        int(pid),
        command.strip() if isinstance(command, str) else "?",
        number,
        f"container {inside[1] or inside[2]}" if inside else "",
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")

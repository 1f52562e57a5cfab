"""A tree in memory: what a capture becomes when it is opened, and what tests are drawn into."""

import errno
from collections.abc import Iterator
from typing import NamedTuple

from vfiokit.sysfs.source import ATTRIBUTE_LIMIT, MAX_LINKS, DeviceNumber, Kind, Stat, follow, os_error

__all__ = ["DeviceNode", "Directory", "Failure", "File", "Link", "MemorySource", "Node"]


class File(NamedTuple):
    """A file with its content and permission bits."""

    data: bytes
    mode: int = 0o444


class Link(NamedTuple):
    """A symbolic link, target as written."""

    target: str


class Directory(NamedTuple):
    """A directory; those above a node need not be added."""

    mode: int = 0o755


class Failure(NamedTuple):
    """Something that is there but answers every access with an error number."""

    errno: int
    mode: int = 0o000


class DeviceNode(NamedTuple):
    """A device node with its number and permission bits."""

    number: DeviceNumber
    mode: int = 0o600


Node = File | Link | Directory | Failure | DeviceNode


class MemorySource:
    """Reads a host from a tree in memory.

    >>> source = MemorySource("drawn")
    >>> source.add("sys/devices/a/vendor", File(b"0x8086\\n"))
    >>> source.add("sys/bus/pci/devices/a", Link("../../../devices/a"))
    >>> source.read("sys/bus/pci/devices/a/vendor")
    b'0x8086\\n'
    """

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._nodes: dict[str, Node] = {"": Directory()}
        self._children: dict[str, dict[str, None]] = {"": {}}

    def add(self, path: str, node: Node) -> None:
        """Put *node* at *path*, making the directories above it; what stood there is replaced."""
        parent, _, name = path.rpartition("/")
        if parent not in self._children:
            self.add(parent, Directory())
        self._children[parent][name] = None
        self._nodes[path] = node
        if isinstance(node, Directory):
            self._children.setdefault(path, {})

    def remove(self, path: str) -> None:
        """Take away what stands at *path* and below it; nothing there is no error."""
        for name in tuple(self._children.pop(path, ())):
            self.remove(f"{path}/{name}")
        if self._nodes.pop(path, None) is not None:
            parent, _, name = path.rpartition("/")
            self._children.get(parent, {}).pop(name, None)

    def nodes(self) -> Iterator[tuple[str, Node]]:
        """Yield every path with its node, directories before what is in them."""
        return iter(sorted((path, node) for path, node in self._nodes.items() if path))

    def below(self, path: str) -> Iterator[tuple[str, Node]]:
        """Yield what stands at *path* and below it, directories before what is in them."""
        if path in self._nodes:
            yield path, self._nodes[path]
        for name in self._children.get(path, ()):
            yield from self.below(f"{path}/{name}")

    def read(self, path: str, limit: int = ATTRIBUTE_LIMIT) -> bytes:
        """Return a file's content; EFBIG if it is longer than *limit* bytes."""
        data = self._file(path).data
        if len(data) > limit:
            raise os_error(errno.EFBIG, path)
        return data

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset*."""
        return self._file(path).data[offset : offset + size]

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, in the order in which they were added."""
        real = self._resolve(path)
        node = self._at(real, path)
        if isinstance(node, Failure):
            raise os_error(node.errno, path)
        if not isinstance(node, Directory):
            raise os_error(errno.ENOTDIR, path)
        return list(self._children[real])

    def readlink(self, path: str) -> str:
        """Return a link's target as it is written."""
        node = self._at(self._resolve(path, follow_last=False), path)
        if isinstance(node, Failure):
            raise os_error(node.errno, path)
        if not isinstance(node, Link):
            raise os_error(errno.EINVAL, path)
        return node.target

    def stat(self, path: str) -> Stat:
        """Return kind and permission bits, without following a final link."""
        node = self._at(self._resolve(path, follow_last=False), path)
        if isinstance(node, Link):
            return Stat(Kind.LINK, 0o777)
        if isinstance(node, DeviceNode):
            return Stat(Kind.OTHER, node.mode)
        return Stat(Kind.DIRECTORY if isinstance(node, Directory) else Kind.FILE, node.mode)

    def device(self, path: str) -> DeviceNumber | None:
        """Return the number of the device node that a path leads to."""
        node = self._at(self._resolve(path), path)
        if isinstance(node, Failure):
            raise os_error(node.errno, path)
        return node.number if isinstance(node, DeviceNode) else None

    def _file(self, path: str) -> File:
        node = self._at(self._resolve(path), path)
        if isinstance(node, Failure):
            raise os_error(node.errno, path)
        if isinstance(node, Directory):
            raise os_error(errno.EISDIR, path)
        if isinstance(node, DeviceNode):
            raise os_error(errno.EINVAL, path)
        assert isinstance(node, File)  # a resolved path never ends in a link
        return node

    def _at(self, real: str, path: str) -> Node:
        try:
            return self._nodes[real]
        except KeyError:
            raise os_error(errno.ENOENT, path) from None

    def _resolve(self, path: str, *, follow_last: bool = True, depth: int = 0) -> str:
        """Return *path* with its links followed; the result need not exist."""
        node = self._nodes.get(path)
        if node is not None and not (follow_last and isinstance(node, Link)):
            return path
        if depth >= MAX_LINKS:
            raise os_error(errno.ELOOP, path)
        real = ""
        names = path.split("/")
        for index, name in enumerate(names):
            real = f"{real}/{name}" if real else name
            node = self._nodes.get(real)
            last = index == len(names) - 1
            if isinstance(node, Link) and (follow_last or not last):
                rest = "/".join([follow(real, node.target), *names[index + 1 :]])
                return self._resolve(rest, follow_last=follow_last, depth=depth + 1)
            if isinstance(node, Failure) and not last:
                raise os_error(node.errno, path)
            if isinstance(node, File | DeviceNode) and not last:
                raise os_error(errno.ENOTDIR, path)
        return real

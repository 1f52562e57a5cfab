"""Processes of a simulated host: what they have open and what they see mounted."""

from vfiokit.sysfs.memory import File, Link, MemorySource

__all__ = ["ROOT_MOUNT", "Processes"]

ROOT_MOUNT = "22 1 0:20 / / rw,relatime - tmpfs root rw"
"""The mount of a host whose root is on none of its functions."""

_NAMESPACE = 4026531832


class Processes:
    """Keeps ``/proc`` of a tree; process 1 is there from the start."""

    def __init__(self, tree: MemorySource) -> None:
        self._tree = tree
        self.start(1, "init")

    def start(self, pid: int, command: str, *, mounts: tuple[str, ...] = (), namespace: int = 0) -> None:
        """Start a process, in the first mount namespace or in one of its own.

        :param mounts: lines of mountinfo beyond the root's.
        :param namespace: a number that is added to that of the first namespace.
        """
        path = f"proc/{pid}"
        self._tree.add(f"{path}/comm", File(f"{command}\n".encode()))
        self._tree.add(f"{path}/ns/mnt", Link(f"mnt:[{_NAMESPACE + namespace}]"))
        text = "\n".join((ROOT_MOUNT, *mounts)) + "\n"
        self._tree.add(f"{path}/mountinfo", File(text.encode()))
        self._tree.add(f"{path}/fd/0", Link("/dev/null"))

    def open(self, pid: int, command: str, node: str) -> None:
        """Start a process that has the node at a path open."""
        self.start(pid, command)
        self._tree.add(f"proc/{pid}/fd/7", Link(f"/{node}"))

    def end(self, pid: int) -> None:
        """End a process."""
        self._tree.remove(f"proc/{pid}")

    def users_of(self, node: str) -> tuple[int, ...]:
        """Return the processes that have a node open."""
        users = []
        for name in self._tree.listdir("proc"):
            if name.isdigit():
                targets = [
                    self._tree.readlink(f"proc/{name}/fd/{fd}")
                    for fd in self._tree.listdir(f"proc/{name}/fd")
                ]
                users += [int(name)] if f"/{node}" in targets else []
        return tuple(users)

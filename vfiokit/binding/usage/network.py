"""Interfaces, addresses and routes as files show them: our own namespace, the main IPv4 table.

What only netlink tells (other tables, other namespaces) comes from the prober.
"""

import ipaddress
import re
from collections.abc import Iterator

from vfiokit.address import PciAddress
from vfiokit.binding.evidence import Interface, Route
from vfiokit.binding.prober import NetworkView
from vfiokit.binding.usage.children import listing, resolve
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import FILE_LIMIT

__all__ = ["read_iscsi", "read_network", "read_ssh"]

_CLASS = "sys/class/net"
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
_IFF_UP = 0x1
_RTF_REJECT = 0x200
_ESTABLISHED = "01"
_SSH_PORT = 22


def read_network(reader: Reader) -> NetworkView:
    """Read the interfaces and routes of the namespace that the source shows."""
    routes = (*_routes4(reader), *_routes6(reader))
    addresses = _addresses(reader, routes)
    names = listing(reader, _CLASS)
    interfaces = tuple(_interface(reader, name, addresses) for name in sorted(names))
    return NetworkView(interfaces, routes)


def read_ssh(reader: Reader, pids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the local addresses of ssh connections: the sessions above us, and whoever is on port 22.

    :param pids: this process and those above it.
    """
    found = set()
    for pid in pids:
        data = reader.value(f"proc/{pid}/environ", bytes, FILE_LIMIT)
        for entry in data.split(b"\0") if isinstance(data, bytes) else ():
            if entry.startswith(b"SSH_CONNECTION="):
                found.update(entry.decode("ascii", "replace").split(" ")[2:3])
    for file in ("proc/net/tcp", "proc/net/tcp6"):
        found.update(_connections(_text(reader, file)))
    return tuple(sorted(found))


def read_iscsi(reader: Reader) -> bool:
    """Whether the host has iSCSI sessions."""
    return bool(listing(reader, "sys/class/iscsi_session"))


def _interface(reader: Reader, name: str, addresses: dict[str, list[str]]) -> Interface:
    path = resolve(reader, f"{_CLASS}/{name}") or f"{_CLASS}/{name}"
    entries = listing(reader, path)
    stacked = [entry.removeprefix("upper_") for entry in entries if entry.startswith("upper_")]
    if "master" in entries:
        master = reader.target(f"{path}/master")
        stacked += [master] if isinstance(master, str) else []
    functions = _PCI.findall(path)
    flags = reader.value(f"{path}/flags", _hexadecimal)
    return Interface(
        namespace="",
        name=name,
        parent=PciAddress.parse(functions[-1]) if functions else None,
        up=bool(isinstance(flags, int) and flags & _IFF_UP),
        carrier=_quiet(reader, f"{path}/carrier") == b"1\n",
        stacked=tuple(sorted(set(stacked))),
        addresses=tuple(addresses.get(name, ())),
    )


def _quiet(reader: Reader, path: str) -> bytes:
    """Read what may refuse for good reason: the carrier of an interface that is down (EINVAL)."""
    try:
        return reader.source.read(path)
    except OSError:
        return b""


def _routes4(reader: Reader) -> Iterator[Route]:
    for line in _text(reader, "proc/net/route").splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) < 8:
            continue
        network = int.from_bytes(bytes.fromhex(fields[1]), "little")
        prefix = int.from_bytes(bytes.fromhex(fields[7].strip()), "little").bit_count()
        destination = f"{ipaddress.IPv4Address(network)}/{prefix}"
        yield Route("", fields[0], destination, 254, default=prefix == 0)


def _routes6(reader: Reader) -> Iterator[Route]:
    for line in _text(reader, "proc/net/ipv6_route").splitlines():
        fields = line.split()
        if len(fields) < 10 or int(fields[8], 16) & _RTF_REJECT or fields[9] == "lo":
            continue
        prefix = int(fields[1], 16)
        destination = f"{ipaddress.IPv6Address(bytes.fromhex(fields[0]))}/{prefix}"
        yield Route("", fields[9], destination, None, default=prefix == 0)


def _addresses(reader: Reader, routes: tuple[Route, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in _text(reader, "proc/net/if_inet6").splitlines():
        fields = line.split()
        if len(fields) == 6:
            found.setdefault(fields[5], []).append(str(ipaddress.IPv6Address(bytes.fromhex(fields[0]))))
    for text in sorted(set(_LOCAL.findall(_text(reader, "proc/net/fib_trie")))):
        address = ipaddress.ip_address(text)
        for route in routes:
            if not route.default and address in ipaddress.ip_network(route.destination):
                found.setdefault(route.interface, []).append(text)
    return found


def _connections(text: str) -> Iterator[str]:
    """Yield the local addresses of established connections to port 22 (proc_pid_net(5))."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] != _ESTABLISHED:
            continue
        address, _, port = fields[1].partition(":")
        if int(port, 16) == _SSH_PORT:
            # The kernel prints each 32-bit word in the machine's order.
            words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
            found = ipaddress.ip_address(b"".join(words))
            mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
            yield str(mapped or found)


def _hexadecimal(data: bytes) -> int:
    return int(data, 16)


def _text(reader: Reader, path: str) -> str:
    value = reader.value(path, lambda data: data.decode("ascii", "replace"), FILE_LIMIT)
    return value if isinstance(value, str) else ""

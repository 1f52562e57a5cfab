"""What rtnetlink says of interfaces, addresses and routes, in any network namespace that can be entered."""

import ctypes
import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vfiokit.address import PciAddress
from vfiokit.binding.evidence import Interface, Route
from vfiokit.binding.prober import NetworkView
from vfiokit.model.unknown import Unknown

__all__ = ["read_namespaces"]

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NLMSG = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_NEXTHOP = struct.Struct("=HBBi")
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST_DUMP = 0x1 | 0x300
_RTM_GETLINK, _RTM_GETADDR, _RTM_GETROUTE = 18, 22, 26
_IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_XDP = 3, 5, 10, 43
_IFLA_LINK_NETNSID = 37
_IFLA_PARENT_DEV_NAME, _IFLA_PARENT_DEV_BUS_NAME = 56, 57
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFLA_XDP_ATTACHED = 2
_RTA_DST, _RTA_OIF, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 9, 15
_RTN_UNICAST = 1
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_RT_TABLE_LOCAL = 255
_CLONE_NEWNET = 0x40000000
_NLA_TYPE_MASK = 0x3FFF
_NAMED = Path("/run/netns")
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_NET_ID = re.compile(r"net:\[([0-9]+)\]")


class _Link(NamedTuple):
    number: int
    name: str
    flags: int
    parent: PciAddress | None
    below: int
    master: int
    xdp: bool


def read_namespaces() -> NetworkView | Unknown:
    """Read every network namespace that a process is in or that has a name.

    A thread of its own enters them, so that the caller stays where it is.
    """
    result: list[NetworkView | Unknown] = []

    def run() -> None:
        try:
            result.append(_read_all())
        except OSError as error:
            result.append(Unknown(f"rtnetlink: {error.strerror}"))

    thread = threading.Thread(target=run, name="network namespaces")
    thread.start()
    thread.join()
    return result[0] if result else Unknown("rtnetlink: the reader failed")


def _read_all() -> NetworkView:
    own = os.stat("/proc/self/ns/net").st_ino
    interfaces, routes = _read_here("")
    missed: list[str] = []
    for number, (path, name) in sorted(_others(own, missed).items()):
        try:
            with open(path, "rb") as file:
                _enter(file.fileno())
            more = _read_here(name or f"net:[{number}]")
        except OSError as error:
            missed.append(f"{name or f'net:[{number}]'}: {error.strerror}")
            continue
        interfaces += more[0]
        routes += more[1]
    return NetworkView(tuple(interfaces), tuple(routes), tuple(missed))


def _others(own: int, missed: list[str]) -> dict[int, tuple[str, str]]:
    """Return path and name of the other namespaces, by inode number."""
    found: dict[int, tuple[str, str]] = {}
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        path = f"/proc/{pid}/ns/net"
        try:
            number = int(_NET_ID.fullmatch(os.readlink(path))[1])  # type: ignore[index]
        except FileNotFoundError:
            continue
        except (OSError, TypeError) as error:
            missed.append(f"the network namespace of pid {pid}: {getattr(error, 'strerror', 'odd link')}")
            continue
        found.setdefault(number, (path, ""))
    for entry in sorted(_NAMED.iterdir()) if _NAMED.is_dir() else ():
        number = entry.stat().st_ino
        found[number] = (str(entry), entry.name)
    found.pop(own, None)
    return found


def _enter(descriptor: int) -> None:
    """Move this thread into a network namespace; os.setns is in Python from 3.12 on."""
    setns: Callable[[int, int], None] | None = getattr(os, "setns", None)
    if setns is not None:
        setns(descriptor, _CLONE_NEWNET)
    elif ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _read_here(namespace: str) -> tuple[list[Interface], list[Route]]:
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as link:
        link.bind((0, 0))
        links = [_link(body) for body in _dump(link, _RTM_GETLINK, socket.AF_UNSPEC)]
        addresses = _addresses(link)
        names = {each.number: each.name for each in links}
        families = (socket.AF_INET, socket.AF_INET6)
        rows = [body for family in families for body in _dump(link, _RTM_GETROUTE, family)]
    routes = [route for body in rows for route in _routes(body, namespace, names)]
    interfaces = [
        Interface(
            namespace=namespace,
            name=each.name,
            parent=each.parent,
            up=bool(each.flags & _IFF_UP),
            carrier=bool(each.flags & _IFF_RUNNING),
            stacked=tuple(sorted(_stacked(each, links))),
            addresses=tuple(addresses.get(each.number, ())),
            program=each.xdp,
        )
        for each in links
    ]
    return interfaces, routes


def _stacked(link: _Link, links: list[_Link]) -> Iterator[str]:
    """Yield the names of what stands on a link: its master, and links that name it as theirs."""
    for other in links:
        if other.number == link.master or (other.below == link.number and other.number != link.number):
            yield other.name


def _addresses(sock: socket.socket) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for body in _dump(sock, _RTM_GETADDR, socket.AF_UNSPEC):
        family, *_, index = _IFADDR.unpack_from(body)
        if family in (socket.AF_INET, socket.AF_INET6):
            attributes = dict(_attributes(body, _IFADDR.size))
            data = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if data:
                found.setdefault(index, []).append(socket.inet_ntop(family, data))
    return found


def _link(body: bytes) -> _Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    attributes = dict(_attributes(body, _IFINFO.size))
    xdp = dict(_attributes(attributes.get(_IFLA_XDP, b""), 0)).get(_IFLA_XDP_ATTACHED, b"\0")
    elsewhere = _IFLA_LINK_NETNSID in attributes
    return _Link(
        number=index,
        name=_string(attributes.get(_IFLA_IFNAME, b"")),
        flags=flags,
        parent=_parent(attributes),
        below=0 if elsewhere else _integer(attributes.get(_IFLA_LINK, b"")),
        master=_integer(attributes.get(_IFLA_MASTER, b"")),
        xdp=xdp != b"\0",
    )


def _parent(attributes: dict[int, bytes]) -> PciAddress | None:
    # Since Linux 5.14 a link names the device it is on, in whatever namespace it is; for virtio and USB
    # that is not the function itself, but sysfs knows where the device hangs.
    bus = _string(attributes.get(_IFLA_PARENT_DEV_BUS_NAME, b""))
    name = _string(attributes.get(_IFLA_PARENT_DEV_NAME, b""))
    if not bus or not name:
        return None
    functions = _PCI.findall(os.path.realpath(f"/sys/bus/{bus}/devices/{name}"))
    return PciAddress.parse(functions[-1]) if functions else None


def _routes(body: bytes, namespace: str, names: dict[int, str]) -> Iterator[Route]:
    family, length, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(body)
    attributes = dict(_attributes(body, _RTMSG.size))
    number = _integer(attributes[_RTA_TABLE]) if _RTA_TABLE in attributes else table
    if kind != _RTN_UNICAST or number == _RT_TABLE_LOCAL:
        return
    destination = attributes.get(_RTA_DST)
    text = (
        f"{socket.inet_ntop(family, destination)}/{length}" if destination else f"default ({_name(family)})"
    )
    indices = [_integer(attributes[_RTA_OIF])] if _RTA_OIF in attributes else []
    for index in (*indices, *_nexthops(attributes.get(_RTA_MULTIPATH, b""))):
        name = names.get(index, f"interface {index}")
        if name != "lo":
            yield Route(namespace, name, text, number, default=destination is None)


def _name(family: int) -> str:
    return "IPv4" if family == socket.AF_INET else "IPv6"


def _nexthops(data: bytes) -> Iterator[int]:
    while len(data) >= _NEXTHOP.size:
        length, _, _, index = _NEXTHOP.unpack_from(data)
        yield index
        data = data[max(_NEXTHOP.size, length + 3 & ~3) :]


def _dump(sock: socket.socket, kind: int, family: int) -> Iterator[bytes]:
    """Ask for a table and yield the body of each message."""
    request = bytes([family]) + bytes(15)
    sock.send(_NLMSG.pack(_NLMSG.size + len(request), kind, _NLM_F_REQUEST_DUMP, 1, 0) + request)
    while True:
        data = sock.recv(1 << 18)
        while len(data) >= _NLMSG.size:
            length, answer, *_ = _NLMSG.unpack_from(data)
            body, data = data[_NLMSG.size : length], data[length + 3 & ~3 :]
            if answer == _NLMSG_DONE:
                return
            if answer == _NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, os.strerror(number))
            yield body


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + _ATTR.size <= len(body):
        length, kind = _ATTR.unpack_from(body, offset)
        if length < _ATTR.size:
            return
        yield kind & _NLA_TYPE_MASK, body[offset + _ATTR.size : offset + length]
        offset += length + 3 & ~3


def _integer(data: bytes) -> int:
    return int.from_bytes(data[:4], sys.byteorder)


def _string(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace")

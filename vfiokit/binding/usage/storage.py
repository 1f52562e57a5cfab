"""Block devices that rest on a function, and where the host uses or names them."""

import re
from collections.abc import Iterator

from vfiokit.binding.evidence import Block, Child, Entry, Mount, Swap
from vfiokit.binding.prober import Prober
from vfiokit.binding.usage.children import listing, number, resolve
from vfiokit.model.unknown import NOT_READ, Unknown, known
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import FILE_LIMIT, DeviceNumber

__all__ = ["read_blocks", "read_entries", "read_mounts", "read_swaps"]

_CLASS = "sys/class/block"
_SUBSYSTEMS = "sys/class/nvme-subsystem"
_UDEV = "run/udev/data/b{}:{}"
_EFI_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_HEAD = re.compile(r"nvme[0-9]+n[0-9]+")
_FSTAB = ("etc/fstab", "etc/crypttab")
_KERNEL_NAMES = re.compile(r"(?:^| )(root|resume|swap)=(\S+)")
_OCTAL = re.compile(r"\\([0-7]{3})")


def read_blocks(reader: Reader, children: tuple[Child, ...], prober: Prober) -> tuple[Block, ...]:
    """Read the disks below a function and, without end, what is stacked on them."""
    found: dict[str, Block] = {}
    disks = [child.name for child in children if child.subsystem == "block"]
    for name in (*disks, *_multipath_heads(reader, children)):
        _collect(reader, name, (), found, prober)
    return tuple(found.values())


def read_mounts(reader: Reader, pids: list[str]) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
    """Read the mounts of every mount namespace that a process is in, and what kept us from others."""
    mounts: list[Mount] = []
    missed: list[str] = []
    seen: set[str] = set()
    for pid in pids:
        namespace = reader.target(f"proc/{pid}/ns/mnt")
        if isinstance(namespace, Unknown):
            missed.append(f"the mount namespace of pid {pid}: {namespace.reason}")
        if not isinstance(namespace, str) or namespace in seen:
            continue
        text = reader.value(f"proc/{pid}/mountinfo", _text, FILE_LIMIT)
        if isinstance(text, str):
            seen.add(namespace)
            mounts += _mount_lines(namespace, text)
    if not seen:
        missed.append("no process whose mounts may be read")
    held = {mount.source for mount in mounts if mount.type == "nsfs"}
    missed += [
        f"{name} is kept by a mount and no process is in it"
        for name in sorted(held - seen)
        if name.startswith("mnt:")
    ]
    return tuple(mounts), tuple(missed)


def read_swaps(reader: Reader) -> tuple[Swap, ...] | Unknown:
    """Read the active swap areas."""
    text = reader.value("proc/swaps", _text)
    if text is None or isinstance(text, Unknown):
        return text if isinstance(text, Unknown) else ()
    paths = [_unescape(line.split()[0]).lstrip("/") for line in text.splitlines()[1:] if line.split()]
    return tuple(Swap(path, _node(reader, path)) for path in paths)


def read_entries(reader: Reader) -> tuple[Entry, ...]:
    """Read what fstab, crypttab and the kernel's command line name."""
    entries = [entry for file in _FSTAB for entry in _table(reader, file)]
    line = reader.value("proc/cmdline", _text)
    if isinstance(line, str):
        entries += [
            Entry("proc/cmdline", what.strip('"'), f"{key}=")
            for key, what in _KERNEL_NAMES.findall(line.strip())
        ]
    return tuple(entries)


def _collect(
    reader: Reader, name: str, above: tuple[str, ...], found: dict[str, Block], prober: Prober
) -> None:
    if name in found:
        return
    path = resolve(reader, f"{_CLASS}/{name}")
    if path is None:
        path = f"{_CLASS}/{name}"
    names = listing(reader, path)
    title, stacked = _title(reader, path, name, names)
    chain = (*above, title)
    found[name] = _block(
        reader, path, name, names, chain=" > ".join(chain), stacked=stacked, above=above, prober=prober
    )
    for below in sorted(names):
        if below.startswith(name) and reader.value(f"{path}/{below}/partition", bytes) is not None:
            _collect(reader, below, chain, found, prober)
    for holder in listing(reader, f"{path}/holders"):
        _collect(reader, holder, chain, found, prober)


def _block(
    reader: Reader,
    path: str,
    name: str,
    names: list[str],
    *,
    chain: str,
    stacked: bool,
    above: tuple[str, ...],
    prober: Prober,
) -> Block:
    node = number(reader, f"{path}/dev", block=True)
    udev = dict(_udev(reader, node)) if node else {}
    signature = udev.get("ID_FS_TYPE") or udev.get("ID_PART_TABLE_TYPE", "")
    if not signature and any(below.startswith(name) for below in names if below != name):
        signature = "partitions"
    if not signature and not stacked:
        signature = known(prober.signature(name, node), "") or ""
    return Block(
        name=name,
        number=node,
        chain=chain,
        stacked=stacked,
        partition="partition" in names,
        names=tuple(_aliases(reader, path, name, udev)),
        signature=signature,
        efi=udev.get("ID_PART_ENTRY_TYPE", "").lower() == _EFI_TYPE,
        # What is stacked on a disk holds it: that it is claimed itself adds nothing.
        claimed=prober.claimed(name, node) if not stacked else NOT_READ,
    )


def _title(reader: Reader, path: str, name: str, names: list[str]) -> tuple[str, bool]:
    """Say what a block device is, and whether it is stacked on others."""
    if "dm" in names:
        label = _line(reader, f"{path}/dm/name")
        kind = _line(reader, f"{path}/dm/uuid").partition("-")[0] or "device mapper"
        return f"{name} ({kind} {label})", True
    if "md" in names:
        return f"{name} (md {_line(reader, f'{path}/md/level')})", True
    return name, name.startswith(("dm-", "md", "bcache"))


def _aliases(reader: Reader, path: str, name: str, udev: dict[str, str]) -> Iterator[str]:
    yield f"dev/{name}"
    label = _line(reader, f"{path}/dm/name")
    if label:
        yield f"dev/mapper/{label}"
    for key, prefix in (
        ("ID_FS_UUID", "UUID="),
        ("ID_FS_LABEL", "LABEL="),
        ("ID_PART_ENTRY_UUID", "PARTUUID="),
        ("ID_PART_ENTRY_NAME", "PARTLABEL="),
    ):
        if key in udev:
            yield f"{prefix}{udev[key]}"
    yield from (f"dev/{link}" for link in udev.get("links", "").split())


def _udev(reader: Reader, node: DeviceNumber) -> Iterator[tuple[str, str]]:
    text = reader.value(_UDEV.format(node.major, node.minor), _text, FILE_LIMIT)
    links = []
    for line in text.splitlines() if isinstance(text, str) else ():
        if line.startswith("S:"):
            links.append(line[2:])
        key, found, value = line.removeprefix("E:").partition("=")
        if line.startswith("E:") and found:
            yield key, value
    if links:
        yield "links", " ".join(links)


def _multipath_heads(reader: Reader, children: tuple[Child, ...]) -> Iterator[str]:
    """Yield the disks that NVMe multipath keeps under a subsystem of its own, not under the function."""
    controllers = {child.name for child in children if child.subsystem == "nvme"}
    if not controllers:
        return
    for subsystem in listing(reader, _SUBSYSTEMS):
        path = resolve(reader, f"{_SUBSYSTEMS}/{subsystem}")
        names = listing(reader, path or f"{_SUBSYSTEMS}/{subsystem}")
        if controllers & set(names):
            yield from (name for name in names if _HEAD.fullmatch(name))


def _mount_lines(namespace: str, text: str) -> Iterator[Mount]:
    """Yield the mounts of a mountinfo (proc_pid_mountinfo(5)); optional fields end at a dash."""
    for line in text.splitlines():
        fields = line.split(" ")
        try:
            dash = fields.index("-", 6)
            major, minor = map(int, fields[2].split(":"))
        except ValueError:
            continue
        kind, source = fields[dash + 1 : dash + 3]
        if kind == "nsfs":
            source = fields[3]
        options = ",".join((fields[5], *fields[dash + 3 :]))
        node = DeviceNumber(True, major, minor)
        yield Mount(namespace, _unescape(fields[4]), kind, _unescape(source), node, options)


def _table(reader: Reader, file: str) -> Iterator[Entry]:
    text = reader.value(file, _text, FILE_LIMIT)
    for line in text.splitlines() if isinstance(text, str) else ():
        fields = line.split("#")[0].split()
        if len(fields) >= 2:
            # crypttab has the mapping first, fstab the device.
            what, where = (fields[1], fields[0]) if file.endswith("crypttab") else (fields[0], fields[1])
            yield Entry(file, _unescape(what).strip('"'), _unescape(where))


def _node(reader: Reader, path: str) -> DeviceNumber | None:
    try:
        return reader.source.device(path)
    except OSError:
        return None


def _line(reader: Reader, path: str) -> str:
    value = reader.value(path, _text)
    return value.strip() if isinstance(value, str) else ""


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")

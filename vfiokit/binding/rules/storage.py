"""Whether the host keeps its data on a function."""

from collections.abc import Iterator

from vfiokit.binding.case import Case, Hit
from vfiokit.binding.evidence import Block, Mount
from vfiokit.model.unknown import Unknown

__all__ = [
    "claimed",
    "configured",
    "data",
    "holders",
    "mounted",
    "open_nodes",
    "root",
    "root_mounts",
    "shared",
    "swap",
    "unseen",
]

_EFI_POINTS = frozenset({"/boot/efi", "/efi"})
_SHARED = frozenset({"9p", "virtiofs"})
_LAYERS = ("lowerdir=", "upperdir=")


def root(case: Case) -> Iterator[Hit]:
    """Find whether the running root or the EFI system partition is on it."""
    for block in case.use.blocks:
        for mount in _mounts_of(case, block):
            if mount in root_mounts(case) or _is_efi(block, mount):
                yield Hit((_line(block, mount),))
        if block.efi:
            yield Hit((f"{block.chain}: an EFI system partition",))
    for tag in case.use.tags:
        for mount in root_mounts(case):
            if mount.type in _SHARED and mount.source == tag:
                yield Hit((f"{mount.type} {tag} on {mount.point}",))
        for layer in _hidden_layers(case):
            yield Hit((f"mount tag {tag}", f"the root is an overlay of {layer}, which no mount shows"))


def mounted(case: Case) -> Iterator[Hit]:
    """Find whether a file system on it is mounted, in whatever namespace."""
    lines = [
        _line(block, mount)
        for block in case.use.blocks
        for mount in _mounts_of(case, block)
        if mount not in root_mounts(case)
    ]
    if lines:
        yield Hit(tuple(dict.fromkeys(lines)))


def swap(case: Case) -> Iterator[Hit]:
    """Find whether the host swaps to it."""
    for block in case.use.blocks:
        for area in case.evidence.swaps:
            if (area.number and area.number == block.number) or area.path in block.names:
                yield Hit((f"{block.chain}: swap area {area.path}",))


def holders(case: Case) -> Iterator[Hit]:
    """Find whether something is stacked on it: device mapper, md, LVM, LUKS, bcache, multipath."""
    stacked = [block for block in case.use.blocks if block.stacked]
    if stacked:
        yield Hit(tuple(f"holders: {block.chain}" for block in stacked))


def claimed(case: Case) -> Iterator[Hit]:
    """Find whether the kernel refuses an exclusive open: ZFS, a second device of btrfs, another holder."""
    held = [block for block in case.use.blocks if block.claimed is True]
    if held:
        yield Hit(tuple(f"{block.chain}: an exclusive open answers EBUSY" for block in held))
    for block in case.use.blocks:
        if isinstance(block.claimed, Unknown) and not block.stacked:
            yield Hit((f"exclusive open of {block.name}: {block.claimed.reason}",), unknown=True)


def configured(case: Case) -> Iterator[Hit]:
    """Find whether the host's configuration names it, even if it is not mounted now."""
    for block in case.use.blocks:
        for entry in case.evidence.entries:
            if entry.what.lstrip("/") in block.names:
                yield Hit((f"{entry.file}: {entry.what} {entry.where} ({block.chain})",))
    unresolved = _unresolved(case)
    if unresolved:
        yield Hit(
            tuple(f"{text} could not be compared: udev keeps no record of the disk" for text in unresolved),
            True,
        )


def open_nodes(case: Case) -> Iterator[Hit]:
    """Find whether a process has one of its block devices open."""
    for handle, name in case.handles(block=True):
        yield Hit((f"{handle} has {name} open",))


def shared(case: Case) -> Iterator[Hit]:
    """Find whether it serves a file system of the host below (9p, virtiofs)."""
    for tag in case.use.tags:
        mounts = [each for each in case.evidence.mounts if each.type in _SHARED and each.source == tag]
        if mounts:
            yield Hit(tuple(f"{each.type} {tag} on {each.point}" for each in mounts))
        else:
            yield Hit((f"mount tag {tag}: a mount of it may be hidden below another",), unknown=True)


def data(case: Case) -> Iterator[Hit]:
    """Find whether there is a partition table or a file system on it that nobody uses."""
    marked = [block for block in case.use.blocks if block.signature and not block.stacked]
    if marked:
        yield Hit(tuple(f"{block.chain}: {block.signature}" for block in marked))


def unseen(case: Case) -> Iterator[Hit]:
    """Find whether a mount namespace could not be looked into, and there are disks on the function."""
    if case.use.blocks:
        for text in (*case.unseen("mounts"), *case.unseen("swap")):
            yield Hit((text,), unknown=True)


def _mounts_of(case: Case, block: Block) -> Iterator[Mount]:
    for mount in case.evidence.mounts:
        if mount.type not in _SHARED and (
            mount.number == block.number or mount.source.lstrip("/") in block.names
        ):
            yield mount


def root_mounts(case: Case) -> tuple[Mount, ...]:
    """Return the mounts at the root of the first namespace, and those that its overlay rests on."""
    mounts = case.evidence.mounts
    first = mounts[0].namespace if mounts else ""
    own = [mount for mount in mounts if mount.namespace == first]
    found = [mount for mount in own if mount.point == "/"]
    for layer in _layers(found):
        below = _mount_at(own, layer)
        if below is not None and below.point != "/":
            found.append(below)
    return tuple(found)


def _hidden_layers(case: Case) -> tuple[str, ...]:
    """Return directories that the root overlay rests on and that lie on no mount that shows."""
    mounts = case.evidence.mounts
    own = [mount for mount in mounts if mount.namespace == mounts[0].namespace]
    layers = _layers([mount for mount in own if mount.point == "/"])
    return tuple(layer for layer in layers if (found := _mount_at(own, layer)) is None or found.point == "/")


def _layers(mounts: list[Mount]) -> list[str]:
    options = [option for mount in mounts if mount.type == "overlay" for option in mount.options.split(",")]
    return [
        path
        for option in options
        for prefix in _LAYERS
        if option.startswith(prefix)
        for path in option.removeprefix(prefix).split(":")
    ]


def _mount_at(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount that a path lies on; the last of those at one point is the one on top."""
    over = [
        mount for mount in mounts if path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
    ]
    return max(reversed(over), key=lambda mount: len(mount.point), default=None)


def _is_efi(block: Block, mount: Mount) -> bool:
    return mount.point in _EFI_POINTS or (mount.point == "/boot" and mount.type == "vfat")


def _unresolved(case: Case) -> list[str]:
    """Return entries by identifier that cannot be compared, for want of identifiers of our blocks."""
    if not case.use.blocks or any("=" in name for block in case.use.blocks for name in block.names):
        return []
    return [
        f"{entry.file}: {entry.what}"
        for entry in case.evidence.entries
        if "=" in entry.what or entry.what.startswith("/dev/disk/")
    ]


def _line(block: Block, mount: Mount) -> str:
    return f"{block.chain}: {mount.type} on {mount.point} in {mount.namespace}"

"""What stands on one function."""

import re

from vfiokit.address import AddressRange, PciAddress
from vfiokit.binding.evidence import Child, FunctionUse
from vfiokit.binding.prober import Prober
from vfiokit.binding.usage.children import device_path, listing, opens_bus, read_children
from vfiokit.binding.usage.storage import read_blocks
from vfiokit.model.device import PciDevice
from vfiokit.model.unknown import Unknown
from vfiokit.pci.capabilities import ExtendedId, extended
from vfiokit.sysfs import attributes
from vfiokit.sysfs.reader import Reader
from vfiokit.sysfs.source import FILE_LIMIT, DeviceNumber, Source

__all__ = ["Overriders", "nvidia_node", "read_function", "read_overriders", "read_serial"]

Overriders = tuple[tuple[str, str], ...]

_IORESOURCE_MEM = 0x200
_NVIDIA_MAJOR = 195
_DRIVERCTL = "etc/driverctl.d"
_RULES = ("etc/udev/rules.d", "run/udev/rules.d")
_MODULE_OF = "sys/bus/pci/drivers/{}/module"
# Drivers whose use does not show in open handles: NVIDIA's persistence mode holds the device without any.
_SILENT_USERS = frozenset({"nvidia"})


def read_function(
    reader: Reader, device: PciDevice, prober: Prober, overriders: Overriders = ()
) -> FunctionUse:
    """Read the use of one function; a bridge's own directory holds other functions, not its use."""
    path = device_path(reader, str(device.address))
    children = () if device.is_bridge else read_children(reader, path)
    below = () if isinstance(children, Unknown) else children
    return FunctionUse(
        address=device.address,
        path=path,
        children=children,
        blocks=read_blocks(reader, below, prober),
        ranges=_ranges(reader, path),
        vfs=reader.value(f"{path}/sriov_numvfs", attributes.integer),
        vfs_autoprobe=_flag(reader, f"{path}/sriov_drivers_autoprobe"),
        mediated=tuple(child.name for child in below if child.subsystem == "mdev"),
        opens_bus=not device.is_bridge and opens_bus(reader, path),
        tags=tuple(_tags(reader, below)),
        power_state=reader.value(f"{path}/power_state", attributes.line),
        d3cold_allowed=reader.value(f"{path}/d3cold_allowed", attributes.boolean),
        power_control=reader.value(f"{path}/power/control", attributes.line),
        alive=_alive(reader, path),
        unexplained=_unexplained(reader, device),
        overridden_by=tuple(title for title, text in overriders if str(device.address) in text),
        serial=_serial(reader, path),
        modalias=_modalias(reader, path),
        suppliers=_suppliers(reader, path),
    )


def nvidia_node(reader: Reader, address: PciAddress) -> DeviceNumber | None:
    """Return the node that NVIDIA's driver has for a function, which is not in sysfs."""
    text = reader.value(f"proc/driver/nvidia/gpus/{address}/information", _text)
    found = re.search(r"Device Minor:\s+([0-9]+)", text) if isinstance(text, str) else None
    return DeviceNumber(False, _NVIDIA_MAJOR, int(found[1])) if found else None


def _ranges(reader: Reader, path: str) -> tuple[AddressRange, ...] | Unknown:
    text = reader.value(f"{path}/resource", _text)
    if isinstance(text, Unknown):
        return text
    found = []
    for line in (text or "").splitlines()[:6]:
        start, end, flags = (int(field, 16) for field in line.split())
        if flags & _IORESOURCE_MEM and end:
            found.append(AddressRange(start, end + 1))
    return tuple(found)


def _tags(reader: Reader, children: tuple[Child, ...]) -> list[str]:
    tags = []
    for child in children:
        for name in ("mount_tag", "tag"):
            value = reader.value(f"{child.path}/{name}", bytes) if child.subsystem == "virtio" else None
            if isinstance(value, bytes) and value:
                tags.append(value.rstrip(b"\0\n").decode("utf-8", "replace"))
    return tags


def _alive(reader: Reader, path: str) -> bool | Unknown:
    try:
        head = reader.source.read_at(f"{path}/config", 0, 4)
    except OSError as error:
        return Unknown(error.strerror or "config could not be read")
    return head != b"\xff\xff\xff\xff"


def _unexplained(reader: Reader, device: PciDevice) -> int | Unknown:
    if device.driver not in _SILENT_USERS:
        return 0
    module = reader.target(_MODULE_OF.format(device.driver))
    count = reader.value(f"sys/module/{module}/refcnt", attributes.integer)
    holders = len(listing(reader, f"sys/module/{module}/holders"))
    return max(0, count - holders) if isinstance(count, int) else Unknown("no count of its module's users")


def read_overriders(reader: Reader) -> Overriders:
    """Read the files of others that set overrides, once for all functions: what each is, and its text."""
    found = [
        (f"driverctl ({_DRIVERCTL}/{name})", name.removeprefix("pci-"))
        for name in listing(reader, _DRIVERCTL)
    ]
    for directory in _RULES:
        for name in listing(reader, directory):
            text = reader.value(f"{directory}/{name}", _text, FILE_LIMIT)
            if isinstance(text, str) and "driver_override" in text:
                found.append((f"a udev rule ({directory}/{name})", text))
    return tuple(found)


def _flag(reader: Reader, path: str) -> bool | None:
    value = reader.value(path, attributes.boolean)
    return None if isinstance(value, Unknown) else value


def read_serial(source: Source, address: PciAddress) -> str:
    """Return the Device Serial Number of a function, empty where it has none or it cannot be read."""
    reader = Reader(source)
    return _serial(reader, device_path(reader, str(address)))


def _serial(reader: Reader, path: str) -> str:
    def read(offset: int, size: int) -> bytes:
        try:
            return reader.source.read_at(f"{path}/config", offset, size)
        except OSError:
            return b""

    for found in extended(read):
        if found.id == ExtendedId.DEVICE_SERIAL_NUMBER:
            data = read(found.offset + 4, 8)
            return data[::-1].hex() if len(data) == 8 else ""
    return ""


def _modalias(reader: Reader, path: str) -> str:
    value = reader.value(f"{path}/modalias", attributes.line)
    return value if isinstance(value, str) else ""


def _suppliers(reader: Reader, path: str) -> tuple[PciAddress, ...]:
    names = listing(reader, path)
    texts = [name.removeprefix("supplier:pci:") for name in names if name.startswith("supplier:pci:")]
    return tuple(sorted(PciAddress.parse(text) for text in texts))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")

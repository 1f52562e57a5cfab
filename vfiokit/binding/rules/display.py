"""Whether people look at a function, type on it, or programs compute on it."""

from collections.abc import Iterator

from vfiokit.analysis.viability import occupation
from vfiokit.binding.case import Case, Hit
from vfiokit.model.unknown import Unknown, known

__all__ = [
    "boot_vga",
    "console",
    "framebuffer",
    "handles_unseen",
    "held_silently",
    "last_display",
    "last_input",
    "open_nodes",
    "usb_devices",
]

_DISPLAY = 0x03
_REMEDIES = {"simpledrm": "initcall_blacklist=simpledrm_platform_driver_init", "BOOTFB": "video=efifb:off"}


def boot_vga(case: Case) -> Iterator[Hit]:
    """Find firmware's primary display."""
    if isinstance(case.device.boot_vga, Unknown):
        yield Hit((f"boot_vga: {case.device.boot_vga}",), unknown=True)
    elif case.device.boot_vga:
        yield Hit(("boot_vga: 1",))


def framebuffer(case: Case) -> Iterator[Hit]:
    """Find whether the boot framebuffer lies in one of its BARs: VFIO could not claim the BAR."""
    if known(case.device.class_code, 0) >> 16 != _DISPLAY:
        return
    areas, ranges = case.evidence.environment.framebuffers, case.use.ranges
    for value in (areas, ranges):
        if isinstance(value, Unknown):
            yield Hit((value.reason,), unknown=True)
    for area, name in known(areas, ()):
        for bar in known(ranges, ()):
            if bar.overlaps(area):
                hint = _REMEDIES.get(name, f"video={name}:off")
                yield Hit(
                    (f"proc/iomem: {area} {name} inside a BAR at {bar}", f"boot with {hint} to be rid of it")
                )


def console(case: Case) -> Iterator[Hit]:
    """Find whether the host's text console is drawn by it."""
    bound = case.evidence.environment.console_bound
    for child in case.use.of("graphics"):
        if bound or isinstance(bound, Unknown):
            yield Hit(
                (f"{child.name}: the virtual console is bound to a framebuffer",), isinstance(bound, Unknown)
            )


def open_nodes(case: Case) -> Iterator[Hit]:
    """Find whether a process has one of its character devices open: DRM, sound, input, an accelerator."""
    for handle, name in case.handles(block=False):
        yield Hit((f"{handle} has {name} open",))


def held_silently(case: Case) -> Iterator[Hit]:
    """Find whether something that no handle shows uses its driver: NVIDIA's persistence mode."""
    count = case.use.unexplained
    if isinstance(count, Unknown):
        yield Hit((count.reason,), unknown=True)
    elif count and not any(True for _ in case.handles()):
        yield Hit(
            (f"{count} references to the module of {case.device.driver} without an open handle",),
            unknown=True,
        )


def handles_unseen(case: Case) -> Iterator[Hit]:
    """Find whether not every process could be looked into."""
    if case.device.driver is not None:
        for text in case.unseen("handles"):
            yield Hit((text,), unknown=True)


def last_display(case: Case) -> Iterator[Hit]:
    """Find whether no other display stays with the host."""
    if known(case.device.class_code, 0) >> 16 != _DISPLAY or case.device.driver is None:
        return
    others = [
        each
        for each in case.host.devices
        if known(each.class_code, 0) >> 16 == _DISPLAY
        and each.address not in case.moving
        and occupation(case.host, each).in_the_way
    ]
    if not others:
        yield Hit(("no other display has a host driver",))


def last_input(case: Case) -> Iterator[Hit]:
    """Find the last keyboard or pointer of a machine at which somebody may sit."""
    here = [each for each in case.evidence.inputs if each.address == case.device.address]
    rest = [each for each in case.evidence.inputs if each.address not in case.moving]
    if here and not rest and case.evidence.environment.local_seat:
        yield Hit(tuple(f"proc/bus/input/devices: {each.name}" for each in here))


def usb_devices(case: Case) -> Iterator[Hit]:
    """Find whether devices hang on a USB controller."""
    names = [child.name for child in case.use.of("usb") if ":" not in child.name and "-" in child.name]
    if names:
        yield Hit((f"USB devices: {', '.join(names)}",))

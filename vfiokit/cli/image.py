"""What the commands on remapping tables share: opening an image of memory, and the unit that walks it."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from vfiokit.address import PciAddress
from vfiokit.errors import CannotTell, UsageError
from vfiokit.translation.iommu import AmdIommu, Iommu
from vfiokit.translation.memory import ImageMemory
from vfiokit.translation.reach import DomainReach, reach_of_text, reach_of_unit

__all__ = ["ADDRESS", "SOURCE", "TableOptions", "audit_options", "open_memory", "table_options"]

_CAP, _ECAP = 0x00D2008C222F0606, 0x0000000000F00F4A
FOUR_GIB = 1 << 32

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class _Number(click.ParamType):  # type: ignore[type-arg]
    """A number with or without ``0x``; sizes may end in K, M or G."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        text, shift = value, 0
        if text[-1:].upper() in ("K", "M", "G"):
            text, shift = text[:-1], 10 * ("KMG".index(text[-1].upper()) + 1)
        try:
            number = int(text, 0) << shift
        except ValueError:
            self.fail(f"{value!r} is not a number, like 0x1000", param, ctx)
        if not 0 <= number < 1 << 64:
            self.fail(f"{value!r} does not fit in 64 bits", param, ctx)
        return number


class _Source(click.ParamType):  # type: ignore[type-arg]
    """A function's address, which stands for the source-id that the unit sees."""

    name = "BDF"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        try:
            return value if isinstance(value, int) else PciAddress.parse(value).source_id
        except UsageError as error:
            self.fail(str(error), param, ctx)


ADDRESS, SOURCE = _Number(), _Source()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """Where the memory is and what walks it."""

    image: str | None
    start: int
    low_memory: int | None
    rtaddr: int | None
    device_table: int | None
    cap: int
    ecap: int
    efr: int
    host_address_width: int | None
    debugfs: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """What is read, for documents."""
        return self.image or ", ".join(self.debugfs)

    def reach(self, sources: tuple[int, ...]) -> tuple[DomainReach, ...]:
        """Return what the domains reach; *sources* narrows them to these requesters."""
        if not self.debugfs:
            return reach_of_unit(self.unit(), sources or None)
        if self.image is not None:
            raise UsageError("either --image or --debugfs, not both", operation="walk")
        return reach_of_text(map(_read_text, self.debugfs), sources or None)

    def unit(self) -> Iommu | AmdIommu:
        """Open the image and return the unit over it."""
        if (self.rtaddr is None) == (self.device_table is None):
            raise UsageError("exactly one of --rtaddr and --device-table is needed", operation="walk")
        if self.image is None:
            raise UsageError("--image is needed", operation="walk")
        memory = open_memory(self.image, self.start, self.low_memory)
        if self.device_table is not None:
            self._inside(memory, self.device_table & ~0xFFF & (1 << 52) - 1, "--device-table")
            return AmdIommu(memory, self.device_table, efr=self.efr)
        assert self.rtaddr is not None
        self._inside(memory, self.rtaddr & ~0xFFF, "--rtaddr")
        return Iommu(memory, self.rtaddr, self.cap, self.ecap, host_address_width=self.host_address_width)

    def _inside(self, memory: ImageMemory, address: int, option: str) -> None:
        if memory.read64(address) is None:
            raise CannotTell(
                f"{address:#x} is not in the image",
                operation=option,
                subject=self.subject,
                hint="is --start or --low-memory missing?",
            )


def table_options(function: FunctionT) -> FunctionT:
    """Add the options of :class:`TableOptions`."""
    options = (
        click.option("--image", metavar="FILE", help="Memory: a raw image, or QEMU's shared file."),
        click.option("--start", type=ADDRESS, default=0, help="Physical address of the file's first byte."),
        click.option(
            "--low-memory",
            type=ADDRESS,
            metavar="SIZE",
            help="QEMU's RAM below 4 GiB; what follows in the file lies from 4 GiB on (2G on q35).",
        ),
        click.option("--rtaddr", type=ADDRESS, help="VT-d: the root table address register."),
        click.option("--device-table", type=ADDRESS, help="AMD-Vi: the device table base register."),
        click.option("--cap", type=ADDRESS, default=_CAP, help="VT-d: CAP_REG; else that of QEMU's unit."),
        click.option(
            "--ecap", type=ADDRESS, default=_ECAP, help="VT-d: ECAP_REG; else that of QEMU's unit."
        ),
        click.option("--efr", type=ADDRESS, default=0, help="AMD-Vi: the extended feature register."),
        click.option(
            "--host-address-width", type=click.IntRange(13, 52), metavar="BITS", help="As DMAR says it."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def audit_options(function: FunctionT) -> FunctionT:
    """Add the options of :class:`TableOptions`, and the kernel's own dump as another place to read from."""
    return table_options(
        click.option(
            "--debugfs",
            multiple=True,
            metavar="FILE",
            help="Instead of an image: domain_translation_struct of the kernel's debugfs; may be repeated.",
        )(function)
    )


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise CannotTell.from_os(error, operation="read", subject=path) from error


def open_memory(path: str, start: int = 0, low_memory: int | None = None) -> ImageMemory:
    """Map a file of physical memory, read only.

    :raises CannotTell: if it cannot be opened, or is empty.
    """
    try:
        with Path(path).open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise CannotTell.from_os(error, operation="open image", subject=path) from error
    except ValueError as error:
        raise CannotTell("the file is empty", operation="open image", subject=path) from error
    if low_memory is None or len(data) <= low_memory:
        return ImageMemory(data, start)
    return ImageMemory.of_segments([(start, data[:low_memory]), (FOUR_GIB, data[low_memory:])])

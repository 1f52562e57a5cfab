"""``vfiokit config``: every register and field of config space; lspci's text; differences by field."""

import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, NamedTuple

import click

from vfiokit.address import PciAddress
from vfiokit.analysis.selection import is_name, select_device
from vfiokit.cli.common import complete_selector, echo_document, echo_lines, open_root
from vfiokit.errors import NotFound, UsageError, VfiokitError
from vfiokit.pci.config import ConfigSpace
from vfiokit.pci.dump import Dumped, format_dump, parse_dump
from vfiokit.pci.image import BytesImage, Origin
from vfiokit.pci.lspci import KernelView, lspci_text
from vfiokit.sysfs.scan import Part, scan

if TYPE_CHECKING:
    from vfiokit.sysfs.function import FunctionFiles

__all__ = ["command"]

_FORMATS = ("text", "lspci", "dump", "vfio")
_VFIO = "vfio"


class _Function(NamedTuple):
    """One function to show."""

    address: PciAddress | None
    space: ConfigSpace
    kernel: KernelView | None = None
    files: "FunctionFiles | None" = None

    @property
    def name(self) -> str:
        return "the given bytes" if self.address is None else str(self.address)


@click.command("config", short_help="Decode config space, register by register.")
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1, shell_complete=complete_selector)
@click.option("--all", "every", is_flag=True, help="Every function of the host.")
@click.option(
    "--dump",
    "dump",
    type=click.File("rb"),
    help="Read a dump by lspci -x, -xxx or -xxxx; - for standard input.",
)
@click.option("--from", "digits", metavar="HEX", help="Read these bytes.")
@click.option(
    "--format",
    "style",
    type=click.Choice(_FORMATS),
    help="text by default; lspci's text; a dump; what vfio-pci makes of each register.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
@click.option(
    "--schema", "as_schema", is_flag=True, help="Print the JSON Schema of --json, and nothing else."
)
@click.option("--only", metavar="CAP[.REGISTER[.FIELD]]", help="Show this alone.")
@click.option(
    "--diff",
    "other",
    metavar="OTHER",
    help="Show what differs from another function, from a dump of it, or from vfio: what vfio-pci shows.",
)
@click.option(
    "--open",
    "opened",
    is_flag=True,
    help="With --diff vfio: open the device, which takes its group and resets it, and read what it shows.",
)
@click.pass_context
def command(
    ctx: click.Context,
    selectors: tuple[str, ...],
    every: bool,
    dump: IO[bytes] | None,
    digits: str | None,
    style: str | None,
    as_json: bool,
    as_schema: bool,
    only: str | None,
    other: str | None,
    opened: bool,
) -> int:
    """Decode the config space of functions, of a dump or of given bytes.

    A SELECTOR is an address, vendor:device, a network interface or a block device; of a dump, an address.
    CAP is a capability's name or identifier (PCIe, 0x10, ext:0x23). --format vfio shows what a program or a
    virtual machine behind vfio-pci does not find as it is in the device. Exit status: 1 with --diff if
    something differs, 3 if what was asked for is hidden from the unprivileged.
    """
    if as_schema:
        from vfiokit.render.config_schema import config_schema
        from vfiokit.render.json import dumps

        echo_document(dumps(config_schema()))
        return 0
    if as_json and style:
        raise UsageError("not both", operation="choose", subject="--json and --format")
    if opened and other != _VFIO:
        raise UsageError("only with --diff vfio", operation="choose", subject="--open")
    functions = list(_functions(ctx, selectors, every, dump, digits))
    if other is not None:
        return _compare(ctx, functions, other, as_json=as_json, opened=opened)
    if only is not None:
        return _show_only(functions, only, as_json=as_json)
    _show(ctx, functions, style or "text", as_json=as_json)
    return 0


def _functions(
    ctx: click.Context,
    selectors: tuple[str, ...],
    every: bool,
    dump: IO[bytes] | None,
    digits: str | None,
) -> Iterator[_Function]:
    given = [name for name, value in (("--dump", dump), ("--from", digits), ("--all", every)) if value]
    if len(given) > 1:
        raise UsageError("only one of them", operation="choose", subject=" and ".join(given))
    if digits is not None:
        if selectors:
            raise UsageError("given bytes have no address", operation="select", subject=selectors[0])
        yield _Function(None, ConfigSpace.from_hex(digits))
    elif dump is not None:
        yield from _dumped(dump.read(), selectors)
    else:
        yield from _live(ctx, selectors, every)


def _dumped(text: bytes, selectors: tuple[str, ...]) -> Iterator[_Function]:
    wanted = {PciAddress.parse(text) for text in selectors}
    found = sorted(parse_dump(text), key=lambda each: each.address)
    missing = wanted - {each.address for each in found}
    if missing:
        raise NotFound("not in the dump", operation="select", subject=", ".join(map(str, sorted(missing))))
    for each in found:
        if not wanted or each.address in wanted:
            try:
                yield _from_dump(each)
            except VfiokitError as error:
                click.echo(f"vfiokit: {each.address}: {error}", err=True)


def _from_dump(each: Dumped) -> _Function:
    image = BytesImage(each.data, Origin.DUMP)
    return _Function(each.address, ConfigSpace(image, first=each.address.devfn == 0))


def _live(ctx: click.Context, selectors: tuple[str, ...], every: bool) -> Iterator[_Function]:
    from vfiokit.sysfs.function import FunctionFiles

    if not selectors and not every:
        raise UsageError("name a function, or --all", operation="select", subject="config")
    source = open_root(ctx)
    host = scan(source, Part.NAMES if any(map(is_name, selectors)) else Part.LISTING)
    addresses = [select_device(host, text) for text in selectors]
    for address in [device.address for device in host.devices] if every else addresses:
        files = FunctionFiles(source, address)
        try:
            yield _Function(address, files.config(), files.kernel_view(), files)
        except VfiokitError as error:
            if not every:
                raise
            click.echo(f"vfiokit: {error}", err=True)


def _show(ctx: click.Context, functions: list[_Function], style: str, *, as_json: bool) -> None:
    if as_json:
        from vfiokit.render.config_json import function_object
        from vfiokit.render.json import document, dumps

        source = ctx.obj or "/"
        objects = [function_object(each.address, each.space) for each in functions]
        echo_document(dumps(document("config", source, functions=objects)))
        return
    if style == "dump":
        named = [_dump_of(each) for each in functions]
        sys.stdout.write(format_dump(named))
        return
    if style == "lspci":
        domain = any(each.address and each.address.domain for each in functions)
        for each in functions:
            address = each.address or PciAddress(0, 0, 0, 0)
            sys.stdout.write(lspci_text(address, each.space, domain=domain, kernel=each.kernel))
        return
    if style == _VFIO:
        _show_views(functions)
        return
    from vfiokit.render.config import config_lines

    for each in functions:
        echo_lines(config_lines(each.address, each.space))
    _say_diagnostics(functions)


def _show_views(functions: list[_Function]) -> None:
    from vfiokit.pci.vfio_view import check_taken
    from vfiokit.render.vfio_view import vfio_lines

    for each in functions:
        try:
            check_taken(each.space, each.name)
        except VfiokitError as error:
            if len(functions) == 1:
                raise
            click.echo(f"vfiokit: {error}", err=True)
            continue
        echo_lines(vfio_lines(each.address, each.space))


def _dump_of(each: _Function) -> Dumped:
    return Dumped(each.address or PciAddress(0, 0, 0, 0), each.space.read(0, each.space.image.limit))


def _say_diagnostics(functions: list[_Function]) -> None:
    from vfiokit.render.config import diagnostic_lines

    for each in functions:
        for line in diagnostic_lines(each.address, each.space):
            click.echo(line, err=True)


def _show_only(functions: list[_Function], path: str, *, as_json: bool) -> int:
    from vfiokit.pci.selection import select
    from vfiokit.render.config import selected_lines

    several = len(functions) > 1
    missing: VfiokitError | None = None
    objects: list[dict[str, object]] = []
    for each in functions:
        try:
            chosen = select(each.space, path)
        except VfiokitError as error:
            missing = error
            continue
        if as_json:
            objects += [_chosen_object(each, path, *one) for one in chosen]
        else:
            echo_lines(selected_lines(each.address if several else None, chosen))
    if as_json and (objects or not missing):
        from vfiokit.render.json import document, dumps

        echo_document(dumps(document("config.only", "/", found=objects)))
    if missing is not None and not several:
        raise missing
    return 0


def _chosen_object(
    function: _Function, path: str, structure: object, register: object, field: object
) -> dict[str, object]:
    from vfiokit.pci.structure import FieldValue, RegisterValue, Structure
    from vfiokit.render.config_json import field_object, register_object, structure_object

    body: dict[str, object] = {"address": function.name, "path": path}
    assert isinstance(structure, Structure)
    if isinstance(field, FieldValue):
        return {**body, "field": field_object(field)}
    if isinstance(register, RegisterValue):
        return {**body, "register": register_object(register)}
    return {**body, "capability": structure_object(structure)}


def _compare(
    ctx: click.Context, functions: list[_Function], other: str, *, as_json: bool, opened: bool
) -> int:
    from vfiokit.pci.differences import differences
    from vfiokit.render.config import difference_lines

    if len(functions) != 1:
        raise UsageError("it takes one function", operation="compare", subject="--diff")
    one = functions[0]
    if opened:
        space, against = _opened(ctx, one)
        name = "vfio-pci, opened"
    elif other == _VFIO:
        space, against, name = one.space, _through_vfio(one), "vfio-pci"
    else:
        other_one, name = _other(ctx, one, other)
        space, against = one.space, other_one.space
    found = differences(space, against)
    if as_json:
        from vfiokit.render.json import document, dumps

        body = [each._asdict() for each in found]
        echo_document(dumps(document("config.diff", "/", one=one.name, other=name, differences=body)))
    else:
        echo_lines(difference_lines(found, one.name, name))
    return 1 if found else 0


def _through_vfio(one: _Function) -> ConfigSpace:
    """Return what vfio-pci would show; of bytes alone, without what the kernel knows."""
    from vfiokit.pci.vfio_view import as_shown, check_taken

    check_taken(one.space, one.name)
    return one.files.through_vfio(one.space) if one.files else as_shown(one.space)


def _opened(ctx: click.Context, one: _Function) -> tuple[ConfigSpace, ConfigSpace]:
    """Open the device and read its config space both ways while it is open."""
    if one.files is None or open_root(ctx).name != "/":
        raise UsageError("it opens a device of this host alone", operation="choose", subject="--open")
    from vfiokit.vfio import Device

    with Device.open(str(one.address)) as device:
        shown = device.config.read(0, device.config.size)
        space = one.files.config()
        space.image.ensure(0, device.config.size)
        return ConfigSpace(space.read(0, device.config.size), first=space.first), ConfigSpace(
            shown, first=space.first
        )


def _other(ctx: click.Context, one: _Function, text: str) -> tuple[_Function, str]:
    """Return the other side: a function of the same host, or the same one in a dump."""
    try:
        with open(text, "rb") as file:
            content = file.read()
    except OSError:
        found = next(_live(ctx, (text,), every=False))
        return found, found.name
    dumped = list(_dumped(content, ()))
    same = [each for each in dumped if each.address == one.address]
    if not same and len(dumped) != 1:
        raise NotFound("not in the dump", operation="compare", subject=one.name)
    return (same or dumped)[0], text

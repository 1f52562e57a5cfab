"""``vfiokit persist``: what is bound at boot, if it is still the same function in the same group."""

from collections.abc import Iterator
from pathlib import Path

import click

from vfiokit.address import PciAddress
from vfiokit.binding.case import Action
from vfiokit.binding.codec import encode
from vfiokit.binding.drivers import DEFAULT_DRIVER, best_module, driver_of_module, find_driver
from vfiokit.binding.goal import Goal, Persisted
from vfiokit.binding.identity import identify
from vfiokit.binding.persist import Shelf, verify
from vfiokit.binding.transaction import Desk
from vfiokit.binding.usage.read import read_evidence
from vfiokit.cli.common import complete_selector, echo_document, echo_lines
from vfiokit.cli.moving import Wishes, live_desk, only_running
from vfiokit.errors import NotSupported, VfiokitError
from vfiokit.model.finding import Finding, Severity
from vfiokit.model.unknown import known
from vfiokit.render.json import document, dumps, finding_object
from vfiokit.render.plain import finding_lines
from vfiokit.sysfs.scan import Part, scan

__all__ = ["command"]

_FORMATS = ("vfiokit", "driverctl")


@click.group("persist", short_help="Bind functions at boot, if they are still the same.")
def command() -> None:
    """Say which functions are bound at boot, by a file and a udev rule each.

    The rule sets the override only if the function is what it was and its group has no other members:
    addresses move when hardware is added. What is refused goes to the kernel's log. No list of identifiers
    is ever written.
    """


@command.command("add", short_help="Bind functions at boot from now on.")
@click.argument(
    "selectors", metavar="SELECTOR...", nargs=-1, required=True, shell_complete=complete_selector
)
@click.option("--driver", metavar="NAME", help="The driver; the best VFIO driver if not given.")
@click.option(
    "--format",
    "style",
    type=click.Choice(_FORMATS),
    default="vfiokit",
    help="driverctl writes that tool's own files, which know addresses only.",
)
@click.pass_context
def add(ctx: click.Context, selectors: tuple[str, ...], driver: str | None, style: str) -> int:
    """Bind functions at boot from now on; nothing is moved now."""
    with live_desk(ctx) as desk:
        only_running(desk)
        shelf = Shelf(desk.places)
        for entry in _entries(desk, selectors, driver):
            if style == "driverctl":
                echo_lines([f"{entry.address}  {shelf.add_driverctl(entry.address, entry.driver)}"])
                click.echo("vfiokit: driverctl does not look at what is at the address at boot", err=True)
            else:
                echo_lines([f"{entry.address}  {path}" for path in shelf.add(entry)])
    return 0


@command.command("remove", short_help="Bind functions at boot no more.")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.pass_context
def remove(ctx: click.Context, addresses: tuple[str, ...]) -> int:
    """Bind functions at boot no more, whether they are there or not; nothing is moved now."""
    with live_desk(ctx) as desk:
        only_running(desk)
        for text in addresses:
            address = PciAddress.parse(text)
            echo_lines([f"{address}  removed {path}" for path in Shelf(desk.places).remove(address)])
    return 0


@command.command("list", short_help="List what is bound at boot.")
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> int:
    """List what is bound at boot."""
    with live_desk(ctx) as desk:
        entries = Shelf(desk.places).all().values()
    if as_json:
        body = document("persist", "/", functions=[encode(entry) for entry in entries])
        echo_document(dumps(body))
    else:
        echo_lines([f"{entry.address}  {entry.driver}  {_title(entry)}" for entry in entries])
    return 0


@command.command("verify", short_help="Compare what is configured with what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print a document for programs.")
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> int:
    """Compare what is configured with what is there; status 1 where something differs."""
    with live_desk(ctx) as desk:
        findings = [finding for _, each in _verified(desk) for finding in each]
    if as_json:
        echo_document(dumps(document("persist", "/", findings=[finding_object(each) for each in findings])))
    else:
        for finding in findings:
            echo_lines([f"{finding.subject}:", *(f"  {line}" for line in finding_lines([finding]))])
    return 1 if findings else 0


@command.command("apply", short_help="Bind now what is configured.")
@click.pass_context
def run(ctx: click.Context) -> int:
    """Bind now what is configured, where it is still the same: for a unit that runs at boot.

    It is for functions that a driver of the kernel itself takes before udev runs. All the rules hold. Status
    1 where something was left alone.
    """
    left = 0
    with live_desk(ctx) as desk:
        only_running(desk)
        ready: dict[str, list[Persisted]] = {}
        for entry, findings in _verified(desk):
            errors = [finding for finding in findings if finding.severity is Severity.ERROR]
            for finding in errors:
                click.echo(f"vfiokit: {entry.address}: {finding.message}: not bound", err=True)
            left += bool(errors)
            if not errors:
                ready.setdefault(entry.driver, []).append(entry)
        for driver, entries in ready.items():
            left += _bind(desk, driver, entries)
    return 1 if left else 0


def _bind(desk: Desk, driver: str, entries: list[Persisted]) -> int:
    targets = tuple(entry.address for entry in entries)
    try:
        applied = desk.do(Goal(action=Action.BIND, targets=targets, driver=driver))
    except VfiokitError as error:
        click.echo(f"vfiokit: {error}", err=True)
        return 1
    echo_lines(
        [f"{move.address}  {move.before.driver or 'no driver'} -> {driver}" for move in applied.moves]
    )
    return 0


def _entries(desk: Desk, selectors: tuple[str, ...], driver: str | None) -> Iterator[Persisted]:
    host = scan(desk.writer.source, Part.REVISION | Part.NAMES)
    targets = Wishes(selectors=selectors).goal(Action.BIND, host).targets
    evidence = read_evidence(desk.writer.source, host, targets)
    catalog = evidence.drivers
    for address in targets:
        device, use = host.device(address), evidence.by_address.get(address)
        if not isinstance(device.group, int):
            raise NotSupported(
                "it has no IOMMU group, so nothing tells whether it is alone",
                operation="persist add",
                subject=str(address),
            )
        module = best_module(catalog, use.modalias) if use and driver is None else None
        name = (
            find_driver(catalog, driver) if driver else driver_of_module(catalog, module or DEFAULT_DRIVER)
        )
        yield Persisted(
            address=address,
            identity=identify(host, device, use),
            members=known(host.group(device.group).devices, ()),
            driver=name,
            module=module or name.replace("-", "_"),
        )


def _verified(desk: Desk) -> Iterator[tuple[Persisted, tuple[Finding, ...]]]:
    shelf = Shelf(desk.places)
    entries = shelf.all()
    host = scan(desk.writer.source, Part.REVISION)
    present = [address for address in entries if address in host.by_address]
    evidence = read_evidence(desk.writer.source, host, present)
    for address, entry in sorted(entries.items()):
        yield entry, verify(host, evidence, entry, _text(shelf.rule_path(address)))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VfiokitError.from_os(error, operation="read rule", subject=str(path)) from error


def _title(entry: Persisted) -> str:
    vendor, device = entry.identity.vendor or 0, entry.identity.device or 0
    serial = f" serial {entry.identity.serial}" if entry.identity.serial else ""
    return f"[{vendor:04x}:{device:04x}] at {entry.identity.path}{serial}"

"""``vfiokit capture``: the raw files that a scan reads, in one file that ``--root`` opens."""

import os
import tempfile
from pathlib import Path

import click

from vfiokit import __version__
from vfiokit.cli.common import open_root
from vfiokit.errors import UsageError, VfiokitError
from vfiokit.model.device import ConfigFacts
from vfiokit.model.unknown import known
from vfiokit.sysfs.capture import RecordingSource, pack, unreadable
from vfiokit.sysfs.config import NEEDS_PRIVILEGE
from vfiokit.sysfs.function import FunctionFiles
from vfiokit.sysfs.redact import REDACTIONS, redact
from vfiokit.sysfs.scan import Part, scan

__all__ = ["command"]

_SHOWN = 10


@click.command("capture", short_help="Record this host into a file that --root opens.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--redact", "redacted", is_flag=True, help="Take out serial numbers, MAC addresses and host names."
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.pass_context
def command(ctx: click.Context, file: Path, redacted: bool, force: bool) -> int:
    """Record the raw files that vfiokit reads into FILE, a .tar.xz that --root opens.

    It works without privileges and says what it could not read; config space beyond 64 bytes and the
    ACPI tables need root.
    """
    if not force and file.exists():
        raise UsageError("it exists", operation="capture", subject=str(file), hint="--force replaces it")
    recorder = RecordingSource(open_root(ctx))
    host = scan(recorder, Part.ALL)
    for device in host.devices:
        FunctionFiles(recorder, device.address).read_all()
    if redacted:
        redact(recorder.tree)
    kernel = known(host.platform.kernel_release, "unknown")
    data = pack(
        recorder.tree,
        kernel=kernel,
        tool=f"vfiokit {__version__}",
        redactions=REDACTIONS if redacted else (),
    )
    _write(file, data)
    missed = unreadable(recorder.tree)
    click.echo(f"{file}: {len(host.devices)} functions, {len(host.groups)} groups, {len(data)} bytes")
    for path, name in missed[:_SHOWN]:
        click.echo(f"vfiokit: not recorded: {path}: {name}", err=True)
    if len(missed) > _SHOWN:
        click.echo(f"vfiokit: and {len(missed) - _SHOWN} more; run as root to record them", err=True)
    cut = sum(
        isinstance(device.config, ConfigFacts) and device.config.port_type == NEEDS_PRIVILEGE
        for device in host.devices
    )
    if cut:
        click.echo(f"vfiokit: only 64 bytes of config space of {cut} functions; root reads all", err=True)
    return 0


def _write(file: Path, data: bytes) -> None:
    """Write beside the target and rename, so that a half-written capture never has its name."""
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise VfiokitError.from_os(error, operation="capture", subject=str(file)) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), 0o644)
        Path(name).replace(file)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise VfiokitError.from_os(error, operation="capture", subject=str(file)) from error

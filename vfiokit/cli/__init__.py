"""The command line: a group whose commands are imported when they are called."""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from vfiokit import __version__
from vfiokit.errors import VfiokitError, one_line

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "apply": "Carry out a plan that was made and reviewed before.",
    "bars": "List BARs, windows and ROMs, with who says how large they are.",
    "bind": "Give functions to VFIO drivers, as a transaction.",
    "capture": "Record this host into a file that --root opens.",
    "config": "Decode config space, register by register; print it as lspci does.",
    "groups": "List IOMMU groups, what is in them, and whether VFIO can own them.",
    "mappings": "List what remapping tables in an image of memory map.",
    "overlaps": "Find memory that two domains of an image both reach.",
    "persist": "Bind functions at boot, if they are still the same.",
    "plan": "Show what bind, unbind or restore would do.",
    "recover": "Undo or finish what a crash left half done.",
    "restore": "Give functions back exactly what they had.",
    "show": "Show one function: identity, driver, group, link, BARs, capabilities.",
    "status": "Show what was moved, and what was left half done.",
    "translate": "Walk remapping tables in an image of memory for one requester.",
    "unbind": "Leave functions without a driver.",
    "vfs": "Create or remove virtual functions.",
    "watch": "Report groups, drivers and hot plug as they change.",
    "why": "Explain why a group is what it is, or what joins two functions.",
}
"""Every command with its summary, so that the list of them imports none."""

_COMPLETE = "_VFIOKIT_COMPLETE"
"""The variable by which a shell asks for completions, as click names it."""


class _ReaderLeft(Exception):
    """Whoever read standard output has closed it."""


class _Lazy(click.Group):
    """Finds a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"vfiokit.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # click would end with status 1.
            raise _ReaderLeft from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--root",
    metavar="PATH",
    default="/",
    help="Read another host: a directory that looks like /, a capture, or example[:NAME].",
)
@click.version_option(__version__, prog_name="vfiokit", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, root: str) -> None:
    """Everything between a PCI device and the program or virtual machine that is to own it.

    \b
    Exit status: 0 done; 1 a finding or a negative answer; 2 wrong usage; 3 cannot tell;
    4 refused by a safety rule; 5 failed and undone; 6 failed and not wholly undone;
    7 a write to the kernel is stuck; 8 not supported here (no IOMMU).
    """
    ctx.obj = root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; no traceback for anything the world did."""
    if _COMPLETE in os.environ:
        importlib.import_module("vfiokit.cli.completion")
    try:
        status = cli.main(arguments, prog_name="vfiokit", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except VfiokitError as error:
        click.echo(f"vfiokit: {error}", err=True)
        return error.exit_status
    except _ReaderLeft:
        # The interpreter must not flush into the closed pipe.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        click.echo(one_line(f"vfiokit: {error.filename or 'output'}: {error.strerror or error}"), err=True)
        return 1
    return status if isinstance(status, int) else 0

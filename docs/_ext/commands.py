"""Directives that describe the commands as click knows them: a new command appears by itself.

``vfiokit-commands`` gives a section for each command. ``vfiokit-synopsis`` gives the options that stand
before every command. Both build plain nodes, so that HTML and the manual page say the same.
"""

import inspect
import re
from collections.abc import Iterator

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vfiokit.cli import cli

__all__ = ["setup"]


class Synopsis(SphinxDirective):
    """The options that stand before the command."""

    def run(self) -> list[nodes.Node]:
        with click.Context(cli, info_name="vfiokit") as context:
            return [_usage(context), *_options(context)]


class Commands(SphinxDirective):
    """A section for each command, in order of name."""

    def run(self) -> list[nodes.Node]:
        with click.Context(cli, info_name="vfiokit") as context:
            return [self._section(context, name) for name in cli.list_commands(context)]

    def _section(self, parent: click.Context, name: str) -> nodes.section:
        command = cli.get_command(parent, name)
        assert command is not None
        with click.Context(command, info_name=name, parent=parent) as context:
            section = nodes.section(ids=[nodes.make_id(f"vfiokit-{name}")])
            section += nodes.title(text=f"vfiokit {name}")
            section += [_usage(context), *_help(command), *_options(context)]
        self.state.document.note_implicit_target(section)
        return section


def _usage(context: click.Context) -> nodes.literal_block:
    text = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    return nodes.literal_block(text, text, language="text")


def _help(command: click.Command) -> Iterator[nodes.paragraph]:
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield _paragraph(" ".join(paragraph.replace("\b", "").split()))


def _options(context: click.Context) -> Iterator[nodes.option_list]:
    records = (each.get_help_record(context) for each in context.command.get_params(context))
    items = [_option(*record) for record in records if record and record[1]]
    if items:
        yield nodes.option_list("", *items)


def _option(names: str, text: str) -> nodes.option_list_item:
    return nodes.option_list_item(
        "",
        nodes.option_group("", nodes.option("", nodes.option_string(text=names))),
        nodes.description("", _paragraph(text)),
    )


def _paragraph(text: str) -> nodes.paragraph:
    """Make a paragraph in which options are set as what one types."""
    pieces = re.split(r"(--[a-z][-a-z]*(?: [A-Z]+\b)?)", text)
    return nodes.paragraph(
        "",
        "",
        *(nodes.literal(each, each) if at % 2 else nodes.Text(each) for at, each in enumerate(pieces)),
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("vfiokit-synopsis", Synopsis)
    app.add_directive("vfiokit-commands", Commands)
    return {"parallel_read_safe": True}

"""``vfiokit-ioctls``: the calls on one kind of descriptor, or the device features, from the one table."""

from collections.abc import Iterable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vfiokit._native.table import CALLS, FEATURES, Argument, Kind

__all__ = ["setup"]

_HEADS = {
    "calls": ("call", "number", "argument", "least size", "Linux", "what it does"),
    "features": ("feature", "index", "operations", "argument", "Linux", "what it does"),
}


class Ioctls(SphinxDirective):
    """A table by name: a kind of descriptor, or ``features``."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        if self.arguments[0] == "features":
            return [_table(_HEADS["features"], _features())]
        return [_table(_HEADS["calls"], _calls(Kind(self.arguments[0])))]


def _calls(kind: Kind) -> Iterable[tuple[str, ...]]:
    for call in CALLS:
        if call.kind is kind:
            argument = f"struct {call.struct}" if call.argument is Argument.STRUCT else call.argument.value
            least = str(call.least) if call.least else ""
            yield call.name, f"0x3b{call.number:02x}", argument, least, call.since, call.meaning


def _features() -> Iterable[tuple[str, ...]]:
    for feature in FEATURES:
        argument = (
            f"struct {feature.struct}" if feature.struct else f"{feature.size} bytes" * bool(feature.size)
        )
        operations = ", ".join(feature.operations)
        yield feature.name, str(feature.index), operations, argument, feature.since, feature.meaning


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> nodes.table:
    columns = [nodes.colspec(colwidth=1) for _ in heads]
    body = nodes.tbody("", *(_row(row, code=(0, 2)) for row in rows))
    group = nodes.tgroup("", *columns, nodes.thead("", _row(heads)), body, cols=len(heads))
    return nodes.table("", group)


def _row(cells: tuple[str, ...], code: tuple[int, ...] = ()) -> nodes.row:
    return nodes.row("", *(_cell(text, index in code) for index, text in enumerate(cells)))


def _cell(text: str, code: bool) -> nodes.entry:
    content = nodes.literal(text, text) if code and text else nodes.Text(text)
    return nodes.entry("", nodes.paragraph("", "", content))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("vfiokit-ioctls", Ioctls)
    return {"parallel_read_safe": True}

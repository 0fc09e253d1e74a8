"""A Sphinx directive that shows the recording of a first stream, as a terminal does at its end."""

from __future__ import annotations

from cast import CAST, lines_of
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class CastDirective(SphinxDirective):
    """The recording, as text."""

    def run(self) -> list[nodes.Node]:
        """Read it."""
        self.env.note_dependency(str(CAST))
        text = "\n".join(lines_of(CAST.read_text("utf-8")))
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("first-stream-cast", CastDirective)
    return {"parallel_read_safe": True}

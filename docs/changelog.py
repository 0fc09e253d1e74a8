"""A Sphinx directive that shows ``CHANGELOG.md``, which is Markdown of a simple kind."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
CODE = re.compile(r"`([^`]+)`")
UNDERLINES = {"## ": "-", "### ": "~"}


class ChangelogDirective(SphinxDirective):
    """The changelog, without its title, which is the page's."""

    def run(self) -> list[nodes.Node]:
        """Translate it, and parse it."""
        self.env.note_dependency(str(CHANGELOG))
        lines = CHANGELOG.read_text("utf-8").splitlines()[1:]
        text = "\n".join(map(translated, lines))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def translated(line: str) -> str:
    """A line of Markdown as reStructuredText."""
    for prefix, underline in UNDERLINES.items():
        if line.startswith(prefix):
            title = line.removeprefix(prefix).replace("[", "").replace("]", "")
            return f"{title}\n{underline * len(title)}\n"
    # What stands in code is taken as it is, so it is put aside first.
    escaped = line.replace("\\", "\\\\").replace("*", "\\*").replace("|", "\\|")
    return LINK.sub(r"`\1 <\2>`__", CODE.sub(r"``\1``", escaped))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("changelog", ChangelogDirective)
    return {"parallel_read_safe": True}

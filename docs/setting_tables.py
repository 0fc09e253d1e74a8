"""A Sphinx directive that shows the broker's settings as the code defines them."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trio_p2p._commands.broker_settings import GROUPS, BrokerSettings
from trio_p2p._commands.settings import settings_of


class BrokerSettingsDirective(SphinxDirective):
    """The settings by group, each with what it does."""

    def run(self) -> list[nodes.Node]:
        """Make the lists."""
        made: list[nodes.Node] = []
        for group in ("", *GROUPS):
            if group:
                made.append(nodes.rubric("", group.capitalize()))
                made.append(nodes.paragraph("", GROUPS[group]))
            entries = nodes.definition_list()
            for name, each in settings_of(BrokerSettings).items():
                if each.group != group:
                    continue
                title = f"--{name}" if each.metavar is None else f"--{name} {each.metavar}"
                text = each.help[0].upper() + each.help[1:]
                text += "; may be repeated." if each.is_list else "."
                text += " Taken over by a running broker." if each.is_reloaded else ""
                entry = nodes.definition_list_item()
                entry += nodes.term("", "", nodes.literal("", title))
                entry += nodes.definition("", nodes.paragraph("", text))
                entries += entry
            made.append(entries)
        return made


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("broker-settings", BrokerSettingsDirective)
    return {"parallel_read_safe": True}

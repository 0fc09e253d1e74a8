"""Sphinx directives that show the protocol as the code defines it, so that both stay the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import attrs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trio_p2p._broker.connection import State
from trio_p2p._broker.registry import Registry
from trio_p2p._wire.messages import MESSAGE_TYPES


class MessagesDirective(SphinxDirective):
    """A table of all messages, their meaning and their fields."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [("type", "step", "fields", "meaning")]
        for cls in MESSAGE_TYPES:
            fields = [
                name if field.default is attrs.NOTHING else f"{name} (optional)"
                for name, field in attrs.fields_dict(cls).items()
            ]
            meaning = (cls.__doc__ or "").partition("\n")[0]
            rows.append((cls.type, cls.step, ", ".join(fields) or "none", meaning))
        return [_table(rows, [22, 14, 24, 40])]


class TransitionsDirective(SphinxDirective):
    """A table of what the broker takes in each state of a connection."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        taken: defaultdict[State, list[str]] = defaultdict(list)
        for state, cls in Registry.TRANSITIONS:
            taken[state].append(cls.type)
        rows = [("state", "the connection is", "messages that are taken")]
        rows += [(state.name, state.value, ", ".join(taken[state]) or "none") for state in State]
        return [_table(rows, [15, 35, 50])]


def _table(rows: Sequence[Sequence[str]], widths: Iterable[int]) -> nodes.table:
    group = nodes.tgroup(cols=len(rows[0]))
    group += [nodes.colspec(colwidth=width) for width in widths]
    header, body = nodes.thead(), nodes.tbody()
    for index, row in enumerate(rows):
        line = nodes.row()
        line += [nodes.entry("", nodes.paragraph("", cell)) for cell in row]
        (body if index else header).append(line)
    group += [header, body]
    table = nodes.table()
    table += group
    return table


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("wire-messages", MessagesDirective)
    app.add_directive("broker-transitions", TransitionsDirective)
    return {"parallel_read_safe": True}

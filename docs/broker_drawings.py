"""Sphinx directives that draw the introductions, and the states of a connection to the broker."""

from __future__ import annotations

import itertools

from broker_runs import BROKER, RECEIVER, SENDER, classic, everything, fast
from docutils import nodes
from drawings import Arrow, lanes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trio_p2p._broker.connection import State


class FastDirective(SphinxDirective):
    """A fast introduction, drawn."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        title = "A fast introduction, from the top down"
        return lanes([SENDER, BROKER, RECEIVER], fast().arrows, title, 720)


class ClassicDirective(SphinxDirective):
    """A classic introduction, drawn."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        title = "The twelve steps of a classic introduction, from the top down"
        return lanes([SENDER, BROKER, RECEIVER], classic().arrows, title, 720)


class StatesDirective(SphinxDirective):
    """The states of a connection to the broker, drawn."""

    def run(self) -> list[nodes.Node]:
        """Draw them."""
        changes = everything().changes
        arrows = [
            Arrow(before.name, after.name, ", ".join(changes[before, after]))
            for before, after in itertools.product(State, State)
            if (before, after) in changes
        ]
        title = "The states of a connection to the broker, and what leads from one to another"
        return lanes([state.name for state in State], arrows, title, 940)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("fast-introduction", FastDirective)
    app.add_directive("classic-introduction", ClassicDirective)
    app.add_directive("broker-states", StatesDirective)
    return {"parallel_read_safe": True}

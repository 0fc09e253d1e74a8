"""Sphinx directives that show the session's protocol as the code defines it."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from textwrap import dedent

from docutils import nodes
from drawings import Arrow, lanes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from wire_tables import _table

from trio_p2p._stream.frames import Kind
from trio_p2p._stream.session_sink import HANDLERS
from trio_p2p._stream.states import TRANSITIONS, SessionEvent, SessionState


class FramesDirective(SphinxDirective):
    """A table of all frames and what they say."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        meanings = _comments(Kind)
        rows = [("kind", "name", "meaning")]
        rows += [(str(kind.value), kind.name, meanings[kind.name]) for kind in Kind]
        return [_table(rows, [8, 17, 75])]


class TransitionsDirective(SphinxDirective):
    """A table of where each event leads from each state."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [("event", *(state.name for state in SessionState if _is_left(state)))]
        for event in SessionEvent:
            leads = [
                TRANSITIONS[state, event].name if (state, event) in TRANSITIONS else "–"
                for state in SessionState
                if _is_left(state)
            ]
            rows.append((f"{event.name}: {event.value}", *leads))
        return [_table(rows, [34, *[22] * (len(rows[0]) - 1)])]


class StatesDirective(SphinxDirective):
    """The same, drawn."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        events: defaultdict[tuple[SessionState, SessionState], list[str]] = defaultdict(list)
        for (before, event), after in TRANSITIONS.items():
            events[before, after].append(event.name)
        arrows = [
            Arrow(before.name, after.name, ", ".join(labels))
            for (before, after), labels in events.items()
        ]
        title = "The states of a session, and what leads from one to another"
        return lanes([state.name for state in SessionState], arrows, title, 720)


class HandlersDirective(SphinxDirective):
    """A table of the frames that are taken in each state."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        taken: defaultdict[SessionState, list[str]] = defaultdict(list)
        for state, kind in HANDLERS:
            taken[state].append(kind.name)
        rows = [("state", "what carries the session", "frames that are taken")]
        rows += [
            (state.name, state.value, ", ".join(taken[state]) or "none") for state in SessionState
        ]
        return [_table(rows, [15, 40, 45])]


def _is_left(state: SessionState) -> bool:
    return any(before is state for before, _ in TRANSITIONS)


def _comments(cls: type) -> dict[str, str]:
    """The string that follows each member of a class, without the markup."""
    (definition,) = ast.parse(dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    comments: dict[str, str] = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        match before, after:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                comments[name] = text.replace(":class:", "").replace("`", "")
            case _:
                pass
    return comments


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("stream-frames", FramesDirective)
    app.add_directive("stream-transitions", TransitionsDirective)
    app.add_directive("stream-states", StatesDirective)
    app.add_directive("stream-handlers", HandlersDirective)
    return {"parallel_read_safe": True}

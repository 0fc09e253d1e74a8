"""Sphinx directives that show the protocols of sessions and streams as the code defines them."""

from __future__ import annotations

import ast
import enum
import inspect
from collections import defaultdict
from collections.abc import Iterable, Mapping
from textwrap import dedent
from typing import Any

from docutils import nodes
from drawings import Arrow, lanes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from wire_tables import _table

from trio_p2p._stream.credit import (
    DEFAULT_STREAMS,
    EARLY_STREAMS,
    FIRST_CREDIT,
    MAX_STREAMS,
    SHARED_FIRST_CREDIT,
)
from trio_p2p._stream.frames import (
    MAX_CONTROL_BYTES,
    MAX_NUMBER,
    MAX_PAYLOAD_BYTES,
    MAX_PIECE_BYTES,
    MIN_WINDOW,
    AbortCode,
    Kind,
)
from trio_p2p._stream.giving_up import CLOSING_TIME
from trio_p2p._stream.leg import (
    BUSY_HEARTBEAT_TIME,
    BUSY_SILENCE_TIME,
    IDLE_HEARTBEAT_TIME,
    IDLE_SILENCE_TIME,
)
from trio_p2p._stream.limits import DEFAULT_GRACE
from trio_p2p._stream.owned_connection import IDLE_TIME
from trio_p2p._stream.session_sink import HANDLERS
from trio_p2p._stream.states import TRANSITIONS, SessionState
from trio_p2p._stream.stream_frames import (
    MAX_CONTROL_BYTES as MAX_STREAM_CONTROL_BYTES,
    MAX_OFFSET,
    MAX_STREAM_NUMBER,
    ResetCode,
    StreamFrameKind,
)
from trio_p2p._stream.stream_states import RECEIVING, SENDING, Direction
from trio_p2p._wire.fields import MAX_UID_BYTES
from trio_p2p._wire.uids import MAX_PROTOCOL_BYTES

# Which transitions a directive is about, by its argument.
MACHINES: dict[str, tuple[str, Mapping[Any, enum.Enum]]] = {
    "session": ("The states of a session", TRANSITIONS),
    "sending": ("The states of the direction in which a side sends", SENDING),
    "receiving": ("The states of the direction in which a side receives", RECEIVING),
}
KINDS: dict[str, type[enum.IntEnum]] = {
    "session": Kind,
    "stream": StreamFrameKind,
    "abort": AbortCode,
    "reset": ResetCode,
}
TIMES = [
    (
        BUSY_HEARTBEAT_TIME,
        "after the last frame sent, an ACK is sent if any byte is unacknowledged",
    ),
    (IDLE_HEARTBEAT_TIME, "after the last frame sent, an ACK is sent in any case"),
    (BUSY_SILENCE_TIME, "of silence while an ACK or a HELLO is awaited, and the path is dead"),
    (IDLE_SILENCE_TIME, "of silence, and the path is dead in any case"),
    (DEFAULT_GRACE, "without a path, and the session is given up"),
    (CLOSING_TIME, "without progress over a path, and a session or a stream that is closed is cut"),
    (IDLE_TIME, "without a stream: the opener says GOAWAY, unless its application keeps it"),
]
LIMITS = [
    (MAX_PAYLOAD_BYTES, "bytes in the payload of DATA of a session"),
    (MAX_PIECE_BYTES, "bytes in the payload of DATA of a stream"),
    (MAX_CONTROL_BYTES, "bytes in the payload of another frame of a session"),
    (MAX_STREAM_CONTROL_BYTES, "bytes in the payload of another frame of a stream"),
    (MAX_NUMBER, "the highest number in a frame of a session"),
    (MAX_OFFSET, "the highest limit in CREDIT"),
    (MAX_STREAM_NUMBER, "the highest number of a stream"),
    (MIN_WINDOW, "the lowest window; a HELLO with less says this"),
    (EARLY_STREAMS, "streams that a side may open before STREAMS has come; STREAMS says no less"),
    (MAX_STREAMS, "the highest number in STREAMS; more says this"),
    (DEFAULT_STREAMS, "streams that this implementation allows, if not told otherwise"),
    (FIRST_CREDIT, "bytes of first credit for a stream, at most"),
    (SHARED_FIRST_CREDIT, "bytes of first credit, divided by the number of open streams"),
    (MAX_UID_BYTES, "bytes of a UID in UTF-8"),
    (MAX_PROTOCOL_BYTES, "bytes of a protocol's name in UTF-8"),
]


class KindsDirective(SphinxDirective):
    """A table of frames or codes, and what they say."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        members = KINDS[self.arguments[0]]
        meanings = _comments(members)
        is_codes = members in (AbortCode, ResetCode)
        rows = [("code" if is_codes else "kind", "name", "meaning")]
        rows += [(str(each.value), each.name, meanings[each.name]) for each in members]
        return [_table(rows, [8, 22, 70])]


class TransitionsDirective(SphinxDirective):
    """A table of where each event leads from each state."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        _, transitions = MACHINES[self.arguments[0]]
        befores = _in_order(before for before, _ in transitions)
        rows = [("event", *(state.name for state in befores))]
        for event in _in_order(event for _, event in transitions):
            leads = [
                transitions[state, event].name if (state, event) in transitions else "–"
                for state in befores
            ]
            rows.append((f"{event.name}: {event.value}", *leads))
        return [_table(rows, [34, *[22] * (len(rows[0]) - 1)])]


class StatesDirective(SphinxDirective):
    """The same, drawn."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        title, transitions = MACHINES[self.arguments[0]]
        events: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for (before, event), after in transitions.items():
            events[before.name, after.name].append(event.name)
        arrows = [Arrow(*ends, ", ".join(labels)) for ends, labels in events.items()]
        states = _in_order(
            state for (before, _), after in transitions.items() for state in (before, after)
        )
        title = f"{title}, and what leads from one to another"
        return lanes([state.name for state in states], arrows, title, 720)


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


class DirectionsDirective(SphinxDirective):
    """A table of what the states of a direction mean."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [("state", "what is left of the direction")]
        rows += [(state.name, state.value) for state in Direction]
        return [_table(rows, [15, 85])]


class TimesDirective(SphinxDirective):
    """A table of what happens when."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [("seconds", "what happens")]
        rows += [(f"{seconds:g}", text) for seconds, text in TIMES]
        return [_table(rows, [12, 88])]


class LimitsDirective(SphinxDirective):
    """A table of sizes and numbers."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [("number", "of what")]
        rows += [(_shown(number), text) for number, text in LIMITS]
        return [_table(rows, [22, 78])]


def _in_order(members: Iterable[enum.Enum]) -> list[enum.Enum]:
    """Each of some members of an enum once, in the order of the enum."""
    found = set(members)
    return [member for member in type(next(iter(found))) if member in found]


def _shown(number: int) -> str:
    """A number as people read it."""
    power = (number + 1).bit_length() - 1
    is_long = number > MIN_WINDOW and number + 1 == 1 << power
    return f"2^{power} - 1" if is_long else f"{number:,}"


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
    app.add_directive("stream-kinds", KindsDirective)
    app.add_directive("stream-transitions", TransitionsDirective)
    app.add_directive("stream-states", StatesDirective)
    app.add_directive("stream-handlers", HandlersDirective)
    app.add_directive("stream-directions", DirectionsDirective)
    app.add_directive("stream-times", TimesDirective)
    app.add_directive("stream-limits", LimitsDirective)
    return {"parallel_read_safe": True}

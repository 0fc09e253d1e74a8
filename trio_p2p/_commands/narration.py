"""The story that the demo makes of what the library logs: a line for each step, of 80 columns."""

from __future__ import annotations

import logging

from .._addresses import Endpoint
from .._stream.stream_path import PathKind, StreamPath
from .._wire import messages
from .._wire.messages import Message

WIDTH = 80  # columns

# What is told of a message from or to a client of the broker: who does something, and what.
_MESSAGES: dict[type[Message], tuple[str, str]] = {
    messages.Registered: ("receiver", "is registered, and seen at {message.endpoint}"),
    messages.IntroductionRequest: (
        "sender",
        "asks for {message.uid!r} ({message.technique}), seen at {client}",
    ),
    messages.Relayed: ("broker", "relays what they say, and cannot read it"),
    messages.SenderEndpoint: ("receiver", "is told of the sender at {message.endpoint}"),
    messages.HolePunched: ("receiver", "says that its NAT lets the sender in now"),
    messages.ReceiverEndpoint: ("sender", "is told of the receiver at {message.endpoint}"),
    messages.Kill: ("receiver", "quits"),
}
# Of the peers: no message shows them.
_OWN_STEPS = {
    "steps 5 to 8": ("receiver", "dials the sender, so that its own NAT lets it in"),
    "steps 6 to 8": ("receiver", "dials the sender, so that its own NAT lets it in"),
    "step 12": ("sender", "dials the receiver"),
}
_PATHS = {PathKind.RELAY: "both are connected by the relay", PathKind.DIRECT: "the path is direct"}
_NONE = ("", "")


class Narrator:
    """Tells of an introduction as it happens.

    Each step is told once: by one side of the two that log it, and not again if it is repeated by
    the next round, or for a path in reserve.
    """

    def __init__(self) -> None:
        self._told: set[object] = set()

    def line_of(self, record: logging.LogRecord, milliseconds: float) -> str | None:
        """The line for what was logged after so many milliseconds; None if there is none."""
        key, who, text = _step_of(record)
        if not text or key in self._told:
            return None
        self._told.add(key)
        line = f"{milliseconds:8.1f} ms  {who:8}  {text}"
        return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def time_and_place(record: logging.LogRecord, milliseconds: float) -> str:
    """How a line begins: when something was logged, and by which part of the library."""
    return f"{milliseconds:8.1f} ms  {record.name.removeprefix('trio_p2p.'):8}  "


def way_of(path: StreamPath) -> str:
    """The kind of a path, and how the peers were introduced for it."""
    return str(path).partition(",")[0]


def _step_of(record: logging.LogRecord) -> tuple[object, str, str]:
    """A step: by what it is known again, who takes it, and what it is; empty if it is none."""
    match record.args:
        case (str(), Endpoint() as client, message) if isinstance(message, Message):
            who, text = _MESSAGES.get(type(message), _NONE)
            key = type(message), getattr(message, "technique", None)
            return key, who, text.format(client=client, message=message)
        case (StreamPath() as path,):
            return path.kind, "stream", f"{_PATHS[path.kind]} ({path.remote})"
        case _ if record.name.endswith(("sender", "receiver")):
            step, _, _ = record.getMessage().partition(": ")
            who, text = _OWN_STEPS.get(step, _NONE)
            return step, who, text
        case _:
            return None, "", ""

"""What the demo says of the steps that the library logs: one line for each, of 80 columns."""

from __future__ import annotations

import logging

from .._addresses import Endpoint
from .._attempt import Attempt, Outcome
from .._stream.stream_path import StreamPath
from .._wire import messages
from .._wire.messages import Message

WIDTH = 80  # columns

# What is told of a message from or to a client of the broker: the step, and a detail of it.
_MESSAGES: dict[type[Message], tuple[str, str]] = {
    messages.Register: ("registers {message.uid!r}", ", from {client}"),
    messages.Registered: ("registered", ", seen at {message.endpoint}"),
    messages.IntroductionRequest: (
        "asks for {message.uid!r} ({message.technique})",
        ", from {client}",
    ),
    messages.ConnectionRequest: ("the receiver is asked to punch", ""),
    messages.Acknowledge: ("the receiver answers", " from {client}"),
    messages.SenderEndpoint: ("the sender is", " at {message.endpoint}"),
    messages.HolePunched: ("the hole is punched", ""),
    messages.ReceiverEndpoint: ("the receiver is", " at {message.endpoint}"),
    messages.RelayRequest: ("the receiver is asked to join the relay", ""),
    messages.JoinRelay: ("the receiver joins", " from {client}"),
    messages.Relayed: ("from here on both are relayed", ""),
    messages.Kill: ("the receiver quits", ""),
}
_OWN_STEPS = ("steps 5 to 8", "steps 6 to 8", "step 12")  # of the peers: no message shows them
_NONE = ("", "")


class Narrator:
    """Tells of an introduction as it happens.

    Each step is told once: by one side of the two that log it, and not again if it is repeated by
    the next round, or for a path in reserve.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def line_of(self, record: logging.LogRecord, milliseconds: float) -> str | None:
        """The line for what was logged after so many milliseconds; None if there is none."""
        step, detail = _step_of(record)
        if not step or step in self._told:
            return None
        self._told.add(step)
        line = f"{time_and_place(record, milliseconds)}{step}{detail}"
        return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def time_and_place(record: logging.LogRecord, milliseconds: float) -> str:
    """How a line begins: when something was logged, and by which part of the library."""
    return f"{milliseconds:8.1f} ms  {record.name.removeprefix('trio_p2p.'):8}  "


def way_of(path: StreamPath) -> str:
    """The kind of a path, and how the peers were introduced for it."""
    return str(path).partition(",")[0]


def _step_of(record: logging.LogRecord) -> tuple[str, str]:
    """A step, by which it is known again, and what else there is to say; empty if it is none."""
    match record.args:
        case (str(step), Endpoint() as client, message) if isinstance(message, Message):
            text, detail = _MESSAGES.get(type(message), ("", ""))
            facts = {"client": client, "message": message}
            return (f"{step}: {text}".format(**facts), detail.format(**facts)) if text else _NONE
        case ("step 10", Endpoint()):
            return "step 11: closes the sender's connection", ""
        case (Attempt(outcome=Outcome.CONNECTED) as attempt,) if record.name.endswith("sender"):
            return f"connected ({attempt.technique})", f" to {attempt.remote}"
        case (StreamPath() as path,):
            return f"the path is {way_of(path)}", f" to {path.remote}"
        case _ if record.name.endswith(("sender", "receiver")):
            return _step_in(record.getMessage())
        case _:
            return _NONE


def _step_in(text: str) -> tuple[str, str]:
    """A step that the sender or the receiver takes by itself."""
    step, colon, detail = text.partition(": ")
    return (step + colon, detail) if step in _OWN_STEPS else _NONE

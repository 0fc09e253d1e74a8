"""The messages by which a peer learns from a broker what its NATs do to its connections."""

from __future__ import annotations

import enum
from typing import ClassVar

import attrs

from .._addresses import Endpoint
from .._attempt import Outcome
from .checks import check_endpoint, check_member
from .fields import check_challenge, field


class CallSource(enum.StrEnum):
    """Where a broker calls back from: never the endpoint that it was asked at."""

    SAME_ADDRESS = "same-address"
    """The address that it was asked at, from another port."""
    OTHER_ADDRESS = "other-address"
    """Another address of its own."""


_check_outcome = check_member(Outcome, "an outcome")
_check_call_source = check_member(CallSource, "a source")


@attrs.frozen
class Probe:
    """The client wants to know which endpoint the broker sees."""

    type: ClassVar[str] = "probe"
    step: ClassVar[str] = "probe 1"


@attrs.frozen
class Observed:
    """Reply to ``probe``: the endpoint that the broker sees the client at."""

    type: ClassVar[str] = "observed"
    step: ClassVar[str] = "probe 2"
    endpoint: Endpoint = field(check_endpoint)


@attrs.frozen
class CallBack:
    """The client asks the broker to connect to its endpoint from elsewhere."""

    type: ClassVar[str] = "call_back"
    step: ClassVar[str] = "probe 3"


@attrs.frozen
class Called:
    """All that the broker says when it has connected, with the challenge of the client."""

    type: ClassVar[str] = "called"
    step: ClassVar[str] = "probe 4"
    challenge: bytes = field(check_challenge)
    source: CallSource = field(_check_call_source)


@attrs.frozen
class CalledBack:
    """Reply to ``call_back``: what came of each call; nothing of one that was not made."""

    type: ClassVar[str] = "called_back"
    step: ClassVar[str] = "probe 5"
    same_address: Outcome | None = field(_check_outcome, None)
    other_address: Outcome | None = field(_check_outcome, None)

"""What a peer tells an application of its work, by methods to override."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec

from .._attempt import Attempt
from .._errors import P2PError
from .._net.barrier import Barrier
from .p2p_stream import P2PStream
from .stream_path import StreamPath

if TYPE_CHECKING:
    from .p2p_connection import P2PConnection  # which tells of itself

P = ParamSpec("P")

logger = logging.getLogger("trio_p2p.tracer")


class Tracer:
    """Told of what a :class:`Peer` does; override what you want to know.

    Like :class:`trio.abc.Instrument`: the methods are called synchronously, in the midst of the
    peer's work, so they must not take long. What they raise is logged, and ends nothing.
    """

    def attempt_ended(self, uid: str, attempt: Attempt) -> None:
        """An attempt to connect to the receiver of a UID has ended, well or not."""

    def registered(self, uid: str) -> None:
        """The broker holds a UID for us, for the first time or again."""

    def broker_lost(self, error: P2PError) -> None:
        """The broker cannot be reached any more; the peer keeps trying as long as it needs it."""

    def connection_opened(self, connection: P2PConnection) -> None:
        """A connection to a peer begins, made by us or by the peer."""

    def path_changed(self, connection: P2PConnection, path: StreamPath | None) -> None:
        """A connection has this path now, or waits for another one if it is None."""

    def connection_closed(self, connection: P2PConnection) -> None:
        """A connection is over, whichever way it has ended."""

    def stream_opened(self, stream: P2PStream) -> None:
        """A stream begins, opened by us or accepted. Raw streams are not told of."""

    def stream_closed(self, stream: P2PStream) -> None:
        """A stream is over, whichever way it has ended."""


class GuardedTracer(Tracer):
    """Passes everything on to an application's tracer, and logs what that raises.

    Args:
        tracer: the application's.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def attempt_ended(self, uid: str, attempt: Attempt) -> None:
        _guarded(self._tracer.attempt_ended, uid, attempt)

    def registered(self, uid: str) -> None:
        _guarded(self._tracer.registered, uid)

    def broker_lost(self, error: P2PError) -> None:
        _guarded(self._tracer.broker_lost, error)

    def connection_opened(self, connection: P2PConnection) -> None:
        _guarded(self._tracer.connection_opened, connection)

    def path_changed(self, connection: P2PConnection, path: StreamPath | None) -> None:
        _guarded(self._tracer.path_changed, connection, path)

    def connection_closed(self, connection: P2PConnection) -> None:
        _guarded(self._tracer.connection_closed, connection)

    def stream_opened(self, stream: P2PStream) -> None:
        _guarded(self._tracer.stream_opened, stream)

    def stream_closed(self, stream: P2PStream) -> None:
        _guarded(self._tracer.stream_closed, stream)


def _guarded(tell: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    with Barrier(logger, "the application's tracer"):
        tell(*args, **kwargs)

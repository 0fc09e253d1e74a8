"""The receiver: accepts connections from whoever asks the broker for its UID."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from ._net.nursery import open_background_nursery
from ._parameters import (
    ALL_TECHNIQUES,
    BrokerAddress,
    parse_broker,
    parse_techniques,
    parse_uid,
)
from ._registration import Registration

ACCEPT_BACKLOG = 128  # connected streams that wait for accept()


@attrs.frozen
class P2PListenerStatistics:
    """What a listener has seen so far.

    Attributes:
        registrations: how often the UID was registered with the broker.
        introductions: how many senders the broker has introduced.
        connected: how many of the introductions led to a stream.
        failed: how many did not.
        waiting: how many streams wait for ``accept`` now.
    """

    registrations: int
    introductions: int
    connected: int
    failed: int
    waiting: int


class P2PListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts streams from the senders that ask a broker for a UID.

    :func:`open_p2p_listener` makes one. It works with :func:`trio.serve_listeners`: what goes
    wrong between one sender and us is logged and counted, and never surfaces from
    :meth:`accept`. While the broker is away, the listener keeps trying to register again;
    accepted streams are not concerned.
    """

    def __init__(
        self,
        registration: Registration,
        accepted: trio.MemoryReceiveChannel[trio.SocketStream],
    ) -> None:
        self._registration = registration
        self._accepted = accepted

    @property
    def uid(self) -> str:
        """The UID that senders ask for."""
        return self._registration.uid

    async def accept(self) -> trio.SocketStream:
        """Wait for the next stream.

        Returns:
            A stream whose other end has proven to be the sender that the broker introduced.

        Raises:
            trio.ClosedResourceError: the listener is closed, perhaps by another task meanwhile.
            UIDTakenError: the broker was away, and now somebody else is registered.
            P2PError: the broker will not have us any more for another reason.

        If cancelled, no stream was taken.
        """
        try:
            return await self._accepted.receive()
        except trio.EndOfChannel:
            assert self._registration.failure is not None
            raise self._registration.failure from None

    async def aclose(self) -> None:
        """End the registration and close the streams that nobody has accepted.

        Streams that were accepted live on. Works when cancelled, too.
        """
        self._registration.scope.cancel(reason="the listener was closed")
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                self._accepted.receive_nowait().socket.close()
        self._accepted.close()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> P2PListenerStatistics:
        """What the listener has seen so far."""
        counts = self._registration
        return P2PListenerStatistics(
            registrations=counts.registered,
            introductions=counts.introduced,
            connected=counts.connected,
            failed=counts.failed,
            waiting=self._accepted.statistics().current_buffer_used,
        )


@asynccontextmanager
async def open_p2p_listener(
    uid: str,
    broker: BrokerAddress,
    *,
    techniques: Sequence[str] = ALL_TECHNIQUES,
) -> AsyncGenerator[P2PListener]:
    """Register a UID with a broker, and accept streams from whoever asks for it.

    Use as an async context manager. On leaving it, also when cancelled, the broker is told that
    the receiver quits, and streams that nobody has accepted are closed.

    Args:
        uid: what senders ask for; text of 1 to 128 bytes in UTF-8.
        broker: ``"HOST:PORT"`` or a tuple of both.
        techniques: by which techniques to be introduced: ``"fast"``, ``"classic"``.

    Yields:
        The listener, registered.

    Raises:
        BrokerUnreachableError: no broker answers there.
        BrokerLostError: it closed the connection at once.
        UIDTakenError: somebody else is registered under the UID.
        LocalProtocolError: an argument is wrong.
        ProtocolError: this is not a broker, or not one of this version.
    """
    connected, accepted = trio.open_memory_channel[trio.SocketStream](ACCEPT_BACKLOG)
    registration = Registration(
        parse_uid(uid), parse_broker(broker), parse_techniques(techniques), connected
    )
    listener = P2PListener(registration, accepted)
    async with open_background_nursery() as nursery:
        try:
            await nursery.start(registration.run)
            yield listener
        finally:
            await trio.aclose_forcefully(listener)


async def serve_p2p(
    handler: Callable[[trio.SocketStream], Awaitable[object]],
    uid: str,
    broker: BrokerAddress,
    *,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[P2PListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Register a UID with a broker, and serve whoever asks for it, until cancelled.

    Like :func:`trio.serve_tcp`: each stream gets a task that runs ``handler``, and is closed
    when that returns.

    Args:
        handler: called with each stream.
        uid: as for :func:`open_p2p_listener`, like ``broker`` and ``techniques``.
        broker: where to register.
        techniques: by which techniques to be introduced.
        handler_nursery: where to run the handlers; in a nursery of its own if None.
        task_status: started when the UID is registered, with a list of the one listener.

    Raises:
        P2PError: as :func:`open_p2p_listener`, and as :meth:`P2PListener.accept`; in an
            exception group, as Trio's nurseries do it, once serving has begun.
    """
    async with open_p2p_listener(uid, broker, techniques=techniques) as listener:
        await trio.serve_listeners(
            handler, [listener], handler_nursery=handler_nursery, task_status=task_status
        )

"""Streams and listeners for programs that want one thing only."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Literal, cast, overload

import trio

from ._connect.rounds import open_over_new_link
from ._identity.identity import Identity
from ._identity.peer_id import PeerId
from ._listen.acceptor import Admit
from ._listen.listener import P2PListener, open_p2p_listener
from ._options import ALL_TECHNIQUES, BrokerAddress, SenderOptions, check_flag, check_serving
from ._peer import P2PSender, open_sender_nursery
from ._peer_connection import OnAttempt
from ._stream.carrier import DEFAULT_GRACE
from ._stream.p2p_stream import P2PStream, reason_of
from ._stream.session import DEFAULT_WINDOW

logger = logging.getLogger("trio_p2p.receiver")


@overload
def open_p2p_stream(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = ...,
    expect: str | PeerId | None = ...,
    raw: Literal[False] = ...,
    path: str = ...,
    techniques: Sequence[str] = ...,
    window: int = ...,
    grace: float = ...,
    port_guessing: bool = ...,
    on_attempt: OnAttempt | None = ...,
) -> AbstractAsyncContextManager[P2PStream]: ...


@overload
def open_p2p_stream(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    raw: Literal[True],
    techniques: Sequence[str] = ...,
    port_guessing: bool = ...,
    on_attempt: OnAttempt | None = ...,
) -> AbstractAsyncContextManager[trio.SocketStream]: ...


@asynccontextmanager
async def open_p2p_stream(
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = None,
    expect: str | PeerId | None = None,
    raw: bool = False,
    path: str = "any",
    techniques: Sequence[str] = ALL_TECHNIQUES,
    window: int = DEFAULT_WINDOW,
    grace: float = DEFAULT_GRACE,
    port_guessing: bool = True,
    on_attempt: OnAttempt | None = None,
) -> AsyncGenerator[Any]:
    """Connect to the receiver that is registered with a broker under a UID.

    Use as an async context manager: the tasks that keep the stream alive belong to it. On leaving
    it the stream is closed, as by :meth:`P2PStream.aclose`; at once if the block fails.

    Args:
        uid: the receiver's UID, text of 1 to 128 bytes in UTF-8, or its peer id. Whoever answers
            for a peer id has to prove that it is theirs, so that not even the broker can deceive.
        broker: ``"HOST:PORT"`` or a tuple of both. By a name that stands for IPv4 and IPv6
            addresses of the broker peers meet over both.
        identity: who we are. If None, one is made that nobody knows.
        expect: the peer id that the receiver has to have, if it is not the UID itself.
        raw: open a bare TCP connection, to a receiver that accepts such. Nothing is encrypted,
            nobody proves an identity, and nothing is relayed.
        path: ``"direct"`` and ``"relay"`` allow only such; with ``"any"`` the stream begins on
            whichever is there first, and moves from the relay to a direct path when there is one.
        techniques: by which techniques to be introduced, in this order, until one leads to a
            direct connection: ``"fast"``, ``"classic"``; ``"relay"`` is tried at the same time.
        window: how many bytes the stream may hold, sent and not acknowledged, or received and
            not read. A quarter is for either direction at least.
        grace: for how many seconds the stream waits for another path when it has lost one.
        port_guessing: whether to guess ports where one side's NAT gives them at random, if the
            receiver does, too: it takes up to
            1,024 connection attempts, and some hundred descriptors.
        on_attempt: called with each :class:`Attempt` to connect when it has ended, the
            successful one included, also when the stream looks for another path. Must not raise.

    Yields:
        A :class:`P2PStream`, or a :class:`trio.SocketStream` if it is raw. A raw stream is yielded
        when its other end has proven to be the receiver that the broker introduced.

    Raises:
        UnknownUIDError: no receiver is registered under the UID.
        WrongPeerError: who answered is not the peer that was expected, or introduced. Its
            ``__cause__`` is a group like that of the next one.
        IntroductionError: the broker introduced us, but no connection came of it. The causes
            are in the exception group that is its ``__cause__``.
        RelayError: only the relay was allowed, and the broker does not relay.
        BrokerUnreachableError: no broker answers there.
        BrokerLostError: the broker closed the connection.
        LocalProtocolError: an argument is wrong.
        ProtocolError: this is not a broker, or not one of this version.

    If cancelled, everything that was under way is closed.
    """
    options = SenderOptions.parse(
        broker, techniques, identity, window, grace, port_guessing=port_guessing
    )
    open_in_round = partial(open_over_new_link, options.broker)
    async with open_sender_nursery() as nursery:
        sender = P2PSender(options, nursery, open_in_round)
        open_stream: Any = sender.open_stream  # whose overloads tell what we were asked for apart
        stream = await open_stream(uid, expect=expect, raw=raw, path=path, on_attempt=on_attempt)
        async with stream:
            yield stream


@overload
async def serve_p2p(
    handler: Callable[[trio.SocketStream], Awaitable[object]],
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = ...,
    raw: Literal[True],
    techniques: Sequence[str] = ...,
    port_guessing: bool = ...,
    handler_nursery: trio.Nursery | None = ...,
    task_status: trio.TaskStatus[list[P2PListener[trio.SocketStream]]] = ...,
) -> None: ...


@overload
async def serve_p2p(
    handler: Callable[[P2PStream], Awaitable[object]],
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = ...,
    admit: Admit | None = ...,
    raw: Literal[False] = ...,
    techniques: Sequence[str] = ...,
    window: int = ...,
    grace: float = ...,
    port_guessing: bool = ...,
    handler_nursery: trio.Nursery | None = ...,
    task_status: trio.TaskStatus[list[P2PListener[P2PStream]]] = ...,
) -> None: ...


async def serve_p2p(
    handler: Callable[[Any], Awaitable[object]],
    uid: str | PeerId,
    broker: BrokerAddress,
    *,
    identity: Identity | None = None,
    admit: Admit | None = None,
    raw: bool = False,
    techniques: Sequence[str] = ALL_TECHNIQUES,
    window: int = DEFAULT_WINDOW,
    grace: float = DEFAULT_GRACE,
    port_guessing: bool = True,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[P2PListener[Any]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Register a UID with a broker, and serve the senders that ask for it, until cancelled.

    Like :func:`trio.serve_tcp`: each stream gets a task that runs ``handler``, and is closed
    when that returns. If the handler fails or is cancelled, the stream is aborted, and the sender's
    end raises :exc:`trio.BrokenResourceError`. A handler that fails because its sender has gone is
    logged and counted, and ends nothing else; other errors of a handler end the call.

    When cancelled, all streams end at once. To let running handlers finish, open a listener and
    close it instead; see :meth:`P2PListener.aclose`.

    Args:
        handler: called with each stream.
        uid: as for :func:`open_p2p_listener`, like all that follow but the last two.
        broker: where to register.
        identity: who we are.
        admit: whom to admit.
        raw: whether the streams are bare TCP connections.
        techniques: by which techniques to be introduced.
        window: how many bytes each stream may hold.
        grace: for how many seconds a stream waits for another path.
        port_guessing: whether to guess ports of a NAT that gives them at random.
        handler_nursery: where to run the handlers; in a nursery of its own if None.
        task_status: started when the UID is registered, with a list of the one listener.

    Raises:
        P2PError: as :func:`open_p2p_listener`, and as :meth:`P2PListener.accept`; in an
            exception group, as Trio's nurseries do it, once serving has begun.
    """
    check_serving(handler, handler_nursery)
    check_flag("raw", raw)
    listening: AbstractAsyncContextManager[P2PListener[Any]]
    if raw:
        listening = open_p2p_listener(
            uid,
            broker,
            identity=identity,
            raw=True,
            techniques=techniques,
            port_guessing=port_guessing,
        )
    else:
        listening = open_p2p_listener(
            uid,
            broker,
            identity=identity,
            admit=admit,
            techniques=techniques,
            window=window,
            grace=grace,
            port_guessing=port_guessing,
        )
    async with listening as listener:
        handle = partial(_handle, handler, listener)
        await trio.serve_listeners(
            handle, [listener], handler_nursery=handler_nursery, task_status=task_status
        )


async def _handle(
    handler: Callable[[Any], Awaitable[object]],
    listener: P2PListener[Any],
    stream: P2PStream | trio.SocketStream,
) -> None:
    """Run a handler; the end of one sender ends nothing else."""
    try:
        await handler(stream)
    except BaseException as error:  # noqa: ASYNC103 - one that is not raised is no cancellation
        if isinstance(stream, P2PStream):
            stream.abort(reason_of(error))
        if not _is_lost_peer(error, stream):
            raise
        logger.info("a sender of %r has gone while it was served: %s", listener.uid, error)
        listener.note_lost_peer()


def _is_lost_peer(error: BaseException, stream: P2PStream | trio.SocketStream) -> bool:
    """Whether a handler has failed only because its stream broke."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(_is_lost_peer(each, stream) for each in group.exceptions)
    is_broken = isinstance(error, trio.BrokenResourceError)
    return is_broken and (not isinstance(stream, P2PStream) or stream.has_lost_peer)

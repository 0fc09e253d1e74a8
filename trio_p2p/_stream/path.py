"""One TCP connection that carries TLS: a way for a session's bytes to get to the peer.

:class:`trio.SSLStream` would do, but receives 16 KiB at a time and decrypts one record per call,
each with a checkpoint: its bytes cost twice as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from .._errors import P2PError
from .connection import RECEIVE_BYTES, Connection, broken
from .decryption import Decryption
from .encryption import Encryption
from .sink import Sink

if TYPE_CHECKING:
    from .tls import Context

TAIL_BYTES: Final = 2**10
# If less came at once, the next attempt is likely to be in vain, and costs as much as a wait.
DRAINED_BYTES: Final = 2**14


class Path:
    """A TCP connection between two peers, encrypted.

    Args:
        stream: the connection, which from now on is the path's own.
        context: from :func:`~trio_p2p._stream.tls.make_context`.
        server_side: whether we are TLS's server.
        peer_certificate: the peer's, in DER: no other one is accepted.
        received: what the peer sent and was read already.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        context: Context,
        *,
        server_side: bool,
        peer_certificate: bytes,
        received: bytes = b"",
    ) -> None:
        from .tls import TLSEngine  # noqa: PLC0415 - it says why

        self._connection = Connection(stream)
        self._engine = TLSEngine(
            context, server_side=server_side, peer_certificate=peer_certificate
        )
        self._is_busy = False
        self._encryption = Encryption(self._engine)
        self._limit: float = math.inf
        self._unchecked = 0  # bytes that the connection has taken since it was waited for
        self._has_sent_last = False
        self._tail = b""
        self._is_drained = False
        self._decryption = Decryption(self._engine)
        self._take(memoryview(received))

    @property
    def tail(self) -> bytes:
        """The last bytes received, as they came: a relay ends with words that are in clear."""
        return self._tail

    @property
    def is_closed(self) -> bool:
        """Whether this side has closed it."""
        return self._connection.is_closed

    async def start_handshake(self) -> None:
        """Send a client's first flight, without waiting for anything to come.

        Raises:
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: the path is closed.
        """
        await self._shake_hands()

    async def do_handshake(self) -> None:
        """Shake hands with the peer, or go on with that.

        A client's last flight leaves with the first bytes sent, in one segment, or else when the
        client starts to receive. If cancelled, the path is of no use any more: close it.

        Raises:
            WrongPeerError: the peer is not the certificate's.
            NotAdmittedError: the peer refuses our certificate. A client may learn of that only
                when it receives.
            RemoteProtocolError: what came is not this handshake.
            trio.BrokenResourceError: the connection broke or ended.
            trio.ClosedResourceError: the path is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            while not await self._shake_hands():
                data = await self._connection.stream.receive_some(RECEIVE_BYTES)
                if not data:
                    raise trio.BrokenResourceError("the connection ended during the handshake")
                self._take(memoryview(data))
        except P2PError:
            self.send_last_flight()  # the alert
            raise

    async def _shake_hands(self) -> bool:
        """Do what the handshake can with what has come; whether that ends it."""
        has_ended = self._engine.handshake()
        if not has_ended and self._engine.has_outgoing:
            await self._connection.stream.send_all(self._engine.take_outgoing())
        return has_ended

    @property
    def is_sending(self) -> bool:
        """Whether something that was to be sent has not left yet, or another task is at it.

        So it is when all was taken, and that may be more than :meth:`limit_unsent` allows.
        """
        return self._is_busy or self._encryption.rest is not None or self._may_be_full

    @property
    def _may_be_full(self) -> bool:
        # The kernel goes on to fill a packet of 64 KiB, whatever the limit: one has to ask first.
        return self._unchecked >= self._limit

    @property
    def round_trip(self) -> float:
        """Seconds to the other end of the connection and back; 0 if that is not known."""
        return self._connection.round_trip

    @property
    def delivery_rate(self) -> int:
        """How many bytes per second have arrived lately; 0 if that is not known."""
        return self._connection.delivery_rate

    def limit_unsent(self, count: int) -> None:
        """Let the connection take no more while it holds so many bytes that have not left."""
        self._limit = count
        self._connection.limit_unsent(count)

    def start_sending(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send as much of some bytes as the connection takes without waiting.

        If afterwards :attr:`is_sending`, call :meth:`finish_sending` before anything else is sent.

        Raises:
            trio.BrokenResourceError: the connection broke; nothing more can be sent.
            trio.ClosedResourceError: the path is closed, or has said farewell.
            trio.BusyResourceError: something else is being sent.
        """
        if self.is_sending:
            raise trio.BusyResourceError("something else is being sent on this path")
        if self._has_sent_last:
            raise trio.ClosedResourceError("nothing more can be sent on this path")
        self._encryption.begin(pieces)
        self._send()

    async def finish_sending(self) -> None:
        """Send the rest; one task at a time. If cancelled, call it again.

        Raises:
            trio.BrokenResourceError: the connection broke; nothing more can be sent.
            trio.ClosedResourceError: the path is closed.
        """
        if self._is_busy:
            raise trio.BusyResourceError("another task is sending on this path")
        self._is_busy = True
        try:
            while self._encryption.rest is not None or self._may_be_full:
                # Even if it took some: once there is room, there is much of it. Bits and pieces
                # as the peer makes room for them would double the CPU time of both.
                await self._connection.wait_writable()
                self._unchecked = 0
                self._send()
        finally:
            self._is_busy = False

    def receive_at_once(self, sink: Sink) -> int | None:
        """Receive what has come already.

        Args:
            sink: what takes it.

        Returns:
            How many bytes that were: 0 if the connection has ended, or the sink takes nothing
            more; None if nothing has come.

        Raises:
            RemoteProtocolError: the sink does.
            trio.BrokenResourceError: the connection broke, or else its cause says what is wrong
                with the peer, as for :meth:`do_handshake`.
            trio.ClosedResourceError: the path is closed.
        """
        self.send_last_flight()
        given = self._give(sink, _NOTHING) if self._decryption.has_rest else None
        while given is None and not self._engine.is_ended:
            ciphertext = self._connection.receive_at_once()
            if ciphertext is None:
                return None
            if not ciphertext:
                break
            self._is_drained = len(ciphertext) < DRAINED_BYTES
            self._keep_tail(ciphertext)
            given = self._give(sink, ciphertext)
        return given or 0

    @property
    def expects_to_wait(self) -> bool:
        """Whether nothing more is likely to have come than what was received last."""
        return self._is_drained and not self._decryption.has_rest

    async def wait_receive_might_not_block(self) -> None:
        """Wait until more has come; one task at a time.

        Raises:
            trio.ClosedResourceError: the path is closed, perhaps while this waited.
        """
        await self._connection.wait_readable()

    def interrupt(self) -> None:
        """Raise ClosedResourceError in the tasks that wait on the path now, but leave it open."""
        self._connection.interrupt()

    async def receive(self, sink: Sink) -> int:
        """Receive some bytes; like :meth:`receive_at_once`, but waits for them.

        Cancellation loses nothing.
        """
        await trio.lowlevel.checkpoint()
        while (count := self.receive_at_once(sink)) is None:
            await self.wait_receive_might_not_block()
        return count

    def send_last_flight(self) -> None:
        """Send what TLS itself has to say, as far as that has not left together with others."""
        if (
            self._engine.has_outgoing and self._encryption.rest is None
        ):  # it is too little not to fit
            self._write_at_once(self._engine.take_outgoing())

    def send_at_once(self, data: bytes) -> None:
        """Say farewell: send what the connection takes without waiting, if it takes any.

        Nothing can be sent any more.
        """
        if not data or self._encryption.rest is not None or self._has_sent_last:
            return  # it would get into the midst of something
        self._has_sent_last = True
        with suppress(P2PError):  # before the handshake, or after TLS broke
            self._write_at_once(self._engine.encrypt((data,)))

    def close(self) -> None:
        """Close the connection at once."""
        self._encryption.forget()
        self._connection.close()

    def _send(self) -> None:
        """Send what is left, as far as the connection takes it now."""
        encryption = self._encryption
        try:
            while (rest := encryption.next()) is not None:
                count = self._connection.send_at_once(rest)
                self._unchecked += count
                encryption.taken(count)
                if encryption.rest is not None:
                    return
        except (P2PError, OSError) as error:
            encryption.forget()
            self._has_sent_last = True  # how much of it has left is not known
            raise broken(error) from error

    def _take(self, data: memoryview) -> None:
        self._engine.feed(data)
        self._keep_tail(data)

    def _keep_tail(self, data: memoryview) -> None:
        last = bytes(data[-TAIL_BYTES:])
        self._tail = last if len(last) == TAIL_BYTES else (self._tail + last)[-TAIL_BYTES:]

    def _give(self, sink: Sink, ciphertext: memoryview) -> int | None:
        try:
            return self._decryption.give(sink, ciphertext)
        except trio.BrokenResourceError:
            self.send_last_flight()  # the alert
            raise

    def _write_at_once(self, data: bytes) -> None:
        with suppress(OSError, trio.ClosedResourceError):  # receiving raises it
            self._connection.send_at_once(data)


_NOTHING: Final = memoryview(b"")

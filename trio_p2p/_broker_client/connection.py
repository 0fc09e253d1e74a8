"""A peer's connection to the broker: greeting it, and its errors."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import trio

from .._addresses import Endpoint, Scope, Vantage, scope_of
from .._errors import (
    BrokerLostError,
    BrokerUnreachableError,
    P2PError,
    RemoteProtocolError,
    UnsupportedVersionError,
)
from .._net.barrier import Barrier
from .._net.channel import Channel, ChannelClosedError
from .._net.network_changes import wait_stranded
from .._net.sockets import adopt, detect_dead_peer, local_endpoint, round_trip
from .._net.tls_carrier import TLSStream
from .._wire.messages import VERSION, Hello, KeepAlive, Message, Refused
from .credentials import Credentials
from .refusals import error_of
from .tls import BrokerTLS

logger = logging.getLogger("trio_p2p.broker_client")

KEEPALIVE_TIME = 30.0  # seconds between two keepalives (initiation 3)
FAREWELL_TIME = 1.0  # seconds for a last message, also when cancelled
# Seconds that the broker may take. A SYN-ACK proves no broker: a captive portal, a proxy or the
# kernel of a host whose broker has stopped sends one, too.
GREETING_TIME = 10.0
ANSWER_TIME = 10.0
INTRODUCTION_TIME = 15.0  # for an answer that the receiver has 10 seconds for

CHECK_BROKER = "check its address, and that trio-p2p-broker runs there"


class BrokerConnection(trio.abc.AsyncResource):
    """A channel to the broker that greets, and turns what goes wrong into errors.

    Attributes:
        local: the local endpoint; its port may be shared.
        remote: the broker's endpoint.
        uid: the one UID that the connection is for, if there is one: errors name it.
    """

    def __init__(
        self,
        sock: socket.socket,
        remote: Endpoint,
        capabilities: Sequence[str],
        credentials: Credentials | None = None,
    ) -> None:
        self.local: Endpoint = local_endpoint(sock)
        self.remote = remote  # which the socket does not know any more if it is reset already
        self.uid: str | None = None
        self.observed: Endpoint | None = None
        self.probes: tuple[Endpoint, ...] = ()
        # What is not acknowledged before the next keepalive is due never will be.
        detect_dead_peer(sock, KEEPALIVE_TIME)
        self._transport = trio.SocketStream(adopt(sock))
        self._channel = Channel(self._transport)
        token = None if credentials is None else credentials.token
        self._greeting: tuple[Message, ...] = (Hello(VERSION, tuple(capabilities), token=token),)
        self._credentials = credentials
        self._tls: BrokerTLS | None = None
        self._challenge: bytes | None = None
        self._is_greeted = False
        self._is_stranded = False

    @property
    def round_trip(self) -> float:
        """The round trip to the broker in seconds; 0 if the system does not say."""
        return round_trip(self._transport) / 1_000_000

    @property
    def vantage(self) -> Vantage:
        """Where this host stands towards the broker, to vet what it names."""
        observed = None if self.observed is None else self.observed.address
        return Vantage(self.local.address, observed, self.remote.address)

    async def greet(self) -> None:
        """Greet the broker unless that has been done, and wait for its greeting.

        Raises:
            BrokerUnreachableError: it did not greet in time.
            BrokerLostError: the connection broke.
            P2PError: as :meth:`receive`.
        """
        await self.send()
        await self.wait_greeted()

    async def receive_challenge(self) -> bytes:
        """Greet the broker, and wait for the challenge that its greeting brings.

        Raises:
            P2PError: as :meth:`greet`.
        """
        await self.greet()
        return self.challenge

    @property
    def challenge(self) -> bytes:
        """The challenge that the broker's greeting has brought.

        Raises:
            RemoteProtocolError: it has brought none.
        """
        if self._challenge is None:
            raise RemoteProtocolError("got a greeting without a challenge from the broker")
        return self._challenge

    async def secure(self, tls: BrokerTLS) -> None:
        """Speak TLS from now on: nothing has been said yet.

        Raises:
            BrokerUnreachableError: what is there is not that broker.
        """
        self._tls = tls
        self._channel = Channel(await tls.secure(self._transport, self.remote))

    def detach(self) -> tuple[trio.SocketStream, bytes]:
        """A stream to go on with, and what has come already behind the last message.

        Raises:
            P2PError: this host has no descriptors left.
        """
        stream, received = self._channel.detach()
        if self._tls is not None:
            stream = self._tls.start_carrying(cast("TLSStream", stream))
        assert isinstance(stream, trio.SocketStream)
        return stream, received

    async def send(self, *messages: Message) -> None:
        """Send messages; before the first one, our greeting.

        Raises:
            BrokerLostError: the connection broke.
        """
        greeting, self._greeting = self._greeting, ()
        try:
            await self._channel.send(*greeting, *messages)
        except ChannelClosedError as error:
            raise self._lost(error) from error

    async def receive(self) -> Message:
        """Wait for the next message after the broker's greeting, however long that takes.

        Raises:
            BrokerUnreachableError: the broker did not greet in time.
            BrokerLostError: the connection broke.
            RemoteProtocolError: what came is not a message.
            P2PError: the broker refuses everything; see :func:`error_of`.
        """
        await self.wait_greeted()
        return await self._receive_message()

    async def receive_answer(self, seconds: float | None = None) -> Message:
        """Wait for the next message, which the broker owes us.

        Args:
            seconds: how long it may take after the greeting; :data:`ANSWER_TIME` if None.

        Raises:
            BrokerLostError: it did not come in time, or the connection broke.
            P2PError: as :meth:`receive`.
        """
        await self.wait_greeted()
        seconds = ANSWER_TIME if seconds is None else seconds
        with trio.move_on_after(seconds):
            return await self._receive_message()
        raise self.silent(seconds)

    def silent(self, seconds: float) -> P2PError:
        """The error to raise if the broker has owed its greeting, or an answer, for some seconds.

        Args:
            seconds: for how many.
        """
        if not self._is_greeted:
            return BrokerUnreachableError(
                f"no trio-p2p broker answers at {self.remote}: it accepted a connection, and did "
                f"not greet for {seconds:g} seconds: {CHECK_BROKER}"
            )
        return BrokerLostError(
            f"the broker at {self.remote} has not answered for {seconds:g} seconds: try again, "
            "and if that does not help, see whether it is overloaded"
        )

    async def wait_greeted(self) -> None:
        """Wait for the broker's greeting, unless it has come.

        Raises:
            P2PError: as :meth:`greet`.
        """
        if self._is_greeted:
            return
        with trio.move_on_after(GREETING_TIME):
            try:
                greeting = self._take_greeting(await self._receive_message())
            except RemoteProtocolError as error:
                raise RemoteProtocolError(
                    f"no trio-p2p broker answers at {self.remote}, but something else ({error}): "
                    f"{CHECK_BROKER}"
                ) from error
            if greeting.wants_proof and self._credentials is not None:
                await self.send(self._credentials.prove(self.challenge, self.remote))
            self._is_greeted = True
            if self._tls is not None:
                self._tls.keep_session(cast("TLSStream", self._channel.stream))
            return
        raise self.silent(GREETING_TIME)

    async def _receive_message(self) -> Message:
        try:
            message = await self._channel.receive()
        except ChannelClosedError as error:
            raise self._lost(error) from error
        if isinstance(message, Refused) and message.number is None:
            raise error_of(message, self.remote, self.uid)
        return message

    def _take_greeting(self, message: Message) -> Hello:
        if not isinstance(message, Hello):
            raise unexpected(message)
        if message.version != VERSION:
            raise UnsupportedVersionError(
                f"the broker at {self.remote} speaks version {message.version} of the protocol, "
                f"this program {VERSION}: update the older one"
            )
        self._challenge = message.challenge
        self.observed = message.endpoint
        address = self.remote.address
        here = [] if message.probe_port is None else [Endpoint(address, message.probe_port)]
        others = (
            each
            for each in message.probes
            if each.address.version == address.version and each.address != address
        )
        vantage = self.vantage
        self.probes = tuple(
            each
            for each in (*here, *others)
            # A broker at an address of the internet may be asked at any port of that address: it
            # is its own. Behind one of this host, or of its network, there may be a tunnel.
            if vantage.may_dial_untrusted(each)
            or (each in here and scope_of(address) is Scope.INTERNET)
        )
        return message

    async def keep_alive(self) -> None:
        """Send a keepalive now and then, until the connection is lost.

        When this host has moved, so that nothing more would come over it, it is lost at once.
        """
        with Barrier(logger, "keeping a connection to the broker alive"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._lose_when_stranded)
                with suppress(BrokerLostError):  # the task that receives is told
                    while True:
                        await trio.sleep(KEEPALIVE_TIME)
                        await self.send(KeepAlive())
                nursery.cancel_scope.cancel(reason="the connection to the broker is lost")

    async def _lose_when_stranded(self) -> None:
        await wait_stranded(self.local.address, self.remote)
        self._is_stranded = True
        self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.socket.close()

    async def aclose(self) -> None:
        """Close the connection, also when cancelled."""
        try:
            with trio.move_on_after(FAREWELL_TIME):  # TLS says that it ends
                await self._channel.aclose()
        finally:
            self.close()

    def _lost(self, error: ChannelClosedError) -> BrokerLostError:
        reason = "this host has changed networks" if self._is_stranded else error
        return BrokerLostError(
            f"the connection to the broker at {self.remote} was lost ({reason}): try again"
        )


def unexpected(message: Message) -> RemoteProtocolError:
    """The error to raise for a message that is out of place."""
    return RemoteProtocolError(f"got a {message.type} message out of place from the broker")

"""A peer's connection to the broker: greeting it, and what its refusals mean."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

import trio

from .._addresses import Endpoint
from .._errors import (
    BrokerLostError,
    BusyError,
    IdentityError,
    IntroductionError,
    LocalProtocolError,
    P2PError,
    RelayError,
    RemoteProtocolError,
    UIDTakenError,
    UnknownUIDError,
    UnsupportedVersionError,
)
from .._net.channel import Channel, ChannelClosedError
from .._net.network_changes import wait_stranded
from .._net.sockets import adopt, detect_dead_peer, local_endpoint, round_trip
from .._wire.messages import VERSION, Hello, KeepAlive, Message, RefusalCode, Refused

KEEPALIVE_TIME = 30.0  # seconds between two keepalives (initiation 3)
FAREWELL_TIME = 1.0  # seconds for a last message, also when cancelled
BUSY_TIME = 1.0  # seconds after which to try again, if a busy broker does not say

_NOT_INTRODUCED = "the broker at {broker} did not introduce this program to {uid}: {reason}"


class BrokerConnection(trio.abc.AsyncResource):
    """A channel to the broker that greets, and turns what goes wrong into errors.

    Attributes:
        local: the local endpoint; its port may be shared.
        remote: the broker's endpoint.
        uid: the one UID that the connection is for, if there is one: errors name it.
    """

    def __init__(self, sock: socket.socket, remote: Endpoint, capabilities: Sequence[str]) -> None:
        self.local = local_endpoint(sock)
        self.remote = remote  # which the socket does not know any more if it is reset already
        self.uid: str | None = None
        self.observed: Endpoint | None = None
        self.probes: tuple[Endpoint, ...] = ()
        # What is not acknowledged before the next keepalive is due never will be.
        detect_dead_peer(sock, KEEPALIVE_TIME)
        self._channel = Channel(trio.SocketStream(adopt(sock)))
        self._greeting: tuple[Message, ...] = (Hello(VERSION, tuple(capabilities)),)
        self._challenge: bytes | None = None
        self._is_greeted = False
        self._is_stranded = False

    @property
    def round_trip(self) -> float:
        """The round trip to the broker in seconds; 0 if the system does not say."""
        return round_trip(self._channel.stream) / 1_000_000

    async def receive_challenge(self) -> bytes:
        """Greet the broker, and wait for the challenge that its greeting brings.

        Raises:
            BrokerLostError: the connection broke.
            P2PError: as :meth:`receive`.
        """
        await self.send()
        while not self._is_greeted:
            self._take_greeting(await self._receive_message())
        if self._challenge is None:
            raise RemoteProtocolError("got a greeting without a challenge from the broker")
        return self._challenge

    def detach(self) -> tuple[trio.SocketStream, bytes]:
        """The stream, and what has come over it already behind the last message."""
        stream, received = self._channel.detach()
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
        """Wait for the next message after the broker's greeting.

        Raises:
            BrokerLostError: the connection broke.
            RemoteProtocolError: what came is not a message.
            P2PError: the broker refuses everything; see :func:`error_of`.
        """
        while not self._is_greeted:
            self._take_greeting(await self._receive_message())
        return await self._receive_message()

    async def _receive_message(self) -> Message:
        try:
            message = await self._channel.receive()
        except ChannelClosedError as error:
            raise self._lost(error) from error
        if isinstance(message, Refused) and message.number is None:
            raise error_of(message, self.remote, self.uid)
        return message

    def _take_greeting(self, message: Message) -> None:
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
        self.probes = (*here, *others)
        self._is_greeted = True

    async def keep_alive(self) -> None:
        """Send a keepalive now and then, until the connection is lost.

        When this host has moved, so that nothing more would come over it, it is lost at once.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lose_when_stranded)
            with suppress(BrokerLostError):  # whoever receives is told
                while True:
                    await trio.sleep(KEEPALIVE_TIME)
                    await self.send(KeepAlive())
            nursery.cancel_scope.cancel(reason="the connection to the broker is lost")

    async def _lose_when_stranded(self) -> None:
        await wait_stranded(self.local.address, self.remote)
        self._is_stranded = True
        stream, _ = self.detach()
        stream.socket.close()

    async def aclose(self) -> None:
        """Close the connection, also when cancelled."""
        await self._channel.aclose()

    def _lost(self, error: ChannelClosedError) -> BrokerLostError:
        reason = "this host has changed networks" if self._is_stranded else error
        return BrokerLostError(
            f"the connection to the broker at {self.remote} was lost ({reason}): try again"
        )


_MEANINGS: dict[RefusalCode, tuple[type[P2PError], str]] = {
    RefusalCode.UNKNOWN_UID: (
        UnknownUIDError,
        (
            "no receiver is registered under {uid} at the broker at {broker}: check the UID's "
            "spelling, that the receiver runs, and that both use the same broker"
        ),
    ),
    RefusalCode.UID_TAKEN: (
        UIDTakenError,
        (
            "another receiver is registered under {uid} at the broker at {broker}: choose another "
            "UID, or stop that receiver (the broker said: {reason})"
        ),
    ),
    RefusalCode.UNSUPPORTED_VERSION: (
        UnsupportedVersionError,
        (
            f"this program speaks version {VERSION} of the protocol, and the broker at "
            "{broker} does not: update the older one (the broker said: {reason})"
        ),
    ),
    RefusalCode.PROTOCOL_VIOLATION: (
        LocalProtocolError,
        "the broker at {broker} refused what it was sent: {reason}",
    ),
    RefusalCode.IDENTITY_NOT_PROVEN: (
        IdentityError,
        "the broker at {broker} rejected the proof of this program's identity: {reason}",
    ),
    RefusalCode.UNSUPPORTED_STREAM: (LocalProtocolError, _NOT_INTRODUCED),
    RefusalCode.RELAY_REFUSED: (
        RelayError,
        "the broker at {broker} did not relay to {uid}: {reason}",
    ),
    RefusalCode.UNSUPPORTED_TECHNIQUE: (IntroductionError, _NOT_INTRODUCED),
    RefusalCode.OTHER_IP_VERSION: (IntroductionError, _NOT_INTRODUCED),
    RefusalCode.RECEIVER_LOST: (IntroductionError, _NOT_INTRODUCED),
    RefusalCode.RECEIVER_SILENT: (IntroductionError, _NOT_INTRODUCED),
    RefusalCode.BUSY: (
        BusyError,
        (
            "the broker at {broker} has no room for this request ({reason}): try again in "
            "{retry_after:g} seconds"
        ),
    ),
}


def error_of(refused: Refused, broker: Endpoint, uid: str | None = None) -> P2PError:
    """The error that a broker's refusal means.

    Args:
        refused: the refusal.
        broker: the endpoint of the broker that sent it.
        uid: the UID that was asked for, or was to be registered, if there was one.
    """
    error_type, text = _MEANINGS[refused.code]
    milliseconds = refused.retry_after
    retry_after = BUSY_TIME if milliseconds is None else milliseconds / 1000
    text = text.format(
        broker=broker,
        uid="the UID" if uid is None else repr(uid),
        reason=refused.reason,
        retry_after=retry_after,
    )
    if issubclass(error_type, (UnknownUIDError, UIDTakenError)):
        return error_type(text, uid=uid)
    if issubclass(error_type, BusyError):
        return error_type(text, retry_after=retry_after)
    return error_type(text)


def unexpected(message: Message) -> RemoteProtocolError:
    """The error to raise for a message that is out of place."""
    return RemoteProtocolError(f"got a {message.type} message out of place from the broker")

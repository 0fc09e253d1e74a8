"""A receiver's name: how to register it on a connection to the broker, and what to hear there."""

from __future__ import annotations

import attrs

from .._addresses import Endpoint
from .._broker_client.connection import BrokerConnection, unexpected
from .._broker_client.refusals import error_of
from .._identity.identity import Identity
from .._wire.messages import Message, Refused, Register, Registered, StreamKind

_NUMBER = 0  # of the one registration on each connection


@attrs.frozen
class OwnName:
    """What a receiver registers, over each version of IP the same.

    Attributes:
        uid: the UID.
        stream: what senders are to make of a connection.
        instance: tells the broker which registrations belong together.
        identity: ours.
    """

    uid: str
    stream: StreamKind
    instance: bytes = attrs.field(repr=False)
    identity: Identity

    async def register(self, connection: BrokerConnection) -> Endpoint:
        """Register on a connection; the endpoint that the broker sees.

        Raises:
            P2PError: the broker refuses, does not answer or is lost.
        """
        connection.uid = self.uid
        challenge = await connection.receive_challenge()
        broker, me = connection.remote, self.identity
        signature = me.sign_registration(challenge, broker, self.uid)
        await connection.send(
            Register(
                _NUMBER, self.uid, self.stream, self.instance, broker, me.certificate, signature
            )
        )
        match await connection.receive_answer():
            case Registered(endpoint=endpoint):
                return endpoint
            case Refused() as refused:
                raise error_of(refused, connection.remote, self.uid)
            case message:
                raise unexpected(message)

    async def receive(self, connection: BrokerConnection) -> Message:
        """Wait for the next message after the registration.

        Raises:
            P2PError: the registration, or the connection, has ended.
        """
        message = await connection.receive()
        if isinstance(message, Refused):
            raise error_of(message, connection.remote, self.uid)
        return message

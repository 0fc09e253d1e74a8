"""What the broker refuses, each with a sentence that says why and what to do. Pure."""

from __future__ import annotations

import math
from typing import NoReturn

from .._addresses import Endpoint
from .._attempt import Technique
from .._identity.certificate import (
    identification_statement,
    is_signed_untrusted,
    peer_id_of_untrusted,
    registration_statement,
)
from .._identity.peer_id import looks_like_peer_id
from .._wire.messages import (
    Identify,
    IntroductionRequest,
    RefusalCode,
    Refused,
    Register,
    StreamKind,
)
from .connection import Connection, Name, Registration
from .own_endpoints import OwnEndpoints


class RefusalError(Exception):
    """Carries the refusal out of a transition."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


def refuse(
    code: RefusalCode, reason: str, number: int | None = None, *, retry_after: float | None = None
) -> NoReturn:
    """Raise a refusal; without the number of a request or registration it ends the connection.

    Args:
        code: why, for programs.
        reason: why, for people.
        number: of the request or registration.
        retry_after: after how many seconds to ask again.
    """
    milliseconds = None if retry_after is None else max(1, math.ceil(1000 * retry_after))
    raise RefusalError(Refused(code, reason, number, milliseconds))


def check_identity_untrusted(
    message: Register, connection: Connection, own_endpoints: OwnEndpoints
) -> None:
    """A receiver has to hold the key, and say so to this broker; a peer id is for its own key.

    Args:
        message: what it says.
        connection: on which it says so.
        own_endpoints: of this broker.

    Raises:
        RefusalError: it does not.
        RemoteProtocolError: what it calls its certificate is none.
    """
    _check_broker(message.broker, connection, own_endpoints, message.number)
    statement = registration_statement(connection.challenge, message.broker, message.uid)
    if not is_signed_untrusted(message.certificate, message.signature, statement):
        refuse(
            RefusalCode.IDENTITY_NOT_PROVEN,
            "the signature is not that of the certificate's key over the UID, the broker and the "
            "challenge of this connection",
            message.number,
        )
    if looks_like_peer_id(message.uid) and message.uid != str(
        peer_id_of_untrusted(message.certificate)
    ):
        refuse(
            RefusalCode.IDENTITY_NOT_PROVEN,
            "this UID is the peer id of another identity: register your own, or another name",
            message.number,
        )


def check_identification_untrusted(
    message: Identify, connection: Connection, own_endpoints: OwnEndpoints
) -> None:
    """A client has to hold the key, and say so to this broker.

    Args:
        message: what it says.
        connection: on which it says so.
        own_endpoints: of this broker.

    Raises:
        RefusalError: it does not.
        RemoteProtocolError: what it calls its certificate is none.
    """
    _check_broker(message.broker, connection, own_endpoints)
    statement = identification_statement(connection.challenge, message.broker)
    if not is_signed_untrusted(message.certificate, message.signature, statement):
        refuse(
            RefusalCode.IDENTITY_NOT_PROVEN,
            "the signature is not that of the certificate's key over the broker and the challenge "
            "of this connection",
        )


def _check_broker(
    named: Endpoint,
    connection: Connection,
    own_endpoints: OwnEndpoints,
    number: int | None = None,
) -> None:
    assert connection.local is not None
    if not own_endpoints.include(named, connection.local):
        refuse(
            RefusalCode.IDENTITY_NOT_PROVEN,
            f"the client has signed for the broker at {named}, and this one does not know that it "
            "is found there: its operator can say so with --external",
            number,
        )


def check_introduction(
    sender: Connection, name: Name, request: IntroductionRequest
) -> Registration:
    """The registration to ask a receiver over, which has to take the stream and the technique.

    Raises:
        RefusalError: the receiver takes another kind of stream or other techniques, or has no
            version of IP in common with the sender, as the technique needs.
    """
    if request.stream is not name.stream:
        refuse(
            RefusalCode.UNSUPPORTED_STREAM,
            f"the sender wants a {request.stream} stream, and this UID is registered for "
            f"{name.stream} streams: both have to choose the same",
            request.number,
        )
    version = sender.ip_version
    is_relayed = request.technique == Technique.RELAY
    registration = name.ipv4 or name.ipv6 if is_relayed else name.over(version)
    if registration is None:
        refuse(
            RefusalCode.OTHER_IP_VERSION,
            f"the receiver is not known to be reached over IPv{version}",
            request.number,
        )
    techniques = registration.connection.techniques
    if request.technique not in techniques:
        refuse(
            RefusalCode.UNSUPPORTED_TECHNIQUE,
            "the receiver cannot be introduced by this technique, only by "
            f"{' or '.join(techniques) or 'none that this broker knows'}",
            request.number,
        )
    if is_relayed and name.stream is not StreamKind.SESSION:
        refuse(
            RefusalCode.UNSUPPORTED_STREAM,
            "only sessions are relayed, because they are encrypted",
            request.number,
        )
    return registration

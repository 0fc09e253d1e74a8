"""What the broker refuses, each with a sentence that says why and what to do. Pure."""

from __future__ import annotations

import math
from typing import NoReturn

from .._addresses import Endpoint
from .._attempt import Technique
from .._identity.certificate import (
    is_signed_untrusted,
    peer_id_of_untrusted,
    registration_statement,
)
from .._identity.peer_id import looks_like_peer_id
from .._wire.messages import (
    IntroductionRequest,
    RefusalCode,
    Refused,
    Register,
    RegisterIPv6,
    StreamKind,
)
from .._wire.offer import Offer
from .connection import Connection
from .own_endpoints import OwnEndpoints


class RefusalError(Exception):
    """Carries the refusal out of a transition."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


def refuse(
    code: RefusalCode, reason: str, number: int | None = None, *, retry_after: float | None = None
) -> NoReturn:
    """Raise a refusal; without the number of a request it ends the connection.

    Args:
        code: why.
        reason: the same, for people.
        number: of the request.
        retry_after: after how many seconds to ask again.
    """
    milliseconds = None if retry_after is None else max(1, math.ceil(1000 * retry_after))
    raise RefusalError(Refused(code, reason, number, milliseconds))


def check_identity_untrusted(
    message: Register | RegisterIPv6, connection: Connection, own_endpoints: OwnEndpoints
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
    assert connection.local is not None
    if not own_endpoints.include(message.broker, connection.local):
        refuse(
            RefusalCode.IDENTITY_NOT_PROVEN,
            f"the registration is signed for the broker at {message.broker}, and this one does not "
            "know that it is found there: its operator can say so with --external",
        )
    statement = registration_statement(connection.challenge, message.broker, message.uid)
    if not is_signed_untrusted(message.certificate, message.signature, statement):
        refuse(
            RefusalCode.IDENTITY_NOT_PROVEN,
            "the signature is not that of the certificate's key over the UID, the broker and the "
            "challenge of this connection",
        )
    if looks_like_peer_id(message.uid) and message.uid != str(
        peer_id_of_untrusted(message.certificate)
    ):
        refuse(
            RefusalCode.IDENTITY_NOT_PROVEN,
            "this UID is the peer id of another identity: register your own, or another name",
        )


def check_reach(
    sender: Connection, receiver: Connection, request: IntroductionRequest, now: float
) -> tuple[Endpoint, Offer]:
    """Where the sender can connect to the receiver, and how else.

    Raises:
        RefusalError: they have no version of IP in common.
    """
    version = sender.endpoint.address.version
    reach = receiver.reach(version, now)
    if reach is None:
        refuse(
            RefusalCode.OTHER_IP_VERSION,
            f"the receiver is not known to be reached over IPv{version}",
            request.number,
        )
    return reach


def check_introduction(receiver: Connection, request: IntroductionRequest) -> None:
    """The receiver has to take this kind of stream, and the technique.

    Raises:
        RefusalError: it does not, or they do not go together.
    """
    if request.stream not in receiver.streams:
        refuse(
            RefusalCode.UNSUPPORTED_STREAM,
            f"the sender wants a {request.stream} stream, and the receiver takes only "
            f"{' or '.join(receiver.streams) or 'what this broker does not know'}: both have "
            "to choose the same",
            request.number,
        )
    if request.technique not in receiver.techniques:
        refuse(
            RefusalCode.UNSUPPORTED_TECHNIQUE,
            "the receiver cannot be introduced by this technique, only by "
            f"{' or '.join(receiver.techniques) or 'none that this broker knows'}",
            request.number,
        )
    if request.technique == Technique.RELAY and request.stream != StreamKind.SESSION:
        refuse(
            RefusalCode.UNSUPPORTED_STREAM,
            "only sessions are relayed, because they are encrypted",
            request.number,
        )

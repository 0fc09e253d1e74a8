"""The messages by which a broker introduces a sender to a receiver, fast or step by step."""

from __future__ import annotations

from typing import ClassVar

import attrs

from .._addresses import Endpoint
from .checks import check_endpoint
from .fields import (
    StreamKind,
    check_certificate,
    check_id,
    check_nonce,
    check_number,
    check_origin,
    check_reason,
    check_retry_after,
    check_round_trip,
    check_signature,
    check_stream_kind,
    check_uid,
    field,
)
from .offer import NO_OFFER, Offer, check_offer


@attrs.frozen
class IntroductionRequest:
    """The sender asks for a UID; the answer carries the same number."""

    type: ClassVar[str] = "introduction_request"
    step: ClassVar[str] = "step 1"
    number: int = field(check_number)
    uid: str = field(check_uid)
    technique: str = field(check_reason)
    stream: StreamKind = field(check_stream_kind)
    certificate: bytes = field(check_certificate)
    offer: Offer = field(check_offer, NO_OFFER)
    search: bytes | None = field(check_id, None)
    proof: bytes | None = field(check_signature, None)


@attrs.frozen
class ConnectionRequest:
    """A sender asks for the receiver, who then acknowledges; classic only."""

    type: ClassVar[str] = "connection_request"
    step: ClassVar[str] = "step 2"
    introduction: bytes = field(check_id)
    registration: int | None = field(check_number, None)
    origin: bytes | None = field(check_origin, None)


@attrs.frozen
class Acknowledge:
    """Sent from the port that the receiver is going to punch from; classic only."""

    type: ClassVar[str] = "acknowledge"
    step: ClassVar[str] = "step 3"
    introduction: bytes = field(check_id)
    offer: Offer = field(check_offer, NO_OFFER)


@attrs.frozen
class SenderEndpoint:
    """Where the sender is; of a fast introduction sent over the control connection."""

    type: ClassVar[str] = "sender_endpoint"
    step: ClassVar[str] = "step 4"
    endpoint: Endpoint = field(check_endpoint)
    nonce: bytes = field(check_nonce)
    certificate: bytes = field(check_certificate)
    round_trip: int = field(check_round_trip, 0)
    offer: Offer = field(check_offer, NO_OFFER)
    search: bytes | None = field(check_id, None)
    proof: bytes | None = field(check_signature, None)
    registration: int | None = field(check_number, None)


@attrs.frozen
class Decline:
    """The receiver has no room for an introduction now; the sender is refused with ``busy``."""

    type: ClassVar[str] = "decline"
    step: ClassVar[str] = "declining"
    introduction: bytes | None = field(check_id, None)
    nonce: bytes | None = field(check_nonce, None)
    retry_after: int | None = field(check_retry_after, None)


@attrs.frozen
class HolePunched:
    """The receiver has punched, and listens; classic only."""

    type: ClassVar[str] = "hole_punched"
    step: ClassVar[str] = "step 9"
    introduction: bytes = field(check_id)


@attrs.frozen
class ReceiverEndpoint:
    """Where the receiver is."""

    type: ClassVar[str] = "receiver_endpoint"
    step: ClassVar[str] = "step 10"
    number: int = field(check_number)
    endpoint: Endpoint = field(check_endpoint)
    nonce: bytes = field(check_nonce)
    certificate: bytes = field(check_certificate)
    round_trip: int = field(check_round_trip, 0)
    offer: Offer = field(check_offer, NO_OFFER)

"""The messages between peers and broker, and what a valid one looks like.

The steps are those of the p2prs protocol (after NATBLASTER, CMU-ISRI-05-104). A message
travels as a msgpack map with a ``type`` and the fields of its class. An absent optional field is
left out; a field that the class does not know is ignored, so that either side may add some.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias, get_args

import attrs

from .._addresses import Endpoint
from .checks import check_endpoint, check_integer
from .fields import (
    CHALLENGE_BYTES as CHALLENGE_BYTES,
    ID_BYTES as ID_BYTES,
    MAX_CERTIFICATE_BYTES as MAX_CERTIFICATE_BYTES,
    MAX_COUNT as MAX_COUNT,
    MAX_IDLE_TIME as MAX_IDLE_TIME,
    MAX_PROBES as MAX_PROBES,
    MAX_ROUND_TRIP as MAX_ROUND_TRIP,
    MAX_UID_BYTES as MAX_UID_BYTES,
    MAX_WATCHED as MAX_WATCHED,
    NONCE_BYTES as NONCE_BYTES,
    ORIGIN_BYTES as ORIGIN_BYTES,
    SIGNATURE_BYTES as SIGNATURE_BYTES,
    RefusalCode as RefusalCode,
    StreamKind as StreamKind,
    check_capabilities,
    check_certificate,
    check_challenge,
    check_count,
    check_id,
    check_idle_time,
    check_ip_version,
    check_nonce,
    check_number,
    check_origin,
    check_port,
    check_probes,
    check_reason,
    check_refusal_code,
    check_retry_after,
    check_round_trip,
    check_signature,
    check_stream_kind,
    check_uid as check_uid,
    field,
)
from .offer import NO_OFFER, Offer, check_offer
from .probing import (
    CallBack as CallBack,
    Called as Called,
    CalledBack as CalledBack,
    CallSource as CallSource,
    Observed as Observed,
    Probe as Probe,
)

VERSION = 1
CAPABILITIES = ("classic", "fast", "raw", "relay", "session")


@attrs.frozen
class Hello:
    """The first message of either side: what it speaks.

    The broker's brings a fresh challenge, and says where it sees the client and where else it
    answers probes.
    """

    type: ClassVar[str] = "hello"
    step: ClassVar[str] = "greeting"
    version: int = field(check_integer(0, 2**16 - 1), VERSION)
    capabilities: tuple[str, ...] = field(check_capabilities, CAPABILITIES)
    challenge: bytes | None = field(check_challenge, None)
    endpoint: Endpoint | None = field(check_endpoint, None)
    probe_port: int | None = field(check_port, None)
    probes: tuple[Endpoint, ...] = field(check_probes, ())


@attrs.frozen
class Register:
    """The receiver asks for its UID at the broker that it has connected to; signed with its key."""

    type: ClassVar[str] = "register"
    step: ClassVar[str] = "initiation 1"
    uid: str = field(check_uid)
    broker: Endpoint = field(check_endpoint)
    certificate: bytes = field(check_certificate)
    signature: bytes = field(check_signature)


@attrs.frozen
class Registered:
    """The broker holds the UID, and saw the receiver at this endpoint."""

    type: ClassVar[str] = "registered"
    step: ClassVar[str] = "initiation 2"
    endpoint: Endpoint = field(check_endpoint)


@attrs.frozen
class RegisterIPv6:
    """The receiver that holds a UID over IPv4 is found here, too; signed like ``register``.

    The broker answers ``registered``, and closes the connection.
    """

    type: ClassVar[str] = "register_ipv6"
    step: ClassVar[str] = "IPv6"
    uid: str = field(check_uid)
    broker: Endpoint = field(check_endpoint)
    certificate: bytes = field(check_certificate)
    signature: bytes = field(check_signature)


@attrs.frozen
class KeepAlive:
    """Still here."""

    type: ClassVar[str] = "keepalive"
    step: ClassVar[str] = "initiation 3"


@attrs.frozen
class Update:
    """The receiver tells how else it can be reached, whenever that has changed."""

    type: ClassVar[str] = "update"
    step: ClassVar[str] = "candidates"
    offer: Offer = field(check_offer, NO_OFFER)


@attrs.frozen
class Kill:
    """The receiver quits."""

    type: ClassVar[str] = "kill"
    step: ClassVar[str] = "initiation 4"


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
    """Somebody asks for the receiver, by this version of IP; classic only."""

    type: ClassVar[str] = "connection_request"
    step: ClassVar[str] = "step 2"
    introduction: bytes = field(check_id)
    ip_version: int = field(check_ip_version)
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
    """Where the sender is. The fast introduction sends it over the registration."""

    type: ClassVar[str] = "sender_endpoint"
    step: ClassVar[str] = "step 4"
    endpoint: Endpoint = field(check_endpoint)
    nonce: bytes = field(check_nonce)
    certificate: bytes = field(check_certificate)
    round_trip: int = field(check_round_trip, 0)
    offer: Offer = field(check_offer, NO_OFFER)
    search: bytes | None = field(check_id, None)
    proof: bytes | None = field(check_signature, None)


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


@attrs.frozen
class Watch:
    """The sender wants to be told, once, when the receiver of this UID has registered again."""

    type: ClassVar[str] = "watch"
    step: ClassVar[str] = "watching"
    uid: str = field(check_uid)


@attrs.frozen
class RegisteredAgain:
    """The receiver of this UID has registered again, perhaps from somewhere else."""

    type: ClassVar[str] = "registered_again"
    step: ClassVar[str] = "watching"
    uid: str = field(check_uid)


@attrs.frozen
class RelayRequest:
    """Somebody asks to be relayed to the receiver, who then joins on a connection of its own."""

    type: ClassVar[str] = "relay_request"
    step: ClassVar[str] = "relay 2"
    introduction: bytes = field(check_id)
    certificate: bytes = field(check_certificate)
    origin: bytes | None = field(check_origin, None)


@attrs.frozen
class JoinRelay:
    """The receiver's connection for the relay."""

    type: ClassVar[str] = "join_relay"
    step: ClassVar[str] = "relay 3"
    introduction: bytes = field(check_id)


@attrs.frozen
class Relayed:
    """From here on the connection carries what the peers say; both get one, the last message.

    Should the broker end the circuit, then behind the circuit's id comes a last ``refused``.
    """

    type: ClassVar[str] = "relayed"
    step: ClassVar[str] = "relay 4"
    circuit: bytes = field(check_id)
    certificate: bytes | None = field(check_certificate, None)
    bytes_per_second: int | None = field(check_count, None)
    max_bytes: int | None = field(check_count, None)
    idle_time: int | None = field(check_idle_time, None)


@attrs.frozen
class Refused:
    """The broker will not: the request of that number, or else anything more."""

    type: ClassVar[str] = "refused"
    step: ClassVar[str] = "refusal"
    code: RefusalCode = field(check_refusal_code)
    reason: str = field(check_reason)
    number: int | None = field(check_number, None)
    retry_after: int | None = field(check_retry_after, None)


Message: TypeAlias = (
    Hello
    | Register
    | Registered
    | RegisterIPv6
    | KeepAlive
    | Update
    | Probe
    | Observed
    | CallBack
    | Called
    | CalledBack
    | Kill
    | IntroductionRequest
    | ConnectionRequest
    | Acknowledge
    | SenderEndpoint
    | Decline
    | HolePunched
    | ReceiverEndpoint
    | Watch
    | RegisteredAgain
    | RelayRequest
    | JoinRelay
    | Relayed
    | Refused
)
MESSAGE_TYPES: tuple[type[Message], ...] = get_args(Message)

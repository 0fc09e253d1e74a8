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
    INSTANCE_BYTES as INSTANCE_BYTES,
    MAX_BROKERS as MAX_BROKERS,
    MAX_CERTIFICATE_BYTES as MAX_CERTIFICATE_BYTES,
    MAX_COUNT as MAX_COUNT,
    MAX_IDLE_TIME as MAX_IDLE_TIME,
    MAX_PROBES as MAX_PROBES,
    MAX_RETRY_AFTER as MAX_RETRY_AFTER,
    MAX_ROUND_TRIP as MAX_ROUND_TRIP,
    MAX_TOKEN_BYTES as MAX_TOKEN_BYTES,
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
    check_flag,
    check_instance,
    check_number,
    check_port,
    check_probes,
    check_reason,
    check_refusal_code,
    check_retry_after,
    check_signature,
    check_stream_kind,
    check_token,
    check_uid as check_uid,
    field,
    may_be_broker as may_be_broker,
)
from .introducing import (
    Acknowledge as Acknowledge,
    ConnectionRequest as ConnectionRequest,
    Decline as Decline,
    HolePunched as HolePunched,
    IntroductionRequest as IntroductionRequest,
    ReceiverEndpoint as ReceiverEndpoint,
    SenderEndpoint as SenderEndpoint,
)
from .offer import NO_OFFER, Offer, check_offer
from .operating import Draining as Draining, Report as Report
from .probing import (
    CallBack as CallBack,
    Called as Called,
    CalledBack as CalledBack,
    CallSource as CallSource,
    Observed as Observed,
    Probe as Probe,
)
from .relaying import (
    JoinRelay as JoinRelay,
    Relayed as Relayed,
    RelayRequest as RelayRequest,
)

VERSION = 1
CAPABILITIES = ("classic", "fast", "relay")


@attrs.frozen
class Hello:
    """The first message of either side: what it speaks.

    The client's may bring an access token. The broker's brings a fresh challenge, and says where it
    sees the client, where else it answers probes, and whether it wants the client to identify.
    """

    type: ClassVar[str] = "hello"
    step: ClassVar[str] = "greeting"
    version: int = field(check_integer(0, 2**16 - 1), VERSION)
    capabilities: tuple[str, ...] = field(check_capabilities, CAPABILITIES)
    challenge: bytes | None = field(check_challenge, None)
    endpoint: Endpoint | None = field(check_endpoint, None)
    probe_port: int | None = field(check_port, None)
    probes: tuple[Endpoint, ...] = field(check_probes, ())
    token: bytes | None = field(check_token, None)
    wants_proof: bool | None = field(check_flag, None)


@attrs.frozen
class Identify:
    """The client proves who it is before it asks for anything; there is no answer."""

    type: ClassVar[str] = "identify"
    step: ClassVar[str] = "identifying"
    broker: Endpoint = field(check_endpoint)
    certificate: bytes = field(check_certificate)
    signature: bytes = field(check_signature)


@attrs.frozen
class Register:
    """The receiver asks for a UID at the broker that it has connected to; signed with its key."""

    type: ClassVar[str] = "register"
    step: ClassVar[str] = "initiation 1"
    number: int = field(check_number)
    uid: str = field(check_uid)
    stream: StreamKind = field(check_stream_kind)
    instance: bytes = field(check_instance)
    broker: Endpoint = field(check_endpoint)
    certificate: bytes = field(check_certificate)
    signature: bytes = field(check_signature)


@attrs.frozen
class Registered:
    """Reply to ``register``: the UID is registered, and the broker sees the receiver there."""

    type: ClassVar[str] = "registered"
    step: ClassVar[str] = "initiation 2"
    number: int = field(check_number)
    endpoint: Endpoint = field(check_endpoint)


@attrs.frozen
class Unregister:
    """The receiver gives one UID back; the connection stays for everything else."""

    type: ClassVar[str] = "unregister"
    step: ClassVar[str] = "giving back"
    number: int = field(check_number)


@attrs.frozen
class KeepAlive:
    """The client is still there; sent from time to time."""

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
    """The receiver quits: all its UIDs are given back, and the connection ends."""

    type: ClassVar[str] = "kill"
    step: ClassVar[str] = "initiation 4"


@attrs.frozen
class Watch:
    """The sender wants to be told, once, when the receiver of this UID has registered again.

    There is no answer but a refusal, which closes the connection if the watch has no number.
    """

    type: ClassVar[str] = "watch"
    step: ClassVar[str] = "watching"
    uid: str = field(check_uid)
    number: int | None = field(check_number, None)


@attrs.frozen
class Unwatch:
    """The sender does not want to be told of this UID any more."""

    type: ClassVar[str] = "unwatch"
    step: ClassVar[str] = "watching"
    uid: str = field(check_uid)


@attrs.frozen
class RegisteredAgain:
    """The receiver of this UID has registered again, perhaps from somewhere else."""

    type: ClassVar[str] = "registered_again"
    step: ClassVar[str] = "watching"
    uid: str = field(check_uid)


@attrs.frozen
class Refused:
    """The broker refuses the request or registration of that number, or else anything more."""

    type: ClassVar[str] = "refused"
    step: ClassVar[str] = "refusal"
    code: RefusalCode = field(check_refusal_code)
    reason: str = field(check_reason)
    number: int | None = field(check_number, None)
    retry_after: int | None = field(check_retry_after, None)


Message: TypeAlias = (
    Hello
    | Identify
    | Register
    | Registered
    | Unregister
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
    | Unwatch
    | RegisteredAgain
    | RelayRequest
    | JoinRelay
    | Relayed
    | Report
    | Draining
    | Refused
)
MESSAGE_TYPES: tuple[type[Message], ...] = get_args(Message)

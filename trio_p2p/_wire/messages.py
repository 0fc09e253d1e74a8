"""The messages between peers and broker, and what a valid one looks like.

The steps are those of the p2prs protocol (after NATBLASTER, CMU-ISRI-05-104). A message
travels as a msgpack map with a ``type`` and the fields of its class. An absent optional field is
left out; a field that the class does not know is ignored, so that either side may add some.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias, get_args

import attrs

from .._endpoint import Endpoint

VERSION = 1
CAPABILITIES = ("classic", "fast", "raw", "relay", "session")

MAX_UID_BYTES = 128
ID_BYTES = 16  # unguessable: 128 random bits
NONCE_BYTES = 32  # the key of HMAC-SHA-256
CHALLENGE_BYTES = 32
SIGNATURE_BYTES = 64  # Ed25519's
MAX_CERTIFICATE_BYTES = 1024
MAX_REASON_BYTES = 512
MAX_ROUND_TRIP = 60_000_000  # microseconds
MAX_COUNT = 2**63 - 1

Check: TypeAlias = Callable[[Any], Any]


class RefusalCode(enum.StrEnum):
    """Why the broker refuses; the reason beside it is for people."""

    UNSUPPORTED_VERSION = "unsupported-version"
    UNKNOWN_UID = "unknown-uid"
    UID_TAKEN = "uid-taken"
    UNSUPPORTED_TECHNIQUE = "unsupported-technique"
    PROTOCOL_VIOLATION = "protocol-violation"
    RECEIVER_LOST = "receiver-lost"
    RECEIVER_SILENT = "receiver-silent"
    UNSUPPORTED_STREAM = "unsupported-stream"
    IDENTITY_NOT_PROVEN = "identity-not-proven"
    RELAY_REFUSED = "relay-refused"


class StreamKind(enum.StrEnum):
    """What the sender makes of a connection; the receiver must make the same."""

    SESSION = "session"
    """TLS 1.3 between the peers, and a session above it."""
    RAW = "raw"
    """The bare TCP connection."""


_STREAM_KINDS = frozenset(kind.value for kind in StreamKind)
_REFUSAL_CODES = frozenset(code.value for code in RefusalCode)
_IPV4_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96: an IPv4 address has one form here


def check_uid(value: Any) -> str:
    """Return the UID if it is one; else ValueError says what is wrong with it."""
    if not isinstance(value, str):
        raise ValueError(f"a UID is text, not {type(value).__name__}")
    if not value:
        raise ValueError("a UID must not be empty")
    if not value.isprintable():
        raise ValueError("a UID must not contain control characters")
    if len(value.encode()) > MAX_UID_BYTES:
        raise ValueError(f"a UID must not be longer than {MAX_UID_BYTES} bytes in UTF-8")
    return value


def _check_integer(minimum: int, maximum: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise ValueError(f"not an integer from {minimum} to {maximum}")
        return value

    return check


def _check_bytes(length: int) -> Check:
    def check(value: Any) -> bytes:
        if type(value) is not bytes or len(value) != length:
            raise ValueError(f"not {length} bytes")
        return value

    return check


def _check_certificate(value: Any) -> bytes:
    if type(value) is not bytes or not 0 < len(value) <= MAX_CERTIFICATE_BYTES:
        raise ValueError(f"not a certificate of up to {MAX_CERTIFICATE_BYTES} bytes")
    return value


def _check_stream_kind(value: Any) -> StreamKind:
    if type(value) is not str or value not in _STREAM_KINDS:
        raise ValueError("not a kind of stream of this version")
    return StreamKind(value)


def _check_reason(value: Any) -> str:
    if type(value) is not str or len(value.encode()) > MAX_REASON_BYTES:
        raise ValueError(f"not text of up to {MAX_REASON_BYTES} bytes")
    # It ends up in logs and on terminals.
    return "".join(c if c.isprintable() else "?" for c in value)


def _check_capabilities(value: Any) -> tuple[str, ...]:
    match value:
        case [*names] if len(names) <= 32 and all(isinstance(name, str) for name in names):
            return tuple(names)
        case _:
            raise ValueError("not a list of up to 32 names")


def _check_endpoint(value: Any) -> Endpoint:
    match value:
        case [bytes(packed), port] if (
            type(port) is int
            and 0 < port < 65536
            and (len(packed) == 4 or (len(packed) == 16 and packed[:12] != _IPV4_MAPPED))
        ):
            return Endpoint(ipaddress.ip_address(packed), port)
        case _:
            raise ValueError("not an endpoint: [4 or 16 bytes of address, port]")


def _check_refusal_code(value: Any) -> RefusalCode:
    # Not by the enum's own lookup: its error holds a repr of whatever the other side sent.
    if type(value) is not str or value not in _REFUSAL_CODES:
        raise ValueError("not a code of this version")
    return RefusalCode(value)


def _field(check: Check, default: Any = attrs.NOTHING) -> Any:
    shown = str if check is _check_endpoint else check not in _SECRETS
    return attrs.field(default=default, metadata={"check": check}, repr=shown)


_check_id = _check_bytes(ID_BYTES)
_check_nonce = _check_bytes(NONCE_BYTES)
_check_challenge = _check_bytes(CHALLENGE_BYTES)
_check_signature = _check_bytes(SIGNATURE_BYTES)
_check_number = _check_integer(0, 2**32 - 1)
_check_round_trip = _check_integer(0, MAX_ROUND_TRIP)
_check_count = _check_integer(1, MAX_COUNT)
# Not shown: secrets, and what would fill the log.
_SECRETS = (_check_id, _check_nonce, _check_challenge, _check_signature, _check_certificate)


@attrs.frozen
class Hello:
    """The first message of either side: what it speaks; the broker's brings a fresh challenge."""

    type: ClassVar = "hello"
    step: ClassVar = "greeting"
    version: int = _field(_check_integer(0, 2**16 - 1), VERSION)
    capabilities: tuple[str, ...] = _field(_check_capabilities, CAPABILITIES)
    challenge: bytes | None = _field(_check_challenge, None)


@attrs.frozen
class Register:
    """The receiver asks for its UID, and signs the challenge with its certificate's key."""

    type: ClassVar = "register"
    step: ClassVar = "initiation 1"
    uid: str = _field(check_uid)
    certificate: bytes = _field(_check_certificate)
    signature: bytes = _field(_check_signature)


@attrs.frozen
class Registered:
    """The broker holds the UID, and saw the receiver at this endpoint."""

    type: ClassVar = "registered"
    step: ClassVar = "initiation 2"
    endpoint: Endpoint = _field(_check_endpoint)


@attrs.frozen
class KeepAlive:
    """Still here."""

    type: ClassVar = "keepalive"
    step: ClassVar = "initiation 3"


@attrs.frozen
class Kill:
    """The receiver quits."""

    type: ClassVar = "kill"
    step: ClassVar = "initiation 4"


@attrs.frozen
class IntroductionRequest:
    """The sender asks for a UID; the answer carries the same number."""

    type: ClassVar = "introduction_request"
    step: ClassVar = "step 1"
    number: int = _field(_check_number)
    uid: str = _field(check_uid)
    technique: str = _field(_check_reason)
    stream: StreamKind = _field(_check_stream_kind)
    certificate: bytes = _field(_check_certificate)


@attrs.frozen
class ConnectionRequest:
    """Somebody asks for the receiver; classic only."""

    type: ClassVar = "connection_request"
    step: ClassVar = "step 2"
    introduction: bytes = _field(_check_id)


@attrs.frozen
class Acknowledge:
    """Sent from the port that the receiver is going to punch from; classic only."""

    type: ClassVar = "acknowledge"
    step: ClassVar = "step 3"
    introduction: bytes = _field(_check_id)


@attrs.frozen
class SenderEndpoint:
    """Where the sender is. The fast introduction sends it over the registration."""

    type: ClassVar = "sender_endpoint"
    step: ClassVar = "step 4"
    endpoint: Endpoint = _field(_check_endpoint)
    nonce: bytes = _field(_check_nonce)
    certificate: bytes = _field(_check_certificate)
    round_trip: int = _field(_check_round_trip, 0)


@attrs.frozen
class HolePunched:
    """The receiver has punched, and listens; classic only."""

    type: ClassVar = "hole_punched"
    step: ClassVar = "step 9"
    introduction: bytes = _field(_check_id)


@attrs.frozen
class ReceiverEndpoint:
    """Where the receiver is."""

    type: ClassVar = "receiver_endpoint"
    step: ClassVar = "step 10"
    number: int = _field(_check_number)
    endpoint: Endpoint = _field(_check_endpoint)
    nonce: bytes = _field(_check_nonce)
    certificate: bytes = _field(_check_certificate)
    round_trip: int = _field(_check_round_trip, 0)


@attrs.frozen
class RelayRequest:
    """Somebody asks to be relayed to the receiver, who then joins on a connection of its own."""

    type: ClassVar = "relay_request"
    step: ClassVar = "relay 2"
    introduction: bytes = _field(_check_id)
    certificate: bytes = _field(_check_certificate)


@attrs.frozen
class JoinRelay:
    """The receiver's connection for the relay."""

    type: ClassVar = "join_relay"
    step: ClassVar = "relay 3"
    introduction: bytes = _field(_check_id)


@attrs.frozen
class Relayed:
    """From here on the connection carries what the peers say; both get one, the last message.

    Should the broker end the circuit, then behind the circuit's id comes a last ``refused``.
    """

    type: ClassVar = "relayed"
    step: ClassVar = "relay 4"
    circuit: bytes = _field(_check_id)
    certificate: bytes | None = _field(_check_certificate, None)
    bytes_per_second: int | None = _field(_check_count, None)
    max_bytes: int | None = _field(_check_count, None)


@attrs.frozen
class Refused:
    """The broker will not: the request of that number, or else anything more."""

    type: ClassVar = "refused"
    step: ClassVar = "refusal"
    code: RefusalCode = _field(_check_refusal_code)
    reason: str = _field(_check_reason)
    number: int | None = _field(_check_number, None)


Message: TypeAlias = (
    Hello
    | Register
    | Registered
    | KeepAlive
    | Kill
    | IntroductionRequest
    | ConnectionRequest
    | Acknowledge
    | SenderEndpoint
    | HolePunched
    | ReceiverEndpoint
    | RelayRequest
    | JoinRelay
    | Relayed
    | Refused
)
MESSAGE_TYPES: tuple[type[Message], ...] = get_args(Message)

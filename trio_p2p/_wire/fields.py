"""The fields of messages: how large each may be, and what a valid value looks like."""

from __future__ import annotations

import enum
from typing import Any

import attrs

from .._identity.access_token import MAX_TOKEN_BYTES as MAX_TOKEN_BYTES
from .checks import (
    Check,
    check_bytes,
    check_endpoint,
    check_endpoints,
    check_integer,
    check_member,
    encode_endpoint,
    encode_endpoints,
)
from .offer import check_offer, encode_offer

MAX_UID_BYTES = 128
ID_BYTES = 16  # unguessable: 128 random bits
INSTANCE_BYTES = 16
NONCE_BYTES = 32  # the key of HMAC-SHA-256
CHALLENGE_BYTES = 32
SIGNATURE_BYTES = 64  # Ed25519's
MAX_CERTIFICATE_BYTES = 1024
MAX_REASON_BYTES = 512
MAX_ROUND_TRIP = 60_000_000  # microseconds
MAX_COUNT = 2**63 - 1
ORIGIN_BYTES = 8
MAX_RETRY_AFTER = 3_600_000  # milliseconds
MAX_IDLE_TIME = 86_400_000  # milliseconds
MAX_WATCHED = 256  # UIDs that one connection may watch at a time
MAX_DURATION = 3_600_000  # milliseconds
MAX_BROKERS = 4  # that a broker names in its place
MAX_BROKER_BYTES = 384  # of each: a host name has up to 253, and a pin 72
MAX_PROBES = 4  # two more addresses, each in both families


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
    OTHER_IP_VERSION = "other-ip-version"
    BUSY = "busy"
    NOT_ADMITTED = "not-admitted"
    PROOF_WANTED = "proof-wanted"


class StreamKind(enum.StrEnum):
    """What senders make of a connection to a UID. A UID is registered for one kind."""

    SESSION = "session"
    """TLS 1.3 between the peers, and a session above it."""
    RAW = "raw"
    """The bare TCP connection."""


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


def check_certificate(value: Any) -> bytes:
    """Return bytes whose length can be that of a certificate; else ValueError."""
    if type(value) is not bytes or not 0 < len(value) <= MAX_CERTIFICATE_BYTES:
        raise ValueError(f"not a certificate of up to {MAX_CERTIFICATE_BYTES} bytes")
    return value


def check_token(value: Any) -> bytes:
    """Return bytes whose length can be that of an access token; else ValueError."""
    if type(value) is not bytes or not 0 < len(value) <= MAX_TOKEN_BYTES:
        raise ValueError(f"not an access token of up to {MAX_TOKEN_BYTES} bytes")
    return value


def check_flag(value: Any) -> bool:
    """True or False; else ValueError."""
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value


def check_reason(value: Any) -> str:
    """Text for people that can be printed; else ValueError."""
    if type(value) is not str or len(value.encode()) > MAX_REASON_BYTES:
        raise ValueError(f"not text of up to {MAX_REASON_BYTES} bytes")
    # It ends up in logs and on terminals.
    return value if value.isprintable() else "".join(c if c.isprintable() else "?" for c in value)


def check_capabilities(value: Any) -> tuple[str, ...]:
    """A list of names; else ValueError."""
    match value:
        case [*names] if len(names) <= 32 and all(isinstance(name, str) for name in names):
            return tuple(names)
        case _:
            raise ValueError("not a list of up to 32 names")


def check_brokers(value: Any) -> tuple[str, ...]:
    """A list of what may name brokers; else ValueError. What stands there is for the client."""
    match value:
        case [*brokers] if len(brokers) <= MAX_BROKERS and all(map(may_be_broker, brokers)):
            return tuple(brokers)
        case _:
            raise ValueError(f"not a list of up to {MAX_BROKERS} brokers")


def _encode_brokers(brokers: tuple[str, ...]) -> list[str] | None:
    return list(brokers) or None


def may_be_broker(value: Any) -> bool:
    """Whether a value is text that can say where a broker is, by its length."""
    return (
        isinstance(value, str)
        and value.isprintable()
        and 0 < len(value.encode()) <= MAX_BROKER_BYTES
    )


check_id = check_bytes(ID_BYTES)
check_instance = check_bytes(INSTANCE_BYTES)
check_nonce = check_bytes(NONCE_BYTES)
check_challenge = check_bytes(CHALLENGE_BYTES)
check_signature = check_bytes(SIGNATURE_BYTES)
check_number = check_integer(0, 2**32 - 1)
check_round_trip = check_integer(0, MAX_ROUND_TRIP)
check_count = check_integer(1, MAX_COUNT)
check_origin = check_bytes(ORIGIN_BYTES)
check_retry_after = check_integer(1, MAX_RETRY_AFTER)
check_idle_time = check_integer(1, MAX_IDLE_TIME)
check_port = check_integer(1, 65535)
check_probes = check_endpoints(MAX_PROBES)
check_duration = check_integer(0, MAX_DURATION)
check_stream_kind = check_member(StreamKind, "a kind of stream")
check_refusal_code = check_member(RefusalCode, "a code")

# Not shown: secrets, and what would fill the log.
_SECRETS = (
    check_id,
    check_instance,
    check_nonce,
    check_challenge,
    check_signature,
    check_certificate,
    check_token,
)
_ENCODERS = {
    check_endpoint: encode_endpoint,
    check_probes: encode_endpoints,
    check_offer: encode_offer,
    check_brokers: _encode_brokers,
}


def field(check: Check, default: Any = attrs.NOTHING) -> Any:
    """A field of a message; an optional one if it has a default.

    Args:
        check: gives the value that was sent, if it is valid.
        default: what it means if nothing is sent.
    """
    shown: Any = str if check is check_endpoint else check not in _SECRETS
    metadata = {"check": check, "encode": _ENCODERS.get(check)}
    return attrs.field(default=default, metadata=metadata, repr=shown)

"""What the refusals of a broker mean: the errors that callers get."""

from __future__ import annotations

from .._addresses import Endpoint
from .._errors import (
    AccessDeniedError,
    BusyError,
    IdentityError,
    IntroductionError,
    LocalProtocolError,
    P2PError,
    RelayError,
    UIDTakenError,
    UnknownUIDError,
    UnsupportedVersionError,
)
from .._wire.messages import VERSION, RefusalCode, Refused

BUSY_TIME = 1.0  # seconds after which to try again if a busy broker does not say

_NOT_INTRODUCED = "the broker at {broker} did not introduce this program to {uid}: {reason}"

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
    RefusalCode.NOT_ADMITTED: (
        AccessDeniedError,
        "the broker at {broker} does not admit this program: {reason}",
    ),
    # By the next attempt it is proven; see Credentials.
    RefusalCode.PROOF_WANTED: (
        BusyError,
        (
            "the broker at {broker} wants a proof of this program's identity first ({reason}): "
            "try again in {retry_after:g} seconds"
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
    if issubclass(error_type, RelayError):
        return error_type(text, retry_after=0.0 if milliseconds is None else retry_after)
    if issubclass(error_type, BusyError):
        return error_type(text, retry_after=retry_after)
    return error_type(text)

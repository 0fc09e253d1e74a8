"""What a side says over a path that it closes, and what an abort of the other side means. Pure."""

from __future__ import annotations

from typing import Final

from .._errors import NotAdmittedError, P2PError, SessionLostError, StreamAbortedError
from .frames import AbortCode, Frame, Kind, abort, header, words_of_untrusted
from .incoming import Incoming
from .outgoing import Outgoing

_ABORTED_AS: Final[dict[int, type[P2PError]]] = {
    AbortCode.NOT_ADMITTED: NotAdmittedError,
    AbortCode.UNKNOWN_SESSION: SessionLostError,
}


def farewell_of(
    incoming: Incoming, outgoing: Outgoing, *, is_flowing: bool, error: P2PError | None
) -> bytes:
    """What a side says last, without any more waiting.

    Args:
        incoming: what the session receives.
        outgoing: what it sends.
        is_flowing: whether what was sent and not acknowledged may still arrive.
        error: why the session is broken, if it is.
    """
    if error is not None:
        return abort(AbortCode.GIVEN_UP, f"the other side gave up: {error}")
    if incoming.is_closed:
        return header(Kind.ACK, incoming.to_acknowledge)  # it waits for nothing else
    if outgoing.is_all_sent(is_flowing=is_flowing):
        return header(Kind.CLOSE, outgoing.sent)
    return abort(AbortCode.GIVEN_UP, "the other side did not wait until all was sent")


def error_of_untrusted(frame: Frame) -> P2PError:
    """The error that an abort of the other side leaves behind, with the reason that it gives."""
    return _ABORTED_AS.get(frame.number, StreamAbortedError)(words_of_untrusted(frame.payload))

"""Why a relay ended a circuit: its last words, in clear behind cut ciphertext. Pure."""

from __future__ import annotations

from .._errors import RelayError, RemoteProtocolError
from .._wire.codec import FrameReader, decode_untrusted
from .._wire.messages import Refused


def last_words_untrusted(tail: bytes, circuit: bytes) -> RelayError | None:
    """What the relay said behind the circuit's id, which nobody else knows, if it did.

    Args:
        tail: the last bytes that came over the circuit.
        circuit: its id.
    """
    _, found, words = tail.rpartition(circuit)
    if not found:
        return None
    reader = FrameReader()
    reader.feed(words)
    try:
        payload = reader.next_untrusted()
        message = None if payload is None else decode_untrusted(payload)
    except RemoteProtocolError:
        return None
    return RelayError(message.reason) if isinstance(message, Refused) else None

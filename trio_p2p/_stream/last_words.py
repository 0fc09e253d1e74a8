"""Why a relay ended a circuit: its last words, in clear behind cut ciphertext. Pure."""

from __future__ import annotations

from .._errors import BrokerLostError, P2PError, RelayError, RemoteProtocolError
from .._wire.codec import FrameReader, decode_untrusted
from .._wire.messages import RefusalCode, Refused


def last_words_untrusted(tail: bytes, circuit: bytes) -> P2PError | None:
    """What the relay said behind the circuit's id, a secret of the circuit, if it did.

    It is a RelayError, unless the relay may be asked again, or another one.

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
    if not isinstance(message, Refused):
        return None
    is_final = message.code is not RefusalCode.BUSY
    return RelayError(message.reason) if is_final else BrokerLostError(message.reason)

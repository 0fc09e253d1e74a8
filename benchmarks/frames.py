"""The bytes that clients and broker exchange, encoded beforehand."""

from ipaddress import IPv4Address

from trio_p2p._endpoint import Endpoint
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import (
    ID_BYTES,
    NONCE_BYTES,
    Hello,
    IntroductionRequest,
    ReceiverEndpoint,
    Register,
    Registered,
    SenderEndpoint,
)

_ENDPOINT = Endpoint(IPv4Address("127.0.0.1"), 40000)
_NONCE = bytes(NONCE_BYTES)
_ROUND_TRIP = 200  # microseconds, as over loopback
_GREETING = encode(Hello())

UID = "receiver 00000"
REQUEST = encode(IntroductionRequest(0, UID, "fast"))
FIRST_REQUEST = _GREETING + REQUEST

# What a server without a protocol says instead: as many bytes.
ANSWER = bytes(len(encode(ReceiverEndpoint(0, _ENDPOINT, _NONCE, _ROUND_TRIP))))
FIRST_ANSWER = bytes(len(_GREETING)) + ANSWER
FORWARDED = bytes(len(encode(SenderEndpoint(_ENDPOINT, _NONCE, _ROUND_TRIP))))
REGISTERED = bytes(len(_GREETING + encode(Registered(_ENDPOINT, bytes(ID_BYTES)))))


def registration(number: int = 0) -> bytes:
    """What a receiver sends to register; the UIDs of all numbers are equally long."""
    return _GREETING + encode(Register(f"receiver {number:05}"))

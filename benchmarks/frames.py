"""The bytes that clients and broker exchange, encoded beforehand."""

from ipaddress import IPv4Address

from trio_p2p._addresses import Endpoint
from trio_p2p._identity.identity import Identity
from trio_p2p._wire.codec import FrameReader, decode_untrusted, encode
from trio_p2p._wire.messages import (
    CHALLENGE_BYTES,
    INSTANCE_BYTES,
    NONCE_BYTES,
    Hello,
    IntroductionRequest,
    JoinRelay,
    Message,
    ReceiverEndpoint,
    Register,
    Registered,
    SenderEndpoint,
    StreamKind,
)

BROKER = Endpoint(IPv4Address("127.0.0.1"), 40000)
_NONCE = bytes(NONCE_BYTES)
_ROUND_TRIP = 200  # microseconds, as over loopback
_IDENTITY = Identity.generate()
_CERTIFICATE = _IDENTITY.certificate
_INSTANCE = bytes(INSTANCE_BYTES)

UID = "receiver 00000"
GREETING = encode(Hello())
REQUEST = encode(IntroductionRequest(0, UID, "fast", StreamKind.SESSION, _CERTIFICATE))
FIRST_REQUEST = GREETING + REQUEST
RELAY_REQUEST = GREETING + encode(
    IntroductionRequest(0, UID, "relay", StreamKind.SESSION, _CERTIFICATE)
)

# What a server without a protocol says instead: as many bytes.
GREETED = bytes(len(encode(Hello(challenge=bytes(CHALLENGE_BYTES)))))
ANSWER = bytes(len(encode(ReceiverEndpoint(0, BROKER, _NONCE, _CERTIFICATE, _ROUND_TRIP))))
FIRST_ANSWER = GREETED + ANSWER
FORWARDED = bytes(
    len(encode(SenderEndpoint(BROKER, _NONCE, _CERTIFICATE, _ROUND_TRIP, registration=0)))
)
REGISTERED = bytes(len(encode(Registered(0, BROKER))))


def registration(challenge: bytes, number: int = 0) -> bytes:
    """What a greeted receiver sends to register; the UIDs of all numbers are equally long."""
    uid = f"receiver {number:05}"
    signature = _IDENTITY.sign_registration(challenge, BROKER, uid)
    return encode(Register(0, uid, StreamKind.SESSION, _INSTANCE, BROKER, _CERTIFICATE, signature))


def challenge_in(data: bytes) -> bytes:
    """What a broker's greeting wants signed; some zeros if it is not a broker's."""
    if data == GREETED:
        return bytes(CHALLENGE_BYTES)
    [hello] = messages_in(data)
    assert isinstance(hello, Hello)
    assert hello.challenge is not None
    return hello.challenge


def joining(introduction: bytes) -> bytes:
    """What a receiver sends to be relayed."""
    return GREETING + encode(JoinRelay(introduction))


def messages_in(data: bytes) -> list[Message]:
    """What a broker said."""
    reader = FrameReader()
    reader.feed(data)
    messages: list[Message] = []
    while (payload := reader.next_untrusted()) is not None:
        messages.append(decode_untrusted(payload))
    return messages

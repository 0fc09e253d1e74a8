"""What hostile clients and brokers say, and how they leave."""

from ipaddress import IPv4Address

import msgpack
import trio

from trio_p2p._addresses import Endpoint
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import CHALLENGE_BYTES, Hello, Message, Register, StreamKind

from .loopback import HOST, crash
from .raw_client import BROKER, RawClient, identity_of

THERE = Endpoint(IPv4Address("127.0.0.1"), 9)
ALICE, MALLORY = identity_of("alice"), identity_of("mallory")
CERTIFICATE = MALLORY.certificate
UNPROVEN = Register(0, "x", StreamKind.SESSION, bytes(16), BROKER, CERTIFICATE, bytes(64))
GREETING = Hello(challenge=bytes(CHALLENGE_BYTES))
NESTED = b"\x83" + msgpack.packb("type") + msgpack.packb("refused") + msgpack.packb("reason")
NESTED += msgpack.packb("") + msgpack.packb("code")


def frame_of(payload: bytes) -> bytes:
    return b"\xc5" + len(payload).to_bytes(2, "big") + payload


def encode_all(*messages: Message) -> bytes:
    return b"".join(map(encode, messages))


async def connect_raw(port: int) -> RawClient:
    return RawClient(await trio.open_tcp_stream(HOST, port))


def reset(client: RawClient) -> None:
    assert isinstance(client.stream, trio.SocketStream)
    crash(client.stream)

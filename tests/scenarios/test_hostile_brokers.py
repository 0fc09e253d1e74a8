"""Hostile brokers: each ends in an error that names what is wrong, or is survived."""

import logging
import random
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

import pytest
import trio

from trio_p2p import (
    BrokerLostError,
    IdentityError,
    LocalProtocolError,
    P2PError,
    RelayError,
    RemoteProtocolError,
    UIDTakenError,
    UnknownUIDError,
    UnsupportedVersionError,
    open_p2p_listener,
    open_p2p_stream,
    open_peer,
    serve_p2p,
)
from trio_p2p._addresses import Endpoint
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import (
    Hello,
    KeepAlive,
    Kill,
    RefusalCode,
    Refused,
    Registered,
    SenderEndpoint,
)

from ..kit.fake_broker import Script, open_fake_broker, register_client
from ..kit.hostile import (
    CERTIFICATE,
    GREETING,
    NESTED,
    THERE,
    UNPROVEN,
    encode_all,
    frame_of,
    reset,
)
from ..kit.loopback import (
    DIRECT_TECHNIQUES,
    PATIENCE,
    echo,
    open_raw_stream,
    open_stream,
    until,
)
from ..kit.raw_client import RawClient

RANDOM = random.Random(20240501)  # the same bytes in every run


Client = Callable[[tuple[str, int]], Awaitable[object]]


def says(data: bytes) -> Script:
    async def script(client: RawClient) -> None:
        await client.stream.send_all(data)

    return script


def says_and_closes(data: bytes) -> Script:
    async def script(client: RawClient) -> None:
        await client.receive(Hello)
        if data:
            await client.stream.send_all(data)
        if data == HELLO:
            await client.channel.receive()
        await client.aclose()

    return script


async def resets(client: RawClient) -> None:
    await client.receive(Hello)
    reset(client)


async def closes_at_once(client: RawClient) -> None:
    await client.aclose()


async def listen(address: tuple[str, int]) -> None:
    async with open_p2p_listener("alice", address):
        raise AssertionError("registered")


async def serve(address: tuple[str, int]) -> None:
    await serve_p2p(echo, "alice", address)
    raise AssertionError("served")


async def dial(address: tuple[str, int]) -> None:
    async with open_p2p_stream("alice", address):
        raise AssertionError("connected")


async def dial_raw(address: tuple[str, int]) -> None:
    await open_raw_stream("alice", address)
    raise AssertionError("connected")


async def dial_relay(address: tuple[str, int]) -> None:
    async with open_stream("alice", address, techniques=["relay"]):
        raise AssertionError("connected")


async def dial_over_kept_link(address: tuple[str, int]) -> None:
    async with open_peer(address, techniques=DIRECT_TECHNIQUES) as sender:
        await sender.open_stream("alice")
        raise AssertionError("connected")


CLIENTS = pytest.mark.parametrize(
    "client", [listen, serve, dial, dial_raw, dial_relay, dial_over_kept_link]
)
HELLO = encode(GREETING)


def refuses(code: RefusalCode) -> Script:
    return says(encode_all(GREETING, Refused(code, "THE REASON")))


@CLIENTS
@pytest.mark.parametrize(
    ("script", "kind", "sentence"),
    [
        pytest.param(
            says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            RemoteProtocolError,
            "got bytes that are not a frame",
            id="a web server",
        ),
        pytest.param(
            says(b"\xc5\xff\xff"),
            RemoteProtocolError,
            "got a frame of 65535 bytes; 4096 are the limit",
            id="oversized",
        ),
        pytest.param(
            says(frame_of(RANDOM.randbytes(100))),
            RemoteProtocolError,
            "got a frame that holds no msgpack of ours",
            id="random bytes",
        ),
        pytest.param(
            says(frame_of(NESTED + b"\x91" * 1000 + b"\xc0")),
            RemoteProtocolError,
            "got a refused message with a bad code",
            id="deeply nested",
        ),
        pytest.param(
            says(encode(Registered(0, THERE))),
            RemoteProtocolError,
            "got a registered message out of place from the broker",
            id="no hello",
        ),
        pytest.param(
            says(encode_all(GREETING, Hello())),
            RemoteProtocolError,
            "got a hello message out of place from the broker",
            id="hello twice",
        ),
        pytest.param(
            says(encode_all(GREETING, UNPROVEN)),
            RemoteProtocolError,
            "got a register message out of place from the broker",
            id="a client's message",
        ),
        pytest.param(closes_at_once, BrokerLostError, "was lost", id="closes at once"),
        pytest.param(resets, BrokerLostError, "was lost (the connection broke)", id="resets"),
        pytest.param(
            says_and_closes(b""),
            BrokerLostError,
            "was lost (the other side closed the connection): try again",
            id="closes",
        ),
        pytest.param(
            says_and_closes(HELLO),
            BrokerLostError,
            "was lost (the other side closed the connection): try again",
            id="closes after hello",
        ),
        pytest.param(
            says_and_closes(HELLO[:-1]),
            BrokerLostError,
            "was lost (the other side closed the connection in the middle of a message)",
            id="closes in the middle",
        ),
        pytest.param(
            says(encode(Refused(RefusalCode.UNSUPPORTED_VERSION, "THE REASON"))),
            UnsupportedVersionError,
            "update the older one (the broker said: THE REASON)",
            id="refuses the version",
        ),
        pytest.param(
            refuses(RefusalCode.PROTOCOL_VIOLATION),
            LocalProtocolError,
            " refused what it was sent: THE REASON",
            id="refuses what we said",
        ),
        pytest.param(
            refuses(RefusalCode.UID_TAKEN),
            UIDTakenError,
            "choose another UID, or stop that receiver (the broker said: THE REASON)",
            id="refuses the UID",
        ),
        pytest.param(
            refuses(RefusalCode.UNKNOWN_UID),
            UnknownUIDError,
            "spelling, that the receiver runs",
            id="knows nobody",
        ),
        pytest.param(
            refuses(RefusalCode.IDENTITY_NOT_PROVEN),
            IdentityError,
            "rejected the proof of this program's identity: THE REASON",
            id="does not believe",
        ),
    ],
)
async def test_broker_that_misbehaves(
    client: Client, script: Script, kind: type[P2PError], sentence: str
) -> None:
    async with open_fake_broker(script) as address:
        with trio.fail_after(PATIENCE), pytest.raises(kind) as caught:
            await client(address)
    assert type(caught.value) is kind
    assert sentence in str(caught.value)


@CLIENTS
async def test_broker_of_another_version(client: Client) -> None:
    async with open_fake_broker(says(encode(Hello(2)))) as address:
        with trio.fail_after(PATIENCE), pytest.raises(UnsupportedVersionError) as caught:
            await client(address)
    assert "2" in str(caught.value)


async def test_broker_that_does_not_relay() -> None:
    async with open_fake_broker(refuses(RefusalCode.RELAY_REFUSED)) as address:
        with (
            trio.fail_after(PATIENCE),
            pytest.raises(RelayError, match="relay to 'alice': THE REASON"),
        ):
            await dial_relay(address)


async def test_broker_without_a_challenge() -> None:
    async with open_fake_broker(says(encode(Hello()))) as address:
        with trio.fail_after(PATIENCE), pytest.raises(RemoteProtocolError, match="a challenge"):
            await listen(address)


@CLIENTS
async def test_broker_that_says_nothing_can_be_given_up(client: Client) -> None:
    async with open_fake_broker(says(HELLO)) as address:
        with trio.move_on_after(0.05) as scope:
            await client(address)
        assert scope.cancelled_caught


async def test_registered_receiver_survives_a_broker_gone_mad(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    madness = [
        b"garbage",
        encode(Hello()),
        encode(KeepAlive()),
        encode(Kill()),
        b"\xc5\xff\xff",
    ]

    async def go_mad(client: RawClient) -> None:
        await register_client(client, THERE)
        if madness:
            await client.stream.send_all(madness.pop())

    async with open_fake_broker(go_mad) as address, open_p2p_listener("alice", address) as listener:
        await until(lambda: listener.statistics().registrations == 6)
    assert sum("is not registered, trying again" in each.msg for each in caplog.records) == 5


@pytest.mark.parametrize(
    "nonces",
    [
        pytest.param([bytes([n]) * 32 for n in range(5)], id="different nonces"),
        pytest.param([bytes(32)] * 5, id="the same nonce"),
    ],
)
async def test_receiver_sent_to_places_that_do_not_answer(
    nonces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._listen.introductions.INTRODUCTION_TIME", 0.2)
    places = [
        Endpoint(IPv4Address(address), 9)
        for address in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1")
    ]

    async def send_around(client: RawClient) -> None:
        await register_client(client, THERE)
        for place, nonce in zip(places, nonces, strict=True):
            await client.send(SenderEndpoint(place, nonce, CERTIFICATE, registration=0))

    async with (
        open_fake_broker(send_around) as address,
        open_p2p_listener("a", address) as listener,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(listener.accept)
        await until(lambda: listener.statistics().failed == len(places))
        assert nursery.child_tasks  # nothing was accepted
        nursery.cancel_scope.cancel(reason="all introductions have failed")
        statistics = listener.statistics()
        assert (statistics.introductions, statistics.failed) == (len(places), len(places))
        assert statistics.registrations == 1

"""Hostile clients of a broker: each gets one clear answer, and the honest never notice."""

import logging
import random
import resource
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import msgpack
import pytest
import trio
from trio.testing import MockClock

from trio_p2p import P2PListener, serve_broker
from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._broker.ledger import OPENING_TIME
from trio_p2p._broker.registrations import MAX_NAMES, MAX_RESERVED
from trio_p2p._broker.registry import SILENCE_TIME
from trio_p2p._wire.codec import MAX_FRAME_BYTES, encode
from trio_p2p._wire.messages import (
    MAX_WATCHED,
    Acknowledge,
    ConnectionRequest,
    Hello,
    HolePunched,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Register,
    Registered,
    RegisteredAgain,
    Relayed,
    RelayRequest,
    SenderEndpoint,
    StreamKind,
    Unregister,
    Watch,
)

from ..kit.hostile import (
    ALICE,
    CERTIFICATE,
    MALLORY,
    NESTED,
    THERE,
    UNPROVEN,
    connect_raw,
    encode_all,
    frame_of,
    reset,
)
from ..kit.loopback import (
    HOST,
    PATIENCE,
    echo,
    open_broker,
    open_raw_listener,
    open_raw_stream,
    until,
)
from ..kit.raw_client import RawClient, open_memory_broker, registration, request

MANY = 5000
RANDOM = random.Random(20240501)  # the same bytes in every run


# The honest ones.


class HonestPair:
    """A sender that connects to a receiver again and again."""

    def __init__(self, listener: P2PListener[trio.SocketStream], address: tuple[str, int]) -> None:
        self.listener = listener
        self.streams = 0
        self._address = address

    async def connect_again_and_again(self) -> None:
        while True:
            async with await open_raw_stream(self.listener.uid, self._address) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
            self.streams += 1

    async def wait_for_more(self, count: int = 2) -> None:
        enough = self.streams + count
        await until(lambda: self.streams >= enough)


@asynccontextmanager
async def open_honest_pair(address: tuple[str, int]) -> AsyncGenerator[HonestPair]:
    """Two that connect while the body runs, and afterwards, and must not notice anything."""
    async with (
        open_raw_listener("honest", address) as listener,
        trio.open_nursery() as nursery,
    ):
        pair = HonestPair(listener, address)
        await nursery.start(trio.serve_listeners, echo, [listener])
        nursery.start_soon(pair.connect_again_and_again)
        await pair.wait_for_more(1)
        yield pair
        await pair.wait_for_more()
        statistics = listener.statistics()
        assert (statistics.registrations, statistics.failed) == (1, 0)
        nursery.cancel_scope.cancel(reason="the test is over")


def log_lines_about(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    return [line for line in lines if str(endpoint) in line]


def lines_about_clients(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the broker has logged, but for registrations that begin and end."""
    lines = [each.getMessage() for each in caplog.records if each.name == "trio_p2p.broker"]
    return [line for line in lines if not line.startswith("receiver ")]


CANDIDATE = ["host", bytes((192, 0, 2, 1)), 5000]
LOOPBACK_IN_IPV6 = ["host", bytes(10) + b"\xff\xff" + bytes((127, 0, 0, 1)), 5000]


def naming(*candidates: object) -> bytes:
    """A request with an offer of these candidates, in a frame however long that is."""
    fields = msgpack.unpackb(encode(request(0, "honest", "fast"))[3:])
    payload = msgpack.packb({**fields, "offer": [[None, None, None, 0], candidates, True]})
    if len(payload) < 2**16:
        return encode(Hello()) + frame_of(payload)
    return encode(Hello()) + b"\xc6" + len(payload).to_bytes(4, "big") + payload


# What a client says; in answer to the broker's challenge, if it knows how to register.
HOSTILE: dict[str, bytes | Callable[[bytes], bytes]] = {
    "random bytes": RANDOM.randbytes(20_000),
    "a web browser": b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
    "a TLS client": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + RANDOM.randbytes(500),
    "zeros": bytes(100_000),
    "oversized": b"\xc5\xff\xff",
    "oversized, and all of it": b"\xc5\xff\xff" + bytes(65535),
    "oversized after a greeting": encode(Hello()) + b"\xc5\x10\x01",
    "bin 32": b"\xc6\xff\xff\xff\xff",
    "an empty frame": b"\xc4\x00",
    "no msgpack": frame_of(RANDOM.randbytes(4096)),
    "nested arrays": frame_of(b"\x91" * 4096),
    "nested large arrays": frame_of(b"\xdc\x00\x40" * 1365),
    "nested maps": frame_of(b"\x81\xa0" * 2048),
    "nested where a code belongs": frame_of(NESTED + b"\x91" * 1000 + b"\xc0"),
    "wrong types": frame_of(msgpack.packb({"type": "hello", "version": "one"})),
    "a boolean as a number": frame_of(msgpack.packb({"type": "hello", "version": True})),
    "not a number": frame_of(msgpack.packb({"type": "hello", "version": float("nan")})),
    "2^64-1": frame_of(msgpack.packb({"type": "hello", "version": 2**64 - 1})),
    "an array for a map": frame_of(msgpack.packb(["hello", 1])),
    "unknown type": encode(Hello()) + frame_of(msgpack.packb({"type": "telepathy"})),
    "unknown version": encode(Hello(2)),
    "a UID of nothing": frame_of(msgpack.packb({"type": "register", "uid": ""})),
    "a UID of bytes": frame_of(msgpack.packb({"type": "register", "uid": b"alice"})),
    "a long UID": frame_of(msgpack.packb({"type": "register", "uid": "x" * 129})),
    "a watch of nothing": encode(Hello()) + frame_of(msgpack.packb({"type": "watch", "uid": ""})),
    "a watch of many": encode(Hello())
    + frame_of(msgpack.packb({"type": "watch", "uid": ["honest"] * 64})),
    "a watch first": encode(Watch("honest")),
    "no certificate": encode_all(Hello(), attrs.evolve(UNPROVEN, certificate=b"certificate")),
    "no hello": encode(UNPROVEN),
    "a keepalive first": encode(KeepAlive()),
    "hello twice": encode_all(Hello(), Hello()),
    "kill by nobody": encode_all(Hello(), Kill()),
    "two UIDs of one number": lambda challenge: encode_all(
        registration("one", challenge), registration("other", challenge)
    ),
    "a UID given back by nobody": encode_all(Hello(), Unregister(0)),
    "a receiver that joins a relay": lambda challenge: encode_all(
        registration("joining", challenge), JoinRelay(bytes(16))
    ),
    "a sender that greets again": encode_all(Hello(), request(0, "nobody", "fast"), Hello()),
    "9 candidates": naming(*[CANDIDATE] * 9),
    "100 candidates": naming(*[CANDIDATE] * 100),
    "1,000 candidates": naming(*[CANDIDATE] * 1_000),
    "10,000 candidates": naming(*[CANDIDATE] * 10_000),
    "a receiver of 9 candidates": lambda challenge: (
        encode(registration("offering", challenge))
        + frame_of(
            msgpack.packb(
                {"type": "update", "offer": [[None, None, None, 0], [CANDIDATE] * 9, True]}
            )
        )
    ),
    "loopback in IPv6's clothes": naming(LOOPBACK_IN_IPV6),
    "a sender without a certificate": encode_all(
        Hello(), attrs.evolve(request(0, "honest", "fast"), certificate=b"certificate")
    ),
    "impatience for the relay": encode_all(Hello(), request(0, "nobody", "relay"), KeepAlive()),
    "unknown introduction": encode_all(Hello(), Acknowledge(bytes(16))),
    "nothing punched": encode_all(Hello(), HolePunched(bytes(16))),
    "nothing to relay": encode_all(Hello(), JoinRelay(bytes(16))),
    "a broker's messages: registered": encode_all(Hello(), Registered(0, THERE)),
    "a broker's messages: registered again": encode_all(Hello(), RegisteredAgain("honest")),
    "a broker's messages: request": encode_all(Hello(), ConnectionRequest(bytes(16))),
    "a broker's messages: sender": encode_all(
        Hello(), SenderEndpoint(THERE, bytes(32), CERTIFICATE)
    ),
    "a broker's messages: receiver": encode_all(
        Hello(), ReceiverEndpoint(0, THERE, bytes(32), CERTIFICATE)
    ),
    "a broker's messages: relay": encode_all(Hello(), RelayRequest(bytes(16), CERTIFICATE)),
    "a broker's messages: relayed": encode_all(Hello(), Relayed(bytes(16))),
    "a broker's messages: refused": encode_all(Hello(), Refused(RefusalCode.UID_TAKEN, "\x1b[2J")),
}


async def say(client: RawClient, name: str, limit: int | None = None) -> None:
    hostile = HOSTILE[name]
    data = hostile if isinstance(hostile, bytes) else hostile(await client.greet())
    await client.stream.send_all(data[:limit])


async def test_hostile_clients_are_closed_and_disturb_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")

    async def attack(name: str) -> None:
        client = await connect_raw(broker.port)
        assert isinstance(client.stream, trio.SocketStream)
        own = endpoint_of(client.stream.socket.getsockname())
        async with client:
            with trio.fail_after(PATIENCE):
                with suppress(trio.BrokenResourceError):  # it need not take everything
                    await say(client, name)
                farewell = await client.wait_closed()
            assert all(isinstance(m, Hello | Registered | Refused) for m in farewell), name
        # What is registered is told, too, and a request may be refused before the end.
        before = (" registered from ", " refused (unknown-uid)")
        lines = [
            line for line in log_lines_about(own, caplog) if not any(b in line for b in before)
        ]
        assert len(lines) <= 1, name

    async with open_broker() as broker, open_honest_pair(broker.address):
        async with trio.open_nursery() as nursery:
            for name in HOSTILE:
                nursery.start_soon(attack, name)
        assert broker.uids == {"honest"}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_client_is_told_why(name: str) -> None:
    async with (
        open_broker() as broker,
        await connect_raw(broker.port) as honest,
        await connect_raw(broker.port) as client,
    ):
        await honest.register("honest")
        with trio.fail_after(PATIENCE):
            # No more than one frame: of what comes later a RST may tell before the farewell.
            await say(client, name, 3 + MAX_FRAME_BYTES)
            *_, refused = await client.wait_closed()
        assert isinstance(refused, Refused)
        assert refused.reason
        assert refused.number is None
        assert broker.uids == {"honest"}


HOSTILE_REGISTRATIONS: dict[str, Callable[[bytes], Register]] = {
    "a taken UID": lambda challenge: registration("honest", challenge, MALLORY),
    "a peer id": lambda challenge: registration(str(ALICE.peer_id), challenge, MALLORY),
    "a certificate for anything": lambda _challenge: UNPROVEN,
    "another one's challenge": lambda _challenge: registration("x", bytes(32)),
}


@pytest.mark.parametrize("name", HOSTILE_REGISTRATIONS)
async def test_refused_registration_costs_nothing_else(name: str) -> None:
    async with (
        open_broker() as broker,
        await connect_raw(broker.port) as honest,
        await connect_raw(broker.port) as client,
    ):
        await honest.register("honest")
        with trio.fail_after(PATIENCE):
            challenge = await client.greet()
            await client.send(registration("mine", challenge, number=1))
            await client.receive(Registered)
            await client.send(*[HOSTILE_REGISTRATIONS[name](challenge)] * 3)
            assert [(await client.wait_refused()).number for _ in range(3)] == [0, 0, 0]
        assert broker.uids == {"honest", "mine"}


async def test_flood_of_names_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """They are signed beforehand: the broker is to be flooded, not this process."""

    async def flood(client: RawClient, prefix: str) -> None:
        challenge = await client.greet()
        names = [
            registration(f"{prefix} {number}", challenge, MALLORY, number=number)
            for number in range(MAX_NAMES + 10)
        ]
        await client.send(*names)
        answers = [await client.channel.receive() for _ in names]
        assert sum(isinstance(each, Registered) for each in answers) == MAX_NAMES
        assert all(
            each.number is not None and each.code is RefusalCode.BUSY
            for each in answers
            if isinstance(each, Refused)
        )

    async with open_broker() as broker, open_honest_pair(broker.address) as pair:
        with trio.fail_after(PATIENCE):
            for number in range(3):
                async with await connect_raw(broker.port) as client:
                    await flood(client, str(number))
                    await pair.wait_for_more()
        await until(lambda: broker.uids == {"honest"})
        assert broker.broker.registry.reserved == MAX_RESERVED
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("times", [1, 100])
async def test_flood_of_watches_disturbs_nobody(times: int) -> None:
    watches = encode_all(*(Watch(str(number)) for number in range(MAX_WATCHED)))

    async def flood() -> None:
        async with await connect_raw(broker.port) as client:
            with suppress(trio.BrokenResourceError):  # it need not take everything
                await client.stream.send_all(encode_all(Hello(), Watch("honest")) + times * watches)
            messages = await client.wait_closed()
        if times == 1:  # else a RST may come before the farewell
            last = messages[-1]
            assert isinstance(last, Refused)
            assert last.code is RefusalCode.PROTOCOL_VIOLATION

    async with open_broker() as broker, open_honest_pair(broker.address):
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(flood)
        assert not broker.broker.registry.watches


async def test_connections_that_break_disturb_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    async with open_broker() as broker, open_honest_pair(broker.address):
        for share in range(21):
            for end in ("closed", "reset"):
                client = await connect_raw(broker.port)
                data = encode(
                    registration("x", await client.greet(), broker=endpoint_of(broker.address))
                )
                if share:
                    await client.stream.send_all(data[: share * len(data) // 20])
                if end == "reset":
                    reset(client)
                else:
                    await client.aclose()
        await until(lambda: broker.uids == {"honest"})
    assert not lines_about_clients(caplog)


async def test_reset_connection_frees_its_uid_at_once() -> None:
    async with open_broker() as broker:
        client = await connect_raw(broker.port)
        await client.register("alice")
        reset(client)
        await until(lambda: not broker.uids)
        async with await connect_raw(broker.port) as another:
            await another.register("alice")


async def test_client_that_stops_reading_keeps_its_registration_and_disturbs_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve_broker, 0, host=HOST))
        listening = listeners[0].socket
        # Accepted sockets inherit it; otherwise it takes megabytes until a send blocks.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        address = listening.getsockname()
        async with open_honest_pair(address) as pair:
            deaf = trio.socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await deaf.connect(address)
            async with (
                RawClient(trio.SocketStream(deaf)) as mallory,
                await connect_raw(address[1]) as sender,
            ):
                await mallory.register("mallory")
                await sender.greet()
                with trio.fail_after(PATIENCE):
                    answer: Message | None = None
                    number = 0
                    while not isinstance(answer, Refused):
                        number += 1
                        await sender.ask("mallory", "fast", number)
                        answer = await sender.channel.receive()
                assert answer.code is RefusalCode.BUSY
                assert number > 3
                # The sender keeps its connection, and others can be asked for over it.
                await sender.send(request(0, "honest", "classic", StreamKind.RAW))
                await pair.wait_for_more()
                lines = log_lines_about(endpoint_of(deaf.getsockname()), caplog)
                assert len(lines) <= 1
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_client_that_never_reads_its_answers_disturbs_nobody() -> None:
    requests = [request(n, "honest", "fast") for n in range(100)]  # for another kind of stream
    async with (
        open_broker() as broker,
        open_honest_pair(broker.address) as pair,
        await connect_raw(broker.port) as deaf,
    ):
        with trio.move_on_after(0.3):
            await deaf.stream.send_all(encode_all(Hello(), *requests * 200))
        await pair.wait_for_more()


@pytest.mark.parametrize(
    ("beginning", "limit"),
    [
        pytest.param([], OPENING_TIME, id="nothing said"),
        pytest.param([Hello()], OPENING_TIME, id="greeted"),
        pytest.param("slow", SILENCE_TIME, id="registered"),
        pytest.param([Hello(), KeepAlive()], SILENCE_TIME, id="kept"),
    ],
)
async def test_one_byte_a_second(
    beginning: list[Message] | str,
    limit: float,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    async with (
        open_memory_broker() as broker,
        broker.connect() as slow,
        broker.connect() as honest,
        trio.open_nursery() as nursery,
    ):
        await honest.register("honest")

        async def keep_alive() -> None:
            while True:
                await trio.sleep(30)
                await honest.send(KeepAlive())

        nursery.start_soon(keep_alive)
        if isinstance(beginning, str):
            await slow.register(beginning)
        elif beginning:
            await slow.send(*beginning)
        started_at = trio.current_time()
        with suppress(trio.BrokenResourceError):
            for byte in frame_of(bytes(4096)):
                await slow.stream.send_all(bytes([byte]))
                await trio.sleep(1)
        assert limit <= trio.current_time() - started_at <= limit + 2
        assert broker.uids == {"honest"}
        assert len(lines_about_clients(caplog)) == 1
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_one_who_vanished_silently(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker, broker.connect() as vanished:
        await vanished.register("alice")
        started_at = trio.current_time()
        while broker.uids:  # noqa: ASYNC110 - time jumps
            await trio.sleep(1)
        assert trio.current_time() - started_at == pytest.approx(65, abs=1)


@pytest.fixture
def many() -> int:
    """How many connections this process may hold both ends of, at most 5,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(MANY, (hard - 1000) // 2)


@pytest.mark.once
@pytest.mark.slow
async def test_5000_connections_that_say_nothing(
    many: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opening_time = 1.0
    monkeypatch.setattr("trio_p2p._broker.ledger.OPENING_TIME", opening_time)
    caplog.set_level(logging.INFO, "trio_p2p.broker")
    async with open_broker() as broker, open_honest_pair(broker.address):
        silent = []
        for _ in range(many):
            # Plain sockets, for speed; the kernel shakes hands although the broker must wait.
            silent.append(socket.create_connection(broker.address))
            await trio.lowlevel.checkpoint()  # the broker accepts one each time
        with trio.fail_after(PATIENCE):
            for sock in silent:
                await trio.lowlevel.wait_readable(sock)
                assert sock.recv(1) == b""
                sock.close()
        assert broker.uids == {"honest"}
    [line] = lines_about_clients(caplog)
    assert "timed out (connected, no hello yet)" in line


async def test_a_thousand_silent_ones_are_gone_after_10_s(autojump_clock: MockClock) -> None:
    async with open_memory_broker() as broker:
        receiver = broker.connect()
        await receiver.register("honest")
        clients = [broker.connect() for _ in range(1000)]
        await trio.sleep(OPENING_TIME - 0.1)
        assert broker.served == 0
        await trio.sleep(0.2)
        assert broker.served == len(clients)
        assert broker.uids == {"honest"}
        for client in clients:
            await client.aclose()

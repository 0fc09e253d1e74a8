"""Hostile clients, brokers and peers: each gets one clear answer, and the honest never notice."""

import logging
import random
import resource
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import IPv4Address

import attrs
import msgpack
import pytest
import trio
from trio.testing import MockClock

from trio_p2p import (
    Attempt,
    BrokerLostError,
    IdentityError,
    LocalProtocolError,
    Outcome,
    P2PError,
    P2PListener,
    RelayError,
    RemoteProtocolError,
    Route,
    Technique,
    UIDTakenError,
    UnknownUIDError,
    UnsupportedVersionError,
    WrongPeerError,
    open_p2p_listener,
    open_p2p_sender,
    open_p2p_stream,
    serve_broker,
    serve_p2p,
)
from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._broker.registry import OPENING_TIME, SILENCE_TIME
from trio_p2p._net.channel import ChannelClosedError
from trio_p2p._net.nursery import open_background_nursery
from trio_p2p._net.sockets import abort, listen_on, local_endpoint, open_bound_socket
from trio_p2p._peer_connection import PeerConnection
from trio_p2p._traversal.check import PROOF_BYTES, QUESTION, Role, proofs
from trio_p2p._traversal.introduction import Introduction
from trio_p2p._traversal.nomination import Nomination
from trio_p2p._traversal.race import Race, connect_introduced
from trio_p2p._traversal.shared_port import MAX_UNPROVEN, SharedPort, start_shared_port
from trio_p2p._traversal.strategy import Dial, Side, Strategy
from trio_p2p._wire.codec import MAX_FRAME_BYTES, encode
from trio_p2p._wire.messages import (
    CHALLENGE_BYTES,
    MAX_WATCHED,
    NONCE_BYTES,
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
    Watch,
)
from trio_p2p._wire.offer import NO_OFFER

from ..kit.loopback import (
    HOST,
    PATIENCE,
    LoopbackBroker,
    attempts_of,
    crash,
    echo,
    open_broker,
    open_raw_stream,
    until,
)
from ..kit.raw_client import RawClient, identity_of, open_memory_broker, registration, request

MANY = 5000
THERE = Endpoint(IPv4Address("127.0.0.1"), 9)
RANDOM = random.Random(20240501)  # the same bytes in every run
ALICE, BOB, MALLORY = map(identity_of, ("alice", "bob", "mallory"))
CERTIFICATE = MALLORY.certificate
UNPROVEN = Register("x", CERTIFICATE, bytes(64))
GREETING = Hello(challenge=bytes(CHALLENGE_BYTES))


def frame_of(payload: bytes) -> bytes:
    return b"\xc5" + len(payload).to_bytes(2, "big") + payload


def encode_all(*messages: Message) -> bytes:
    return b"".join(map(encode, messages))


async def connect_raw(port: int) -> RawClient:
    return RawClient(await trio.open_tcp_stream(HOST, port))


def reset(client: RawClient) -> None:
    assert isinstance(client.stream, trio.SocketStream)
    crash(client.stream)


# The honest ones.


class HonestPair:
    """A sender that connects to a receiver again and again."""

    def __init__(self, listener: P2PListener[trio.SocketStream], address: tuple[str, int]) -> None:
        self.listener = listener
        self.streams = 0
        self._address = address

    async def connect_again_and_again(self) -> None:
        while True:
            async with open_p2p_stream(self.listener.uid, self._address, raw=True) as stream:
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
        open_p2p_listener("honest", address, raw=True) as listener,
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


# Clients of a broker.

NESTED = b"\x83" + msgpack.packb("type") + msgpack.packb("refused") + msgpack.packb("reason")
NESTED += msgpack.packb("") + msgpack.packb("code")
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
    "a receiver that watches": lambda challenge: encode_all(
        registration("x", challenge), Watch("honest")
    ),
    "a watcher that registers": lambda challenge: encode_all(
        Watch("honest"), registration("x", challenge)
    ),
    "no certificate": encode_all(Hello(), Register("x", b"certificate", bytes(64))),
    "a certificate for anything": encode_all(Hello(), UNPROVEN),
    "no hello": encode(UNPROVEN),
    "a keepalive first": encode(KeepAlive()),
    "hello twice": encode_all(Hello(), Hello()),
    "kill by nobody": encode_all(Hello(), Kill()),
    "a taken UID": lambda challenge: encode(registration("honest", challenge, MALLORY)),
    "a peer id": lambda challenge: encode(registration(str(ALICE.peer_id), challenge, MALLORY)),
    "two UIDs": lambda challenge: encode_all(
        registration("x", challenge), registration("y", challenge)
    ),
    "a receiver that asks": lambda challenge: encode_all(
        registration("x", challenge), request(0, "honest", "fast")
    ),
    "a sender that registers": lambda challenge: encode_all(
        request(0, "nobody", "fast"), registration("x", challenge)
    ),
    "9 candidates": naming(*[CANDIDATE] * 9),
    "100 candidates": naming(*[CANDIDATE] * 100),
    "1,000 candidates": naming(*[CANDIDATE] * 1_000),
    "10,000 candidates": naming(*[CANDIDATE] * 10_000),
    "a receiver of 9 candidates": lambda challenge: (
        encode(registration("x", challenge))
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
    "a broker's messages: registered": encode_all(Hello(), Registered(THERE)),
    "a broker's messages: registered again": encode_all(Hello(), RegisteredAgain("honest")),
    "a broker's messages: request": encode_all(Hello(), ConnectionRequest(bytes(16), 4)),
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
        assert len(log_lines_about(own, caplog)) <= 1, name

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
                data = encode(registration("x", await client.greet()))
                if share:
                    await client.stream.send_all(data[: share * len(data) // 20])
                if end == "reset":
                    reset(client)
                else:
                    await client.aclose()
        await until(lambda: broker.uids == {"honest"})
    assert not [record for record in caplog.records if record.name == "trio_p2p.broker"]


async def test_reset_connection_frees_its_uid_at_once() -> None:
    async with open_broker() as broker:
        client = await connect_raw(broker.port)
        await client.register("alice")
        reset(client)
        await until(lambda: not broker.uids)
        async with await connect_raw(broker.port) as another:
            await another.register("alice")


async def test_client_that_stops_reading_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trio_p2p._broker.server.READING_TIME", 0.2)
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
                assert answer.code is RefusalCode.UNKNOWN_UID  # dropped, and number tells when
                assert number > 10
                # The sender keeps its connection, and others can be asked for over it.
                await sender.send(request(0, "honest", "classic", StreamKind.RAW))
                await pair.wait_for_more()
                lines = log_lines_about(endpoint_of(deaf.getsockname()), caplog)
                assert len(lines) <= 1
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_client_that_never_reads_its_answers_disturbs_nobody() -> None:
    requests = [request(n, "nobody", "fast") for n in range(100)]
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
        assert len(caplog.records) == 1
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


async def test_5000_connections_that_say_nothing(
    many: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opening_time = 1.0
    monkeypatch.setattr("trio_p2p._broker.registry.OPENING_TIME", opening_time)
    caplog.set_level(logging.INFO, "trio_p2p.broker")
    async with open_broker() as broker, open_honest_pair(broker.address):
        silent = []
        for _ in range(many):
            # Plain sockets, for speed; the kernel shakes hands although the broker must wait.
            silent.append(socket.create_connection(broker.address))
            await trio.lowlevel.checkpoint()  # the broker accepts one each time
        # With time for the work itself: this process does both sides' at once.
        with trio.fail_after(opening_time + 3.0):
            while len(caplog.records) < many:  # noqa: ASYNC110 - nothing else tells
                await trio.sleep(0.01)
        for sock in silent:
            assert sock.recv(1) == b""
            sock.close()
        assert broker.uids == {"honest"}
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(set(lines)) == many


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


# Brokers.

Script = Callable[[RawClient], Awaitable[object]]
Client = Callable[[tuple[str, int]], Awaitable[object]]


@asynccontextmanager
async def open_fake_broker(script: Script) -> AsyncGenerator[tuple[str, int]]:
    """Somebody at a broker's address who follows a script, and then waits."""

    async def serve(stream: trio.SocketStream) -> None:
        client = RawClient(stream)
        with suppress(ChannelClosedError, trio.BrokenResourceError, trio.ClosedResourceError):
            await script(client)
            await client.wait_closed()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host=HOST))
        yield listeners[0].socket.getsockname()
        nursery.cancel_scope.cancel(reason="the test is over")


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
    await serve_p2p(echo, "alice", address, raw=True)
    raise AssertionError("served")


async def dial(address: tuple[str, int]) -> None:
    async with open_p2p_stream("alice", address):
        raise AssertionError("connected")


async def dial_raw(address: tuple[str, int]) -> None:
    async with open_p2p_stream("alice", address, raw=True):
        raise AssertionError("connected")


async def dial_relay(address: tuple[str, int]) -> None:
    async with open_p2p_stream("alice", address, path="relay"):
        raise AssertionError("connected")


async def dial_over_kept_link(address: tuple[str, int]) -> None:
    async with open_p2p_sender(address) as sender:
        await sender.open_stream("alice", path="direct")
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
            says(encode(Registered(THERE))),
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
            "the broker refused what it was sent: THE REASON",
            id="refuses what we said",
        ),
        pytest.param(
            refuses(RefusalCode.UID_TAKEN),
            UIDTakenError,
            "choose another, or stop that one (the broker said: THE REASON)",
            id="refuses the UID",
        ),
        pytest.param(
            refuses(RefusalCode.UNKNOWN_UID),
            UnknownUIDError,
            "check its spelling, that the receiver runs",
            id="knows nobody",
        ),
        pytest.param(
            refuses(RefusalCode.IDENTITY_NOT_PROVEN),
            IdentityError,
            "the broker does not believe our identity: THE REASON",
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
        with trio.fail_after(0.5), pytest.raises(UnsupportedVersionError) as caught:
            await client(address)
    assert "2" in str(caught.value)


async def test_broker_that_does_not_relay() -> None:
    async with open_fake_broker(refuses(RefusalCode.RELAY_REFUSED)) as address:
        with trio.fail_after(PATIENCE), pytest.raises(RelayError, match="relay this: THE REASON"):
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


async def register_everybody(client: RawClient) -> None:
    await client.receive(Hello)
    await client.send(GREETING)
    await client.receive(Register)
    await client.send(Registered(THERE))


async def test_registered_receiver_survives_a_broker_gone_mad(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trio_p2p")
    madness = [
        b"garbage",
        encode(Hello()),
        encode(KeepAlive()),
        encode(ReceiverEndpoint(0, THERE, bytes(32), CERTIFICATE)),
        b"\xc5\xff\xff",
    ]

    async def go_mad(client: RawClient) -> None:
        await register_everybody(client)
        if madness:
            await client.stream.send_all(madness.pop())

    async with open_fake_broker(go_mad) as address, open_p2p_listener("alice", address) as listener:
        with trio.fail_after(60):
            await until(lambda: listener.statistics().registrations == 6)
    assert len([record for record in caplog.records if "is not registered now" in record.msg]) == 5


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
        await register_everybody(client)
        for place, nonce in zip(places, nonces, strict=True):
            await client.send(SenderEndpoint(place, nonce, CERTIFICATE))

    async with (
        open_fake_broker(send_around) as address,
        open_p2p_listener("a", address) as listener,
    ):
        with trio.move_on_after(0.5) as scope:
            await listener.accept()
        assert scope.cancelled_caught
        statistics = listener.statistics()
        assert (statistics.introductions, statistics.failed) == (len(places), len(places))
        assert statistics.registrations == 1


# Peers that come to a punched port.

PROOF = b"P" * PROOF_BYTES


@asynccontextmanager
async def open_port_somewhere(*, asks: bool = False) -> AsyncGenerator[SharedPort]:
    with open_bound_socket(socket.AF_INET) as holding:
        async with open_background_nursery() as nursery:
            yield start_shared_port(nursery, local_endpoint(holding), asks=asks)


async def test_only_the_right_proof_is_accepted() -> None:
    async with open_port_somewhere() as shared_port, trio.open_nursery() as nursery:
        strangers = [await trio.open_tcp_stream(HOST, shared_port.port) for _ in range(8)]
        silent, wrong, short, web, broken, ended, *others = strangers
        with shared_port.expecting(PROOF) as accepted:
            await wrong.send_all(b"W" * PROOF_BYTES)
            await short.send_all(PROOF[:-1])
            await web.send_all(b"GET / HTTP/1.1\r\n\r\n")
            reset(RawClient(broken))
            await ended.send_all(PROOF[:-1])
            await ended.send_eof()
            for stranger in others:
                await stranger.aclose()
            assert await ended.receive_some() == b""  # closed
            honest = await trio.open_tcp_stream(HOST, shared_port.port)
            for byte in PROOF:  # in as many pieces as the network likes
                await honest.send_all(bytes([byte]))
                await trio.lowlevel.checkpoint()
            with trio.fail_after(PATIENCE):
                sock = await accepted.receive()
            assert sock.getpeername() == honest.socket.getsockname()
            with pytest.raises(trio.WouldBlock):
                accepted.receive_nowait()
            sock.close()
        for stream in (*strangers, honest):
            await trio.aclose_forcefully(stream)
        assert silent.socket.fileno() == -1
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_whoever_comes_to_a_sender_from_elsewhere_is_asked() -> None:
    async with open_port_somewhere(asks=True) as shared_port:
        stranger = await trio.open_tcp_stream(HOST, shared_port.port)
        honest = await trio.open_tcp_stream(HOST, shared_port.port)
        with shared_port.expecting(THERE) as from_there, shared_port.expecting(PROOF) as accepted:
            for stream, answer in ((stranger, QUESTION), (honest, PROOF)):
                assert await stream.receive_some() == QUESTION
                await stream.send_all(answer)
            with trio.fail_after(PATIENCE):
                sock = await accepted.receive()
            assert sock.getpeername() == honest.socket.getsockname()
            sock.close()
            for channel in (accepted, from_there):
                with pytest.raises(trio.WouldBlock):
                    channel.receive_nowait()
        await trio.aclose_forcefully(stranger)
        await trio.aclose_forcefully(honest)


def introduction_by(message: SenderEndpoint | ReceiverEndpoint) -> Introduction:
    """What a peer makes of what the broker says."""
    own = Side(THERE, NO_OFFER)
    return Introduction.of(
        Technique.FAST, message, own, broker=THERE.address, broker_round_trip=0.0
    )


def introduction_to(sender: Endpoint, nonce: bytes) -> Introduction:
    """What a receiver makes of what the broker says."""
    return introduction_by(SenderEndpoint(sender, nonce, CERTIFICATE))


async def test_sender_that_nominates_two_connections_gets_one() -> None:
    nonce = b"n" * NONCE_BYTES
    proof = proofs(nonce, Role.SENDER).own
    async with open_port_somewhere() as shared_port:
        # One from the endpoint that the receiver is told of, one from elsewhere.
        clients = [await trio.open_tcp_stream(HOST, shared_port.port) for _ in range(2)]
        told = endpoint_of(clients[0].socket.getsockname())
        for client in clients:
            await client.send_all(proof)
        introduction = introduction_to(told, nonce)
        with trio.fail_after(PATIENCE):
            connection = await connect_introduced(
                shared_port, introduction, guard_hops=5, on_attempt=lambda _: None
            )
            stream = connection.stream
            await stream.send_all(b"!")
        winner = endpoint_of(stream.socket.getpeername())
        for client in clients:
            is_winner = endpoint_of(client.socket.getsockname()) == winner
            assert is_winner == (await received(client) != b"")
        await stream.aclose()
        for client in clients:
            await client.aclose()


async def test_second_connection_nominated_in_the_same_instant_is_not_taken() -> None:
    told = Endpoint(IPv4Address("192.0.2.1"), 1)
    nonce = b"n" * NONCE_BYTES
    introduction = introduction_to(told, nonce)
    race = Race(introduction, lambda _: None, Nomination())
    race.scope = trio.CancelScope()
    first, second = trio.socket.socketpair()
    with first, second:
        assert await race.take_proven(first)
        assert race.scope.cancel_called
        assert not await race.take_proven(second)
        race.close()
        assert first.fileno() == -1
        assert second.fileno() != -1  # left to whoever offered it


async def test_receiver_that_proves_itself_on_two_connections_is_nominated_on_one() -> None:
    nonce = b"n" * NONCE_BYTES
    sender = proofs(nonce, Role.SENDER)
    message = ReceiverEndpoint(0, THERE, nonce, CERTIFICATE)
    introduction = introduction_by(message)
    async with open_port_somewhere(asks=True) as shared_port:
        # Neither from where the broker sees it, so that both are asked who they are.
        clients = [await trio.open_tcp_stream(HOST, shared_port.port) for _ in range(2)]
        for client in clients:
            await client.send_all(sender.peers)
        with trio.fail_after(PATIENCE):
            connection = await connect_introduced(
                shared_port, introduction, guard_hops=5, on_attempt=lambda _: None
            )
        winner = endpoint_of(connection.stream.socket.getpeername())
        await connection.stream.aclose()
        for client in clients:
            said = b"".join([piece async for piece in client])
            is_winner = endpoint_of(client.socket.getsockname()) == winner
            assert said == QUESTION + (sender.own if is_winner else b"")
            await client.aclose()


async def test_deadline_that_passes_when_the_peer_has_been_told_of_its_nomination() -> None:
    nonce = b"n" * NONCE_BYTES
    sender = proofs(nonce, Role.SENDER)
    introduction = introduction_by(ReceiverEndpoint(0, THERE, nonce, CERTIFICATE))

    def pass_deadline(attempt: Attempt) -> None:
        if attempt.outcome is Outcome.CONNECTED:
            scope.cancel(reason="the round is over")

    async with (
        open_port_somewhere(asks=True) as shared_port,
        await trio.open_tcp_stream(HOST, shared_port.port) as client,
    ):
        await client.send_all(sender.peers)
        connections: list[PeerConnection] = []
        with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
            connections.append(
                await connect_introduced(
                    shared_port, introduction, guard_hops=5, on_attempt=pass_deadline
                )
            )
        assert scope.cancel_called
        [connection] = connections
        async with connection.stream:
            assert await received(client) == QUESTION + sender.own
            await client.send_all(b"hello")
            assert await received(connection.stream) == b"hello"


async def test_whoever_answers_for_another_introduction_is_not_taken() -> None:
    nonce, other_nonce = b"n" * NONCE_BYTES, b"o" * NONCE_BYTES
    attempts: list[Attempt] = []
    asked: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        asked.append(await received(stream))
        await stream.send_all(proofs(other_nonce, Role.RECEIVER).own)
        assert await received(stream) == b""  # nothing more, and above all no proof

    async with trio.open_nursery() as nursery, open_port_somewhere(asks=True) as shared_port:
        [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host=HOST))
        dialled = endpoint_of(listener.socket.getsockname())
        message = ReceiverEndpoint(0, THERE, nonce, CERTIFICATE)
        introduction = attrs.evolve(
            introduction_by(message),
            strategy=Strategy((Dial(dialled, Route.HOST, is_guarded=False, is_told=False),)),
        )

        def note(attempt: Attempt) -> None:
            attempts.append(attempt)
            scope.cancel(reason="the test has seen enough")

        with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
            await connect_introduced(shared_port, introduction, guard_hops=5, on_attempt=note)
        nursery.cancel_scope.cancel(reason="the test is over")
    assert asked == [proofs(nonce, Role.SENDER).check]
    [attempt] = attempts
    assert (attempt.outcome, attempt.remote) == (Outcome.WRONG_PEER, dialled)


@pytest.mark.parametrize("answer", [b"", b"W" * PROOF_BYTES], ids=["nothing", "something wrong"])
async def test_whoever_asks_and_does_not_nominate_is_not_taken(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_p2p._traversal.race.PROOF_TIME", 0.1)
    nonce = b"n" * NONCE_BYTES
    outcomes: list[Outcome] = []

    def note(attempt: Attempt) -> None:
        outcomes.append(attempt.outcome)
        if attempt.outcome is Outcome.WRONG_PEER:
            scope.cancel(reason="the test has seen enough")

    async with (
        open_port_somewhere() as shared_port,
        await trio.open_tcp_stream(HOST, shared_port.port) as client,
    ):
        await client.send_all(proofs(nonce, Role.SENDER).check)
        introduction = introduction_to(THERE, nonce)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, answer)
            with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
                await connect_introduced(shared_port, introduction, guard_hops=5, on_attempt=note)
        assert await received(client) == proofs(nonce, Role.SENDER).peers
        assert await received(client) == b""  # closed
    assert Outcome.WRONG_PEER in outcomes
    assert Outcome.CONNECTED not in outcomes


async def test_strangers_at_the_port_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 0.1)
    async with (
        open_broker() as broker,
        await connect_raw(broker.port) as sender,
        open_p2p_listener("alice", broker.address) as listener,
    ):
        await sender.greet()
        await sender.ask("alice", "fast")
        port = (await sender.receive(ReceiverEndpoint)).endpoint.port
        before = listener.statistics().wrong_peers
        for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"W" * PROOF_BYTES):
            async with await trio.open_tcp_stream(HOST, port) as stranger:
                await stranger.send_all(said)
                assert await received(stranger) == b""
        await until(lambda: listener.statistics().wrong_peers == before + 3)
        statistics = listener.statistics()
        assert (statistics.connected, statistics.forbidden) == (0, 0)


async def received(stream: trio.SocketStream) -> bytes:
    """What comes, or nothing if it was closed, however."""
    with trio.fail_after(PATIENCE), suppress(trio.BrokenResourceError):
        return await stream.receive_some()
    return b""


async def test_proof_may_come_before_it_is_expected() -> None:
    async with open_port_somewhere() as shared_port:
        honest = await trio.open_tcp_stream(HOST, shared_port.port)
        await honest.send_all(PROOF)
        await trio.lowlevel.checkpoint()
        with shared_port.expecting(b"other" * 8), shared_port.expecting(PROOF) as accepted:
            with trio.fail_after(PATIENCE):
                sock = await accepted.receive()
            sock.close()
        await honest.aclose()


async def test_honest_one_gets_through_more_than_may_be_unproven() -> None:
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(PROOF) as accepted:
            strangers = []
            for number in range(2 * MAX_UNPROVEN):
                stranger = await trio.open_tcp_stream(HOST, shared_port.port)
                if number % 2:
                    await stranger.send_all(b"W" * PROOF_BYTES)
                strangers.append(stranger)
            honest = await trio.open_tcp_stream(HOST, shared_port.port)
            await honest.send_all(PROOF)
            with trio.fail_after(1.0):  # long before anybody's time to prove anything is over
                sock = await accepted.receive()
            assert sock.getpeername() == honest.socket.getsockname()
            sock.close()
        for stream in (*strangers, honest):
            await trio.aclose_forcefully(stream)


async def test_unproven_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_p2p._traversal.shared_port.PROOF_TIME", 0.1)
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(PROOF):
            silent = await trio.open_tcp_stream(HOST, shared_port.port)
            wrong = await trio.open_tcp_stream(HOST, shared_port.port)
            await wrong.send_all(b"W" * PROOF_BYTES)
            with trio.fail_after(PATIENCE):
                assert await silent.receive_some() == b""
                assert await wrong.receive_some() == b""
        await silent.aclose()
        await wrong.aclose()


async def receiver_endpoint(broker: LoopbackBroker, uid: str) -> Endpoint:
    """Where a receiver punches from, which whoever knows its UID may ask."""
    async with await connect_raw(broker.port) as spy:
        await spy.greet()
        await spy.send(request(0, uid, "fast", StreamKind.RAW))
        return (await spy.receive(ReceiverEndpoint)).endpoint


async def test_flooded_receiver_accepts_the_honest_ones_only() -> None:
    async with (
        open_broker() as broker,
        open_p2p_listener("alice", broker.address, raw=True) as listener,
        trio.open_nursery() as nursery,
    ):
        port = (await receiver_endpoint(broker, "alice")).port
        flood: list[trio.SocketStream] = []

        async def flood_on() -> None:
            while True:
                stranger = await trio.open_tcp_stream(HOST, port)
                flood.append(stranger)
                with suppress(trio.BrokenResourceError):
                    if len(flood) % 2:
                        await stranger.send_all(RANDOM.randbytes(PROOF_BYTES))
                if len(flood) > 3 * MAX_UNPROVEN:
                    await trio.aclose_forcefully(flood.pop(0))

        nursery.start_soon(flood_on)
        await until(lambda: len(flood) > 2 * MAX_UNPROVEN)
        for number in range(10):
            with trio.fail_after(PATIENCE):
                opened = await open_raw_stream("alice", broker.address)
                accepted = await listener.accept()
            await opened.send_all(bytes([number]))
            assert await accepted.receive_some() == bytes([number])
            await accepted.send_all(bytes([number]))
            assert await opened.receive_some() == bytes([number])
            await opened.aclose()
            await accepted.aclose()
        nursery.cancel_scope.cancel(reason="the test is over")
    for stranger in flood:
        await trio.aclose_forcefully(stranger)


@asynccontextmanager
async def open_impostor(broker: LoopbackBroker) -> AsyncGenerator[None]:
    """Somebody who took over alice's endpoint: he answers there, but without her proof."""
    async with trio.open_nursery() as nursery:
        sock = open_bound_socket(socket.AF_INET)
        port = sock.getsockname()[1]
        registering = trio.socket.from_stdlib_socket(sock)
        await registering.connect(broker.address)
        with listen_on(socket.AF_INET, port) as listening:

            async def answer() -> None:
                while True:
                    accepted, _ = await listening.accept()
                    nursery.start_soon(answer_one, accepted)

            async def answer_one(accepted: trio.socket.SocketType) -> None:
                with accepted, suppress(OSError):
                    await accepted.send(b"W" * PROOF_BYTES + b"do this")
                    await accepted.recv(4096)

            async with RawClient(trio.SocketStream(registering)) as receiver:
                await receiver.register("alice")
                nursery.start_soon(answer)
                yield
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_sender_of_a_raw_stream_is_told_that_somebody_else_answered() -> None:
    async with open_broker() as broker, open_impostor(broker):
        with trio.fail_after(PATIENCE):
            stream = await open_raw_stream("alice", broker.address)
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            await stream.aclose()
    assert "could not prove to be the introduced peer" in str(caught.value)
    assert isinstance(caught.value.__cause__, WrongPeerError)


async def test_sender_is_told_that_somebody_else_answered() -> None:
    attempts: list[Attempt] = []
    async with open_broker() as broker, open_impostor(broker):
        with trio.fail_after(PATIENCE), pytest.raises(WrongPeerError) as caught:
            async with open_p2p_stream(
                "alice", broker.address, path="direct", on_attempt=attempts.append
            ):
                pytest.fail("there is a stream")
    wrong = attempts[-1]
    assert wrong.outcome is Outcome.WRONG_PEER
    assert wrong.local is not None
    assert wrong.remote is not None
    assert Outcome.CONNECTED not in {each.outcome for each in attempts}
    assert attempts_of(caught.value) == attempts


async def test_aborted_connections_at_the_punched_port_do_no_harm() -> None:
    async with open_port_somewhere() as shared_port:
        with shared_port.expecting(PROOF) as accepted:
            for _ in range(50):
                sock = socket.create_connection((HOST, shared_port.port))
                sock.send(PROOF[:5])
                abort(sock)
            honest = await trio.open_tcp_stream(HOST, shared_port.port)
            await honest.send_all(PROOF)
            with trio.fail_after(PATIENCE):
                (await accepted.receive()).close()
            await honest.aclose()


# Arguments of a wrong form, through the front door.

NOWHERE = ("192.0.2.1", 9)  # nobody is asked before the arguments are right


@pytest.mark.parametrize(
    "uid", ["", "x" * 129, "a\nb", "\x00", b"alice", 5, None], ids=lambda uid: repr(uid)[:9]
)
async def test_bad_uid_is_refused_before_anybody_is_asked(uid: str) -> None:
    async def use_listener() -> None:
        async with open_p2p_listener(uid, NOWHERE):
            pass

    async def use_sender() -> None:
        async with open_p2p_sender(NOWHERE) as sender:
            await sender.open_stream(uid)

    async def use_stream() -> None:
        async with open_p2p_stream(uid, NOWHERE):
            pass

    ways: list[Callable[[], Awaitable[object]]] = [
        use_listener,
        use_sender,
        use_stream,
        partial(serve_p2p, echo, uid, NOWHERE),
    ]
    for way in ways:
        with pytest.raises(LocalProtocolError, match=r" is no UID: a UID (is|must) "):
            await way()


@pytest.mark.parametrize(
    ("broker", "techniques", "sentence"),
    [
        ("broker", ["fast"], "is no broker: give HOST:PORT"),
        (("broker", 70000), ["fast"], "is no broker: give HOST:PORT"),
        (NOWHERE, [], "fast"),
        (NOWHERE, "fast", "fast"),
        (NOWHERE, ["telepathy"], "telepathy"),
    ],
)
async def test_bad_broker_or_technique_is_refused_before_anybody_is_asked(
    broker: str, techniques: list[str], sentence: str
) -> None:
    async def use_listener() -> None:
        async with open_p2p_listener("alice", broker, techniques=techniques):
            pass

    async def use_sender() -> None:
        async with open_p2p_sender(broker, techniques=techniques):
            pass

    async def use_stream() -> None:
        async with open_p2p_stream("alice", broker, techniques=techniques):
            pass

    ways: list[Callable[[], Awaitable[object]]] = [
        use_listener,
        use_sender,
        use_stream,
        partial(serve_p2p, echo, "alice", broker, techniques=techniques),
    ]
    for way in ways:
        with pytest.raises(LocalProtocolError) as caught:
            await way()
        assert sentence in str(caught.value)

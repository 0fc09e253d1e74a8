"""What callers hand in, checked: every mistake gets a sentence."""

import inspect
import math
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trio_p2p import (
    Identity,
    LocalProtocolError,
    PathKind,
    PeerId,
    Technique,
    Tracer,
    open_p2p_listener,
    open_p2p_stream,
    open_peer,
    serve_broker,
    serve_p2p,
)
from trio_p2p._broker_client.place import (
    BrokerPlace,
    parse_broker,
    parse_broker_place,
    parse_brokers,
)
from trio_p2p._options import (
    ALL_TECHNIQUES,
    BrokerAddress,
    parse_expected,
    parse_grace,
    parse_max_connections,
    parse_max_memory,
    parse_max_streams,
    parse_path_kind,
    parse_techniques,
    parse_window,
)
from trio_p2p._stream.credit import (
    DEFAULT_MEMORY,
    DEFAULT_STREAMS,
    EARLY_STREAMS,
    MAX_STREAMS,
    reserved_memory,
)
from trio_p2p._stream.frames import MAX_WINDOW, MIN_WINDOW
from trio_p2p._stream.limits import DEFAULT_CONNECTIONS

ALICE, BOB = (PeerId.of_public_key(bytes([number]) * 32) for number in range(2))


@pytest.mark.parametrize(
    ("broker", "host", "port"),
    [
        ("broker.example.org:4433", "broker.example.org", 4433),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("2001:db8::1:65535", "2001:db8::1", 65535),
        (("broker.example.org", 4433), "broker.example.org", 4433),
        (("::1", 4433), "::1", 4433),
    ],
)
def test_broker(broker: str | tuple[str, int], host: str, port: int) -> None:
    assert parse_broker(broker) == (host, port)


@pytest.mark.parametrize(
    "broker",
    [
        "",
        ":",
        "broker",
        "broker:",
        ":4433",
        "[]:4433",
        "broker:0",
        "broker:65536",
        "broker:-1",
        "broker:+1",
        "broker:4_433",
        "broker: 4433",
        "broker:http",
        "broker:٤٤٣٣",
        "broker:" + "1" * 4000,
        "http://broker:4433/",
        ("broker", 0),
        ("broker", 65536),
        ("broker", "4433"),
        ("broker", 44.33),
        ("", 4433),
        (b"broker", 4433),
        ("broker", 4433, 0, 0),
        ("broker",),
        b"broker:4433",
        None,
        4433,
    ],
    ids=lambda broker: repr(broker)[:30],
)
def test_bad_broker(broker: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_broker(broker)
    assert "is no broker: give HOST:PORT, like 'broker.example.org:4433'" in str(caught.value)


@pytest.mark.parametrize(
    ("broker", "place"),
    [
        ("broker.example.org:4433", BrokerPlace("broker.example.org", 4433)),
        (("::1", 4433), BrokerPlace("::1", 4433)),
        (BrokerPlace("::1", 1, is_encrypted=True), BrokerPlace("::1", 1, is_encrypted=True)),
        ("tls://[2001:db8::1]:443", BrokerPlace("2001:db8::1", 443, is_encrypted=True)),
        (
            f"tls://broker.example.org:4433#sha256={'aB' * 32}",
            BrokerPlace("broker.example.org", 4433, True, b"\xab" * 32),
        ),
    ],
)
def test_places_of_brokers(broker: BrokerAddress, place: BrokerPlace) -> None:
    assert parse_broker_place(broker) == place


@pytest.mark.parametrize(
    ("broker", "sentence"),
    [
        ("tls://", "'' is no broker"),
        ("tls://broker.example.org", "'broker.example.org' is no broker"),
        ("tcp://broker.example.org:x", "is no broker"),
        ("broker.example.org:4433#sha256=", "is no broker"),
        ("tls://h:1#sha256=ab", "does not pin a broker's key: give sha256= and 64"),
        (f"tls://h:1#md5={'ab' * 32}", "does not pin a broker's key"),
        (f"tls://h:1#sha256={'ab' * 32} ", "does not pin a broker's key"),
        (5, "5 is no broker"),
    ],
)
def test_places_that_are_none(broker: Any, sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_broker_place(broker)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("techniques", "parsed"),
    [
        (["fast"], (Technique.FAST,)),
        (("classic", "fast"), (Technique.CLASSIC, Technique.FAST)),
        (["fast", Technique.FAST, "classic", "fast"], (Technique.FAST, Technique.CLASSIC)),
        (["relay"], (Technique.RELAY,)),
        (ALL_TECHNIQUES, (Technique.FAST, Technique.CLASSIC, Technique.RELAY)),
    ],
)
def test_techniques(techniques: list[str], parsed: tuple[Technique, ...]) -> None:
    assert parse_techniques(techniques) == parsed


@pytest.mark.parametrize(
    "techniques",
    [[], (), "", "fast", b"fast", None, ["telepathy"], ["fast", "FAST"], [1], [None], [["fast"]]],
    ids=repr,
)
def test_bad_techniques(techniques: list[str]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_techniques(techniques)
    assert "fast" in str(caught.value)
    assert "classic" in str(caught.value)


@pytest.mark.parametrize(
    ("uid", "expect", "expected"),
    [
        ("alice", None, None),
        ("alice", ALICE, ALICE),
        ("alice", str(ALICE), ALICE),
        (str(ALICE), None, ALICE),
        (str(ALICE), ALICE, ALICE),
        (str(ALICE), str(ALICE), ALICE),
    ],
)
def test_expected_peer(uid: str, expect: PeerId | str | None, expected: PeerId | None) -> None:
    assert parse_expected(uid, expect) == expected


@pytest.mark.parametrize(
    ("uid", "expect", "sentence"),
    [
        ("alice", "bob", "'bob' is not a peer id"),
        ("alice", "", "'' is not a peer id"),
        ("alice", 5, "5 is no peer id: give one, or its text"),
        (str(ALICE), BOB, "leave one out"),
    ],
)
def test_bad_expected_peer(uid: str, expect: PeerId | str, sentence: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_expected(uid, expect)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("window", [MIN_WINDOW, MAX_WINDOW])
def test_window(window: int) -> None:
    assert parse_window(window) == window


@pytest.mark.parametrize("window", [MIN_WINDOW - 1, MAX_WINDOW + 1, 0, -1, 1e9, "1000000", None])
def test_bad_window(window: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"is no window: .* at least {MIN_WINDOW}"):
        parse_window(window)


@pytest.mark.parametrize("streams", [EARLY_STREAMS, MAX_STREAMS])
def test_max_streams(streams: int) -> None:
    assert parse_max_streams(streams) == streams


@pytest.mark.parametrize("streams", [EARLY_STREAMS - 1, MAX_STREAMS + 1, True, 1e3, "100", None])
def test_bad_max_streams(streams: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"is no number of streams: .* {EARLY_STREAMS} to"):
        parse_max_streams(streams)


@pytest.mark.parametrize("streams", [EARLY_STREAMS, DEFAULT_STREAMS, MAX_STREAMS])
def test_max_memory_is_enough_for_the_first_credit_of_all_streams(streams: int) -> None:
    least = reserved_memory(streams)
    assert parse_max_memory(least, streams) == least
    for memory in (least - 1, float(least), None):
        with pytest.raises(LocalProtocolError, match=f"at least {least}, or allow fewer streams"):
            parse_max_memory(memory, streams)


def test_default_memory_is_enough_for_the_default_streams() -> None:
    assert parse_max_memory(DEFAULT_MEMORY, DEFAULT_STREAMS) == DEFAULT_MEMORY


@pytest.mark.parametrize("connections", [1, DEFAULT_CONNECTIONS, 1 << 40])
def test_max_connections(connections: int) -> None:
    assert parse_max_connections(connections) == connections


@pytest.mark.parametrize("connections", [0, -1, True, 1e3, "100", None])
def test_bad_max_connections(connections: int) -> None:
    with pytest.raises(LocalProtocolError, match=r"is no number of connections: give one, at"):
        parse_max_connections(connections)


@pytest.mark.parametrize("path", [None, "direct", "relay", *PathKind])
def test_path_kind(path: str | None) -> None:
    assert parse_path_kind(path) == path


@pytest.mark.parametrize("path", ["", "Direct", "any", 5, True, b"relay", ["relay"]])
def test_bad_path_kind(path: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"is no kind of path: give .direct. or .relay."):
        parse_path_kind(path)


@pytest.mark.parametrize("grace", [0, 0.5, 60, math.inf])
def test_grace(grace: float) -> None:
    assert parse_grace(grace) == grace


@pytest.mark.parametrize("grace", [-1, -math.inf, math.nan, "60", None])
def test_bad_grace(grace: float) -> None:
    with pytest.raises(LocalProtocolError, match="is no time: give seconds, 0 or more"):
        parse_grace(grace)


NOWHERE = "127.0.0.1:1"
ME = Identity(Ed25519PrivateKey.from_private_bytes(bytes(32)))  # the same one in every process


async def handler(_stream: object) -> None: ...


async def entered(manager: AbstractAsyncContextManager[Any]) -> None:
    async with manager:
        pytest.fail("a wrong argument was taken")


def opening(open_: Callable[..., AbstractAsyncContextManager[Any]], *arguments: object) -> Any:
    """An async function of keyword arguments only that enters what a function opens."""

    async def call(**options: object) -> None:
        await entered(open_(*arguments, **options))

    return call


open_stream = opening(open_p2p_stream, "alice", NOWHERE)
open_listener = opening(open_p2p_listener, "alice", NOWHERE)
be_peer = opening(open_peer, NOWHERE)
serve = partial(serve_p2p, handler, "alice", NOWHERE)
serve_anything: Any = serve_p2p
serve_broker_anywhere: Any = serve_broker


def calling(name: str, *arguments: object) -> Any:
    """An async function of keyword arguments only that calls a method of a peer."""

    async def call(**options: object) -> None:
        async with open_peer(NOWHERE) as peer:
            result = getattr(peer, name)(*arguments, **options)
            await (result if inspect.isawaitable(result) else entered(result))

    return call


STREAMS = [open_stream, calling("open_stream", "alice"), calling("connect", "alice")]
LISTENERS = [open_listener, calling("listen", "alice")]
SERVERS = [serve, calling("serve", "alice", handler)]
MISTAKES = [
    *(
        ([be_peer, open_stream, open_listener, serve], {"identity": identity}, sentence)
        for identity, sentence in (
            ("file", "'file' is no identity: give what Identity.load('file') returns"),
            (ALICE, f"PeerId('{ALICE}') is no identity: give what"),
            (0, "0 is no identity: give what"),
        )
    ),
    ([be_peer], {"port_guessing": "no"}, "'no' is no value for port_guessing=: give True or False"),
    ([be_peer], {"techniques": 5}, "5 is no list of techniques: choose from 'fast'"),
    ([be_peer], {"window": True}, "True is no window: give a number of bytes, at least"),
    ([be_peer], {"max_streams": 1}, "1 is no number of streams: give one from 16 to"),
    ([be_peer], {"max_memory": 1}, "1 is not memory enough for 1024 streams: give a number of"),
    ([be_peer], {"max_connections": 0}, "0 is no number of connections: give one, at least 1"),
    ([be_peer], {"grace": True}, "True is no time: give seconds, 0 or more"),
    ([be_peer], {"tracer": print}, "is no tracer: give an object of a subclass of trio_p2p.Tracer"),
    ([be_peer], {"tracer": Tracer}, "is no tracer: give an object of a subclass of"),
    (STREAMS, {"expect": b"bob"}, "b'bob' is no peer id: give one"),
    (
        [
            calling("open_stream", "alice"),
            calling("open_raw_stream", "alice"),
            calling("connect", "alice"),
        ],
        {"wait": 5.0},
        "5.0 is no value for wait=: give True or False",
    ),
    (
        [*LISTENERS, *SERVERS],
        {"admit": {ALICE}},
        f"{{PeerId('{ALICE}')}} is no value for admit=: give a function of a PeerId",
    ),
    (
        [
            calling("open_stream", "alice"),
            calling("listen", "alice"),
            calling("serve", "alice", handler),
        ],
        {"protocol": b"chat"},
        "b'chat' is no name of a protocol: it is text, not bytes",
    ),
    (
        [calling("connect", "alice")],
        {"path": "sideways"},
        "'sideways' is no kind of path: give 'direct' or 'relay'",
    ),
    (
        [calling("connect", "alice")],
        {"accept": 1},
        "1 is no value for accept=: give True or False",
    ),
    (SERVERS, {"handler_nursery": 5}, "5 is no value for handler_nursery=: give a trio.Nursery"),
    (
        [
            partial(serve_anything, "handler", "alice", NOWHERE),
            calling("serve", "alice", "handler"),
        ],
        {},
        "'handler' is no handler: give an async function of a stream",
    ),
    (
        [partial(serve_broker_anywhere, "4433")],
        {},
        "'4433' is no port: give a number from 0 to 65535",
    ),
    (
        [partial(serve_broker_anywhere, 65536)],
        {},
        "65536 is no port: give a number from 0 to 65535",
    ),
    ([partial(serve_broker_anywhere, True)], {}, "True is no port: give a number from 0 to 65535"),
    (
        [partial(serve_broker_anywhere, 0)],
        {"probe_port": "0"},
        "'0' is no port: give a number from 0 to",
    ),
    (
        [partial(serve_broker_anywhere, 0)],
        {"host": 127},
        "127 is no host: give a name or an address",
    ),
    (
        [partial(serve_broker_anywhere, 0)],
        {"relay": False},
        "False is no value for relay=: give RelayLimits, or None to relay nothing",
    ),
    (
        [partial(serve_broker_anywhere, 0)],
        {"access": "allow.txt"},
        "'allow.txt' is no value for access=: give AccessFiles, or None to admit all",
    ),
    (
        [partial(serve_broker_anywhere, 0)],
        {"tls": ("cert.pem", "key.pem")},
        "('cert.pem', 'key.pem') is no value for tls=: give TLSFiles, or None to speak no TLS",
    ),
    (
        [partial(serve_broker_anywhere, 0)],
        {"proxies": ["192.0.2.0/24"]},
        "['192.0.2.0/24'] is no value for proxies=: give a list of what ipaddress.ip_network()",
    ),
    (
        [partial(serve_broker_anywhere, 0)],
        {"probe_at": "192.0.2.1:4433"},
        "'192.0.2.1:4433' is no value for probe_at=: give a list of Endpoint",
    ),
    (
        [partial(serve_broker_anywhere, 0)],
        {"probe_at": [("192.0.2.1", 4433)]},
        "[('192.0.2.1', 4433)] is no value for probe_at=: give a list of Endpoint",
    ),
]


@pytest.mark.parametrize(
    ("call", "options", "sentence"),
    [(call, options, sentence) for calls, options, sentence in MISTAKES for call in calls],
)
async def test_an_argument_of_a_wrong_type_gets_a_sentence(
    call: Any, options: dict[str, object], sentence: str
) -> None:
    with trio.fail_after(5), pytest.raises(LocalProtocolError, match=re.escape(sentence)):
        await call(**options)


@pytest.mark.parametrize(
    ("brokers", "places"),
    [
        ("a:1", [BrokerPlace("a", 1)]),
        (("a", 1), [BrokerPlace("a", 1)]),
        (BrokerPlace("a", 1), [BrokerPlace("a", 1)]),
        ("a:1,tls://b:2", [BrokerPlace("a", 1), BrokerPlace("b", 2, is_encrypted=True)]),
        (["b:2", ("a", 1), "b:2"], [BrokerPlace("b", 2), BrokerPlace("a", 1)]),
    ],
)
def test_several_brokers(brokers: Any, places: list[BrokerPlace]) -> None:
    assert list(parse_brokers(brokers)) == places


@pytest.mark.parametrize(
    ("brokers", "text"),
    [([], "has no broker"), ("a:1,", "'' is no broker"), (["a:1", 3], "3 is no broker")],
)
def test_several_brokers_of_which_one_is_wrong(brokers: Any, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        parse_brokers(brokers)

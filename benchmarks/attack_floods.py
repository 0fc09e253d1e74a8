"""Floods of a broker, or of a sink: one message again and again, on many connections."""

import socket
import struct
from collections.abc import Callable, Generator
from contextlib import suppress
from ipaddress import IPv4Address
from itertools import cycle

import attrs

from trio_p2p import Identity
from trio_p2p._addresses import Endpoint
from trio_p2p._wire.codec import encode
from trio_p2p._wire.messages import (
    CHALLENGE_BYTES,
    ID_BYTES,
    INSTANCE_BYTES,
    NONCE_BYTES,
    Acknowledge,
    CallBack,
    Called,
    CalledBack,
    CallSource,
    ConnectionRequest,
    Decline,
    Draining,
    Hello,
    HolePunched,
    Identify,
    IntroductionRequest,
    JoinRelay,
    KeepAlive,
    Kill,
    Message,
    Observed,
    Probe,
    ReceiverEndpoint,
    RefusalCode,
    Refused,
    Register,
    Registered,
    RegisteredAgain,
    Relayed,
    RelayRequest,
    Report,
    SenderEndpoint,
    StreamKind,
    Unregister,
    Unwatch,
    Update,
    Watch,
)

from . import frames
from .attack_networks import IPV6_64, ONE_ADDRESS, Network

DISTINCT = 100_000  # UIDs
_PIECES = 50  # messages of a connection until they are repeated
_READ_BYTES = 1 << 20
_SEND_BYTES = 65_536
_ABORTIVE = struct.pack("ii", 1, 0)  # a close resets the connection
_SIGNATURE = bytes(64)  # of nothing: to be checked all the same
_ID, _CHALLENGE = bytes(ID_BYTES), bytes(CHALLENGE_BYTES)
_NOWHERE = Endpoint(IPv4Address("192.0.2.1"), 9)

_certificate = Identity.generate().certificate


@attrs.frozen
class Flood:
    """A message that is sent again and again.

    Attributes:
        message: the one of a number; None to reset each connection as soon as it is open.
        connections: on how many connections at a time, one after the other.
        is_slow: whether each connection gets one byte in each round, and not many messages.
        pieces: how many different messages each connection gets until they are repeated.
        network: from where; the connections share its addresses out.
    """

    message: Callable[[int], Message] | None
    connections: tuple[int, ...] = (1, 20, 200)
    is_slow: bool = False
    pieces: int = _PIECES
    network: Network = ONE_ADDRESS


def _request(technique: str, uid: str = frames.UID) -> Message:
    return IntroductionRequest(0, uid, technique, StreamKind.SESSION, _certificate)


def _registration(number: int) -> Message:
    """One that is not signed for the broker's challenge: it has to check the signature."""
    uid, instance = f"squatted {number}", bytes(INSTANCE_BYTES)
    kind = StreamKind.SESSION
    return Register(number, uid, kind, instance, frames.BROKER, _certificate, _SIGNATURE)


_FOR_CLIENTS: tuple[Message, ...] = (
    Registered(0, _NOWHERE),
    Observed(_NOWHERE),
    Called(_CHALLENGE, next(iter(CallSource))),
    CalledBack(),
    ConnectionRequest(_ID),
    SenderEndpoint(_NOWHERE, bytes(NONCE_BYTES), _certificate),
    ReceiverEndpoint(0, _NOWHERE, bytes(NONCE_BYTES), _certificate),
    RegisteredAgain("?"),
    RelayRequest(_ID, _certificate),
    Relayed(_ID),
    Draining(1),
    Refused(RefusalCode.BUSY, "no"),
)

FLOODS = {
    "connections that are reset": Flood(None, (50,)),
    "connections from an IPv6 /64 that are reset": Flood(None, (50,), network=IPV6_64),
    "one byte at a time": Flood(lambda _: _request("fast", "?"), (500,), is_slow=True),
    f"{DISTINCT:,} unknown UIDs": Flood(
        lambda number: _request("fast", f"no {number}"), (20,), pieces=DISTINCT // 20
    ),
    f"{DISTINCT:,} unknown UIDs from an IPv6 /64": Flood(
        lambda number: _request("fast", f"no {number}"),
        (200,),
        pieces=DISTINCT // 200,
        network=IPV6_64,
    ),
    f"watches of {DISTINCT:,} UIDs": Flood(
        lambda number: Watch(f"no {number}", number), (20,), pieces=DISTINCT // 20
    ),
    "hello": Flood(lambda _: Hello()),
    "identify": Flood(lambda _: Identify(frames.BROKER, _certificate, _SIGNATURE)),
    "register, unproven": Flood(_registration),
    "unregister": Flood(Unregister),
    "keep_alive": Flood(lambda _: KeepAlive()),
    "update": Flood(lambda _: Update()),
    "probe": Flood(lambda _: Probe()),
    "call_back": Flood(lambda _: CallBack()),
    "kill": Flood(lambda _: Kill()),
    "introduction_request, fast": Flood(lambda _: _request("fast")),
    "introduction_request, classic": Flood(lambda _: _request("classic")),
    "introduction_request, relay": Flood(lambda _: _request("relay")),
    "acknowledge": Flood(lambda _: Acknowledge(_ID)),
    "hole_punched": Flood(lambda _: HolePunched(_ID)),
    "decline": Flood(lambda _: Decline(_ID)),
    "join_relay": Flood(lambda _: JoinRelay(_ID)),
    "watch": Flood(lambda number: Watch(f"{number % 100}", number)),
    "unwatch": Flood(lambda number: Unwatch(f"{number % 100}")),
    "report": Flood(lambda _: Report(100)),
    "what only brokers say": Flood(lambda number: _FOR_CLIENTS[number % len(_FOR_CLIENTS)]),
}


class _Connection:
    """One connection of a flood; what is closed is opened again.

    Args:
        source: where from.
        target: where to.
        data: what to send again and again behind a greeting; None to reset it.
        is_slow: whether one byte at a time.
    """

    def __init__(
        self, source: str, target: tuple[str, int], data: bytes | None, *, is_slow: bool
    ) -> None:
        self._source = source
        self._target = target
        self._family = socket.AF_INET6 if ":" in source else socket.AF_INET
        self._hello = encode(Hello())
        self._data = data
        self._bytes = 1 if is_slow else _SEND_BYTES
        self._connect()

    def _connect(self) -> None:
        self._sent = -len(self._hello)  # the greeting comes first
        self._sock = socket.socket(self._family)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
        self._sock.setblocking(False)
        with suppress(OSError):  # no port is left: another time
            self._sock.bind((self._source, 0))
            self._sock.connect_ex(self._target)

    def close(self) -> None:
        """Reset the connection."""
        self._sock.close()

    def go_on(self) -> None:
        """Send what can be sent, and throw away what has come."""
        try:
            if self._data is None:
                self._sock.send(self._hello[:1])
                raise ConnectionResetError  # it is open, and has been of use
            start = self._sent % len(self._data)
            rest = self._hello[self._sent :] if self._sent < 0 else self._data[start:]
            self._sent += self._sock.send(rest[: self._bytes])
            if not self._sock.recv(_READ_BYTES):
                raise ConnectionResetError
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            self._connect()


def flood(flood: Flood, connections: int, port: int) -> Generator[None]:
    """Flood a port, a round over all connections with each step."""
    target = flood.network.broker, port
    opened = [
        _Connection(source, target, _data_of(flood, number), is_slow=flood.is_slow)
        for number, source in zip(range(connections), cycle(flood.network.attackers), strict=False)
    ]
    try:
        while True:
            for connection in opened:
                connection.go_on()
            yield
    finally:
        for connection in opened:
            connection.close()


def _data_of(flood: Flood, connection: int) -> bytes | None:
    if flood.message is None:
        return None
    first = connection * flood.pieces
    return b"".join(encode(flood.message(first + number)) for number in range(flood.pieces))

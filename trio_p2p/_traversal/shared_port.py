"""One local port, shared by the sockets that punch, listen and talk to the broker."""

from __future__ import annotations

import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager

import attrs
import trio

from .._addresses import Endpoint, IPAddress, is_special
from .._net.os_errors import is_out_of_resources
from .._net.sockets import listen_on, remote_endpoint
from .check import Check, Verdict, first_words
from .checked_connection import CheckedConnection
from .proofs import Proofs, Role, proofs

logger = logging.getLogger("trio_p2p.nat")

MAX_UNPROVEN = 64  # connections at a time that have not proven themselves
MAX_DECLINED = 1024  # introductions that are remembered, as their senders may come
PROOF_TIME = 5.0  # seconds from a connection until its proof is there and expected
LAST_BYTES = 4096  # that are read at a time, and thrown away
OUT_OF_RESOURCES_PAUSE = 0.1  # seconds, as in trio.serve_listeners


@attrs.frozen(eq=False)
class _Expectation:
    """An introduction that waits for connections.

    Attributes:
        proofs: the introduction's.
        accepted: where its connections go.
    """

    proofs: Proofs
    accepted: trio.MemorySendChannel[CheckedConnection]


@attrs.define
class Strangers:
    """Connections that were closed whose other side has not proven itself.

    Attributes:
        count: how many.
    """

    count: int = 0


class SharedPort:
    """Accepts on the port, and hands each connection to the introduction that it is for.

    Args:
        local: the port, and the address from which the broker was reached.
        strangers: where those are counted who come.

    Attributes:
        family, port, address: of the port, and from where the broker was reached.
    """

    def __init__(self, local: Endpoint, strangers: Strangers) -> None:
        self.family: socket.AddressFamily = local.family
        self.port: int = local.port
        self.address: IPAddress = local.address
        self._strangers = strangers
        self._told: dict[Endpoint, _Expectation] = {}
        self._expected: dict[bytes, _Expectation] = {}  # by what the peer says first
        self._declined: dict[bytes, Proofs] = {}
        self._unproven: dict[trio.socket.SocketType, trio.CancelScope] = {}
        self._until_news: dict[trio.CancelScope, None] = {}

    def source_towards(self, told: Endpoint) -> IPAddress | None:
        """The address to dial an endpoint from that we were told of; None for the system's choice.

        A host has several IPv6 addresses. The peer was told of the one that the broker saw, and
        only that one's hole in a firewall is of use to it.
        """
        is_ours = self.family == told.family == socket.AF_INET6
        return self.address if is_ours and not is_special(self.address) else None

    @contextmanager
    def expecting(
        self, proofs: Proofs, told: Endpoint
    ) -> Generator[trio.MemoryReceiveChannel[CheckedConnection]]:
        """A channel of accepted connections that may lead to an introduced peer.

        Args:
            proofs: the introduction's.
            told: the peer's endpoint, as the broker says: a connection from there is not asked.
        """
        send_channel, receive_channel = trio.open_memory_channel[CheckedConnection](0)
        expectation = _Expectation(proofs, send_channel)
        self._told[told] = expectation
        self._expected.update(dict.fromkeys(first_words(proofs), expectation))
        self._tell()
        with send_channel, receive_channel:
            try:
                yield receive_channel
            finally:
                if self._told.get(told) is expectation:  # else another one expects the same
                    del self._told[told]
                for word in first_words(proofs):
                    if self._expected.get(word) is expectation:
                        del self._expected[word]

    def decline(self, nonce: bytes) -> None:
        """Answer at once that there is no room when the sender of an introduction comes.

        Args:
            nonce: the introduction's.
        """
        declined = proofs(nonce, Role.RECEIVER)
        self._declined.update(dict.fromkeys(first_words(declined), declined))
        while len(self._declined) > 2 * MAX_DECLINED:
            del self._declined[next(iter(self._declined))]
        self._tell()

    @property
    def _asks(self) -> bool:
        """Whether one that comes from elsewhere may be the receiver of an introduction."""
        return any(each.proofs.role is Role.SENDER for each in self._expected.values())

    def _tell(self) -> None:
        """Look again at all connections whose introduction was not known."""
        for scope in self._until_news:
            scope.cancel(reason="another introduction is known")

    async def serve(self, listening: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        """Accept until cancelled; strangers are dealt with in the nursery."""
        with listening:
            while True:
                try:
                    sock, _ = await listening.accept()
                except OSError as error:
                    # Whatever else is wrong concerns a connection that is gone already.
                    if is_out_of_resources(error):
                        logger.warning("connection not accepted for lack of resources: %s", error)
                        await trio.sleep(OUT_OF_RESOURCES_PAUSE)
                    continue
                if len(self._unproven) == MAX_UNPROVEN:
                    # The oldest: an honest one has proven itself at once.
                    oldest = self._unproven.pop(next(iter(self._unproven)))
                    oldest.cancel(reason="too many connections have not proven themselves")
                scope = self._unproven[sock] = trio.CancelScope()
                nursery.start_soon(self._meet, sock, scope)

    async def _meet(self, sock: trio.socket.SocketType, scope: trio.CancelScope) -> None:
        connection = CheckedConnection(sock, Check())
        is_delivered = False
        scope.deadline = trio.current_time() + PROOF_TIME
        try:
            with scope:
                expectation = await self._expectation_of(connection)
                if expectation is not None:
                    await expectation.accepted.send(connection)
                    is_delivered = True
                elif connection.check.verdict is Verdict.BUSY:
                    await _say_last(connection)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._unproven.pop(sock, None)
            if not is_delivered:
                connection.check.end()
                sock.close()
        if not is_delivered and connection.check.verdict is not Verdict.BUSY:
            logger.debug("a connection to port %d without the right proof", self.port)
            self._strangers.count += 1

    async def _expectation_of(self, connection: CheckedConnection) -> _Expectation | None:
        """The introduction that a connection is for; None if it ended or that was declined."""
        check, remote = connection.check, remote_endpoint(connection.socket)
        while check.verdict is None:
            # The peer may be faster than the broker: its word can come before we are told.
            word, told = check.unknown_word, self._told.get(remote)
            expectation = self._expected.get(word, told)
            if expectation is not None:
                check.introduce(expectation.proofs, is_told=expectation is told)
                return expectation
            if word in self._declined:
                check.decline(self._declined[word])
                return None
            if self._asks:
                check.ask()
                connection.say()
            await self._wait(connection)
        return None

    async def _wait(self, connection: CheckedConnection) -> None:
        """Wait until more of a connection's first word has come, or another one is known."""
        with trio.CancelScope() as scope:
            self._until_news[scope] = None
            try:
                if connection.check.missing:
                    await connection.hear()
                else:
                    await trio.sleep_forever()
            finally:
                del self._until_news[scope]


async def _say_last(connection: CheckedConnection) -> None:
    """Say the last word, and read on until the other side closes: else TCP might lose it."""
    connection.say()
    connection.socket.shutdown(socket.SHUT_WR)
    while await connection.socket.recv(LAST_BYTES):
        pass


def start_shared_port(nursery: trio.Nursery, local: Endpoint, strangers: Strangers) -> SharedPort:
    """A shared port that accepts as long as the nursery is open.

    Args:
        nursery: the tasks of the port go here.
        local: where the broker was reached from; a socket of ours has the port already.
        strangers: where those are counted who come.

    Raises:
        OSError: no descriptor is free, or another program has the port.
    """
    shared_port = SharedPort(local, strangers)
    nursery.start_soon(shared_port.serve, listen_on(local.family, local.port), nursery)
    return shared_port

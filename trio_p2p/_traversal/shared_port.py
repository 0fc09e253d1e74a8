"""One local port, shared by the sockets that punch, listen and talk to the broker."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

import trio

from .._addresses import Endpoint, IPAddress, is_special
from .._net.os_errors import is_out_of_resources
from .._net.sockets import (
    listen_on,
    receive_exactly,
    remote_endpoint,
    send_at_once,
)
from .check import PROOF_BYTES, QUESTION, Role, proofs

logger = logging.getLogger("trio_p2p.nat")

_Mark: TypeAlias = Endpoint | bytes

MAX_UNPROVEN = 64  # connections at a time that have not proven themselves
MAX_DECLINED = 1024  # introductions that are remembered, as their senders may come
PROOF_TIME = 5.0  # seconds from a connection until its proof is there and expected
LAST_BYTES = 4096  # that are read at a time, and thrown away
OUT_OF_RESOURCES_PAUSE = 0.1  # seconds, as in trio.serve_listeners


class SharedPort:
    """Accepts on the port, and hands each connection to whoever expects it.

    Args:
        local: the port, and the address from which the broker was reached.
        asks: whether to ask who it is that connects from an unexpected endpoint.
        on_stranger: called when a connection was closed whose other side has not proven itself.

    Attributes:
        family, port, address: of the port, and from where the broker was reached.
    """

    def __init__(self, local: Endpoint, *, asks: bool, on_stranger: Callable[[], object]) -> None:
        self.family: socket.AddressFamily = local.family
        self.port: int = local.port
        self.address: IPAddress = local.address
        self._asks = asks
        self._on_stranger = on_stranger
        self._expected: dict[_Mark, trio.MemorySendChannel[trio.socket.SocketType]] = {}
        self._expectations_changed = trio.Event()
        self._declined: dict[bytes, bytes] = {}  # what a sender says first, and the answer
        self._unproven: dict[trio.socket.SocketType, trio.CancelScope] = {}

    def source_towards(self, told: Endpoint) -> IPAddress | None:
        """The address to dial an endpoint from that we were told of; None for the system's choice.

        A host has several IPv6 addresses. The peer was told of the one that the broker saw, and
        only that one's hole in a firewall is of use to it.
        """
        is_ours = self.family == told.family == socket.AF_INET6
        return self.address if is_ours and not is_special(self.address) else None

    @contextmanager
    def expecting(
        self, mark: _Mark
    ) -> Generator[trio.MemoryReceiveChannel[trio.socket.SocketType]]:
        """A channel of accepted connections that come from an endpoint, or begin with a proof."""
        send_channel, receive_channel = trio.open_memory_channel[trio.socket.SocketType](0)
        self._expected[mark] = send_channel
        self._notify()
        with send_channel, receive_channel:
            try:
                yield receive_channel
            finally:
                if self._expected.get(mark) is send_channel:  # else somebody expects the same
                    del self._expected[mark]

    def decline(self, nonce: bytes) -> None:
        """Answer at once that there is no room when the sender of an introduction comes.

        Args:
            nonce: the introduction's.
        """
        receiver = proofs(nonce, Role.RECEIVER)
        for said in (receiver.peers, receiver.check):
            self._declined[said] = receiver.busy
        while len(self._declined) > 2 * MAX_DECLINED:
            del self._declined[next(iter(self._declined))]
        self._notify()

    def _notify(self) -> None:
        self._expectations_changed.set()
        self._expectations_changed = trio.Event()

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
                    # The oldest: whoever is honest proves it at once.
                    oldest = self._unproven.pop(next(iter(self._unproven)))
                    oldest.cancel(reason="too many connections have not proven themselves")
                scope = self._unproven[sock] = trio.CancelScope()
                nursery.start_soon(self._receive_proof, sock, scope)

    async def _receive_proof(self, sock: trio.socket.SocketType, scope: trio.CancelScope) -> None:
        delivered = is_declined = False
        scope.deadline = trio.current_time() + PROOF_TIME
        try:
            with scope:
                mark = await self._mark(sock)
                if isinstance(mark, bytes) and mark in self._declined:
                    is_declined = True
                    await _say_last(sock, self._declined[mark])
                elif mark is not None:
                    await self._expected[mark].send(sock)
                    delivered = True
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._unproven.pop(sock, None)
            if not delivered:
                sock.close()
        if not (delivered or is_declined):
            logger.debug("a connection to port %d without the right proof", self.port)
            self._on_stranger()

    def _is_known(self, proof: bytes) -> bool:
        return proof in self._expected or proof in self._declined

    async def _mark(self, sock: trio.socket.SocketType) -> _Mark | None:
        """By which mark a connection is expected; None if it ended before that was known."""
        endpoint = remote_endpoint(sock)
        if endpoint in self._expected:
            return endpoint
        if self._asks:
            send_at_once(sock, QUESTION)
        proof = await receive_exactly(sock, PROOF_BYTES)
        # The peer may be faster than the broker: its proof can come before we are told.
        while len(proof) == PROOF_BYTES and not self._is_known(proof):
            await self._expectations_changed.wait()
        return proof if len(proof) == PROOF_BYTES else None


async def _say_last(sock: trio.socket.SocketType, data: bytes) -> None:
    """Send something, and read on until the other side closes: else TCP might lose the data."""
    send_at_once(sock, data)
    sock.shutdown(socket.SHUT_WR)
    while await sock.recv(LAST_BYTES):
        pass


def start_shared_port(
    nursery: trio.Nursery,
    local: Endpoint,
    *,
    asks: bool = False,
    on_stranger: Callable[[], object] = lambda: None,
) -> SharedPort:
    """A shared port that accepts as long as the nursery is open.

    Args:
        nursery: the tasks of the port go here.
        local: where the broker was reached from; a socket of ours has the port already.
        asks: whether to ask who it is that connects from an unexpected endpoint.
        on_stranger: called when a connection was closed whose other side has not proven itself.

    Raises:
        OSError: no descriptor is free, or somebody else has the port.
    """
    shared_port = SharedPort(local, asks=asks, on_stranger=on_stranger)
    nursery.start_soon(shared_port.serve, listen_on(local.family, local.port), nursery)
    return shared_port

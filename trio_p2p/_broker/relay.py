"""Carries bytes between two peers whose connections the registry has joined to a circuit.

Each of the two connections' own tasks carries what its peer says to the other one, without looking
at it. An idle circuit must cost little memory, so it is a few numbers and two shallow tasks; what
carries a piece of data is there only while data flow.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import trio

from .._net.barrier import Barrier
from .._net.system import AnySocket, current_system
from .._wire.codec import encode
from .._wire.messages import RefusalCode, Refused
from .pipes import PIPE_BYTES, Carrier, PipePool
from .quota import CircuitGrant, Pace, RelayLimits

FAREWELL_TIME = 2.0  # seconds that a peer has to read the rest, when the other one is gone
WATCH_TIME = 1.0  # seconds that a circuit may be idle beyond the limit: to look costs, too
# Seconds until each side must have said something. In a TLS handshake both do so at once, so that
# only a circuit that is held for its own sake comes to this.
HANDSHAKE_TIME = 10.0
_BOTH = 0b11

logger = logging.getLogger("trio_p2p.broker")


class Relay:
    """All circuits of a broker.

    Args:
        limits: what a circuit may carry.
        ended: told of each circuit that has ended.

    Attributes:
        limits: these.
        system: whose sockets these are.
        carriers: what all circuits share.
    """

    def __init__(self, limits: RelayLimits, ended: Callable[[CircuitGrant], object]) -> None:
        self.limits = limits
        self.system = current_system()
        self.carriers = PipePool(self.system)
        self._circuits: set[Circuit] = set()
        self._ended = ended

    def open(
        self, grant: CircuitGrant, sender: trio.SocketStream, receiver: trio.SocketStream
    ) -> Circuit:
        """Join two connections; each one's task has to call :meth:`Circuit.carry` then.

        Nothing passes until :meth:`Circuit.begin`.
        """
        circuit = Circuit(self, grant, sender, receiver)
        self._circuits.add(circuit)
        return circuit

    def ended(self, circuit: Circuit) -> None:
        """Forget a circuit."""
        self._circuits.remove(circuit)
        self._ended(circuit.grant)

    def rest(self) -> None:
        """A circuit has stopped carrying: keep no carriers if it was the last one."""
        if not self._circuits:
            self.carriers.close()

    async def watch(self) -> None:
        """Cut the circuits that are idle for too long, until cancelled."""
        while True:
            now = trio.current_time()
            for circuit in list(self._circuits):
                if circuit.deadline <= now:
                    with Barrier(logger, "cutting a circuit"):
                        circuit.cut_idle()
            # One that opens meanwhile lasts as long as that, or longer.
            latest = now + HANDSHAKE_TIME
            deadline = min((circuit.deadline for circuit in self._circuits), default=latest)
            await trio.sleep_until(max(min(deadline, latest), now + WATCH_TIME))


class Circuit:
    """Two joined connections, and how far they are.

    Attributes:
        grant: the registry's.
        active_at: when the last byte passed.
        passed: how many bytes have passed, both directions together.
        is_over: whether nothing passes any more.
    """

    __slots__ = (
        "_begun",
        "_both_over",
        "_farewell",
        "_heard",
        "_is_broken",
        "_open_directions",
        "_opened_at",
        "_pace",
        "_relay",
        "_streams",
        "active_at",
        "grant",
        "is_over",
        "passed",
    )

    def __init__(
        self,
        relay: Relay,
        grant: CircuitGrant,
        sender: trio.SocketStream,
        receiver: trio.SocketStream,
    ) -> None:
        self.grant = grant
        self.active_at = trio.current_time()
        self.passed = 0
        self.is_over = False
        self._relay = relay
        self._streams = (sender, receiver)
        self._heard = 0  # a bit for each of them that has said something
        self._opened_at = self.active_at
        self._begun: trio.Event | None = trio.Event()  # until then
        self._open_directions = 2
        self._both_over: trio.Event | None = None  # while one direction is still open
        self._is_broken = False
        self._farewell = b""
        rate = relay.limits.bytes_per_second
        self._pace = None if rate is None else Pace(rate)

    @property
    def deadline(self) -> float:
        """When to cut the circuit if nothing passes."""
        if self._heard == _BOTH:
            return self.active_at + self._relay.limits.idle_time
        return self._opened_at + HANDSHAKE_TIME

    def begin(self) -> None:
        """Let the bytes pass: both peers have been told all that comes before them."""
        assert self._begun is not None
        self._begun.set()
        self._begun = None

    async def carry(self, stream: trio.SocketStream) -> None:
        """Pass on what one peer says, until the circuit is over in both directions.

        Args:
            stream: the connection of that peer; to be closed afterwards.

        If cancelled, the circuit is over for both.
        """
        target = self._streams[stream is self._streams[0]]
        try:
            if self._begun is not None:
                await self._begun.wait()
            while not self.is_over:
                await self._relay.system.wait_readable(stream.socket)
                if not await self._pass_piece(stream.socket, target.socket):
                    break
            if not self.is_over:
                await self._half_close(target)
        except (trio.ClosedResourceError, OSError):
            if not self.is_over:  # one of the connections was gone before it began
                self._is_broken = True
        finally:
            self.end()
            self._relay.rest()
        if self._is_broken:
            await self._part_from(stream)

    async def _pass_piece(self, source: AnySocket, target: AnySocket) -> bool:
        """Pass on what has come; whether there may be more."""
        if self.is_over:
            return False
        most = self._allowance()
        if not most:
            return self._cut_if_there_is_more(source)
        carrier = self._relay.carriers.take()
        try:
            try:
                count = carrier.fill(source, most)
            except BlockingIOError:
                return True
            except OSError:
                self._is_broken = True  # and the other peer has got all there was
                self.end()
                return False
            self.passed += count
            if count:
                self._heard |= 1 << (source is self._streams[1].socket)
            if not await self._deliver(carrier, target):
                return False
        finally:
            self._relay.carriers.put_back(carrier)
        if self._pace is not None:
            await trio.sleep(self._pace.spend(count, trio.current_time()))
        return count > 0

    def _cut_if_there_is_more(self, source: AnySocket) -> bool:
        """Cut the circuit, which has carried all that it may, if the peer says more."""
        try:
            count = self._relay.system.read_into(source, memoryview(bytearray(1)))
        except BlockingIOError:
            return True
        except OSError:
            count = 0
            self._is_broken = True
            self.end()
        if count:
            self.cut(f"it has carried {self.passed} bytes, the limit of this broker")
        return False

    async def _deliver(self, carrier: Carrier, target: AnySocket) -> bool:
        """Pass on all that a carrier holds; whether that was possible."""
        self.active_at = trio.current_time()
        while carrier.held:
            try:
                carrier.drain(target)
            except BlockingIOError:
                await self._relay.system.wait_writable(target)
                if self.is_over:
                    return False
                self.active_at = trio.current_time()
            except OSError:
                # What the target said before it broke is for the other direction to deliver.
                self._is_broken = True
                return False
        return True

    def _allowance(self) -> int:
        """How many bytes may pass at once."""
        most = PIPE_BYTES if self._pace is None else min(PIPE_BYTES, self._pace.piece)
        limit = self._relay.limits.max_bytes
        return most if limit is None else min(most, limit - self.passed)

    async def _half_close(self, target: trio.SocketStream) -> None:
        """End one direction, and wait until the other one has ended, too."""
        with suppress(OSError):
            target.socket.shutdown(socket.SHUT_WR)
        self._open_directions -= 1
        if self._open_directions:
            self._both_over = trio.Event()
            await self._both_over.wait()

    def cut(self, reason: str) -> None:
        """End the circuit, and let both peers know why."""
        logger.info("circuit to %s cut: %s", self.grant.receiver, reason)
        sentence = f"the broker has cut the relayed connection: {reason}"
        self._farewell = self.grant.circuit + encode(Refused(RefusalCode.RELAY_REFUSED, sentence))
        self._is_broken = True
        self.end()

    def cut_idle(self) -> None:
        """End the circuit, whose deadline has passed."""
        if self._heard == _BOTH:
            limit = self._relay.limits.idle_time
            self.cut(f"it was idle for {limit:g} seconds, the limit of this broker")
        else:
            self.cut(f"not both peers have said something within {HANDSHAKE_TIME:g} seconds")

    def end(self) -> None:
        """End the circuit in both directions, if it is not over yet."""
        if self.is_over:
            return
        self.is_over = True
        if self._both_over is not None:
            self._both_over.set()
        for stream in self._streams:
            self._relay.system.notify_closing(stream.socket)
        self._relay.ended(self)

    async def _part_from(self, stream: trio.SocketStream) -> None:
        """Let a peer read the rest: what a close would take back, if it is still sending."""
        with trio.move_on_after(FAREWELL_TIME):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.send_all(self._farewell)
                await stream.send_eof()
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for _ in stream:
                    pass

"""Two joined connections: carries bytes between them, within limits, until both are over."""

from __future__ import annotations

import logging
import math
import socket
from contextlib import suppress
from typing import Protocol

import trio

from .._net.system import AnySocket, System
from .._wire.codec import encode
from .._wire.messages import RefusalCode, Refused
from .paces import Pace
from .pipes import PIPE_BYTES, Carrier, PipePool
from .quota import CircuitGrant, RelayQuota

FAREWELL_TIME = 2.0  # seconds that a peer has to read the rest, when the other one is gone
# Seconds until each side must have said something. In a TLS handshake both do so at once, so that
# only a circuit that is held for its own sake comes to this.
HANDSHAKE_TIME = 10.0
_BOTH = 0b11

logger = logging.getLogger("trio_p2p.broker")


class Owner(Protocol):
    """What circuits share."""

    quota: RelayQuota
    system: System
    carriers: PipePool

    def ended(self, circuit: Circuit) -> None:
        """Forget a circuit."""
        ...

    def rest(self) -> None:
        """A circuit has stopped carrying."""
        ...


class Circuit:
    """Two joined connections, and how far they are.

    Attributes:
        grant: the registry's.
        opened_at: when it was opened.
        active_at: when the last byte passed.
        passed: how many bytes have passed, both directions together.
        is_over: whether nothing passes any more.
    """

    __slots__ = (
        "_begun",
        "_both_over",
        "_farewell",
        "_free_at",
        "_heard",
        "_is_broken",
        "_open_directions",
        "_paces",
        "_relay",
        "_streams",
        "active_at",
        "grant",
        "is_over",
        "opened_at",
        "passed",
    )

    def __init__(
        self,
        relay: Owner,
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
        self.opened_at = self.active_at
        self._begun: trio.Event | None = trio.Event()  # until then
        self._open_directions = 2
        self._both_over: trio.Event | None = None  # while one direction is still open
        self._is_broken = False
        self._farewell = b""
        self._paces: tuple[Pace, ...] = relay.quota.paces_of(grant)
        self._free_at = -math.inf  # when it has paid for what it carried, in both directions

    @property
    def deadline(self) -> float:
        """When to cut the circuit if nothing passes."""
        if self._heard == _BOTH:
            return self.active_at + self.grant.limits.idle_time
        return self.opened_at + HANDSHAKE_TIME

    def change_paces(self) -> None:
        """Keep to the rates that hold now."""
        self._paces = self._relay.quota.paces_of(self.grant)

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
        if self._paces:
            await self._wait_turn()
        most = self._allowance()
        if not most and not self.is_over:
            return self._cut_if_there_is_more(source)
        if self._relay.carriers.are_scarce:
            most = min(most, await self._relay.carriers.wait_room(target))
            self.active_at = trio.current_time()
        if self.is_over:
            return False
        carrier = self._relay.carriers.take()
        try:
            count = self._fill(carrier, source, most)
            if count is None:
                return not self.is_over
            if not await self._drain(carrier, target):
                return False
            rest = carrier.take_rest()
        finally:
            self._relay.carriers.put_back(carrier)
        return await self._deliver(rest, target) and count > 0

    def _fill(self, carrier: Carrier, source: AnySocket, most: int) -> int | None:
        """Take what has come: how many bytes; None if nothing has, or the source broke."""
        try:
            count = carrier.fill(source, most)
        except BlockingIOError:
            return None
        except OSError:
            self._is_broken = True  # and the other peer has got all there was
            self.end()
            return None
        self.passed += count
        if count:
            self._heard |= 1 << (source is self._streams[1].socket)
        now = self.active_at = trio.current_time()
        self._relay.quota.carried(self.grant, count, now)
        if self._paces:
            self._free_at = now + max(pace.spend(count, now) for pace in self._paces)
        return count

    async def _wait_turn(self) -> None:
        """Wait until the circuit has paid for what it has carried, and it is its turn again."""
        while self._free_at > trio.current_time() and not self.is_over:
            paces = self._paces  # which may be others afterwards
            for pace in paces:
                pace.waiting += 1
            try:
                await trio.sleep_until(self._free_at)
            finally:
                for pace in paces:
                    pace.waiting -= 1

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
            self.cut(self._relay.quota.spent(self.grant, self.passed))
        return False

    async def _drain(self, carrier: Carrier, target: AnySocket) -> bool:
        """Pass on what a carrier holds, or what the target takes at once; whether it is there."""
        while carrier.held:
            try:
                carrier.drain(target)
            except BlockingIOError:
                if self._relay.carriers.are_scarce:
                    break
                await self._relay.system.wait_writable(target)
                if self.is_over:
                    return False
                self.active_at = trio.current_time()
            except OSError:
                # What the target said before it broke is for the other direction to deliver.
                self._is_broken = True
                return False
        return True

    async def _deliver(self, rest: memoryview, target: AnySocket) -> bool:
        """Pass on what the target has not taken at once; whether that was possible."""
        while rest:
            try:
                rest = rest[self._relay.system.write(target, rest) :]
            except BlockingIOError:
                await self._relay.system.wait_writable(target)
                if self.is_over:
                    return False
                self.active_at = trio.current_time()
            except OSError:
                self._is_broken = True  # as above
                return False
        return True

    def _allowance(self) -> int:
        """How many bytes may pass at once."""
        most = min((pace.piece for pace in self._paces), default=PIPE_BYTES)
        left = self._relay.quota.left(self.grant, self.passed, trio.current_time())
        return int(min(PIPE_BYTES, most, left))

    async def _half_close(self, target: trio.SocketStream) -> None:
        """End one direction, and wait until the other one has ended, too."""
        with suppress(OSError):
            target.socket.shutdown(socket.SHUT_WR)
        self._open_directions -= 1
        if self._open_directions:
            self._both_over = trio.Event()
            await self._both_over.wait()

    def cut(self, reason: str, code: RefusalCode = RefusalCode.RELAY_REFUSED) -> None:
        """End the circuit, and let both peers know why.

        Args:
            reason: why, in words.
            code: why: what is refused is not asked for again.
        """
        logger.info("circuit to %s cut: %s", self.grant.receiver, reason)
        sentence = f"the broker has cut the relayed connection: {reason}"
        self._farewell = self.grant.circuit + encode(Refused(code, sentence))
        self._is_broken = True
        self.end()

    def cut_idle(self) -> None:
        """End the circuit, whose deadline has passed."""
        if self._heard == _BOTH:
            limit = self.grant.limits.idle_time
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

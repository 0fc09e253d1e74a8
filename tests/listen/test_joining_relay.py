"""A receiver that cannot join a relay lets the sender know."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from trio_p2p._addresses import endpoint_of
from trio_p2p._control.broker_link import BrokerLink
from trio_p2p._control.guesses import Guesses
from trio_p2p._errors import (
    BrokerLostError,
    BrokerUnreachableError,
    LocalProtocolError,
    P2PError,
    RelayError,
)
from trio_p2p._listen.guessing import GuessingPermits
from trio_p2p._listen.puncher import REJOIN_TIME, Puncher
from trio_p2p._wire.messages import (
    ID_BYTES,
    Decline,
    Hello,
    JoinRelay,
    RefusalCode,
    Refused,
    RelayRequest,
)

from ..kit.fake_broker import open_fake_broker
from ..kit.hostile import CERTIFICATE, GREETING
from ..kit.loopback import PATIENCE, finder_of, held, nobody_listening, until
from ..kit.raw_client import RawClient

REQUEST = RelayRequest(bytes(ID_BYTES), CERTIFICATE)


class Registration:
    """Stands for the connection that the request came over; notes what is sent."""

    def __init__(self, *, is_lost: bool = False) -> None:
        self.sent: list[Decline] = []
        self._is_lost = is_lost

    async def send(self, message: Decline) -> None:
        await trio.lowlevel.checkpoint()
        if self._is_lost:
            raise BrokerLostError
        self.sent.append(message)


async def fail_to_join(
    address: tuple[str, int], kind: type[P2PError], registration: Any
) -> list[Decline]:
    before = held()
    permits = GuessingPermits("receiver", None, Guesses())
    puncher = Puncher(finder_of(*address), [], port_guessing=False, permits=permits)
    link = SimpleNamespace(remote=endpoint_of(address), send=registration.send)
    with trio.fail_after(PATIENCE), pytest.raises(kind):
        await puncher.join_relay(REQUEST, cast("BrokerLink", link))
    await until(lambda: held() == before)
    sent: list[Decline] = registration.sent
    return sent


DECLINED = [Decline(REQUEST.introduction, retry_after=REJOIN_TIME)]


async def refuse_to_join(client: RawClient) -> None:
    await client.receive(Hello)
    await client.receive(JoinRelay)
    await client.send(GREETING, Refused(RefusalCode.RELAY_REFUSED, "THE REASON"))
    await client.aclose()


async def test_refused_join_is_said() -> None:
    async with open_fake_broker(refuse_to_join) as address:
        assert await fail_to_join(address, RelayError, Registration()) == DECLINED


async def test_failed_join_is_said() -> None:
    with nobody_listening() as address:
        assert await fail_to_join(address, BrokerUnreachableError, Registration()) == DECLINED


async def test_join_that_fails_as_the_broker_is_gone() -> None:
    with nobody_listening() as address:
        registration = Registration(is_lost=True)
        assert await fail_to_join(address, BrokerUnreachableError, registration) == []


async def test_join_that_comes_too_late_is_not_declined() -> None:
    async def know_no_introduction(client: RawClient) -> None:
        await client.receive(Hello)
        await client.receive(JoinRelay)
        await client.send(GREETING, Refused(RefusalCode.PROTOCOL_VIOLATION, "no such introduction"))
        await client.aclose()

    async with open_fake_broker(know_no_introduction) as address:
        assert await fail_to_join(address, LocalProtocolError, Registration()) == []

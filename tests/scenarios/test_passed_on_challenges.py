"""A hostile broker that passes on the challenge of an honest one, to register its client there."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import pytest
import trio

from trio_p2p import Identity, IdentityError, open_p2p_listener, serve_broker
from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._net.channel import ChannelClosedError
from trio_p2p._wire.messages import Hello, Message, RefusalCode, Refused, Register, Registered

from ..kit.hostile import connect_raw
from ..kit.loopback import HOST, LIFETIME
from ..kit.raw_client import RawClient


async def pass_on(honest: int, answers: list[Message], stream: trio.SocketStream) -> None:
    """Serve one client as a broker that says what another one says."""
    with suppress(ChannelClosedError):  # it may only probe
        await pass_registration_on(honest, answers, RawClient(stream))


async def pass_registration_on(honest: int, answers: list[Message], victim: RawClient) -> None:
    async with victim, await connect_raw(honest) as other:
        challenge = await other.greet()
        await victim.receive(Hello)
        assert isinstance(victim.stream, trio.SocketStream)
        seen = endpoint_of(victim.stream.socket.getpeername())
        await victim.send(Hello(challenge=challenge, endpoint=seen))
        await other.send(await victim.receive(Register))
        answers.append(await other.channel.receive())
        await victim.send(answers[-1])


async def register_with_a_hostile_broker(external: Sequence[Endpoint]) -> Message:
    """What the honest broker answers to what the hostile one passes on."""
    answers: list[Message] = []
    with trio.fail_after(LIFETIME):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_broker, 0, host=HOST, external=external)
            honest = (await nursery.start(serve))[0].socket.getsockname()[1]
            [hostile] = await trio.open_tcp_listeners(0, host=HOST)
            nursery.start_soon(trio.serve_listeners, partial(pass_on, honest, answers), [hostile])
            address = hostile.socket.getsockname()
            with suppress(IdentityError):
                async with open_p2p_listener("alice", address, identity=Identity.generate()):
                    pass
            nursery.cancel_scope.cancel(reason="the test is over")
    return answers[0]


async def test_challenge_that_is_passed_on_is_of_no_use() -> None:
    answer = await register_with_a_hostile_broker([endpoint_of(("192.0.2.1", 4433))])
    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.IDENTITY_NOT_PROVEN


async def test_broker_that_does_not_know_where_it_is_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "trio_p2p.broker")
    assert isinstance(await register_with_a_hostile_broker([]), Registered)
    [record] = (each for each in caplog.records if each.name == "trio_p2p.broker")
    assert "--external" in record.getMessage()

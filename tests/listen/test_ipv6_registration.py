"""A receiver is registered over IPv6 beside IPv4, and one of them may be lost."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
import trio

from trio_p2p import UIDTakenError, open_p2p_listener
from trio_p2p._broker.connection import Connection
from trio_p2p._broker.server import Broker
from trio_p2p._wire.messages import ReceiverEndpoint

from ..kit.loopback import HOST, PATIENCE, reserved_port, until
from ..kit.names import Names
from ..kit.raw_client import RawClient, identity_of

ALICE = identity_of("alice")
IPV6_HOST = "::1"
NAME = "broker.example"


class DualStackBroker:
    """A broker on both loopback addresses, which may be taken away one by one."""

    def __init__(self, port: int, nursery: trio.Nursery) -> None:
        self.broker = Broker()
        self.port = port
        self._nursery = nursery
        self._scopes: dict[str, trio.CancelScope] = {}

    async def listen(self, host: str) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host=host)
        self._scopes[host] = scope = trio.CancelScope()

        async def serve() -> None:
            with scope:
                await self.broker.serve_listeners(listeners)

        self._nursery.start_soon(serve)

    def registered_over(self, ip_version: int) -> Connection | None:
        """The connection that alice is registered on by a version of IP."""
        name = self.broker.registry._registrations.holder("alice")
        registration = None if name is None else name.over(ip_version)
        return None if registration is None else registration.connection

    def lose(self, ip_version: int) -> Connection:
        """Close that connection."""
        connection = self.registered_over(ip_version)
        assert connection is not None
        self.broker._links[connection].scope.cancel(reason="the test closes it")
        return connection

    def leave(self, host: str) -> None:
        """Be found at an address no more."""
        self._scopes[host].cancel(reason="the test takes the address away")


@asynccontextmanager
async def open_dual_stack_broker() -> AsyncGenerator[DualStackBroker]:
    trio.socket.set_custom_hostname_resolver(Names(ip_address(HOST), ip_address(IPV6_HOST)))
    with trio.fail_after(PATIENCE), reserved_port() as port:
        async with trio.open_nursery() as nursery:
            broker = DualStackBroker(port, nursery)
            for host in (HOST, IPV6_HOST):
                await broker.listen(host)
            yield broker
            nursery.cancel_scope.cancel(reason="the test is over")


async def ask(broker: DualStackBroker, host: str) -> str:
    """Where the broker says that alice is, to a sender that comes to one of its addresses."""
    async with RawClient(await trio.open_tcp_stream(host, broker.port)) as sender:
        await sender.greet()
        await sender.ask("alice", "fast")
        return str((await sender.receive(ReceiverEndpoint)).endpoint.address)


async def test_receiver_is_found_over_both_and_gives_its_name_back_over_both() -> None:
    async with open_dual_stack_broker() as broker:
        async with open_p2p_listener("alice", (NAME, broker.port)):
            await until(lambda: broker.registered_over(6) is not None)
            for host in (HOST, IPV6_HOST):
                assert await ask(broker, host) == host
        await until(lambda: not broker.broker.registry.uids)
        assert broker.broker.registry.reserved == 0


@pytest.mark.parametrize(("lost", "kept"), [(4, 6), (6, 4)])
async def test_name_stays_registered_when_one_connection_is_lost(lost: int, kept: int) -> None:
    async with (
        open_dual_stack_broker() as broker,
        open_p2p_listener("alice", (NAME, broker.port), identity=ALICE) as listener,
    ):
        await until(lambda: broker.registered_over(6) is not None)
        before = broker.registered_over(kept)
        old = broker.lose(lost)
        await until(lambda: broker.registered_over(lost) not in (None, old))
        assert broker.registered_over(kept) is before
        assert listener.statistics().registrations == 1  # it was held all the time
        assert broker.broker.registry.reserved == 0


async def test_receiver_that_finds_the_broker_over_ipv6_alone_stays_registered() -> None:
    async with (
        open_dual_stack_broker() as broker,
        open_p2p_listener("alice", (NAME, broker.port), identity=ALICE) as listener,
    ):
        await until(lambda: None not in (broker.registered_over(4), broker.registered_over(6)))
        before = broker.registered_over(6)
        broker.leave(HOST)
        await until(lambda: broker.registered_over(4) is None)
        assert broker.registered_over(6) is before
        assert await ask(broker, IPV6_HOST) == IPV6_HOST
        assert listener.statistics().registrations == 1


async def test_another_process_of_the_identity_takes_both_over() -> None:
    async with (
        open_dual_stack_broker() as broker,
        open_p2p_listener("alice", (NAME, broker.port), identity=ALICE) as older,
    ):
        await until(lambda: broker.registered_over(6) is not None)
        before = [broker.registered_over(version) for version in (4, 6)]
        async with open_p2p_listener("alice", (NAME, broker.port), identity=ALICE) as newer:
            await until(lambda: broker.registered_over(6) not in (None, before[1]))
            with pytest.raises(UIDTakenError):
                await older.accept()
            await until(lambda: not any(each and each.registration for each in before))
            assert newer.statistics().registrations == 1
            assert broker.registered_over(4) is not None

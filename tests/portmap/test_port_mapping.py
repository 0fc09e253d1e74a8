"""A port is mapped, kept mapped and unmapped, by a router on loopback."""

import logging
import struct
from ipaddress import IPv4Address

import pytest
import trio
import trio.testing

from trio_p2p._addresses import Endpoint
from trio_p2p._net.gateway import open_multicast_listener
from trio_p2p._portmap import port_mapping, timers
from trio_p2p._portmap.attempts import (
    MappingAttempt,
    MappingFailedError,
    MappingOutcome,
    MappingProtocol,
    PortMappingError,
)
from trio_p2p._portmap.port_mapping import LIFETIME, open_port_mapping

from ..kit.fake_router import (
    EXTERNAL,
    HOST,
    PORT,
    UDP_PROTOCOLS,
    FakeRouter,
    hurried as hurried,
    no_answer,
    router as router,
    set_gateway,
)
from ..kit.loopback import until

PCP, NAT_PMP, UPNP = MappingProtocol
EACH = pytest.mark.parametrize("protocol", UDP_PROTOCOLS, ids=lambda it: it.name)
HURRIED = pytest.mark.usefixtures("hurried")
PATIENCE = 60.0
SHORT = 1  # second: renewed after half of it
ENDPOINT = Endpoint(EXTERNAL, PORT)


@pytest.fixture
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is repeated as long as a test may take."""
    for name in ("PCP_INITIAL_TIME", "NAT_PMP_INITIAL_TIME"):
        monkeypatch.setattr(timers, name, 100 * PATIENCE)


@EACH
async def test_mapping_is_made_at_once_and_deleted(
    router: FakeRouter, protocol: MappingProtocol, asked_once: None
) -> None:
    with trio.fail_after(PATIENCE):
        async with open_port_mapping(PORT, protocols=[protocol]) as mapping:
            assert list(router.mappings) == [PORT]
            assert mapping.internal_port == PORT
            assert mapping.external == ENDPOINT
            assert mapping.protocol is protocol
            assert mapping.lifetime == LIFETIME
            assert mapping.is_public
        assert router.mappings == {}


@EACH
async def test_router_that_does_not_choose_a_port_is_suggested_one(
    router: FakeRouter, protocol: MappingProtocol
) -> None:
    router.needs_suggestion = True
    with trio.fail_after(PATIENCE):
        async with open_port_mapping(PORT, protocols=[protocol]) as mapping:
            assert mapping.external == ENDPOINT


async def test_router_that_only_knows_nat_pmp_is_asked_in_that(
    router: FakeRouter, asked_once: None
) -> None:
    router.speaks = (NAT_PMP,)
    with trio.fail_after(PATIENCE):
        async with open_port_mapping(PORT) as mapping:
            assert mapping.protocol is NAT_PMP


async def test_pcp_router_that_is_asked_in_nat_pmp_says_no(router: FakeRouter) -> None:
    router.speaks = (PCP,)
    with pytest.raises(PortMappingError) as caught:
        async with open_port_mapping(PORT, protocols=[NAT_PMP]):
            pass
    [attempt] = caught.value.attempts
    assert attempt == MappingAttempt(NAT_PMP, MappingOutcome.UNSUPPORTED_VERSION)


@HURRIED
async def test_router_that_is_silent_in_pcp_is_asked_in_nat_pmp(router: FakeRouter) -> None:
    router.answer = lambda request: [] if request[0] else router.respond(request)
    async with open_port_mapping(PORT) as mapping:
        assert mapping.protocol is NAT_PMP
    # Asked twice, and told to forget it in case that only the answers were lost.
    assert [len(request) for request in router.requests].count(60) == 3


@HURRIED
@EACH
async def test_lost_requests_are_sent_again(router: FakeRouter, protocol: MappingProtocol) -> None:
    router.losses = 1
    async with open_port_mapping(PORT, protocols=[protocol]) as mapping:
        assert mapping.external == ENDPOINT


@EACH
async def test_address_of_a_router_behind_another_nat_is_not_public(
    router: FakeRouter, protocol: MappingProtocol
) -> None:
    router.external = IPv4Address("100.64.1.2")
    async with open_port_mapping(PORT, protocols=[protocol]) as mapping:
        assert mapping.external is not None
        assert not mapping.is_public


@HURRIED
@EACH
async def test_mapping_is_renewed(router: FakeRouter, protocol: MappingProtocol) -> None:
    async with open_port_mapping(PORT, protocols=[protocol], lifetime=SHORT) as mapping:
        before = mapping.changed_at
        first = [request for request in router.requests if len(request) > 2]
        await trio.sleep(1.5 * SHORT)
        renewals = [request for request in router.requests if len(request) > 2][1:]
        assert len(renewals) == 2
        assert mapping.external == ENDPOINT
        assert mapping.changed_at == before
    # It asks for the endpoint that it has, with the same nonce.
    if protocol is PCP:
        assert {request[24:36] for request in renewals} == {first[0][24:36]}
        assert {request[42:] for request in renewals} == {
            struct.pack("!H10xH4s", PORT, 0xFFFF, EXTERNAL.packed)
        }
    else:
        assert {request[6:8] for request in renewals} == {struct.pack("!H", PORT)}


@HURRIED
async def test_long_grant_is_looked_after_as_often_as_a_short_one(router: FakeRouter) -> None:
    router.answer = lambda request: [
        response[:4] + struct.pack("!I", 86_400) + response[8:]
        for response in router.respond(request)
    ]
    async with open_port_mapping(PORT, protocols=[PCP], lifetime=SHORT) as mapping:
        assert mapping.lifetime == 86_400
        await until(lambda: len(router.requests) > 1)


@HURRIED
@EACH
async def test_another_external_address_is_noticed_when_renewed(
    router: FakeRouter, protocol: MappingProtocol
) -> None:
    async with open_port_mapping(PORT, protocols=[protocol], lifetime=SHORT) as mapping:
        before = mapping.changed_at
        router.external += 1
        with trio.fail_after(PATIENCE):
            external = await mapping.wait_changed(ENDPOINT)
        assert external == mapping.external == Endpoint(router.external, PORT)
        assert mapping.changed_at > before
        assert await mapping.wait_changed(ENDPOINT) == external  # already


@HURRIED
async def test_mapping_that_cannot_be_renewed_is_lost_and_got_back(router: FakeRouter) -> None:
    async with open_port_mapping(PORT, protocols=[PCP], lifetime=SHORT) as mapping:
        router.answer = no_answer
        with trio.fail_after(PATIENCE):
            assert await mapping.wait_changed(ENDPOINT) is None
            assert not mapping.is_public
            router.restart()
            router.answer = None
            assert await mapping.wait_changed(None) == ENDPOINT
        assert list(router.mappings) == [PORT]
    assert router.mappings == {}


@HURRIED
@EACH
async def test_restarted_router_maps_the_port_again(
    router: FakeRouter, protocol: MappingProtocol
) -> None:
    async with open_port_mapping(PORT, protocols=[protocol]):
        router.restart()
        await announce_state(router, protocol)
        await until(lambda: list(router.mappings) == [PORT])


@HURRIED
async def test_another_external_address_is_noticed_when_announced(router: FakeRouter) -> None:
    async with open_port_mapping(PORT, protocols=[NAT_PMP]) as mapping:
        router.external += 1
        await announce_state(router, NAT_PMP)
        with trio.fail_after(PATIENCE):
            await mapping.wait_changed(ENDPOINT)


async def announce_state(router: FakeRouter, protocol: MappingProtocol) -> None:
    """Have a router announce what it now is."""
    await trio.testing.wait_all_tasks_blocked()
    if protocol is PCP:
        await router.announce()
    else:
        await router.announce(next(iter(router.respond(b"\0\0"))))


@HURRIED
@EACH
async def test_announcements_that_prove_nothing(
    router: FakeRouter, protocol: MappingProtocol
) -> None:
    async with open_port_mapping(PORT, protocols=[protocol]):
        await trio.testing.wait_all_tasks_blocked()
        asked = len(router.requests)
        await router.announce()  # it has not restarted
        await router.announce(b"garbage")
        await router.announce(struct.pack("!BBHI4s", 0, 0x80, 0, 1000, EXTERNAL.packed))
        await router.announce(struct.pack("!BBHI4s", 0, 0x80, 3, 0, EXTERNAL.packed))  # an error
        restarted = struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, 0)
        stranger = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        with stranger:
            await stranger.bind(("127.0.0.2", 0))
            await stranger.sendto(restarted, (HOST, router.announcement_port))
        await trio.sleep(0.3)
        assert len(router.requests) == asked


async def test_announcements_are_not_needed(
    router: FakeRouter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_p2p.nat")
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("", router.announcement_port))
        assert open_multicast_listener(router.announcement_port) is None
        async with open_port_mapping(PORT) as mapping:
            await trio.testing.wait_all_tasks_blocked()
            assert mapping.external == ENDPOINT
    assert "router announcements not received" in caplog.text


@HURRIED
async def test_in_another_network_the_port_is_mapped_there(
    router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = trio.Event()

    async def wait_moved(known: object) -> object:
        await moved.wait()
        return known

    monkeypatch.setattr(port_mapping, "wait_network_changed", wait_moved)
    async with open_port_mapping(PORT, protocols=UDP_PROTOCOLS) as mapping:
        set_gateway(monkeypatch, None)
        moved.set()
        moved = trio.Event()
        with trio.fail_after(PATIENCE):
            assert await mapping.wait_changed(ENDPOINT) is None
            await until(lambda: router.mappings == {})
            set_gateway(monkeypatch, Endpoint(IPv4Address(HOST), router.sock.getsockname()[1]))
            moved.set()
            moved = trio.Event()
            assert await mapping.wait_changed(None) == ENDPOINT
    assert router.mappings == {}


async def test_without_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    set_gateway(monkeypatch, None)
    with pytest.raises(PortMappingError) as caught:
        async with open_port_mapping(PORT, protocols=UDP_PROTOCOLS):
            pass
    assert caught.value.attempts == tuple(
        MappingAttempt(protocol, MappingOutcome.NO_GATEWAY) for protocol in UDP_PROTOCOLS
    )


@HURRIED
async def test_failure_says_why_in_each_protocol(router: FakeRouter) -> None:
    def answer(request: bytes) -> list[bytes]:
        [response] = router.respond(request)
        return [response[:3] + b"\x09" + response[4:]] if request[0] else []

    router.answer = answer
    with pytest.raises(PortMappingError, match=r"UNSUPP_PROTOCOL.*did not answer") as caught:
        async with open_port_mapping(PORT, protocols=UDP_PROTOCOLS):
            pass
    attempts = caught.value.attempts
    assert attempts == (
        MappingAttempt(PCP, MappingOutcome.REFUSED, "UNSUPP_PROTOCOL"),
        MappingAttempt(NAT_PMP, MappingOutcome.SILENT),
    )
    causes = caught.value.__cause__
    assert isinstance(causes, ExceptionGroup)
    assert all(isinstance(cause, MappingFailedError) for cause in causes.exceptions)
    assert [str(cause) for cause in causes.exceptions] == [str(attempt) for attempt in attempts]


@HURRIED
@EACH
@pytest.mark.parametrize("deletion_time", [0.1, 0.5], ids=["too short", "enough"])
async def test_router_that_does_not_confirm_the_deletion(
    router: FakeRouter,
    protocol: MappingProtocol,
    deletion_time: float,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(port_mapping, "DELETION_TIME", deletion_time)
    caplog.set_level(logging.DEBUG, "trio_p2p.nat")
    async with open_port_mapping(PORT, protocols=[protocol]):
        router.answer = no_answer
    where = slice(4, 8) if protocol is PCP else slice(8, 12)
    assert router.requests[-1][where] == bytes(4)  # lifetime 0: delete it
    assert ("not deleted" in caplog.text) is (deletion_time > 0.2)


async def test_exception_of_the_body_comes_out_bare(router: FakeRouter) -> None:
    with pytest.raises(KeyError):
        async with open_port_mapping(PORT):
            raise KeyError
    assert router.mappings == {}


async def test_cancelled_body(router: FakeRouter) -> None:
    with trio.CancelScope() as scope:
        async with open_port_mapping(PORT):
            scope.cancel(reason="test")
            await trio.sleep_forever()
    assert router.mappings == {}

"""What answers in a router's place may say what it likes: one exchange fails, and says why."""

import random
import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

import pytest
import trio

from trio_p2p._addresses import Endpoint
from trio_p2p._portmap.attempts import MappingOutcome, MappingProtocol, PortMappingError
from trio_p2p._portmap.port_mapping import open_port_mapping

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
    unused_port,
)

PCP, NAT_PMP, _ = MappingProtocol
EACH = pytest.mark.parametrize("protocol", UDP_PROTOCOLS, ids=lambda it: it.name)
PATIENCE = 60.0  # seconds until something that hangs fails its test
GARBAGE = random.Random("garbage").randbytes(60)
FLOOD = 200  # datagrams for each that is asked

pytestmark = pytest.mark.usefixtures("hurried")


async def failure_of(protocol: MappingProtocol) -> tuple[MappingOutcome, str]:
    """Why a port was not mapped."""
    with trio.fail_after(PATIENCE), pytest.raises(PortMappingError) as caught:
        async with open_port_mapping(PORT, protocols=[protocol]):
            pass
    [attempt] = caught.value.attempts
    return attempt.outcome, attempt.detail


def changed(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes((value,)) + data[place + 1 :]


BAD_ANSWERS: dict[str, Callable[[bytes], Iterable[bytes]]] = {
    "empty": lambda _: [b""],
    "garbage": lambda _: [GARBAGE],
    "truncated": lambda response: [response[: len(response) // 2]],
    "huge": lambda response: [response + bytes(65_000 - len(response))],
    "flood": lambda _: [GARBAGE] * FLOOD,
    "a request": lambda response: [changed(response, 1, response[1] & 0x7F)],
    "another version": lambda response: [changed(response, 0, 7)],
    "another opcode": lambda response: [changed(response, 1, 0x87)],
    "another port": lambda response: [
        changed(response, {60: 41, 16: 9, 12: 1}[len(response)], 0x99)
    ],
}


@EACH
@pytest.mark.parametrize("kind", BAD_ANSWERS)
async def test_bad_answers(router: FakeRouter, protocol: MappingProtocol, kind: str) -> None:
    def answer(request: bytes) -> Iterable[bytes]:
        for response in router.respond(request):
            yield from BAD_ANSWERS[kind](response)

    router.answer = answer
    outcome, detail = await failure_of(protocol)
    assert outcome is MappingOutcome.MALFORMED
    assert detail


async def test_wrong_nonce(router: FakeRouter) -> None:
    router.answer = lambda request: [
        response[:24] + GARBAGE[:12] + response[36:] for response in router.respond(request)
    ]
    outcome, detail = await failure_of(PCP)
    assert (outcome, detail) == (MappingOutcome.MALFORMED, "a response to another request")


@EACH
async def test_bad_answers_do_not_hide_the_good_one(
    router: FakeRouter, protocol: MappingProtocol
) -> None:
    def answer(request: bytes) -> Iterable[bytes]:
        yield GARBAGE
        yield b""
        yield from router.respond(request)

    router.answer = answer
    async with open_port_mapping(PORT, protocols=[protocol]) as mapping:
        assert mapping.external == Endpoint(EXTERNAL, PORT)


@EACH
async def test_answer_from_another_source_is_not_seen(
    router: FakeRouter, protocol: MappingProtocol
) -> None:
    # By somebody on this network, who sees what is sent to the router.
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as router.sends_from:
        await router.sends_from.bind((HOST, 0))
        assert await failure_of(protocol) == (MappingOutcome.SILENT, "")
        assert router.requests


@EACH
async def test_silence(router: FakeRouter, protocol: MappingProtocol) -> None:
    router.answer = no_answer
    assert await failure_of(protocol) == (MappingOutcome.SILENT, "")


@EACH
async def test_nobody_there(monkeypatch: pytest.MonkeyPatch, protocol: MappingProtocol) -> None:
    set_gateway(monkeypatch, Endpoint(IPv4Address("127.0.0.1"), unused_port()))
    assert await failure_of(protocol) == (MappingOutcome.ABSENT, "")


@pytest.mark.parametrize("result", [2, 3, 8, 13, 200])
async def test_pcp_error_codes(router: FakeRouter, result: int) -> None:
    router.answer = lambda request: [changed(next(iter(router.respond(request))), 3, result)]
    outcome, detail = await failure_of(PCP)
    assert outcome is MappingOutcome.REFUSED
    assert detail == {2: "NOT_AUTHORIZED", 3: "MALFORMED_REQUEST", 8: "NO_RESOURCES"}.get(
        result, detail
    )


@pytest.mark.parametrize("result", [2, 3, 4, 5, 200])
@pytest.mark.parametrize("opcode", [0, 2])
async def test_nat_pmp_error_codes(router: FakeRouter, opcode: int, result: int) -> None:
    def answer(request: bytes) -> Iterable[bytes]:
        if request[1] == opcode:
            return [struct.pack("!BBHI", 0, 0x80 | opcode, result, 7)]
        return router.respond(request)

    router.answer = answer
    outcome, detail = await failure_of(NAT_PMP)
    assert outcome is MappingOutcome.REFUSED
    assert detail in {
        "NOT_AUTHORIZED",
        "NETWORK_FAILURE",
        "OUT_OF_RESOURCES",
        "UNSUPPORTED_OPCODE",
        "result code 200",
    }


@EACH
async def test_mapping_for_no_time(router: FakeRouter, protocol: MappingProtocol) -> None:
    router.max_lifetime = 0
    outcome, detail = await failure_of(protocol)
    assert (outcome, detail) == (MappingOutcome.MALFORMED, "a response that maps nothing")


async def test_mapping_for_a_second_does_not_make_us_ask_all_the_time(router: FakeRouter) -> None:
    router.max_lifetime = 1
    async with open_port_mapping(PORT, protocols=[PCP]):
        await trio.sleep(0.4)
        assert len(router.requests) == 1

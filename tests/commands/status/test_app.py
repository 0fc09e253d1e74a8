"""The application of the status page: what it answers, and to whom."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_p2p._broker.history import STEP
from trio_p2p._commands.status.app import MAX_VIEWERS
from trio_p2p._wire.messages import Draining

from .apps import LOCAL, Answered, Site

TOKEN = "0123456789abcdef"


def events_of(answered: Answered) -> list[dict[str, Any]]:
    assert answered.body.endswith(b"\n\n")
    lines = answered.body.decode().split("\n\n")[:-1]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/status.css", "text/css; charset=utf-8"),
        ("/status.js", "text/javascript; charset=utf-8"),
        ("/charts.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
    ],
)
async def test_what_there_is(path: str, kind: str) -> None:
    site = Site()
    answered = await site.ask(path)
    assert (answered.status, answered.headers["content-type"]) == (200, kind)
    assert int(answered.headers["content-length"]) == len(answered.body) > 0
    policy = answered.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    head = await site.ask(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")


async def test_page_takes_nothing_from_elsewhere() -> None:
    site = Site()
    for path in ("/", "/status.css", "/status.js", "/charts.js"):
        text = (await site.ask(path)).body.decode()
        for foreign in ("https:", "//fonts", "style=", "onclick", "innerHTML", "eval("):
            assert foreign not in text


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/nothing", "GET", 404), ("/../access.py", "GET", 404), ("/", "POST", 405)],
)
async def test_what_there_is_not(path: str, method: str, status: int) -> None:
    assert (await Site().ask(path, method=method)).status == status


async def test_broker_that_drains_is_healthy_and_not_ready() -> None:
    site = Site()
    site.broker.registry.drain([], Draining(1))
    assert (await site.ask("/healthz")).status == 200
    answered = await site.ask("/readyz")
    assert (answered.status, answered.body) == (503, b"draining\n")


# Access.


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9433", 200),
        ("localhost", 200),
        ("[::1]:9433", 200),
        ("[::1]", 200),
        ("rebound.example.org:9433", 403),
        ("192.0.2.1", 403),
        ("", 403),
    ],
)
async def test_without_a_token_the_page_is_found_by_a_loopback_address(
    host: str, status: int
) -> None:
    assert (await Site().ask("/", headers={"host": host})).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer  {TOKEN}"}, 200),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"cookie": f"a=b; trio_p2p_status={TOKEN}"}, 200),
        ({"cookie": "trio_p2p_status=x"}, 401),
        ({"cookie": "\x00;;==trio_p2p_status"}, 401),
    ],
)
async def test_token(headers: dict[str, str], status: int) -> None:
    site = Site(TOKEN)
    for path in ("/", "/metrics", "/status.js"):
        assert (await site.ask(path, headers={**LOCAL, **headers})).status == status
    for path in ("/healthz", "/readyz"):
        assert (await site.ask(path, headers=headers)).status == 200
    if status == 401:
        assert (await site.ask("/events", headers=headers)).status == 401


async def test_token_in_the_address_becomes_a_cookie() -> None:
    site = Site(TOKEN)
    answered = await site.ask("/", query=f"token={TOKEN}")
    assert (answered.status, answered.headers["location"]) == (303, "/")
    cookie = answered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert (await site.ask("/", headers={"cookie": cookie.partition(";")[0]})).status == 200
    for query in ("token=wrong", "token=", "token", "&".join(["a=b"] * 100), "token=%ff%00"):
        assert (await site.ask("/", query=query)).status == 401


# Events.


async def test_page_is_told_of_changes(autojump_clock: MockClock) -> None:
    site = Site()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.overview.run)
        async with site.watching() as answered:
            await wait_all_tasks_blocked()
            [first] = events_of(answered)
            assert answered.headers["content-type"] == "text/event-stream"
            assert first["now"]["receivers"] == 0
            assert first["history"] == {"step": STEP, "steps": []}
            site.counts.registrations = 7
            await trio.sleep(1.5)
            second = events_of(answered)[1]
            assert second["registrations"] == 7
            assert "history" not in second
            await trio.sleep(STEP)
            histories = [each["history"] for each in events_of(answered)[1:] if "history" in each]
            assert [len(each["steps"]) for each in histories] == [1]
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_so_many_pages_are_told_and_no_more() -> None:
    site = Site()
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(site.watching()) for _ in range(MAX_VIEWERS)]
        await wait_all_tasks_blocked()
        assert {page.status for page in pages} == {200}
        assert (await site.ask("/events")).status == 503
    async with site.watching() as page:
        await wait_all_tasks_blocked()
        assert page.status == 200


async def test_websocket_is_closed() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    async def receive() -> dict[str, Any]:
        await trio.sleep_forever()
        raise AssertionError

    await Site().app({"type": "websocket", "path": "/"}, receive, send)
    assert sent == [{"type": "websocket.close"}]


async def test_open_page_is_told_no_more_when_the_token_is_another_one(
    autojump_clock: MockClock,
) -> None:
    site, answered = Site(TOKEN), Answered()
    shown = {"authorization": f"Bearer {TOKEN}"}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.overview.run)
        page = nursery.cancel_scope
        nursery.start_soon(_run_to_end, site, answered, shown, page)
        await trio.sleep(3.5)
        told = len(events_of(answered))
        assert told >= 3
        site.app._access.token = TOKEN[::-1]
    assert len(events_of(answered)) == told
    assert (await site.ask("/events", headers=shown)).status == 401


async def _run_to_end(
    site: Site, answered: Answered, headers: dict[str, str], scope: trio.CancelScope
) -> None:
    """Be a page until it is told no more."""
    await site.run("/events", answered, trio.Event(), headers=headers)
    scope.cancel(reason="the page is told no more")

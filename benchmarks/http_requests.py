"""Requests over HTTP/2 with httpx and hypercorn, as a program would make them that knows the other.

Both on Trio, TLS 1.3 with the keys and the cipher of all other ways, one connection. The server
writes no logs and adds no headers, and allows as many streams as are opened at once; the client
itself, by httpcore, opens no more than 100 of them at the same time. Nothing times out.
"""

import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import httpx  # noqa: ASYNC127 - what programs use today, maintained or not
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    LifespanShutdownCompleteEvent,
    LifespanStartupCompleteEvent,
    Scope,
)

from .request_programs import (
    ANSWER,
    REQUEST,
    STREAMS,
    Ask,
    RequestWay,
    check_answer,
    play_requests,
)
from .ssl_identities import make_client_context, make_server_context

_FOREVER = 10**9  # of requests, and of seconds


class _Config(Config):
    """The server's configuration, with the keys that all ways have, and not those of two files."""

    accesslog = None
    errorlog = None
    include_date_header = False
    include_server_header = False
    h2_max_concurrent_streams = STREAMS
    keep_alive_max_requests = _FOREVER
    keep_alive_timeout = _FOREVER

    @property
    def ssl_enabled(self) -> bool:
        return True

    def create_ssl_context(self) -> ssl.SSLContext:
        context = make_server_context()
        context.set_alpn_protocols(["h2"])
        return context


async def _serve(host: str, *, task_status: trio.TaskStatus[str]) -> None:
    config = _Config()
    config.bind = [f"{host}:0"]
    async with trio.open_nursery() as nursery:
        [url] = await nursery.start(partial(serve, _answer, config))
        task_status.started(url)


async def _answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send(LifespanStartupCompleteEvent(type="lifespan.startup.complete"))
        await receive()
        await send(LifespanShutdownCompleteEvent(type="lifespan.shutdown.complete"))
        return
    while (await receive()).get("more_body"):
        pass
    await send(HTTPResponseStartEvent(type="http.response.start", status=200, headers=[]))
    await send(HTTPResponseBodyEvent(type="http.response.body", body=ANSWER, more_body=False))


@asynccontextmanager
async def _open_client(url: str) -> AsyncGenerator[Ask]:
    limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
    async with httpx.AsyncClient(
        http1=False,
        http2=True,
        limits=limits,
        timeout=None,
        trust_env=False,
        verify=make_client_context(),
    ) as client:
        yield partial(_ask, client, url)


async def _ask(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.post(url, content=REQUEST)
    assert answer.http_version == "HTTP/2"
    check_answer(len(answer.content))


if __name__ == "__main__":
    play_requests(RequestWay(_serve, _open_client), sys.argv[1:])

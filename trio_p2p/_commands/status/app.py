"""The web application of the status page, as ASGI: a page, its events, metrics and health."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from typing import Any, TypeAlias

import attrs
import trio

from .access import Access
from .metrics import Metrics
from .overview import Overview

MAX_VIEWERS = 32  # that are told of every change at a time

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

_TEXT = b"text/plain; charset=utf-8"
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_FILES = {
    "/": ("index.html", b"text/html; charset=utf-8"),
    "/status.css": ("status.css", b"text/css; charset=utf-8"),
    "/status.js": ("status.js", b"text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", b"text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", b"image/svg+xml"),
}


@attrs.frozen
class Answer:
    """What a request is answered."""

    status: int
    body: bytes
    kind: bytes = _TEXT
    headers: tuple[Header, ...] = ()


class StatusApp:
    """Shows a broker to a browser, to Prometheus, and to what looks after processes.

    Args:
        overview: what is shown.
        access: who may see it.
    """

    def __init__(self, overview: Overview, access: Access) -> None:
        self._overview = overview
        self._access = access
        self._metrics = Metrics(overview)
        self._viewers = 0
        page = files(__name__.rpartition(".")[0]) / "page"
        self._files = {
            path: Answer(200, (page / name).read_bytes(), kind)
            for path, (name, kind) in _FILES.items()
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:  # a WebSocket is closed before it is accepted
            await send({"type": "websocket.close"})

    async def _answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        answer = self._answer_to_untrusted(scope)
        if answer is not None:
            await _send(send, answer, has_body=scope["method"] != "HEAD")
        elif self._viewers >= MAX_VIEWERS:
            await _send(send, Answer(503, b"too many pages are open: close one\n"))
        else:
            await self._tell(receive, send)

    def _answer_to_untrusted(self, scope: dict[str, Any]) -> Answer | None:
        """The answer to a request; None for the stream of events."""
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            return Answer(405, b"only GET\n", headers=((b"allow", b"GET, HEAD"),))
        if path in ("/healthz", "/readyz"):
            return self._health(path)
        query = scope["query_string"].decode("latin-1")
        if not self._access.is_granted_untrusted(_texts(scope["headers"]), query):
            return self._refusal()
        if self._access.is_named_untrusted(query):
            cookie = self._access.cookie().encode()
            return Answer(303, b"", headers=((b"location", b"/"), (b"set-cookie", cookie)))
        if path == "/events" and scope["method"] == "GET":
            return None
        return self._page(path)

    def _health(self, path: str) -> Answer:
        if path == "/readyz" and self._overview.figures.is_draining:
            return Answer(503, b"draining\n")
        return Answer(200, b"ok\n")

    def _page(self, path: str) -> Answer:
        if path == "/metrics":
            return Answer(200, self._metrics.render(), _METRICS)
        return self._files.get(path) or Answer(404, b"there is nothing here\n")

    def _refusal(self) -> Answer:
        if self._access.token is None:
            return Answer(403, b"open this page by the address 127.0.0.1, [::1] or localhost\n")
        text = b"give the token: as ?token=... once, or as a bearer token\n"
        return Answer(401, text, headers=((b"www-authenticate", b"Bearer"),))

    async def _tell(self, receive: Receive, send: Send) -> None:
        """Tell a page of every change, until it is closed, or the token is another one."""
        token = self._access.token
        self._viewers += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_gone, receive, nursery.cancel_scope)
                await _start(send, 200, b"text/event-stream")
                steps_ended = -1
                while self._access.token == token:
                    is_news = self._overview.steps_ended != steps_ended
                    steps_ended = self._overview.steps_ended
                    shown = json.dumps(self._overview.snapshot(with_history=is_news))
                    body = f"data: {shown}\n\n".encode()
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    await self._overview.looked.park()
                await send({"type": "http.response.body", "body": b""})
                nursery.cancel_scope.cancel(reason="the page has to show another token")
        finally:
            self._viewers -= 1


def _texts(headers: Iterable[Header]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


async def _live(receive: Receive, send: Send) -> None:
    """Say that there is nothing to prepare, and nothing to end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel(reason="the page was closed")


async def _start(send: Send, status: int, kind: bytes, headers: Iterable[Header] = ()) -> None:
    all_headers = [(b"content-type", kind), *_HEADERS, *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})


async def _send(send: Send, answer: Answer, *, has_body: bool = True) -> None:
    length = (b"content-length", str(len(answer.body)).encode())
    await _start(send, answer.status, answer.kind, [length, *answer.headers])
    await send({"type": "http.response.body", "body": answer.body if has_body else b""})

"""Notices that this host is in another network: a cable, another router, the end of a sleep.

What counts is what the kernel would do with packets now. It is asked whenever it tells
that something has changed, and once a second where it does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

import trio

from .._addresses import Endpoint, IPAddress
from .gateway import find_route
from .os_errors import is_out_of_resources
from .routes import SOMEWHERE, SOMEWHERE_IPV6, Route, RouteNews
from .system import current_system

Network: TypeAlias = tuple[Route | None, Route | None]

# Seconds.
SETTLING_TIME = 0.05  # from the first of several changes, which come together
POLLING_TIME = 1.0


def current_network() -> Network:
    """What tells the network that this host is in from others: its routes to the internet."""
    return _news_of_this_run().network()


@contextmanager
def network_remembered() -> Generator[None]:
    """Look for the network no more often than the kernel tells of changes, if it does."""
    with _news_of_this_run().subscribed():
        yield


async def wait_network_changed(known: Network) -> Network:
    """Wait until this host is in another network than a known one, or in none; which it is."""
    await _wait_until(lambda: current_network() != known)
    return current_network()


async def cancel_when_network_changes(scope: trio.CancelScope, known: Network) -> None:
    """Cancel what is of no use in another network than a known one."""
    await wait_network_changed(known)
    scope.cancel(reason="the network has changed")


async def wait_stranded(local: IPAddress, remote: Endpoint) -> None:
    """Wait until a connection is of no use any more, as this host has moved.

    Its packets would leave from another address now, or to another router, or not at all.

    Args:
        local: the address that they leave from.
        remote: where they go.
    """
    first: Route | None = None

    def is_stranded() -> bool:
        nonlocal first
        try:
            route = find_route(remote)
        except OSError as error:
            return not is_out_of_resources(error)  # else nobody knows
        first = first or route
        return route.source != local or route != first

    await _wait_until(is_stranded)


async def _wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so that depends on addresses, links and routes."""
    await trio.lowlevel.checkpoint()
    with _news_of_this_run().subscribed() as news:
        while not is_so():
            await news.wait()


class _News:
    """That something has changed, for all who wait for that in a Trio run.

    One socket is enough for them, and needs no task: one of those who wait reads it for all.
    """

    def __init__(self) -> None:
        self._told: RouteNews | None = None
        self._subscribers = 0
        self._network: Network | None = None  # as long as there is no news
        self._waiting = trio.lowlevel.ParkingLot()
        self._somebody_reads = False

    @contextmanager
    def subscribed(self) -> Generator[_News]:
        """Hear of all changes from here on: what is found unchanged now can be waited for."""
        if not self._subscribers:
            self._told = current_system().open_route_news()
        self._subscribers += 1
        try:
            yield self
        finally:
            self._subscribers -= 1
            if not self._subscribers and self._told is not None:
                self._told.close()
                self._told = self._network = None

    def network(self) -> Network:
        """The network that this host is in now."""
        if self._is_pending():
            self._network = None
            return _look()
        if self._network is None:
            self._network = _look()
        return self._network

    def _is_pending(self) -> bool:
        """Whether something may have changed that nobody has read of yet."""
        return self._told is None or self._told.is_pending()

    async def wait(self) -> None:
        """Wait until something has changed, or may have."""
        if self._somebody_reads:
            await self._waiting.park()
            return
        self._somebody_reads = True
        try:
            await self._read()
        except trio.Cancelled:
            self._waiting.unpark()  # somebody else has to read now
            raise
        else:
            self._waiting.unpark_all()
        finally:
            self._somebody_reads = False

    async def _read(self) -> None:
        if self._told is None:
            await trio.sleep(POLLING_TIME)
            return
        await self._told.wait()
        await trio.sleep(SETTLING_TIME)
        self._told.drain()
        self._network = None


def _look() -> Network:
    return _route_if_any(SOMEWHERE), _route_if_any(SOMEWHERE_IPV6)


def _route_if_any(remote: Endpoint) -> Route | None:
    try:
        return find_route(remote)
    except OSError:
        return None


def _news_of_this_run() -> _News:
    try:
        return _news.get()
    except LookupError:
        news = _News()
        _news.set(news)
        return news


_news: trio.lowlevel.RunVar[_News] = trio.lowlevel.RunVar("what is heard of the network")

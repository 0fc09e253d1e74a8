"""Notices that this host is in another network: a cable, another router, the end of a sleep.

What counts is what the kernel would do with packets now. It is asked whenever it tells that
something has changed, and once a second where it does not tell. An address that is still assigned
and leads to the same router is as good as before, even if the kernel prefers another one by now:
hosts get a new IPv6 address each day (RFC 8981).

Of a sleep the kernel does not tell, and every address may be the same afterwards, although NATs and
peers have forgotten the connections. So two clocks are compared every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from .._addresses import Endpoint, IPAddress
from .gateway import find_route
from .of_system import OfSystem
from .os_errors import is_out_of_resources
from .routes import SOMEWHERE, SOMEWHERE_IPV6, KernelRoute, RouteNews
from .sleeps import Sleeps
from .system import current_system

# Seconds.
SETTLING_TIME = 0.05  # after a first change, until others that come with it have come
POLLING_TIME = 1.0
CLOCKS_TIME = 3.0  # between two looks at the clocks

_SOMEWHERE = {4: SOMEWHERE, 6: SOMEWHERE_IPV6}
_BOTH = (4, 6)


@attrs.frozen
class Network:
    """What tells the network that this host is in from others.

    Attributes:
        ip_versions: the versions of IP that matter.
        routes: the route to the internet by each of them; None where there is none.
        sleeps: how often the host was asleep before.
    """

    ip_versions: tuple[int, ...]
    routes: tuple[KernelRoute | None, ...]
    sleeps: int


def current_network(*ip_versions: int) -> Network:
    """The network that this host is in.

    Args:
        ip_versions: which versions of IP matter; both if none is given.
    """
    return _news.get().network(ip_versions or _BOTH)


@contextmanager
def network_remembered() -> Generator[None]:
    """Look for the network no more often than the kernel tells of changes, if it does."""
    with _news.get().subscribed():
        yield


async def wait_network_changed(known: Network) -> Network:
    """Wait until this host is in another network than a known one, or in none; which it is."""
    await _wait_until(lambda: current_network(*known.ip_versions) != known)
    return current_network(*known.ip_versions)


async def cancel_when_network_changes(scope: trio.CancelScope, known: Network) -> None:
    """Cancel what is of no use in another network than a known one."""
    await wait_network_changed(known)
    scope.cancel(reason="the network has changed")


async def wait_stranded(local: IPAddress, remote: Endpoint) -> None:
    """Wait until a connection is of no use any more, as this host has moved, or was asleep.

    Its local address is not assigned any more, or its packets would go to another router now, or
    nowhere.

    Args:
        local: the address that they leave from.
        remote: where they go.
    """
    news = _news.get()
    first: KernelRoute | None = None
    sleeps = news.sleeps()

    def is_stranded() -> bool:
        nonlocal first
        if news.sleeps() != sleeps:
            return True
        try:
            route = find_route(remote, local)
        except OSError as error:
            return not is_out_of_resources(error)  # else it cannot be told now
        first = first or route
        return route != first

    await _wait_until(is_stranded)


async def _wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so that depends on addresses, links and routes."""
    await trio.lowlevel.checkpoint()
    with _news.get().subscribed() as news:
        while not is_so():
            await news.wait()


class _News:
    """News of changes, for all tasks of a Trio run that wait for some.

    One socket is enough for them, and needs no task: one of the waiting tasks reads it for all.
    """

    def __init__(self) -> None:
        self._told: RouteNews | None = None
        self._subscribers = 0
        self._routes: dict[int, KernelRoute | None] = {}  # the last ones that were found
        self._unchanged: set[int] = set()  # the versions of IP of which there is no news since
        self._sleeps = Sleeps(current_system().time_since_boot(), trio.current_time())
        self._waiting = trio.lowlevel.ParkingLot()
        self._has_reader = False

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
                self._told = None
                self._unchanged.clear()

    def network(self, ip_versions: tuple[int, ...]) -> Network:
        """The network that this host is in now."""
        if self._is_pending():
            self._unchanged.clear()
        for ip_version in ip_versions:
            if ip_version not in self._unchanged:
                known = self._routes.get(ip_version)
                self._routes[ip_version] = _look(_SOMEWHERE[ip_version], known)
                if self._told is not None and not self._is_pending():
                    self._unchanged.add(ip_version)
        routes = tuple(self._routes[ip_version] for ip_version in ip_versions)
        return Network(ip_versions, routes, self.sleeps())

    def sleeps(self) -> int:
        """How often the host was asleep."""
        self._look_at_clocks()
        return self._sleeps.count

    def _look_at_clocks(self) -> bool:
        return self._sleeps.look(current_system().time_since_boot(), trio.current_time())

    def _is_pending(self) -> bool:
        """Whether something may have changed that no task has read of yet."""
        return self._told is None or self._told.is_pending()

    async def wait(self) -> None:
        """Wait until something has changed, or may have."""
        if self._has_reader:
            await self._waiting.park()
            return
        self._has_reader = True
        try:
            await self._read()
        except trio.Cancelled:
            self._waiting.unpark()  # another task has to read now
            raise
        else:
            self._waiting.unpark_all()
        finally:
            self._has_reader = False

    async def _read(self) -> None:
        if self._told is None:
            await trio.sleep(POLLING_TIME)
            return
        before = self._sleeps.count
        while not self._told.is_pending():
            with trio.move_on_after(CLOCKS_TIME):
                await self._told.wait()
            if self.sleeps() != before:
                return
        await trio.sleep(SETTLING_TIME)
        self._told.drain()
        self._unchanged.clear()


def _look(remote: Endpoint, known: KernelRoute | None) -> KernelRoute | None:
    """The route to an endpoint: the known one if that still holds; None if there is none."""
    try:
        if known is not None and find_route(remote, known.source) == known:
            return known
    except OSError as error:
        if is_out_of_resources(error):
            return known  # it cannot be told now
    try:
        return find_route(remote)
    except OSError as error:
        return known if is_out_of_resources(error) else None


_news: Final = OfSystem("what is heard of the network", _News)

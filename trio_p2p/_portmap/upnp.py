"""How one local port is mapped by a router, in UPnP IGD, by the blocking library miniupnpc.

It runs in worker threads, which cannot be interrupted. Who is cancelled does not wait for them, as
a hostile router could keep them for as long as it likes. What such a thread maps after all, it
deletes by itself.
"""

from __future__ import annotations

import importlib
import random
import threading
from abc import abstractmethod
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from typing import Protocol, TypeVar, TypeVarTuple

import trio

from .._addresses import Endpoint
from .._net.gateway import local_address_towards
from .attempts import Grant, MappingFailedError, MappingOutcome, MappingProtocol

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SEARCH_TIME = 1.0  # seconds that routers get to answer the search
ANSWER_TIME = 10.0  # seconds, after which a router that is still being talked to counts as silent
DESCRIPTION = "trio_p2p"  # what users see in the router's list of mappings
SSDP = Endpoint(IPv4Address("239.255.255.250"), 1900)  # where routers are searched for
FREE_PORTS = range(49152, 65536)  # RFC 6335
PERMANENT = 0  # the lease of a mapping that does not end by itself: some routers know no other

_DICE = random.SystemRandom()


class Igd(Protocol):
    """What is used of :class:`miniupnpc.UPnP`. All of it raises bare exceptions."""

    lanaddr: str
    """This host's address towards the router."""

    @abstractmethod
    def discover(self) -> int:
        """Search for routers, and return how many there are."""

    @abstractmethod
    def selectigd(self) -> str:
        """Select the best of them, and return where it is controlled."""

    @abstractmethod
    def externalipaddress(self) -> str:
        """The address that the router says it has outside."""

    @abstractmethod
    def addportmapping(  # noqa: PLR0917 - it is miniupnpc's
        self,
        external_port: int,
        protocol: str,
        internal_address: str,
        internal_port: int,
        description: str,
        remote_host: str,
        lease: int,
        /,
    ) -> bool:
        """Map a port, or renew its mapping."""

    @abstractmethod
    def deleteportmapping(self, external_port: int, protocol: str, /) -> bool:
        """Delete a mapping."""


class UpnpMapper:
    """A :class:`~trio_p2p._portmap.mappers.Mapper` by UPnP IGD.

    Args:
        internal_port: the local TCP port.
    """

    protocol = MappingProtocol.UPNP

    def __init__(self, internal_port: int) -> None:
        self._internal_port = internal_port
        self._igd: Igd | None = None
        self._is_wanted = False
        self._lock = threading.Lock()  # held by the thread that talks to the router
        self._mapped: tuple[Igd, int] | None = None  # by that thread: where, and at which port

    async def map(self, lifetime: int, suggested: Endpoint | None) -> Grant:
        """See :meth:`.Mapper.map`; where only permanent mappings are known, it is one."""
        self._is_wanted = True
        port = self._internal_port if suggested is None else suggested.port
        external = await self._with_igd(self._add, port, lifetime)
        return Grant(external, lifetime)

    async def unmap(self) -> None:
        """See :meth:`.Mapper.unmap`."""
        self._is_wanted = False
        if self._mapped is not None or self._lock.locked():
            await _run_in_thread(self._delete_when_free)

    def forget(self) -> None:
        """See :meth:`.Mapper.forget`; only a thread that is still at it can see to that."""
        self._is_wanted = False

    async def external_address(self) -> IPv4Address:
        """See :meth:`.Mapper.external_address`; no mapping is needed."""
        return await self._with_igd(_external_address)

    def has_been_forgotten(self, _announcement: bytes, /) -> bool:
        """See :meth:`.Mapper.has_been_forgotten`; there are no such announcements."""
        return False

    async def _with_igd(self, function: Callable[[Igd, *Ts], T], *args: *Ts) -> T:
        """Call a function in a thread, with the router that is known, or else one searched for."""
        if self._igd is not None:
            try:
                return await _run_in_thread(function, self._igd, *args)
            except MappingFailedError:
                self._igd = None  # perhaps it is controlled from elsewhere since it restarted
        try:
            local_address = str(local_address_towards(SSDP))
        except OSError as error:
            raise _failure(MappingOutcome.UNREACHABLE, str(error)) from error
        self._igd = await _run_in_thread(_search, local_address)
        return await _run_in_thread(function, self._igd, *args)

    # From here on in threads

    def _add(self, igd: Igd, wanted_port: int, lifetime: int) -> Endpoint:
        with self._lock:
            address = _external_address(igd)
            port = self._add_somehow(igd, wanted_port, lifetime)
            # Another port than before: another host has that one now, and keeps it.
            self._mapped = igd, port
            if not self._is_wanted:
                self._delete()
            return Endpoint(address, port)

    def _add_somehow(self, igd: Igd, wanted_port: int, lifetime: int) -> int:
        """Add the mapping at the port that is wanted, or else at another one; return which."""
        refusal = ""
        for port in (wanted_port, _DICE.choice(FREE_PORTS)):
            for lease in (lifetime, PERMANENT):
                arguments = (igd.lanaddr, self._internal_port, DESCRIPTION, "", lease)
                try:
                    igd.addportmapping(port, "TCP", *arguments)
                except Exception as error:  # noqa: BLE001 - miniupnpc has none of its own
                    refusal = str(error)
                else:
                    return port
        raise _failure(MappingOutcome.REFUSED, refusal)

    def _delete_when_free(self) -> None:
        with self._lock:
            self._delete()

    def _delete(self) -> None:
        if self._mapped is not None:
            igd, port = self._mapped
            self._mapped = None
            _call(MappingOutcome.REFUSED, igd.deleteportmapping, port, "TCP")


def _search(local_address: str) -> Igd:
    try:
        miniupnpc = importlib.import_module("miniupnpc")
    except ImportError as error:
        raise _failure(MappingOutcome.NOT_INSTALLED) from error
    delay = int(SEARCH_TIME * 1000)
    igd: Igd = miniupnpc.UPnP(multicastif=local_address, discoverdelay=delay)
    try:
        igd.discover()
    except Exception as error:  # its text is "Success", as often as not
        raise _failure(MappingOutcome.ABSENT, "no router answered the search") from error
    _call(MappingOutcome.ABSENT, igd.selectigd)
    return igd


def _external_address(igd: Igd) -> IPv4Address:
    claimed = _call(MappingOutcome.REFUSED, igd.externalipaddress)
    try:
        address = IPv4Address(claimed)
    except AddressValueError as error:
        raise _failure(MappingOutcome.MALFORMED, str(error)) from error
    if address.is_unspecified:
        raise _failure(MappingOutcome.MALFORMED, "it has no external address")
    return address


def _call(outcome: MappingOutcome, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call something of miniupnpc, which raises bare exceptions."""
    try:
        return function(*args)
    except Exception as error:
        raise _failure(outcome, str(error)) from error


def _failure(outcome: MappingOutcome, detail: str = "") -> MappingFailedError:
    return MappingFailedError(MappingProtocol.UPNP, outcome, detail)


async def _run_in_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    with trio.move_on_after(ANSWER_TIME):
        return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
    raise _failure(MappingOutcome.SILENT)

"""Finds a broker of those that are known, from the network that this host is in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import trio

from .._addresses import Endpoint, Vantage
from .._errors import BrokerLostError, BrokerUnreachableError, LocalProtocolError, P2PError
from .._net.network_changes import cancel_when_network_changes, current_network
from .._net.nursery import open_background_nursery
from .._net.winner import Winner
from .connection import BrokerConnection
from .credentials import Credentials
from .crowd import Crowd
from .place import BrokerPlace, parse_broker_place
from .resolve import IP_VERSIONS, connect_to_broker, ip_versions_of, resolve_broker
from .staggered import first_connection
from .tls import BrokerTLS

MAX_NETWORKS = 5  # to look for the broker from, one after the other
# Seconds that a broker has to greet until the next one of the list is tried as well. All peers are
# to choose the same one, so this is longer than any round trips take.
SPARE_TIME = 3.0
MAX_REMEMBERED = 64  # endpoints at which brokers were found


logger = logging.getLogger("trio_p2p.broker_client")


@attrs.frozen(eq=False)
class KnownBroker:
    """A broker that may be used.

    Attributes:
        place: where it is.
        tls: to speak TLS with it.
        vantage: of this host towards the broker that has named this one; None if the user has.
    """

    place: BrokerPlace
    tls: BrokerTLS | None
    vantage: Vantage | None = None


def _no_tls(_place: BrokerPlace) -> None:
    """What speaks TLS where no broker does."""


class BrokerFinder:
    """Knows brokers by name, and connects to the first one that answers.

    Args:
        places: where the brokers are, the best first.
        credentials: by what right they are used.
        tls_for: gives what speaks TLS with a broker, if it does.
    """

    def __init__(
        self,
        places: Sequence[BrokerPlace],
        credentials: Credentials | None = None,
        tls_for: Callable[[BrokerPlace], BrokerTLS | None] = _no_tls,
    ) -> None:
        self._brokers = tuple(KnownBroker(place, tls_for(place)) for place in places)
        self._credentials = credentials
        self._tls_for = tls_for
        self._crowd = Crowd()
        self._moved_to: dict[int, tuple[KnownBroker, ...]] = {}  # by versions of IP
        self._found: dict[Endpoint, KnownBroker] = {}

    @property
    def ip_versions(self) -> Sequence[int]:
        """By which versions of IP any of the brokers may be reached."""
        found = {version for each in self._brokers for version in ip_versions_of(each.place.host)}
        return [version for version in IP_VERSIONS if version in found]

    def move_to_untrusted(self, names: Sequence[str], remote: Endpoint, vantage: Vantage) -> bool:
        """Look for these brokers first, as long as one of them answers.

        Args:
            names: what a broker has said of where others are. One that speaks TLS may not have its
                clients go on without.
            remote: where that broker was found.
            vantage: of this host towards it: it may not have its clients connect to any address.

        Returns:
            Whether there is anything to look for.
        """
        is_encrypted = self._at(remote).place.is_encrypted
        named: list[KnownBroker] = []
        for name in names:
            try:
                place = parse_broker_place(name)
            except LocalProtocolError as error:
                logger.info("the broker at %s has named another one: %s", remote, error)
                continue
            if is_encrypted and not place.is_encrypted:
                logger.info("the broker at %s has named %s, which has no tls://", remote, name)
                continue
            named.append(KnownBroker(place, self._tls_for(place), vantage))
        if named:
            self._moved_to[remote.address.version] = tuple(named)
        return bool(named)

    def is_spare(self, endpoint: Endpoint) -> bool:
        """Whether the broker at an endpoint is not the first one of the list."""
        return self._rank(endpoint) > 0

    def _at(self, endpoint: Endpoint) -> KnownBroker:
        """The broker that was found at an endpoint."""
        return self._found.get(endpoint, self._brokers[0])

    def _rank(self, endpoint: Endpoint) -> int:
        """How many brokers of the list stand before that at an endpoint: all if it is not there."""
        places = [each.place for each in self._brokers]
        found = self._at(endpoint).place
        return places.index(found) if found in places else len(places)

    async def is_better_there(self, endpoint: Endpoint, ip_version: int) -> bool:
        """Whether a broker greets that stands before that at an endpoint."""
        for broker in self._brokers[: self._rank(endpoint)]:
            try:
                connection = await self._connect_to(broker, (), ip_version, greets=True)
            except (OSError, P2PError):
                continue
            connection.close()
            self._moved_to.pop(ip_version, None)
            return True
        return False

    async def find(
        self, capabilities: Sequence[str], ip_version: int | None = None
    ) -> BrokerConnection:
        """A connection to a broker, as :func:`connect_to_broker`, from the network we are in.

        If that changes meanwhile, the broker is looked for from the next one.

        Args:
            capabilities: what to greet it with.
            ip_version: 4 or 6 if it is to be reached by that only.

        Raises:
            BrokerUnreachableError: none answers, or this host changes networks all the time.
            P2PError: what answers is no broker of this version.
        """
        for _ in range(MAX_NETWORKS):
            connection = await self._find_from_here(capabilities, ip_version)
            if connection is not None:
                return connection
        raise BrokerUnreachableError(
            f"this host has changed networks {MAX_NETWORKS} times while it connected to "
            f"{self._brokers[0].place.host}: try again when its network is steady"
        )

    async def connect_to(self, endpoint: Endpoint, capabilities: Sequence[str]) -> BrokerConnection:
        """One more connection to a broker, which was found at an endpoint before.

        It is for what the broker has asked for, which takes no credentials.

        Args:
            endpoint: where it was found.
            capabilities: what to greet it with.

        Raises:
            P2PError: as :func:`connect_to_broker`.
        """
        return await connect_to_broker([endpoint], capabilities, tls=self._at(endpoint).tls)

    async def _find_from_here(
        self, capabilities: Sequence[str], ip_version: int | None
    ) -> BrokerConnection | None:
        """A connection to a broker; None if this host has changed networks meanwhile."""
        network = current_network() if ip_version is None else current_network(ip_version)
        with Winner(BrokerConnection.close) as winner:
            async with open_background_nursery() as nursery:
                with trio.CancelScope() as scope:
                    nursery.start_soon(cancel_when_network_changes, scope, network)
                    moved = await self._find_moved(capabilities, ip_version)
                    if moved is not None:
                        winner.offer(moved)
                        return moved
                    winner.offer(await self._find_listed(capabilities, ip_version))
        return winner.found

    async def _find_listed(
        self, capabilities: Sequence[str], ip_version: int | None
    ) -> BrokerConnection:
        """A connection to the first broker of the list that answers."""
        is_proof_wanted = self._credentials is not None and self._credentials.is_proof_wanted
        async with self._crowd.joined() as is_crowded:
            if len(self._brokers) == 1:
                return await self._connect_to(
                    self._brokers[0],
                    capabilities,
                    ip_version,
                    greets=is_crowded or is_proof_wanted,
                )
            found, errors = await self._find_first(self._brokers, capabilities, ip_version)
        if found is None:
            raise _none_of(errors)
        return found

    async def _find_first(
        self, brokers: Sequence[KnownBroker], capabilities: Sequence[str], ip_version: int | None
    ) -> tuple[BrokerConnection | None, list[OSError | P2PError]]:
        return await first_connection(
            [
                partial(self._connect_to, each, capabilities, ip_version, greets=True)
                for each in brokers
            ],
            SPARE_TIME,
        )

    async def _connect_to(
        self,
        broker: KnownBroker,
        capabilities: Sequence[str],
        ip_version: int | None,
        *,
        greets: bool,
    ) -> BrokerConnection:
        endpoints = await resolve_broker(broker.place.address, ip_version)
        if broker.vantage is not None:
            endpoints = list(filter(broker.vantage.may_dial_untrusted, endpoints))
        if not endpoints:
            raise BrokerUnreachableError(
                f"{broker.place.host}:{broker.place.port} is not where a broker may send clients to"
            )
        connection = await connect_to_broker(
            endpoints,
            capabilities,
            greets=greets,
            credentials=self._credentials,
            tls=broker.tls,
        )
        self._found.pop(connection.remote, None)
        self._found[connection.remote] = broker
        while len(self._found) > MAX_REMEMBERED:
            del self._found[next(iter(self._found))]
        return connection

    async def _find_moved(
        self, capabilities: Sequence[str], ip_version: int | None
    ) -> BrokerConnection | None:
        """A connection to another broker that the last one has named, if one answers."""
        versions = IP_VERSIONS if ip_version is None else (ip_version,)
        for version in versions:
            moved = self._moved_to.get(version)
            if moved is None:
                continue
            found, errors = await self._find_first(moved, capabilities, version)
            if found is not None:
                return found
            logger.info("no broker is where clients were sent: %s", "; ".join(map(str, errors)))
            if self._moved_to.get(version) is moved:  # they may have been sent elsewhere meanwhile
                del self._moved_to[version]
        return None


def _none_of(errors: Sequence[OSError | P2PError]) -> P2PError:
    """What tells most of why none of several brokers can be used."""
    for error in errors:
        if isinstance(error, P2PError) and not isinstance(
            error, (BrokerUnreachableError, BrokerLostError)
        ):
            return error
    failure = BrokerUnreachableError(
        f"none of {len(errors)} brokers answers: {'; '.join(map(str, errors))}"
    )
    failure.__cause__ = ExceptionGroup("one error for each broker", list(errors))
    return failure

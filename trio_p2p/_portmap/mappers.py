"""How one local port is mapped by a router, in PCP and in NAT-PMP."""

from __future__ import annotations

import random
import secrets
from abc import abstractmethod
from ipaddress import IPv4Address
from typing import Protocol

import trio

from .._addresses import Endpoint, IPAddress
from .._errors import RemoteProtocolError
from .._net.gateway import local_address_towards
from . import nat_pmp, pcp
from .attempts import Grant, MappingFailedError, MappingOutcome, MappingProtocol
from .timers import Epoch, nat_pmp_waits, pcp_waits
from .udp_exchange import ask_router, tell_router

_JITTER = random.SystemRandom()  # without a state: processes that fork are not in step


class Mapper(Protocol):
    """Asks one router in one protocol to map one local TCP port."""

    @property
    @abstractmethod
    def protocol(self) -> MappingProtocol:
        """The protocol that it asks in."""

    @abstractmethod
    async def map(self, lifetime: int, suggested: Endpoint | None) -> Grant:
        """Map the port, or renew its mapping.

        If it fails or is cancelled, the router may have mapped the port even so: unmap it.

        Args:
            lifetime: for how many seconds; the router may grant another time.
            suggested: the external endpoint that is wanted; the router may give another one.

        Raises:
            MappingFailedError: the router did not do it, or did not say so.
        """

    @abstractmethod
    async def unmap(self) -> None:
        """Delete the mapping, if there may be one.

        Raises:
            MappingFailedError: the router did not do it, or did not say so.
        """

    @abstractmethod
    def forget(self) -> None:
        """Delete the mapping, if there may be one, without waiting."""

    @abstractmethod
    async def external_address(self) -> IPAddress:
        """The address that the router says it has outside.

        It may take a mapping to learn it: unmap it.

        Raises:
            MappingFailedError: the router did not say.
        """

    @abstractmethod
    def has_been_forgotten(self, announcement: bytes, /) -> bool:
        """Whether an announcement says that the router has lost the mapping, or its address.

        Args:
            announcement: what the router sent to all hosts, in this protocol or another one.
        """


class PcpMapper:
    """A :class:`Mapper` by PCP.

    Args:
        server: the router's PCP server, by IPv4.
        internal_port: the local TCP port.
    """

    protocol = MappingProtocol.PCP

    def __init__(self, server: Endpoint, internal_port: int) -> None:
        self._server = server
        self._internal_port = internal_port
        self._nonce = secrets.token_bytes(pcp.NONCE_BYTES)
        self._may_be_mapped = False
        self._epoch: Epoch | None = None

    async def map(self, lifetime: int, suggested: Endpoint | None) -> Grant:
        """See :meth:`Mapper.map`."""
        # Some routers refuse to choose a port.
        suggested = suggested or Endpoint(IPv4Address(0), self._internal_port)
        request = self._request(lifetime, suggested)
        self._may_be_mapped = True
        response = await self._ask(request)
        assert response.external is not None
        return Grant(response.external, response.lifetime)

    async def unmap(self) -> None:
        """See :meth:`Mapper.unmap`."""
        if self._may_be_mapped:
            await self._ask(self._request(0))
            self._may_be_mapped = False

    def forget(self) -> None:
        """See :meth:`Mapper.forget`."""
        if self._may_be_mapped:
            self._may_be_mapped = False
            tell_router(self._server, self._request(0).encode())

    async def external_address(self) -> IPAddress:
        """See :meth:`Mapper.external_address`; a short mapping is the way (RFC 6887, 11.6)."""
        return (await self.map(pcp.MIN_LIFETIME, None)).external.address

    def has_been_forgotten(self, announcement: bytes, /) -> bool:
        """See :meth:`Mapper.has_been_forgotten`."""
        try:
            epoch = pcp.read_announcement_untrusted(announcement)
        except RemoteProtocolError:
            return False
        return _has_restarted(self._epoch, epoch)

    def _request(self, lifetime: int, suggested: Endpoint | None = None) -> pcp.MapRequest:
        try:
            client = local_address_towards(self._server)
        except OSError as error:
            raise MappingFailedError(
                self.protocol, MappingOutcome.UNREACHABLE, str(error)
            ) from error
        assert isinstance(client, IPv4Address)
        return pcp.MapRequest(self._nonce, client, self._internal_port, lifetime, suggested)

    async def _ask(self, request: pcp.MapRequest) -> pcp.MapResponse:
        response = await ask_router(
            self.protocol,
            self._server,
            request.encode(),
            pcp_waits(_JITTER.random),
            lambda data: pcp.read_map_response_untrusted(data, request),
        )
        match response.result:
            case pcp.PcpResult.SUCCESS:
                self._epoch = Epoch(response.epoch, trio.current_time())
                return response
            case pcp.PcpResult.UNSUPP_VERSION:
                raise MappingFailedError(self.protocol, MappingOutcome.UNSUPPORTED_VERSION)
            case result:
                name = pcp.name_of(result)
                raise MappingFailedError(self.protocol, MappingOutcome.REFUSED, name)


class NatPmpMapper:
    """A :class:`Mapper` by NAT-PMP.

    Args:
        server: the router's NAT-PMP server.
        internal_port: the local TCP port.
    """

    protocol = MappingProtocol.NAT_PMP

    def __init__(self, server: Endpoint, internal_port: int) -> None:
        self._server = server
        self._internal_port = internal_port
        self._may_be_mapped = False
        self._epoch: Epoch | None = None
        self._address: IPv4Address | None = None

    async def map(self, lifetime: int, suggested: Endpoint | None) -> Grant:
        """See :meth:`Mapper.map`."""
        address = await self.external_address()
        # Some routers refuse to choose a port, RouterOS among them.
        port = self._internal_port if suggested is None else suggested.port
        request = nat_pmp.MapRequest(self._internal_port, lifetime, port)
        self._may_be_mapped = True
        response = await self._ask_for_mapping(request)
        return Grant(Endpoint(address, response.external_port), response.lifetime)

    async def unmap(self) -> None:
        """See :meth:`Mapper.unmap`."""
        if self._may_be_mapped:
            await self._ask_for_mapping(nat_pmp.MapRequest(self._internal_port, 0))
            self._may_be_mapped = False

    def forget(self) -> None:
        """See :meth:`Mapper.forget`."""
        if self._may_be_mapped:
            self._may_be_mapped = False
            tell_router(self._server, nat_pmp.MapRequest(self._internal_port, 0).encode())

    async def external_address(self) -> IPv4Address:
        """See :meth:`Mapper.external_address`; no mapping is needed."""
        response = await ask_router(
            self.protocol,
            self._server,
            nat_pmp.EXTERNAL_ADDRESS_REQUEST,
            nat_pmp_waits(),
            nat_pmp.read_address_response_untrusted,
        )
        self._check(response)
        assert response.address is not None
        self._address = response.address
        return response.address

    def has_been_forgotten(self, announcement: bytes, /) -> bool:
        """See :meth:`Mapper.has_been_forgotten`."""
        try:
            response = nat_pmp.read_address_response_untrusted(announcement)
        except RemoteProtocolError:
            return False
        if response.result != nat_pmp.NatPmpResult.SUCCESS:
            return False
        return response.address != self._address or _has_restarted(self._epoch, response.epoch)

    async def _ask_for_mapping(self, request: nat_pmp.MapRequest) -> nat_pmp.MapResponse:
        response = await ask_router(
            self.protocol,
            self._server,
            request.encode(),
            nat_pmp_waits(),
            lambda data: nat_pmp.read_map_response_untrusted(data, request),
        )
        self._check(response)
        return response

    def _check(self, response: nat_pmp.AddressResponse | nat_pmp.MapResponse) -> None:
        match response.result:
            case nat_pmp.NatPmpResult.SUCCESS:
                self._epoch = Epoch(response.epoch, trio.current_time())
            case nat_pmp.NatPmpResult.UNSUPPORTED_VERSION:
                raise MappingFailedError(self.protocol, MappingOutcome.UNSUPPORTED_VERSION)
            case result:
                name = nat_pmp.name_of(result)
                raise MappingFailedError(self.protocol, MappingOutcome.REFUSED, name)


def _has_restarted(known: Epoch | None, epoch: int) -> bool:
    return known is not None and not known.is_continued_by(Epoch(epoch, trio.current_time()))

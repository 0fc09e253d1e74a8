"""The UIDs that a peer is registered under, each by one listener or by several."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from .._control.controls import Controls
from .._errors import LocalProtocolError
from .._options import direct_techniques
from .._wire.messages import StreamKind
from .acceptor import Acceptor, RawAcceptor
from .introductions import Introductions
from .registration import Registration
from .service import RawService, Service, StreamService
from .sessions import Sessions


@attrs.frozen(eq=False)
class Name:
    """A UID, registered as long as any listener needs it.

    Attributes:
        registration: keeps it registered.
        introductions: what is made of the senders that the broker tells of.
        acceptor: what is made of their connections; None if they are raw.
        services: what the listeners offer, by protocol.
    """

    registration: Registration
    introductions: Introductions
    acceptor: Acceptor | None
    services: dict[str, Service[Any]] = attrs.field(factory=dict[str, Service[Any]])

    async def run(self) -> None:
        """Stay registered until cancelled, or until the broker does not want us any more."""
        try:
            await self.registration.run()
        finally:
            self.introductions.end()
            for service in self.services.values():
                service.end()

    def retire_if_drained(self) -> None:
        """Let peers know if no listener takes new streams any more."""
        if self.acceptor is not None:
            self.acceptor.retire_if_drained()

    def give_up(self, protocol: str, service: Service[Any]) -> None:
        """Forget the service of a protocol; the UID is given back with the last one."""
        if self.services.get(protocol) is not service:
            return
        self.retire_if_drained()
        del self.services[protocol]
        if self.acceptor is not None:
            del self.acceptor.services[protocol]
        if not self.services:
            self.registration.scope.cancel(reason="no listener needs the UID any more")


class Names:
    """The UIDs of a peer.

    Args:
        controls: the connections to the broker.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._sessions = Sessions(controls)
        self._names: dict[str, Name] = {}
        self._acceptors: dict[str, Acceptor] = {}

    @property
    def uids(self) -> frozenset[str]:
        """All UIDs that the peer is registered under."""
        return frozenset(self._names)

    @asynccontextmanager
    async def offering(
        self, uid: str, protocol: str, service: StreamService
    ) -> AsyncGenerator[Name]:
        """Be registered under a UID while a block lasts, and take streams of one protocol.

        Raises:
            LocalProtocolError: the peer does so already.
            P2PError: the broker does not register the UID.
        """
        name = self._names.get(uid)
        if name is None or not name.services:
            name = self._begin_streams(uid)
        if name.acceptor is None or protocol in name.services:
            raise LocalProtocolError(_taken(uid, protocol))
        name.acceptor.services[protocol] = service
        async with self._held(uid, name, protocol, service):
            yield name

    @asynccontextmanager
    async def offering_raw(self, uid: str, service: RawService) -> AsyncGenerator[Name]:
        """Be registered under a UID while a block lasts, and take bare connections.

        Raises:
            LocalProtocolError: the peer listens under the UID already.
            P2PError: the broker does not register the UID.
        """
        if uid in self._names and self._names[uid].services:
            raise LocalProtocolError(_taken(uid, ""))
        options = self._controls.options
        introductions = Introductions(
            uid,
            direct_techniques(options.techniques),
            RawAcceptor(service),
            self._controls,
            admit=None,
        )
        name = self._begin(uid, StreamKind.RAW, introductions, None)
        async with self._held(uid, name, "", service):
            yield name

    @asynccontextmanager
    async def _held(
        self, uid: str, name: Name, protocol: str, service: Service[Any]
    ) -> AsyncGenerator[None]:
        name.services[protocol] = service
        try:
            await name.registration.wait_registered()
            yield
        finally:
            service.stop()
            name.give_up(protocol, service)
            if not name.services and self._names.get(uid) is name:
                del self._names[uid]
                self._acceptors.pop(uid, None)

    def _begin_streams(self, uid: str) -> Name:
        options = self._controls.options
        acceptor = Acceptor(uid, self._sessions, self._acceptors)
        self._acceptors[uid] = acceptor
        introductions = Introductions(
            uid,
            options.techniques,
            acceptor,
            self._controls,
            admit=acceptor.admits,
        )
        return self._begin(uid, StreamKind.SESSION, introductions, acceptor)

    def _begin(
        self, uid: str, kind: StreamKind, introductions: Introductions, acceptor: Acceptor | None
    ) -> Name:
        registration = Registration(uid, kind, self._controls, introductions)
        name = Name(registration, introductions, acceptor)
        self._names[uid] = name
        self._controls.connections.nursery.start_soon(name.run)
        return name


def _taken(uid: str, protocol: str) -> str:
    what = f" for the protocol {protocol!r}" if protocol else ""
    return (
        f"this peer listens under {uid!r}{what} already: leave that listener's context first, or "
        "choose another UID or protocol"
    )

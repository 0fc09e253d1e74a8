"""``trio-p2p expose``: TCP services that peers reach through NATs."""

from __future__ import annotations

import argparse
import logging
from functools import partial

import trio

from .._broker.descriptors import Descriptors
from .._net.log_limit import RepeatedLine
from .._net.system import current_system
from .._stream.p2p_stream import P2PStream
from .._wire.uids import parse_uid
from .admission import open_admission
from .answering import serve_answers
from .arguments import checked_by
from .joint import join
from .peer_options import open_peer_as_told
from .resets import Resets
from .run import UsageError, tell_user
from .service_list import SERVICES, tell_services
from .services import Service, name_of_service, parse_service

logger = logging.getLogger("trio_p2p.expose")

CONNECT_TIME = 20.0  # seconds; most systems give a SYN some 20 to 130 s until they give it up


def add_expose_command(parser: argparse.ArgumentParser) -> None:
    """Describe the command to its parser."""
    parser.description = (
        "Lets peers reach TCP services, until it is interrupted. The other side runs `trio-p2p "
        "forward`."
    )
    parser.add_argument(
        "uid",
        metavar="UID",
        type=checked_by(parse_uid),
        help="what the two peers agreed on; with --code it is left out",
    )
    parser.add_argument(
        "services",
        metavar="[NAME=][HOST:]PORT",
        nargs="*",
        type=checked_by(parse_service),
        help="where a service listens, here if no HOST is named",
    )
    parser.set_defaults(raw=False)


async def expose(options: argparse.Namespace) -> None:
    """Let peers reach services until cancelled."""
    services: list[Service] = options.services
    if options.code:  # then what stands in the place of the UID is a service
        services = [parse_service(options.uid), *services]
        options.uid = None
    if not services:
        raise UsageError("which services? Give a PORT or HOST:PORT for each behind the UID")
    if len({service.name for service in services}) < len(services):
        raise UsageError("two services have the same name: put another NAME= in front of one")
    current_system().raise_descriptor_limit()
    async with (
        open_peer_as_told(options) as peer,
        open_admission(peer, options) as admission,
        trio.open_nursery() as nursery,
    ):
        uid, admit = admission.uid, admission.admit
        resets, descriptors = Resets(), Descriptors(current_system())
        nursery.start_soon(resets.run)
        if admit is not None:  # others have no right to this host's time and traffic
            await nursery.start(serve_answers, peer, uid, admit)
        tell = partial(tell_services, [service.name for service in services])
        # The first one, as what waits for the UID asks at once.
        await nursery.start(partial(peer.serve, uid, tell, protocol=SERVICES, admit=admit))
        for service in services:
            exposed = _ExposedService(service, resets, descriptors)
            await nursery.start(
                partial(peer.serve, uid, exposed.handle, protocol=service.name, admit=admit)
            )
            name = name_of_service(uid, service.name)
            whom = admission.whom if admit else "every peer that knows the UID"
            tell_user(f"exposing {service} as {name} to {whom}; we are {peer.peer_id}")
        if admission.is_by_code:
            admission.tell_command("forward PORT")


class _ExposedService:
    """Joins the streams of peers with connections to a service."""

    def __init__(self, service: Service, resets: Resets, descriptors: Descriptors) -> None:
        self._service = service
        self._resets = resets
        self._descriptors = descriptors
        self._failures = RepeatedLine(logger, logging.WARNING)

    async def handle(self, stream: P2PStream) -> None:
        """Join a stream until it ends."""
        self._descriptors.in_use += 1
        try:
            connection = await self._connect()
            if connection is None:
                stream.abort("the service behind it does not answer")
            elif why_broken := await join(connection, stream, self._resets):
                logger.debug("the connection of %s has ended: %s", stream.peer_id, why_broken)
        finally:
            self._descriptors.in_use -= 1

    async def _connect(self) -> trio.SocketStream | None:
        """A connection to the service; if there is none, a line of the log says so."""
        service = self._service
        reason: object = f"silent for {CONNECT_TIME:g} s"
        if self._descriptors.are_spent:
            reason = "this program has too many files open"
        else:
            try:
                with trio.move_on_after(CONNECT_TIME):
                    return await trio.open_tcp_stream(service.host, service.port)
            except (OSError, UnicodeError) as error:
                reason = error
        now = trio.current_time()
        self._failures.say(now, "no connection to the service at %s: %s", service, reason)
        return None

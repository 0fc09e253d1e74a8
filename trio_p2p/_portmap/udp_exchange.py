"""Asks a router by UDP: sends a request again and again until the answer to it comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

import trio

from .._addresses import Endpoint
from .._errors import RemoteProtocolError
from .._net.gateway import open_connected_datagram_socket, send_datagram_at_once
from .attempts import MappingFailedError, MappingOutcome, MappingProtocol
from .pcp import MAX_MESSAGE_BYTES

logger = logging.getLogger("trio_p2p.nat")

T = TypeVar("T")


async def ask_router(
    protocol: MappingProtocol,
    server: Endpoint,
    request: bytes,
    waits: Iterable[float],
    read_untrusted: Callable[[bytes], T],
) -> T:
    """Send a request, and return the first answer that fits.

    Each exchange has a socket of its own, so that late answers to an earlier one do not count and
    a forger of answers has to guess the port.

    Args:
        protocol: for the error.
        server: the router; what others send is not even seen.
        request: what to send.
        waits: how many seconds to wait for the answer after each time that it is sent.
        read_untrusted: reads what may be the answer; raises RemoteProtocolError if it is not.

    Raises:
        MappingFailedError: no answer came, nor will one.
    """
    complaint = ""
    try:
        with open_connected_datagram_socket(server) as sock:
            for wait in waits:
                with trio.move_on_after(wait):
                    await sock.send(request)
                    while True:
                        # One byte more than is allowed, so that what is too long shows.
                        data = await sock.recv(MAX_MESSAGE_BYTES + 1)
                        try:
                            return read_untrusted(data)
                        except RemoteProtocolError as error:
                            complaint = str(error)
                            logger.debug("%s response from %s ignored: %s", protocol, server, error)
    except ConnectionRefusedError as error:
        raise MappingFailedError(protocol, MappingOutcome.ABSENT) from error
    except OSError as error:
        raise MappingFailedError(protocol, MappingOutcome.UNREACHABLE, str(error)) from error
    if complaint:
        raise MappingFailedError(protocol, MappingOutcome.MALFORMED, complaint)
    raise MappingFailedError(protocol, MappingOutcome.SILENT)


def tell_router(server: Endpoint, message: bytes) -> None:
    """Send a message that need not arrive."""
    try:
        send_datagram_at_once(server, message)
    except OSError as error:
        logger.debug("request to router %s not sent: %s", server, error)

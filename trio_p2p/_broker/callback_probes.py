"""Connects to a client that wants to know whether its NAT lets strangers in."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from .._addresses import Endpoint, IPAddress
from .._attempt import Outcome
from .._net.os_errors import is_out_of_resources, outcome_of
from .._net.sockets import adopt, local_endpoint, open_bound_socket, send_at_once
from .._wire.codec import encode
from .._wire.messages import Called, CalledBack, CallSource

# Seconds that a call may take: less than until the first retransmission of a SYN (RFC 6298), so
# that one SYN leaves for each. If it is lost, then a NAT seems to let in fewer than it does.
CALL_TIME = 0.95


async def call_back(
    stream: trio.abc.Stream,
    endpoint: Endpoint,
    challenge: bytes,
    addresses: Iterable[IPAddress],
) -> CalledBack:
    """Connect to a client's endpoint, say who calls, and hang up.

    Args:
        stream: the connection over which it asks for that.
        endpoint: where that connection comes from. No other is ever called.
        challenge: what the client was told on that connection.
        addresses: where the broker is found besides. The first of them that belongs to this host
            is the other address that it calls from.

    If cancelled, nothing is left of the calls.
    """
    if not isinstance(stream, trio.SocketStream):
        return CalledBack()
    try:
        own = local_endpoint(stream.socket).address
    except OSError:  # the client is gone already
        return CalledBack()
    others = [each for each in addresses if each.version == own.version and each != own]
    outcomes: dict[CallSource, Outcome | None] = {}

    async def call(source: CallSource, addresses: Iterable[IPAddress]) -> None:
        outcomes[source] = await _call_from(addresses, endpoint, Called(challenge, source))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, CallSource.SAME_ADDRESS, [own])
        nursery.start_soon(call, CallSource.OTHER_ADDRESS, others)
    return CalledBack(outcomes[CallSource.SAME_ADDRESS], outcomes[CallSource.OTHER_ADDRESS])


async def _call_from(
    addresses: Iterable[IPAddress], endpoint: Endpoint, message: Called
) -> Outcome | None:
    """What came of a call from the first address that is ours; None if none is."""
    for address in addresses:
        try:
            sock = open_bound_socket(endpoint.family, source=address)
        except OSError as error:
            if is_out_of_resources(error):
                break
            continue  # the address is not ours
        with adopt(sock) as adopted:
            return await _call(adopted, endpoint, message)
    return None


async def _call(sock: trio.socket.SocketType, endpoint: Endpoint, message: Called) -> Outcome:
    with trio.move_on_after(CALL_TIME):
        try:
            await sock.connect(endpoint.sockaddr)
            send_at_once(sock, encode(message))
        except OSError as error:
            return outcome_of(error)
        return Outcome.CONNECTED
    return Outcome.SILENT

"""The twelve steps as they were first written, to compare with: connect, close, then listen.

Behind a default Linux NAT they never connect, so this runs between hosts without any. There the
sender's host answers the punching SYN with a reset, and step 7, "it fails", takes no longer than a
round trip. Every message is sent at the first moment that the steps allow.
"""

import socket
from contextlib import suppress
from ipaddress import ip_address

import trio

from trio_p2p._addresses import Endpoint
from trio_p2p._broker_client.connection import BrokerConnection
from trio_p2p._broker_client.resolve import connect_to_broker
from trio_p2p._identity.identity import Identity
from trio_p2p._net.sockets import listen_on, start_connecting, wait_connected
from trio_p2p._wire.messages import (
    INSTANCE_BYTES,
    Acknowledge,
    ConnectionRequest,
    HolePunched,
    IntroductionRequest,
    ReceiverEndpoint,
    Register,
    Registered,
    SenderEndpoint,
    StreamKind,
)

from .echo_peers import introduce
from .roles import play

UID = "as written"
IDENTITY = Identity.generate()


async def receive(_host: str, broker: str, *, task_status: trio.TaskStatus[str]) -> None:
    """Register, and go through steps 3 to 9 for one sender after the other."""
    endpoint = parse_endpoint(broker)
    async with await _connect(endpoint) as registration:
        challenge = await registration.receive_challenge()
        signature = IDENTITY.sign_registration(challenge, endpoint, UID)
        await registration.send(
            Register(
                0,
                UID,
                StreamKind.RAW,
                bytes(INSTANCE_BYTES),
                endpoint,
                IDENTITY.certificate,
                signature,
            )
        )
        assert isinstance(await registration.receive(), Registered)
        task_status.started(UID)
        while True:
            request = await registration.receive()
            assert isinstance(request, ConnectionRequest)
            async with await _connect(endpoint) as connection:
                port = connection.local.port
                await connection.send(Acknowledge(request.introduction))
                sender = await connection.receive()
                assert isinstance(sender, SenderEndpoint)
            await _punch(sender.endpoint, port)
            with listen_on(socket.AF_INET, port) as listening:
                async with await _connect(endpoint) as connection:
                    await connection.send(HolePunched(request.introduction))
                accepted, _ = await listening.accept()
                accepted.close()


async def _punch(sender: Endpoint, port: int) -> None:
    """Steps 6 and 7: connect, and wait until that fails."""
    with start_connecting(sender, port) as sock, suppress(OSError):
        await wait_connected(sock)


async def seconds_to_connect(_host: str, broker: str, uid: str) -> float:
    """Steps 1, 11 and 12; how long until the sender is connected to the receiver."""
    started_at = trio.current_time()
    async with await _connect(parse_endpoint(broker)) as connection:
        port = connection.local.port
        await connection.send(
            IntroductionRequest(0, uid, "classic", StreamKind.RAW, IDENTITY.certificate)
        )
        receiver = await connection.receive()
        assert isinstance(receiver, ReceiverEndpoint)
    with start_connecting(receiver.endpoint, port) as sock:
        await wait_connected(sock)
        return trio.current_time() - started_at


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint that a broker has printed."""
    host, _, port = text.rpartition(":")
    return Endpoint(ip_address(host), int(port))


async def _connect(broker: Endpoint) -> BrokerConnection:
    return await connect_to_broker([broker], ["classic"])


if __name__ == "__main__":
    play(introduce, receive, seconds_to_connect)

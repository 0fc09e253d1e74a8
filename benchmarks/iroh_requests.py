"""Requests over iroh's Python binding, each on a bidirectional QUIC stream of one connection.

The binding is for asyncio, and QUIC runs in threads of its own, whose CPU time counts, too. No
relay, no discovery: the client is given the server's address.
"""

import asyncio  # noqa: TID251 - the binding knows no other
import sys

import iroh

from .request_programs import ANSWER, REQUEST, STREAMS, Order, check_answer

_ALPN = b"trio_p2p/requests"
_MAX_BYTES = 1_000


async def _open_endpoint(host: str) -> iroh.Endpoint:
    return await iroh.Endpoint.bind(
        iroh.EndpointOptions(
            preset=iroh.preset_minimal(),
            bind_addr=f"{host}:0",
            alpns=[_ALPN],
            relay_mode=iroh.RelayMode.disabled(),
        )
    )


async def _serve(host: str) -> None:
    """Print the server's id and address, and answer one client until it has gone."""
    endpoint = await _open_endpoint(host)
    print(endpoint.id(), endpoint.bound_sockets()[0], flush=True)
    incoming = await endpoint.accept_next()
    assert incoming is not None
    connection = await (await incoming.accept()).connect()
    connection.set_max_concurrent_bi_streams(STREAMS)
    answering: set[asyncio.Task[None]] = set()
    while connection.close_reason() is None:
        try:
            stream = await connection.accept_bi()
        except iroh.IrohError:
            break
        task = asyncio.create_task(_answer(stream))
        answering.add(task)
        task.add_done_callback(answering.discard)
    await endpoint.close()


async def _answer(stream: iroh.BiStream) -> None:
    await stream.recv().read_to_end(_MAX_BYTES)
    sending = stream.send()
    await sending.write_all(ANSWER)
    await sending.finish()


async def _ask_as_told(server: str, address: str) -> None:
    host, _, _ = address.rpartition(":")
    endpoint = await _open_endpoint(host)
    target = iroh.EndpointAddr(iroh.EndpointId.from_string(server), None, [address])
    connection = await endpoint.connect(target, _ALPN)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await _follow(Order.parse(line), connection)
        print(flush=True)
    connection.close(0, b"all requests are made")
    await endpoint.close()


async def _follow(order: Order, connection: iroh.Connection) -> None:
    if order.at_once == 1:
        for _ in range(order.requests):
            await _ask(connection)
        return
    for _ in range(order.requests // order.at_once):
        await asyncio.gather(*(_ask(connection) for _ in range(order.at_once)))


async def _ask(connection: iroh.Connection) -> None:
    stream = await connection.open_bi()
    sending = stream.send()
    await sending.write_all(REQUEST)
    await sending.finish()
    check_answer(len(await stream.recv().read_to_end(_MAX_BYTES)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server", host]:
            asyncio.run(_serve(host))
        case ["client", address]:
            asyncio.run(_ask_as_told(*address.split()))

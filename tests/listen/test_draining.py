"""Servers that stop accepting, and let what they serve finish."""

import trio

from trio_p2p import P2PStream, open_p2p_listener, open_peer

from ..kit.loopback import open_broker


async def test_running_handlers_finish_after_the_listener_is_closed() -> None:
    may_finish, is_served = trio.Event(), trio.Event()

    async def answer_late(stream: P2PStream) -> None:
        async with stream:
            assert await stream.receive_some() == b"?"
            is_served.set()
            await may_finish.wait()
            await stream.send_all(b"!")

    async def serve(*, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        async with (
            open_p2p_listener("receiver", broker.address) as listener,
            trio.open_nursery() as handlers,
        ):
            with trio.CancelScope() as serving:
                task_status.started(serving)
                await trio.serve_listeners(answer_late, [listener], handler_nursery=handlers)
            await listener.aclose()
            may_finish.set()

    async with (
        open_broker() as broker,
        trio.open_nursery() as nursery,
        open_peer(broker.address) as sender,
    ):
        serving = await nursery.start(serve)
        async with await sender.open_stream("receiver") as stream:
            await stream.send_all(b"?")
            await is_served.wait()
            serving.cancel(reason="the server is shut down")
            assert await stream.receive_some() == b"!"
            assert await stream.receive_some() == b""

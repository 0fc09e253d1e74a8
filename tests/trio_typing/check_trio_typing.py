"""An application still on trio-typing: what it calls TaskStatus and Nursery works with our API.

Not collected with the other tests, because trio-typing does not belong in their environment.
"""

import trio
import trio_typing

import trio_p2p

LOCALHOST = "127.0.0.1"


async def ignore(stream: trio_p2p.P2PStream) -> None:
    """Take a stream and do nothing with it."""
    await stream.aclose()


async def test_serve_broker_takes_the_task_status(nursery: trio_typing.Nursery) -> None:
    async def run_broker(
        *, task_status: trio_typing.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        assert isinstance(task_status, trio_typing.TaskStatus)
        await trio_p2p.serve_broker(0, host=LOCALHOST, task_status=task_status)

    assert isinstance(nursery, trio_typing.Nursery)
    listeners = await nursery.start(run_broker)
    assert all(isinstance(listener, trio.SocketListener) for listener in listeners)
    nursery.cancel_scope.cancel()


async def test_serve_p2p_takes_the_task_status(nursery: trio_typing.Nursery) -> None:
    async def run_receiver(
        *,
        task_status: trio_typing.TaskStatus[
            trio_p2p.P2PListener[trio_p2p.P2PStream]
        ] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        assert isinstance(task_status, trio_typing.TaskStatus)
        await trio_p2p.serve_p2p(ignore, "uid", broker, task_status=task_status)

    listeners = await nursery.start(
        lambda **kwargs: trio_p2p.serve_broker(0, host=LOCALHOST, **kwargs)
    )
    broker = f"{LOCALHOST}:{listeners[0].socket.getsockname()[1]}"
    listener = await nursery.start(run_receiver)
    assert isinstance(listener, trio_p2p.P2PListener)
    nursery.cancel_scope.cancel()

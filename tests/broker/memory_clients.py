"""What clients of a broker over memory streams wait for."""

import trio
import trio.testing

from ..kit.raw_client import RawClient


async def seconds_until_closed(client: RawClient) -> float:
    started_at = trio.current_time()
    await client.wait_closed()
    return trio.current_time() - started_at


async def settle() -> None:
    """Let every other task do what it can do without time passing."""
    await trio.testing.wait_all_tasks_blocked()

"""What a stream holds at most, whatever its application and its peer do."""

import subprocess
import sys
from functools import partial

import pytest
import trio

from trio_p2p._stream.limits import DEFAULT_WINDOW

from ..kit.clogged_receiver import PIECE, clog, exchange
from ..kit.loopback import TECHNIQUES, open_broker, open_stream

MIB = 2**20


@pytest.mark.parametrize("path", ["direct", "relay"])
async def test_clogged_stream_holds_no_more_than_its_windows_and_a_mebibyte(path: str) -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-m", "tests.kit.clogged_receiver", str(broker.port)],
                stdout=subprocess.PIPE,
            )
        )
        while "clogged" not in broker.uids:  # noqa: ASYNC110 - it is another process
            await trio.sleep(0.01)
        async with open_stream("clogged", broker.address, techniques=TECHNIQUES[path]) as warm_up:
            await warm_up.send_all(PIECE)
            await warm_up.receive_some()
        before = await read_number(process)
        async with open_stream("clogged", broker.address, techniques=TECHNIQUES[path]) as stream:
            await exchange(stream)
            await clog(stream)
            grown = await read_number(process) - before
            stream.abort("the other side reads no more")
        nursery.cancel_scope.cancel(reason="the process has told all")
        # What was received and not read, and what was sent and not acknowledged.
        assert DEFAULT_WINDOW / 8 < grown < 2 * DEFAULT_WINDOW + MIB


async def read_number(process: trio.Process) -> int:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        line += await process.stdout.receive_some()
    return int(line)

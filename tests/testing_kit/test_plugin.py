"""The plugin gives networks to tests, and costs those nothing that want none."""

from __future__ import annotations

import subprocess
import sys

import pytest

TEST = """
import trio
import pytest

@pytest.mark.trio
async def test_network(memory_network, memory_seed, autojump_clock):
    assert memory_seed == 7
    broker = await memory_network.start_broker()
    async with memory_network.add_host("random").open_peer(broker.address) as peer:
        async with peer.listen("name") as listener:
            assert listener.uid == "name"
    assert trio.current_time() > 0
"""
# What pytest loads when it starts, and what that brings.
PROGRAM = """
import sys
import trio_p2p.testing._plugin
print([each for each in ("trio", "attrs", "msgpack", "trio_p2p._public") if each in sys.modules])
"""


def test_tests_get_a_network(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess("--memory-seed=7")
    result.assert_outcomes(passed=1)


def test_the_seed_is_zero_unless_given(memory_seed: int) -> None:
    assert memory_seed == 0


def test_the_plugin_loads_next_to_nothing() -> None:
    printed = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert printed.stdout == b"[]\n"

"""A plugin of pytest: networks in memory as fixtures.

pytest loads it whenever it starts, so it imports nothing of Trio and of this package by itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._network import MemoryNetwork

_OPTION = "--memory-seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the seed."""
    parser.getgroup("trio_p2p").addoption(
        _OPTION,
        type=int,
        default=0,
        metavar="NUMBER",
        help="the seed of networks in memory: of ports, losses and the order of tasks (default: 0)",
    )


@pytest.fixture
def memory_seed(request: pytest.FixtureRequest) -> int:
    """The seed that was given by --memory-seed."""
    seed: Any = request.config.getoption(_OPTION)
    return int(seed)


@pytest.fixture
async def memory_network(memory_seed: int) -> AsyncGenerator[MemoryNetwork]:
    """A network in memory, of which all but the keys depends on --memory-seed only.

    It wants pytest-trio, and ``autojump_clock`` beside it if the test is not to take the time that
    a network takes.
    """
    from ._network import open_memory_network  # noqa: PLC0415 - when a test wants it
    from ._order import seeded_scheduling  # noqa: PLC0415

    with seeded_scheduling(memory_seed):
        async with open_memory_network(seed=memory_seed) as network:
            yield network

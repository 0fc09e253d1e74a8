"""What ``trio_p2p.testing`` has: these names and no others, all of them documented."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import trio_p2p.testing

NAMES = {
    "Allocation",
    "Dependence",
    "Event",
    "ForgetMappings",
    "LosePath",
    "MemoryBroker",
    "MemoryConnectionPair",
    "MemoryHost",
    "MemoryNat",
    "MemoryNetwork",
    "MoveHost",
    "NATS",
    "NatBehaviour",
    "PacketSeen",
    "Refusal",
    "RestartBroker",
    "RestorePath",
    "memory_connection_pair",
    "memory_stream_pair",
    "open_memory_network",
    "play",
    "seeded_scheduling",
}
PAGE = Path(__file__).parents[2].joinpath("docs", "testing_applications.rst").read_text("utf-8")
PROGRAM = """
import sys
import trio_p2p.testing
assert not {"trio", "attrs", "msgpack"} & set(sys.modules)
trio_p2p.testing.NATS
assert "trio" in sys.modules
"""


def test_these_names_and_no_others() -> None:
    # "@": what pytest puts into modules to explain their assertions.
    assert {name for name in dir(trio_p2p.testing) if name[0] not in "_@"} == NAMES
    assert not hasattr(trio_p2p.testing, "nonsense")
    assert not hasattr(trio_p2p.testing, "__nonsense__")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_name_is_in_the_reference(name: str) -> None:
    assert f":: {name}" in PAGE


@pytest.mark.parametrize("name", sorted(NAMES - {"NATS"}))
def test_name_is_documented_and_says_where_it_is_from(name: str) -> None:
    value = getattr(trio_p2p.testing, name)
    assert inspect.getdoc(value)
    assert (value.__module__, value.__name__) == ("trio_p2p.testing", name)


def test_every_nat_is_described() -> None:
    for name in trio_p2p.testing.NATS:
        assert f"``{name}``" in PAGE


def test_names_wait_until_one_is_asked_for() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)

"""Fixtures and rules for every test."""

import hypothesis
import pytest

from trio_p2p._control import reachability as _reachability
from trio_p2p._portmap.attempts import MappingProtocol
from trio_p2p._stream import leg

# In UPnP, routers are searched for in worker threads, which in the tests' own process may sit in
# any namespace, also in the machine's. Receivers that run as processes do search.
_reachability.PROTOCOLS = (MappingProtocol.PCP, MappingProtocol.NAT_PMP)

# An example that takes long on a busy machine is as good as another one.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Where helpers assert something: what was expected and what came is shown, as in tests.
pytest.register_assert_rewrite("tests.kit", "tests.broker", "tests.commands")
pytest_plugins = ["pytester", "tests.kit.lab.fixtures", "tests.kit.no_skips", "tests.kit.soak"]

NEVER = 6_000.0  # seconds: longer than any test takes


@pytest.fixture
def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be said is said because there is need, not because it is time."""
    for name in ("BUSY_HEARTBEAT", "IDLE_HEARTBEAT", "BUSY_SILENCE", "IDLE_SILENCE"):
        monkeypatch.setattr(leg, f"{name}_TIME", NEVER)

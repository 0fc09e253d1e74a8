"""Fixtures and rules for every test."""

from trio_p2p._listen import reachability as _reachability
from trio_p2p._portmap.attempts import MappingProtocol

# In UPnP, routers are searched for in worker threads, which in the tests' own process may sit in
# any namespace, also in the machine's. Receivers that run as processes do search.
_reachability.PROTOCOLS = (MappingProtocol.PCP, MappingProtocol.NAT_PMP)

pytest_plugins = ["pytester", "tests.kit.no_skips", "tests.kit.lab.fixtures"]

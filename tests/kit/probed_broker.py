"""A broker with two addresses in a NAT lab, so that all that NATs do can be told apart."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address

import attrs

from trio_p2p import Endpoint, serve_broker
from trio_p2p._addresses import endpoint_of
from trio_p2p._lab.networks import Network

from .lab import Host, running

_ADDRESS, _OTHER_ADDRESS = IPv4Address("198.51.100.10"), IPv4Address("198.51.100.11")
PORT = 4433


@attrs.frozen
class ProbedBroker:
    """Where a broker is.

    Attributes:
        endpoint: its own.
        probes: where else it answers: on another port, and at another address.
        host: what it runs on.
    """

    endpoint: Endpoint
    probes: tuple[Endpoint, ...]
    host: Host


@contextmanager
def probed_broker(network: Network, *, has_two_addresses: bool = True) -> Generator[ProbedBroker]:
    """Run a broker on a new host of a network."""
    namespace = network._add_namespace("broker")
    network._attach(namespace, _ADDRESS, _OTHER_ADDRESS)
    namespace.ip(f"address add {_OTHER_ADDRESS}/32 dev lo")
    other = [Endpoint(_OTHER_ADDRESS, PORT)] if has_two_addresses else []
    serve = partial(serve_broker, PORT, host="0.0.0.0", probe_port=0, probe_at=other)
    with running(namespace, serve) as listeners:
        _, probe_port = (endpoint_of(each.socket.getsockname()).port for each in listeners)
        yield ProbedBroker(
            Endpoint(_ADDRESS, PORT),
            (Endpoint(_ADDRESS, probe_port), *other),
            Host(namespace, _ADDRESS, _ADDRESS),
        )

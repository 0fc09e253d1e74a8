"""A real router, miniupnpd, maps ports for this library: they are reached from outside."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
import pytest

from trio_p2p._lab.namespaces import NamespacesUnavailableError
from trio_p2p._portmap.attempts import MappingOutcome, MappingProtocol

from ..kit import mapping_program
from ..kit.lab import Host, popen
from ..kit.miniupnpd import EXTERNAL, OTHER_EXTERNAL, PATIENCE, MappingNetwork

pytestmark = [pytest.mark.once, pytest.mark.slow]

PROGRAM = Path(mapping_program.__file__)

PCP, NAT_PMP, UPNP = MappingProtocol
LONG = 600  # seconds: no renewal in the time of a test
SHORT = 2
CONNECT_SECONDS = 3.0  # two SYNs; where nothing is mapped, a RST answers at once
EPOCH_SECONDS = 3  # until an epoch time that begins anew can be told from one that went on
EACH_PROTOCOL = pytest.mark.parametrize("protocol", MappingProtocol, ids=lambda it: it.name)


@pytest.fixture
def network(_namespaces: None) -> Iterator[MappingNetwork]:
    with open_network() as network:
        yield network


def open_network(external: IPv4Address = EXTERNAL) -> MappingNetwork:
    try:
        return MappingNetwork(external)
    except NamespacesUnavailableError as error:
        pytest.skip(str(error))


Address = tuple[str, int]


@attrs.frozen
class Keeper:
    """The program that keeps a port mapped."""

    process: subprocess.Popen[str]

    def hear(self) -> Any:
        """What it says next."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        assert line, self.process.communicate()[1]
        return json.loads(line)

    def hear_change(self) -> tuple[Address, MappingProtocol, float]:
        """Where the port is mapped now, by which protocol and for how long."""
        external, protocol, lifetime = self.hear()
        address, _, port = external.partition(":")
        return (address, int(port)), protocol, lifetime

    def end(self) -> None:
        """Let it end; it has no more to say."""
        output, errors = self.process.communicate("", timeout=PATIENCE)
        # miniupnpc itself writes there what its system calls failed with.
        assert "Traceback" not in errors, errors
        assert (self.process.returncode, output) == (0, "")


@contextmanager
def start(network: MappingNetwork, *command: object) -> Generator[Keeper]:
    argv = (sys.executable, str(PROGRAM), json.dumps(command))
    with popen(network.site.host, *argv) as process:
        yield Keeper(process)


@contextmanager
def listening(host: Host) -> Generator[socket.socket]:
    """A listener on a host, that answers nobody else than who connects."""
    address = (str(host.host_address), 0)
    with host.host.call(socket.create_server, address) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def reaches(outside: Host, external: Address, listener: socket.socket) -> bool:
    """Whether a host outside that connects to an endpoint gets to the listener."""

    def connect() -> socket.socket | None:
        try:
            return socket.create_connection(external, timeout=CONNECT_SECONDS)
        except OSError:
            return None

    connection = outside.host.call(connect)
    if connection is None:
        return False
    with connection:
        accepted, peer = listener.accept()
        with accepted:
            assert peer == (str(outside.host_address), connection.getsockname()[1])
            connection.sendall(b"hello")
            return accepted.recv(5) == b"hello"


@EACH_PROTOCOL
def test_port_is_mapped_until_the_context_is_left(
    network: MappingNetwork, protocol: MappingProtocol
) -> None:
    outside = network.add_host()
    with network.mapping(), listening(network.site) as listener:
        port = listener.getsockname()[1]
        with start(network, "keep", port, LONG, [protocol]) as keeper:
            external, its_protocol, lifetime = keeper.hear_change()
            assert external == (str(EXTERNAL), port)
            assert (its_protocol, lifetime) == (protocol, LONG)
            assert reaches(outside, external, listener)
            assert len(network.mappings()) == 1
            keeper.end()
        assert network.mappings() == []
        assert not reaches(outside, external, listener)


@EACH_PROTOCOL
def test_mapping_is_renewed_and_ends_with_a_process_that_is_killed(
    network: MappingNetwork, protocol: MappingProtocol
) -> None:
    outside = network.add_host()
    with network.mapping(), listening(network.site) as listener:
        port = listener.getsockname()[1]
        with start(network, "keep", port, SHORT, [protocol]) as keeper:
            external, _, _ = keeper.hear_change()
            time.sleep(2 * SHORT)
            assert reaches(outside, external, listener)
            keeper.process.kill()
        network.wait_mapped(0)


@EACH_PROTOCOL
def test_program_that_is_interrupted_leaves_no_mapping(
    network: MappingNetwork, protocol: MappingProtocol
) -> None:
    with network.mapping(), start(network, "keep", 5000, LONG, [protocol]) as keeper:
        keeper.hear_change()
        keeper.process.send_signal(signal.SIGINT)
        keeper.process.wait(PATIENCE)
        assert network.mappings() == []


@EACH_PROTOCOL
def test_another_external_address_is_noticed(
    network: MappingNetwork, protocol: MappingProtocol
) -> None:
    outside = network.add_host()
    # In UPnP nobody tells us: it is noticed when the mapping is renewed.
    lifetime = SHORT if protocol is UPNP else LONG
    with network.mapping(), listening(network.site) as listener:
        port = listener.getsockname()[1]
        with start(network, "keep", port, lifetime, [protocol]) as keeper:
            assert keeper.hear_change()[0] == (str(EXTERNAL), port)
            time.sleep(EPOCH_SECONDS)
            network.change_external_address()
            external, _, _ = keeper.hear_change()
            assert external == (str(OTHER_EXTERNAL), port)
            assert reaches(outside, external, listener)
            keeper.end()
        assert network.mappings() == []


@EACH_PROTOCOL
def test_router_that_restarts_maps_the_port_again(
    network: MappingNetwork, protocol: MappingProtocol
) -> None:
    outside = network.add_host()
    # It announces its return in PCP only.
    lifetime = LONG if protocol is PCP else SHORT
    with listening(network.site) as listener:
        port = listener.getsockname()[1]
        with ExitStack() as stack:
            with network.mapping():
                keeper = stack.enter_context(start(network, "keep", port, lifetime, [protocol]))
                external, _, _ = keeper.hear_change()
                time.sleep(EPOCH_SECONDS)
            with network.mapping():
                network.wait_mapped(1)
                assert reaches(outside, external, listener)
                keeper.end()
                assert network.mappings() == []


@pytest.mark.usefixtures("_namespaces")
def test_router_without_a_public_address_maps_nothing() -> None:
    with (
        open_network(IPv4Address("192.0.2.44")) as network,
        network.mapping(),
        start(network, "keep", 5000, LONG, list(MappingProtocol)) as keeper,
    ):
        failures = keeper.hear()
        keeper.end()
        assert network.mappings() == []
    assert failures == [
        [PCP, MappingOutcome.REFUSED, "NO_RESOURCES"],
        [NAT_PMP, MappingOutcome.REFUSED, "NETWORK_FAILURE"],
        [UPNP, MappingOutcome.MALFORMED, "Address cannot be empty"],
    ]


def test_router_without_any_protocol(network: MappingNetwork) -> None:
    with start(network, "keep", 5000, LONG, list(MappingProtocol)) as keeper:
        failures = keeper.hear()
        keeper.end()
    assert [failure[:2] for failure in failures] == [
        [protocol, MappingOutcome.ABSENT] for protocol in MappingProtocol
    ]


def test_report_on_a_router(network: MappingNetwork) -> None:
    with network.mapping(), start(network, "report", list(MappingProtocol)) as reporter:
        for protocol in MappingProtocol:
            assert reporter.hear() == [protocol, str(EXTERNAL), None]
        reporter.end()
        assert network.mappings() == []

"""The broker as a shell tool: its ports, its limits, and what it says."""

import argparse
import re
import signal
import socket
from pathlib import Path

import pytest
import trio

from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._commands import broker as broker_command
from trio_p2p._wire.messages import Hello, Message, Refused, Registered

from ..kit.commands import (
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    connect,
    end_both,
    listen,
    open_broker,
)
from ..kit.raw_client import RawClient, registration

pytestmark = pytest.mark.once


def test_without_a_relay(uid: str) -> None:
    with open_broker("--no-relay") as broker:
        with listen(broker, uid) as receiver, connect(broker, uid) as sender:
            assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
        with listen(broker, uid), connect(broker, uid, "--only=relay") as sender:
            code, _, errors = sender.end()
            assert code == 1
            assert_sentence(errors, f"the broker at {broker.address} did not relay to {uid!r}: ")


def test_limits_of_the_relay(uid: str) -> None:
    limits = ["--relay-rate=1000000", "--relay-bytes=100000", "--relay-idle=12.5"]
    with (
        open_broker(*limits) as broker,
        listen(broker, uid, "--grace=0") as receiver,
        connect(broker, uid, "--only=relay", "--grace=0") as sender,
    ):
        sender.say(bytes(500_000))
        for tool in (receiver, sender):
            code, _, errors = tool.end()
            assert code == 1
            assert "100000 bytes" in errors


def test_port_in_use(broker: BrokerTool) -> None:
    port = broker.address.rpartition(":")[2]
    argv = command("trio-p2p-broker", "--host", "127.0.0.1", "--port", port)
    with Tool(*argv) as second:
        code, output, errors = second.end()
    assert (code, output) == (1, b"")
    assert_sentence(
        errors,
        f"cannot listen on port {port} or {int(port) + 1} of 127.0.0.1 (Address already in use): "
        "choose others",
        program="trio-p2p-broker",
    )


def test_quiet_broker_on_all_interfaces() -> None:
    with Tool(*command("trio-p2p-broker", "--port", "0")) as broker:
        line = broker.errors.readline().decode()
        assert re.fullmatch(r"trio-p2p-broker: listening on (0\.0\.0\.0|\[::\]):\d+\n", line)
        # At most one more line, for the other address family; and the same for probes.
        for _ in range(2):
            if "answering" not in line:
                line = broker.errors.readline().decode()
        assert re.fullmatch(r"trio-p2p-broker: answering probes on \S+:\d+\n", line)
        code, output, errors = broker.signal(signal.SIGTERM)
    assert (code, output) == (0, b"")
    assert re.fullmatch(r"(trio-p2p-broker: answering probes on \S+\n)?", errors)


def test_broker_may_open_as_many_files_as_the_host_allows() -> None:
    argv = command("trio-p2p-broker", "--port=0", "--host=127.0.0.1")
    with Tool("sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", *argv) as broker:
        broker.errors.readline()
        limits = Path(f"/proc/{broker.process.pid}/limits").read_text()
        broker.signal(signal.SIGTERM)
    [(soft, hard)] = re.findall(r"Max open files +(\S+) +(\S+)", limits)
    assert soft == hard


def greeting_of(*options: str) -> Hello:
    """How a broker with these options greets."""

    async def greet(address: str) -> Hello:
        host, _, port = address.rpartition(":")
        async with RawClient(await trio.open_tcp_stream(host, int(port))) as client:
            await client.send(Hello())
            return await client.receive(Hello)

    with open_broker(*options) as broker:
        return trio.run(greet, broker.address)


def test_broker_says_where_to_probe() -> None:
    assert greeting_of().probe_port is not None
    assert greeting_of("--no-probes").probe_port is None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [f"--probe-port={port}", "--probe-at=127.0.0.2:4433", "--probe-at=[::1]:4434"]
    greeting = greeting_of(*options)
    assert greeting.probe_port == port
    assert [str(endpoint) for endpoint in greeting.probes] == ["127.0.0.2:4433", "[::1]:4434"]


@pytest.mark.parametrize(("port", "expected"), [("0", 0), ("4433", 4434), ("65535", 0)])
def test_port_for_probes_is_the_next_one(port: str, expected: int) -> None:
    options = argparse.Namespace(port=int(port), probe_port=None, no_probes=False)
    assert broker_command._probe_port(options) == expected


def test_external_endpoints() -> None:
    """A broker that was told where it is found takes no registrations for other brokers."""

    async def register(address: str, named: Endpoint) -> Message:
        host, _, port = address.rpartition(":")
        async with RawClient(await trio.open_tcp_stream(host, int(port))) as client:
            await client.send(registration("alice", await client.greet(), broker=named))
            return await client.channel.receive()

    def endpoint(host: str, port: int) -> Endpoint:
        return endpoint_of((host, port))

    options = ["--external=192.0.2.1:4433", "--external=[2001:db8::1]:4434"]
    with open_broker(*options) as broker:
        host, _, port = broker.address.rpartition(":")
        for named, expected in (
            (endpoint("192.0.2.1", 4433), Registered),
            (endpoint("2001:db8::1", 4434), Registered),
            (endpoint(host, int(port)), Registered),
            (endpoint("192.0.2.1", 4434), Refused),
        ):
            assert isinstance(trio.run(register, broker.address, named), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1:4433"),
        ("192.0.2.1:80", "192.0.2.1:80"),
        ("2001:db8::1", "[2001:db8::1]:4433"),
        ("[2001:db8::1]", "[2001:db8::1]:4433"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
    ],
)
def test_external_endpoint_has_the_broker_s_port_by_default(text: str, expected: str) -> None:
    assert str(broker_command._external(text, 4433)) == expected


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--external=broker.example.org:4433"], "takes IP addresses"),
        (["--external=192.0.2.1:99999"], "is no broker"),
        (["--external=192.0.2.1", "--port=0"], "is no broker"),
    ],
)
def test_external_endpoint_that_is_none(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        broker_command.main(options)
    assert reason in capsys.readouterr().err


def test_place_to_probe_that_is_none() -> None:
    argv = command(
        "trio-p2p-broker", "--port=0", "--host=127.0.0.1", "--probe-at=nowhere.invalid:1"
    )
    with Tool(*argv) as broker:
        code, output, errors = broker.end()
    assert (code, output) == (1, b"")
    sentence = "the broker's host 'nowhere.invalid' cannot be found ("
    assert_sentence(errors, sentence, program="trio-p2p-broker")

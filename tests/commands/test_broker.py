"""The broker as a shell tool: its ports, its limits, and what it says."""

import json
import re
import signal
import socket
from pathlib import Path

import pytest
import trio

from trio_p2p import Identity, TLSFiles
from trio_p2p._addresses import Endpoint, endpoint_of
from trio_p2p._commands import broker as broker_command
from trio_p2p._commands.broker_settings import BrokerSettings
from trio_p2p._wire.messages import (
    Hello,
    IntroductionRequest,
    Message,
    Refused,
    Registered,
    StreamKind,
)

from ..kit.certificates import Authority
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
from ..kit.raw_client import RawClient, identification, registration, request

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
    *_, draining, drained = errors.splitlines()
    assert draining.endswith(" INFO draining for up to 30 seconds: 0 receivers, 0 circuits")
    assert drained.endswith(" INFO drained")
    assert len(errors.splitlines()) <= 3


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
    assert BrokerSettings(port=int(port)).second_port == expected


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
    assert list(map(str, BrokerSettings(external=(text,)).externals)) == [expected]


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


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "broker.toml"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        broker_command.main(["--version"])
    assert re.fullmatch(r"trio-p2p-broker \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_settings_are_checked_and_shown(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("port = 5555\nhost = ['127.0.0.1', '::1']\n")
    monkeypatch.setenv("TRIO_P2P_BROKER_RELAY_RATE", "1000")
    assert broker_command.main(["--config", str(config), "--check-config", "--no-probes"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "port = 5555",
        'host = ["127.0.0.1", "::1"]',
        "relay-rate = 1000",
        "no-probes = true",
        "relay-idle = 60.0",
    ):
        assert line in shown.splitlines()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port = 65536", "'65536' is not a number from 0 to 65535"),
        ("relay-rate = 0", "'0' is not a whole number of at least 1"),
        ("relay-idle = 9", "'9' is not a number of seconds of at least 10"),
        ("relay-idle = 'x'", "'x' is not a number of seconds of at least 10"),
        ("host = ''", "'' is no host"),
        ("probe-at = 'x'", "is no broker"),
        ("log-level = 'loud'", "'loud' is not one of debug, info, warning, error"),
        ("external = 'example.org:1'", "takes IP addresses"),
        ("closed = true", "give --token-key or --allow, too"),
        ("allow = '/dev/null'", "an open broker needs no tokens"),
        ("tls-cert = '/none'", "give --tls-cert and --tls-key"),
        ("tls-cert = '/none'\ntls-key = '/none'", "are no certificate and its key in PEM"),
        ("proxy-from = 'proxy.example.org'", "is no network"),
        ("proxy-from = ['192.0.2.1/24']", "has host bits set"),
        ("deny = ''", "'' is no file"),
        ("deny = '/none'", "/none cannot be read"),
        ("closed = true\ntoken-key = '/none'", "make one with trio-p2p-broker token --key /none"),
    ],
)
def test_settings_that_are_wrong(
    config: Path, text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(text)
    with pytest.raises(SystemExit, match="2"):
        broker_command.main(["--config", str(config), "--check-config"])
    assert sentence in capsys.readouterr().err


def test_settings_are_read_again_on_a_hangup(config: Path, uid: str) -> None:
    config.write_text("")
    with (
        open_broker("--config", str(config)) as broker,
        listen(broker, uid) as receiver,
    ):
        hidden = broker.wait_for(" INFO receiver ~")
        assert uid not in hidden
        config.write_text("log-peers = true\nport = 5\nstatus = '127.0.0.1:0'")
        broker.tool.process.send_signal(signal.SIGHUP)
        broker.wait_for(" WARNING to change status, start the broker again")
        broker.wait_for(" INFO settings reloaded")
        receiver.signal(signal.SIGTERM)
        assert uid in broker.wait_for("' unregistered")
        config.write_text("log-peers = 3")
        broker.tool.process.send_signal(signal.SIGHUP)
        assert "is neither true nor false" in broker.wait_for(" WARNING nothing is reloaded: ")


def test_limits_and_proxies_are_taken_over_on_a_hangup(config: Path, uid: str) -> None:
    """And no receiver is dropped for that."""
    line = b"PROXY TCP4 203.0.113.5 198.51.100.7 49152 4433\r\n"

    async def talk(
        port: int, source: str, first: bytes, *messages: Message
    ) -> tuple[Hello, list[Message]]:
        stream = await trio.open_tcp_stream("127.0.0.1", port, local_address=source)
        await stream.send_all(first)
        async with RawClient(stream) as client:
            await client.send(Hello(), *messages)
            return await client.receive(Hello), [await client.channel.receive() for _ in messages]

    config.write_text("")
    with open_broker("--config", str(config)) as broker, listen(broker, uid) as receiver:
        port = int(broker.address.rpartition(":")[2])
        unknown = [request(number, "unknown", "fast") for number in range(3)]
        hello, answers = trio.run(talk, port, "127.0.0.2", b"", *unknown)
        assert "relay" in hello.capabilities
        assert [each.code for each in answers if isinstance(each, Refused)] == ["unknown-uid"] * 3
        config.write_text(
            "limit-unknown-uids = 4\nno-relay = true\nproxy-from = ['127.0.0.3']\n"
            "external = '198.51.100.7:4433'\nprobe-at = '127.0.0.9:4433'\n"
        )
        broker.tool.process.send_signal(signal.SIGHUP)
        broker.wait_for(" INFO settings reloaded")
        hello, answers = trio.run(talk, port, "127.0.0.2", b"", *unknown)
        assert "relay" not in hello.capabilities
        assert hello.probes == (endpoint_of(("127.0.0.9", 4433)),)
        # What was counted before counts on.
        assert [each.code for each in answers if isinstance(each, Refused)] == [
            "unknown-uid",
            "busy",
            "busy",
        ]
        hello, _ = trio.run(talk, port, "127.0.0.3", line)
        assert hello.endpoint == endpoint_of(("203.0.113.5", 49152))
        with connect(broker, uid) as sender:
            assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
        config.write_text("probe-at = 'nowhere.invalid:1'\nlimit-unknown-uids = 1")
        broker.tool.process.send_signal(signal.SIGHUP)
        assert "nowhere.invalid" in broker.wait_for(" WARNING nothing is reloaded: ")


def test_an_identity_has_one_share_wherever_it_comes_from(tmp_path: Path) -> None:
    """At a closed broker, to which all prove who they are."""
    greedy, other = Identity.generate(), Identity.generate()
    allowed = tmp_path / "allowed"
    allowed.write_text(f"{greedy.peer_id}\n{other.peer_id}\n")

    async def ask(port: int, source: str, identity: Identity) -> str:
        broker = endpoint_of(("127.0.0.1", port))
        stream = await trio.open_tcp_stream("127.0.0.1", port, local_address=source)
        async with RawClient(stream) as client:
            proof = identification(identity, await client.greet(), broker)
            question = IntroductionRequest(
                0, "unknown", "fast", StreamKind.SESSION, identity.certificate
            )
            await client.send(proof, question)
            return (await client.wait_refused()).code

    options = ["--closed", f"--allow={allowed}", "--limit-unknown-uids=2"]
    with open_broker(*options) as broker:
        port = int(broker.address.rpartition(":")[2])
        codes = [trio.run(ask, port, f"127.0.0.{last}", greedy) for last in range(2, 6)]
        assert codes == ["unknown-uid", "unknown-uid", "busy", "busy"]
        assert trio.run(ask, port, "127.0.0.2", other) == "unknown-uid"


def test_broker_is_closed_and_opened_on_a_hangup(config: Path, uid: str) -> None:
    config.write_text("")
    allowed = config.parent / "allowed"
    allowed.write_text("# none yet\n")
    closed = f"closed = true\nallow = '{allowed}'"

    def hang_up() -> None:
        count = sum("settings reloaded" in line for line in broker.lines)
        broker.tool.process.send_signal(signal.SIGHUP)
        broker.wait_for("settings reloaded", count + 1)

    with open_broker("--config", str(config)) as broker:
        config.write_text(closed)
        hang_up()
        with listen(broker, uid) as refused:
            code, _, errors = refused.end()
        assert code == 1
        sentence = "does not admit this program: this broker is closed: ask its operator"
        assert_sentence(errors, f"the broker at {broker.address} {sentence}")
        allowed.write_text(f"{uid}\n")
        hang_up()
        with listen(broker, uid) as receiver, connect(broker, uid) as sender:
            assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
        config.write_text("closed = true")
        broker.tool.process.send_signal(signal.SIGHUP)
        assert "give --token-key or --allow" in broker.wait_for(" WARNING nothing is reloaded: ")


def test_broker_with_tls_reads_its_certificate_again_on_a_hangup(
    config: Path, uid: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    first, second = (authority.issue("127.0.0.1", name=name) for name in ("first", "second"))
    text = "tls-cert = '{}'\ntls-key = '{}'\n"
    config.write_text(text.format(first.certificate, first.key))

    def place(files: TLSFiles) -> str:
        pin = files.pin()
        assert pin is not None
        return f"--broker=tls://{broker.address}#sha256={pin.hex()}"

    with open_broker("--config", str(config)) as broker:
        pin = broker.wait_for("TLS: clients can pin the key by tls://").partition("#")[2]
        assert place(first).endswith(f"#{pin}")
        with listen(broker, uid, place(first)) as receiver:
            config.write_text(text.format(second.certificate, second.key))
            broker.tool.process.send_signal(signal.SIGHUP)
            broker.wait_for("settings reloaded")
            with connect(broker, uid, place(second)) as sender:
                assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
        config.write_text(text.format(second.certificate, first.key))
        broker.tool.process.send_signal(signal.SIGHUP)
        assert "are no certificate and its key" in broker.wait_for(" WARNING nothing is reloaded")


def test_broker_for_programs_writes_an_object_on_each_line() -> None:
    argv = command("trio-p2p-broker", "--port=0", "--log-format=json", "--host=127.0.0.1")
    with Tool(*argv) as broker:
        lines = [json.loads(broker.errors.readline()) for _ in range(2)]
        code, output, errors = broker.signal(signal.SIGTERM)
    assert (code, output) == (0, b"")
    assert [json.loads(line)["level"] for line in errors.splitlines()] == ["info", "info"]
    assert [line["message"].rpartition(" ")[0] for line in lines] == [
        "listening on",
        "answering probes on",
    ]

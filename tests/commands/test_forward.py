"""``trio-p2p expose`` and ``forward``: TCP connections go through them untouched."""

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import attrs
import pytest

from trio_p2p._commands import main as main_command

from ..kit.commands import (
    MEBIBYTE,
    NOBODY,
    SECONDS,
    BrokerTool,
    Tool,
    assert_sentence,
    command,
    connect,
    identity_option,
    listen,
    open_broker,
    peer_id,
    run_main,
)
from ..kit.forwarding import (
    HOST,
    abort,
    accept,
    dial,
    dial_when_there,
    exposing,
    forwarding,
    open_service,
    port_of,
    read_all,
    read_exactly,
    start_forward,
    wait_reset,
)
from ..kit.loopback import reserved_port

pytestmark = pytest.mark.once


@attrs.frozen
class Way:
    """A service, and a local port that leads to it."""

    listener: socket.socket
    port: int
    forward: Tool
    expose: Tool

    def open(self) -> tuple[socket.socket, socket.socket]:
        """The two ends of a connection."""
        client = dial(self.port)
        return client, accept(self.listener)


@pytest.fixture
def way(broker: BrokerTool, uid: str) -> Iterator[Way]:
    with ExitStack() as stack:
        listener, place = stack.enter_context(open_service())
        expose = stack.enter_context(exposing(broker, uid, place))
        forward, port = stack.enter_context(forwarding(broker, "0", uid))
        yield Way(listener, port, forward, expose)


@pytest.mark.parametrize("client_ends_first", [False, True])
def test_end_of_one_way_leaves_the_other(way: Way, client_ends_first: bool) -> None:
    client, server = way.open()
    first, second = (client, server) if client_ends_first else (server, client)
    with client, server:
        first.sendall(b"the last word")
        first.shutdown(socket.SHUT_WR)
        assert read_all(second) == b"the last word"
        for line in (b"there is more", b"and more"):
            second.sendall(line)
            assert read_exactly(first, len(line)) == line
        second.shutdown(socket.SHUT_WR)
        assert read_all(first) == b""


@pytest.mark.parametrize("client_aborts", [False, True])
@pytest.mark.parametrize("has_ended", [False, True])
def test_reset(way: Way, client_aborts: bool, has_ended: bool) -> None:
    """It is passed on although no byte is under way, and also behind the end of a way."""
    client, server = way.open()
    aborting, other = (client, server) if client_aborts else (server, client)
    with client, server:
        aborting.sendall(b"x")
        if has_ended:
            aborting.shutdown(socket.SHUT_WR)
            assert read_all(other) == b"x"
        else:
            assert other.recv(1) == b"x"
        abort(aborting)
        wait_reset(other)


@pytest.mark.parametrize("client_aborts", [False, True])
def test_reset_of_one_that_does_not_read(way: Way, client_aborts: bool) -> None:
    """Neither side reads, and all that is in between is full: the reset comes all the same."""
    client, server = way.open()
    aborting, other = (client, server) if client_aborts else (server, client)
    with client, server:
        reset = threading.Event()

        def send_endlessly() -> None:
            try:
                while True:
                    other.sendall(bytes(MEBIBYTE))
            except (ConnectionResetError, BrokenPipeError):
                reset.set()

        other.settimeout(None)
        thread = threading.Thread(target=send_endlessly, daemon=True)
        thread.start()
        assert aborting.recv(1) == b"\0"
        abort(aborting)
        assert reset.wait(SECONDS)
        thread.join()


def test_back_pressure(way: Way) -> None:
    """A connection that is not read is taken no more of, and holds up no other one."""
    data = os.urandom(64 * MEBIBYTE)
    one, other = way.open(), way.open()
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        for end in (*one, *other):
            stack.enter_context(end)
        sent = [pool.submit(end.sendall, data) for end in one]
        for _ in range(1_000):
            for sender, receiver in (other, other[::-1]):
                sender.sendall(b"x")
                assert receiver.recv(1) == b"x"
        assert not any(each.done() for each in sent)
        received = pool.map(read_exactly, one, [len(data)] * 2)
        assert list(received) == [data, data]
        assert [each.result(SECONDS) for each in sent] == [None, None]


def test_many_at_once(way: Way) -> None:
    with ExitStack() as stack:
        pairs = [way.open() for _ in range(100)]
        for number, pair in enumerate(pairs):
            for end in pair:
                stack.enter_context(end)
            pair[0].sendall(number.to_bytes(2))
        assert sorted(read_exactly(server, 2) for _, server in pairs) == [
            number.to_bytes(2) for number in range(100)
        ]


def test_service_that_refuses(broker: BrokerTool, uid: str) -> None:
    place = f"{HOST}:1"
    with exposing(broker, uid, place) as expose, forwarding(broker, "0", uid) as (forward, port):
        for _ in range(3):
            with dial(port) as client:
                wait_reset(client)
        for tool, line in (
            (expose, f"no connection to the service at {place}: "),
            (
                forward,
                f"a connection to {uid!r} was reset: the service behind it does not answer",
            ),
        ):
            code, output, errors = tool.signal(signal.SIGTERM)
            assert (code, output) == (143, b"")
            assert_sentence(errors, line)


def test_service_that_is_asked_for_more_than_there_are_files(broker: BrokerTool, uid: str) -> None:
    """What is too much is reset, and the rest goes on."""
    with ExitStack() as stack:
        listener, place = stack.enter_context(open_service())
        shell = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
        argv = command("trio-p2p", "expose", uid, place)
        expose = stack.enter_context(Tool(*shell, *argv, broker=broker.address))
        assert b"exposing" in expose.errors.readline()
        _, port = stack.enter_context(forwarding(broker, "0", uid))
        clients = [stack.enter_context(dial(port)) for _ in range(100)]
        greeting = threading.Thread(target=greet_all, args=[listener])
        greeting.start()
        outcomes = [outcome_of(client) for client in clients]
        listener.shutdown(socket.SHUT_RDWR)
        greeting.join(SECONDS)
        assert outcomes.count("got x") >= 20
        assert outcomes.count("reset") >= 20
        assert b"this program has too many files open" in expose.errors.readline()


def greet_all(listener: socket.socket) -> None:
    with ExitStack() as stack, suppress(OSError):  # which says that this is the end
        while True:
            stack.enter_context(accept(listener)).sendall(b"x")


def outcome_of(client: socket.socket) -> str:
    try:
        return f"got {client.recv(1).decode()}"
    except ConnectionResetError:
        return "reset"


def test_other_addresses(broker: BrokerTool, uid: str) -> None:
    with ExitStack() as stack:
        listener, place = stack.enter_context(open_service())
        stack.enter_context(exposing(broker, uid, place))
        hosts = ["127.0.0.2", "127.0.0.3"]
        options = [f"--bind={host}" for host in hosts]
        forward = stack.enter_context(start_forward(broker, "0", uid, *options))
        line = forward.errors.readline().decode()
        places = line.removeprefix(f"trio-p2p: {uid!r} is at ").split(" and ")
        for text, host in zip(places, hosts, strict=True):
            address, _, port = text.strip().partition(":")
            assert address == host
            with socket.create_connection((host, int(port)), SECONDS) as client:
                accept(listener).close()
                assert client.recv(1) == b""


def test_several_services(broker: BrokerTool, uid: str) -> None:
    """They are told apart by name."""
    with ExitStack() as stack:
        listeners, places = zip(
            *(stack.enter_context(open_service()) for _ in range(3)), strict=True
        )
        names = ["", "a=", "b = c="]
        services = [name + place for name, place in zip(names, places, strict=True)]
        stack.enter_context(exposing(broker, uid, *services))
        pairs = [f"{name}0" for name in names]
        arguments = [each for pair in pairs for each in (pair, uid)]
        forward, port = stack.enter_context(forwarding(broker, *arguments))
        ports = [port, *(port_of(forward) for _ in names[1:])]
        for port, listener in zip(ports, listeners, strict=True):
            with dial(port) as client, accept(listener) as server:
                server.sendall(b"x")
                assert client.recv(1) == b"x"


@pytest.mark.parametrize(
    ("services", "asked", "said"),
    [
        (["a=", "b = c="], "d=", "exposes no service 'd': there is 'a', 'b = c'"),
        ([""], "a=", "exposes no service 'a': leave the name out"),
        (["a="], "", "exposes no service without a name: put one of these names in front of the "),
    ],
)
def test_service_that_is_not_there(
    broker: BrokerTool, uid: str, services: list[str], asked: str, said: str
) -> None:
    """It is said at once, and the service itself is not bothered for that."""
    with ExitStack() as stack:
        listener, place = stack.enter_context(open_service())
        stack.enter_context(exposing(broker, uid, *(f"{name}{place}" for name in services)))
        right = f"{services[0]}0"
        with start_forward(broker, right, uid, f"{asked}0", uid) as forward:
            code, output, errors = forward.end()
        assert (code, output) == (1, b"")
        assert_sentence(errors, f"the peer of {uid!r} {said}")
        with forwarding(broker, right, uid) as (_, port), dial(port) as client:
            client.sendall(b"the first connection")
            with accept(listener) as server:
                assert server.recv(3) == b"the"


def test_peer_that_does_not_say_what_it_exposes(broker: BrokerTool, uid: str) -> None:
    """What ``listen --exec`` runs is a service, too, and nothing is tried at its expense."""
    with listen(broker, uid, "--exec", "cat"), start_forward(broker, "0", uid) as forward:
        line = forward.errors.readline().decode()
        assert_sentence(line, f"the peer of {uid!r} does not say what it exposes: the first ")
        with dial(port_of(forward)) as client:
            client.sendall(b"x")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"x"


def test_peers_at_several_brokers(broker: BrokerTool, uid: str) -> None:
    """Tickets say where, and any of the ports may have one."""
    with ExitStack() as stack:
        other = stack.enter_context(open_broker())
        tickets, listeners = [], []
        for each in (broker, other):
            listener, place = stack.enter_context(open_service())
            listeners += [listener] * 2
            stack.enter_context(exposing(each, uid, f"a={place}", f"b={place}"))
            with Tool(*command("trio-p2p", "ticket", uid), broker=each.address) as tool:
                tickets.append(tool.end()[1].decode().strip())
        pairs = [[f"{name}=0", ticket] for ticket in tickets for name in "ab"]
        argv = command("trio-p2p", "forward", *(each for pair in pairs for each in pair))
        forward = stack.enter_context(Tool(*argv, broker=NOBODY))
        for listener in listeners:
            with dial(port_of(forward)) as client, accept(listener) as server:
                server.sendall(b"x")
                assert client.recv(1) == b"x"


def test_another_peer_than_the_second_ticket_says(
    broker: BrokerTool, uid: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        _, place = stack.enter_context(open_service())
        stack.enter_context(exposing(broker, uid, f"a={place}", f"b={place}"))
        stranger = identity_option(tmp_path)
        tickets = []
        for options in ([], [stranger]):
            with Tool(*command("trio-p2p", "ticket", uid, *options), broker=broker.address) as tool:
                tickets.append(tool.end()[1].decode().strip())
        argv = command("trio-p2p", "forward", "a=0", tickets[0], "b=0", tickets[1])
        with Tool(*argv, broker=NOBODY) as forward:
            code, _, errors = forward.end()
    assert code == 1
    expected = peer_id(stranger)
    assert_sentence(errors, "the broker introduced another peer than the expected one: expected")
    assert expected in errors


PAGE = (Path(__file__).parents[2] / "docs" / "tools.rst").read_text("utf-8")
SHOWN = re.findall(
    r"^   \$ trio-p2p expose my-uid (.*)$(?:.*\n)*?^   \$ trio-p2p forward (.*)$",
    PAGE,
    re.MULTILINE,
)


def test_there_are_examples() -> None:
    assert len(SHOWN) == 2


@pytest.mark.parametrize(("services", "ports"), SHOWN)
def test_what_the_documentation_shows(
    broker: BrokerTool, uid: str, services: str, ports: str
) -> None:
    """Its lines, at other ports."""
    with ExitStack() as stack:
        listeners = []
        arguments = []
        for service in services.split():
            listener, place = stack.enter_context(open_service())
            listeners.append(listener)
            arguments.append(re.sub(r"localhost:\d+$", place, service))
        stack.enter_context(exposing(broker, uid, *arguments))
        words = re.sub(r"\b\d+ my-uid", f"0 {uid}", ports).split()
        forward = stack.enter_context(start_forward(broker, *words))
        for listener in listeners:
            with dial(port_of(forward)) as client, accept(listener) as server:
                server.sendall(b"x")
                assert client.recv(1) == b"x"


def test_connect_speaks_with_a_service(broker: BrokerTool, uid: str) -> None:
    with (
        open_service() as (listener, place),
        exposing(broker, uid, place),
        connect(broker, uid) as client,
        accept(listener) as server,
    ):
        server.sendall(b"hello")
        server.shutdown(socket.SHUT_WR)
        assert client.end(b"world") == (0, b"hello", "")
        assert read_all(server) == b"world"


def test_admission(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.mkdir()
    mine, foreign = identity_option(one), identity_option(other)
    with open_service() as (listener, place):
        admit = f"--admit={peer_id(mine)}"
        with exposing(broker, uid, place, admit):
            with start_forward(broker, "0", uid, foreign) as stranger:
                code, output, errors = stranger.end()
            assert (code, output) == (1, b"")
            refusal = (
                f"the receiver does not admit {peer_id(foreign)}: give this peer id to --admit"
            )
            assert_sentence(errors, refusal)
            with (
                forwarding(broker, "0", uid, mine) as (_, port),
                dial(port) as client,
                accept(listener) as server,
            ):
                server.sendall(b"x")
                assert client.recv(1) == b"x"


@pytest.mark.parametrize("is_waiting", [False, True])
def test_receiver_that_is_not_there(broker: BrokerTool, uid: str, is_waiting: bool) -> None:
    with ExitStack() as stack:
        arguments = ["--wait"] if is_waiting else []
        forward = stack.enter_context(start_forward(broker, "0", uid, *arguments))
        if not is_waiting:
            code, output, errors = forward.end()
            assert (code, output) == (1, b"")
            assert_sentence(errors, f"no receiver is registered under {uid!r} at the broker at ")
            return
        broker.wait_for(f"uid={uid!r}")
        listener, place = stack.enter_context(open_service())
        stack.enter_context(exposing(broker, uid, place))
        with dial(port_of(forward)) as client, accept(listener) as server:
            server.sendall(b"x")
            assert client.recv(1) == b"x"


def test_peer_that_is_lost(broker: BrokerTool, uid: str) -> None:
    """What is open ends by a reset, and new connections wait until the peer is back."""
    with ExitStack() as stack:
        listener, place = stack.enter_context(open_service())
        expose = stack.enter_context(exposing(broker, uid, place))
        _, port = stack.enter_context(forwarding(broker, "0", uid, "--grace=60"))
        client = stack.enter_context(dial(port))
        server = stack.enter_context(accept(listener))
        server.sendall(b"x")
        assert client.recv(1) == b"x"
        expose.process.kill()
        expose.process.wait(SECONDS)
        late = stack.enter_context(dial(port))
        late.sendall(b"early")
        with exposing(broker, uid, place), accept(listener) as another:
            assert read_exactly(another, 5) == b"early"
            another.sendall(b"y")
            assert late.recv(1) == b"y"
            wait_reset(client)


def test_peer_that_does_not_come_back(broker: BrokerTool, uid: str) -> None:
    with ExitStack() as stack:
        _, place = stack.enter_context(open_service())
        expose = stack.enter_context(exposing(broker, uid, place))
        forward, port = stack.enter_context(forwarding(broker, "0", uid, "--grace=0.1", "-v"))
        assert expose.signal(signal.SIGTERM)[0] == 143
        wait_for_line(forward, "connection closed: ")
        with dial(port) as client:
            wait_reset(client)
        wait_for_line(forward, f"the peer of {uid!r} is away: connections wait for it")
        wait_for_line(
            forward, f"a connection to {uid!r} was reset: the peer did not come within 0.1 s"
        )


def wait_for_line(tool: Tool, text: str) -> None:
    """Read what a tool says, until a line has a text in it."""
    while text not in (line := tool.errors.readline().decode()):
        assert line, text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("exposing_one", [False, True])
def test_signal_in_the_midst(way: Way, number: signal.Signals, exposing_one: bool) -> None:
    """Both ends of what is open learn that it was cut short."""
    client, server = way.open()
    with client, server:
        server.sendall(b"x")
        assert client.recv(1) == b"x"
        tool = way.expose if exposing_one else way.forward
        assert tool.signal(number) == (128 + number, b"", "")
        wait_reset(client)
        wait_reset(server)


def test_signal_while_waiting_for_the_peer(broker: BrokerTool, uid: str) -> None:
    with start_forward(broker, "0", uid, "--wait") as forward:
        broker.wait_for(f"uid={uid!r}")
        assert forward.signal(signal.SIGINT) == (130, b"", "")


def test_signal_while_a_connection_waits_for_the_peer(broker: BrokerTool, uid: str) -> None:
    with ExitStack() as stack:
        _, place = stack.enter_context(open_service())
        expose = stack.enter_context(exposing(broker, uid, place))
        forward, port = stack.enter_context(forwarding(broker, "0", uid))
        assert expose.signal(signal.SIGTERM)[0] == 143
        client = stack.enter_context(dial(port))
        assert b": connections wait for " in forward.errors.readline()
        assert forward.signal(signal.SIGINT) == (130, b"", "")
        wait_reset(client)


def test_client_that_does_not_wait_for_the_peer(broker: BrokerTool, uid: str) -> None:
    """What resets its connection while the peer is away leaves nothing behind."""
    with ExitStack() as stack:
        listener, place = stack.enter_context(open_service())
        expose = stack.enter_context(exposing(broker, uid, place))
        forward, port = stack.enter_context(forwarding(broker, "0", uid))
        assert expose.signal(signal.SIGTERM)[0] == 143
        client = dial(port)
        assert b": connections wait for " in forward.errors.readline()
        abort(client)
        with exposing(broker, uid, place), dial(port) as second, accept(listener) as server:
            second.sendall(b"x")
            assert server.recv(1) == b"x"
        assert forward.signal(signal.SIGTERM)[0] == 143


def test_without_standard_streams(broker: BrokerTool, uid: str) -> None:
    """They serve as daemons, too, which may have none."""
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    with ExitStack() as stack:
        listener, place = stack.enter_context(open_service())
        port = stack.enter_context(reserved_port())
        expose = command("trio-p2p", "expose", uid, place)
        with broker.expecting_registration(uid):
            stack.enter_context(Tool(*shell, *expose, broker=broker.address))
        forward = command("trio-p2p", "forward", str(port), uid, "--bind", HOST, "--wait")
        stack.enter_context(Tool(*shell, *forward, broker=broker.address))
        with dial_when_there(port) as client, accept(listener) as server:
            server.sendall(b"x")
            assert client.recv(1) == b"x"


def test_local_port_that_is_taken(broker: BrokerTool, uid: str) -> None:
    with open_service() as (listener, _):
        port = listener.getsockname()[1]
        with start_forward(broker, str(port), uid) as forward:
            code, output, errors = forward.end()
    assert (code, output) == (1, b"")
    assert_sentence(errors, f"port {port} cannot be listened on (Address already in use): choose ")


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["forward", "0", "u", "1"], "the port '1' has no UID behind it: give PORT UID for each"),
        (["forward", "0", "u", "x", "u"], "'x' is no local port: give its number, like 8080, "),
        (["forward", "0", "u", "1", ""], "'' is no UID: "),
        (["forward", "9", "u", "9", "u"], "two services want the same local port: give each "),
        (["expose", "u", "1", "2"], "two services have the same name: put another NAME= in front"),
        (["expose", "u", "1", "--admit=x"], "'x' is no peer to admit: give a peer id, "),
        (["forward", "0", "u", "--no-relay", "--only=relay"], "--no-relay and --only relay leave "),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, errors = run_main(main_command.main, [*arguments, "--broker", NOBODY], capsys)
    assert code == 2
    assert_sentence(errors, sentence)


@pytest.mark.parametrize(
    "arguments",
    [
        ["expose", "u", "localhost:0"],
        ["expose", "u", "localhost:65536"],
        ["expose", "u", "localhost"],
        ["expose", "u", "a\nb:80"],
        ["expose", "u", "a\nb=80"],
        ["expose", "u", f"{'h' * 254}:80"],
        ["expose", "u", f"{'n' * 129}=80"],
        ["expose", "u", "80", "--raw"],
        ["forward", "80"],
        ["forward", "-1", "u"],
        ["forward", "65536", "u"],
        ["forward", "localhost:80", "u"],
        ["forward", "a\nb=80", "u"],
        ["forward", "80", ""],
        ["forward", "80", "u", "--admit=p"],
    ],
)
def test_malformed_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 2
    assert errors.startswith("usage: trio-p2p ")

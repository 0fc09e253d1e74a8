"""Every command line that the documentation shows is run, as it stands there.

A new one fails ``test_every_line_is_run`` until a scenario runs it.
"""

import os
import re
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from ..files.offers import files_in, make_tree
from ..kit.certificates import Authority
from ..kit.commands import SECONDS, Tool, end_both
from ..kit.documented import ROOT, Host, documented_lines, open_host, shown_behind
from ..kit.terminals import open_terminal, read_until

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("kernel_network")]

F = TypeVar("F", bound=Callable[..., None])

NEW_ENVIRONMENT = "python3 -m venv .venv && .venv/bin/pip"
# Which are run by other tests, or cannot be run by any.
ELSEWHERE = {
    **{
        f"python examples/hello.py {role} my-uid broker.example.org:4433": "the program is run by "
        "tests/examples/test_examples.py, and by the tutorial's test as the page shows it"
        for role in ("receive", "send")
    },
    "trio-p2p demo --nat": "tests/commands/test_demo.py::test_with_nats",
    f"{NEW_ENVIRONMENT} install nox && .venv/bin/nox": "what .ci/run ends with, says "
    "tests/test_readme.py",
    f"{NEW_ENVIRONMENT} install . && .venv/bin/trio-p2p demo --nat": "installs from an index, as "
    "the line before does; the demo is that of tests/commands/test_demo.py",
    ".venv/bin/nox -s tests-3.12 -- tests/traversal/test_race.py -x": "runs these tests",
    ".venv/bin/nox": "as .ci/run does",
    '.venv/bin/pytest -m "not nat and not slow"': "runs these tests",
    ".venv/bin/pytest tests/wire": "runs these tests",
    ".venv/bin/pre-commit install": "writes into the clone; tests/test_habits.py checks the hooks",
    "python3 -m venv .venv": "goes with the next one",
    ".venv/bin/pip install -e '.[status,completion,tools]' --group test --group lint --group docs "
    "nox pre-commit": "installs from an index",
    "pip install -e . --group bench --group requests --group peers": "installs from an index",
    "python -m benchmarks": "takes an hour, and a quiet machine",
    "python -m benchmarks requests": "takes a minute, and a quiet machine",
    "pytest test_deposits.py": "tests/testing_kit runs it, and counts what fails",
    "pip install .": "installs from an index",
    "pip install 'trio-p2p[status]'": "installs from an index, once there is a release",
    "python3 -m venv /opt/trio-p2p": "goes with the next one",
    "/opt/trio-p2p/bin/pip install 'trio-p2p[status]'": "installs from an index",
    "systemctl enable --now trio-p2p-broker": "wants systemd as process 1; the unit is checked by "
    "tests/deploy/test_deploy.py",
    "systemctl reload trio-p2p-broker && systemctl stop trio-p2p-broker": "as before; the signals "
    "that it sends are those of tests/commands/test_broker_reloading.py and test_broker_end.py",
}
RUN: dict[str, tuple[str, ...]] = {}


def runs(*lines: str) -> Callable[[F], F]:
    """Say which documented lines a test runs."""

    def decorate(test: F) -> F:
        RUN[test.__name__] = lines
        return test

    return decorate


BROKER = "trio-p2p-broker --port 4433"
HERE = "export TRIO_P2P_BROKER=broker.example.org:4433"


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    with open_host(tmp_path) as host:
        yield host
        assert host.ran == set(RUN[request.node.originalname])


def wait_for(tool: Tool, text: str) -> str:
    """What follows a text in the line of standard error that has it."""
    while text not in (line := tool.errors.readline().decode()):
        assert line, text
    return line.partition(text)[2].strip()


@contextmanager
def serving(host: Host, line: str = BROKER, *, more: str = "") -> Generator[Tool]:
    """A broker that was started by a documented line, and ends well."""
    with host.run(line, more=more) as broker:
        wait_for(broker, "listening on ")
        yield broker
        assert broker.signal(signal.SIGINT)[0] == 0


def end(*tools: Tool) -> None:
    for tool in tools:
        assert tool.signal(signal.SIGINT)[0] == 130


def test_every_line_is_run() -> None:
    documented = {line for _, line in documented_lines()}
    known = {line for lines in RUN.values() for line in lines} | set(ELSEWHERE)
    assert documented - known == set(), "run these in a test of this module"
    assert known - documented == set(), "these are not documented any more"
    assert len(documented) > 40


# README, quickstart


@runs(BROKER, "trio-p2p expose my-laptop 22", "trio-p2p forward 2222 my-laptop")
def test_services_of_the_readme(host: Host) -> None:
    with (
        serving(host),
        answering_at(host, 22, "SSH-2.0-it"),
        host.run("trio-p2p expose my-laptop 22") as expose,
    ):
        wait_for(expose, "exposing localhost:22 as 'my-laptop'")
        with host.run("trio-p2p forward 2222 my-laptop") as forward:
            wait_for(forward, "'my-laptop' is at ")
            assert spoken_at(host, 2222) == "SSH-2.0-it\n"
            end(forward, expose)


@contextmanager
def answering_at(host: Host, port: int, words: str) -> Generator[None]:
    """A service that says some words to each connection."""
    program = (
        "import socket\n"
        f"with socket.create_server(('127.0.0.1', {port})) as listener:\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        with listener.accept()[0] as connection:\n"
        f"            connection.sendall(b'{words}\\n')"
    )
    with host.run(f'python3 -c "{program}"', undocumented=True) as tool:
        assert tool.output.readline() == b"ready\n"
        yield


def spoken_at(host: Host, port: int) -> str:
    """What is said at a port of the host."""
    return host.done(f"cat < /dev/tcp/localhost/{port}", undocumented=True)


@runs(BROKER, "trio-p2p send holiday/", "trio-p2p receive 38412-otter-lemon-igloo")
def test_files_of_the_readme(host: Host) -> None:
    make_tree(host.home, {"holiday/beach.jpg": b"sand"})
    (host.home / "elsewhere").mkdir()
    with serving(host), host.run("trio-p2p send holiday/") as send:
        code = wait_for(send, "run: trio-p2p receive ")
        host.home = host.home / "elsewhere"
        line = "trio-p2p receive 38412-otter-lemon-igloo"
        receive_at_terminal(host, line, code)
        assert send.end()[0] == 0
    assert files_in(host.home) == {"holiday": None, "holiday/beach.jpg": b"sand"}


def receive_at_terminal(host: Host, line: str, code: str) -> None:
    """Take the files of a code, and say yes when asked."""
    with open_terminal() as (screen, streams):
        instead = {"38412-otter-lemon-igloo": code}
        with host.run(line, instead=instead, terminal=streams) as receive:
            streams.close()
            read_until(screen, b"Take them? [y/N] ")
            screen.write(b"y\n")
            assert receive.process.wait(SECONDS) == 0


# Tools


@runs("cat broker.toml", "trio-p2p-broker --config broker.toml")
def test_a_file_with_settings(host: Host) -> None:
    settings = shown_behind("docs/tools.rst", "cat broker.toml")
    (host.home / "broker.toml").write_text(settings)
    assert host.done("cat broker.toml") == settings
    with serving(host, "trio-p2p-broker --config broker.toml"):
        assert "registration" not in host.done("trio-p2p doctor", undocumented=True)


COMPLETION = "~/.local/share/bash-completion/completions"


@runs(f"mkdir -p {COMPLETION}", f"trio-p2p completion bash > {COMPLETION}/trio-p2p")
def test_completion(host: Host) -> None:
    """The file is where bash-completion looks for it when the command is typed; so is it loaded."""
    assert host.done(f"mkdir -p {COMPLETION}") == ""
    assert host.done(f"trio-p2p completion bash > {COMPLETION}/trio-p2p") == ""
    with open_terminal() as (screen, streams):
        shell = "PS1='ready> ' bash --norc --noprofile -i"
        with host.run(shell, undocumented=True, terminal=streams) as bash:
            streams.close()
            read_until(screen, b"ready> ")
            for typed, shown in (
                (f". {COMPLETION}/trio-p2p\n", b"ready> "),
                ("trio-p2p com\t", b"trio-p2p completion "),
                ("ba\t", b"bash "),
                ("\x15trio-p2p ping --cou\t", b"--count "),  # Ctrl-U deletes the line
            ):
                screen.write(typed.encode())
                read_until(screen, shown)
            screen.write(b"\x15exit\n")
            assert bash.process.wait(SECONDS) == 0


@runs(BROKER, HERE, "tar c photos | trio-p2p listen my-uid", "trio-p2p connect my-uid | tar x")
def test_streams(host: Host) -> None:
    make_tree(host.home, {"photos/beach.jpg": os.urandom(300_000)})
    assert host.done(HERE, more="&& env | grep ^TRIO_P2P_BROKER=") == f"{HERE.split()[1]}\n"
    with serving(host), host.run("tar c photos | trio-p2p listen my-uid") as listen:
        wait_for(listen, "waiting for a peer as 'my-uid'")
        given, host.home = host.home, host.home / "elsewhere"
        host.home.mkdir()
        with host.run("trio-p2p connect my-uid | tar x") as connect:
            assert [code for code, _, _ in end_both(listen, connect)] == [0, 0]
    assert files_in(host.home / "photos") == files_in(given / "photos")


@runs(
    BROKER,
    "trio-p2p expose my-uid localhost:80",
    "trio-p2p forward 8080 my-uid",
    "trio-p2p expose my-uid web=localhost:80 ssh=localhost:22",
    "trio-p2p forward web=8080 my-uid ssh=2222 my-uid",
)
def test_services(host: Host) -> None:
    with serving(host), answering_at(host, 80, "web"), answering_at(host, 22, "ssh"):
        for services, ports, found in (
            ("localhost:80", "8080 my-uid", {8080: "web\n"}),
            (
                "web=localhost:80 ssh=localhost:22",
                "web=8080 my-uid ssh=2222 my-uid",
                {8080: "web\n", 2222: "ssh\n"},
            ),
        ):
            with host.run(f"trio-p2p expose my-uid {services}") as expose:
                for _ in services.split():
                    wait_for(expose, "exposing ")
                with host.run(f"trio-p2p forward {ports}") as forward:
                    for _ in found:
                        wait_for(forward, "'my-uid' is at ")
                    assert {port: spoken_at(host, port) for port in found} == found
                    end(forward, expose)


@runs(
    BROKER,
    "trio-p2p answer my-uid",
    "trio-p2p ping my-uid --count 3",
    "trio-p2p speed my-uid",
    "trio-p2p doctor --broker broker.example.org:4433",
    "trio-p2p doctor my-uid",
    "trio-p2p peers",
    "trio-p2p id",
)
def test_measures(host: Host) -> None:
    with serving(host), host.run("trio-p2p answer my-uid") as answer:
        wait_for(answer, "answering every peer")
        pinged = host.done("trio-p2p ping my-uid --count 3", more="--interval 0").splitlines()
        form = shown_behind("docs/tools.rst", "trio-p2p ping my-uid --count 3").splitlines()
        assert [line.split()[0] for line in pinged[1:4]] == ["1", "2", "3"]
        assert [line.split()[0] for line in pinged[:5]] == [line.split()[0] for line in form]
        measured = host.done("trio-p2p speed my-uid", more="--seconds 0.1")
        assert re.search(r"^download +\d+\.\d\d MB/s  \w", measured, re.MULTILINE)
        assert re.search(r"^upload +\d+\.\d\d MB/s  \w", measured, re.MULTILINE)
        me = host.done("trio-p2p id").strip()
        assert host.done("trio-p2p peers") == f"{me}  my-uid at broker.example.org:4433\n"
        page = host.done("trio-p2p doctor --broker broker.example.org:4433")
        assert "broker.example.org" in page or "127.0.0.1" in page
        assert "The peer 'my-uid'" in host.done("trio-p2p doctor my-uid")
        end(answer)


@runs(
    BROKER,
    "trio-p2p chat my-uid --listen --name Alice",
    "trio-p2p chat my-uid --name Bob",
)
def test_chat(host: Host) -> None:
    with serving(host), host.run("trio-p2p chat my-uid --listen --name Alice") as alice:
        wait_for(alice, "waiting for a peer as 'my-uid'")
        with host.run("trio-p2p chat my-uid --name Bob") as bob:
            alice.say(b"hi\n")
            assert bob.output.readline() == b"Alice: hi\n"
            bob.say(b"hello\n")
            assert alice.output.readline() == b"Bob: hello\n"
            assert [code for code, _, _ in end_both(bob, alice)] == [0, 0]


FILES = "trio-p2p send holiday/ notes.txt"
INTO = "trio-p2p receive 38412-otter-lemon-igloo --into Downloads"


@runs(BROKER, FILES, INTO)
def test_files(host: Host) -> None:
    make_tree(host.home, {"holiday/beach.jpg": b"sand", "notes.txt": b"x", "Downloads": None})
    with serving(host), host.run(FILES) as send:
        code = wait_for(send, "run: trio-p2p receive ")
        receive_at_terminal(host, INTO, code)
        assert send.end()[0] == 0
    assert set(files_in(host.home / "Downloads")) == {"holiday", "holiday/beach.jpg", "notes.txt"}


@runs(BROKER, "trio-p2p listen --code")
def test_codes(host: Host) -> None:
    with serving(host), host.run("trio-p2p listen --code") as listen:
        code = wait_for(listen, "on the other side run: trio-p2p connect ")
        with host.run(f"trio-p2p connect {code}", undocumented=True) as connect:
            ended = end_both(listen, connect, b"x", b"y")
    assert [each[:2] for each in ended] == [(0, b"y"), (0, b"x")]


@runs("trio-p2p ticket my-uid --qr")
def test_tickets(host: Host) -> None:
    *picture, ticket = host.done("trio-p2p ticket my-uid --qr").splitlines()
    assert ticket.startswith("p2pticket")
    assert len(picture) > 15


# A broker


@runs("trio-p2p-broker --external 192.0.2.1")
def test_external_endpoint(host: Host) -> None:
    with serving(host, "trio-p2p-broker --external 192.0.2.1"):
        pass


TOKEN = "trio-p2p-broker token --key tokens.pem"
CLOSED = "trio-p2p-broker --closed --token-key tokens.pem"


@runs(TOKEN, CLOSED)
def test_tokens(host: Host) -> None:
    with host.run(TOKEN) as making:
        code, output, errors = making.end()
    assert code == 0, errors
    assert "made a token: " in errors
    with serving(host, CLOSED):
        admitted = f"trio-p2p answer u --token {output.decode().strip()}"
        with host.run("trio-p2p answer u", undocumented=True) as stranger:
            assert stranger.end()[0] == 1
        with host.run(admitted, undocumented=True) as tool:
            wait_for(tool, "answering every peer")
            end(tool)


TLS = "trio-p2p-broker --tls-cert fullchain.pem --tls-key privkey.pem"
PIN = (
    "openssl x509 -in fullchain.pem -pubkey -noout | openssl pkey -pubin -outform der | "
    "openssl dgst -sha256"
)


@runs(TLS, PIN)
def test_tls(host: Host, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("broker.example.org")
    files.certificate.rename(host.home / "fullchain.pem")
    files.key.rename(host.home / "privkey.pem")
    pin = host.done(PIN).split()[-1]
    with host.run(TLS, more="--log-level info") as broker:
        assert wait_for(broker, "#sha256=") == pin
        place = f"tls://broker.example.org:4433#sha256={pin}"
        host.done(f"trio-p2p doctor --broker {place}", undocumented=True)
        assert broker.signal(signal.SIGINT)[0] == 0


PROXY = "trio-p2p-broker --proxy-from 192.0.2.10 --proxy-from 2001:db8:1::/64"


@runs(PROXY)
def test_proxies(host: Host) -> None:
    with serving(host, PROXY):
        host.done("trio-p2p doctor", undocumented=True)  # which does not come from there


@runs(
    "install -D -m 644 deploy/broker.toml /etc/trio-p2p/broker.toml",
    "install -m 644 deploy/trio-p2p-broker.service /etc/systemd/system/",
    "echo 'move-to = [\"broker2.example.org:4433\"]' >> /etc/trio-p2p/broker.toml",
)
def test_deployment(host: Host) -> None:
    (host.home / "deploy").symlink_to(ROOT / "deploy")
    host.done("install -D -m 644 deploy/broker.toml /etc/trio-p2p/broker.toml")
    host.done("install -m 644 deploy/trio-p2p-broker.service /etc/systemd/system/")
    unit = host.etc / "systemd/system/trio-p2p-broker.service"
    assert unit.read_text() == (ROOT / "deploy/trio-p2p-broker.service").read_text()
    host.done("echo 'move-to = [\"broker2.example.org:4433\"]' >> /etc/trio-p2p/broker.toml")
    check = "trio-p2p-broker --config /etc/trio-p2p/broker.toml --check-config"
    assert 'move-to = ["broker2.example.org:4433"]' in host.done(check, undocumented=True)


STATUS = "trio-p2p-broker --status 127.0.0.1:9433"
SECRET = "openssl rand -hex 16 > /etc/trio-p2p/token"
STATUS_FOR_ALL = "trio-p2p-broker --status 0.0.0.0:9433 --status-token /etc/trio-p2p/token"


GET_METRICS = (
    "import sys, urllib.request as http; "
    "request = http.Request('http://127.0.0.1:9433/metrics'); "
    "request.add_header('Authorization', sys.argv[-1]); "
    "print(http.urlopen(request).read().decode())"
)


@runs(STATUS, SECRET, STATUS_FOR_ALL)
def test_status(host: Host) -> None:
    (host.etc / "trio-p2p").mkdir()
    host.done(SECRET)
    token = (host.etc / "trio-p2p/token").read_text().strip()
    assert re.fullmatch("[0-9a-f]{32}", token)
    get = f'python3 -c "{GET_METRICS}"'
    for line, header in ((STATUS, ""), (STATUS_FOR_ALL, f"Bearer {token}")):
        with host.run(line) as broker:
            wait_for(broker, "status page on ")
            assert "trio_p2p_broker_" in host.done(get, more=f"'{header}'", undocumented=True)
            if header:
                with host.run(get, more="no", undocumented=True) as stranger:
                    assert stranger.end()[0] != 0
            assert broker.signal(signal.SIGINT)[0] == 0

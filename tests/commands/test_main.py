"""The arguments of the shell tools: each mistake gets a sentence."""

from typing import Any

import pytest

from trio_p2p import PeerId
from trio_p2p._commands import broker as broker_command, main as main_command

from ..kit.commands import NOBODY, assert_sentence, run_main

pytestmark = pytest.mark.once


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("subcommand", ["listen", "connect"])
@pytest.mark.parametrize(
    ("uid", "options", "sentence"),
    [
        ("", ["--broker", NOBODY], "'' is no UID: "),
        ("u" * 129, ["--broker", NOBODY], "'uuu"),
        ("\udcff", ["--broker", NOBODY], "'\\udcff' is no UID: "),
        ("uid", ["--broker", "example.org:x"], "'example.org:x' is no broker: give HOST:PORT"),
        ("uid", ["--broker", ""], "'' is no broker: give HOST:PORT"),
        (
            "uid",
            ["--broker", NOBODY, "--only", "fsat"],
            "'fsat' is no technique: choose from fast, ",
        ),
        ("uid", ["--broker", NOBODY, "--grace", "-5"], "-5.0 is no time: give seconds, 0 or more"),
        ("uid", ["--broker", NOBODY, "--grace", "nan"], "nan is no time: give seconds, 0 or more"),
        ("uid", ["--broker", NOBODY, "--grace", "long"], "'long' is no time: give seconds, 0 or"),
    ],
)
def test_malformed_arguments(
    subcommand: str,
    uid: str,
    options: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, errors = run_main(main_command.main, [subcommand, uid, *options], capsys)
    assert code == 2
    assert f": {sentence}" in errors.splitlines()[-1]
    assert "Technique." not in errors


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("subcommand", ["listen", "connect"])
def test_broker_of_the_environment_that_is_malformed(
    subcommand: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIO_P2P_BROKER", "example.org:")
    code, errors = run_main(main_command.main, [subcommand, "uid"], capsys)
    assert code == 2
    assert "'example.org:' is no broker: give HOST:PORT" in errors


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("peer", ["foo", "", str(PeerId(bytes(23)))[:-1] + "7"])
def test_expected_peer_that_is_malformed(peer: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["connect", "uid", "--broker", NOBODY, "--expect", peer]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 2
    assert f"error: argument --expect: {peer!r} is not a peer id, " in errors.splitlines()[-1]


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("subcommand", ["listen", "connect"])
@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--broker", NOBODY], 1, f"no broker answers at {NOBODY} ("),
        (["--broker", "nowhere.invalid:1"], 1, "the broker's host 'nowhere.invalid' cannot"),
        ([], 2, "where is the broker? Say --broker HOST:PORT, or set TRIO_P2P_BROKER"),
    ],
)
def test_no_broker(
    subcommand: str,
    options: list[str],
    code: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended_with, errors = run_main(main_command.main, [subcommand, "uid", *options], capsys)
    assert ended_with == code
    assert_sentence(errors, sentence)


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (main_command.main, []),
        (main_command.main, ["call"]),
        (main_command.main, ["connect"]),
        (main_command.main, ["connect", "uid", "--only", "slow"]),
        (main_command.main, ["connect", "uid", "--grace", "long"]),
        (main_command.main, ["listen", "uid", "--report", "file"]),
        (main_command.main, ["listen", "uid", "--expect", "peer"]),
        (main_command.main, ["id", "uid"]),
        (broker_command.main, ["--port", "65536"]),
        (broker_command.main, ["--port", "-1"]),
        (broker_command.main, ["--port", "http"]),
        (broker_command.main, ["--relay-rate", "0"]),
        (broker_command.main, ["--relay-bytes", "1 MB"]),
        (broker_command.main, ["--relay-idle", "0"]),
        (broker_command.main, ["--relay-idle", "9.9"]),
        (broker_command.main, ["--relay-idle", "long"]),
        (broker_command.main, ["--probe-at", "nowhere"]),
        (main_command.main, ["doctor", "--broker", "nowhere:"]),
    ],
)
def test_wrong_usage(main: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = run_main(main, arguments, capsys)
    assert code == 2
    assert errors.startswith("usage: trio-p2p")
    assert "error: " in errors


PEER = str(PeerId(bytes(23)))
WITHOUT_SESSION = "a raw connection proves no identity, and does not outlive its path: leave "
NO_WAY = " leave no way to a peer: leave one of them out"


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["connect", "--raw", "--identity", "file"], f"{WITHOUT_SESSION}--identity out, or --raw"),
        (["connect", "--raw", "--expect", PEER], f"{WITHOUT_SESSION}--expect out, or --raw"),
        (["connect", "--raw", "--grace", "0"], f"{WITHOUT_SESSION}--grace out, or --raw"),
        (["listen", "--raw", "--grace", "0"], f"{WITHOUT_SESSION}--grace out, or --raw"),
        (["connect", "--raw", "--only", "relay"], f"--raw and --only relay{NO_WAY}"),
        (["listen", "--no-relay", "--only", "relay"], f"--no-relay and --only relay{NO_WAY}"),
        (["listen", "--raw", "--admit", PEER], f"{WITHOUT_SESSION}--admit out, or --raw"),
    ],
)
def test_wrong_combinations(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *options = arguments
    code, errors = run_main(main_command.main, [command, "u", "--broker", NOBODY, *options], capsys)
    assert code == 2
    assert_sentence(errors, sentence)


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (main_command.main, [], ["listen", "connect", "expose", "forward", "demo", "id", "doctor"]),
        (
            main_command.main,
            ["doctor"],
            ["UID", "--broker HOST:PORT", "$TRIO_P2P_BROKER", "--json", "--verbose"],
        ),
        (
            main_command.main,
            ["listen"],
            ["UID", "--broker HOST:PORT", "--only", "--no-relay", "--raw", "--grace", "--verbose"],
        ),
        (
            main_command.main,
            ["connect"],
            ["UID", "--broker HOST:PORT", "$TRIO_P2P_BROKER", "--only", "--report FILE", "-v"],
        ),
        (main_command.main, ["connect"], ["--identity FILE", "--expect PEER_ID"]),
        (main_command.main, ["listen"], ["--keep", "--exec COMMAND", "--admit PEER"]),
        (main_command.main, ["connect"], ["--wait"]),
        (main_command.main, ["expose"], ["UID", "[NAME=][HOST:]PORT", "--admit PEER", "-v"]),
        (main_command.main, ["forward"], ["[NAME=]PORT", "UID", "--bind HOST", "--expect", "-v"]),
        (main_command.main, ["ping"], ["UID", "--count NUMBER", "--interval SECONDS", "--json"]),
        (main_command.main, ["speed"], ["UID", "--seconds SECONDS", "--json", "--expect PEER_ID"]),
        (main_command.main, ["answer"], ["UID", "--admit PEER", "--broker HOST:PORT"]),
        (main_command.main, ["chat"], ["UID", "--listen", "--name NAME", "--admit PEER"]),
        (main_command.main, ["peers"], ["forget", "name", "--json"]),
        (main_command.main, ["peers", "forget"], ["PEER"]),
        (main_command.main, ["peers", "name"], ["NAME", "PEER"]),
        (main_command.main, ["id"], ["--identity FILE", "--json"]),
        (main_command.main, ["completion"], ["SHELL", "bash, zsh"]),
        (main_command.main, ["listen"], ["--quiet", "--broker HOST:PORT"]),
        (main_command.main, ["ticket"], ["UID", "--qr", "--broker", "--identity FILE"]),
        (main_command.main, ["send"], ["FILE", "--uid UID", "--admit", "--broker", "--grace"]),
        (main_command.main, ["receive"], ["CODE", "--into DIR", "--yes", "--expect", "--wait"]),
        (main_command.main, ["demo"], ["--nat"]),
        (broker_command.main, [], ["--host", "--port", "4433", "--no-relay", "--verbose"]),
        (broker_command.main, [], ["--probe-port PORT", "--probe-at HOST:PORT", "--no-probes"]),
    ],
)
def test_help(
    main: Any, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert [word for word in words if word not in text] == []

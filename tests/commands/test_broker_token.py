"""``trio-p2p-broker token``: makes tokens, and peers use them."""

import re
from pathlib import Path

import pytest

from trio_p2p import Identity
from trio_p2p._commands import broker as broker_command
from trio_p2p._identity.access_token import Use, check_token_untrusted, parse_token
from trio_p2p._identity.token_key import load_public_key
from trio_p2p._net.calendar import unix_time

from ..kit.commands import (
    Tool,
    assert_sentence,
    command,
    connect,
    end_both,
    listen,
    open_broker,
)

pytestmark = pytest.mark.once


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "tokens.pem"


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that is printed."""
    assert broker_command.main(["token", *arguments]) == 0
    output = capsys.readouterr().out
    assert re.fullmatch("tp2p_[A-Za-z0-9_-]+\n", output)
    return output[:-1]


def test_a_token_and_its_key_are_made(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (parse_token(made(capsys, f"--key={key}")) for _ in range(2))
    tokens = [check_token_untrusted(each, [load_public_key(key)]) for each in (first, second)]
    assert tokens[0].identifier != tokens[1].identifier
    assert tokens[0].uses == set(Use)
    assert 29 < (tokens[0].expires_at - unix_time()) / 86_400 < 31
    assert (tokens[0].peer_id, tokens[0].pattern) == (None, None)


def test_a_token_for_one_thing(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = Identity.generate().peer_id
    options = ["--may=ask,relay", "--days=0.5", f"--peer={peer}", "--uid=team-*"]
    text = made(capsys, f"--key={key}", *options)
    token = check_token_untrusted(parse_token(text), [load_public_key(key)])
    assert token.uses == {Use.ASK, Use.RELAY}
    assert 0.4 < (token.expires_at - unix_time()) / 86_400 < 0.6
    assert (token.peer_id, token.pattern) == (peer, "team-*")
    assert broker_command.main(["token", "--show", text]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{token.identifier.hex()}, until 20")
    assert shown.endswith(f" UTC, to ask, relay, for {peer} and UIDs like team-*\n")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Say --key FILE"),
        (["--key=x", "--days=0"], "is not a number of days"),
        (["--key=x", "--days=inf"], "is not a number of days"),
        (["--key=x", "--days=never"], "is not a number of days"),
        (["--key=x", "--may=fly"], "give some of register,ask,relay"),
        (["--key=x", "--peer=alice"], "is not a peer id"),
        (["--key=x", "--uid="], "is no pattern of UIDs"),
        (["--show=x"], "this is no access token"),
    ],
)
def test_mistakes(
    options: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        broker_command.main(["token", *options])
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_key(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key.write_text("garbage")
    key.chmod(0o600)
    assert broker_command.main(["token", "--key", str(key)]) == 1
    assert "does not hold an identity" in capsys.readouterr().err


def test_peers_of_a_closed_broker(
    key: Path, uid: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = made(capsys, f"--key={key}")
    with open_broker("--closed", f"--token-key={key}") as broker:
        with listen(broker, uid) as stranger:
            code, _, errors = stranger.end()
        assert code == 1
        assert_sentence(errors, f"the broker at {broker.address} does not admit this program: ")
        with (
            listen(broker, uid, f"--token={token}") as receiver,
            monkeypatch.context() as patched,
        ):
            patched.setenv("TRIO_P2P_TOKEN", token)
            with connect(broker, uid) as sender:
                assert end_both(receiver, sender, b"x", b"y") == [(0, b"y", ""), (0, b"x", "")]
        argv = command("trio-p2p", "listen", uid, "--token=x")
        with Tool(*argv, broker=broker.address) as mistaken:
            code, _, errors = mistaken.end()
        assert code == 2
        assert "this is no access token" in errors

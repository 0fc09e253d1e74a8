"""The user's identity: where it is kept, who may read it, and how it is named."""

import os
import sys
from pathlib import Path

import platformdirs
import pytest

from trio_p2p._commands import main as main_command
from trio_p2p._commands.identity_file import configuration_directory, load_or_create_identity
from trio_p2p._commands.run import CommandError
from trio_p2p._errors import IdentityError
from trio_p2p._identity.identity import Identity
from trio_p2p._identity.peer_id import PeerId

from ..kit.commands import (
    NOBODY,
    Tool,
    assert_sentence,
    command,
    identity_option,
    peer_id,
    run_main,
)
from .files import mode_of, run_at_once

# What ``trio-p2p id`` prints


@pytest.mark.once
def test_id(configuration: Path, tmp_path: Path) -> None:
    mine = peer_id()
    assert str(PeerId.parse(mine)) == mine
    assert peer_id() == mine
    assert str(Identity.load(configuration / "identity.pem").peer_id) == mine
    other = identity_option(tmp_path)
    assert peer_id(other) == peer_id(other) != mine


@pytest.mark.once
def test_id_of_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "new.pem"
    with Tool(*command("trio-p2p", "id", "--identity", str(file))) as tool:
        code, output, errors = tool.end()
    assert code == 0
    assert_sentence(errors, f"made a new identity, {output.decode().strip()}, in {file}")
    assert peer_id("--identity", str(file)) == output.decode().strip()


@pytest.mark.once
@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("arguments", [["id"], ["listen", "u"], ["connect", "u"]])
def test_identity_that_others_can_read(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRIO_P2P_BROKER", NOBODY)
    file = tmp_path / "other.pem"
    option = identity_option(tmp_path)
    file.chmod(0o640)
    code, errors = run_main(main_command.main, [*arguments, option], capsys)
    assert code == 1
    assert_sentence(errors, f"the identity {file} may be read or written by others")
    assert f"run chmod 600 {file}" in errors


# The configuration directory


def test_only_the_user_sees_the_configuration_directory(directory: Path) -> None:
    assert configuration_directory() == directory
    assert mode_of(directory) == 0o700
    assert configuration_directory() == directory


def test_a_configuration_directory_that_cannot_be_made_is_explained(directory: Path) -> None:
    directory.parent.touch()
    with pytest.raises(CommandError, match=r"cannot be made \(.*set XDG_CONFIG_HOME"):
        configuration_directory()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, "user_config_path", fail)
    with pytest.raises(CommandError, match=r"no home directory.*set HOME or XDG_CONFIG_HOME"):
        configuration_directory()


WITHOUT_A_HOME = """
import os, sys
import trio_p2p._commands.main
del os.environ["XDG_CONFIG_HOME"]
os.environ.pop("HOME", None)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)
else:
    sys.exit(77)
code = trio_p2p._commands.main.main(["id"])
sys.stderr.flush()
os._exit(code)  # coverage could not write its file as this user
"""


@pytest.mark.once
def test_an_unknown_user_without_a_home_gets_a_sentence() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become an unknown user")
    with Tool(sys.executable, "-c", WITHOUT_A_HOME) as tool:
        code, output, errors = tool.end()
    assert (code, output) == (1, b"")
    assert errors.count("\n") == 1
    assert ": this user has no home directory" in errors


# The identity


def test_the_identity_of_a_user_is_made_once(
    directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    identity = load_or_create_identity(None)
    assert load_or_create_identity(None) == identity
    assert Identity.load(directory / "identity.pem") == identity
    assert capfd.readouterr() == ("", "")


def test_a_named_file_that_is_missing_is_made_and_the_user_told(
    tmp_path: Path, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.pem"
    identity = load_or_create_identity(str(file))
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors == f"trio-p2p: made a new identity, {identity.peer_id}, in {file}\n"
    assert load_or_create_identity(str(file)) == identity
    assert capfd.readouterr() == ("", "")
    assert not directory.exists()


def test_a_file_that_cannot_be_used_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "my.pem"
    file.touch(mode=0o600)
    with pytest.raises(IdentityError, match="does not hold an identity"):
        load_or_create_identity(str(file))
    assert file.read_bytes() == b""
    with pytest.raises(IdentityError, match=r"cannot be written \(No such file"):
        load_or_create_identity(str(tmp_path / "missing" / "my.pem"))
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(IdentityError, match=r"cannot be read \(No such file"):
        load_or_create_identity(str(tmp_path / "link"))


def test_an_identity_that_another_process_just_made_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = Identity.generate()

    def generate() -> Identity:
        faster.save(tmp_path / "my.pem")  # between the look for the file and its making
        return slower

    slower = Identity.generate()
    monkeypatch.setattr(Identity, "generate", generate)
    assert load_or_create_identity(str(tmp_path / "my.pem")) == faster


def test_processes_that_start_at_once_have_one_identity(directory: Path) -> None:
    program = (
        "from trio_p2p._commands.identity_file import load_or_create_identity\n"
        "print('ready', flush=True)\n"
        "input()\n"
        "print(load_or_create_identity(None).peer_id)\n"
    )
    identity = {output.strip() for output in run_at_once(program)}
    assert identity == {str(Identity.load(directory / "identity.pem").peer_id)}
    assert [file.name for file in directory.iterdir()] == ["identity.pem"]

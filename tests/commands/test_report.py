"""Reports: what a stream was, or why there was none."""

import json
from pathlib import Path

import pytest

from trio_p2p._commands import main as main_command

from ..kit.commands import (
    NOBODY,
    BrokerTool,
    assert_sentence,
    connect,
    end_both,
    listen,
    peer_id,
    run_main,
)
from .reports import ENDS, NOTHING, read_report

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("options", "technique"),
    [
        ([["--raw"], ["--raw"]], "fast"),
        ([["--no-relay"], ["--no-relay"]], "fast"),
        ([[], ["--only=classic"]], "classic"),
        ([["--only=classic", "--raw"], ["--raw"]], "classic"),
        ([["--only=classic", "--only=fast"], ["--only=fast"]], "fast"),
        ([["--only=fast", "--only=classic"], ["--only=classic", "--only=fast"]], "classic"),
        ([[], ["--only=relay"]], "relay"),
    ],
)
def test_report(
    broker: BrokerTool, uid: str, tmp_path: Path, options: list[list[str]], technique: str
) -> None:
    file = tmp_path / "report.json"
    of_receiver, of_sender = options[0], [*options[1], "--report", str(file)]
    with listen(broker, uid, *of_receiver) as receiver, connect(broker, uid, *of_sender) as sender:
        assert end_both(receiver, sender) == [(0, b"", ""), (0, b"", "")]
    report = read_report(file)
    assert report["path"] == ("relay" if technique == "relay" else "direct")
    assert report["technique"] == technique
    assert report["peer_id"] == (None if "--raw" in of_sender else peer_id())
    connected = [one for one in report["attempts"] if one["outcome"] == "connected"]
    assert [one["technique"] for one in connected] == [technique]
    assert 0 < connected[0]["seconds"] <= report["seconds"]
    assert len(report["path_changes"]) == 1
    for end in ENDS:
        assert report["path_changes"][0][end] == connected[0][end]


def test_report_of_paths(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    """However it began, the stream gets to a direct path; then it loses that."""
    file = tmp_path / "report.json"
    options = ["--only=classic", "--only=relay", "--grace=0.1", "-v", "--report", str(file)]
    with listen(broker, uid) as receiver, connect(broker, uid, *options) as sender:
        for line in sender.errors:
            if b"connection path: direct" in line:
                break
        # It is logged a moment before it is noted for the report, but long before this arrives.
        sender.say(b"?")
        assert receiver.output.read(1) == b"?"
        receiver.process.kill()
        code, _, errors = sender.end()
    assert code == 1
    assert "the connection to the peer broke: the connection had no path for 0.1 seconds" in errors
    report = read_report(file)
    assert report["peer_id"] == peer_id()
    paths = [change["path"] for change in report["path_changes"]]
    direct = paths.index("direct")
    assert paths[:direct] in ([], ["relay"])
    # If there was a relayed path in reserve, it is tried until the broker has noticed, too.
    assert [path for path in paths[direct + 1 :] if path is not None] in ([], ["relay"])
    assert paths[-1] is None


def test_report_when_techniques_do_not_meet(broker: BrokerTool, uid: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with (
        listen(broker, uid, "--only", "fast"),
        connect(broker, uid, "--only", "classic", "--report", str(file)) as sender,
    ):
        code, _, errors = sender.end()
    assert code == 1
    assert_sentence(errors, f"no direct connection to {uid!r}, which is registered, came of ")
    report = read_report(file)
    attempts = report["attempts"]
    assert report == {**NOTHING, "attempts": attempts}
    for attempt in attempts:
        del attempt["seconds"]
        assert attempt == {
            "technique": "classic",
            "local": None,
            "remote": None,
            "route": "reflexive",
            "outcome": "not introduced",
        }


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(("options", "expected"), [([], 2), (["--broker", NOBODY], 1)])
def test_report_of_failure(
    options: list[str], expected: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    arguments = ["connect", "uid", *options, "--report", str(file)]
    code, _ = run_main(main_command.main, arguments, capsys)
    assert code == expected
    report = read_report(file)
    assert report == {**NOTHING, "attempts": report["attempts"]}
    assert all(attempt["outcome"] == "not introduced" for attempt in report["attempts"])


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/report.json", "No such file or directory"),
        (".", "Is a directory"),
        ("/dev/full", "No space left on device"),
    ],
)
def test_unwritable_report(
    name: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    arguments = ["connect", "uid", "--broker", NOBODY, "--report", str(file)]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 1
    assert_sentence(errors, f"the report {file} cannot be written: {reason}")


def test_report_to_standard_error(
    broker: BrokerTool, uid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with listen(broker, uid) as receiver, connect(broker, uid, "--report", "-") as sender:
        of_receiver, (code, output, errors) = end_both(receiver, sender, b"x", b"y")
    assert of_receiver == (0, b"y", "")
    assert (code, output) == (0, b"x")
    assert json.loads(errors)["peer_id"] == peer_id()
    assert list(tmp_path.iterdir()) == []


def test_report_that_turns_out_unwritable(broker: BrokerTool, uid: str) -> None:
    with listen(broker, uid) as receiver, connect(broker, uid, "--report", "/dev/full") as sender:
        of_receiver, (code, output, errors) = end_both(receiver, sender, b"x", b"y")
    assert of_receiver == (0, b"y", "")
    assert (code, output) == (1, b"x")
    assert_sentence(errors, "the report /dev/full cannot be written: No space left on device")

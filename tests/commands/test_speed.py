"""``trio-p2p speed``: both directions, and who may measure."""

import json
import re
import signal

import pytest

from trio_p2p._commands import main as main_command

from ..kit.answering import answering, asking
from ..kit.commands import NOBODY, BrokerTool, peer_id, run_main

pytestmark = pytest.mark.once

SHORT = "--seconds=0.05"


def test_screen(broker: BrokerTool, uid: str) -> None:
    options = SHORT, "--no-relay"
    with answering(broker, uid), asking(broker, "speed", uid, *options) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    rate, path = r" +\d+\.\d\d MB/s  ", r"direct \(fast\), to 127\.0\.0\.1:\d+\n"
    assert re.fullmatch(f"download{rate}{path}upload  {rate}{path}", output.decode())


def test_json(broker: BrokerTool, uid: str) -> None:
    options = SHORT, "--only=relay", "--json"
    with answering(broker, uid), asking(broker, "speed", uid, *options) as tool:
        code, output, errors = tool.end()
    assert (code, errors) == (0, "")
    report = json.loads(output)
    assert (report["uid"], report["peer_id"]) == (uid, peer_id())
    for direction in ("download", "upload"):
        assert report[direction]["bytes_per_second"] > 0
        assert report[direction]["path"] == "relay"
        assert report[direction]["remote"] == broker.address


@pytest.mark.usefixtures("started_by_user")
@pytest.mark.parametrize("seconds", ["0", "31", "nan", "long"])
def test_malformed_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["speed", "uid", "--broker", NOBODY, "--seconds", seconds]
    code, errors = run_main(main_command.main, arguments, capsys)
    assert code == 2
    assert "is no time" in errors


def test_interrupt(broker: BrokerTool, uid: str) -> None:
    with answering(broker, uid), asking(broker, "speed", uid, "--seconds=30") as tool:
        broker.wait_for(f"IntroductionRequest(number=0, uid={uid!r}, ")
        assert tool.signal(signal.SIGINT) == (130, b"", "")

"""Reports that ``--report`` has written."""

import json
import re
from pathlib import Path
from typing import Any

from trio_p2p import Outcome, Technique

from ..kit.commands import SECONDS

NOTHING: dict[str, Any] = {
    "path": None,
    "technique": None,
    "seconds": None,
    "peer_id": None,
    "path_changes": [],
    "attempts": [],
}
ENDS = {"technique", "local", "remote"}


def read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    assert list(report) == list(NOTHING)
    for one in (*report["attempts"], *report["path_changes"]):
        assert one["technique"] in {*Technique, None}
        assert 0 <= one["seconds"] < SECONDS
        for endpoint in (one["local"], one["remote"]):
            assert endpoint is None or re.fullmatch(r"[0-9.]+:[0-9]+", endpoint)
    for attempt in report["attempts"]:
        assert attempt.keys() == {*ENDS, "route", "outcome", "seconds"}
        assert attempt["outcome"] in set(Outcome)
    assert_path_changes(report)
    return report


def assert_path_changes(report: dict[str, Any]) -> None:
    changes = report["path_changes"]
    if report["path"] is None:
        assert changes == []
        return
    assert {"path": changes[0]["path"], "technique": changes[0]["technique"]}.items() <= (
        report.items()
    )
    assert report["seconds"] <= changes[0]["seconds"]
    times = [change["seconds"] for change in changes]
    assert times == sorted(times)
    for change in changes:
        assert change.keys() == {*ENDS, "path", "seconds"}
        assert (change["path"] == "relay") == (change["technique"] == "relay")
        assert len({change["path"] is None, *(change[end] is None for end in ENDS)}) == 1

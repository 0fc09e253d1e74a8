"""How often a peer reports what came of its searches."""

from trio_p2p._control.reports import REPORT_INTERVAL, Reports


def test_one_report_in_an_interval() -> None:
    reports = Reports()
    assert reports.take(10.0)
    assert not reports.take(10.0)
    assert not reports.take(10.0 + REPORT_INTERVAL - 0.01)
    assert reports.take(10.0 + REPORT_INTERVAL)
    assert not reports.take(10.0 + REPORT_INTERVAL)

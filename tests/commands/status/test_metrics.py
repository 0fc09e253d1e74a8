"""The metrics: Prometheus can read them, and they are what was counted."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trio_p2p import Technique
from trio_p2p._wire.messages import RefusalCode, Report
from trio_p2p._wire.offer import Behaviour

from .apps import Site


def samples_of(site: Site) -> dict[str, float]:
    """The value of each sample, by its name and labels."""
    text = site.app._metrics.render().decode()
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_are_what_was_counted() -> None:
    site = Site()
    site.counts.introduced(Technique.RELAY)
    site.counts.refusals[RefusalCode.BUSY] = 3
    site.counts.reported(Report(200, Technique.FAST, Behaviour.ENDPOINT_INDEPENDENT))
    site.counts.reported(Report(9000))
    samples = samples_of(site)
    prefix = "trio_p2p_broker_"
    expected = {
        "receivers": 0,
        "draining": 0,
        "introductions_total,technique=relay": 1,
        "introductions_total,technique=fast": 0,
        "outcomes_total,technique=fast": 1,
        "outcomes_total,technique=none": 1,
        "outcomes_by_mapping_total,connected=no,receiver=unknown,sender=unknown": 1,
        "outcomes_by_mapping_total,connected=yes,receiver=unknown,sender=endpoint-independent": 1,
        "refusals_total,code=busy": 3,
        "search_duration_seconds_bucket,le=0.1": 0,
        "search_duration_seconds_bucket,le=0.25": 1,
        "search_duration_seconds_bucket,le=+Inf": 1,
        "search_duration_seconds_count": 1,
        "search_duration_seconds_sum": 0.2,
    }
    assert {name: samples[prefix + name] for name in expected} == pytest.approx(expected)
    assert samples["process_open_fds"] > 0
    assert samples["process_resident_memory_bytes"] > 0


async def test_every_refusal_is_there_before_it_happens() -> None:
    samples = samples_of(Site())
    for code in RefusalCode:
        assert samples[f"trio_p2p_broker_refusals_total,code={code}"] == 0
